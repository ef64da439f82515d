# How everything in the tree is compiled.

set(CMAKE_CXX_STANDARD 20)
set(CMAKE_CXX_STANDARD_REQUIRED ON)
set(CMAKE_CXX_EXTENSIONS OFF)
set(CMAKE_POSITION_INDEPENDENT_CODE ON)
set(CMAKE_CXX_VISIBILITY_PRESET hidden)
set(CMAKE_VISIBILITY_INLINES_HIDDEN ON)
set(CMAKE_EXPORT_COMPILE_COMMANDS ON)

if(NOT CMAKE_BUILD_TYPE)
  set(CMAKE_BUILD_TYPE Release)
endif()

# nvcc has switches of its own, so what follows is for C and C++.
function(slackline_compile_options)
  add_compile_options("$<$<COMPILE_LANGUAGE:C,CXX>:${ARGN}>")
endfunction()

slackline_compile_options(-Wall -Wextra -Wpedantic -Wshadow -Wconversion -Wno-sign-conversion)
# GCC 12 sees overlapping copies in std::string that cannot be (GCC bug 105651).
add_compile_options($<$<COMPILE_LANG_AND_ID:CXX,GNU>:-Wno-restrict>)

# Pixels are promised to the last bit (pixels = "tf"): no multiply and add may be contracted.
slackline_compile_options(-ffp-contract=off)

if(SLACKLINE_SANITIZE)
  slackline_compile_options(-fsanitize=${SLACKLINE_SANITIZE} -fno-sanitize-recover=all
                            -fno-omit-frame-pointer -g1)
  add_link_options(-fsanitize=${SLACKLINE_SANITIZE})
endif()
