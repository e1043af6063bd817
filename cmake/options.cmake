# SPDX-License-Identifier: Apache-2.0
# What a builder may choose. Everything that is not the library itself is off when Interlock is a subproject.

# In a larger project the choice is that project's, for all of its libraries.
if(PROJECT_IS_TOP_LEVEL)
  option(BUILD_SHARED_LIBS "Build libinterlock as a shared object" ON)
endif()

set(INTERLOCK_PLATFORM native CACHE STRING "The platform: a folder under platforms/")
set(INTERLOCK_PLATFORM_DIR ${PROJECT_SOURCE_DIR}/platforms/${INTERLOCK_PLATFORM})

option(INTERLOCK_WERROR "Warnings are errors" OFF)
option(INTERLOCK_CLI "Build the command line tool" ${PROJECT_IS_TOP_LEVEL})
option(INTERLOCK_TESTS "Build the tests" ${PROJECT_IS_TOP_LEVEL})
option(INTERLOCK_EXAMPLES "Build the examples" ${PROJECT_IS_TOP_LEVEL})
option(INTERLOCK_BENCH "Build the benchmarks" OFF)
option(INTERLOCK_INSTALL "Make install rules" ${PROJECT_IS_TOP_LEVEL})

# The model platform needs Boost.Context and libdw. AUTO: it is left out, with a word, where they are absent; ON: then nothing is built.
set(interlock_model_default OFF)
if(PROJECT_IS_TOP_LEVEL)
  set(interlock_model_default AUTO)
endif()
set(INTERLOCK_MODEL ${interlock_model_default} CACHE STRING "Build the model platform beside the native one: ON, OFF, or AUTO if it can be")
set_property(CACHE INTERLOCK_MODEL PROPERTY STRINGS AUTO ON OFF)

option(INTERLOCK_CHECKED "Build interlock::checked, the native platform with the lock validator, beside it" ${PROJECT_IS_TOP_LEVEL})

set(INTERLOCK_SANITIZE "" CACHE STRING "A value for -fsanitize=, as 'address,undefined' or 'thread'")

set(interlock_has_model OFF)
if(INTERLOCK_MODEL)
  # By file: the machine's own needs are no matter of who uses it, and an exported target would name them.
  find_path(INTERLOCK_BOOST_INCLUDE boost/context/detail/fcontext.hpp)
  find_library(INTERLOCK_BOOST_CONTEXT boost_context)
  find_path(INTERLOCK_LIBDW_INCLUDE elfutils/libdwfl.h)
  find_library(INTERLOCK_LIBDW dw)
  mark_as_advanced(INTERLOCK_BOOST_INCLUDE INTERLOCK_BOOST_CONTEXT INTERLOCK_LIBDW_INCLUDE INTERLOCK_LIBDW)
  set(interlock_model_lacks)
  if(INTERLOCK_SANITIZE)
    set(interlock_model_lacks "it has an instrumentation of its own, and INTERLOCK_SANITIZE is set")
  elseif(NOT INTERLOCK_BOOST_INCLUDE OR NOT INTERLOCK_BOOST_CONTEXT OR NOT INTERLOCK_LIBDW_INCLUDE OR NOT INTERLOCK_LIBDW)
    set(interlock_model_lacks "it needs Boost.Context and libdw (Debian: libboost-context-dev libdw-dev)")
  endif()
  if(NOT interlock_model_lacks)
    set(interlock_has_model ON)
  elseif(INTERLOCK_MODEL STREQUAL "AUTO")
    message(STATUS "The model platform is left out: ${interlock_model_lacks}.")
  else()
    message(FATAL_ERROR "INTERLOCK_MODEL is ${INTERLOCK_MODEL}, but the model platform can not be built: ${interlock_model_lacks}. With INTERLOCK_MODEL=OFF everything else is built, with AUTO what can be.")
  endif()
endif()
