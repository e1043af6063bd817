// SPDX-License-Identifier: Apache-2.0

/// Wait queues.
///
/// Invariants:
///   I1. An entry is on the list or points to itself; both under wq.lock. A waker takes off those
///       that it wakes, so "not on the list" means "a wake was spent on it".
///   I2. A waker uses a sleeper's task only under wq.lock, and every sleeper passes wq.lock once
///       more before its wait returns (finish_wait): so neither the entry nor the task ends too
///       soon.
///   I3. Non-exclusive entries precede exclusive ones.
/// Ordering: [W1] prepare_to_wait: queued and state, barrier, predicate.
///           [W2] wake_up_mask: predicate, barrier, queued and state.
///   A waker that sees `queued` zero has passed its barrier before the sleeper passed [W1]'s, so
///   the sleeper sees the predicate.

#include "interlock/wait_queue.hpp"

namespace interlock::inline INTERLOCK_PLATFORM {
namespace {

void enqueue(wait_queue& wq, wait_queue_entry& entry) noexcept {
  if (entry.exclusive) {
    list_add_tail(entry.node, wq.sleepers);
  } else {
    list_add(entry.node, wq.sleepers);
  }
  wq.queued.store_relaxed(wq.queued.load_relaxed() + 1);
}

void dequeue(wait_queue& wq, wait_queue_entry& entry) noexcept {
  list_del_init(entry.node);
  wq.queued.store_relaxed(wq.queued.load_relaxed() - 1);
}

}  // namespace

void init_wait_entry(wait_queue_entry& entry, bool exclusive) noexcept {
  list_init(entry.node);
  entry.sleeper = &current_task();
  entry.exclusive = exclusive;
}

void prepare_to_wait_locked(wait_queue& wq, wait_queue_entry& entry, task_state state) noexcept {
  if (list_empty(entry.node)) enqueue(wq, entry);
  set_current_state(state);  // [W1] pairs with [W2]
}

void prepare_to_wait(wait_queue& wq, wait_queue_entry& entry, task_state state) noexcept {
  guard g{irqsave, wq.lock};
  prepare_to_wait_locked(wq, entry, state);
}

void wake_up_locked(wait_queue& wq, task_state mask, unsigned exclusive) noexcept {
  list_head* node = wq.sleepers.next;
  while (node != &wq.sleepers) {
    wait_queue_entry& entry = *INTERLOCK_CONTAINER_OF(node, wait_queue_entry, node);
    node = node->next;
    if (!wake_up_state(*entry.sleeper, mask)) continue;  // [W2] pairs with [W1]
    dequeue(wq, entry);
    if (entry.exclusive && exclusive != 0 && --exclusive == 0) return;
  }
}

void wake_up_mask(wait_queue& wq, task_state mask, unsigned exclusive) noexcept {
  smp_mb();  // [W2] pairs with [W1]
  if (!wait_queue_active(wq)) return;
  guard g{irqsave, wq.lock};
  wake_up_locked(wq, mask, exclusive);
}

void finish_wait_locked(wait_queue& wq, wait_queue_entry& entry, bool pass_on) noexcept {
  set_current_state_raw(task_running);
  if (!list_empty(entry.node)) {
    dequeue(wq, entry);
  } else if (entry.exclusive && pass_on) {
    wake_up_locked(wq, task_normal, 1);
  }
}

void finish_wait(wait_queue& wq, wait_queue_entry& entry, bool pass_on) noexcept {
  guard g{irqsave, wq.lock};  // always: the waker may still be inside (I2)
  finish_wait_locked(wq, entry, pass_on);
}

}  // namespace interlock::inline INTERLOCK_PLATFORM
