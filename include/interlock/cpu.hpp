// SPDX-License-Identifier: Apache-2.0
#pragma once

/// CPUs: where interrupts are delivered. Natively a CPU is an OS thread, known from first use.

#include <cstdint>

#include "interlock/llist.hpp"
#include "interlock/preempt.hpp"
#include "interlock/result.hpp"

namespace interlock::inline INTERLOCK_PLATFORM {

/// Names a CPU; unique among live ones. Natively the OS thread id.
enum class cpu_id : std::uint32_t { none = 0 };

/// The CPU of the caller; makes it able to receive asynchronous interrupts (installs the doorbell,
/// allocates and starts the service CPU, the first time).
/// Context: task, a task may wait the first time; then any.
/// Errors: not_enough_memory; those of installing the doorbell (docs/interrupts.md): the signal is
///         taken by somebody else (device_or_resource_busy), or blocked by this thread
///         (operation_not_permitted); no_such_process on a thread whose end has begun; those of
///         `service_cpu`.
[[nodiscard]] INTERLOCK_API result<cpu_id> online_cpu() noexcept;

/// The CPU that serves threaded lines and timers; started on need.
/// Context: task, a task may wait for the start; elsewhere too once it runs. Errors: as kthread_run; too_many_files_open;
/// resource_unavailable_try_again where it would have to be started and the caller may not sleep.
[[nodiscard]] INTERLOCK_API result<cpu_id> service_cpu() noexcept;

namespace detail {
/// What waits to be served on a CPU: a line, an irq_work, a timer, a call. Embedded in its owner.
struct cpu_node {
  llist_node link{nullptr};
  /// Runs in hardirq context on the CPU that the node was queued on. `gone`: that CPU ends, its
  /// node was not served, and this is the CPU's last word: go elsewhere or give up.
  void (*run)(cpu_node& node, bool gone) noexcept;
};
}  // namespace detail

/// The id of the caller's CPU, whether or not it can receive interrupts. Context: any.
[[nodiscard]] INTERLOCK_API cpu_id smp_processor_id() noexcept;

/// True while the CPU can receive interrupts. Context: any. A hint: it may end at once.
[[nodiscard]] INTERLOCK_API bool cpu_is_online(cpu_id cpu) noexcept;

}  // namespace interlock::inline INTERLOCK_PLATFORM
