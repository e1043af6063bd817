// SPDX-License-Identifier: Apache-2.0
#pragma once

/// Threads for tests, and waiting for a state of theirs instead of for time.

#include <gtest/gtest.h>

#include <utility>

#include "interlock/kthread.hpp"
#include "interlock/task.hpp"

namespace interlock::test {

/// Runs `function` in a new thread; a test that cannot start one has failed.
template <class F>
[[nodiscard]] kthread start(const char* name, F&& function) {
  result<kthread> started = kthread_run(name, std::forward<F>(function));
  EXPECT_TRUE(started.has_value());
  return std::move(started.value());
}

/// Lets others run until `condition()` holds. False after ten seconds, which is a failure.
template <class Condition>
[[nodiscard]] bool eventually(Condition condition) {
  const deadline until = deadline_after(std::chrono::seconds{10});
  while (!condition()) {
    if (monotonic_clock::now() >= until) return false;
    schedule();  // in state running: yields
  }
  return true;
}

/// Until `t` has announced a sleep in `state`. It may not have parked yet: wakes must work anyway.
[[nodiscard]] inline bool sleeps(const task& t, task_state state) {
  return eventually([&] { return state_of(t) == state; });
}

}  // namespace interlock::test
