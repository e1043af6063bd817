// SPDX-License-Identifier: Apache-2.0
#pragma once

/// What the environment says about explorations, and what is written of them for programs.

#include <cstdint>
#include <string>

#include "../include/interlock_platform/machine.h"
#include "shared_exploration.hpp"

namespace interlock::machine {

/// `interlock_machine_options::strategy`.
enum class strategy_option : unsigned {
  portfolio,
  exhaustive,
  enumerate,
  random,
  pct,
  pos,
  urw,
  samplers
};

/// The words of options, by their numbers.
inline constexpr const char* preemption_names[] = {"none", "voluntary", "full"};
inline constexpr const char* granularity_names[] = {"library", "full", "user"};

/// "suite.test", with "#2" for the second of that name and so on; "exploration N" where nothing names it.
std::string name_of_exploration(const interlock_machine_options& options);

/// Puts INTERLOCK_EXPLORE over the options: `key=value` with commas between. Returns what is wrong with it, or an empty text.
/// Lifetime: `kept` holds the texts that the options then point to. `skip`: another exploration is wanted, not this one.
std::string apply_environment(interlock_machine_options& options, const std::string& name,
                              std::string& kept, bool& skip);

/// The line of INTERLOCK_EXPLORE_LOG.
void write_log(const std::string& name, const interlock_machine_result& result);

/// INTERLOCK_EXPLORE_LIST: ends the process, if it is set. Only the tests of the program were asked for, and a program that explores
/// nevertheless has none that GoogleTest knows.
void end_if_only_listed(const std::string& name);

/// INTERLOCK_EXPLORE_SHARE, "N:FILE": this is process N of those that share the explorations. The first one, 0, does all that one alone would do; the
/// others only sample. An exhaustive search it divides among processes that it starts itself: see division.hpp. Without it: process 0, on memory of its own.
struct share {
  shared_exploration* of;  ///< null: the file has no room for it, so that it is process 0's alone
  unsigned process;
};
/// Of the exploration that is the `ordinal`-th of this process, from 0.
share share_of(unsigned ordinal);

/// Executions, rate, depth, and about how much of an exhaustive search is done (0 to 1), on a terminal: at most five times a second.
class progress_line {
 public:
  explicit progress_line(const std::string& name);
  void show(const interlock_machine_result& result, std::size_t depth, double searched,
            std::uint64_t now);
  void erase();

 private:
  const std::string& name_;
  bool wanted_;
  bool shown_ = false;
  std::uint64_t began_ = 0;
  std::uint64_t last_ = 0;
};

}  // namespace interlock::machine
