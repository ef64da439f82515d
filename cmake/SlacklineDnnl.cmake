# slackline::dnnl: oneDNN, and the OpenMP that it computes with.
#
# Debian's package (libdnnl-dev) has a CMake configuration that wants OpenCL, so it is looked for by
# hand.

if(NOT TARGET slackline::dnnl)
  find_package(OpenMP REQUIRED COMPONENTS CXX)
  find_path(SLACKLINE_DNNL_INCLUDE_DIR oneapi/dnnl/dnnl.hpp REQUIRED)
  find_library(SLACKLINE_DNNL dnnl REQUIRED)
  add_library(slackline::dnnl INTERFACE IMPORTED GLOBAL)
  set_target_properties(slackline::dnnl PROPERTIES
    INTERFACE_INCLUDE_DIRECTORIES ${SLACKLINE_DNNL_INCLUDE_DIR}
    INTERFACE_SYSTEM_INCLUDE_DIRECTORIES ${SLACKLINE_DNNL_INCLUDE_DIR}
    INTERFACE_LINK_LIBRARIES ${SLACKLINE_DNNL}
  )
  set_target_properties(OpenMP::OpenMP_CXX PROPERTIES IMPORTED_GLOBAL TRUE)
endif()
