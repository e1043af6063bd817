// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "termination.hpp"

namespace CLI {
class App;
}

namespace interlock::cli {

struct check_options {
  std::string binary;
  std::vector<std::string> arguments;
  std::string filter;
  std::string time, strategy, preemption, granularity, memory, points;
  std::optional<std::uint64_t> executions, seed, steps, cpus, pct_depth;
  std::string junit, html, trace;
  unsigned jobs = 0;  ///< 0: a process for each CPU
  bool verbose = false;
};
/// Lifetime: `options` outlives the parsing.
void add_check_options(CLI::App& verb, check_options& options);

/// The verb `check`: the exit status.
[[nodiscard]] int check(const check_options& options, termination& signals);

}  // namespace interlock::cli
