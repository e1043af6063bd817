// SPDX-License-Identifier: Apache-2.0

/// Lines and handlers.

#include "interlock/interrupt.hpp"

#include <sys/eventfd.h>

#include <cstring>
#include <memory>

#include "interlock/hrtimer.hpp"
#include "interlock/rcupdate.hpp"
#include "interlock/shutdown.hpp"
#include "interlock/spinlock.hpp"
#include "interlock/wait_queue.hpp"
#include "interlock_platform/poller.hpp"
#include "irq_test_support.hpp"
#include "support/rounds.hpp"

namespace {

using namespace interlock;
using interlock::test::counter;
using interlock::test::eventually;
using interlock::test::make_line;
using interlock::test::make_line_on;
using interlock::test::request;
using interlock::test::spinning_cpu;
using interlock::test::start;

class irq : public interlock::test::report_test {};

TEST_F(irq, own_cpu_is_served_before_raise_returns) {
  const auto line = make_line_on();
  counter runs{0};
  const irq_action action = request(*line, [&] {
    EXPECT_TRUE(in_hardirq());
    EXPECT_TRUE(irqs_disabled());
    EXPECT_FALSE(in_task());
    EXPECT_FALSE(in_nmi());
    runs.fetch_add_relaxed(1);
    return irqreturn::handled;
  });
  raise_irq(*line);
  EXPECT_EQ(runs.load_relaxed(), 1u);
  raise_irq(*line);
  EXPECT_EQ(runs.load_relaxed(), 2u);
  EXPECT_EQ(preempt_count(), 0u);
  EXPECT_FALSE(irqs_disabled());
}

TEST_F(irq, a_handler_sends_task_signals) {
  spinning_cpu cpu;
  const auto line = make_line_on(cpu.id());
  wait_queue wq;
  const auto never = [] { return false; };
  struct {
    task_state state;
    task_signal signal;
    result<void> end;
  } cases[] = {{task_interruptible, task_signal::interrupt, {}},
               {task_interruptible, task_signal::kill, {}},
               {task_killable, task_signal::kill, {}}};
  for (auto& c : cases) {
    kthread sleeper = start("sleeper", [&] {
      const deadline until = deadline_after(std::chrono::seconds{10});
      c.end = c.state == task_killable ? wait_event_killable(wq, never, until)
                                       : wait_event_interruptible(wq, never, until);
    });
    const auto target = ref_ptr<task>::share(sleeper.get());
    const irq_action action = request(*line, [&] {
      send_signal(*target, c.signal);
      return irqreturn::handled;
    });
    EXPECT_TRUE(interlock::test::sleeps(sleeper.get(), c.state));
    raise_irq(*line);
    sleeper.join();
    ASSERT_FALSE(c.end.has_value());
    EXPECT_EQ(c.end.error(), error::interrupted);
  }
}

TEST_F(irq, halts_a_cpu_that_spins) {
  spinning_cpu cpu;
  const auto line = make_line_on(cpu.id());
  counter runs{0};
  cpu_id seen = cpu_id::none;
  const irq_action action = request(*line, [&] {
    seen = smp_processor_id();
    runs.fetch_add_release(1);
    return irqreturn::handled;
  });
  for (std::uint32_t i = 1; i <= 100; ++i) {
    raise_irq(*line);
    ASSERT_TRUE(eventually([&] { return runs.load_acquire() == i; }));
  }
  EXPECT_EQ(seen, cpu.id());
}

TEST_F(irq, what_came_before_the_raise_is_visible_in_the_handler) {
  spinning_cpu cpu;
  const auto line = make_line_on(cpu.id());
  std::uint64_t data = 0;
  completion seen;
  std::uint64_t value = 0;
  const irq_action action = request(*line, [&] {
    value = data;
    seen.complete();
    return irqreturn::handled;
  });
  for (std::uint64_t i = 1; i <= 200; ++i) {
    data = i;
    raise_irq(*line);
    seen.wait();
    ASSERT_EQ(value, i);
  }
}

TEST_F(irq, masked_interrupts_are_replayed_in_order) {
  const auto first = make_line_on();
  const auto second = make_line_on();
  const auto third = make_line_on();
  char order[8] = {};
  std::size_t count = 0;
  const auto note = [&](char c) {
    return [&, c] {
      order[count++] = c;
      return irqreturn::handled;
    };
  };
  const irq_action a = request(*first, note('1'));
  const irq_action b = request(*second, note('2'));
  const irq_action c = request(*third, note('3'));
  local_irq_disable();
  raise_irq(*second);
  raise_irq(*third);
  raise_irq(*first);
  raise_irq(*second);  // merges with its first raise
  EXPECT_EQ(count, 0u);
  local_irq_enable();
  EXPECT_STREQ(order, "231");
}

TEST_F(irq, flags_nest) {
  const auto line = make_line_on();
  counter runs{0};
  const irq_action action = request(*line, [&] {
    const irq_flags flags = local_irq_save();
    local_irq_restore(flags);
    EXPECT_TRUE(irqs_disabled());
    runs.fetch_add_relaxed(1);
    return irqreturn::handled;
  });
  const irq_flags outer = local_irq_save();
  const irq_flags inner = local_irq_save();
  raise_irq(*line);
  local_irq_restore(inner);
  EXPECT_EQ(runs.load_relaxed(), 0u);
  local_irq_restore(outer);
  EXPECT_EQ(runs.load_relaxed(), 1u);
}

TEST_F(irq, raises_merge_until_the_handler_starts) {
  const auto line = make_line_on();
  counter runs{0};
  const irq_action action = request(*line, [&] {
    // Raised while it runs: one more run, not nested.
    if (runs.fetch_add_relaxed(1) == 0) {
      raise_irq(*line);
      raise_irq(*line);
      EXPECT_EQ(runs.load_relaxed(), 1u);
    }
    return irqreturn::handled;
  });
  raise_irq(*line);
  EXPECT_EQ(runs.load_relaxed(), 2u);
  EXPECT_EQ(irq_get_statistics(*line).raised, 3u);
  EXPECT_EQ(irq_get_statistics(*line).handled, 2u);
}

TEST_F(irq, a_raise_before_the_first_handler_is_kept) {
  const auto line = make_line_on();
  raise_irq(*line);
  counter runs{0};
  {
    const irq_action action = request(*line, [&] {
      runs.fetch_add_relaxed(1);
      return irqreturn::handled;
    });
    EXPECT_EQ(runs.load_relaxed(), 1u);
  }
  raise_irq(*line);
  EXPECT_EQ(runs.load_relaxed(), 1u);
}

TEST_F(irq, shared_lines_ask_each_handler) {
  const auto line = make_line_on();
  counter a_runs{0};
  counter b_runs{0};
  irq_action a = request(*line,
                         [&] {
                           a_runs.fetch_add_relaxed(1);
                           return irqreturn::none;
                         },
                         {.name = "a", .shared = true});
  const irq_action b = request(*line,
                               [&] {
                                 b_runs.fetch_add_relaxed(1);
                                 return irqreturn::handled;
                               },
                               {.name = "b", .shared = true});
  const result<irq_action> c = request_irq(*line, [] { return irqreturn::none; });
  ASSERT_FALSE(c.has_value());
  EXPECT_EQ(c.error(), error::device_or_resource_busy);
  raise_irq(*line);
  EXPECT_EQ(a_runs.load_relaxed(), 1u);
  EXPECT_EQ(b_runs.load_relaxed(), 1u);
  a.free();
  raise_irq(*line);
  EXPECT_EQ(a_runs.load_relaxed(), 1u);
  EXPECT_EQ(b_runs.load_relaxed(), 2u);
  EXPECT_EQ(irq_get_statistics(*line).spurious, 0u);
}

TEST_F(irq, a_line_that_nobody_claims_is_cut_off) {
  const auto line = make_line_on();
  counter runs{0};
  const irq_action action = request(*line,
                                    [&] {
                                      runs.fetch_add_relaxed(1);
                                      return irqreturn::none;
                                    },
                                    {.name = "deaf"});
  // More than one window only if the system takes the processor away for 100 ms, which forgives.
  while (reports.pending() == 0 && runs.load_relaxed() < 10'000'000) raise_irq(*line);
  const std::uint32_t last = runs.load_relaxed();
  EXPECT_EQ(last % 100'000, 0u);
  raise_irq(*line);
  EXPECT_EQ(runs.load_relaxed(), last);
  EXPECT_EQ(irq_get_statistics(*line).spurious, last);
  EXPECT_TRUE(reports.took(report_kind::irq_nobody_cared, ": nobody cared"));
  EXPECT_NE(std::strstr(reports.text(), "deaf"), nullptr);
  EXPECT_EQ(std::strncmp(reports.text(), "irq ", 4), 0);
}

TEST_F(irq, a_handler_may_wake_signal_and_read_under_rcu) {
  spinning_cpu cpu;
  const auto line = make_line_on(cpu.id());
  struct box {
    rcu_head rcu{};
    int value = 0;
  };
  box first{{}, 7};
  rcu_pointer<box> shared{&first};
  completion done;
  spinlock lock;
  int sum = 0;
  const irq_action action = request(*line, [&] {
    rcu_read_lock();
    const int value = rcu_dereference(shared)->value;
    rcu_read_unlock();
    {
      guard g{no_mask, lock};
      sum += value;
    }
    done.complete();
    return irqreturn::handled;
  });
  for (int i = 1; i <= 100; ++i) {
    raise_irq(*line);
    done.wait();
    guard g{irqsave, lock};
    EXPECT_EQ(sum, 7 * i);
  }
}

TEST_F(irq, the_threaded_half_runs_in_task_context) {
  const auto line = make_line_on();
  completion done;
  counter hard{0};
  result<irq_action> action = request_threaded_irq(
      *line,
      [&] {
        hard.fetch_add_relaxed(1);
        return irqreturn::wake_thread;
      },
      [&] {
        EXPECT_TRUE(in_task());
        EXPECT_TRUE(preemptible());
        EXPECT_STREQ(task_name(current_task()), "irq/half");
        done.complete();
      },
      {.name = "half"});
  ASSERT_TRUE(action.has_value());
  raise_irq(*line);
  done.wait();
  EXPECT_EQ(hard.load_relaxed(), 1u);
  EXPECT_EQ(irq_get_statistics(*line).thread_wakes, 1u);
}

TEST_F(irq, oneshot_masks_until_the_threaded_half_returns) {
  const auto line = make_line_on();
  completion entered;
  completion leave;
  counter hard{0};
  counter threaded{0};
  result<irq_action> action = request_threaded_irq(
      *line,
      [&] {
        hard.fetch_add_relaxed(1);
        return irqreturn::wake_thread;
      },
      [&] {
        entered.complete();
        leave.wait();
        threaded.fetch_add_relaxed(1);
      },
      {.name = "oneshot", .oneshot = true});
  ASSERT_TRUE(action.has_value());
  raise_irq(*line);
  entered.wait();
  raise_irq(*line);
  raise_irq(*line);
  EXPECT_EQ(hard.load_relaxed(), 1u);
  leave.complete();
  entered.wait();
  EXPECT_EQ(hard.load_relaxed(), 2u);
  leave.complete();
  synchronize_irq(*line);
  EXPECT_EQ(threaded.load_relaxed(), 2u);
}

TEST_F(irq, a_threaded_half_alone_is_oneshot) {
  const auto line = make_line_on();
  completion done;
  result<irq_action> action =
      request_threaded_irq_raw(*line, nullptr,
                               [](irq_line&, void* cookie) {
                                 static_cast<completion*>(cookie)->complete();
                                 return irqreturn::handled;
                               },
                               &done, nullptr, {});
  ASSERT_TRUE(action.has_value());
  for (int i = 0; i < 10; ++i) {
    raise_irq(*line);
    done.wait();
  }
  synchronize_irq(*line);
  EXPECT_EQ(irq_get_statistics(*line).thread_wakes, 10u);
}

TEST_F(irq, a_failed_request_destroys_its_cookie) {
  const auto line = make_line_on();
  const irq_action first = request(*line, [] { return irqreturn::handled; });
  int destroyed = 0;
  const result<irq_action> second = request_threaded_irq_raw(
      *line, [](irq_line&, void*) { return irqreturn::handled; }, nullptr, &destroyed,
      [](void* cookie) { ++*static_cast<int*>(cookie); }, {});
  EXPECT_FALSE(second.has_value());
  EXPECT_EQ(destroyed, 1);
  const result<irq_action> neither = request_threaded_irq_raw(
      *line, nullptr, nullptr, &destroyed, [](void* cookie) { ++*static_cast<int*>(cookie); }, {});
  ASSERT_FALSE(neither.has_value());
  EXPECT_EQ(neither.error(), error::invalid_argument);
  EXPECT_EQ(destroyed, 2);
}

TEST_F(irq, disable_nests_and_keeps_a_raise) {
  const auto line = make_line_on();
  counter runs{0};
  const irq_action action = request(*line, [&] {
    runs.fetch_add_relaxed(1);
    return irqreturn::handled;
  });
  disable_irq(*line);
  disable_irq_nosync(*line);
  raise_irq(*line);
  raise_irq(*line);
  EXPECT_EQ(runs.load_relaxed(), 0u);
  enable_irq(*line);
  EXPECT_EQ(runs.load_relaxed(), 0u);
  enable_irq(*line);
  EXPECT_EQ(runs.load_relaxed(), 1u);
  enable_irq(*line);
  EXPECT_TRUE(reports.took(report_kind::context_imbalance, "Unbalanced enable for IRQ"));
}

TEST_F(irq, disable_waits_for_the_handler) {
  spinning_cpu cpu;
  const auto line = make_line_on(cpu.id());
  counter entered{0};
  counter leave{0};
  counter left{0};
  const irq_action action = request(*line, [&] {
    entered.store_release(1);
    while (leave.load_acquire() == 0) platform::cpu_relax();
    left.store_release(1);
    return irqreturn::handled;
  });
  raise_irq(*line);
  ASSERT_TRUE(eventually([&] { return entered.load_acquire() == 1; }));
  counter disabled{0};
  kthread other = start("disabler", [&] {
    disable_irq(*line);
    EXPECT_EQ(left.load_acquire(), 1u);
    disabled.store_release(1);
  });
  ASSERT_TRUE(interlock::test::sleeps(other.get(), task_uninterruptible));
  EXPECT_EQ(disabled.load_acquire(), 0u);
  leave.store_release(1);
  other.join();
  EXPECT_EQ(disabled.load_acquire(), 1u);
}

TEST_F(irq, free_under_a_storm_never_leaves_a_handler_behind) {
  spinning_cpu cpu;
  const auto line = make_line_on(cpu.id());
  counter stop{0};
  kthread storm = start("storm", [&] {
    while (stop.load_relaxed() == 0) raise_irq(*line);
  });
  for (int i = 0; i < interlock::test::rounds(50); ++i) {
    auto alive = std::make_unique<counter>(1u);
    completion ran;
    {
      const irq_action action = request(*line, [p = alive.get(), &ran] {
        EXPECT_EQ(p->load_relaxed(), 1u);
        ran.complete();
        return irqreturn::handled;
      });
      ran.wait();
    }
    alive->store_relaxed(0);
  }
  stop.store_relaxed(1);
  storm.join();
}

TEST_F(irq, waiting_for_itself_is_reported_and_does_not_hang) {
  const auto line = make_line_on();
  irq_action action;
  action = request(*line, [&] {
    synchronize_irq(*line);
    action.free();
    return irqreturn::handled;
  });
  raise_irq(*line);
  EXPECT_TRUE(reports.took(report_kind::sleep_in_atomic, "sleeping function called"));
  // The second one falls under the limit of one such report a second, or not.
  while (reports.pending() != 0) EXPECT_TRUE(reports.took(report_kind::sleep_in_atomic, ""));
  raise_irq(*line);  // still registered
  while (reports.pending() != 0) EXPECT_TRUE(reports.took(report_kind::sleep_in_atomic, ""));
  EXPECT_EQ(irq_get_statistics(*line).handled, 2u);
}

TEST_F(irq, a_threaded_half_that_waits_for_itself_is_reported) {
  const auto line = make_line_on();
  completion done;
  result<irq_action> action = request_threaded_irq(
      *line, [] { return irqreturn::wake_thread; },
      [&] {
        synchronize_irq(*line);
        done.complete();
      });
  ASSERT_TRUE(action.has_value());
  raise_irq(*line);
  done.wait();
  EXPECT_TRUE(reports.took(report_kind::warning, "synchronize from its own threaded half"));
}

TEST_F(irq, a_threaded_half_frees_another_handler_of_its_line) {
  const auto line = make_line({.name = "shared"});
  completion done;
  counter others{0};
  irq_action other;
  result<irq_action> action = request_threaded_irq(
      *line, [] { return irqreturn::wake_thread; },
      [&] {
        other.free();
        done.complete();
      },
      {.shared = true});
  ASSERT_TRUE(action.has_value());
  result<irq_action> second = request_threaded_irq(
      *line, [] { return irqreturn::wake_thread; }, [&] { others.fetch_add_relaxed(1); },
      {.shared = true});
  ASSERT_TRUE(second.has_value());
  other = std::move(*second);
  raise_irq(*line);
  ASSERT_TRUE(done.wait_until(deadline_after(std::chrono::seconds{10})));
  const std::uint32_t before = others.load_relaxed();
  raise_irq(*line);
  ASSERT_TRUE(done.wait_until(deadline_after(std::chrono::seconds{10})));
  EXPECT_EQ(others.load_relaxed(), before);
}

TEST_F(irq, an_action_that_cannot_be_freed_is_not_overwritten) {
  const auto line = make_line_on();
  completion done;
  counter runs{0};
  irq_action action;
  result<irq_action> made = request_threaded_irq(
      *line, [] { return irqreturn::wake_thread; },
      [&] {
        if (runs.fetch_add_relaxed(1) == 0) action = irq_action{};
        done.complete();
      });
  ASSERT_TRUE(made.has_value());
  action = std::move(*made);
  raise_irq(*line);
  ASSERT_TRUE(done.wait_until(deadline_after(std::chrono::seconds{10})));
  EXPECT_TRUE(reports.took(report_kind::warning, "free from its own threaded half"));
  action.free();
  synchronize_irq(*line);
  raise_irq(*line);
  synchronize_irq(*line);
  EXPECT_EQ(runs.load_relaxed(), 1u) << "it was lost, and runs still";
}

TEST_F(irq, a_handler_that_enables_interrupts_is_reported_and_mended) {
  const auto line = make_line_on();
  const irq_action action = request(*line,
                                    [] {
                                      local_irq_enable();
                                      return irqreturn::handled;
                                    },
                                    {.name = "careless"});
  raise_irq(*line);
  EXPECT_TRUE(
      reports.took(report_kind::context_imbalance, "irq handler careless enabled interrupts"));
  EXPECT_FALSE(irqs_disabled());
  EXPECT_EQ(preempt_count(), 0u);
}

TEST_F(irq, a_line_moves_to_the_service_cpu_when_its_cpu_ends) {
  const result<cpu_id> service = service_cpu();
  ASSERT_TRUE(service.has_value());
  auto cpu = std::make_unique<spinning_cpu>();
  const auto line = make_line_on(cpu->id());
  cpu_id seen = cpu_id::none;
  completion done;
  const irq_action action = request(*line, [&] {
    seen = smp_processor_id();
    done.complete();
    return irqreturn::handled;
  });
  raise_irq(*line);
  done.wait();
  EXPECT_EQ(seen, cpu->id());
  const cpu_id gone = cpu->id();
  cpu.reset();
  EXPECT_FALSE(cpu_is_online(gone));
  raise_irq(*line);
  done.wait();
  EXPECT_EQ(seen, *service);
}

TEST_F(irq, a_raise_that_the_cpu_did_not_serve_before_its_end_is_served) {
  completion made;
  completion raised;
  ref_ptr<irq_line> line;
  completion done;
  kthread thread = start("short", [&] {
    line = make_line_on();
    made.complete();
    local_irq_disable();
    while (!raised.done()) platform::cpu_relax();
    // Ends with interrupts off and one pending.
  });
  made.wait();
  const irq_action action = request(*line, [&] {
    done.complete();
    return irqreturn::handled;
  });
  raise_irq(*line);
  raised.complete();
  thread.join();
  done.wait();
  synchronize_irq(*line);  // counted after the handler
  EXPECT_EQ(irq_get_statistics(*line).handled, 1u);
}

TEST_F(irq, raising_while_the_target_ends) {
  for (int i = 0; i < interlock::test::rounds(30, 1); ++i) {
    auto cpu = std::make_unique<spinning_cpu>();
    const auto line = make_line_on(cpu->id());
    counter runs{0};
    const irq_action action = request(*line, [&] {
      runs.fetch_add_relaxed(1);
      return irqreturn::handled;
    });
    counter stop{0};
    kthread storm = start("storm", [&] {
      while (stop.load_relaxed() == 0) raise_irq(*line);
    });
    ASSERT_TRUE(eventually([&] { return runs.load_relaxed() > 0; }));
    cpu.reset();
    const std::uint32_t before = runs.load_relaxed();
    ASSERT_TRUE(eventually([&] { return runs.load_relaxed() > before + 1; }));
    stop.store_relaxed(1);
    storm.join();
  }
}

TEST_F(irq, affinity_moves_a_line) {
  spinning_cpu a;
  spinning_cpu b;
  const auto line = make_line_on(a.id());
  cpu_id seen = cpu_id::none;
  completion done;
  const irq_action action = request(*line, [&] {
    seen = smp_processor_id();
    done.complete();
    return irqreturn::handled;
  });
  ASSERT_TRUE(irq_set_affinity(*line, b.id()));
  raise_irq(*line);
  done.wait();
  EXPECT_EQ(seen, b.id());
  const result<void> wrong = irq_set_affinity(*line, cpu_id{1});
  ASSERT_FALSE(wrong.has_value());
  EXPECT_EQ(wrong.error(), error::no_such_process);
}

TEST_F(irq, threaded_line_runs_on_the_service_cpu) {
  const auto line = make_line({.name = "threaded"});
  cpu_id seen = cpu_id::none;
  completion done;
  const irq_action action = request(*line, [&] {
    EXPECT_TRUE(in_hardirq());
    EXPECT_TRUE(irqs_disabled());
    seen = smp_processor_id();
    done.complete();
    return irqreturn::handled;
  });
  for (int i = 0; i < interlock::test::rounds(100); ++i) {
    raise_irq(*line);
    done.wait();
  }
  EXPECT_EQ(seen, *service_cpu());
}

TEST_F(irq, a_descriptor_raises_its_line) {
  const int fd = platform::open_event_fd().value();
  {
    const auto line = make_line({.name = "fd", .fd = fd});
    completion done;
    const irq_action action = request(*line, [&] {
      EXPECT_FALSE(platform::drain_event_fd(fd));  // acknowledged already
      done.complete();
      return irqreturn::handled;
    });
    for (int i = 0; i < interlock::test::rounds(100); ++i) {
      platform::signal_event_fd(fd);
      done.wait();
    }
    disable_irq(*line);
    platform::signal_event_fd(fd);
    enable_irq(*line);
    done.wait();
  }
  platform::close_fd(fd);
}

TEST_F(irq, a_handler_may_acknowledge_its_descriptor_itself) {
  const int fd = platform::open_event_fd().value();
  {
    const auto line = make_line({.name = "fd", .fd = fd, .ack_fd = false});
    completion done;
    const irq_action action = request(*line, [&] {
      EXPECT_TRUE(platform::drain_event_fd(fd));
      done.complete();
      return irqreturn::handled;
    });
    for (int i = 0; i < interlock::test::rounds(100); ++i) {
      platform::signal_event_fd(fd);
      done.wait();
    }
  }
  platform::close_fd(fd);
}

/// Most eventfds and timerfds block: a raise by software must not wait for something to read.
TEST_F(irq, a_software_raise_does_not_read_the_descriptor) {
  const int fd = eventfd(0, EFD_CLOEXEC);
  ASSERT_GE(fd, 0);
  {
    const auto line = make_line({.name = "fd", .fd = fd});
    completion done;
    const irq_action action = request(*line, [&] {
      done.complete();
      return irqreturn::handled;
    });
    platform::signal_event_fd(fd);
    done.wait();
    for (int i = 0; i < 10; ++i) {
      raise_irq(*line);
      if (done.wait_until(deadline_after(std::chrono::seconds{10}))) continue;
      platform::signal_event_fd(fd);  // lets the service CPU go on
      FAIL() << "the service CPU hangs in a read";
    }
    platform::signal_event_fd(fd);
    done.wait();
    EXPECT_FALSE(platform::drain_event_fd(fd));
  }
  platform::close_fd(fd);
}

/// A line with a descriptor needs the service CPU: after a shutdown the next operation starts it.
TEST_F(irq, a_descriptor_is_watched_again_after_a_shutdown) {
  const int fd = platform::open_event_fd().value();
  {
    const auto line = make_line({.name = "fd", .fd = fd});
    const auto own = make_line_on();
    completion done;
    const irq_action action = request(*line, [&] {
      done.complete();
      return irqreturn::handled;
    });
    const irq_action own_action = request(*own, [] { return irqreturn::handled; });
    shutdown();
    platform::signal_event_fd(fd);
    raise_irq(*own);
    EXPECT_TRUE(done.wait_until(deadline_after(std::chrono::seconds{10})));
  }
  platform::close_fd(fd);
}

TEST_F(irq, wrong_options_are_refused) {
  const result<ref_ptr<irq_line>> fd = make_irq_line({.kind = irq_kind::asynchronous, .fd = 0});
  ASSERT_FALSE(fd.has_value());
  EXPECT_EQ(fd.error(), error::invalid_argument);
  const result<ref_ptr<irq_line>> target =
      make_irq_line({.kind = irq_kind::asynchronous, .target = cpu_id{1}});
  ASSERT_FALSE(target.has_value());
  EXPECT_EQ(target.error(), error::no_such_process);
  const result<ref_ptr<irq_line>> closed = make_irq_line({.fd = 1'000'000});
  ASSERT_FALSE(closed.has_value());
  EXPECT_EQ(closed.error(), error::bad_file_descriptor);
}

}  // namespace
