# slackline::opencv: OpenCV's core and imgproc.
#
# Debian's packages of single OpenCV modules have no CMake configuration (only the 1 GB libopencv-dev
# has), so the two are looked for by hand.

if(NOT TARGET slackline::opencv)
  find_path(SLACKLINE_OPENCV_INCLUDE_DIR opencv2/imgproc.hpp PATH_SUFFIXES opencv4 REQUIRED)
  find_library(SLACKLINE_OPENCV_CORE opencv_core REQUIRED)
  find_library(SLACKLINE_OPENCV_IMGPROC opencv_imgproc REQUIRED)
  add_library(slackline::opencv INTERFACE IMPORTED GLOBAL)
  set_target_properties(slackline::opencv PROPERTIES
    INTERFACE_INCLUDE_DIRECTORIES ${SLACKLINE_OPENCV_INCLUDE_DIR}
    INTERFACE_SYSTEM_INCLUDE_DIRECTORIES ${SLACKLINE_OPENCV_INCLUDE_DIR}
    INTERFACE_LINK_LIBRARIES "${SLACKLINE_OPENCV_IMGPROC};${SLACKLINE_OPENCV_CORE}"
  )
endif()
