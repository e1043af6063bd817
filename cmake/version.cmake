# SPDX-License-Identifier: Apache-2.0
# The version stands in one place, include/interlock/version.hpp.

file(STRINGS ${CMAKE_CURRENT_LIST_DIR}/../include/interlock/version.hpp interlock_version_lines
     REGEX "^#define INTERLOCK_VERSION_(MAJOR|MINOR|PATCH) [0-9]+$")
string(REGEX REPLACE "[^;]* ([0-9]+)" "\\1" interlock_version "${interlock_version_lines}")
string(REPLACE ";" "." interlock_version "${interlock_version}")
if(NOT interlock_version MATCHES "^[0-9]+\\.[0-9]+\\.[0-9]+$")
  message(FATAL_ERROR "include/interlock/version.hpp does not state MAJOR, MINOR and PATCH.")
endif()
set_property(DIRECTORY APPEND PROPERTY CMAKE_CONFIGURE_DEPENDS
             ${CMAKE_CURRENT_LIST_DIR}/../include/interlock/version.hpp)
