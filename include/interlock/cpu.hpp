// SPDX-License-Identifier: Apache-2.0
#pragma once

/// CPUs: where interrupts are delivered. Natively a CPU is an OS thread, known from first use.

#include <cstdint>

#include "interlock/preempt.hpp"
#include "interlock/result.hpp"

namespace interlock::inline INTERLOCK_PLATFORM {

/// Names a CPU; unique among live ones. Natively the OS thread id.
enum class cpu_id : std::uint32_t { none = 0 };

/// The CPU of the caller; makes it able to receive asynchronous interrupts (installs the doorbell
/// and allocates, the first time). Context: task the first time, then any.
/// Errors: not_enough_memory; those of installing the doorbell (docs/contexts.md): the signal is
///         taken by somebody else, or blocked by this thread (operation_not_permitted).
[[nodiscard]] INTERLOCK_API result<cpu_id> online_cpu() noexcept;

/// The CPU that serves threaded lines and timers; started on need. Errors: as kthread_run.
[[nodiscard]] INTERLOCK_API result<cpu_id> service_cpu() noexcept;

/// The id of the caller's CPU, whether or not it can receive interrupts. Context: any.
[[nodiscard]] INTERLOCK_API cpu_id smp_processor_id() noexcept;

/// True while the CPU can receive interrupts. Context: any. A hint: it may end at once.
[[nodiscard]] INTERLOCK_API bool cpu_is_online(cpu_id cpu) noexcept;

}  // namespace interlock::inline INTERLOCK_PLATFORM
