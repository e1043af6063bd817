// SPDX-License-Identifier: Apache-2.0
#pragma once

/// Callbacks, as the rest of RCU asks for them.

#include "interlock/rcupdate.hpp"

namespace interlock::inline INTERLOCK_PLATFORM::detail {

/// True inside a callback, on the thread that runs it. Context: any.
[[nodiscard]] bool in_rcu_callback() noexcept;

/// Sees to it that a grace period passes which reaches `snapshot`. Context: any but NMI.
void request_grace_period(std::uint64_t snapshot) noexcept;

/// Starts the worker if something waits for it and none runs; every operation of RCU that a task
/// makes calls it, and the service CPU. Context: any; does nothing where no thread may be started.
void start_worker_if_needed() noexcept;

/// Waits for the callbacks that were queued before. Pre: a task outside readers and callbacks.
void wait_for_callbacks() noexcept;

/// Fills in what concerns callbacks.
void read_callback_statistics(rcu_statistics& out) noexcept;

// Lifecycle; see lifecycle.hpp of the platform.
void callbacks_fork_prepare() noexcept;
void callbacks_fork_parent() noexcept;
void callbacks_fork_child() noexcept;
void callbacks_shutdown() noexcept;

}  // namespace interlock::inline INTERLOCK_PLATFORM::detail
