// SPDX-License-Identifier: Apache-2.0
#include "interlock/version.hpp"

#define INTERLOCK_STRINGIZE_(x) #x
#define INTERLOCK_STRINGIZE(x) INTERLOCK_STRINGIZE_(x)

const char* interlock_version_string(void) {
  return INTERLOCK_STRINGIZE(INTERLOCK_VERSION_MAJOR) "." INTERLOCK_STRINGIZE(
      INTERLOCK_VERSION_MINOR) "." INTERLOCK_STRINGIZE(INTERLOCK_VERSION_PATCH);
}
