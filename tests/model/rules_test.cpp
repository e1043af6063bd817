// SPDX-License-Identifier: Apache-2.0

/// The rules of locks, RCU and fences, by which the machine judges what the core announces: each breach, and its corrected twin.

#include <gtest/gtest.h>

#include <optional>

#include "interlock/interlock.hpp"
#include "interlock/model/explore.hpp"

namespace {

using namespace interlock;

bool says(const model::report& r, const char* what) {
  return r.text().find(what) != std::string::npos;
}

/// One execution, in which nothing goes wrong by itself.
template <class F>
model::report once(F&& function) {
  model::options o;
  o.strategy = model::strategy::exhaustive;
  o.executions = 1;
  return model::explore(o, std::forward<F>(function));
}

TEST(rules, two_orders_of_locks_are_an_inversion_without_a_deadlock) {
  const auto program = [](bool same_order) {
    return once([=] {
      spinlock a;
      spinlock b;
      {
        guard g{no_mask, a};
        guard h{no_mask, b};
      }
      guard g{no_mask, same_order ? a : b};
      guard h{no_mask, same_order ? b : a};
    });
  };
  const auto bad = program(false);
  EXPECT_TRUE(says(bad, "WARNING: possible circular locking dependency detected")) << bad;
  const auto good = program(true);
  EXPECT_TRUE(good.passed()) << good;
}

TEST(rules, an_attempt_waits_for_nobody_and_is_no_inversion) {
  const auto r = once([] {
    spinlock a;
    spinlock b;
    {
      guard g{no_mask, a};
      guard h{no_mask, b};
    }
    guard g{no_mask, b};
    if (a.try_lock(no_mask)) a.unlock(no_mask);
  });
  EXPECT_TRUE(r.passed()) << r;
}

TEST(rules, a_lock_of_a_handler_taken_with_interrupts_on_is_inconsistent) {
  // The interrupt comes when the lock is free: only the rule can see what might have been.
  const auto program = [](auto mode) {
    return once([=] {
      const auto line = *make_irq_line({.name = "dma", .kind = irq_kind::asynchronous});
      spinlock lock;
      const auto action = request_irq(*line, [&] {
                            guard g{no_mask, lock};
                            return irqreturn::handled;
                          }).value();
      { guard g{mode, lock}; }
      raise_irq(*line);
    });
  };
  const auto bad = program(no_mask);
  EXPECT_TRUE(says(bad, "WARNING: inconsistent lock state")) << bad;
  EXPECT_TRUE(says(bad, "{HARDIRQ-ON-W} -> {IN-HARDIRQ-W}")) << bad;
  const auto good = program(irqsave);
  EXPECT_TRUE(good.passed()) << good;
}

TEST(rules, an_attempt_of_a_handler_waits_for_nobody) {
  const auto r = once([] {
    const auto line = *make_irq_line({.name = "dma", .kind = irq_kind::asynchronous});
    spinlock lock;
    const auto action = request_irq(*line, [&] {
                          if (lock.try_lock(no_mask)) lock.unlock(no_mask);
                          return irqreturn::handled;
                        }).value();
    { guard g{no_mask, lock}; }
    raise_irq(*line);
  });
  EXPECT_TRUE(r.passed()) << r;
}

TEST(rules, a_task_ends_as_it_began) {
  const auto preempt = once([] { preempt_disable(); });
  EXPECT_TRUE(says(preempt, "BUG: a task that ends has preemption disabled")) << preempt;
  const auto masked = once([] { local_irq_disable(); });
  EXPECT_TRUE(says(masked, "BUG: a task that ends has interrupts off")) << masked;
  const auto bh = once([] { local_bh_disable(); });
  EXPECT_TRUE(says(bh, "BUG: a task that ends has bottom halves disabled")) << bh;
  const auto reader = once([] { rcu_read_lock(); });
  EXPECT_TRUE(says(reader, "BUG: a task that ends is inside of an RCU read-side section"))
      << reader;
  const auto locked = once([] {
    static mutex lock;
    lock.lock();
  });
  EXPECT_TRUE(says(locked, "BUG: a task that ends holds a lock")) << locked;
}

const char* name(dma_fence* /*fence*/) { return "rules"; }
constexpr dma_fence_ops plain_ops{name, name, nullptr, nullptr, nullptr, nullptr, nullptr};

TEST(rules, fences_of_a_context_are_signalled_in_order) {
  const auto program = [](bool in_order) {
    return once([=] {
      const std::uint64_t context = dma_fence_context_alloc();
      auto* const first = new (std::malloc(sizeof(dma_fence))) dma_fence{plain_ops, context, 1};
      auto* const second = new (std::malloc(sizeof(dma_fence))) dma_fence{plain_ops, context, 2};
      (in_order ? first : second)->signal();
      (in_order ? second : first)->signal();
      intrusive_put(*first);
      intrusive_put(*second);
    });
  };
  const auto bad = program(false);
  EXPECT_TRUE(says(bad, "is signalled after")) << bad;
  const auto good = program(true);
  EXPECT_TRUE(good.passed()) << good;
}

/// Whoever is asked first says first that it is done, as seqno fences do.
TEST(rules, fences_answer_in_any_order) {
  static constexpr dma_fence_ops done_ops{
      name, name, nullptr, [](dma_fence* /*fence*/) { return true; }, nullptr, nullptr, nullptr};
  const auto r = once([] {
    const std::uint64_t context = dma_fence_context_alloc();
    auto* const first = new (std::malloc(sizeof(dma_fence))) dma_fence{done_ops, context, 1};
    auto* const second = new (std::malloc(sizeof(dma_fence))) dma_fence{done_ops, context, 2};
    if (!second->is_signaled()) std::abort();
    first->signal();
    intrusive_put(*first);
    intrusive_put(*second);
  });
  EXPECT_TRUE(r.passed()) << r;
}

TEST(rules, a_wait_names_the_fence_that_nobody_signals) {
  const auto r = once([] {
    auto* const fence = new (std::malloc(sizeof(dma_fence))) dma_fence{plain_ops, 77, 5};
    fence->wait();
  });
  EXPECT_TRUE(says(r, "context=77 seqno=5 unsignaled")) << r;
}

}  // namespace
