// SPDX-License-Identifier: Apache-2.0
#pragma once

/// The current CPU and task. See platforms/README.md.

#include "interlock/detail/local_words.hpp"
#include "interlock_platform/machine.h"
#include "interlock_platform/platform.hpp"

namespace interlock::inline INTERLOCK_PLATFORM::platform {

/// The words of the CPU that executes the caller. Context: any, NMI included.
/// Post: its id is set. A CPU is never seen for the first time by the core, and never ends.
[[nodiscard]] INTERLOCK_API cpu_words& this_cpu() noexcept;

/// The words of the current task (in an interrupt: of the task that it interrupted).
/// Post: its id is set, and `life` is `enlisted` until its exit hooks have run, then `dead`.
[[nodiscard]] INTERLOCK_API task_words& this_task() noexcept;

/// Every task of the machine is known from its start.
inline void enlist() noexcept {}

/// An interrupt is a flow of its own, and the machine knows when a task ends.
[[nodiscard]] inline bool may_be_in_signal_handler() noexcept { return false; }

/// An interrupt never halts the allocation of memory: that is one step of the machine.
inline constexpr bool handlers_may_allocate = true;

/// The number of CPUs on which tasks of the user run.
[[nodiscard]] inline unsigned online_processors() noexcept { return interlock_machine_cpus(); }

/// A second pause is over only when another flow has written what was read: a spin that took two
/// would hide the executions in which it ends by parking.
inline constexpr std::uint32_t pauses_max = 1;

/// An operation of the library is one step to granularity `user`: its code must be the library's.
inline constexpr bool inlines_fast_paths = false;

/// Who polls need not sleep in between: a pause of his ends with a change of what he has read.
inline constexpr bool pauses_wait = true;

/// The caller spins: it goes on after another flow's write. Context: any.
inline void cpu_relax() noexcept { interlock_machine_relax(); }

}  // namespace interlock::inline INTERLOCK_PLATFORM::platform
