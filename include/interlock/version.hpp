// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "interlock/annotate.hpp"

#define INTERLOCK_VERSION_MAJOR 0
#define INTERLOCK_VERSION_MINOR 1
#define INTERLOCK_VERSION_PATCH 0

/// The version of the library that is loaded, "MAJOR.MINOR.PATCH": compare it with the macros,
/// which say what the program was compiled against.
/// Context: any. Lifetime: static storage.
extern "C" INTERLOCK_API const char* interlock_version_string(void);
