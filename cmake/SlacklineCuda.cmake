# Says which plugins this build leaves out because the machine has no CUDA, and why.
#
# Plugins that need CUDA add their kind/name to SLACKLINE_CUDA_PLUGINS and are built only where
# SLACKLINE_HAVE_CUDA is true.

set(SLACKLINE_CUDA_PLUGINS "" CACHE INTERNAL "plugins that need CUDA")
find_package(CUDAToolkit 12 QUIET)
set(SLACKLINE_HAVE_CUDA ${CUDAToolkit_FOUND})
if(SLACKLINE_HAVE_CUDA)
  message(STATUS "CUDA ${CUDAToolkit_VERSION} found; this version has no CUDA plugins yet, all others are built")
else()
  message(STATUS "no CUDA toolkit (12 or later): no plugin is left out, this version has none that needs it")
endif()
