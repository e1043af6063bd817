// SPDX-License-Identifier: Apache-2.0
#pragma once

/// Tasks that wait until handlers have returned: cheap for the handlers while nobody waits.
///
/// Ordering:
///   waiter                               handler's end
///   count += 1            [J1]           change what the predicate reads   [J3]
///   test the predicate    [J2]           read count                        [J4]
/// All seq_cst, or J2 and J3 under one lock: not both can miss the other.

#include "interlock/wait_queue.hpp"

namespace interlock::inline INTERLOCK_PLATFORM::detail {

class irq_waiters {
 public:
  constexpr irq_waiters() noexcept = default;
  /// After a fork.
  explicit irq_waiters(spinlock::remade anew) noexcept : queue_{anew} {}

  /// Context: task, may sleep.
  template <class Predicate>
  void wait(Predicate predicate, location where) noexcept {
    count_.fetch_add_seq_cst(1);  // [J1] pairs with [J4]
    serve_orphans_to_wait();      // what ends the wait may need a service CPU
    wait_event(queue_, predicate, where);
    count_.fetch_sub_release(1);
  }

  /// Context: any but NMI. Order: [J4] read-modify-write, for predicates of any order.
  void wake() noexcept {
    if (count_.fetch_add_seq_cst(0) != 0) wake_up_all(queue_);  // [J4] pairs with [J1]
  }

 private:
  atomic<std::uint32_t> count_{0};
  wait_queue queue_;
};

}  // namespace interlock::inline INTERLOCK_PLATFORM::detail
