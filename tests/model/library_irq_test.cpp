// SPDX-License-Identifier: Apache-2.0

/// Lines, softirqs, irq_work, timers and calls on the simulated machine, also where the library
/// holds interrupts back.

#include "model/library_support.hpp"

namespace interlock::test {
namespace {

/// At both granularities.
template <class F>
void passes_both(model::options o, F program) {
  passes(model::explore(o, program));
  passes(model::explore(full(o), program));
}

constexpr irq_line_options asynchronous{.name = "device", .kind = irq_kind::asynchronous};

TEST(library_irq, a_raise_is_handled) {
  const model::expectations here;
  passes_both(some(5000), [] {
    const auto line = *make_irq_line(asynchronous);
    completion done;
    int work = 0;
    const auto action = request_irq(*line, [&] {
                          EXPECT_EQ(work, 1);
                          done.complete();
                          return irqreturn::handled;
                        }).value();
    auto device = start("device", [&] {
      work = 1;
      raise_irq(*line);
    });
    done.wait();
    (void)device.join();
  });
}

TEST(library_irq, a_raise_while_interrupts_are_off_is_replayed) {
  const model::expectations here;
  passes_both(some(5000), [] {
    const auto line = *make_irq_line(asynchronous);
    completion done;
    int n = 0;
    const auto action = request_irq(*line, [&] {
                          ++n;
                          done.complete();
                          return irqreturn::handled;
                        }).value();
    auto device = start("device", [&] { raise_irq(*line); });
    {
      guard g{irqsave};
      const int before = n;
      std::atomic<int> step{0};
      step.store(1);  // where the handler would come in
      EXPECT_EQ(before, n);
    }
    {
      guard g{irqsave};
      ++n;
    }
    done.wait();
    (void)device.join();
  });
}

/// What the handler uses ends with the action.
TEST(library_irq, free_waits_for_the_handler) {
  const model::expectations here;
  passes_both(some(5000), [] {
    const auto line = *make_irq_line(asynchronous);
    auto* const used = new int{0};
    auto action = request_irq(*line, [=] {
                    ++*used;
                    return irqreturn::handled;
                  }).value();
    auto device = start("device", [&] { raise_irq(*line); });
    action.free();
    delete used;
    (void)device.join();
  });
}

TEST(library_irq, free_waits_for_the_handler_on_another_cpu) {
  const model::expectations here;
  passes_both(some(5000), [] {
    const auto line = *make_irq_line(asynchronous);
    auto* const used = new int{0};
    auto action = request_irq(*line, [=] {
                    ++*used;
                    return irqreturn::handled;
                  }).value();
    auto other = start("other", [&] {
      action.free();
      delete used;
    });
    raise_irq(*line);
    (void)other.join();
  });
}

TEST(library_irq, synchronize_waits_for_the_handler) {
  const model::expectations here;
  passes_both(some(5000), [] {
    const auto line = *make_irq_line(asynchronous);
    std::atomic<int> inside{0};
    const auto action = request_irq(*line, [&] {
                          inside = 1;
                          inside = 0;
                          return irqreturn::handled;
                        }).value();
    auto other = start("other", [&] {
      disable_irq(*line);
      EXPECT_EQ(inside.load(), 0);
      enable_irq(*line);
    });
    raise_irq(*line);
    (void)other.join();
  });
}

TEST(library_irq, a_disabled_line_keeps_its_raise) {
  const model::expectations here;
  passes_both(some(5000), [] {
    const auto line = *make_irq_line(asynchronous);
    completion done;
    const auto action = request_irq(*line, [&] {
                          done.complete();
                          return irqreturn::handled;
                        }).value();
    disable_irq(*line);
    auto device = start("device", [&] { raise_irq(*line); });
    enable_irq(*line);
    done.wait();
    (void)device.join();
  });
}

TEST(library_irq, a_threaded_half_runs) {
  const model::expectations here;
  passes(model::explore(some(5000), [] {
    const auto line = *make_irq_line(asynchronous);
    completion done;
    auto action = request_threaded_irq(
                      *line, [] { return irqreturn::wake_thread; }, [&] { done.complete(); })
                      .value();
    auto device = start("device", [&] { raise_irq(*line); });
    done.wait();
    (void)device.join();
    action.free();
  }));
}

TEST(library_irq, a_threaded_line_is_served_by_the_service_cpu) {
  const model::expectations here;
  passes_both(some(5000), [] {
    const auto line = *make_irq_line({.name = "device"});
    completion done;
    const auto action = request_irq(*line, [&] {
                          done.complete();
                          return irqreturn::handled;
                        }).value();
    auto device = start("device", [&] { raise_irq(*line); });
    done.wait();
    (void)device.join();
  });
}

TEST(library_irq, two_raises_are_served_once_or_twice) {
  const model::expectations here;
  passes_both(some(5000, 3), [] {
    const auto line = *make_irq_line(asynchronous);
    std::atomic<int> seen{0};
    std::atomic<int> raised{0};
    completion both;
    const auto action = request_irq(*line, [&] {
                          seen.fetch_add(1);
                          if (raised.load() == 2) both.complete();
                          return irqreturn::handled;
                        }).value();
    const auto raise = [&] {
      raised.fetch_add(1);
      raise_irq(*line);
    };
    auto a = start("a", raise);
    auto b = start("b", raise);
    both.wait();
    (void)a.join();
    (void)b.join();
    EXPECT_GE(seen.load(), 1);
  });
}

TEST(library_irq, a_line_moves_to_another_cpu) {
  const model::expectations here;
  passes(model::explore(some(5000), [] {
    const auto line = *make_irq_line(asynchronous);
    completion done;
    const auto action = request_irq(*line, [&] {
                          done.complete();
                          return irqreturn::handled;
                        }).value();
    auto device = start("device", [&] {
      const cpu_id self = *online_cpu();
      raise_irq(*line);
      EXPECT_TRUE(irq_set_affinity(*line, self).has_value());
    });
    done.wait();
    (void)device.join();
  }));
}

/// A line that is disabled, or free, when its turn comes does not run.
TEST(library_irq, a_disabled_line_does_not_run) {
  const model::expectations here;
  const auto program = [] {
    const auto line = *make_irq_line(asynchronous);
    std::atomic<bool> disabled{false};
    std::atomic<bool> raised{false};
    const auto action = request_irq(*line, [&] {
                          EXPECT_FALSE(disabled.load());
                          return irqreturn::handled;
                        }).value();
    const auto disable = [&] {
      disable_irq(*line);
      disabled = true;
      while (!raised) {
      }
      disabled = false;
      enable_irq(*line);
    };
    const auto raise = [&] {
      raise_irq(*line);
      raised = true;
    };
    auto other = start("other", disable);
    raise();
    (void)other.join();
    raised = false;
    auto device = start("device", raise);
    disable();  // on the line's own CPU, which may have it queued
    (void)device.join();
  };
  passes(model::explore(some(8000), program));
  passes(model::explore(full(some(8000)), program));
}

TEST(library_irq, synchronize_waits_for_the_threaded_half) {
  const model::expectations here;
  passes(model::explore(some(5000), [] {
    const auto line = *make_irq_line(asynchronous);
    int done = 0;
    auto action = request_threaded_irq(
                      *line, [] { return irqreturn::wake_thread; }, [&] { ++done; })
                      .value();
    raise_irq(*line);  // on its own CPU: the handler has returned
    synchronize_irq(*line);
    EXPECT_EQ(done, 1);
    action.free();
  }));
}

/// Of two halves of a line, the second is woken while the first runs. Each has a CPU, and the line too.
TEST(library_irq, synchronize_waits_for_each_threaded_half) {
  const model::expectations here;
  model::options o = some(10'000, 4);
  o.pct_depth = 2;  // who is slow matters more than when it changes
  passes(model::explore(o, [] {
    ref_ptr<irq_line> line;
    irq_action first;
    irq_action second;
    std::atomic<int> raised{0};
    std::atomic<bool> done{false};
    auto device = start("device", [&] {
      line = *make_irq_line(asynchronous);
      const irq_request_options shared{.shared = true};
      const auto wakes_at = [&](int turn) {
        return [&, turn] {
          return raised.load() == turn ? irqreturn::wake_thread : irqreturn::handled;
        };
      };
      first = request_threaded_irq(
                  *line, wakes_at(0), [&] { done = true; }, shared)
                  .value();
      second = request_threaded_irq(
                   *line, wakes_at(1), [] {}, shared)
                   .value();
      raise_irq(*line);
      raised = 1;
      raise_irq(*line);
    });
    while (raised.load() == 0) {
    }
    synchronize_irq(*line);
    EXPECT_TRUE(done.load());
    (void)device.join();
    first.free();
    second.free();
  }));
}

/// A second interrupt raises the softirq of the first while that is served.
TEST(library_irq, a_softirq_raised_while_softirqs_are_served_is_not_forgotten) {
  const model::expectations here;
  passes_both(some(5000, 3), [] {
    struct state {
      std::atomic<int> raised{0};
      std::atomic<int> seen{0};
    } s;
    const softirq vector = *open_softirq(
        "test",
        [](void* cookie) {
          auto& mine = *static_cast<state*>(cookie);
          mine.seen.store(mine.raised.load());
        },
        &s);
    const auto line = *make_irq_line(asynchronous);
    const auto action = request_irq(*line, [&] {
                          s.raised.fetch_add(1);
                          raise_softirq(vector);
                          return irqreturn::handled;
                        }).value();
    auto a = start("a", [&] { raise_irq(*line); });
    auto b = start("b", [&] { raise_irq(*line); });
    while (s.seen.load() == 0 || s.seen.load() != s.raised.load()) {
      platform::cpu_relax();
    }
    (void)a.join();
    (void)b.join();
  });
}

// --- softirqs ---

TEST(library_irq, a_softirq_runs_behind_its_interrupt) {
  const model::expectations here;
  passes_both(some(5000), [] {
    struct state {
      int raised = 0;
      completion done;
    } s;
    const softirq vector = *open_softirq(
        "test",
        [](void* cookie) {
          auto& mine = *static_cast<state*>(cookie);
          EXPECT_EQ(mine.raised, 1);
          mine.done.complete();
        },
        &s);
    const auto line = *make_irq_line(asynchronous);
    const auto action = request_irq(*line, [&] {
                          s.raised = 1;
                          raise_softirq(vector);
                          return irqreturn::handled;
                        }).value();
    auto device = start("device", [&] { raise_irq(*line); });
    { guard g{mask_bh}; }
    s.done.wait();
    (void)device.join();
  });
}

TEST(library_irq, a_masked_softirq_waits_for_its_turn) {
  const model::expectations here;
  passes_both(some(5000), [] {
    struct state {
      std::atomic<int> ran{0};
      completion done;
    } s;
    const softirq vector = *open_softirq(
        "test",
        [](void* cookie) {
          auto& mine = *static_cast<state*>(cookie);
          mine.ran = 1;
          mine.done.complete();
        },
        &s);
    const auto line = *make_irq_line(asynchronous);
    const auto action = request_irq(*line, [&] {
                          raise_softirq(vector);
                          return irqreturn::handled;
                        }).value();
    auto device = start("device", [&] { raise_irq(*line); });
    {
      guard g{mask_bh};
      const int before = s.ran;
      EXPECT_EQ(before, s.ran);  // where the interrupt comes in
    }
    s.done.wait();
    (void)device.join();
  });
}

// --- irq_work ---

struct counting_work : irq_work {
  counting_work() noexcept
      : irq_work{[](irq_work& w) { ++static_cast<counting_work&>(w).calls; }} {}
  int calls = 0;
};

TEST(library_irq, irq_work_runs_on_the_other_cpu) {
  const model::expectations here;
  passes_both(some(5000), [] {
    const cpu_id cpu = *online_cpu();
    counting_work work;
    auto other = start("other", [&] {
      EXPECT_TRUE(irq_work_queue_on(work, cpu));
      irq_work_sync(work);
      EXPECT_EQ(work.calls, 1);
    });
    (void)other.join();
    EXPECT_EQ(work.calls, 1);
  });
}

TEST(library_irq, irq_work_queued_twice_runs_for_each_that_was_taken) {
  const model::expectations here;
  passes_both(some(5000), [] {
    const cpu_id cpu = *online_cpu();
    counting_work work;
    int taken = 0;
    auto other = start("other", [&] {
      taken += irq_work_queue_on(work, cpu) ? 1 : 0;
      taken += irq_work_queue_on(work, cpu) ? 1 : 0;
      irq_work_sync(work);
    });
    (void)other.join();
    irq_work_sync(work);
    EXPECT_EQ(work.calls, taken);
  });
}

/// The second is rung while the first is served, with interrupts held back.
TEST(library_irq, work_that_comes_while_work_is_served_is_not_forgotten) {
  const model::expectations here;
  passes(model::explore(full(some(20'000)), [] {
    const cpu_id cpu = *online_cpu();
    counting_work first;
    counting_work second;
    auto other = start("other", [&] {
      EXPECT_TRUE(irq_work_queue_on(first, cpu));
      EXPECT_TRUE(irq_work_queue_on(second, cpu));
      irq_work_sync(first);
      irq_work_sync(second);
    });
    (void)other.join();
    EXPECT_EQ(first.calls + second.calls, 2);
  }));
}

/// After irq_work_sync the work may be freed: nobody looks at it any more.
TEST(library_irq, irq_work_may_be_freed_when_it_is_synchronised) {
  const model::expectations here;
  passes_both(some(5000), [] {
    const cpu_id cpu = *online_cpu();
    auto* const first = new counting_work;
    auto* const second = new counting_work;
    auto other = start("other", [&] {
      EXPECT_TRUE(irq_work_queue_on(*first, cpu));
      EXPECT_TRUE(irq_work_queue_on(*second, cpu));
      irq_work_sync(*first);
      delete first;
      irq_work_sync(*second);
      delete second;
    });
    (void)other.join();
  });
}

// --- calls and timers ---

TEST(library_irq, a_call_to_the_own_cpu_replays_what_it_held_back) {
  const model::expectations here;
  passes_both(some(5000), [] {
    const cpu_id cpu = *online_cpu();
    counting_work work;
    std::atomic<int> step{0};
    auto other = start("other", [&] {
      EXPECT_TRUE(irq_work_queue_on(work, cpu));
      irq_work_sync(work);
      step.store(2);
    });
    const auto call = [](void* s) { static_cast<std::atomic<int>*>(s)->fetch_or(1); };
    EXPECT_TRUE(smp_call_function_single(cpu, call, &step).has_value());
    while ((step.load() & 2) == 0) {  // switches no interrupts on
    }
    (void)other.join();
  });
}

TEST(library_irq, an_interrupt_that_comes_while_an_nmi_runs_is_served) {
  const model::expectations here;
  passes_both(some(5000, 3), [] {
    const cpu_id cpu = *online_cpu();
    counting_work work;
    std::atomic<int> step{0};
    auto worker = start("worker", [&] {
      EXPECT_TRUE(irq_work_queue_on(work, cpu));
      irq_work_sync(work);
      step.fetch_add(1);
    });
    auto caller = start("caller", [&] {
      const auto add = [](void* n) { static_cast<std::atomic<int>*>(n)->fetch_add(1); };
      EXPECT_TRUE(nmi_call_function_single(cpu, add, &step).has_value());
    });
    while (step.load() != 2) {  // switches no interrupts on
    }
    (void)worker.join();
    (void)caller.join();
  });
}

TEST(library_irq, a_call_runs_on_its_cpu) {
  const model::expectations here;
  passes_both(some(5000), [] {
    const cpu_id cpu = *online_cpu();
    auto other = start("other", [&] {
      cpu_id seen{};
      const auto note_cpu = [](void* into) { *static_cast<cpu_id*>(into) = smp_processor_id(); };
      EXPECT_TRUE(smp_call_function_single(cpu, note_cpu, &seen).has_value());
      EXPECT_EQ(seen, cpu);
    });
    (void)other.join();
  });
}

/// Not by the look that it takes after 100 ms: then the clock has gone on.
TEST(library_irq, a_caller_is_woken_at_the_end_of_its_call) {
  const model::expectations here;
  passes_both(some(3000), [] {
    const cpu_id cpu = *online_cpu();
    const deadline begun = monotonic_clock::now();
    auto other = start("other", [&] {
      EXPECT_TRUE(smp_call_function_single(
                      cpu, [](void*) {}, nullptr)
                      .has_value());
    });
    (void)other.join();
    EXPECT_LT(monotonic_clock::now() - begun, std::chrono::milliseconds{100});
  });
}

TEST(library_irq, an_nmi_interrupts_where_interrupts_are_off) {
  const model::expectations here;
  passes(model::explore(some(5000), [] {
    const cpu_id cpu = *online_cpu();
    std::atomic<int> seen{0};
    auto other = start("other", [&] {
      const auto add = [](void* n) { static_cast<std::atomic<int>*>(n)->fetch_add(1); };
      EXPECT_TRUE(nmi_call_function_single(cpu, add, &seen).has_value());
    });
    {
      guard g{irqsave};
      while (seen == 0) {
      }
    }
    (void)other.join();
  }));
}

TEST(library_irq, a_timer_fires_or_is_cancelled) {
  const model::expectations here;
  passes(model::explore(some(5000), [] {
    struct counting : hrtimer {
      counting() noexcept
          : hrtimer{[](hrtimer& t) {
              ++static_cast<counting&>(t).calls;
              return hrtimer_restart::norestart;
            }} {}
      int calls = 0;
    };
    auto* const timer = new counting;
    EXPECT_TRUE(
        hrtimer_start(*timer, monotonic_clock::now() + std::chrono::microseconds{1}).has_value());
    auto other = start("other", [] {});
    (void)other.join();
    const bool cancelled = hrtimer_cancel(*timer);
    EXPECT_EQ(timer->calls, cancelled ? 0 : 1);
    delete timer;
  }));
}

}  // namespace
}  // namespace interlock::test
