// SPDX-License-Identifier: Apache-2.0
#pragma once

/// Wait queues: tasks that sleep until a predicate holds, and those who tell them to look again.
///
/// Ordering: the two-sided rule of task.hpp. `wait_event` announces its state [W1] before it tests
/// the predicate; `wake_up` passes a full barrier [W2] before it looks for sleepers. So a waker
/// that made the predicate true before `wake_up` is seen, with or without a lock around the
/// predicate. Source: Linux include/linux/wait.h (semantics).

#include "interlock/list.hpp"
#include "interlock/result.hpp"
#include "interlock/spinlock.hpp"
#include "interlock/task.hpp"

namespace interlock::inline INTERLOCK_PLATFORM {

/// C layout. Lifetime: may be destroyed once every wait has returned and every wake that was begun
/// has returned.
struct wait_queue {
  /// Nobody waits. The class of its lock is its declaration, see lock_class.hpp.
  /// Context: any but NMI.
  template <class Here = decltype([] {})>
  INTERLOCK_ALWAYS_INLINE constexpr wait_queue(declared_at here = declared_at::current()) noexcept
      : wait_queue{declaration<Here>{}, here.where(), "lock"} {}
  /// As `part` of a larger primitive, declared by `Here`. Internal; `part` has static storage.
  template <class Here>
  INTERLOCK_ALWAYS_INLINE constexpr wait_queue(declaration<Here> here, location where,
                                               const char* part) noexcept
      : lock{here, where, part}, sleepers{&sleepers, &sleepers} {}
  /// See spinlock. Internal.
  explicit wait_queue(spinlock::remade anew) noexcept
      : lock{anew}, sleepers{&sleepers, &sleepers} {}
  wait_queue(const wait_queue&) = delete;
  wait_queue& operator=(const wait_queue&) = delete;

