// SPDX-License-Identifier: Apache-2.0

/// The executor that a task drains.
///
/// Invariants: I1. `posting_` counts whoever is inside post or stop. A post raises it before its
///   work can be taken, so that who has run that work, and then finds 0, knows that nobody touches
///   the queue, or the task of run(), any more.
/// Ordering:
///   [J1] a post pushes (seq_cst), then looks for a sleeper; its wake begins with a barrier [W2].
///   [J2] run() names itself, announces its state [W1], then looks at the queue.
///   Either the post finds the sleeper, or the sleeper finds the work.
///   [J3] leaving releases, [J4] waiting for the last to leave acquires.
/// Contexts: post and stop any but NMI, the rest task.

#include "interlock/coroutine.hpp"
#include "interlock/task.hpp"
#include "interlock_platform/park.hpp"

namespace interlock::inline INTERLOCK_PLATFORM {

task_queue::~task_queue() { await_posters(); }

void task_queue::wake_sleeper() noexcept {
  task* const sleeper = sleeper_.load_seq_cst();  // [J1] pairs with [J2]
  if (sleeper != nullptr) (void)wake_up_state(*sleeper, task_normal);
}

void task_queue::await_posters() noexcept {
  while (posting_.load_acquire() != 0) platform::yield();  // [J4] pairs with [J3]
}

void task_queue::post(task_work& work) noexcept {
  posting_.fetch_add_relaxed(1);  // ordered before the push by the push
  queue_.push(work.node);         // [J1]; `work` is the runner's from here
  wake_sleeper();
  posting_.fetch_sub_release(1);  // [J3]
}

void task_queue::stop() noexcept {
  posting_.fetch_add_relaxed(1);
  stopped_.store_seq_cst(1);  // [J1]
  wake_sleeper();
  posting_.fetch_sub_release(1);  // [J3]
}

std::size_t task_queue::run_ready() noexcept {
  std::size_t count = 0;
  llist_node* node = llist_reverse(queue_.take_all());
  while (node != nullptr) {
    task_work& work = *INTERLOCK_CONTAINER_OF(node, task_work, node);
    node = node->next;  // before the call, which may free it
    work.run(work);
    ++count;
  }
  return count;
}

void task_queue::run() noexcept {
  might_sleep();
  sleeper_.store_seq_cst(&current_task());  // [J2] pairs with [J1]
  while (true) {
    if (run_ready() != 0) continue;
    const bool stopped = stopped_.load_acquire() != 0;  // before the queue is looked at
    if (stopped && queue_.empty()) break;
    set_current_state(task_uninterruptible);  // [W1]
    if (queue_.empty() && stopped_.load_acquire() == 0) schedule();
    set_current_state_raw(task_running);
  }
  sleeper_.store_seq_cst(nullptr);
  await_posters();
}

}  // namespace interlock::inline INTERLOCK_PLATFORM
