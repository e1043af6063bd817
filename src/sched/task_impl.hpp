// SPDX-License-Identifier: Apache-2.0
#pragma once

/// What a task is made of; for the sched and locking layers.
///
/// `word` is the state, and the word on which the task parks:
///
/// | bits | meaning                                                                              |
/// |------|--------------------------------------------------------------------------------------|
/// | 0-15 | `task_state`                                                                         |
/// | 31   | parked: the task may be parked on the word. May be set with it awake; never clear    |
/// |      | while it is parked and the state is not `running`                                    |

#include "interlock/kthread.hpp"
#include "interlock/task.hpp"
#include "interlock_platform/park.hpp"
#include "sched/spin.hpp"

namespace interlock::inline INTERLOCK_PLATFORM {

/// Ownership: a member marked [own] is touched by the task itself only, in task context.
struct task {
  refcount references;
  atomic<std::uint32_t> word{0};
  atomic<std::uint32_t> signals{0};  ///< `task_signal` bits
  atomic<std::uint32_t> resched{0};  ///< 1: `set_need_resched`
  atomic<std::uint32_t> id{0};       ///< that of its thread; written at its start and at a fork
  atomic<std::uint64_t> wakeups{0};  ///< [own] written
  static constexpr std::uint32_t probe_interval_min = 4;  // sleeps without a spin, then one with
  std::uint32_t spin_rounds = 0;                          ///< [own] see spin_before_park()
  std::uint32_t sleeps_unspun = 0;                        ///< [own]
  std::uint32_t probe_interval = probe_interval_min;      ///< [own]
  atomic<void*> thread{nullptr};  ///< the kthread's control block, null on other threads
  char name[16] = {};
};

namespace detail {

inline constexpr std::uint32_t state_mask = 0xffffu;
inline constexpr std::uint32_t parked_bit = 1u << 31;

/// A task that no thread runs yet; null without memory. The caller owns the reference.
[[nodiscard]] task* make_task() noexcept;

/// In the child of a fork, of the forking thread: it is this process's now.
void kthread_fork_child(void* control) noexcept;

/// Makes `t` the calling thread's task; takes over the reference. Pre: the thread has none.
void adopt_task(task& t) noexcept;

/// The first half of `wake_up_state`: the task goes on, but if it had parked it needs an unpark
/// yet. For who holds a lock that the woken task takes next: it would be woken to wait again.
struct begun_wake {
  bool woke;
  /// What to unpark, by address: the task may be gone by then. Null if it was awake.
  const atomic<std::uint32_t>* parked;
};
[[nodiscard]] begun_wake begin_wake(task& t, task_state mask) noexcept;

/// `schedule_until` whose deadline may be the library's own.
bool schedule_until(deadline until, platform::deadline_kind kind, location where) noexcept;

/// Reports a sleep that is not allowed here. Context: any.
void check_may_sleep_now(location where) noexcept;

/// A sleep in the park that somebody ended; see wakeups_of().
inline void count_wakeup(task& self) noexcept {
  self.wakeups.store_relaxed(self.wakeups.load_relaxed() + 1);
}

/// Waits for `done()` without parking, as long as that has paid lately (`spin_rounds`).
///
/// Two tasks that answer each other do not find out by short spins that they could spin: each would
/// have to outlast the wake of the other. So now and then one spins for as long as a wake takes, and
/// the longer it has been in vain, the seldomer; the other then finds that it need not have parked.
template <class Done>
bool spin_before_park(task& self, bool has_deadline, Done done) noexcept {
  constexpr std::uint32_t rounds_max = platform::pauses_wait ? 1 : 128;  // 100 us: more than a wake
  constexpr std::uint32_t rounds_short = 4;  // which a deadline may be late
  constexpr std::uint32_t interval_max = 256;
  const std::uint32_t round = (spin_limit() + 3) / 4;
  if (round == 0) return false;
  std::uint32_t rounds = self.spin_rounds;
  if (has_deadline) {
    if (rounds == 0) return false;
    if (rounds > rounds_short) rounds = rounds_short;
  } else if (rounds == 0) {
    if (++self.sleeps_unspun < self.probe_interval) return false;
    self.sleeps_unspun = 0;
    rounds = rounds_max;
    if (self.probe_interval < interval_max) self.probe_interval *= 2;
  }
  bool is_done = done();
  std::uint32_t spun = 0;
  for (; spun < rounds * round && !is_done; ++spun) {
    platform::cpu_relax();
    is_done = done();
  }
  self.spin_rounds = 0;
  if (is_done) {
    const std::uint32_t paid = 2 * (spun / round) + 1;
    self.spin_rounds = paid < rounds_max ? paid : rounds_max;
    self.probe_interval = task::probe_interval_min;
  }
  return is_done;
}

/// After a park. `slept`: else what it waited for had come before: a spin would have found it.
inline void learn_from_park(task& self, bool slept) noexcept {
  if (slept) return count_wakeup(self);
  if (self.spin_rounds == 0) self.spin_rounds = 1;
  self.probe_interval = task::probe_interval_min;
}

/// The current task, or null if the thread has not needed one. Context: any.
[[nodiscard]] inline task* task_if_any() noexcept {
  return static_cast<task*>(platform::this_task().task.load_relaxed());
}

}  // namespace detail

}  // namespace interlock::inline INTERLOCK_PLATFORM
