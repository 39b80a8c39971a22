# proto_library(name PROTOS a.proto … [ROOT folder] [GRPC] [DESCRIPTORS])
#
# A static library of the C++ code that protoc (and, with GRPC, its gRPC plugin for the files that
# have a service) makes of the .proto files of this folder. Included as "<folder>/a.pb.h", or
# "a.pb.h" with `ROOT ${CMAKE_CURRENT_SOURCE_DIR}`: ROOT is where imports begin. The generated code
# is compiled without our warnings and its headers are system headers. DESCRIPTORS also leaves
# build/generated/name.descriptors behind, for tests that compare them.
function(proto_library name)
  cmake_parse_arguments(ARG "GRPC;DESCRIPTORS" "ROOT" "PROTOS" ${ARGN})
  if(NOT ARG_ROOT)
    set(ARG_ROOT ${CMAKE_SOURCE_DIR})
  endif()

  set(out ${CMAKE_BINARY_DIR}/generated/${name})
  file(MAKE_DIRECTORY ${out})
  set(generated)
  set(inputs)
  foreach(proto ${ARG_PROTOS})
    set(input ${CMAKE_CURRENT_SOURCE_DIR}/${proto})
    list(APPEND inputs ${input})
    file(RELATIVE_PATH stem ${ARG_ROOT} ${input})
    string(REGEX REPLACE "\\.proto$" "" stem ${stem})
    set(files ${out}/${stem}.pb.cc ${out}/${stem}.pb.h)
    set(plugin)
    set(plugin_file)
    file(STRINGS ${input} services REGEX "^service ")
    if(ARG_GRPC AND services)
      list(APPEND files ${out}/${stem}.grpc.pb.cc ${out}/${stem}.grpc.pb.h)
      set(plugin --grpc_out=${out} --plugin=protoc-gen-grpc=$<TARGET_FILE:gRPC::grpc_cpp_plugin>)
      set(plugin_file gRPC::grpc_cpp_plugin)
    endif()
    add_custom_command(
      OUTPUT ${files}
      COMMAND protobuf::protoc -I ${ARG_ROOT} --cpp_out=${out} ${plugin} ${input}
      DEPENDS ${input} protobuf::protoc ${plugin_file}
      VERBATIM)
    list(APPEND generated ${files})
  endforeach()

  add_library(${name} STATIC ${generated})
  target_include_directories(${name} SYSTEM PUBLIC ${out})
  target_compile_options(${name} PRIVATE -w)
  target_link_libraries(${name} PUBLIC protobuf::libprotobuf Threads::Threads)
  if(ARG_GRPC)
    target_link_libraries(${name} PUBLIC gRPC::grpc++)
  endif()

  if(ARG_DESCRIPTORS)
    set(descriptors ${CMAKE_BINARY_DIR}/generated/${name}.descriptors)
    add_custom_command(
      OUTPUT ${descriptors}
      COMMAND protobuf::protoc -I ${ARG_ROOT} --include_imports
              --descriptor_set_out=${descriptors} ${inputs}
      DEPENDS ${inputs} protobuf::protoc
      VERBATIM)
    add_custom_target(${name}_descriptors ALL DEPENDS ${descriptors})
  endif()
endfunction()
