// SPDX-License-Identifier: Apache-2.0

/// The public operations of RCU: each checks its context, then asks readers, grace periods and
/// callbacks; and RCU's part in the life of threads and of the process.

#include "interlock/rcupdate.hpp"

#include "interlock_platform/lifecycle.hpp"
#include "rcu/callbacks.hpp"
#include "rcu/free_rings.hpp"
#include "rcu/grace_period.hpp"
#include "rcu/misuse.hpp"
#include "rcu/readers.hpp"

namespace interlock::inline INTERLOCK_PLATFORM {

/// Defined beside the hook: whoever reads or waits for readers needs it, so a static library never
/// gives a program the one without the other.
constinit detail::rcu_reader_line detail::rcu_reader_word{
    atomic<std::uint64_t>{(std::uint64_t{1} << rcu_sequence_shift) | rcu_ready | 1}};

namespace {

using namespace detail;

/// Checks that the caller may wait for readers. If it reads itself, it would wait for itself: that
/// is reported, and then its sections end for the time of the wait, so that it goes on.
class outside_readers {
 public:
  outside_readers(location where, const char* complaint) noexcept {
    if (rcu_read_lock_held()) [[unlikely]] {
      report_suspicious(where, complaint);
      nesting_ = leave_all_readers();
    } else {
      might_sleep(where);
    }
  }
  outside_readers(const outside_readers&) = delete;
  outside_readers& operator=(const outside_readers&) = delete;
  ~outside_readers() { reenter_readers(nesting_); }

 private:
  std::uint32_t nesting_ = 0;
};

constexpr const char* illegal_synchronize =
    "Illegal synchronize_rcu() in RCU read-side critical section!";
constexpr const char* illegal_expedited =
    "Illegal synchronize_rcu_expedited() in RCU read-side critical section!";
constexpr const char* illegal_cond_synchronize =
    "Illegal cond_synchronize_rcu() in RCU read-side critical section!";
constexpr const char* illegal_barrier = "Illegal rcu_barrier() in RCU read-side critical section!";

void wait_for_readers(std::uint64_t snapshot, bool quick) noexcept {
  start_worker_if_needed();
  (void)wait_for_grace_period(snapshot, {.quick = quick});
  smp_mb();  // the promised full barrier, also where another led the grace period
}

void task_exit() noexcept {
  rings_task_exit();  // first: who is on no list of readers gets no ring
  readers_task_exit();
}

// From the right to the left at a fork: callbacks_lock, rings_lock, then list_lock.

void fork_prepare() noexcept {
  callbacks_fork_prepare();
  readers_fork_prepare();
}

void fork_parent() noexcept {
  readers_fork_parent();
  callbacks_fork_parent();
}

void fork_child() noexcept {
  readers_fork_child();
  grace_period_fork_child();
  callbacks_fork_child();
}

constinit platform::lifecycle_hook hook{.order = platform::hook_order::rcu,
                                        .task_exit = task_exit,
                                        .fork_child = fork_child,
                                        .shutdown = callbacks_shutdown};

/// Callbacks run under callbacks_lock and may take any lock that is taken with interrupts off.
constinit platform::lifecycle_hook locks_hook{.order = platform::hook_order::sleeping_locks,
                                              .fork_prepare = fork_prepare,
                                              .fork_parent = fork_parent};

[[gnu::constructor]] void install_hooks() noexcept {
  platform::add_lifecycle_hook(hook);
  platform::add_lifecycle_hook(locks_hook);
}

}  // namespace

void synchronize_rcu(location where) noexcept {
  const outside_readers context{where, illegal_synchronize};
  platform::event::rcu_wait_begin();
  wait_for_readers(grace_period_snapshot(), false);
  platform::event::rcu_wait_end();
}

void synchronize_rcu_expedited(location where) noexcept {
  const outside_readers context{where, illegal_expedited};
  platform::event::rcu_wait_begin();
  wait_for_readers(grace_period_snapshot(), true);
  platform::event::rcu_wait_end();
}

void rcu_barrier(location where) noexcept {
  if (in_rcu_callback()) [[unlikely]] {
    report_suspicious(where, "Illegal rcu_barrier() in an RCU callback!");
    return;  // it would wait for itself
  }
  const outside_readers context{where, illegal_barrier};
  wait_for_callbacks();
}

rcu_cookie get_state_synchronize_rcu() noexcept { return {grace_period_snapshot()}; }

rcu_cookie start_poll_synchronize_rcu() noexcept {
  const std::uint64_t snapshot = grace_period_snapshot();
  request_grace_period(snapshot);
  return {snapshot};
}

bool poll_state_synchronize_rcu(rcu_cookie cookie) noexcept {
  if (!grace_period_reached(cookie.sequence)) return false;
  smp_mb();  // the promised full barrier
  return true;
}

void cond_synchronize_rcu(rcu_cookie cookie, location where) noexcept {
  const outside_readers context{where, illegal_cond_synchronize};
  wait_for_readers(cookie.sequence, false);
}

rcu_statistics rcu_get_statistics() noexcept {
  rcu_statistics out{};
  out.grace_periods = grace_periods_completed();
  out.stalls = stalls_reported();
  read_callback_statistics(out);
  return out;
}

}  // namespace interlock::inline INTERLOCK_PLATFORM
