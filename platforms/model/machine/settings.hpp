// SPDX-License-Identifier: Apache-2.0
#pragma once

/// What the environment says about explorations, and what is written of them for programs.

#include <string>

#include "../include/interlock_platform/machine.h"

namespace interlock::machine {

/// "suite.test", with "#2" for the second of that name and so on; "exploration N" where nothing names it.
std::string name_of_exploration(const interlock_machine_options& options);

/// Puts INTERLOCK_EXPLORE over the options: `key=value` with commas between. Returns what is wrong with it, or an empty text.
/// Lifetime: `kept` holds the texts that the options then point to. `skip`: another exploration is wanted, not this one.
std::string apply_environment(interlock_machine_options& options, const std::string& name,
                              std::string& kept, bool& skip);

/// The line of INTERLOCK_EXPLORE_LOG.
void write_log(const std::string& name, const interlock_machine_result& result);

/// Executions, rate and depth, on a terminal: at most five times a second.
class progress_line {
 public:
  explicit progress_line(const std::string& name);
  void show(const interlock_machine_result& result, std::size_t depth, std::uint64_t now);
  void erase();

 private:
  const std::string& name_;
  bool wanted_;
  bool shown_ = false;
  std::uint64_t began_ = 0;
  std::uint64_t last_ = 0;
};

}  // namespace interlock::machine
