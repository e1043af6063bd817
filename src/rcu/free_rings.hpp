// SPDX-License-Identifier: Apache-2.0
#pragma once

/// Blocks that `free_rcu` has been given, kept by the task that gave them until it may free them itself.
///
/// Their work is std::free alone, so it may be done wherever that may be called; done by the task
/// that also allocates, the block comes back from the allocator's cache of that task. See
/// free_rings.cpp.

#include <cstdlib>

#include "interlock/rcupdate.hpp"
#include "rcu/misuse.hpp"

namespace interlock::inline INTERLOCK_PLATFORM::detail {

/// A `func` up to it is an offset, of free_rcu.
inline constexpr std::uintptr_t largest_offset = 4095;

[[nodiscard]] inline bool is_freed_only(const rcu_head& head) noexcept {
  return reinterpret_cast<std::uintptr_t>(head.func) <= largest_offset;
}

/// Frees the block. Pre: is_freed_only(head), and its grace period is over.
inline void free_block_of(rcu_head& head) noexcept {
  note_invoked(head);
  platform::event::rcu_callback_invoked(&head);
  std::free(reinterpret_cast<unsigned char*>(&head) - reinterpret_cast<std::uintptr_t>(head.func));
}

enum class rings { that_stand_still, all };

/// Moves what the rings hold to the queue. Of `that_stand_still` those whose task gave nothing since
/// the last such call. Passes over who is inside its ring. Context: task, outside its own ring.
void empty_rings(rings which) noexcept;
/// The same of all, and waits for who is inside. What was kept before the call is in the queue, or
/// freed. Context: task, may sleep in the OS only.
void empty_rings_and_wait() noexcept;

/// Waits for a grace period and frees what the calling task had kept. Context: as rcu_barrier.
void free_own_ring() noexcept;

/// True if a ring holds something. Order: acquire; see free_rings.cpp for who is about to sleep.
[[nodiscard]] bool rings_hold_any() noexcept;
/// True if a task has a ring. Order: none; after a full barrier see [B5].
[[nodiscard]] bool rings_exist() noexcept;

struct ring_counts {
  std::uint64_t kept;
  std::uint64_t freed;
};
/// Of all that was not moved to the queue; `freed` is never more than `kept`. Context: any.
[[nodiscard]] ring_counts count_rings() noexcept;

/// Gives the memory of empty rings back; a task that needs it again allocates anew. Context: task.
void shrink_rings() noexcept;

// Lifecycle; see lifecycle.hpp of the platform.
void rings_task_exit() noexcept;
void rings_fork_prepare() noexcept;
void rings_fork_parent() noexcept;
/// Pre: the callbacks' lock is held, or nobody else exists. Moves what others kept to the queue.
void rings_fork_child() noexcept;

}  // namespace interlock::inline INTERLOCK_PLATFORM::detail
