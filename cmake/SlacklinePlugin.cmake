set(SLACKLINE_PLUGIN_MAP ${CMAKE_CURRENT_LIST_DIR}/plugin.map)

# slackline_add_plugin(<kind> <name> SOURCES <file>... [LINK <target>...] [VERSION <version>])
#
# Builds plugins/<kind>/<name>.so and installs it where the program looks. A plugin exports its
# descriptor and nothing else, and fails to link if anything that it uses is missing. VERSION is
# the project's if it is not given.
function(slackline_add_plugin kind name)
  cmake_parse_arguments(PARSE_ARGV 2 arg "" "VERSION" "SOURCES;LINK")
  if(NOT arg_VERSION)
    set(arg_VERSION ${PROJECT_VERSION})
  endif()
  set(target slackline_${kind}_${name})

  add_library(${target} MODULE ${arg_SOURCES})
  target_link_libraries(${target} PRIVATE slackline::core ${arg_LINK})
  target_compile_definitions(${target} PRIVATE SLACKLINE_PLUGIN_VERSION="${arg_VERSION}")
  target_link_options(${target} PRIVATE
    LINKER:-z,now
    LINKER:--as-needed
    LINKER:--exclude-libs,ALL
    LINKER:--version-script=${SLACKLINE_PLUGIN_MAP}
  )
  # A sanitizer's own symbols come from the program, so such a build cannot ask for all of them.
  if(NOT SLACKLINE_SANITIZE)
    target_link_options(${target} PRIVATE LINKER:-z,defs)
  endif()
  set_target_properties(${target} PROPERTIES
    PREFIX ""
    OUTPUT_NAME ${name}
    CXX_VISIBILITY_PRESET hidden
    VISIBILITY_INLINES_HIDDEN ON
    LIBRARY_OUTPUT_DIRECTORY ${PROJECT_BINARY_DIR}/plugins/${kind}
    LINK_DEPENDS ${SLACKLINE_PLUGIN_MAP}
  )
  install(TARGETS ${target} LIBRARY DESTINATION ${CMAKE_INSTALL_LIBDIR}/slackline/plugins/${kind})
  if(TARGET slackline_plugins)
    add_dependencies(slackline_plugins ${target})
  endif()
endfunction()
