// SPDX-License-Identifier: Apache-2.0

/// Mistakes in the use of the library that the machine finds, each beside its corrected twin. Those of which rules_test.cpp,
/// library_*_test.cpp and pitfalls_test.cpp have both are not repeated.

#include <memory>
#include <mutex>
#include <thread>

#include "model/library_support.hpp"

namespace interlock::test {
namespace {

/// `program(true)` is the mistake, `program(false)` its twin.
template <class Program>
void finds(const char* what, model::options how, Program program) {
  const auto bad = model::explore(user(how), [=] { program(true); });
  note(bad);
  EXPECT_TRUE(says(bad, what)) << bad;
  const auto good = model::explore(user(how), [=] { program(false); });
  note(good);
  EXPECT_TRUE(good.passed()) << good;
}

const char* name_of(dma_fence*) { return "test"; }
constexpr dma_fence_ops plain_ops = [] {
  dma_fence_ops ops{};
  ops.get_driver_name = ops.get_timeline_name = name_of;
  return ops;
}();
ref_ptr<dma_fence> make_fence(std::uint64_t context = 1, std::uint64_t seqno = 1) {
  return ref_ptr<dma_fence>::adopt(new (std::malloc(sizeof(dma_fence)))
                                       dma_fence{plain_ops, context, seqno});
}

struct node {
  int value = 0;
  rcu_head rcu{};
};

// --- nobody can go on ---

/// A lock of the program's own, of which no rule knows.
TEST(findings, a_handler_waits_for_the_task_that_it_has_halted) {
  finds("BUG: livelock", some(4000, 1), [](bool wrong) {
    const auto line = *make_irq_line({.name = "device", .kind = irq_kind::asynchronous});
    std::atomic_flag taken{};
    const auto action = request_irq(*line, [&] {
                          while (taken.test_and_set()) platform::cpu_relax();
                          taken.clear();
                          return irqreturn::handled;
                        }).value();
    auto device = start("device", [&] { raise_irq(*line); });
    const auto take = [&] {
      while (taken.test_and_set()) platform::cpu_relax();
      taken.clear();
    };
    if (wrong) {
      take();
    } else {
      guard g{irqsave};
      take();
    }
    (void)device.join();
  });
}

TEST(findings, a_join_of_a_task_that_needs_the_lock) {
  finds("BUG: deadlock", all(), [](bool wrong) {
    std::mutex lock;
    std::unique_lock g{lock};
    std::thread other{[&] { const std::lock_guard h{lock}; }};
    if (!wrong) g.unlock();
    other.join();
  });
}

TEST(findings, two_completions_are_waited_for_crosswise) {
  finds("BUG: deadlock", some(2000), [](bool wrong) {
    completion first;
    completion second;
    auto other = start("other", [&] {
      first.wait();
      second.complete();
    });
    if (!wrong) first.complete();
    second.wait();
    if (wrong) first.complete();
    (void)other.join();
  });
}

/// The library tells of a wait that is overdue, before the machine finds that nobody can go on.
TEST(findings, two_fences_are_waited_for_crosswise) {
  finds("context=2 seqno=1 unsignaled", some(2000), [](bool wrong) {
    const auto first = make_fence(1);
    const auto second = make_fence(2);
    auto other = start("other", [&] {
      first->wait();
      second->signal();
    });
    if (!wrong) first->signal();
    second->wait();
    first->signal();
    (void)other.join();
  });
}

TEST(findings, a_fence_is_waited_for_with_the_lock_that_its_signaller_needs) {
  finds("context=1 seqno=1 unsignaled", some(2000),
        [](bool wrong) INTERLOCK_NO_THREAD_SAFETY_ANALYSIS {
          mutex lock;
          const auto fence = make_fence();
          lock.lock();
          auto device = start("device", [&] {
            guard g{lock};
            fence->signal();
          });
          if (!wrong) lock.unlock();
          fence->wait();
          if (wrong) lock.unlock();
          (void)device.join();
        });
}

// --- locks, by classes ---

struct channel {
  spinlock queue;
  spinlock counters;

