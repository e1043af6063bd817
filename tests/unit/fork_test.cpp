// SPDX-License-Identifier: Apache-2.0

/// After fork only the forking thread exists, under a new id: what it held it can release, and all
/// of sched, locking and wait works in the child.

#include <gtest/gtest.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cstdlib>

#include "interlock/completion.hpp"
#include "interlock/mutex.hpp"
#include "support/sanitizers.hpp"
#include "support/tasks.hpp"

namespace interlock {
namespace {

/// Runs `function` in a child; true if it returned true there. Reports abort the child.
template <class F>
bool in_child(F function) {
  const pid_t child = fork();
  if (child == 0) std::_Exit(function() ? 0 : 1);
  int status = -1;
  return child > 0 && waitpid(child, &status, 0) == child && status == 0;
}

TEST(fork, the_task_has_the_childs_id) {
  task& self = current_task();
  const std::uint32_t parent = task_id(self);
  EXPECT_TRUE(in_child([&] {
    return &current_task() == &self && task_id(self) != parent &&
           task_id(self) == platform::this_task().id.load_relaxed() &&
           state_of(self) == task_running;
  }));
  EXPECT_EQ(task_id(self), parent);
}

TEST(fork, locks_held_across_it_can_be_released) {
  mutex m;
  spinlock lock;
  const guard a{m};
  const guard b{irqsave, lock};
  EXPECT_TRUE(in_child([&]() INTERLOCK_NO_THREAD_SAFETY_ANALYSIS {
    m.assert_held();
    lock.assert_held();
    lock.unlock(irqsave, irq_flags::enabled);
    m.unlock();
    // And taken again, under the new id.
    {
      const guard c{m};
      const guard d{no_mask, lock};
      m.assert_held();
      lock.assert_held();
    }
    return !m.is_locked() && !lock.is_locked();
  }));
}

TEST(fork, the_child_sleeps_and_wakes) {
  EXPECT_TRUE(in_child([] {
    completion there;
    completion back;
    result<kthread> t = kthread_run("child", [&] {
      there.wait();
      back.complete();
    });
    if (!t) return false;
    there.complete();
    back.wait();
    (void)t->join();
    return !back.wait_until(deadline_after(std::chrono::milliseconds{1}));
  }));
}

TEST(fork, a_thread_that_never_used_the_library_may_fork) {
  kthread t = test::start("other", [] {
    EXPECT_TRUE(in_child([] {
      mutex m;
      const guard g{m};
      return true;
    }));
  });
  (void)t.join();
}

/// Its waiters stayed with the parent, and their stacks are given to new threads.
TEST(fork, a_mutex_that_others_waited_for_is_the_childs) {
  SKIP_IF_CHILDREN_HAVE_NO_THREADS();
  mutex m;
  kthread waiters[3];
  {
    const guard g{m};
    for (kthread& w : waiters) {
      w = test::start("waiter", [&] { const guard h{m}; });
      ASSERT_TRUE(test::sleeps(w.get(), task_uninterruptible));
    }
    EXPECT_TRUE(in_child([&]() INTERLOCK_NO_THREAD_SAFETY_ANALYSIS {
      m.unlock();
      for (int i = 0; i < 20; ++i) {
        const deadline until = deadline_after(std::chrono::seconds{10});
        kthread next = test::start("next", [&]() INTERLOCK_NO_THREAD_SAFETY_ANALYSIS {
          if (!m.try_lock_until(until)) std::_Exit(2);
          m.unlock();
        });
        { const guard h{m}; }
        (void)next.join();
      }
      return !m.is_locked();
    }));
  }
  for (kthread& w : waiters) EXPECT_EQ(w.join(), 0);
}

TEST(fork, a_thread_of_the_parent_is_let_go) {
  kthread t = test::start("parents", [] {
    while (!kthread_should_stop()) schedule();
    return 7;
  });
  EXPECT_TRUE(in_child(
      [&] { return t.stop() == to_negative_errno(error::no_such_process) && !t.joinable(); }));
  EXPECT_EQ(t.stop(), 7);
}

TEST(fork, a_lock_held_across_two_can_be_released_by_the_first_child) {
  mutex m;
  const guard g{m};
  EXPECT_TRUE(in_child([&]() INTERLOCK_NO_THREAD_SAFETY_ANALYSIS {
    if (!in_child([] { return true; })) return false;
    m.unlock();
    return !m.is_locked();
  }));
}

/// Other threads are in the middle of everything when the fork happens.
TEST(fork, under_load) {
  atomic<bool> stop{false};
  mutex m;
  spinlock lock;
  kthread busy = test::start("busy", [&] {
    while (!stop.load_relaxed()) {
      const guard g{m};
      const guard h{no_mask, lock};
    }
  });
  for (int i = 0; i < 20; ++i) {
    EXPECT_TRUE(in_child([] {
      mutex own;
      completion c;
      const guard g{own};
      c.complete();
      c.wait();
      return true;
    }));
  }
  stop.store_relaxed(true);
  (void)busy.join();
}

}  // namespace
}  // namespace interlock
