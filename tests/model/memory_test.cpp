// SPDX-License-Identifier: Apache-2.0

/// Memory models: which outcomes of small programs each allows, counted over all executions.

#include <gtest/gtest.h>

#include <atomic>
#include <set>
#include <thread>
#include <utility>

#include "interlock/interlock.hpp"
#include "interlock/model/explore.hpp"

namespace {

using namespace interlock;

/// True if some execution ends in `bad`.
template <class F>
bool allows(model::memory memory, F&& program) {
  model::options o;
  o.memory = memory;
  o.cpus = 4;
  o.strategy = model::strategy::exhaustive;
  const auto r = model::explore(o, program);
  if (!r.passed() && r.text().find("abort()") == std::string::npos) ADD_FAILURE() << r;
  if (r.passed()) {
    EXPECT_TRUE(r.complete()) << r;
  }
  return !r.passed();
}

/// Store buffering: each stores, then reads the other's.
template <class Between>
auto store_buffering(Between between) {
  return [=] {
    std::atomic<int> x{0};
    std::atomic<int> y{0};
    int a = 1;
    int b = 1;
    std::thread one{[&] {
      x.store(1, std::memory_order_release);
      between();
      a = y.load(std::memory_order_acquire);
    }};
    std::thread two{[&] {
      y.store(1, std::memory_order_release);
      between();
      b = x.load(std::memory_order_acquire);
    }};
    one.join();
    two.join();
    if (a == 0 && b == 0) std::abort();
  };
}

TEST(memory, store_buffering_needs_a_full_barrier_under_tso) {
  const auto nothing = [] {};
  const auto compiler = [] { barrier(); };
  const auto full = [] { smp_mb(); };
  EXPECT_FALSE(allows(model::memory::sc, store_buffering(nothing)));
  EXPECT_TRUE(allows(model::memory::tso, store_buffering(nothing)));
  EXPECT_TRUE(allows(model::memory::tso, store_buffering(compiler)));
  EXPECT_FALSE(allows(model::memory::tso, store_buffering(full)));
}

TEST(memory, a_heavy_barrier_on_one_side_is_enough_if_the_other_has_a_light_one) {
  const auto program = [](bool heavy) {
    return [=] {
      std::atomic<int> x{0};
      std::atomic<int> y{0};
      int a = 1;
      int b = 1;
      std::thread reader{[&] {
        x.store(1, std::memory_order_release);
        platform::light_barrier();
        a = y.load(std::memory_order_acquire);
      }};
      std::thread updater{[&] {
        y.store(1, std::memory_order_release);
        if (heavy) {
          platform::heavy_barrier();
        } else {
          smp_mb();
        }
        b = x.load(std::memory_order_acquire);
      }};
      reader.join();
      updater.join();
      if (a == 0 && b == 0) std::abort();
    };
  };
  EXPECT_TRUE(allows(model::memory::tso, program(false)));
  EXPECT_FALSE(allows(model::memory::tso, program(true)));
}

TEST(memory, stores_of_one_cpu_are_seen_in_order_under_tso) {
  const auto message_passing = [] {
    std::atomic<int> data{0};
    std::atomic<int> flag{0};
    int seen = 1;
    std::thread writer{[&] {
      data.store(1, std::memory_order_relaxed);
      flag.store(1, std::memory_order_release);
    }};
    std::thread reader{[&] {
      if (flag.load(std::memory_order_acquire) == 1) seen = data.load(std::memory_order_relaxed);
    }};
    writer.join();
    reader.join();
    if (seen == 0) std::abort();
  };
  EXPECT_FALSE(allows(model::memory::tso, message_passing));
}

TEST(memory, a_cpu_sees_its_own_stores_at_once) {
  const auto r = [] {
    std::atomic<int> x{0};
    std::atomic<int> y{0};
    std::thread other{[&] { x.store(2, std::memory_order_relaxed); }};
    y.store(1, std::memory_order_relaxed);
    if (y.load(std::memory_order_relaxed) != 1) std::abort();
    other.join();
  };
  EXPECT_FALSE(allows(model::memory::tso, r));
}

TEST(memory, a_flag_of_relaxed_order_publishes_nothing) {
  // Under SC no execution reads stale data; the race is found by the orders.
  model::options o;
  const auto program = [](std::memory_order order) {
    return [=] {
      int data = 0;
      std::atomic<int> flag{0};
      std::thread writer{[&] {
        data = 1;
        flag.store(1, order);
      }};
      if (flag.load(std::memory_order_acquire) == 1 && data != 1) std::abort();
      writer.join();
    };
  };
  const auto bad = model::explore(o, program(std::memory_order_relaxed));
  EXPECT_NE(bad.text().find("BUG: data-race"), std::string::npos) << bad;
  const auto good = model::explore(o, program(std::memory_order_release));
  EXPECT_TRUE(good.passed() && good.complete()) << good;
}

TEST(memory, interrupts_under_tso_replay_alike) {
  const auto program = [] {
    const auto line = *make_irq_line({.name = "dma", .kind = irq_kind::asynchronous});
    std::atomic<int> n{0};
    const auto action = request_irq(*line, [&] {
                          n.store(1, std::memory_order_release);
                          return irqreturn::handled;
                        }).value();
    std::thread raiser{[&] { raise_irq(*line); }};
    n.store(2, std::memory_order_release);
    raiser.join();
  };
  model::options o;
  o.memory = model::memory::tso;
  o.granularity = model::granularity::library;
  o.executions = 500;
  for (const auto s : {model::strategy::exhaustive, model::strategy::pct}) {
    o.strategy = s;
    const auto r = model::explore(o, program);
    EXPECT_TRUE(r.passed()) << r;
    EXPECT_EQ(r.executions(), 500u);
  }
}

TEST(memory, what_is_not_exact_does_not_say_complete) {
  // Store buffers of a CPU on which several tasks run: see docs/model.md.
  const auto program = [] {
    std::atomic<int> x{0};
    std::thread other{[&] { x.store(2, std::memory_order_relaxed); }};
    x.store(1, std::memory_order_relaxed);
    other.join();
  };
  model::options o;
  o.cpus = 1;
  o.executions = 1000;
  o.strategy = model::strategy::exhaustive;
  EXPECT_TRUE(model::explore(o, program).complete());
  o.memory = model::memory::tso;
  const auto r = model::explore(o, program);
  EXPECT_TRUE(r.passed()) << r;
  EXPECT_FALSE(r.complete());
}

}  // namespace
