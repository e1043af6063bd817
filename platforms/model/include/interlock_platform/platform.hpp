// SPDX-License-Identifier: Apache-2.0
#pragma once

/// Which platform this is. Chosen by include path; nothing else in the tree asks.

#include "interlock/annotate.hpp"

/// The inline namespace of everything above the platform: `interlock::simulated::spinlock` is spelled
/// `interlock::spinlock`, and mangles differently on each platform. (`interlock::model` is what explores.)
#define INTERLOCK_PLATFORM simulated

/// Defined by the model platform's library only. Every object that includes an Interlock header
/// references it, so an object built for another platform does not link, `extern "C"` included.
extern "C" INTERLOCK_API const char interlock_platform_model;

namespace interlock::inline INTERLOCK_PLATFORM::platform {
[[gnu::used]] static const char* const tag = &interlock_platform_model;
}
