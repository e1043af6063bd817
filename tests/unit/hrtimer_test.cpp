// SPDX-License-Identifier: Apache-2.0

/// Timers: expiry, order, periods, pinned ones, and cancelling in every state.

#include "interlock/hrtimer.hpp"

#include <algorithm>
#include <memory>
#include <random>
#include <vector>

#include "interlock/shutdown.hpp"
#include "irq/timer_heap.hpp"
#include "irq_test_support.hpp"
#include "support/rounds.hpp"

namespace {

using namespace interlock;
using namespace std::chrono_literals;
using interlock::test::counter;
using interlock::test::eventually;
using interlock::test::spinning_cpu;
using interlock::test::start;

class hrtimer_unit : public interlock::test::report_test {};

struct test_timer {
  hrtimer timer;
  completion fired;
  counter runs{0};
  cpu_id seen = cpu_id::none;
  deadline at{};
  ktime period{};  ///< 0: one-shot

  explicit test_timer(hrtimer_mode mode = hrtimer_mode::service) : timer{run, mode} {}

  static hrtimer_restart run(hrtimer& t) {
    test_timer& self = *INTERLOCK_CONTAINER_OF(&t, test_timer, timer);
    EXPECT_TRUE(in_hardirq());
    EXPECT_TRUE(irqs_disabled());
    self.seen = smp_processor_id();
    self.at = monotonic_clock::now();
    self.runs.fetch_add_release(1);
    const bool restart = self.period != ktime::zero();
    if (restart) hrtimer_forward(t, self.at, self.period);
    self.fired.complete();
    return restart ? hrtimer_restart::restart : hrtimer_restart::norestart;
  }
};

TEST_F(hrtimer_unit, fires_once_and_not_early) {
  test_timer t;
  const deadline when = deadline_after(5ms);
  ASSERT_TRUE(hrtimer_start(t.timer, when));
  t.fired.wait();
  EXPECT_GE(t.at, when);
  EXPECT_EQ(t.seen, *service_cpu());
  EXPECT_FALSE(hrtimer_cancel(t.timer));
  EXPECT_EQ(t.runs.load_acquire(), 1u);
}

TEST_F(hrtimer_unit, a_past_expiry_fires_at_once) {
  test_timer t;
  ASSERT_TRUE(hrtimer_start(t.timer, expired_deadline));
  t.fired.wait();
  EXPECT_FALSE(hrtimer_cancel(t.timer));
}

TEST_F(hrtimer_unit, a_nearer_timer_overtakes) {
  test_timer far;
  test_timer near;
  ASSERT_TRUE(hrtimer_start(far.timer, deadline_after(1h)));
  ASSERT_TRUE(hrtimer_start(near.timer, deadline_after(1ms)));
  near.fired.wait();
  EXPECT_TRUE(hrtimer_cancel(far.timer));
  EXPECT_FALSE(hrtimer_cancel(far.timer));
  EXPECT_EQ(far.runs.load_acquire(), 0u);
}

TEST_F(hrtimer_unit, starting_again_replaces_the_expiry) {
  test_timer t;
  ASSERT_TRUE(hrtimer_start(t.timer, deadline_after(1h)));
  ASSERT_TRUE(hrtimer_start(t.timer, deadline_after(1ms)));
  t.fired.wait();
  ASSERT_TRUE(hrtimer_start(t.timer, deadline_after(1ms)));
  ASSERT_TRUE(hrtimer_start(t.timer, deadline_after(1h)));
  EXPECT_TRUE(hrtimer_cancel(t.timer));
  EXPECT_EQ(t.runs.load_acquire(), 1u);
}

TEST_F(hrtimer_unit, periodic_until_cancelled) {
  test_timer t;
  t.period = 200us;
  ASSERT_TRUE(hrtimer_start(t.timer, deadline_after(200us)));
  for (int i = 0; i < 10; ++i) t.fired.wait();
  (void)hrtimer_cancel(t.timer);
  const std::uint32_t runs = t.runs.load_acquire();
  EXPECT_GE(runs, 10u);
  test_timer later;
  ASSERT_TRUE(hrtimer_start(later.timer, deadline_after(2ms)));
  later.fired.wait();
  EXPECT_EQ(t.runs.load_acquire(), runs);
}

TEST_F(hrtimer_unit, forward_moves_past_now_by_whole_periods) {
  hrtimer t{nullptr};
  t.expires = deadline{100ns};
  EXPECT_EQ(hrtimer_forward(t, deadline{99ns}, 10ns), 0u);
  EXPECT_EQ(t.expires, deadline{100ns});
  EXPECT_EQ(hrtimer_forward(t, deadline{100ns}, 10ns), 1u);
  EXPECT_EQ(t.expires, deadline{110ns});
  EXPECT_EQ(hrtimer_forward(t, deadline{145ns}, 10ns), 4u);
  EXPECT_EQ(t.expires, deadline{150ns});
}

TEST_F(hrtimer_unit, forward_leaves_an_armed_timer_alone) {
  test_timer t;
  const deadline when = deadline_after(1h);
  ASSERT_TRUE(hrtimer_start(t.timer, when));
  EXPECT_EQ(hrtimer_forward(t.timer, when + 1h, 1ms), 0u);
  EXPECT_EQ(t.timer.expires, when);
  EXPECT_TRUE(hrtimer_cancel(t.timer));
}

TEST_F(hrtimer_unit, one_that_ends_while_armed_leaves_no_trace) {
  counter runs{0};
  {
    struct counting {
      hrtimer timer{[](hrtimer& t) {
        INTERLOCK_CONTAINER_OF(&t, counting, timer)->runs->fetch_add_release(1);
        return hrtimer_restart::norestart;
      }};
      counter* runs;
    } armed;
    armed.runs = &runs;
    ASSERT_TRUE(hrtimer_start(armed.timer, deadline_after(1h)));
    ASSERT_TRUE(hrtimer_start(armed.timer, deadline_after(50ms)));
  }
  test_timer later;
  ASSERT_TRUE(hrtimer_start(later.timer, deadline_after(60ms)));
  later.fired.wait();
  EXPECT_EQ(runs.load_acquire(), 0u);
  EXPECT_FALSE(hrtimer_cancel(later.timer));
}

TEST_F(hrtimer_unit, its_end_waits_for_its_function) {
  struct slow {
    atomic<int> step{0};
    hrtimer timer{[](hrtimer& t) {
      slow& self = *INTERLOCK_CONTAINER_OF(&t, slow, timer);
      self.step.store_release(1);
      while (self.step.load_acquire() == 1) platform::cpu_relax();
      for (int i = 0; i < interlock::test::rounds(100'000); ++i) platform::cpu_relax();
      self.step.store_release(3);
      return hrtimer_restart::norestart;
    }};
  };
  auto* const storage = static_cast<slow*>(::operator new(sizeof(slow)));
  slow& s = *new (storage) slow;
  ASSERT_TRUE(hrtimer_start(s.timer, expired_deadline));
  while (s.step.load_acquire() == 0) schedule();
  kthread ender = start("ender", [&] {
    s.step.store_release(2);
    s.timer.~hrtimer();
    EXPECT_EQ(s.step.load_acquire(), 3);
  });
  (void)ender.join();
  ::operator delete(storage);
}

TEST_F(hrtimer_unit, pinned_halts_the_cpu_that_started_it) {
  test_timer t{hrtimer_mode::pinned};
  ASSERT_TRUE(hrtimer_start(t.timer, deadline_after(1ms)));
  while (t.runs.load_acquire() == 0) platform::cpu_relax();  // a spinning thread, halted
  EXPECT_EQ(t.seen, smp_processor_id());
  EXPECT_FALSE(hrtimer_cancel(t.timer));
}

TEST_F(hrtimer_unit, pinned_and_periodic) {
  test_timer t{hrtimer_mode::pinned};
  t.period = 500us;
  ASSERT_TRUE(hrtimer_start(t.timer, deadline_after(500us)));
  while (t.runs.load_acquire() < 10) platform::cpu_relax();
  (void)hrtimer_cancel(t.timer);
  const std::uint32_t runs = t.runs.load_acquire();
  test_timer later;
  ASSERT_TRUE(hrtimer_start(later.timer, deadline_after(2ms)));
  later.fired.wait();
  EXPECT_EQ(t.runs.load_acquire(), runs);
  EXPECT_EQ(t.seen, smp_processor_id());
}

TEST_F(hrtimer_unit, pinned_waits_for_interrupts_and_can_be_cancelled_on_its_way) {
  test_timer t{hrtimer_mode::pinned};
  test_timer after;            // fires on the service CPU after `t` was sent
  ASSERT_TRUE(service_cpu());  // it cannot be started with interrupts off
  ASSERT_TRUE(online_cpu());
  local_irq_disable();
  ASSERT_TRUE(hrtimer_start(t.timer, deadline_after(1ms)));
  ASSERT_TRUE(hrtimer_start(after.timer, deadline_after(2ms)));
  while (after.runs.load_acquire() == 0) platform::cpu_relax();
  EXPECT_EQ(t.runs.load_acquire(), 0u);
  EXPECT_EQ(hrtimer_try_to_cancel(t.timer), -1);
  local_irq_enable();
  EXPECT_EQ(t.runs.load_acquire(), 1u);

  // The same, cancelled by another CPU while it is on its way.
  counter go{0};
  bool cancelled = false;
  kthread other = start("cancel", [&] {
    while (go.load_acquire() == 0) platform::cpu_relax();
    cancelled = hrtimer_cancel(t.timer);
  });
  after.runs.store_release(0);
  local_irq_disable();
  ASSERT_TRUE(hrtimer_start(t.timer, deadline_after(1ms)));
  ASSERT_TRUE(hrtimer_start(after.timer, deadline_after(2ms)));
  while (after.runs.load_acquire() == 0) platform::cpu_relax();
  go.store_release(1);
  while (state_of(other.get()) != task_uninterruptible) platform::cpu_relax();
  local_irq_enable();
  other.join();
  EXPECT_TRUE(cancelled);
  EXPECT_EQ(t.runs.load_acquire(), 1u);
}

TEST_F(hrtimer_unit, a_pinned_timer_whose_cpu_ends_runs_on_the_service_cpu) {
  test_timer t{hrtimer_mode::pinned};
  kthread thread =
      start("short", [&] { ASSERT_TRUE(hrtimer_start(t.timer, deadline_after(3ms))); });
  thread.join();
  t.fired.wait();
  EXPECT_EQ(t.seen, *service_cpu());
  EXPECT_FALSE(hrtimer_cancel(t.timer));
}

TEST_F(hrtimer_unit, cancel_waits_for_the_function) {
  struct slow {
    hrtimer timer{run};
    counter entered{0}, leave{0}, left{0};
    static hrtimer_restart run(hrtimer& t) {
      slow& self = *INTERLOCK_CONTAINER_OF(&t, slow, timer);
      self.entered.store_release(1);
      while (self.leave.load_acquire() == 0) platform::cpu_relax();
      self.left.store_release(1);
      return hrtimer_restart::restart;  // not obeyed: it is being cancelled
    }
  } s;
  s.timer.expires = expired_deadline;
  ASSERT_TRUE(hrtimer_start(s.timer, expired_deadline));
  ASSERT_TRUE(eventually([&] { return s.entered.load_acquire() == 1; }));
  EXPECT_EQ(hrtimer_try_to_cancel(s.timer), -1);
  kthread other = start("cancel", [&] {
    EXPECT_FALSE(hrtimer_cancel(s.timer));
    EXPECT_EQ(s.left.load_acquire(), 1u);
  });
  ASSERT_TRUE(interlock::test::sleeps(other.get(), task_uninterruptible));
  s.leave.store_release(1);
  other.join();
  EXPECT_EQ(hrtimer_try_to_cancel(s.timer), 0);
}

TEST_F(hrtimer_unit, a_function_may_end_the_life_of_its_timer) {
  struct owner {
    hrtimer timer{run};
    completion* done = nullptr;
    static hrtimer_restart run(hrtimer& t) {
      owner& self = *INTERLOCK_CONTAINER_OF(&t, owner, timer);
      self.done->complete();  // the waiter deletes it at once
      return hrtimer_restart::norestart;
    }
  };
  for (int i = 0; i < interlock::test::rounds(200); ++i) {
    completion done;
    auto o = std::make_unique<owner>();
    o->done = &done;
    ASSERT_TRUE(hrtimer_start(o->timer, expired_deadline));
    done.wait();
  }
}

TEST_F(hrtimer_unit, start_and_cancel_race) {
  test_timer t;
  counter stop{0};
  constexpr int wanted = interlock::test::rounds(500, 0);
  const auto restart = [&] {
    for (int n = 0; n < interlock::test::endless && stop.load_relaxed() == 0; ++n) {
      EXPECT_TRUE(hrtimer_start(t.timer, deadline_after(20us)));
      (void)hrtimer_try_to_cancel(t.timer);
      EXPECT_TRUE(hrtimer_start(t.timer, deadline_after(5us)));
    }
  };
  kthread a = start("starter", restart);
  kthread b = start("canceller", [&] {
    for (int n = 0; n < interlock::test::endless && stop.load_relaxed() == 0; ++n)
      (void)hrtimer_cancel(t.timer);
  });
  ASSERT_TRUE(eventually([&] { return static_cast<int>(t.runs.load_acquire()) >= wanted; }));
  stop.store_relaxed(1);
  a.join();
  b.join();
  (void)hrtimer_cancel(t.timer);
  const std::uint32_t runs = t.runs.load_acquire();
  EXPECT_FALSE(hrtimer_cancel(t.timer));
  EXPECT_EQ(t.runs.load_acquire(), runs);
  // Whatever came of the race, the timer is as good as new.
  EXPECT_TRUE(hrtimer_start(t.timer, deadline_after(5us)));
  EXPECT_TRUE(eventually([&] { return t.runs.load_acquire() == runs + 1; }));
}

TEST_F(hrtimer_unit, cancelling_pinned_timers_races) {
  for (int i = 0; i < interlock::test::rounds(300); ++i) {
    auto t = std::make_unique<test_timer>(hrtimer_mode::pinned);
    ASSERT_TRUE(hrtimer_start(t->timer, deadline_after(i % 2 == 0 ? 50us : 10us)));
    const deadline until = deadline_after(ktime{(i % 30) * 2'000});
    while (monotonic_clock::now() < until) platform::cpu_relax();
    (void)hrtimer_cancel(t->timer);
  }
}

TEST_F(hrtimer_unit, in_an_interrupt_it_needs_a_service_cpu_that_runs) {
  ASSERT_TRUE(service_cpu());
  test_timer t;
  const auto line = interlock::test::make_line_on();
  const irq_action action = interlock::test::request(*line, [&] {
    EXPECT_TRUE(hrtimer_start(t.timer, deadline_after(1ms)));
    return irqreturn::handled;
  });
  raise_irq(*line);
  t.fired.wait();
  EXPECT_FALSE(hrtimer_cancel(t.timer));
}

TEST(timer_heap, serves_in_order) {
  std::mt19937 random{12345};
  std::vector<std::unique_ptr<hrtimer>> timers;
  hrtimer* root = nullptr;
  for (int i = 0; i < interlock::test::rounds(500, 50); ++i) {
    timers.push_back(std::make_unique<hrtimer>(nullptr));
    timers.back()->expires = deadline{ktime{static_cast<std::int64_t>(random() % 300)}};
    detail::heap_insert(root, *timers.back());
  }
  std::vector<hrtimer*> inside;
  for (auto& t : timers) inside.push_back(t.get());
  while (!inside.empty()) {
    const auto first = *std::min_element(inside.begin(), inside.end(), [](hrtimer* a, hrtimer* b) {
      return a->expires < b->expires;
    });
    ASSERT_EQ(root->expires, first->expires);
    // Now the first, now any.
    hrtimer* const victim = random() % 2 == 0 ? root : inside[random() % inside.size()];
    detail::heap_remove(root, *victim);
    inside.erase(std::find(inside.begin(), inside.end(), victim));
  }
  EXPECT_EQ(root, nullptr);
}

/// A mistake of its maker, at whose cost the other timers and lines shall not be.
TEST_F(hrtimer_unit, a_timer_that_restarts_without_moving_does_not_starve_the_service_cpu) {
  static counter stuck_runs{0};
  stuck_runs.store_relaxed(0);
  hrtimer stuck{[](hrtimer&) {
    stuck_runs.fetch_add_relaxed(1);
    return hrtimer_restart::restart;
  }};
  ASSERT_TRUE(hrtimer_start(stuck, monotonic_clock::now()));
  EXPECT_TRUE(eventually([&] { return stuck_runs.load_relaxed() != 0; }));

  const auto line = interlock::test::make_line({.name = "beside it"});
  counter handled{0};
  const irq_action action = interlock::test::request(*line, [&] {
    handled.fetch_add_release(1);
    return irqreturn::handled;
  });
  raise_irq(*line);
  EXPECT_TRUE(eventually([&] { return handled.load_acquire() == 1; }));

  test_timer other;
  EXPECT_TRUE(hrtimer_start(other.timer, deadline_after(1ms)));
  EXPECT_TRUE(eventually([&] { return other.runs.load_acquire() == 1; }));
  (void)hrtimer_cancel(stuck);
  (void)hrtimer_cancel(other.timer);
}

TEST_F(hrtimer_unit, can_be_started_where_the_service_cpu_cannot) {
  const auto line = interlock::test::make_line_on();
  const irq_action action = interlock::test::request(*line, [] { return irqreturn::handled; });
  test_timer t;
  interlock::shutdown();
  {
    const irq_flags flags = local_irq_save();
    EXPECT_TRUE(hrtimer_start(t.timer, monotonic_clock::now()));
    local_irq_restore(flags);
  }
  EXPECT_EQ(t.runs.load_acquire(), 0u);
  raise_irq(*line);  // any operation of a task starts it
  EXPECT_TRUE(eventually([&] { return t.runs.load_acquire() == 1; }));
  (void)hrtimer_cancel(t.timer);
}

}  // namespace
