// SPDX-License-Identifier: Apache-2.0
#include "interlock/spinlock.hpp"

#include <gtest/gtest.h>

#include <thread>

#include <memory>
#include <string>
#include <vector>

#include "support/report_recorder.hpp"
#include "support/rounds.hpp"
#include "support/tasks.hpp"

namespace interlock {
namespace {

using test::eventually;
using test::start;

// The tests lock by hand, in ways that the compile-time analysis is there to refuse.
class spinlock_test : public test::report_test {
 protected:
  spinlock lock;
};

TEST_F(spinlock_test, is_four_bytes_and_free_when_zero) {
  static_assert(sizeof(spinlock) == 4 && std::is_standard_layout_v<spinlock>);
  EXPECT_FALSE(lock.is_locked());
}

TEST_F(spinlock_test, modes_mask_what_they_say) {
  {
    const guard g{no_mask, lock};
    EXPECT_TRUE(lock.is_locked());
    EXPECT_EQ(preempt_count(), preempt_offset);
    EXPECT_FALSE(irqs_disabled());
  }
  {
    const guard g{mask_bh, lock};
    EXPECT_EQ(preempt_count(), preempt_offset + softirq_disable_offset);
    EXPECT_FALSE(irqs_disabled());
  }
  {
    const guard g{irqsave, lock};
    EXPECT_EQ(preempt_count(), preempt_offset);
    EXPECT_TRUE(irqs_disabled());
  }
  EXPECT_FALSE(lock.is_locked());
  EXPECT_TRUE(preemptible());
}

TEST_F(spinlock_test, irqsave_restores_what_was) {
  const guard outer{irqsave};
  {
    const guard g{irqsave, lock};
    EXPECT_TRUE(irqs_disabled());
  }
  EXPECT_TRUE(irqs_disabled());
}

TEST_F(spinlock_test, try_lock_fails_on_a_held_lock_and_leaves_no_trace) {
  atomic<int> step{0};
  kthread holder = start("holder", [&] {
    const guard g{no_mask, lock};
    step.store_release(1);
    while (step.load_acquire() != 2) platform::cpu_relax();
  });
  EXPECT_TRUE(eventually([&] { return step.load_acquire() == 1; }));
  irq_flags flags{};
  bool taken = lock.try_lock(no_mask);
  EXPECT_FALSE(taken);
  taken = lock.try_lock(mask_bh);
  EXPECT_FALSE(taken);
  taken = lock.try_lock(irqsave, flags);
  EXPECT_FALSE(taken);
  EXPECT_TRUE(preemptible());
  step.store_release(2);
  (void)holder.join();
}

TEST_F(spinlock_test, try_lock_takes_a_free_lock_in_every_mode) {
  if (lock.try_lock(no_mask)) {
    EXPECT_EQ(preempt_count(), preempt_offset);
    lock.unlock(no_mask);
  } else {
    ADD_FAILURE();
  }
  if (lock.try_lock(mask_bh)) {
    EXPECT_EQ(preempt_count(), preempt_offset + softirq_disable_offset);
    lock.unlock(mask_bh);
  } else {
    ADD_FAILURE();
  }
  irq_flags flags{};
  if (lock.try_lock(irqsave, flags)) {
    EXPECT_TRUE(irqs_disabled());
    lock.unlock(irqsave, flags);
  } else {
    ADD_FAILURE();
  }
  EXPECT_TRUE(preemptible());
}

TEST_F(spinlock_test, excludes_and_orders) {
  constexpr int threads = 8;
  constexpr int rounds = test::rounds(20'000, 1);
  long counter = 0;  // plain: the lock orders it
  {
    std::vector<kthread> workers;
    for (int i = 0; i < threads; ++i) {
      workers.push_back(start("worker", [&, i] {
        for (int n = 0; n < rounds; ++n) {
          if (i % 2 == 0) {
            const guard g{no_mask, lock};
            ++counter;
          } else {
            const guard g{irqsave, lock};
            ++counter;
          }
        }
      }));
    }
    for (kthread& w : workers) (void)w.join();
  }
  EXPECT_EQ(counter, long{threads} * rounds);
  EXPECT_FALSE(lock.is_locked());
}

/// Waiters park when the holder takes long; the unlock must find every one of them.
TEST_F(spinlock_test, parked_waiters_are_all_woken) {
  constexpr int threads = 6;
  atomic<int> arrived{0};
  int passed = 0;
  std::vector<kthread> waiters;
  {
    const guard g{no_mask, lock};
    for (int i = 0; i < threads; ++i) {
      // Started with the lock held, which is not allowed to a kthread_run(): hide the section.
      preempt_enable();
      waiters.push_back(start("waiter", [&] {
        arrived.fetch_add_release(1);
        const guard inner{no_mask, lock};
        ++passed;
      }));
      preempt_disable();
    }
    while (arrived.load_acquire() != threads) platform::cpu_relax();
    // Longer than any spin: the waiters have parked or are about to.
    const deadline until = deadline_after(std::chrono::milliseconds{5});
    while (monotonic_clock::now() < until) platform::cpu_relax();
  }
  for (kthread& w : waiters) (void)w.join();
  EXPECT_EQ(passed, threads);
}

/// Whoever gets the lock may destroy it at once: the unlock before must not touch it any more.
TEST_F(spinlock_test, may_be_destroyed_by_the_next_owner) {
  for (int i = 0; i < test::rounds(300); ++i) {
    auto shared = std::make_unique<spinlock>();
    spinlock* const raw = shared.get();
    atomic<bool> held{false};
    kthread first = start("first", [&held, raw] {
      const guard g{no_mask, *raw};
      held.store_release(true);
    });
    while (!held.load_acquire()) schedule();
    { const guard g{no_mask, *raw}; }
    shared.reset();
    (void)first.join();
  }
}

TEST_F(spinlock_test, unlock_of_a_free_lock_is_reported) INTERLOCK_NO_THREAD_SAFETY_ANALYSIS {
  preempt_disable();
  lock.unlock(no_mask);
  const std::string head = "BUG: spinlock already unlocked on CPU#";
  ASSERT_TRUE(reports.took(report_kind::spinlock_misuse, head.c_str()));
  const std::string text{reports.text()};
  EXPECT_EQ(text.find(head), 0u);
  EXPECT_NE(text.find('/' + std::to_string(task_id(current_task())) + "\n lock: 0x"),
            std::string::npos);
  EXPECT_NE(text.find(", .owner: <none>/-1\n"), std::string::npos);
  EXPECT_FALSE(lock.is_locked());
}

TEST_F(spinlock_test, unlock_by_another_task_is_reported) INTERLOCK_NO_THREAD_SAFETY_ANALYSIS {
  std::uint32_t holder_id = 0;
  kthread holder = start("holder", [&]() INTERLOCK_NO_THREAD_SAFETY_ANALYSIS {
    holder_id = task_id(current_task());
    lock.lock(no_mask);
    preempt_enable();  // the thread ends; the section does not matter here
  });
  (void)holder.join();
  preempt_disable();
  lock.unlock(no_mask);
  ASSERT_TRUE(reports.took(report_kind::spinlock_misuse, "BUG: spinlock wrong owner on CPU#"));
  EXPECT_NE(std::string{reports.text()}.find(", .owner: " + std::to_string(holder_id) + '\n'),
            std::string::npos);
}

TEST_F(spinlock_test, assert_held_knows_the_owner) {
  [this] { lock.assert_held(); }();  // in a function of its own: the analysis believes it
  EXPECT_TRUE(reports.took(report_kind::spinlock_misuse, "spinlock_test.cpp:"));
  EXPECT_FALSE(lock.held_by_current());
  const guard g{no_mask, lock};
  lock.assert_held();
  EXPECT_TRUE(lock.held_by_current());
  // Not a kthread: to start one may sleep, which this section may not.
  std::thread{[this] { EXPECT_FALSE(lock.held_by_current()); }}.join();
}

}  // namespace
}  // namespace interlock
