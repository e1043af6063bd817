// SPDX-License-Identifier: Apache-2.0

/// Hardware that a function plays, on a thread: its register, its interrupt, its end.

#include "interlock/device/simulated_device.hpp"

#include <sys/wait.h>
#include <unistd.h>

#include <cstdlib>

#include "interlock/completion.hpp"
#include "interlock/interrupt.hpp"
#include "interlock/kthread.hpp"
#include "support/report_recorder.hpp"

namespace interlock::test {
namespace {

using simulated_device_test = report_test;

constexpr std::uint32_t gone = doorbell_register::gone;

TEST_F(simulated_device_test, answers_each_doorbell_with_its_interrupt) {
  const auto line = make_irq_line({.name = "device", .kind = irq_kind::asynchronous}).value();
  std::uint32_t question = 0;
  std::uint32_t answer = 0;
  completion answered;
  const auto action = request_irq(*line, [&] {
                        answered.complete();
                        return irqreturn::handled;
                      }).value();
  const auto device = make_simulated_device("squares", [&](doorbell_register& bell) {
                        for (std::uint32_t seen = 0; (seen = bell.wait(seen)) != gone;) {
                          answer = question * question;
                          raise_irq(*line);
                        }
                      }).value();
  for (std::uint32_t i = 1; i <= 1000; ++i) {
    question = i;
    device.doorbell().write(i);
    answered.wait();
    ASSERT_EQ(answer, i * i);
  }
}

TEST_F(simulated_device_test, the_last_of_several_writes_is_seen) {
  constexpr std::uint32_t writes = 10'000;
  completion all_seen;
  const auto line = make_irq_line({.name = "device"}).value();
  const auto action = request_irq(*line, [&] {
                        all_seen.complete();
                        return irqreturn::handled;
                      }).value();
  const auto device = make_simulated_device("device", [&](doorbell_register& bell) {
                        std::uint32_t last = 0;
                        for (std::uint32_t seen = 0; (seen = bell.wait(seen)) != gone;) {
                          EXPECT_GT(seen, last);
                          last = seen;
                          if (seen == writes) raise_irq(*line);
                        }
                      }).value();
  for (std::uint32_t i = 1; i <= writes; ++i) device.doorbell().write_relaxed(i);
  all_seen.wait();
}

TEST_F(simulated_device_test, is_gone_when_it_was_removed) {
  struct counted {
    int& alive;
    explicit counted(int& n) noexcept : alive{n} { ++alive; }
    counted(const counted& other) noexcept : alive{other.alive} { ++alive; }
    ~counted() { --alive; }
  };
  int alive = 0;
  int ended = 0;
  auto device = make_simulated_device("device", [&ended, c = counted{alive}](doorbell_register& b) {
                  EXPECT_EQ(b.wait(0), gone);
                  EXPECT_EQ(b.wait(gone), gone);  // at once
                  EXPECT_EQ(b.read(), gone);
                  ++ended;
                }).value();
  EXPECT_EQ(alive, 1);
  device.remove();
  EXPECT_EQ(ended, 1);
  EXPECT_EQ(alive, 0);
  device.remove();
}

TEST_F(simulated_device_test, another_takes_its_place) {
  int ended = 0;
  const auto make = [&] {
    return make_simulated_device("device",
                                 [&](doorbell_register& bell) {
                                   while (bell.wait(0) != gone) {
                                   }
                                   ++ended;
                                 })
        .value();
  };
  simulated_device device = make();
  device = make();
  EXPECT_EQ(ended, 1);
  {
    const simulated_device moved = std::move(device);
    EXPECT_EQ(ended, 1);
  }
  EXPECT_EQ(ended, 2);
}

TEST_F(simulated_device_test, may_not_sleep) {
  auto device = make_simulated_device("device", [](doorbell_register&) {
                  completion done;
                  done.complete();
                  done.wait();
                }).value();
  device.remove();
  EXPECT_TRUE(reports.took(report_kind::sleep_in_atomic, "name: device"));
}

TEST_F(simulated_device_test, is_not_there_in_the_child_of_a_fork) {
  int alive = 0;
  auto device = make_simulated_device("device", [&](doorbell_register& bell) {
                  while (bell.wait(0) != gone) {
                  }
                  ++alive;
                }).value();
  const pid_t child = fork();
  if (child == 0) {
    device.doorbell().write(1);
    device.remove();  // waits for nobody
    std::_Exit(alive == 0 ? 0 : 1);
  }
  int status = -1;
  ASSERT_EQ(waitpid(child, &status, 0), child);
  EXPECT_EQ(status, 0);
  device.remove();
  EXPECT_EQ(alive, 1);
}

}  // namespace
}  // namespace interlock::test
