# SPDX-License-Identifier: Apache-2.0
# Language, warnings, sanitizers and what they need of a test launcher.

set(CMAKE_CXX_STANDARD 20)
set(CMAKE_CXX_STANDARD_REQUIRED ON)
set(CMAKE_CXX_EXTENSIONS OFF)
set(CMAKE_C_STANDARD 11)
set(CMAKE_C_EXTENSIONS OFF)

set(interlock_compiler ${CMAKE_CXX_COMPILER_ID})
set(interlock_compiler_version ${CMAKE_CXX_COMPILER_VERSION})
if(interlock_compiler STREQUAL "GNU" AND interlock_compiler_version VERSION_LESS 12)
  message(FATAL_ERROR "Interlock needs gcc 12 or newer; ${CMAKE_CXX_COMPILER} is ${interlock_compiler_version}.")
elseif(interlock_compiler STREQUAL "Clang" AND interlock_compiler_version VERSION_LESS 14)
  message(FATAL_ERROR "Interlock needs clang 14 or newer; ${CMAKE_CXX_COMPILER} is ${interlock_compiler_version}.")
endif()

# Flags for the directories of this project, not for those that a parent project adds.
if(PROJECT_IS_TOP_LEVEL)
  add_compile_options(-Wall -Wextra -Wpedantic -Wshadow -Wconversion -Wsign-conversion -Wcast-qual
                      -Wcast-align -Wformat=2 -Wundef -Wimplicit-fallthrough
                      $<$<COMPILE_LANGUAGE:CXX>:-Wnon-virtual-dtor>
                      $<$<COMPILE_LANGUAGE:CXX>:-Woverloaded-virtual>
                      $<$<COMPILE_LANGUAGE:CXX>:-Wextra-semi>)
  if(interlock_compiler STREQUAL "GNU")
    add_compile_options(-Wduplicated-cond -Wduplicated-branches -Wlogical-op
                        $<$<COMPILE_LANGUAGE:CXX>:-Wsuggest-override>)
  elseif(interlock_compiler STREQUAL "Clang")
    add_compile_options($<$<COMPILE_LANGUAGE:CXX>:-Wthread-safety> -Wno-unknown-warning-option)
  endif()
  if(INTERLOCK_WERROR)
    add_compile_options(-Werror)
  endif()
endif()

if(INTERLOCK_SANITIZE)
  add_compile_options(-fsanitize=${INTERLOCK_SANITIZE} -fno-omit-frame-pointer
                      -fno-sanitize-recover=all)
  add_link_options(-fsanitize=${INTERLOCK_SANITIZE})
  # gcc warns at each stand-alone memory fence that ThreadSanitizer does not model it.
  if(INTERLOCK_SANITIZE MATCHES "thread" AND interlock_compiler STREQUAL "GNU")
    add_compile_options(-Wno-tsan)
  endif()
endif()

# ThreadSanitizer of gcc 12 and clang 14 refuses address spaces with more than 28 random bits: its programs start without
# address space randomisation. CMake puts the emulator before every test that is a target.
if(INTERLOCK_SANITIZE MATCHES "thread" AND EXISTS /proc/sys/vm/mmap_rnd_bits)
  file(READ /proc/sys/vm/mmap_rnd_bits interlock_rnd_bits)
  string(STRIP "${interlock_rnd_bits}" interlock_rnd_bits)
  find_program(INTERLOCK_SETARCH setarch)
  if(interlock_rnd_bits GREATER 28 AND INTERLOCK_SETARCH)
    execute_process(COMMAND ${INTERLOCK_SETARCH} -R true RESULT_VARIABLE interlock_setarch_rc
                    OUTPUT_QUIET ERROR_QUIET)
    if(interlock_setarch_rc EQUAL 0)
      set(CMAKE_CROSSCOMPILING_EMULATOR ${INTERLOCK_SETARCH} -R)
    endif()
  endif()
endif()
