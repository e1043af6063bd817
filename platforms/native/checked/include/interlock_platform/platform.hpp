// SPDX-License-Identifier: Apache-2.0
#pragma once

/// Which platform this is: the native one with the lock validator. Looked into before native/include.

#include "interlock/annotate.hpp"

/// A name of its own, because an object whose locks announce nothing does not go with one whose do.
#define INTERLOCK_PLATFORM native_checked

extern "C" INTERLOCK_API const char interlock_platform_native_checked;

namespace interlock::inline INTERLOCK_PLATFORM::platform {
[[gnu::used]] static const char* const tag = &interlock_platform_native_checked;
}
