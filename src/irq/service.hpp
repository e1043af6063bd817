// SPDX-License-Identifier: Apache-2.0
#pragma once

/// The service CPU: the thread that serves threaded lines, timers, and what has no CPU any more.

#include "irq/descriptor.hpp"

namespace interlock::inline INTERLOCK_PLATFORM {
struct irq_line;
}

namespace interlock::inline INTERLOCK_PLATFORM::detail {

/// Queues `node` there. It is never lost: while there is no service CPU, the node waits for the
/// next one, which is started now if the caller may sleep. Context: any.
void post_to_service(cpu_node& node) noexcept;

/// Starts it if something waits for one: nodes, armed timers, lines with a descriptor, threaded
/// halves to be started again. Operations of a task end with it; it does nothing where the caller may
/// not sleep or is in a fence signalling section, which allocates nothing. Context: any.
void serve_orphans() noexcept;
/// The same for a task that is about to wait for what only the service CPU may bring: in a
/// signalling section too. Context: task, may sleep.
void serve_orphans_to_wait() noexcept;

/// Makes it look at timers, failed rings and threads to be started. No effect if it does not run.
/// Context: any; async-signal-safe.
void wake_service() noexcept;

/// The service CPU runs, started now if it must be. Errors: as service_cpu.
[[nodiscard]] result<cpu_id> require_service() noexcept;

/// Asks it to ring again where the OS refused. Context: any.
void ring_again_later() noexcept;
/// Asks it to start threaded halves that a fork has ended. Context: any.
void restart_threads_later() noexcept;

/// Puts a line with a descriptor on the list of lines, and has the descriptor watched: now, or by
/// the next service CPU if there is none. Context: task.
[[nodiscard]] result<void> watch_new_line(irq_line& line) noexcept;
/// The same for lines that a new service CPU finds. Context: task, the service CPU is starting.
void watch_again(int fd, std::uint64_t cookie) noexcept;
void rearm_descriptor(int fd, std::uint64_t cookie) noexcept;
void unwatch_descriptor(int fd) noexcept;

// What the service CPU calls in turn.

// hrtimer.cpp
/// Posts what is due and says when the next is. Context: task, on the service CPU.
[[nodiscard]] deadline serve_timers() noexcept;

/// True if a timer is armed. Context: any.
[[nodiscard]] bool timers_wait() noexcept;

// line.cpp
/// True if a line has a descriptor. Context: any.
[[nodiscard]] bool descriptors_wait() noexcept;
void link_line(irq_line& line) noexcept;
/// Of a line that could not watch its descriptor, which may be another line's.
void keep_off_descriptor(irq_line& line) noexcept;
/// A descriptor is readable: raises its line. Context: task, on the service CPU.
void descriptor_is_ready(std::uint64_t cookie) noexcept;
/// Adds all lines with descriptors to a new poller. Context: task.
void watch_all_descriptors() noexcept;
/// Context: task, on the service CPU.
[[nodiscard]] bool restart_threads() noexcept;

}  // namespace interlock::inline INTERLOCK_PLATFORM::detail
