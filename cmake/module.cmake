# module(name SOURCES … DEPS … LIBS … [TEST_LIBS …])
#
# One folder = one static library `name`, one test binary `name_test` (every *_test.cc beside the
# sources) and one target `name_headers` that compiles each header alone. The library's include root
# holds a link to its folder only, so a header of a folder that is not in DEPS does not compile.
function(module name)
  cmake_parse_arguments(ARG "" "" "SOURCES;DEPS;LIBS;TEST_LIBS" ${ARGN})

  set(include_root ${CMAKE_BINARY_DIR}/include/${name})
  file(MAKE_DIRECTORY ${include_root})
  file(CREATE_LINK ${CMAKE_CURRENT_SOURCE_DIR} ${include_root}/${name} SYMBOLIC)

  add_library(${name} STATIC ${ARG_SOURCES})
  target_include_directories(${name} PUBLIC ${include_root})
  target_link_libraries(${name} PUBLIC ${ARG_DEPS} ${ARG_LIBS} Threads::Threads)

  file(GLOB headers RELATIVE ${CMAKE_CURRENT_SOURCE_DIR} CONFIGURE_DEPENDS *.h)
  set(header_units)
  foreach(header ${headers})
    set(unit ${CMAKE_BINARY_DIR}/headers/${name}/${header}.cc)
    if(NOT EXISTS ${unit})
      file(WRITE ${unit} "#include \"${name}/${header}\"\n")
    endif()
    list(APPEND header_units ${unit})
  endforeach()
  if(header_units)
    add_library(${name}_headers OBJECT EXCLUDE_FROM_ALL ${header_units})
    target_link_libraries(${name}_headers PRIVATE ${name})
    add_dependencies(headers ${name}_headers)
  endif()

  file(GLOB tests CONFIGURE_DEPENDS *_test.cc)
  if(tests)
    add_executable(${name}_test ${tests})
    target_link_libraries(${name}_test PRIVATE ${name} ${ARG_TEST_LIBS} GTest::gtest_main
                                               GTest::gmock)
    # Half of a build is tests, and half of that is optimising what runs once.
    target_compile_options(${name}_test PRIVATE -O0)
    add_test(NAME ${name} COMMAND ${name}_test WORKING_DIRECTORY ${CMAKE_CURRENT_SOURCE_DIR})
    # A sanitizer on a busy machine may take ten times as long.
    set_tests_properties(${name} PROPERTIES TIMEOUT 900)
  endif()
endfunction()

add_custom_target(headers)
