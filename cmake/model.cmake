# SPDX-License-Identifier: Apache-2.0
# The model platform: the core once more, instrumented, and the machine below it. Included by src/CMakeLists.txt.
#
# interlock_machine  a shared object of its own, with nothing instrumented and nothing exported but its C interface
# interlock::model   the static library; whoever links it is instrumented in the same way

set(interlock_model_dir ${PROJECT_SOURCE_DIR}/platforms/model)

# Compiled with, never linked with: the runtime behind the callbacks is the machine. memcpy and its kin stay calls, which the
# machine sees; clang sees neither the first of two accesses to an address in one block nor wide vectors without being told.
# gcc makes one of calls that do not return (abort), so that a failure would be told at another's line.
set(options_all -fsanitize=thread -fno-builtin-memcpy -fno-builtin-memmove -fno-builtin-memset -fno-omit-frame-pointer -g
                -DINTERLOCK_TOOL_SEES_FENCES)
set(options_GNU --param=tsan-distinguish-volatile=1 -Wno-tsan -fno-crossjumping -fno-tree-tail-merge)
set(options_Clang "SHELL:-mllvm -tsan-distinguish-volatile=1" "SHELL:-mllvm -tsan-instrument-read-before-write=1"
                  -fno-vectorize -fno-slp-vectorize)
if(CMAKE_SYSTEM_PROCESSOR MATCHES "^(x86_64|amd64|AMD64|i[3-6]86)$") # elsewhere the option is an error
  list(APPEND options_Clang -mno-avx)
endif()
set(interlock_model_options ${options_all})
foreach(compiler IN ITEMS GNU Clang)
  foreach(option IN LISTS options_${compiler})
    list(APPEND interlock_model_options "$<$<CXX_COMPILER_ID:${compiler}>:${option}>")
  endforeach()
endforeach()
# For pkg-config.
set(interlock_model_own_options ${options_all} ${options_${CMAKE_CXX_COMPILER_ID}} PARENT_SCOPE)

# --- the machine ---

file(GLOB machine_sources CONFIGURE_DEPENDS ${interlock_model_dir}/machine/*.cpp)
set(machine_exports ${interlock_model_dir}/machine/exports.map)
add_library(interlock_machine SHARED ${machine_sources})
add_library(interlock::machine ALIAS interlock_machine)
target_compile_features(interlock_machine PRIVATE cxx_std_20)
# What each access of the program goes through.
set(machine_steps ${interlock_model_dir}/machine/accesses.cpp ${interlock_model_dir}/machine/machine.cpp
                  ${interlock_model_dir}/machine/search.cpp ${interlock_model_dir}/machine/tsan.cpp)
set_source_files_properties(${machine_steps} PROPERTIES COMPILE_OPTIONS -O3)
target_include_directories(interlock_machine PRIVATE ${interlock_model_dir}/include
                                                     ${PROJECT_SOURCE_DIR}/include
                                                     ${interlock_model_dir}/machine)
target_compile_options(interlock_machine PRIVATE -O2 -fno-omit-frame-pointer
                                                 $<$<CXX_COMPILER_ID:GNU>:-fno-gnu-unique>)
set_target_properties(interlock_machine PROPERTIES VERSION ${PROJECT_VERSION} SOVERSION ${interlock_soversion}
                                                   CXX_VISIBILITY_PRESET hidden
                                                   VISIBILITY_INLINES_HIDDEN ON
                                                   LINK_DEPENDS ${machine_exports}
                                                   EXPORT_NAME machine)
# Templates of the C++ library that both sides instantiate must not bind to the instrumented ones of the program.
target_link_options(interlock_machine PRIVATE LINKER:--version-script=${machine_exports}
                                              LINKER:-z,defs LINKER:-z,now)
target_include_directories(interlock_machine SYSTEM PRIVATE ${INTERLOCK_BOOST_INCLUDE} ${INTERLOCK_LIBDW_INCLUDE})
target_link_libraries(interlock_machine PRIVATE ${INTERLOCK_BOOST_CONTEXT} ${INTERLOCK_LIBDW} ${CMAKE_DL_LIBS} atomic)

# --- the core, and the platform's own files ---

# The library's own functions tell the machine where they begin and end: to granularity `user` one of them is a step. What of the
# C++ library is compiled with them is not theirs: the linker may take it for the program's as well. Nor are the inline functions of the
# public headers: g++ would have each of them tell, also where it is inlined.
interlock_add_layers(interlock_model ${interlock_model_dir} interlock_model_objects
                     ${interlock_model_options} -finstrument-functions
                     "$<$<CXX_COMPILER_ID:GNU>:-finstrument-functions-exclude-file-list=/usr/,/include/interlock/>")
target_compile_options(interlock_model_layer_platform PRIVATE -O2)

add_library(interlock_model_layer_visible OBJECT ${interlock_model_dir}/src/instrumented/visible.cpp)
target_compile_features(interlock_model_layer_visible PRIVATE cxx_std_20)
target_include_directories(interlock_model_layer_visible PRIVATE ${interlock_model_dir}/src ${interlock_model_dir}/include
                                                                 ${PROJECT_SOURCE_DIR}/include)
target_compile_options(interlock_model_layer_visible PRIVATE -O2 -fno-exceptions -fno-rtti ${interlock_model_options})
set_target_properties(interlock_model_layer_visible PROPERTIES POSITION_INDEPENDENT_CODE ON CXX_VISIBILITY_PRESET hidden)

file(GLOB_RECURSE interlock_model_platform_headers CONFIGURE_DEPENDS
     ${interlock_model_dir}/include/*.hpp ${interlock_model_dir}/include/*.h)
add_library(interlock_model STATIC ${interlock_model_objects} $<TARGET_OBJECTS:interlock_model_layer_visible>)
add_library(interlock::model ALIAS interlock_model)
set_target_properties(interlock_model PROPERTIES LINKER_LANGUAGE C EXPORT_NAME model)
target_compile_features(interlock_model PUBLIC cxx_std_20)
target_compile_options(interlock_model INTERFACE ${interlock_model_options})
target_link_libraries(interlock_model PUBLIC interlock_machine)
# Bound at start: the linker's tables are not part of what an execution changes.
target_link_options(interlock_model INTERFACE LINKER:-z,now LINKER:-z,relro)
# Installed, this platform's headers lie in a folder of their own, that is looked into first: beside the shared ones lie the
# native platform's of the same names.
target_include_directories(interlock_model BEFORE INTERFACE $<INSTALL_INTERFACE:${CMAKE_INSTALL_INCLUDEDIR}/interlock-model>)
target_sources(interlock_model PUBLIC
  FILE_SET HEADERS BASE_DIRS ${PROJECT_SOURCE_DIR}/include FILES ${interlock_public_headers}
  FILE_SET model TYPE HEADERS BASE_DIRS ${interlock_model_dir}/include FILES ${interlock_model_platform_headers})
set(interlock_model_sets model)
if(interlock_model_only_headers)
  target_sources(interlock_model PUBLIC
    FILE_SET explore TYPE HEADERS BASE_DIRS ${PROJECT_SOURCE_DIR}/include FILES ${interlock_model_only_headers})
  list(APPEND interlock_model_sets explore)
endif()
# Each header alone: the shared ones are verified with the native platform.
set_target_properties(interlock_model PROPERTIES INTERFACE_HEADER_SETS_TO_VERIFY "${interlock_model_sets}")
