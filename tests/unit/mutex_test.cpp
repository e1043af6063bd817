// SPDX-License-Identifier: Apache-2.0
#include "interlock/mutex.hpp"

#include <gtest/gtest.h>

#include <fstream>
#include <memory>
#include <string>
#include <vector>

#include "support/report_recorder.hpp"
#include "support/rounds.hpp"
#include "support/tasks.hpp"

namespace interlock {
namespace {

using std::chrono::milliseconds;
using std::chrono::seconds;
using test::eventually;
using test::sleeps;
using test::start;

class mutex_test : public test::report_test {
 protected:
  mutex m;
};

/// Owns a mutex from its construction until it is destroyed, in a thread of its own.
class holder {
 public:
  explicit holder(mutex& m) {
    thread_ = start("holder", [this, &m] {
      const guard g{m};
      held_.store_release(true);
      while (!kthread_should_stop()) {
        set_current_state(task_uninterruptible);
        if (!kthread_should_stop()) schedule();
        set_current_state_raw(task_running);
      }
    });
    EXPECT_TRUE(eventually([&] { return held_.load_acquire(); }));
  }
  void let_go() { (void)thread_.stop(); }

 private:
  atomic<bool> held_{false};
  kthread thread_;
};

TEST_F(mutex_test, locks_and_unlocks) {
  EXPECT_FALSE(m.is_locked());
  {
    const guard g{m};
    EXPECT_TRUE(m.is_locked());
    EXPECT_TRUE(preemptible()) << "its owner may sleep";
  }
  EXPECT_FALSE(m.is_locked());
}

TEST_F(mutex_test, excludes_and_orders) {
  constexpr int threads = 8;
  constexpr int rounds = test::rounds(20'000, 2);
  long counter = 0;  // plain: the lock orders it
  {
    std::vector<kthread> workers;
    for (int i = 0; i < threads; ++i) {
      workers.push_back(start("worker", [&] {
        for (int n = 0; n < rounds; ++n) {
          const guard g{m};
          ++counter;
        }
      }));
    }
    for (kthread& w : workers) (void)w.join();
  }
  EXPECT_EQ(counter, long{threads} * rounds);
  EXPECT_FALSE(m.is_locked());
}

TEST_F(mutex_test, try_lock) {
  if (m.try_lock()) {
    m.unlock();
  } else {
    ADD_FAILURE() << "it was free";
  }
  holder h{m};
  if (m.try_lock()) {
    ADD_FAILURE() << "it is held";
    m.unlock();
  }
  h.let_go();
}

TEST_F(mutex_test, waits_uninterruptibly) {
  holder h{m};
  kthread waiter = start("waiter", [&] { const guard g{m}; });
  EXPECT_TRUE(sleeps(waiter.get(), task_uninterruptible));
  send_signal(waiter.get(), task_signal::kill);
  EXPECT_TRUE(sleeps(waiter.get(), task_uninterruptible));
  h.let_go();
  (void)waiter.join();
}

TEST_F(mutex_test, interruptible_ends_on_any_signal) INTERLOCK_NO_THREAD_SAFETY_ANALYSIS {
  holder h{m};
  for (const task_signal signal : {task_signal::interrupt, task_signal::kill}) {
    kthread waiter =
        start("waiter", [&]() -> int { return to_negative_errno(m.lock_interruptible()); });
    EXPECT_TRUE(sleeps(waiter.get(), task_interruptible));
    send_signal(waiter.get(), signal);
    EXPECT_EQ(waiter.join(), to_negative_errno(error::interrupted));
  }
  h.let_go();
  EXPECT_FALSE(m.is_locked());
}

/// No attribute takes this test out of the analysis: the guard tells it what the result cannot.
TEST_F(mutex_test, a_guard_adopts_what_a_fallible_lock_took) {
  ASSERT_TRUE(m.lock_interruptible());
  {
    const guard g{adopt, m};
    EXPECT_TRUE(m.held_by_current());
  }
  EXPECT_FALSE(m.is_locked());
}

TEST_F(mutex_test, adopting_what_another_holds_is_reported) {
  EXPECT_FALSE(m.held_by_current());
  holder h{m};
  EXPECT_FALSE(m.held_by_current());
  { const guard g{adopt, m}; }
  EXPECT_TRUE(reports.took(report_kind::mutex_misuse, "mutex_test.cpp:"));
  EXPECT_TRUE(reports.took(report_kind::mutex_misuse, ""));  // its unlock
  EXPECT_TRUE(m.is_locked());
  h.let_go();
}

TEST_F(mutex_test, killable_ends_on_kill_only) {
  holder h{m};
  kthread waiter = start("waiter", [&]() -> int { return to_negative_errno(m.lock_killable()); });
  EXPECT_TRUE(sleeps(waiter.get(), task_killable));
  send_signal(waiter.get(), task_signal::interrupt);
  EXPECT_TRUE(sleeps(waiter.get(), task_killable));
  send_signal(waiter.get(), task_signal::kill);
  EXPECT_EQ(waiter.join(), to_negative_errno(error::interrupted));
  h.let_go();
}

TEST_F(mutex_test, a_pending_signal_does_not_refuse_a_free_lock)
INTERLOCK_NO_THREAD_SAFETY_ANALYSIS {
  kthread t = start("signalled", [&]() INTERLOCK_NO_THREAD_SAFETY_ANALYSIS {
    send_signal(current_task(), task_signal::interrupt);
    const result<void> locked = m.lock_interruptible();
    EXPECT_TRUE(locked.has_value());
    if (locked) m.unlock();
  });
  (void)t.join();
}

TEST_F(mutex_test, try_lock_until_times_out) {
  holder h{m};
  const deadline begin = monotonic_clock::now();
  const auto attempt = [this](deadline until) INTERLOCK_NO_THREAD_SAFETY_ANALYSIS {
    const bool taken = m.try_lock_until(until);
    if (taken) m.unlock();
    return taken;
  };
  EXPECT_FALSE(attempt(deadline_after(milliseconds{3})));
  EXPECT_GE(monotonic_clock::now() - begin, milliseconds{3});
  EXPECT_FALSE(attempt(expired_deadline));
  h.let_go();
  EXPECT_TRUE(attempt(expired_deadline)) << "a free lock is taken at once";
  EXPECT_FALSE(m.is_locked());
}

/// The first waiter leaves by its timeout while the owner unlocks: the second must not sleep on.
TEST_F(mutex_test, a_waiter_that_leaves_loses_no_wake) {
  for (int i = 0; i < test::rounds(300); ++i) {
    holder h{m};
    kthread impatient = start("impatient", [&]() INTERLOCK_NO_THREAD_SAFETY_ANALYSIS {
      if (m.try_lock_until(deadline_after(ktime{20'000 + i * 300}))) m.unlock();
    });
    kthread patient = start("patient", [&] { const guard g{m}; });
    h.let_go();
    (void)patient.join();
    (void)impatient.join();
    ASSERT_FALSE(m.is_locked());
  }
}

/// Signals and unlocks at the same moment, many waiters: everybody gets the lock or an error.
TEST_F(mutex_test, interrupted_waiters_lose_no_wake) {
  constexpr int threads = 4;
  for (int round = 0; round < test::rounds(50); ++round) {
    holder h{m};
    std::vector<kthread> waiters;
    for (int i = 0; i < threads; ++i) {
      waiters.push_back(start("waiter", [&]() INTERLOCK_NO_THREAD_SAFETY_ANALYSIS {
        if (m.lock_interruptible()) m.unlock();
      }));
    }
    for (kthread& w : waiters) EXPECT_TRUE(sleeps(w.get(), task_interruptible));
    send_signal(waiters[static_cast<std::size_t>(round % threads)].get(), task_signal::interrupt);
    h.let_go();
    for (kthread& w : waiters) (void)w.join();
    ASSERT_FALSE(m.is_locked());
  }
}

/// A thread that locks in a loop does not keep a waiter out for long.
TEST_F(mutex_test, hands_over_to_a_starving_waiter) {
  atomic<bool> stop{false};
  kthread hog = start("hog", [&] {
    while (!stop.load_relaxed()) {
      const guard g{m};
      for (int i = 0; i < test::rounds(1000); ++i) platform::cpu_relax();
    }
  });
  for (int i = 0; i < test::rounds(20); ++i) {
    const guard g{m};
  }
  stop.store_relaxed(true);
  (void)hog.join();
}

/// Parked in the kernel, and not on its way to it.
bool is_parked(const task& t) {
  if (state_of(t) != task_uninterruptible) return false;
  std::ifstream file{"/proc/self/task/" + std::to_string(task_id(t)) + "/stat"};
  std::string text;
  std::getline(file, text);
  const auto end_of_name = text.rfind(')');
  return end_of_name != std::string::npos && text.compare(end_of_name + 2, 1, "S") == 0;
}

/// How often the caller gets the lock back although somebody starves for it, `enough` at most.
/// After each of its turns the waiter looks at the lock before the caller goes on.
int turns_before_a_starving_waiter(mutex& m, int enough) INTERLOCK_NO_THREAD_SAFETY_ANALYSIS {
  constexpr ktime starving = milliseconds{5};
  atomic<bool> served{false};
  m.lock();
  kthread waiter = start("waiter", [&] {
    const guard g{m};
    served.store_release(true);
  });
  const auto looked_in_vain = [&] { return is_parked(waiter.get()) || served.load_acquire(); };
  EXPECT_TRUE(eventually(looked_in_vain));
  sleep_for(starving);
  int turns = 0;
  m.unlock();
  while (turns < enough && !served.load_acquire() && m.try_lock()) {
    ++turns;
    EXPECT_TRUE(eventually(looked_in_vain));
    m.unlock();
  }
  (void)waiter.join();
  return turns;
}

/// The first turn may slip in before the waiter has asked for the lock; then it is handed over.
TEST_F(mutex_test, a_starving_waiter_is_overtaken_once_at_most) {
  for (int i = 0; i < 30; ++i) EXPECT_LE(turns_before_a_starving_waiter(m, 10), 1);
}

TEST_F(mutex_test, may_be_destroyed_by_the_next_owner) {
  for (int i = 0; i < test::rounds(300); ++i) {
    auto shared = std::make_unique<mutex>();
    mutex* const raw = shared.get();
    atomic<bool> held{false};
    kthread first = start("first", [&held, raw] {
      const guard g{*raw};
      held.store_release(true);
    });
    while (!held.load_acquire()) schedule();
    { const guard g{*raw}; }
    shared.reset();
    (void)first.join();
  }
}

TEST_F(mutex_test, every_lock_says_that_it_may_sleep) INTERLOCK_NO_THREAD_SAFETY_ANALYSIS {
  preempt_disable();
  const int line = __LINE__ + 1;
  m.lock();
  m.unlock();
  preempt_enable();
  const std::string where = "context at " __FILE__ ":" + std::to_string(line);
  EXPECT_TRUE(reports.took(report_kind::sleep_in_atomic, where.c_str()));
}

TEST_F(mutex_test, unlock_by_another_task_is_reported_and_refused) {
  holder h{m};
  [this]() INTERLOCK_NO_THREAD_SAFETY_ANALYSIS { m.unlock(); }();
  EXPECT_TRUE(m.is_locked());
  EXPECT_TRUE(reports.took(report_kind::mutex_misuse,
                           "DEBUG_LOCKS_WARN_ON(__owner_task(owner) != current)\nWARNING: CPU: "));
  h.let_go();
}

TEST_F(mutex_test, unlock_of_a_free_mutex_is_reported) {
  [this]() INTERLOCK_NO_THREAD_SAFETY_ANALYSIS { m.unlock(); }();
  EXPECT_TRUE(reports.took(report_kind::mutex_misuse, "!= current)\nWARNING: CPU: "));
  EXPECT_FALSE(m.is_locked());
}

TEST_F(mutex_test, use_in_an_interrupt_is_reported_and_refused) {
  platform::this_cpu().interrupt_count.store_relaxed(hardirq_offset);
  [this]() INTERLOCK_NO_THREAD_SAFETY_ANALYSIS {
    const bool taken = m.try_lock();
    EXPECT_FALSE(taken);
    m.unlock();
  }();
  platform::this_cpu().interrupt_count.store_relaxed(0);
  EXPECT_TRUE(reports.took(report_kind::mutex_misuse, "DEBUG_LOCKS_WARN_ON(in_interrupt())"));
  EXPECT_TRUE(reports.took(report_kind::mutex_misuse, "mutex::unlock"));
}

TEST_F(mutex_test, a_thread_that_ends_as_owner_is_reported) {
  auto leaked = std::make_unique<mutex>();
  kthread t = start("forgetful", [&]() INTERLOCK_NO_THREAD_SAFETY_ANALYSIS { leaked->lock(); });
  const std::string who = "WARNING: forgetful/" + std::to_string(task_id(t.get()));
  (void)t.join();
  EXPECT_TRUE(reports.took(report_kind::mutex_misuse, (who + " still has locks held!\n").c_str()));
}

TEST_F(mutex_test, assert_held_knows_the_owner) {
  [this] { m.assert_held(); }();  // in a function of its own: the analysis believes it
  EXPECT_TRUE(reports.took(report_kind::mutex_misuse, "mutex_test.cpp:"));
  const guard g{m};
  m.assert_held();
}

}  // namespace
}  // namespace interlock
