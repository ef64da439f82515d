# Whether this build has CUDA, and what it leaves out without it.
#
# SLACKLINE_HAVE_CUDA is true where the toolkit (12 or later) has its compiler and cuDNN (9.8 or later). Then
# there are slackline::cudart (linked statically: such a plugin loads without a driver) and slackline::cudnn,
# and the language CUDA compiles for SLACKLINE_CUDA_ARCHITECTURES. SLACKLINE_HAVE_NCCL is true where there is
# NCCL, too: slackline::nccl.

option(SLACKLINE_CUDA "Build the plugins for GPUs where the CUDA toolkit and cuDNN are found" ON)
set(SLACKLINE_CUDA_ARCHITECTURES "80-real;90a-real;90-virtual" CACHE STRING
  "What CUDA kernels are compiled for, in the words of CUDA_ARCHITECTURES")

set(SLACKLINE_HAVE_CUDA FALSE)
set(SLACKLINE_HAVE_NCCL FALSE)
set(slackline_cuda_plugins "model/resnet_cudnn, model/trivial_cuda, strategy/one_gpu")
set(slackline_nccl_plugins "strategy/mirrored_nccl")

function(slackline_find_cuda out_missing)
  find_package(CUDAToolkit 12 QUIET)
  if(NOT CUDAToolkit_FOUND)
    set(${out_missing} "no CUDA toolkit (12 or later)" PARENT_SCOPE)
    return()
  endif()
  if(NOT CMAKE_CUDA_COMPILER)
    set(CMAKE_CUDA_COMPILER ${CUDAToolkit_NVCC_EXECUTABLE} CACHE FILEPATH "the CUDA compiler")
  endif()
  if(NOT CMAKE_CUDA_COMPILER)
    set(${out_missing} "no nvcc in the CUDA toolkit ${CUDAToolkit_VERSION}" PARENT_SCOPE)
    return()
  endif()
  find_path(SLACKLINE_CUDNN_INCLUDE_DIR cudnn_version.h HINTS ${CUDAToolkit_INCLUDE_DIRS})
  find_library(SLACKLINE_CUDNN cudnn HINTS ${CUDAToolkit_LIBRARY_DIR})
  if(NOT SLACKLINE_CUDNN OR NOT SLACKLINE_CUDNN_INCLUDE_DIR)
    set(${out_missing} "no cuDNN beside the CUDA toolkit ${CUDAToolkit_VERSION}" PARENT_SCOPE)
    return()
  endif()
  file(STRINGS ${SLACKLINE_CUDNN_INCLUDE_DIR}/cudnn_version.h lines REGEX "#define CUDNN_(MAJOR|MINOR) ")
  string(REGEX REPLACE ".*CUDNN_MAJOR ([0-9]+).*CUDNN_MINOR ([0-9]+).*" "\\1.\\2" version "${lines}")
  if(version VERSION_LESS 9.8)  # kOldestVersion in plugins/shared/cudnn/target.cpp
    set(${out_missing} "cuDNN ${version} is older than 9.8" PARENT_SCOPE)
    return()
  endif()
  add_library(slackline::cudnn INTERFACE IMPORTED GLOBAL)
  set_target_properties(slackline::cudnn PROPERTIES
    INTERFACE_INCLUDE_DIRECTORIES "${SLACKLINE_CUDNN_INCLUDE_DIR};${CUDAToolkit_INCLUDE_DIRS}"
    INTERFACE_SYSTEM_INCLUDE_DIRECTORIES "${SLACKLINE_CUDNN_INCLUDE_DIR};${CUDAToolkit_INCLUDE_DIRS}"
    INTERFACE_LINK_LIBRARIES ${SLACKLINE_CUDNN}
  )
  add_library(slackline::cudart INTERFACE IMPORTED GLOBAL)
  set_target_properties(slackline::cudart PROPERTIES
    INTERFACE_INCLUDE_DIRECTORIES "${CUDAToolkit_INCLUDE_DIRS}"
    INTERFACE_SYSTEM_INCLUDE_DIRECTORIES "${CUDAToolkit_INCLUDE_DIRS}"
    INTERFACE_LINK_LIBRARIES "${CUDA_cudart_static_LIBRARY};Threads::Threads;${CMAKE_DL_LIBS};rt"
  )
