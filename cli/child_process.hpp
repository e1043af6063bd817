// SPDX-License-Identifier: Apache-2.0
#pragma once

/// Another program, run to its end and measured.

#include <signal.h>
#include <spawn.h>
#include <sys/types.h>

#include <atomic>
#include <string>
#include <vector>

#include "failure.hpp"
#include "termination.hpp"

namespace interlock::cli {

/// Starts a program with `mask`, and with the signals that we ignore as it would have them. 0, or an errno.
[[nodiscard]] int spawn_with_signals(char* const* arguments, char* const* environment,
                                     const ::posix_spawn_file_actions_t& files,
                                     const sigset_t& mask, ::pid_t& child);

struct child_usage {
  double seconds = 0;      ///< from start to end
  double cpu_seconds = 0;  ///< user and system
  std::size_t peak_bytes = 0;
};

/// The child that runs now, for the end of the program without an unwinding: it must not outlive us.
class child_watch {
 public:
  /// Kills it, and waits until it is gone. As the `abandon` of a termination::action.
  void kill_now() const noexcept;

 private:
  friend maybe_failure run_child(const std::vector<std::string>& words, termination& signals,
                                 termination::action& at_signal, child_watch& watch,
                                 child_usage& usage);
  std::atomic<::pid_t> child_{0};
};

/// Runs `words` (the first is a path) with standard output thrown away. A signal to us goes on to
/// it.
[[nodiscard]] maybe_failure run_child(const std::vector<std::string>& words, termination& signals,
                                      termination::action& at_signal, child_watch& watch,
                                      child_usage& usage);

}  // namespace interlock::cli
