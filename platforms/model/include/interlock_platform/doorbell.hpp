// SPDX-License-Identifier: Apache-2.0
#pragma once

/// Interrupt delivery: halting another CPU between any two of its steps.

#include <cstdint>

#include "interlock/result.hpp"
#include "interlock_platform/machine.h"
#include "interlock_platform/platform.hpp"

namespace interlock::inline INTERLOCK_PLATFORM::platform {

enum class doorbell : std::uint32_t {
  interrupt,  ///< maskable: the core's entry looks at the mask and returns if it is set
  nmi,        ///< never masked
};

/// Registers `entry`, which the machine runs as a flow on top of what the target CPU executes.
/// Errors: device_or_resource_busy if there is another one. Context: task. Idempotent.
INTERLOCK_API result<void> install_doorbell(doorbell bell, void (*entry)() noexcept) noexcept;

/// Rings: `entry` will run at least once on CPU `id` after this call. Rings may merge.
/// Errors: no_such_device (not installed), no_such_process. Context: any.
INTERLOCK_API result<void> ring_doorbell(std::uint32_t id, doorbell bell) noexcept;

/// Nobody else has a say in the machine's interrupts.
[[nodiscard]] inline bool doorbell_is_blocked(std::uint32_t, doorbell) noexcept { return false; }

/// There are no signals.
[[nodiscard]] inline int doorbell_signal(doorbell) noexcept { return 0; }

/// The caller's CPU takes no interrupt and no NMI until `release_doorbells`. Context: any.
inline void hold_doorbells() noexcept { interlock_machine_hold(true); }
inline void release_doorbells() noexcept { interlock_machine_hold(false); }

}  // namespace interlock::inline INTERLOCK_PLATFORM::platform
