// SPDX-License-Identifier: Apache-2.0

/// The core runs on the model platform: built, linked, and explored once.

#include <gtest/gtest.h>

#include "interlock/interlock.hpp"
#include "interlock_platform/machine.h"
#include "interlock_platform/poller.hpp"
#include "interlock_platform/shared_memory.hpp"

namespace {

using namespace interlock;

struct machine_options : interlock_machine_options {
  machine_options() noexcept : interlock_machine_options{} {
    cpus = 2;
    preemption = 2;
    points = 1;
    executions = 1000;
    steps = 10'000;
  }
};

/// Explores `function(argument)`; the failure's report, empty if there is none.
std::string explore(void (*function)(void*), void* argument, std::uint64_t& executions) {
  const machine_options options;
  interlock_machine_result result{};
  interlock_machine_explore(&options, function, argument, &result);
  std::string report = result.failed ? (result.text != nullptr ? result.text : "failed") : "";
  executions = result.executions;
  interlock_machine_result_free(&result);
  return report;
}

spinlock lock;

void lock_and_read(void*) {
  if (!interlock_machine_in_execution()) interlock_machine_fail("not in an execution");
  {
    guard g{irqsave, lock};
    if (!irqs_disabled() || preempt_count() != preempt_offset) {
      interlock_machine_fail("the lock masks nothing");
    }
    rcu_read_lock();
    if (!rcu_read_lock_held()) interlock_machine_fail("no reader");
    rcu_read_unlock();
  }
  if (irqs_disabled() || in_atomic() || lock.is_locked()) interlock_machine_fail("left behind");
}

TEST(model_smoke, the_core_runs_on_the_machine) {
  std::uint64_t executions = 0;
  EXPECT_EQ(explore(lock_and_read, nullptr, executions), "");
  EXPECT_GE(executions, 1u);
}

void use_descriptors(void*) {
  const auto expect = [](bool good, const char* what) {
    if (!good) interlock_machine_fail(what);
  };
  auto p = platform::open_poller();
  const auto fd = platform::open_event_fd();
  expect(p && fd, "open");
  expect(!platform::poller_add(*p, 0, 1), "a real descriptor was taken");
  expect(platform::poller_add(*p, *fd, 7).has_value(), "poller_add");
  std::uint64_t cookies[2] = {};
  expect(platform::poller_wait(*p, cookies, 2, expired_deadline) == 0, "ready too early");
  platform::signal_event_fd(*fd);
  expect(platform::poller_wait(*p, cookies, 2, no_deadline) == 1 && cookies[0] == 7, "ready");
  expect(platform::poller_wait(*p, cookies, 2, expired_deadline) == 0, "one shot");
  expect(platform::poller_rearm(*p, *fd, 8).has_value(), "poller_rearm");
  expect(platform::poller_wait(*p, cookies, 2, no_deadline) == 1 && cookies[0] == 8, "level");
  expect(platform::drain_event_fd(*fd) && !platform::drain_event_fd(*fd), "drain");
  platform::poller_wake(*p);
  expect(platform::poller_wait(*p, cookies, 2, no_deadline) == 0, "wake");
  platform::close_fd(*fd);
  platform::close_poller(*p);

  auto memory = platform::map_memory(4096, true, "smoke");
  expect(memory.has_value(), "map_memory");
  auto again = platform::map_memory_fd(memory->fd, 4096);
  expect(again && again->address == memory->address && again->fd != memory->fd, "map_memory_fd");
  expect(!platform::map_memory_fd(memory->fd, 8192), "larger than it is");
  platform::unmap_memory(*memory);
  platform::unmap_memory(*again);
}

TEST(model_smoke, descriptors_and_shared_memory_are_simulated) {
  std::uint64_t executions = 0;
  EXPECT_EQ(explore(use_descriptors, nullptr, executions), "");
}

}  // namespace
