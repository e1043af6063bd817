// SPDX-License-Identifier: Apache-2.0
#pragma once

/// Giving back what the library took from the process: its service threads.

#include "interlock_platform/lifecycle.hpp"

namespace interlock::inline INTERLOCK_PLATFORM {

/// Runs what is queued (RCU callbacks), then joins every service thread. They start again on need,
/// so it may be called at any quiet point; it runs by itself when the library is unloaded.
/// Context: task, may sleep; no other thread may be inside Interlock.
inline void shutdown() noexcept { platform::run_shutdown_hooks(); }

}  // namespace interlock::inline INTERLOCK_PLATFORM
