// SPDX-License-Identifier: Apache-2.0
#pragma once

/// What each part of the irq layer does when a thread ends, the process forks, the library stops.

#include "interlock_platform/lifecycle.hpp"

namespace interlock::inline INTERLOCK_PLATFORM::detail {

/// Installed by entry.cpp, without which nothing here is of use: so a static library never gives a
/// program the one without the other.
extern constinit platform::lifecycle_hook irq_hook;
extern constinit platform::lifecycle_hook hold_back_hook;

// cpu.cpp
void cpus_fork_prepare() noexcept;
void cpus_fork_parent() noexcept;
void cpus_fork_child() noexcept;

// line.cpp: the child first forgets who was serving lines, and queues them again at the end.
void lines_fork_prepare() noexcept;
void lines_fork_parent() noexcept;
void lines_fork_child_reset() noexcept;
void lines_fork_child_resume() noexcept;

// hrtimer.cpp
void timers_fork_prepare() noexcept;
void timers_fork_parent() noexcept;
void timers_fork_child() noexcept;

// service.cpp
void service_fork_child() noexcept;
void stop_service() noexcept;

}  // namespace interlock::inline INTERLOCK_PLATFORM::detail
