// SPDX-License-Identifier: Apache-2.0

/// Simulated devices on the simulated machine: they belong to no CPU, and have nothing of one.

#include "interlock/device/simulated_device.hpp"

#include <mutex>
#include <thread>

#include "model/library_support.hpp"

namespace interlock::test {
namespace {

constexpr std::uint32_t gone = doorbell_register::gone;

simulated_device device(auto function) {
  return make_simulated_device("device", std::move(function)).value();
}

TEST(simulated_device, sees_what_was_written_before_its_doorbell) {
  const model::expectations here;
  passes_all(model::explore(all(), [] {
    int question = 0;
    std::atomic<int> answer{0};
    const auto squares = device([&](doorbell_register& bell) {
      for (std::uint32_t seen = 0; (seen = bell.wait(seen)) != gone;) {
        answer.store(question * question, std::memory_order_release);
      }
    });
    question = 5;
    squares.doorbell().write(1);
    while (answer.load(std::memory_order_acquire) == 0) {
    }
    question = 6;
    squares.doorbell().write(2);
    while (answer.load(std::memory_order_acquire) == 25) {
    }
    EXPECT_EQ(answer.load(), 36);
  }));
}

/// Also if the device sleeps by then: that it is woken says nothing of memory.
TEST(simulated_device, sees_nothing_else_behind_a_relaxed_write) {
  const model::expectations here;
  model::options o = all();
  o.executions = 1;  // the first: the device goes on until it sleeps
  fails(model::explore(o,
                       [] {
                         int question = 0;
                         std::atomic<bool> runs{false};
                         std::atomic<bool> looked{false};
                         const auto reads = device([&](doorbell_register& bell) {
                           runs = true;
                           (void)bell.wait(0);
                           EXPECT_EQ(question, 5);
                           looked = true;
                         });
                         while (!runs) {
                         }
                         question = 5;
                         reads.doorbell().write_relaxed(1);
                         while (!looked) {
                         }
                       }),
        "BUG: data-race");
}

TEST(simulated_device, several_writes_may_be_seen_as_one) {
  const model::expectations here;
  passes_all(model::explore(all(), [] {
    std::atomic<std::uint32_t> last{0};
    auto d = device([&](doorbell_register& bell) {
      std::uint32_t seen = 0;
      while ((seen = bell.wait(seen)) != gone) {
        EXPECT_GT(seen, last.load());
        last = seen;
      }
    });
    d.doorbell().write(1);
    d.doorbell().write(2);
    while (last != 2) {
    }
    d.remove();
    EXPECT_EQ(last.load(), 2u);
  }));
}

/// The one CPU spins with interrupts off: a device answers, a task would not.
TEST(simulated_device, runs_whatever_a_cpu_has_masked) {
  const model::expectations here;
  const auto spin_for = [](std::atomic<int>& answer) {
    const guard g{irqsave};
    const guard h{no_preempt};
    while (answer == 0) {
    }
  };
  passes_all(model::explore(all(1), [&] {
    std::atomic<int> answer{0};
    const auto d = device([&](doorbell_register& bell) {
      if (bell.wait(0) != gone) answer = 1;
    });
    d.doorbell().write(1);
    spin_for(answer);
  }));
  fails(model::explore(all(1),
                       [&] {
                         std::atomic<int> answer{0};
                         auto other = start("task", [&] { answer = 1; });
                         spin_for(answer);
                         (void)other.join();
                       }),
        "BUG: livelock");
}

TEST(simulated_device, raises_its_line) {
  const model::expectations here;
  const auto program = [] {
    const auto line = make_irq_line({.name = "device", .kind = irq_kind::asynchronous}).value();
    int work = 0;
    completion done;
    const auto action = request_irq(*line, [&] {
                          EXPECT_EQ(work, 1);
                          done.complete();
                          return irqreturn::handled;
                        }).value();
    const auto d = device([&](doorbell_register& bell) {
      if (bell.wait(0) == gone) return;
      work = 1;
      raise_irq(*line);
    });
    d.doorbell().write(1);
    done.wait();
  };
  passes(model::explore(some(5000), program));
  passes(model::explore(full(some(5000)), program));
}

/// What no hardware has.
TEST(simulated_device, may_not_lock_nor_sleep) {
  const model::expectations here;
  const auto played = [](auto function) {
    return model::explore(all(), [&] { device([&](doorbell_register&) { function(); }); });
  };
  spinlock lock;
  fails(played([&] {
          guard g{irqsave, lock};
        }),
        "BUG: a device takes a lock: device is hardware, which has memory");
  mutex m;
  fails(played([&] { guard g{m}; }), "BUG: sleeping function called from invalid context");
  std::mutex other;
  fails(played([&] { std::lock_guard g{other}; }), "BUG: a device takes a lock");
  std::atomic<int> word{0};
  fails(played([&] { word.wait(0); }), "BUG: a device sleeps");
  completion done;
  fails(played([&] { done.wait(); }), "BUG: sleeping function called from invalid context");
  fails(played([&] { std::thread{[] {}}.join(); }), "BUG: a device starts a task");
}

TEST(simulated_device, is_shown_as_one) {
  const model::expectations here;
  const auto r = model::explore(
      all(), [] { device([](doorbell_register& bell) { EXPECT_NE(bell.wait(0), gone); }); });
  fails(r, "  device device");
  fails(r, "by device (device):");
}

}  // namespace
}  // namespace interlock::test
