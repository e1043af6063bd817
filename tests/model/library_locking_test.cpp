// SPDX-License-Identifier: Apache-2.0

/// Spinlocks and mutexes on the simulated machine.

#include "model/library_support.hpp"

namespace interlock::test {
namespace {

// --- spinlock ---

TEST(library_locking, a_spinlock_excludes) {
  const model::expectations here;
  passes_all(model::explore(all(), [] {
    spinlock lock;
    int n = 0;
    const auto add = [&] {
      guard g{no_mask, lock};
      ++n;
    };
    auto other = start("other", add);
    add();
    (void)other.join();
    EXPECT_EQ(n, 2);
    EXPECT_FALSE(lock.is_locked());
  }));
}

TEST(library_locking, a_spinlock_excludes_three) {
  const model::expectations here;
  passes(model::explore(some(8000, 3), [] {
    spinlock lock;
    int n = 0;
    const auto add = [&] {
      guard g{irqsave, lock};
      ++n;
    };
    auto a = start("a", add);
    auto b = start("b", add);
    add();
    (void)a.join();
    (void)b.join();
    EXPECT_EQ(n, 3);
  }));
}

TEST(library_locking, a_spinlock_excludes_tasks_of_one_cpu) {
  const model::expectations here;
  passes_all(model::explore(all(1), [] {
    spinlock lock;
    int n = 0;
    const auto add = [&] {
      guard g{no_mask, lock};
      ++n;
    };
    auto other = start("other", add);
    add();
    (void)other.join();
    EXPECT_EQ(n, 2);
  }));
}

TEST(library_locking, try_lock_takes_or_leaves) {
  const model::expectations here;
  passes_all(model::explore(all(), [] {
    spinlock lock;
    int n = 0;
    int taken = 0;
    auto other = start("other", [&] {
      if (!lock.try_lock(no_mask)) return;
      ++n;
      ++taken;
      lock.unlock(no_mask);
    });
    {
      guard g{no_mask, lock};
      ++n;
    }
    (void)other.join();
    EXPECT_EQ(n, 1 + taken);
    EXPECT_TRUE(lock.try_lock(no_mask));
    lock.unlock(no_mask);
  }));
}

/// A task and a handler of its CPU share data.
void share_with_handler(auto mode) {
  const auto line = *make_irq_line({.name = "device", .kind = irq_kind::asynchronous});
  spinlock lock;
  int n = 0;
  const auto action = request_irq(*line, [&] {
                        guard g{no_mask, lock};
                        ++n;
                        return irqreturn::handled;
                      }).value();
  auto device = start("device", [&] { raise_irq(*line); });
  {
    guard g{mode, lock};
    ++n;
  }
  (void)device.join();
  synchronize_irq(*line);
}

TEST(library_locking, irqsave_keeps_the_handler_out) {
  const model::expectations here;
  passes(model::explore(some(8000), [] { share_with_handler(irqsave); }));
}

TEST(library_locking, irqsave_keeps_the_handler_out_at_full_granularity) {
  const model::expectations here;
  passes(model::explore(full(some(8000)), [] { share_with_handler(irqsave); }));
}

TEST(library_locking, a_lock_without_a_mask_does_not) {
  fails(model::explore(some(8000), [] { share_with_handler(no_mask); }),
        "WARNING: inconsistent lock state");
}

/// A handler that waits for a lock keeps its CPU: it spins, however long the others hold it.
TEST(library_locking, a_handler_waits_for_two_other_cpus) {
  const model::expectations here;
  passes(model::explore(some(8000, 3), [] {
    const auto line = *make_irq_line({.name = "device", .kind = irq_kind::asynchronous});
    spinlock lock;
    completion handled;
    int n = 0;
    const auto add = [&] {
      guard g{irqsave, lock};
      ++n;
    };
    const auto action = request_irq(*line, [&] {
                          add();
                          handled.complete();
                          return irqreturn::handled;
                        }).value();
    auto a = start("a", [&] {
      raise_irq(*line);
      add();
      add();
    });
    auto b = start("b", [&] {
      add();
      add();
    });
    (void)a.join();
    (void)b.join();
    handled.wait();
    EXPECT_EQ(n, 5);
  }));
}

/// One that waits for a spinlock gives its CPU to nobody, not even to who waits for it there.
TEST(library_locking, a_task_that_waits_for_a_spinlock_keeps_its_cpu) {
  const model::expectations here;
  passes(model::explore(some(8000, 2), [] {
    spinlock lock;
    std::atomic<int> inside{0};
    const auto add = [&] {
      guard g{irqsave};
      EXPECT_EQ(inside.fetch_add(1), 0);
      { guard h{no_mask, lock}; }
      inside.fetch_sub(1);
    };
    auto a = start("a", [&] {  // on the other CPU
      for (int i = 0; i < 3; ++i) {
        guard g{no_mask, lock};
      }
    });
    auto b = start("b", add);  // on this one
    add();
    (void)a.join();
    (void)b.join();
  }));
}

TEST(library_locking, a_lock_that_masks_bottom_halves_keeps_softirqs_out) {
  const model::expectations here;
  passes(model::explore(some(8000), [] {
    struct shared {
      spinlock lock;
      int n = 0;
    } s;
    const softirq vector = *open_softirq(
        "count",
        [](void* cookie) {
          auto& all_of_it = *static_cast<shared*>(cookie);
          guard g{no_mask, all_of_it.lock};
          ++all_of_it.n;
        },
        &s);
    const auto line = *make_irq_line({.name = "device", .kind = irq_kind::asynchronous});
    const auto action = request_irq(*line, [&] {
                          raise_softirq(vector);
                          return irqreturn::handled;
                        }).value();
    auto device = start("device", [&] { raise_irq(*line); });
    {
      guard g{mask_bh, s.lock};
      ++s.n;
    }
    (void)device.join();
  }));
}

// --- mutex ---

TEST(library_locking, a_mutex_excludes) {
  const model::expectations here;
  passes(model::explore(some(8000), [] {
    mutex m;
    int n = 0;
    const auto add = [&] {
      guard g{m};
      ++n;
    };
    auto other = start("other", add);
    add();
    (void)other.join();
    EXPECT_EQ(n, 2);
    EXPECT_FALSE(m.is_locked());
  }));
}

TEST(library_locking, a_mutex_excludes_tasks_of_one_cpu) {
  const model::expectations here;
  passes(model::explore(some(8000, 1), [] {
    mutex m;
    int n = 0;
    const auto add = [&] {
      guard g{m};
      ++n;
    };
    auto a = start("a", add);
    auto b = start("b", add);
    add();
    (void)a.join();
    (void)b.join();
    EXPECT_EQ(n, 3);
  }));
}

/// Overtaken waiters are handed the lock: three tasks, two rounds each.
TEST(library_locking, a_mutex_is_handed_on) {
  const model::expectations here;
  passes(model::explore(some(8000, 3), [] {
    mutex m;
    int n = 0;
    const auto add = [&] {
      for (int i = 0; i < 2; ++i) {
        guard g{m};
        ++n;
      }
    };
    auto a = start("a", add);
    auto b = start("b", add);
    add();
    (void)a.join();
    (void)b.join();
    EXPECT_EQ(n, 6);
  }));
}

/// The last owner frees the mutex while the one before may still be in unlock.
TEST(library_locking, a_mutex_may_be_freed_by_its_last_owner) {
  const model::expectations here;
  passes(model::explore(some(8000), [] {
    struct object {
      mutex m;
      int references = 2;
    };
    auto* const o = new object;
    const auto put = [=] {
      o->m.lock();
      const bool last = --o->references == 0;
      o->m.unlock();
      if (last) delete o;
    };
    auto other = start("other", put);
    put();
    (void)other.join();
  }));
}

TEST(library_locking, a_timed_lock_gives_up_or_owns) {
  const model::expectations here;
  passes(model::explore(some(8000), [] {
    mutex m;
    int n = 0;
    auto other = start("other", [&] {
      if (!m.try_lock_until(monotonic_clock::now() + std::chrono::microseconds{1})) return;
      ++n;
      m.unlock();
    });
    for (int i = 0; i < 2; ++i) {
      guard g{m};
      ++n;
    }
    (void)other.join();
    EXPECT_TRUE(n == 2 || n == 3);
    EXPECT_TRUE(m.try_lock());
    m.unlock();
  }));
}

/// Its deadline passes while the owner, which has given the lock back, is about to wake it.
TEST(library_locking, a_waiter_may_be_gone_before_it_is_woken) {
  passes(model::explore(some(20'000, 3), [] {
    mutex m;
    auto owner = start("owner", [&] { guard g{m}; });
    auto waiter = start("waiter", [&] {
      if (m.try_lock_until(monotonic_clock::now() + std::chrono::microseconds{1})) m.unlock();
    });
    (void)waiter.join();
    (void)owner.join();
  }));
}

TEST(library_locking, a_signal_ends_an_interruptible_lock) {
  const model::expectations here;
  passes(model::explore(some(8000), [] {
    mutex m;
    int n = 0;
    m.lock();
    auto other = start("other", [&] {
      if (!m.lock_interruptible()) return;
      ++n;
      m.unlock();
    });
    send_signal(other.get(), task_signal::interrupt);
    m.unlock();
    {
      guard g{m};
      ++n;
    }
    (void)other.join();
    EXPECT_TRUE(n == 1 || n == 2);
    EXPECT_FALSE(m.is_locked());
  }));
}

/// A waiter that gives up passes on the wake that was meant for it.
TEST(library_locking, a_wake_is_not_lost_to_a_waiter_that_gives_up) {
  const model::expectations here;
  passes(model::explore(some(20'000, 3), [] {
    mutex m;
    m.lock();
    auto a = start("a", [&] {
      send_signal(current_task(), task_signal::interrupt);
      if (m.lock_interruptible()) m.unlock();
    });
    auto b = start("b", [&] { guard g{m}; });
    m.unlock();
    (void)a.join();
    (void)b.join();
    EXPECT_FALSE(m.is_locked());
  }));
}

TEST(library_locking, two_mutexes_in_two_orders_deadlock) {
  fails(model::explore(some(8000),
                       [] {
                         mutex a;
                         mutex b;
                         auto other = start("other", [&] {
                           guard g{b};
                           guard h{a};
                         });
                         {
                           guard g{a};
                           guard h{b};
                         }
                         (void)other.join();
                       }),
        "WARNING: possible circular locking dependency detected");
}

}  // namespace
}  // namespace interlock::test
