// SPDX-License-Identifier: Apache-2.0
#pragma once

/// Interrupt delivery: halting another CPU between any two of its instructions.

#include <cstdint>

#include "interlock/result.hpp"
#include "interlock_platform/platform.hpp"

namespace interlock::inline INTERLOCK_PLATFORM::platform {

enum class doorbell : std::uint32_t {
  interrupt,  ///< maskable: the core's entry looks at the mask and returns if it is set
  nmi,        ///< never masked
};

/// Registers `entry`, which the platform calls on the target CPU, between two instructions, each
/// time the doorbell was rung. `entry` may itself be interrupted by either doorbell. errno is kept.
/// Natively each doorbell is a real-time signal: option `irq_signal` / `nmi_signal`, by default the
/// first of SIGRTMAX-1 downwards that the process does not handle. Never SIGURG.
/// Errors: device_or_resource_busy if the signal of the option is handled by somebody else, or none
///         is free; invalid_argument if it is not a real-time signal.
/// Context: task. Idempotent for the same entry.
INTERLOCK_API result<void> install_doorbell(doorbell bell, void (*entry)() noexcept) noexcept;

/// Rings: `entry` will run at least once on CPU `id` after this call. Rings may merge.
/// Pre:     the CPU's thread has not ended (callers hold off its exit hook).
/// Errors:  no_such_process; resource_unavailable_try_again (RLIMIT_SIGPENDING).
/// Context: any; one system call; async-signal-safe.
INTERLOCK_API result<void> ring_doorbell(std::uint32_t id, doorbell bell) noexcept;

/// True if CPU `id` has blocked the doorbell (pthread_sigmask), so that it would never come.
/// Context: task; reads /proc for CPUs other than the caller's.
[[nodiscard]] INTERLOCK_API bool doorbell_is_blocked(std::uint32_t id, doorbell bell) noexcept;

/// The signal number in use, or 0 if not installed.
[[nodiscard]] INTERLOCK_API int doorbell_signal(doorbell bell) noexcept;

/// Blocks both doorbells for the caller until `release_doorbells`; the real mask, two system calls.
/// For teardown only. Context: any.
INTERLOCK_API void hold_doorbells() noexcept;
INTERLOCK_API void release_doorbells() noexcept;

}  // namespace interlock::inline INTERLOCK_PLATFORM::platform
