// SPDX-License-Identifier: Apache-2.0
#pragma once

/// The asymmetric barrier: free for readers, dear for updaters. See platforms/README.md.

#include "interlock/barrier.hpp"
#include "interlock_platform/machine.h"
#include "interlock_platform/platform.hpp"

namespace interlock::inline INTERLOCK_PLATFORM::platform {

/// The reader's half. Order: with `heavy_barrier` on another CPU it acts as a full barrier on both.
inline void light_barrier() noexcept { barrier(); }

/// The updater's half: the machine puts a full barrier into every CPU. Context: any.
inline void heavy_barrier() noexcept { interlock_machine_heavy_barrier(); }

[[nodiscard]] inline bool heavy_barrier_is_asymmetric() noexcept { return true; }

}  // namespace interlock::inline INTERLOCK_PLATFORM::platform
