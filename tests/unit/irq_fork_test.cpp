// SPDX-License-Identifier: Apache-2.0

/// The child of a fork: one CPU, the same lines and timers, a service CPU on need.

#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include <filesystem>

#include <ctime>

#include "interlock/hrtimer.hpp"
#include "interlock/irq_work.hpp"
#include "interlock/smp.hpp"
#include "interlock/softirq.hpp"
#include "irq_test_support.hpp"
#include "support/sanitizers.hpp"

namespace {

using namespace interlock;
using namespace std::chrono_literals;
using interlock::test::count_runs;
using interlock::test::counter;
using interlock::test::eventually;
using interlock::test::make_line;
using interlock::test::make_line_on;
using interlock::test::request;
using interlock::test::spinning_cpu;

class irq_fork : public interlock::test::report_test {
  void SetUp() override { SKIP_IF_CHILDREN_HAVE_NO_THREADS(); }
};

/// Runs `body` in a child; true if it returned 0. The child ends without the parent's atexit work.
template <class Body>
::testing::AssertionResult in_child(Body body) {
  const pid_t child = fork();
  if (child == 0) {
    alarm(20);
    _exit(body());
  }
  int status = 0;
  if (waitpid(child, &status, 0) != child) return ::testing::AssertionFailure() << "no child";
  if (WIFEXITED(status) && WEXITSTATUS(status) == 0) return ::testing::AssertionSuccess();
  return ::testing::AssertionFailure() << "exit status " << WEXITSTATUS(status) << ", signal "
                                       << (WIFSIGNALED(status) ? WTERMSIG(status) : 0);
}

TEST_F(irq_fork, own_lines_work_in_the_child) {
  const auto line = make_line_on();
  counter runs{0};
  const irq_action action = count_runs(*line, runs);
  EXPECT_TRUE(in_child([&] {
    if (!cpu_is_online(smp_processor_id())) return 1;
    raise_irq(*line);
    return runs.load_relaxed() == 1 ? 0 : 2;
  }));
  raise_irq(*line);
  EXPECT_EQ(runs.load_relaxed(), 1u);
}

TEST_F(irq_fork, what_was_pending_on_the_forking_cpu_is_kept) {
  const auto line = make_line_on();
  counter runs{0};
  const irq_action action = count_runs(*line, runs);
  preempt_disable();
  preempt_enable();
  disable_irq(*line);
  raise_irq(*line);
  EXPECT_TRUE(in_child([&] {
    enable_irq(*line);
    return runs.load_relaxed() == 1 ? 0 : 1;
  }));
  enable_irq(*line);
  EXPECT_EQ(runs.load_relaxed(), 1u);
}

TEST_F(irq_fork, lines_of_other_cpus_move_to_the_service_cpu_which_restarts) {
  spinning_cpu cpu;
  const auto line = make_line_on(cpu.id());
  counter runs{0};
  const irq_action action = count_runs(*line, runs);
  const result<cpu_id> service = service_cpu();
  ASSERT_TRUE(service);
  EXPECT_TRUE(in_child([&] {
    if (cpu_is_online(cpu.id()) || cpu_is_online(*service)) return 1;
    raise_irq(*line);
    if (!eventually([&] { return runs.load_acquire() == 1; })) return 2;
    const result<cpu_id> restarted = service_cpu();
    return restarted && *restarted != *service ? 0 : 3;
  }));
}

TEST_F(irq_fork, a_raise_that_another_cpu_held_pending_is_served_in_the_child) {
  counter up{0};
  counter stop{0};
  ref_ptr<irq_line> line;
  kthread thread = interlock::test::start("masked", [&] {
    line = make_line_on();
    local_irq_disable();
    up.store_release(1);
    while (stop.load_acquire() == 0) platform::cpu_relax();
    local_irq_enable();
  });
  ASSERT_TRUE(eventually([&] { return up.load_acquire() == 1; }));
  counter runs{0};
  const irq_action action = count_runs(*line, runs);
  raise_irq(*line);
  EXPECT_TRUE(in_child([&] {
    if (!service_cpu()) return 1;
    return eventually([&] { return runs.load_acquire() == 1; }) ? 0 : 2;
  }));
  stop.store_release(1);
  thread.join();
  EXPECT_EQ(runs.load_acquire(), 1u);
}

TEST_F(irq_fork, threaded_halves_restart_on_need) {
  const auto line = make_line({.name = "threaded"});
  completion done;
  result<irq_action> action = request_threaded_irq(
      *line, [] { return irqreturn::wake_thread; }, [&] { done.complete(); },
      {.name = "half", .oneshot = true});
  ASSERT_TRUE(action);
  raise_irq(*line);
  done.wait();
  synchronize_irq(*line);
  EXPECT_TRUE(in_child([&] {
    for (int i = 0; i < 3; ++i) {
      raise_irq(*line);
      if (!done.wait_until(deadline_after(10s))) return 1;
    }
    synchronize_irq(*line);
    action->free();
    return 0;
  }));
  raise_irq(*line);
  done.wait();
}

TEST_F(irq_fork, a_threaded_half_that_was_cut_short_runs_again) {
  const auto line = make_line({.name = "threaded"});
  // No completion: what another thread sleeps on cannot be used in the child.
  counter entered{0};
  counter leave{0};
  counter runs{0};
  result<irq_action> action = request_threaded_irq(
      *line, [] { return irqreturn::wake_thread; },
      [&] {
        entered.fetch_add_relaxed(1);
        while (leave.load_acquire() == 0) schedule();
        runs.fetch_add_relaxed(1);
      },
      {.name = "half", .oneshot = true});
  ASSERT_TRUE(action);
  raise_irq(*line);
  ASSERT_TRUE(eventually([&] { return entered.load_relaxed() == 1; }));
  EXPECT_TRUE(in_child([&] {
    raise_irq(*line);  // masked by the half that is not there
    leave.store_release(1);
    if (!service_cpu()) return 1;
    if (!eventually([&] { return entered.load_relaxed() == 3; })) return 2;
    synchronize_irq(*line);
    return runs.load_relaxed() == 2 ? 0 : 3;
  }));
  leave.store_release(1);
  synchronize_irq(*line);
  EXPECT_EQ(runs.load_relaxed(), 1u);
}

TEST_F(irq_fork, timers_stay_armed) {
  static counter runs{0};
  runs.store_relaxed(0);
  hrtimer timer{[](hrtimer&) {
    runs.fetch_add_release(1);
    return hrtimer_restart::norestart;
  }};
  ASSERT_TRUE(hrtimer_start(timer, deadline_after(50ms)));
  EXPECT_TRUE(in_child([&] {
    if (!service_cpu()) return 1;
    if (!eventually([&] { return runs.load_acquire() == 1; })) return 2;
    if (!hrtimer_start(timer, deadline_after(1h))) return 3;
    return hrtimer_cancel(timer) ? 0 : 4;
  }));
  ASSERT_TRUE(eventually([&] { return runs.load_acquire() == 1; }));
  (void)hrtimer_cancel(timer);
}

TEST_F(irq_fork, forking_under_a_storm) {
  spinning_cpu cpu;
  const auto line = make_line_on(cpu.id());
  const auto own = make_line_on();
  counter runs{0};
  const irq_action action = count_runs(*line, runs);
  const irq_action own_action = request(*own, [] { return irqreturn::handled; });
  counter stop{0};
  kthread storm = interlock::test::start("storm", [&] {
    while (stop.load_relaxed() == 0) {
      raise_irq(*line);
      raise_irq(*own);
    }
  });
  for (int i = 0; i < 20; ++i) {
    EXPECT_TRUE(in_child([&] {
      const std::uint32_t before = runs.load_relaxed();
      raise_irq(*line);
      raise_irq(*own);
      return eventually([&] { return runs.load_relaxed() > before; }) ? 0 : 1;
    }));
  }
  stop.store_relaxed(1);
  storm.join();
}

TEST_F(irq_fork, calls_go_to_nobody_who_is_not_there) {
  spinning_cpu cpu;
  EXPECT_TRUE(in_child([&] {
    const result<void> call = smp_call_function_single(
        cpu.id(), [](void*) {}, nullptr);
    if (call || call.error() != error::no_such_process) return 1;
    counter calls{0};
    if (!on_each_cpu([](void* c) { static_cast<counter*>(c)->fetch_add_relaxed(1); }, &calls)) {
      return 2;
    }
    return calls.load_relaxed() <= 1 ? 0 : 3;
  }));
}

/// In a child, because the limit is the process's.
TEST_F(irq_fork, a_raise_survives_a_full_queue_of_signals) {
  EXPECT_TRUE(in_child([] {
    spinning_cpu cpu;
    const auto line = make_line_on(cpu.id());
    counter runs{0};
    const irq_action action = count_runs(*line, runs);
    struct rlimit before;
    if (getrlimit(RLIMIT_SIGPENDING, &before) != 0) return 1;
    const struct rlimit none { 0, before.rlim_max };
    if (setrlimit(RLIMIT_SIGPENDING, &none) != 0) return 2;
    raise_irq(*line);
    raise_irq(*line);
    // The service CPU tries once a millisecond; nothing can come through yet.
    hrtimer tick{[](hrtimer&) { return hrtimer_restart::norestart; }};
    if (!hrtimer_start(tick, deadline_after(5ms))) return 3;
    (void)sleep_for(10ms);
    if (runs.load_acquire() != 0) return 4;
    if (setrlimit(RLIMIT_SIGPENDING, &before) != 0) return 5;
    if (!eventually([&] { return runs.load_acquire() == 1; })) return 6;
    return 0;
  }));
}

/// Interrupts are held back around a fork. What is raised meanwhile is served after it.
TEST_F(irq_fork, no_raise_is_lost_around_forks) {
  spinning_cpu cpu;
  const auto line = make_line_on(cpu.id());
  counter seen{0};
  counter raised{0};
  const irq_action action = request(*line, [&] {
    seen.store_release(raised.load_acquire());
    return irqreturn::handled;
  });
  counter stop{0};
  kthread raiser = interlock::test::start("raiser", [&] {
    while (stop.load_acquire() == 0) {
      const std::uint32_t n = raised.fetch_add_release(1) + 1;
      raise_irq(*line);
      EXPECT_TRUE(eventually([&] { return seen.load_acquire() >= n; }));
    }
  });
  for (int i = 0; i < 100; ++i) EXPECT_TRUE(in_child([] { return 0; }));
  stop.store_release(1);
  (void)raiser.join();
  EXPECT_EQ(seen.load_acquire(), raised.load_acquire());
}

/// How much processor time the process takes while the OS refuses a ring: that of looking a
/// thousand times a second, not that of a loop.
TEST_F(irq_fork, refused_rings_are_not_repeated_in_a_busy_loop) {
  EXPECT_TRUE(in_child([] {
    completion up;
    completion stop;
    cpu_id sleeper = cpu_id::none;
    kthread thread = interlock::test::start("sleeper", [&] {
      sleeper = online_cpu().value_or(cpu_id::none);
      up.complete();
      stop.wait();
    });
    up.wait();
    const auto line = make_line_on(sleeper);
    counter runs{0};
    const irq_action action = count_runs(*line, runs);
    struct rlimit before;
    if (getrlimit(RLIMIT_SIGPENDING, &before) != 0) return 1;
    const struct rlimit none { 0, before.rlim_max };
    if (setrlimit(RLIMIT_SIGPENDING, &none) != 0) return 2;
    raise_irq(*line);
    const clock_t begin = clock();
    (void)sleep_for(200ms);
    const clock_t used = clock() - begin;
    if (setrlimit(RLIMIT_SIGPENDING, &before) != 0) return 3;
    if (!eventually([&] { return runs.load_acquire() == 1; })) return 4;
    stop.complete();
    thread.join();
    return used < CLOCKS_PER_SEC / 20 ? 0 : 5;
  }));
}

TEST_F(irq_fork, no_thread_is_started_inside_fork) {
  spinning_cpu cpu;
  ASSERT_TRUE(service_cpu());
  rcu_barrier();
  EXPECT_TRUE(in_child([] {
    int threads = 0;
    for (const auto& entry : std::filesystem::directory_iterator{"/proc/self/task"}) {
      (void)entry;
      ++threads;
    }
    return threads - 1;
  }));
}

/// The half sleeps at the fork; the child waits for it, and nobody has started a service CPU there.
TEST_F(irq_fork, a_wait_for_a_threaded_half_ends_in_the_child) {
  const auto line = make_line({.name = "threaded"});
  completion entered;
  completion leave;
  result<irq_action> action = request_threaded_irq(
      *line, [] { return irqreturn::wake_thread; },
      [&] {
        entered.complete();
        leave.wait();
      });
  ASSERT_TRUE(action);
  raise_irq(*line);
  entered.wait();
  EXPECT_TRUE(in_child([&] {
    leave.complete_all();
    disable_irq(*line);
    return 0;
  }));
  leave.complete_all();
  synchronize_irq(*line);
}

TEST_F(irq_fork, a_kthread_may_fork) {
  kthread forker = interlock::test::start(
      "forker", [] { EXPECT_TRUE(in_child([] { return kthread_should_stop() ? 1 : 0; })); });
  (void)forker.join();
}

}  // namespace
