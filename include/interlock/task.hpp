// SPDX-License-Identifier: Apache-2.0
#pragma once

/// Tasks: what sleeps and is woken. Natively every thread is one; it needs no registration.
///
/// Sleeping without losing a wake is a protocol of three steps, as in the kernel:
///
///   sleeper                                waker
///   set_current_state(task_interruptible)  condition = true
///     [W1] full barrier                    wake_up_state(task, task_normal)
///   if (!condition)                          [W2] full barrier
///     schedule();                            if (task.state matches) state = running, unpark
///   set_current_state_raw(task_running)
///
/// Either the sleeper sees the condition (W1), or the waker sees the state (W2); both may be.
/// Source: Linux kernel/sched/core.c, set_current_state and try_to_wake_up (semantics).

#include <cstdint>

#include "interlock/might_sleep.hpp"
#include "interlock/refcount.hpp"
#include "interlock/time.hpp"

namespace interlock::inline INTERLOCK_PLATFORM {

/// Task states, bits as in the kernel, so that a wake can name several.
enum class task_state : std::uint32_t {
  running = 0x0000,
  interruptible = 0x0001,    ///< ends on a wake or a task signal
  uninterruptible = 0x0002,  ///< ends on a wake only
  dead = 0x0080,
  wakekill = 0x0100,
  killable = wakekill | uninterruptible,  ///< ends on a wake or a kill
  normal = interruptible | uninterruptible,
};
[[nodiscard]] constexpr task_state operator|(task_state a, task_state b) noexcept {
  return static_cast<task_state>(static_cast<std::uint32_t>(a) | static_cast<std::uint32_t>(b));
}
/// Context: any.
[[nodiscard]] constexpr bool intersects(task_state a, task_state b) noexcept {
  return (static_cast<std::uint32_t>(a) & static_cast<std::uint32_t>(b)) != 0;
}

inline constexpr task_state task_running = task_state::running;
inline constexpr task_state task_interruptible = task_state::interruptible;
inline constexpr task_state task_uninterruptible = task_state::uninterruptible;
inline constexpr task_state task_killable = task_state::killable;
inline constexpr task_state task_normal = task_state::normal;

/// Signals between tasks: bits that stay pending until the task clears them. Not POSIX signals.
enum class task_signal : std::uint32_t {
  interrupt = 1,  ///< ends interruptible sleeps
  kill = 2,       ///< ends interruptible and killable sleeps; a kill is never cleared
};

/// A thread of execution. Opaque: see the functions below.
/// Lifetime: counted; a `ref_ptr<task>` keeps it valid after its thread has ended, when its state
///           is `dead` and wakes do nothing.
struct task;
/// Context: any but NMI.
INTERLOCK_API void intrusive_get(task& t) noexcept;
/// Context: any but NMI.
INTERLOCK_API void intrusive_put(task& t) noexcept;

/// The task that runs, or that the running interrupt halted.
/// Context: any once the thread has called it in task context; the first call allocates.
[[nodiscard]] INTERLOCK_API task& current_task() noexcept;
[[nodiscard]] INTERLOCK_API ref_ptr<task> current_task_ref() noexcept;

/// Unique among live tasks; natively the OS thread id. Context: any.
[[nodiscard]] INTERLOCK_API std::uint32_t task_id(const task& t) noexcept;
/// At most 15 bytes. Context: any. Lifetime: the task's.
[[nodiscard]] INTERLOCK_API const char* task_name(const task& t) noexcept;
[[nodiscard]] INTERLOCK_API task_state state_of(const task& t) noexcept;
/// How often the task was woken from a real sleep (a park that blocked). Context: any.
[[nodiscard]] INTERLOCK_API std::uint64_t wakeups_of(const task& t) noexcept;

/// Announces a sleep. Order: [W1] store, then a full barrier; pairs with [W2] of the wakers.
/// Context: task, preemption allowed on leaving to `schedule`.
INTERLOCK_API void set_current_state(task_state state) noexcept;
/// The same without a barrier: for going to `running`, or under a lock that every waker takes too.
/// Context: task.
INTERLOCK_API void set_current_state_raw(task_state state) noexcept;

/// Sleeps until the state is `running`: set by a waker, or at once if a signal is pending that the
/// state listens to. In state `running` it yields. State `running` on return.
/// Context: task, may sleep ("BUG: scheduling while atomic" otherwise). An asynchronous interrupt
/// runs while the task sleeps, on its stack.
/// Order: a full barrier.
INTERLOCK_API void schedule(location where = location::current()) noexcept;

/// The same with a relative timeout. Returns what was left of it, 0 if it passed; a call in state
/// `running` yields. A negative timeout is reported, and returns 0 with state `running`.
/// Unit: nanoseconds. `max_schedule_timeout` sets no timer and returns itself.
/// Context: task, may sleep.
INTERLOCK_API ktime schedule_timeout(ktime timeout, location where = location::current()) noexcept;

/// The same with an absolute deadline; false if it has passed, also when a wake ended the sleep.
/// Context: task, may sleep.
INTERLOCK_API bool schedule_until(deadline until, location where = location::current()) noexcept;

/// Wakes `t` if its state is in `mask`. True if it did.
/// Order: [W2] full barrier before the state is read, whether it wakes or not.
/// Context: any, NMI excepted. Never sleeps; a system call only if the task is parked.
/// Lifetime: the caller holds a reference, or knows that the task cannot end before the call
/// returns.
INTERLOCK_API bool wake_up_state(task& t, task_state mask) noexcept;
/// `wake_up_state(t, task_normal)`.
/// Context: any, NMI excepted.
INTERLOCK_API bool wake_up_process(task& t) noexcept;

/// Makes `signal` pending and wakes the sleeps that listen to it. Context: any, NMI excepted.
INTERLOCK_API void send_signal(task& t, task_signal signal) noexcept;
/// Any signal pending. Context: any.
[[nodiscard]] INTERLOCK_API bool signal_pending(const task& t = current_task()) noexcept;
[[nodiscard]] INTERLOCK_API bool fatal_signal_pending(const task& t = current_task()) noexcept;
/// True if `state` is a sleep that a pending signal of the current task ends.
/// Context: task.
[[nodiscard]] INTERLOCK_API bool signal_pending_state(task_state state) noexcept;
/// Clears `task_signal::interrupt` of the current task. Context: task.
INTERLOCK_API void flush_signals() noexcept;

/// Somebody asked this CPU to let others run (`set_need_resched`). Context: any.
[[nodiscard]] INTERLOCK_API bool need_resched() noexcept;
/// Asks the CPU of `t` to reschedule at its next `cond_resched`. Context: any.
INTERLOCK_API void set_need_resched(task& t) noexcept;
/// Yields if `need_resched()`, true if it did. Context: task, may sleep.
INTERLOCK_API bool cond_resched(location where = location::current()) noexcept;

/// The monotonic clock. Satisfies the named requirement Clock. Context: any.
struct monotonic_clock : monotonic_time_tag {
  [[nodiscard]] INTERLOCK_API static time_point now() noexcept;
};

/// `now() + timeout`, saturating at `no_deadline`.
/// Context: any.
[[nodiscard]] INTERLOCK_API deadline deadline_after(ktime timeout) noexcept;

/// Sleeps uninterruptibly for `duration`. Context: task, may sleep.
INTERLOCK_API void sleep_for(ktime duration, location where = location::current()) noexcept;

}  // namespace interlock::inline INTERLOCK_PLATFORM
