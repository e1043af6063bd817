// SPDX-License-Identifier: Apache-2.0

/// Sleeping and waking on the simulated machine: tasks, wait queues, completions, kthreads.

#include "model/library_support.hpp"

namespace interlock::test {
namespace {

// --- the protocol of three steps ---

enum class order { state_then_test, test_then_state };

void sleep_and_wake(order how) {
  std::atomic<bool> condition{false};
  auto sleeper = start("sleeper", [&] {
    if (how == order::state_then_test) {
      while (true) {
        set_current_state(task_uninterruptible);
        if (condition) break;
        schedule();
      }
      set_current_state_raw(task_running);
    } else {
      while (!condition) {
        set_current_state(task_uninterruptible);
        schedule();
      }
    }
  });
  condition = true;
  (void)wake_up_process(sleeper.get());
  (void)sleeper.join();
}

TEST(library_wait, a_task_that_announces_its_sleep_is_woken) {
  passes_all(model::explore(all(), [] { sleep_and_wake(order::state_then_test); }));
}

TEST(library_wait, a_task_that_announces_its_sleep_is_woken_on_one_cpu) {
  passes_all(model::explore(all(1), [] { sleep_and_wake(order::state_then_test); }));
}

TEST(library_wait, a_task_that_tests_before_it_announces_loses_the_wake) {
  fails(model::explore(all(), [] { sleep_and_wake(order::test_then_state); }), "BUG: deadlock");
}

/// Each side stores, then looks at what the other stores.
TEST(library_wait, sleeper_and_waker_have_full_barriers) {
  passes(model::explore(tso(some(20'000)), [] {
    std::atomic<bool> condition{false};
    auto sleeper = start("sleeper", [&] {
      while (true) {
        set_current_state(task_uninterruptible);
        if (condition.load(std::memory_order_relaxed)) break;
        schedule();
      }
      set_current_state_raw(task_running);
    });
    condition.store(true, std::memory_order_relaxed);
    (void)wake_up_process(sleeper.get());
    (void)sleeper.join();
  }));
}

TEST(library_wait, a_handler_wakes_a_task_of_its_cpu) {
  const model::expectations here;
  passes(model::explore(some(20'000), [] {
    const auto line = *make_irq_line({.name = "device", .kind = irq_kind::asynchronous});
    std::atomic<bool> done{false};
    task& self = current_task();
    const auto action = request_irq(*line, [&] {
                          done = true;
                          (void)wake_up_process(self);
                          return irqreturn::handled;
                        }).value();
    auto device = start("device", [&] { raise_irq(*line); });
    while (true) {
      set_current_state(task_uninterruptible);
      if (done) break;
      schedule();
    }
    set_current_state_raw(task_running);
    (void)device.join();
  }));
}

/// The wake alone orders: there is no condition.
TEST(library_wait, a_wake_carries_what_came_before_it) {
  const model::expectations here;
  passes(model::explore(some(20'000), [] {
    int data = 0;
    auto sleeper = start("sleeper", [&] {
      set_current_state(task_uninterruptible);
      schedule();
      EXPECT_EQ(data, 1);
    });
    data = 1;
    while (!wake_up_process(sleeper.get())) {
      (void)schedule_timeout(ktime::zero());
    }
    (void)sleeper.join();
  }));
}

TEST(library_wait, a_signal_ends_a_sleep) {
  passes_all(model::explore(all(), [] {
    auto sleeper = start("sleeper", [&] {
      set_current_state(task_interruptible);
      schedule();
    });
    send_signal(sleeper.get(), task_signal::interrupt);
    (void)sleeper.join();
  }));
}

/// schedule() looks for signals after the state, however that was set.
TEST(library_wait, a_signal_is_not_lost_to_a_state_without_barrier) {
  passes(model::explore(tso(some(20'000)), [] {
    auto sleeper = start("sleeper", [&] {
      set_current_state_raw(task_interruptible);
      schedule();
    });
    send_signal(sleeper.get(), task_signal::interrupt);
    (void)sleeper.join();
  }));
}

TEST(library_wait, a_signal_carries_what_came_before_it) {
  const model::expectations here;
  passes(model::explore(some(20'000), [] {
    int data = 0;
    auto other = start("other", [&] {
      while (!signal_pending()) {
      }
      EXPECT_EQ(data, 1);
    });
    data = 1;
    send_signal(other.get(), task_signal::interrupt);
    (void)other.join();
  }));
}

/// The woken task may end, and be freed, before the waker has returned.
TEST(library_wait, a_task_that_ends_meanwhile_may_be_woken_by_reference) {
  const model::expectations here;
  passes(model::explore(some(20'000), [] {
    auto sleeper = start("sleeper", [&] {
      set_current_state(task_interruptible);
      (void)schedule_timeout(std::chrono::microseconds{1});
    });
    const auto reference = ref_ptr<task>::share(sleeper.get());
    auto joiner = start("joiner", [&] { (void)sleeper.join(); });
    (void)wake_up_process(*reference);
    (void)joiner.join();
    EXPECT_EQ(state_of(*reference), task_state::dead);
  }));
}

/// All uses of it come before its end, whoever ends it.
TEST(library_wait, the_last_reference_to_a_task_frees_it) {
  const model::expectations here;
  passes(model::explore(some(20'000), [] {
    auto ended = start("ended", [] {});
    auto reference = ref_ptr<task>::share(ended.get());
    auto joiner = start("joiner", [&] { (void)ended.join(); });
    EXPECT_FALSE(wake_up_process(*reference));
    reference.reset();
    (void)joiner.join();
  }));
}

TEST(library_wait, a_timeout_ends_a_sleep) {
  const model::expectations here;
  passes_all(model::explore(all(), [] {
    set_current_state(task_uninterruptible);
    EXPECT_EQ(schedule_timeout(std::chrono::milliseconds{1}), ktime::zero());
  }));
}

// --- kthreads ---

TEST(library_wait, a_kthread_that_sleeps_stops) {
  const model::expectations here;
  passes(model::explore(some(20'000), [] {
    auto t = start("worker", [&] {
      while (true) {
        set_current_state(task_interruptible);
        if (kthread_should_stop()) break;
        schedule();
      }
      set_current_state_raw(task_running);
      return 7;
    });
    EXPECT_EQ(t.stop(), 7);
  }));
}

TEST(library_wait, a_stop_carries_what_came_before_it) {
  const model::expectations here;
  passes(model::explore(some(20'000), [] {
    int data = 0;
    auto t = start("worker", [&] {
      while (!kthread_should_stop()) platform::cpu_relax();
      EXPECT_EQ(data, 1);
    });
    data = 1;
    (void)t.stop();
  }));
}

// --- wait queues ---

TEST(library_wait, wait_event_sees_its_condition) {
  const model::expectations here;
  passes(model::explore(some(20'000), [] {
    wait_queue wq;
    std::atomic<bool> ready{false};
    int data = 0;
    auto waker = start("waker", [&] {
      data = 1;
      ready = true;
      wake_up(wq);
    });
    wait_event(wq, [&] { return ready.load(); });
    EXPECT_EQ(data, 1);
    (void)waker.join();
    EXPECT_FALSE(wait_queue_active(wq));
  }));
}

TEST(library_wait, wake_up_has_a_full_barrier) {
  passes(model::explore(tso(some(20'000)), [] {
    wait_queue wq;
    std::atomic<bool> ready{false};
    auto waker = start("waker", [&] {
      ready.store(true, std::memory_order_relaxed);
      wake_up(wq);
    });
    wait_event(wq, [&] { return ready.load(std::memory_order_relaxed); });
    (void)waker.join();
  }));
}

/// On the CPU of a task that waits, and of one that wakes too.
TEST(library_wait, a_handler_wakes_a_wait_queue) {
  const auto program = [] {
    wait_queue wq;
    std::atomic<int> ready{0};
    const auto wake = [&] {
      ready.fetch_add(1);
      wake_up(wq);
    };
    const auto line = *make_irq_line({.name = "device", .kind = irq_kind::asynchronous});
    const auto action = request_irq(*line, [&] {
                          wake();
                          return irqreturn::handled;
                        }).value();
    auto device = start("device", [&] { raise_irq(*line); });
    auto other = start("other", wake);
    wait_event(wq, [&] { return ready.load() == 2; });
    (void)device.join();
    (void)other.join();
  };
  passes(model::explore(some(5000), program));
  passes(model::explore(full(some(5000)), program));
}

TEST(library_wait, wake_up_all_wakes_both) {
  const model::expectations here;
  passes(model::explore(some(20'000, 3), [] {
    wait_queue wq;
    std::atomic<bool> ready{false};
    const auto wait = [&] { wait_event(wq, [&] { return ready.load(); }); };
    auto a = start("a", wait);
    auto b = start("b", wait);
    ready = true;
    wake_up_all(wq);
    (void)a.join();
    (void)b.join();
  }));
}

/// One of two exclusive waiters has a signal pending: the wake that it may have got goes to the
/// other.
TEST(library_wait, an_exclusive_wake_is_not_lost_to_a_signal) {
  const model::expectations here;
  passes(model::explore(some(20'000, 3), [] {
    wait_queue wq;
    std::atomic<int> tokens{0};
    const auto take = [&] {
      int n = tokens.load();
      return n != 0 && tokens.compare_exchange_strong(n, n - 1);
    };
    auto a = start("a", [&] {
      send_signal(current_task(), task_signal::interrupt);
      if (wait_event_interruptible_exclusive(wq, take)) {
        tokens.fetch_add(1);  // gives it back
        wake_up(wq);
      }
    });
    auto b = start("b", [&] { wait_event_exclusive(wq, take); });
    tokens.fetch_add(1);
    wake_up(wq);
    (void)a.join();
    (void)b.join();
  }));
}

TEST(library_wait, a_wait_with_a_deadline_ends) {
  const model::expectations here;
  passes(model::explore(some(20'000), [] {
    wait_queue wq;
    std::atomic<bool> ready{false};
    auto waker = start("waker", [&] {
      ready = true;
      wake_up(wq);
    });
    const auto until = monotonic_clock::now() + std::chrono::milliseconds{1};
    const bool seen = wait_event_until(
        wq, [&] { return ready.load(); }, until);
    (void)waker.join();
    EXPECT_TRUE(seen || ready);
    EXPECT_FALSE(wait_queue_active(wq));
  }));
}

// --- completions ---

TEST(library_wait, a_completion_orders_and_wakes) {
  const model::expectations here;
  passes(model::explore(some(20'000), [] {
    completion done;
    int data = 0;
    auto other = start("other", [&] {
      data = 1;
      done.complete();
    });
    done.wait();
    EXPECT_EQ(data, 1);
    (void)other.join();
  }));
}

TEST(library_wait, a_handler_and_a_task_of_its_cpu_complete) {
  const auto program = [] {
    completion done;
    const auto line = *make_irq_line({.name = "device", .kind = irq_kind::asynchronous});
    const auto action = request_irq(*line, [&] {
                          done.complete();
                          return irqreturn::handled;
                        }).value();
    auto device = start("device", [&] { raise_irq(*line); });
    done.complete();
    done.wait();
    done.wait();
    (void)device.join();
  };
  passes(model::explore(some(5000), program));
  passes(model::explore(full(some(5000)), program));
}

/// Who has passed may destroy it while `complete` has not returned.
TEST(library_wait, a_completion_may_be_freed_by_who_waited) {
  const model::expectations here;
  passes(model::explore(some(20'000), [] {
    auto* const done = new completion;
    auto other = start("other", [=] { done->complete(); });
    done->wait();
    delete done;
    (void)other.join();
  }));
}

TEST(library_wait, a_completion_may_be_freed_by_who_saw_it_done) {
  const model::expectations here;
  passes(model::explore(some(20'000), [] {
    auto* const done = new completion;
    auto other = start("other", [=] { done->complete(); });
    while (!done->done()) {
    }
    delete done;
    (void)other.join();
  }));
}

TEST(library_wait, each_complete_lets_one_pass) {
  const model::expectations here;
  passes(model::explore(some(20'000, 3), [] {
    completion done;
    auto a = start("a", [&] { done.wait(); });
    auto b = start("b", [&] { done.wait(); });
    done.complete();
    done.complete();
    (void)a.join();
    (void)b.join();
    EXPECT_FALSE(done.try_wait());
  }));
}

TEST(library_wait, a_timed_wait_leaves_its_complete_to_others) {
  const model::expectations here;
  passes(model::explore(some(20'000), [] {
    completion done;
    bool passed = false;
    auto other = start("other", [&] {
      passed = done.wait_until(monotonic_clock::now() + std::chrono::microseconds{1});
    });
    done.complete();
    (void)other.join();
    EXPECT_NE(passed, done.try_wait());
  }));
}

}  // namespace
}  // namespace interlock::test
