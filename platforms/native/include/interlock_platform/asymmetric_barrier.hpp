// SPDX-License-Identifier: Apache-2.0
#pragma once

/// The asymmetric barrier: free for readers, dear for updaters. See platforms/README.md.
/// Source: membarrier(2); Dice, Huang, Yang, "Asymmetric Dekker Synchronization" (2001).

#include "interlock/barrier.hpp"
#include "interlock_platform/platform.hpp"

namespace interlock::inline INTERLOCK_PLATFORM::platform {

/// The reader's half. Order: with `heavy_barrier` on another CPU it acts as a full barrier on both.
/// Requires: `heavy_barrier_is_asymmetric()`; where it is false the reader must use `smp_mb`.
inline void light_barrier() noexcept { barrier(); }

/// The updater's half: after it, every thread of this process has passed a full barrier since the
/// call began. Context: any that may take a system call. May sleep: no.
INTERLOCK_API void heavy_barrier() noexcept;

/// False where the system offers no membarrier (old kernel, seccomp, option `membarrier=0`): then
/// `heavy_barrier` is `smp_mb` and readers must pay for theirs. Constant after the first call.
[[nodiscard]] INTERLOCK_API bool heavy_barrier_is_asymmetric() noexcept;

}  // namespace interlock::inline INTERLOCK_PLATFORM::platform
