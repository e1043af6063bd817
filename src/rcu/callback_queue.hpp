// SPDX-License-Identifier: Apache-2.0
#pragma once

/// One shard of the queued callbacks: a lock-free stack that all push to, and what was taken from
/// it.
///
/// Invariants: Q1. `queued` counts a head before it is pushed, `invoked` after its callback has
///                 returned; so `invoked <= queued`, and equal means that nothing is outstanding.
///                 Markers are in neither.
///             Q2. `taken` is a chain in the order of arrival. It stands here and not on the
///                 worker's stack so that the child of a fork, which has no worker, finds it.
/// Ordering: [C1] push publishes the head; [C2] take acquires it: what happened before call_rcu
///           happens before the callback.
///           [C3] `invoked`, released; [C4] acquired by who waits for callbacks.

#include "interlock/rcupdate.hpp"
#include "rcu/short_lock.hpp"

namespace interlock::inline INTERLOCK_PLATFORM::detail {

class callback_queue {
 public:
  /// `newest`, and by `next` those before it to `oldest`. Context: any but NMI. Order: [C1], seq_cst.
  void push(rcu_head& newest, rcu_head& oldest) noexcept {
    rcu_head* seen = first_.load_relaxed();
    do {
      oldest.next = seen;
    } while (!first_.compare_exchange_seq_cst(seen, &newest));  // [C1] pairs with [C2]
  }
  void push(rcu_head& head) noexcept { push(head, head); }

  /// Counts heads that will be pushed. Returns the count.
  std::uint64_t count_queued(std::uint64_t heads) noexcept {
    return queued_.fetch_add_relaxed(heads) + heads;
  }

  /// Order: seq_cst, after a push or before a sleep.
  [[nodiscard]] bool has_arrivals() const noexcept { return first_.load_seq_cst() != nullptr; }
  [[nodiscard]] bool has_taken() const noexcept { return taken_.load_relaxed() != nullptr; }

  [[nodiscard]] std::uint64_t queued() const noexcept { return queued_.load_relaxed(); }
  [[nodiscard]] std::uint64_t invoked() const noexcept {
    return invoked_.load_acquire();  // [C4] pairs with [C3]
  }

  // --- for who holds the callbacks' lock ---

  /// Moves what has arrived to the end of what was taken, oldest first.
  void take_arrivals() noexcept {
    if (first_.load_relaxed() == nullptr) return;
    rcu_head* newest = first_.exchange_seq_cst(nullptr);  // [C2] pairs with [C1]
    rcu_head* const last = newest;
    rcu_head* oldest = nullptr;
    while (newest != nullptr) {
      rcu_head* const next = newest->next;
      newest->next = oldest;
      oldest = newest;
      newest = next;
    }
    if (taken_.load_relaxed() == nullptr) {
      taken_.store_relaxed(oldest);
    } else {
      taken_last_->next = oldest;
    }
    taken_last_ = last;
  }

  /// Takes the oldest one; null if there is none.
  rcu_head* pop() noexcept {
    rcu_head* const head = taken_.load_relaxed();
    if (head != nullptr) taken_.store_relaxed(head->next);
    return head;
  }

  void count_invoked() noexcept {
    invoked_.store_release(invoked_.load_relaxed() + 1);  // [C3] pairs with [C4]
  }

  /// In the child of a fork: pushes that other threads had begun will never end.
  void recount(std::uint64_t outstanding) noexcept {
    queued_.store_relaxed(invoked_.load_relaxed() + outstanding);
  }
  void put_back(rcu_head* chain, rcu_head* last) noexcept {
    taken_.store_relaxed(chain);
    taken_last_ = last;
  }

 private:
  alignas(64) atomic<rcu_head*> first_{nullptr};
  atomic<std::uint64_t> queued_{0};

  alignas(64) atomic<rcu_head*> taken_{nullptr};  // written by who holds the lock
  rcu_head* taken_last_ = nullptr;
  atomic<std::uint64_t> invoked_{0};
};

}  // namespace interlock::inline INTERLOCK_PLATFORM::detail