  spinlock lock;                    ///< taken with irqsave, so that handlers may wake
  atomic<std::uint32_t> queued{0};  ///< length of the list; written under the lock, read without
  list_head sleepers;               ///< of wait_queue_entry::node; non-exclusive ones first
};

/// One waiter; caller-owned, on the stack of the wait.
struct wait_queue_entry {
  list_head node;
  task* sleeper;
  bool exclusive;
};

/// Queues `entry` (if it is not queued) and sets the state. Order: [W1] full barrier.
/// Context: task.
INTERLOCK_API void prepare_to_wait(wait_queue& wq, wait_queue_entry& entry,
                                   task_state state) noexcept;
INTERLOCK_API void init_wait_entry(wait_queue_entry& entry, bool exclusive) noexcept;
/// `prepare_to_wait` and `wake_up_mask` for callers that hold wq.lock already.
/// Context: task; holds wq.lock.
INTERLOCK_API void prepare_to_wait_locked(wait_queue& wq, wait_queue_entry& entry,
                                          task_state state) noexcept INTERLOCK_REQUIRES(wq.lock);
/// Context: any but NMI; holds wq.lock.
INTERLOCK_API void wake_up_locked(wait_queue& wq, task_state mask, unsigned exclusive) noexcept
    INTERLOCK_REQUIRES(wq.lock);
/// Sets `running` and takes `entry` off. If it was exclusive and a wake was spent on it although
/// the wait ends otherwise (`pass_on`), the wake goes to the next.
/// Context: task.
INTERLOCK_API void finish_wait(wait_queue& wq, wait_queue_entry& entry, bool pass_on) noexcept;
/// Context: task; holds wq.lock.
INTERLOCK_API void finish_wait_locked(wait_queue& wq, wait_queue_entry& entry,
                                      bool pass_on) noexcept INTERLOCK_REQUIRES(wq.lock);

/// Wakes all non-exclusive sleepers in `mask` and up to `exclusive` exclusive ones (0: all), and
/// takes them off, so that the next wake finds the next ones.
/// Context: any but NMI; takes wq.lock with irqsave, unless nobody is queued.
/// Order:   [W2] full barrier first.
INTERLOCK_API void wake_up_mask(wait_queue& wq, task_state mask, unsigned exclusive) noexcept;

/// Context: any but NMI.
inline void wake_up(wait_queue& wq) noexcept { wake_up_mask(wq, task_normal, 1); }
/// Up to `count` exclusive waiters; 0: all. Context: any but NMI.
inline void wake_up_nr(wait_queue& wq, unsigned count) noexcept {
  wake_up_mask(wq, task_normal, count);
}
/// Context: any but NMI.
inline void wake_up_all(wait_queue& wq) noexcept { wake_up_mask(wq, task_normal, 0); }
/// Context: any but NMI.
inline void wake_up_interruptible(wait_queue& wq) noexcept {
  wake_up_mask(wq, task_interruptible, 1);
}
/// Somebody is queued. Order: none; the caller needs a full barrier before it (see the file head).
/// Context: any.
[[nodiscard]] inline bool wait_queue_active(const wait_queue& wq) noexcept {
  return wq.queued.load_relaxed() != 0;
}

namespace detail {

enum class wait_end { condition, interrupted, timed_out };

template <class Predicate>
wait_end wait_event(wait_queue& wq, Predicate& predicate, task_state state, bool exclusive,
                    deadline until, location where) noexcept {
  might_sleep(where);
  if (predicate()) return wait_end::condition;
  wait_queue_entry entry;
  init_wait_entry(entry, exclusive);
  wait_end end = wait_end::condition;
  while (true) {
    prepare_to_wait(wq, entry, state);
    if (predicate()) break;
    if (signal_pending_state(state)) {
      end = wait_end::interrupted;
      break;
    }
    if (!schedule_until(until, where)) {
      end = predicate() ? wait_end::condition : wait_end::timed_out;
      break;
    }
  }
  finish_wait(wq, entry, end != wait_end::condition);
  return end;
}

}  // namespace detail

/// Sleeps until `predicate()` holds. The predicate runs with the task's state announced already: it
/// MUST NOT sleep. Context: task, may sleep. Not ended by signals.
template <class Predicate>
void wait_event(wait_queue& wq, Predicate predicate,
                location where = location::current()) noexcept {
  (void)detail::wait_event(wq, predicate, task_uninterruptible, false, no_deadline, where);
}

/// False if `until` passed first.
/// Context: task, may sleep.
template <class Predicate>
[[nodiscard]] bool wait_event_until(wait_queue& wq, Predicate predicate, deadline until,
                                    location where = location::current()) noexcept {
  return detail::wait_event(wq, predicate, task_uninterruptible, false, until, where) ==
         detail::wait_end::condition;
}

namespace detail {
inline result<void> wait_result(wait_end end) noexcept {
  if (end == wait_end::interrupted) return error::interrupted;
  if (end == wait_end::timed_out) return error::timed_out;
  return {};
}
}  // namespace detail

/// Errors: interrupted, on any task signal; timed_out. Context: task, may sleep.
template <class Predicate>
[[nodiscard]] result<void> wait_event_interruptible(wait_queue& wq, Predicate predicate,
                                                    deadline until = no_deadline,
                                                    location where = location::current()) noexcept {
  return detail::wait_result(
      detail::wait_event(wq, predicate, task_interruptible, false, until, where));
}

/// Errors: interrupted, on `task_signal::kill`; timed_out. Context: task, may sleep.
template <class Predicate>
[[nodiscard]] result<void> wait_event_killable(wait_queue& wq, Predicate predicate,
                                               deadline until = no_deadline,
                                               location where = location::current()) noexcept {
  return detail::wait_result(detail::wait_event(wq, predicate, task_killable, false, until, where));
}

/// Exclusive: `wake_up` wakes one of them. Errors as the interruptible form; a wake that finds the
/// waiter leaving by error goes on to the next.
/// Context: task, may sleep.
template <class Predicate>
[[nodiscard]] result<void> wait_event_interruptible_exclusive(
    wait_queue& wq, Predicate predicate, deadline until = no_deadline,
    location where = location::current()) noexcept {
  return detail::wait_result(
      detail::wait_event(wq, predicate, task_interruptible, true, until, where));
}
/// Context: task, may sleep.
template <class Predicate>
void wait_event_exclusive(wait_queue& wq, Predicate predicate,
                          location where = location::current()) noexcept {
  (void)detail::wait_event(wq, predicate, task_uninterruptible, true, no_deadline, where);
}

}  // namespace interlock::inline INTERLOCK_PLATFORM
