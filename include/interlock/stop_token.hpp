// SPDX-License-Identifier: Apache-2.0
#pragma once

/// `std::stop_token` as a source of task signals.

#include <stop_token>
#include <utility>

#include "interlock/task.hpp"

namespace interlock::inline INTERLOCK_PLATFORM {

/// While it lives, a stop request on `token` sends `signal` to `t`, so that interruptible (or
/// killable) waits end with `error::interrupted`. The signal stays pending: `flush_signals()`.
/// Context: task. Lifetime: holds a reference to the task.
class [[nodiscard]] signal_on_stop {
 public:
  explicit signal_on_stop(std::stop_token token, task_signal signal = task_signal::interrupt,
                          task& t = current_task())
      : callback_{std::move(token), sender{ref_ptr<task>::share(t), signal}} {}

 private:
  struct sender {
    ref_ptr<task> target;
    task_signal signal;
    void operator()() const noexcept { send_signal(*target, signal); }
  };
  std::stop_callback<sender> callback_;
};

}  // namespace interlock::inline INTERLOCK_PLATFORM
