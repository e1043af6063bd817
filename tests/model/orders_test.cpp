// SPDX-License-Identifier: Apache-2.0

/// What orders plain memory against the interrupts of a CPU, between the tasks of one CPU, and over a wake: each with the twin that
/// lacks it. The interrupts are the machine's own, below those of the library.

#include <gtest/gtest.h>

#include <atomic>
#include <thread>
#include <vector>

#include "interlock/barrier.hpp"
#include "interlock/irqflags.hpp"
#include "interlock/model/explore.hpp"
#include "interlock/preempt.hpp"
#include "interlock_platform/machine.h"

/// Not of this file alone, or the compiler would leave out what nobody reads.
namespace orders {
int data;
int copy;
}  // namespace orders

namespace {

using namespace interlock;
using orders::copy;
using orders::data;

std::atomic<int> flag;
void (*handler)();

constexpr unsigned one_hardirq = 1u << 16;
constexpr unsigned one_nmi = 1u << 20;

void entry(unsigned context) {
  interlock_machine_announce(interlock_machine_context_enter, context, 0, 0);
  handler();
  interlock_machine_announce(interlock_machine_context_exit, context, 0, 0);
}

/// `task` on CPU 0, which is interrupted at any of its steps.
model::report interrupted(int bell, void (*task)(), void (*by)()) {
  EXPECT_TRUE(interlock_machine_install(interlock_machine_irq, [] { entry(one_hardirq); }));
  EXPECT_TRUE(interlock_machine_install(interlock_machine_nmi, [] { entry(one_nmi); }));
  handler = by;
  data = copy = 0;
  flag = 0;
  model::options o;
  o.strategy = model::strategy::exhaustive;
  return model::explore(o, [&] {
    std::thread raiser{[&] { interlock_machine_ring(1, bell); }};
    task();
    raiser.join();
  });
}

bool races(const model::report& r) {
  EXPECT_EQ(r.complete(), r.passed()) << r;
  return r.text().starts_with("BUG: data-race");
}

void handler_adds() { ++data; }

TEST(orders, a_counter_is_shared_with_a_handler_under_irqs_off_only) {
  EXPECT_TRUE(races(interrupted(
      interlock_machine_irq, [] { ++data; }, handler_adds)));
  EXPECT_TRUE(races(interrupted(
      interlock_machine_irq,
      [] {
        preempt_disable();
        ++data;
        preempt_enable();
      },
      handler_adds)));
  const auto r = interrupted(
      interlock_machine_irq,
      [] {
        local_irq_disable();
        ++data;
        local_irq_enable();
      },
      handler_adds);
  EXPECT_TRUE(r.passed() && r.complete()) << r;
}

TEST(orders, irqs_off_does_not_hold_off_an_nmi) {
  EXPECT_TRUE(races(interrupted(
      interlock_machine_nmi,
      [] {
        local_irq_disable();
        ++data;
        local_irq_enable();
      },
      handler_adds)));
}

TEST(orders, a_compiler_barrier_before_a_flag_publishes_to_the_handlers_of_the_cpu) {
  const auto task = [] {
    data = 1;
    barrier();
    flag.store(1, std::memory_order_relaxed);
  };
  const auto without = [] {
    data = 1;
    flag.store(1, std::memory_order_relaxed);
  };
  const auto reads = [] {
    if (flag.load(std::memory_order_relaxed) == 0) return;
    barrier();
    copy = data;
  };
  const auto r = interrupted(interlock_machine_irq, task, reads);
  EXPECT_TRUE(r.passed() && r.complete()) << r;
  EXPECT_TRUE(races(interrupted(interlock_machine_irq, without, reads)));
}

TEST(orders, a_compiler_barrier_after_a_flag_finds_what_a_handler_wrote) {
  const auto writes = [] {
    data = 1;
    barrier();
    flag.store(1, std::memory_order_relaxed);
  };
  const auto r = interrupted(
      interlock_machine_irq,
      [] {
        if (flag.load(std::memory_order_relaxed) == 0) return;
        barrier();
        copy = data;
      },
      writes);
  EXPECT_TRUE(r.passed() && r.complete()) << r;
  EXPECT_TRUE(races(interrupted(
      interlock_machine_irq,
      [] {
        if (flag.load(std::memory_order_relaxed) != 0) copy = data;
      },
      writes)));
}

// --- tasks ---

model::report two_tasks(unsigned cpus, void (*one)(), void (*other)()) {
  data = copy = 0;
  flag = 0;
  model::options o;
  o.cpus = cpus;
  o.strategy = model::strategy::exhaustive;
  return model::explore(o, [&] {
    std::thread t{[&] { one(); }};
    other();
    t.join();
  });
}

TEST(orders, a_compiler_barrier_publishes_nothing_to_other_tasks_of_the_cpu) {
  const auto publishes = [] {
    data = 1;
    barrier();
    flag.store(1, std::memory_order_relaxed);
  };
  const auto reads = [] {
    if (flag.load(std::memory_order_relaxed) == 0) return;
    barrier();
    copy = data;
  };
  EXPECT_TRUE(races(two_tasks(1, publishes, reads)));
}

TEST(orders, plain_memory_of_a_cpu_is_kept_apart_by_preempt_disable) {
  const auto adds = [] {
    preempt_disable();
    ++data;
    preempt_enable();
  };
  const auto one_cpu = two_tasks(1, adds, adds);
  EXPECT_TRUE(one_cpu.passed() && one_cpu.complete()) << one_cpu;
  EXPECT_GE(one_cpu.executions(), 2u);  // either comes first
  EXPECT_TRUE(races(two_tasks(2, adds, adds)));
  const auto bare = [] { ++data; };
  EXPECT_TRUE(races(two_tasks(1, bare, bare)));
}

// --- wakes ---

std::uint32_t word;

/// The waiter is woken for certain, by one that stores with `order`.
model::report woken(std::memory_order store, std::memory_order load) {
  data = copy = 0;
  word = 0;
  model::options o;
  o.strategy = model::strategy::exhaustive;
  return model::explore(o, [&] {
    std::thread waker{[&] {
      data = 1;
      std::atomic_ref{word}.store(1, store);
      interlock_machine_unpark(&word, 1);
    }};
    while (std::atomic_ref{word}.load(load) == 0) {
      (void)interlock_machine_park(&word, 0, INT64_MAX, false);
    }
    copy = data;
    waker.join();
  });
}

/// Each side orders by its access or by a fence beside it, or not at all.
TEST(orders, a_flag_publishes_by_order_or_by_fence_on_both_sides) {
  using std::memory_order_acquire;
  using std::memory_order_relaxed;
  using std::memory_order_release;
  enum class side { access, fence, nothing };
  const auto program = [](side writer, side reader) {
    return [=] {
      int value = 0;
      std::atomic<bool> ready{false};
      std::thread other{[&] {
        value = 1;
        if (writer == side::fence) std::atomic_thread_fence(memory_order_release);
        ready.store(true, writer == side::access ? memory_order_release : memory_order_relaxed);
      }};
      if (ready.load(reader == side::access ? memory_order_acquire : memory_order_relaxed)) {
        if (reader == side::fence) std::atomic_thread_fence(memory_order_acquire);
        if (value != 1) std::abort();
      }
      other.join();
    };
  };
  constexpr side sides[] = {side::access, side::fence, side::nothing};
  for (const side writer : sides) {
    for (const side reader : sides) {
      model::options o;
      o.strategy = model::strategy::exhaustive;
      const auto r = model::explore(o, program(writer, reader));
      if (writer == side::nothing || reader == side::nothing) {
        EXPECT_NE(r.text().find("BUG: data-race"), std::string::npos) << r;
      } else {
        EXPECT_TRUE(r.passed() && r.complete()) << r;
      }
    }
  }
}

TEST(orders, a_wake_orders_nothing_by_itself) {
  const auto r = woken(std::memory_order_release, std::memory_order_acquire);
  EXPECT_TRUE(r.passed() && r.complete()) << r;
  EXPECT_TRUE(races(woken(std::memory_order_release, std::memory_order_relaxed)));
  EXPECT_TRUE(races(woken(std::memory_order_relaxed, std::memory_order_acquire)));
}

/// The last two of many tasks: `ordered`, by a flag.
model::report many_tasks(bool ordered) {
  data = copy = 0;
  flag = 0;
  model::options o;
  o.cpus = 4;
  o.strategy = model::strategy::random;
  o.executions = 50;
  return model::explore(o, [=] {
    std::vector<std::thread> others;
    for (int i = 0; i < 40; ++i) others.emplace_back([] {});
    std::thread writer{[] {
      data = 1;
      flag.store(1, std::memory_order_release);
    }};
    std::thread reader{[=] {
      if (flag.load(ordered ? std::memory_order_acquire : std::memory_order_relaxed) != 0)
        copy = data;
    }};
    for (std::thread& t : others) t.join();
    writer.join();
    reader.join();
  });
}

TEST(orders, what_many_tasks_order_is_known_as_of_few) {
  EXPECT_TRUE(many_tasks(true).passed());
  EXPECT_TRUE(many_tasks(false).text().starts_with("BUG: data-race"));
}

}  // namespace