endfunction()

# ncclConfig_t has maxCTAs from 2.17 on.
function(slackline_find_nccl out_missing)
  find_package(CUDAToolkit 12 QUIET)
  find_path(SLACKLINE_NCCL_INCLUDE_DIR nccl.h HINTS ${CUDAToolkit_INCLUDE_DIRS})
  find_library(SLACKLINE_NCCL nccl HINTS ${CUDAToolkit_LIBRARY_DIR})
  if(NOT SLACKLINE_NCCL OR NOT SLACKLINE_NCCL_INCLUDE_DIR)
    set(${out_missing} "no NCCL beside the CUDA toolkit ${CUDAToolkit_VERSION}" PARENT_SCOPE)
    return()
  endif()
  file(STRINGS ${SLACKLINE_NCCL_INCLUDE_DIR}/nccl.h lines REGEX "#define NCCL_(MAJOR|MINOR) ")
  string(REGEX REPLACE ".*NCCL_MAJOR ([0-9]+).*NCCL_MINOR ([0-9]+).*" "\\1.\\2" version "${lines}")
  if(version VERSION_LESS 2.17)
    set(${out_missing} "NCCL ${version} is older than 2.17" PARENT_SCOPE)
    return()
  endif()
  add_library(slackline::nccl INTERFACE IMPORTED GLOBAL)
  set_target_properties(slackline::nccl PROPERTIES
    INTERFACE_INCLUDE_DIRECTORIES "${SLACKLINE_NCCL_INCLUDE_DIR};${CUDAToolkit_INCLUDE_DIRS}"
    INTERFACE_SYSTEM_INCLUDE_DIRECTORIES "${SLACKLINE_NCCL_INCLUDE_DIR};${CUDAToolkit_INCLUDE_DIRS}"
    INTERFACE_LINK_LIBRARIES ${SLACKLINE_NCCL}
  )
  message(STATUS "NCCL ${version}: with ${slackline_nccl_plugins}")
endfunction()

if(NOT SLACKLINE_CUDA)
  message(STATUS "SLACKLINE_CUDA is off: without ${slackline_cuda_plugins}, ${slackline_nccl_plugins}")
else()
  slackline_find_cuda(slackline_cuda_missing)
  if(slackline_cuda_missing)
    message(STATUS "${slackline_cuda_missing}: without ${slackline_cuda_plugins}, ${slackline_nccl_plugins}")
  else()
    set(SLACKLINE_HAVE_CUDA TRUE)
    set(CMAKE_CUDA_ARCHITECTURES ${SLACKLINE_CUDA_ARCHITECTURES})
    set(CMAKE_CUDA_RUNTIME_LIBRARY None)  # slackline::cudart says which
    enable_language(CUDA)
    # CMake 3.25 does not know nvcc's switch for C++20.
    if(CMAKE_CUDA_COMPILER_ID STREQUAL "NVIDIA" AND NOT CMAKE_CUDA20_STANDARD_COMPILE_OPTION)
      set(CMAKE_CUDA20_STANDARD_COMPILE_OPTION "-std=c++20")
      set(CMAKE_CUDA20_EXTENSION_COMPILE_OPTION "-std=c++20")
    endif()
    set(CMAKE_CUDA_STANDARD 20)
    set(CMAKE_CUDA_EXTENSIONS OFF)
    message(STATUS "CUDA ${CMAKE_CUDA_COMPILER_VERSION}: with ${slackline_cuda_plugins}")
    slackline_find_nccl(slackline_nccl_missing)
    if(slackline_nccl_missing)
      message(STATUS "${slackline_nccl_missing}: without ${slackline_nccl_plugins}")
    else()
      set(SLACKLINE_HAVE_NCCL TRUE)
    endif()
  endif()
endif()
