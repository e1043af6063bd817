// SPDX-License-Identifier: Apache-2.0
#pragma once

/// Callbacks, as the rest of RCU asks for them.

#include "interlock/rcupdate.hpp"
#include "rcu/misuse.hpp"

namespace interlock::inline INTERLOCK_PLATFORM::detail {

/// True inside a callback, on the thread that runs it. Context: any.
[[nodiscard]] bool in_rcu_callback() noexcept;

/// Sees to it that a grace period passes which reaches `snapshot`. Context: any but NMI.
void request_grace_period(std::uint64_t snapshot) noexcept;

/// Notes the head and says what is to be done with it. False, and reported, if it is queued already.
/// Context: any but NMI.
[[nodiscard]] inline bool prepare(rcu_head& head, void (*func)(rcu_head*)) noexcept {
  if (!note_queued(head)) return false;
  head.func = func;
  platform::event::rcu_callback_queued(&head);
  return true;
}

/// Puts a prepared head into the queue of the calling task, and attends. Returns how many have been
/// queued there so far. Context: any but NMI.
std::uint64_t enqueue(rcu_head& head) noexcept;

/// Puts `count` prepared heads into the queue of the calling task: `newest`, and by `next` those before
/// it to `oldest`. Wakes nobody. Context: any but NMI.
void enqueue_chain(rcu_head& newest, rcu_head& oldest, std::uint64_t count) noexcept;

/// Bits of `callbacks_state::attention`; see callbacks.cpp.
namespace attention {
inline constexpr std::uint32_t asleep = 1u << 0;
inline constexpr std::uint32_t absent = 1u << 1;
inline constexpr std::uint32_t flood = 1u << 2;
inline constexpr std::uint32_t dozing = 1u << 3;
}  // namespace attention

struct alignas(64) callbacks_state {
  atomic<std::uint32_t> attention;
  atomic<std::uint32_t> callback_task;  // id of the task that runs callbacks now, 0 for none
  atomic<std::uint64_t> wanted;         // a grace period that somebody polls for
};
extern constinit callbacks_state callbacks;

/// Does what `seen` of the word says: wakes the worker or starts it, or waits for it under a flood.
void attend(std::uint32_t seen) noexcept;
/// Begins a flood if there is one. Context: any but NMI.
void look_at_backlog() noexcept;

/// What a producer does after it has left something for the worker. `but`: bits that do not concern
/// it. Context: any but NMI.
inline void attend_to_callbacks(std::uint32_t but = 0) noexcept {
  const std::uint32_t seen = callbacks.attention.load_seq_cst() & ~but;  // [A1] pairs with [A2]
  if (seen != 0) [[unlikely]]
    attend(seen);
}

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
