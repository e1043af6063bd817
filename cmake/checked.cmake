# SPDX-License-Identifier: Apache-2.0
# interlock::checked: the native platform once more, with the lock validator listening to what the core announces. Included
# by src/CMakeLists.txt. A program links it in place of interlock::interlock; nothing else of either changes.

set(interlock_checked_dir ${INTERLOCK_PLATFORM_DIR}/checked)
interlock_add_layers(interlock_checked "${interlock_checked_dir};${INTERLOCK_PLATFORM_DIR}" interlock_checked_objects)

if(BUILD_SHARED_LIBS)
  interlock_add_core(interlock_checked SHARED ${interlock_checked_objects})
else()
  interlock_add_core(interlock_checked STATIC ${interlock_checked_objects})
endif()
add_library(interlock::checked ALIAS interlock_checked)
set_target_properties(interlock_checked PROPERTIES VERSION ${PROJECT_VERSION} SOVERSION ${interlock_soversion}
                                                   EXPORT_NAME checked)

# Its own headers come before those of the same names: here by their folders, installed in a folder of their own.
file(GLOB_RECURSE interlock_checked_headers CONFIGURE_DEPENDS ${interlock_checked_dir}/include/*.hpp)
target_include_directories(interlock_checked BEFORE PUBLIC
  $<BUILD_INTERFACE:${interlock_checked_dir}/include>
  $<INSTALL_INTERFACE:${CMAKE_INSTALL_INCLUDEDIR}/interlock-checked>)
target_sources(interlock_checked PUBLIC
  FILE_SET HEADERS BASE_DIRS ${PROJECT_SOURCE_DIR}/include ${INTERLOCK_PLATFORM_DIR}/include
  FILES ${interlock_public_headers} ${interlock_platform_headers}
  FILE_SET checked TYPE HEADERS BASE_DIRS ${interlock_checked_dir}/include FILES ${interlock_checked_headers})
# Each header alone: the shared ones are verified with the native platform.
set_target_properties(interlock_checked PROPERTIES INTERFACE_HEADER_SETS_TO_VERIFY checked)