  void queue_first() {
    guard g{no_mask, queue};
    guard h{no_mask, counters};
  }
  void counters_first() {
    guard g{no_mask, counters};
    guard h{no_mask, queue};
  }
};

/// No lock is taken in two orders: the two channels have their own. A task that took both from one would do so.
TEST(findings, two_objects_of_a_kind_take_their_locks_in_two_orders) {
  finds("WARNING: possible circular locking dependency detected", all(), [](bool wrong) {
    channel one;
    channel two;
    one.queue_first();
    if (wrong) {
      two.counters_first();
    } else {
      two.queue_first();
    }
  });
}

/// The handler is one channel's, the task uses the other.
TEST(findings, a_handler_takes_the_lock_of_another_object) {
  finds("WARNING: inconsistent lock state", some(300), [](bool wrong) {
    channel one;
    channel two;
    const auto line = *make_irq_line({.name = "device", .kind = irq_kind::asynchronous});
    const auto action = request_irq(*line, [&] {
                          one.queue_first();
                          return irqreturn::handled;
                        }).value();
    raise_irq(*line);
    if (wrong) {
      two.queue_first();
    } else {
      guard g{irqsave};
      two.queue_first();
    }
  });
}

constinit lock_class parent_class{"parent"};
constinit lock_class child_class{"child"};

/// Parents and children are one declaration, and in order one by one; named, they are two kinds.
TEST(findings, a_parent_is_locked_before_its_child) {
  struct ranked {
    explicit ranked(const lock_class* of) {
      if (of != nullptr) set_lock_class(lock, *of);
    }
    spinlock lock;
  };
  const auto program = [](bool named) {
    ranked nodes[] = {
        ranked{named ? &parent_class : nullptr}, ranked{named ? &child_class : nullptr},
        ranked{named ? &parent_class : nullptr}, ranked{named ? &child_class : nullptr}};
    const auto nest = [&](int outer, int inner) {
      guard g{no_mask, nodes[outer].lock};
      guard h{no_mask, nodes[inner].lock};
    };
    nest(0, 1);
    nest(3, 2);
  };
  finds("(child), which is waited for elsewhere with the first one held (these, or others", all(),
        program);
  finds("possible circular locking dependency detected", all(), [](bool wrong) {
    ranked one{nullptr};
    ranked two{nullptr};
    for (int i = 0; i < 2; ++i) {
      guard g{no_mask, wrong && i == 1 ? two.lock : one.lock};
      guard h{no_mask, wrong && i == 1 ? one.lock : two.lock};
    }
  });
}

// --- contexts ---

TEST(findings, a_mutex_is_locked_in_an_atomic_section) {
  finds("BUG: sleeping function called from invalid context", all(), [](bool wrong) {
    spinlock outer;
    mutex inner;
    if (wrong) {
      guard g{no_mask, outer};
      guard h{inner};
    } else {
      guard h{inner};
      guard g{no_mask, outer};
    }
  });
}

TEST(findings, a_handler_leaves_something_disabled) {
  finds("irq handler handler is unbalanced", some(300), [](bool wrong) {
    const auto line = *make_irq_line({.name = "device", .kind = irq_kind::asynchronous});
    const auto action = request_irq(*line, [&] {
                          preempt_disable();
                          if (!wrong) preempt_enable();
                          return irqreturn::handled;
                        }).value();
    raise_irq(*line);
  });
}

TEST(findings, a_softirq_leaves_something_disabled) {
  finds("huh, entered softirq", some(300), [](bool wrong) {
    const softirq vector = *open_softirq(
        "test",
        [](void* cookie) {
          local_bh_disable();
          if (cookie == nullptr) local_bh_enable();
        },
        wrong ? &wrong : nullptr);
    raise_softirq(vector);
  });
}

/// The core mends what it reports: afterwards nothing is disabled, for the machine either.
TEST(findings, what_is_left_disabled_is_reported_and_mended) {
  passes(model::explore(user(some(300)), [] {
    static int reports;
    reports = 0;
    set_report_handler([](const report&, void*) noexcept { ++reports; }, nullptr);
    const auto line = *make_irq_line({.name = "device", .kind = irq_kind::asynchronous});
    const softirq vector = *open_softirq(
        "test", [](void*) { preempt_disable(); }, nullptr);
    {
      const auto action = request_irq(*line, [&] {
                            preempt_disable();
                            local_bh_disable();
                            raise_softirq(vector);
                            return irqreturn::handled;
                          }).value();
      raise_irq(*line);
    }
    node n;
    call_rcu(n.rcu, [](rcu_head*) { preempt_disable(); });
    rcu_barrier();
    if (reports != 3) std::abort();
    std::this_thread::sleep_for(
        std::chrono::milliseconds{1});  // as one may who has disabled nothing
  }));
}

/// Twins of rules.a_task_ends_as_it_began.
TEST(findings, what_is_enabled_again_is_in_order) {
  passes(model::explore(user(all()), [] {
    guard a{no_preempt};
    guard b{irqsave};
    guard c{interlock::rcu};
    static spinlock lock;
    guard d{no_mask, lock};
  }));
  passes(model::explore(user(all()), [] {
    static mutex lock;
    guard g{lock};
    guard h{mask_bh};
  }));
}

// --- RCU ---

TEST(findings, a_dereference_outside_of_a_reader) {
  finds("suspicious rcu_dereference_check() usage!", all(), [](bool wrong) {
    node n;
    rcu_pointer<node> p{&n};
    if (wrong) {
      (void)rcu_dereference(p);
    } else {
      guard g{interlock::rcu};
      (void)rcu_dereference(p);
    }
  });
}

TEST(findings, a_publication_releases) {
  finds("BUG: data-race", all(), [](bool wrong) {
    rcu_pointer<node> p{nullptr};
    node n;
    auto reader = start("reader", [&] {
      guard g{interlock::rcu};
      const node* const seen = rcu_dereference(p);
      if (seen != nullptr && seen->value != 1) std::abort();
    });
    n.value = 1;
    if (wrong) {
      rcu_init_pointer(p, &n);  // for what no reader can see yet
    } else {
      rcu_assign_pointer(p, &n);
    }
    (void)reader.join();
  });
}

TEST(findings, a_grace_period_is_waited_for_inside_a_reader) {
  finds("Illegal synchronize_rcu() in RCU read-side critical section!", some(1000), [](bool wrong) {
    rcu_read_lock();
    if (!wrong) rcu_read_unlock();
    synchronize_rcu();
    if (wrong) rcu_read_unlock();
  });
}

TEST(findings, the_head_of_a_callback_is_used_again_too_soon) {
  finds("call_rcu(): Double-freed CB", some(1000), [](bool wrong) {
    node n;
    const auto call = [](rcu_head*) {};
    rcu_read_lock();  // so the callback waits
    call_rcu(n.rcu, call);
    if (!wrong) {
      rcu_read_unlock();
      rcu_barrier();
      rcu_read_lock();
    }
    call_rcu(n.rcu, call);
    rcu_read_unlock();
    rcu_barrier();
  });
}

// --- fences ---

TEST(findings, an_error_comes_after_the_signal) {
  finds("WARNING", all(), [](bool wrong) {
    const auto fence = make_fence();
    if (!wrong) fence->set_error(error::io_error);
    fence->signal();
    if (wrong) fence->set_error(error::io_error);
  });
}

TEST(findings, a_fence_is_used_after_its_last_put) {
  finds("BUG: ", some(2000), [](bool wrong) {
    auto fence = make_fence();
    dma_fence* const plain = fence.get();
    auto device = start("device", [plain, mine = wrong ? ref_ptr<dma_fence>{} : fence]() mutable {
      plain->signal();
      mine.reset();
    });
    fence->wait();
    fence.reset();
    rcu_barrier();
    (void)device.join();
    rcu_barrier();
  });
}

TEST(findings, the_storage_of_a_callback_goes_while_it_is_queued) {
  finds("BUG: ", some(2000), [](bool wrong) {
    const auto fence = make_fence();
    auto device = start("device", [=] { fence->signal(); });
    {
      const auto cb = std::make_unique<dma_fence_cb>();
      const bool added = fence->add_callback(*cb, [](dma_fence*, dma_fence_cb*) {}).has_value();
      if (added && !wrong) (void)fence->remove_callback(*cb);
    }
    (void)device.join();
  });
}

TEST(findings, a_signalling_section_allocates) {
  finds("allocation inside a fence signalling section", some(200), [](bool wrong) {
    const bool cookie = dma_fence_begin_signalling();
    if (!wrong) dma_fence_end_signalling(cookie);
    dma_fence_might_allocate();
    if (wrong) dma_fence_end_signalling(cookie);
  });
}

/// A counter of 32 bits wraps: what is later is not what is greater.
TEST(findings, a_seqno_that_has_wrapped_is_compared_as_a_number) {
  finds("BUG: abort()", all(), [](bool wrong) {
    constexpr std::uint32_t done = 0xffff'ffff;
    constexpr std::uint32_t asked = 1;  // two after it
    const auto buffer = *make_seqno_buffer(1);
    seqno_timeline_ops ops{};
    ops.get_driver_name = ops.get_timeline_name = [](seqno_timeline*) { return "test"; };
    ops.arm = [](seqno_timeline*) { return true; };
    seqno_timeline_options how{};
    how.width = seqno_width::bits32;
    how.order = wrong ? seqno_order::linear : seqno_order::cyclic;
    const auto timeline = *make_seqno_timeline(ops, nullptr, buffer, 0, how);
    seqno_timeline_advance(*timeline, done);
    if (seqno_timeline_passed(*timeline, asked)) std::abort();  // what it stands for is not there
  });
}

}  // namespace
}  // namespace interlock::test
