// SPDX-License-Identifier: Apache-2.0
#pragma once

/// The explorations of a test binary: it is run with INTERLOCK_EXPLORE and its kin, and its log read.

#include <string>
#include <vector>

#include "failure.hpp"
#include "termination.hpp"

namespace interlock::cli {

/// One line of INTERLOCK_EXPLORE_LOG.
struct exploration_result {
  std::string name;
  bool passed = false;
  bool complete = false;
  std::uint64_t executions = 0;
  double seconds = 0;
  std::string failure;
  std::string token;
};

/// Reads a line of the log; false if it is none.
[[nodiscard]] bool read_exploration(const std::string& line, exploration_result& result);

struct exploration_run {
  std::string binary;
  std::vector<std::string> arguments;
  std::string explore;  ///< INTERLOCK_EXPLORE
  std::string html;     ///< INTERLOCK_EXPLORE_HTML; empty: none
  bool output = false;  ///< its standard output is shown
};

struct exploration_outcome {
  std::vector<exploration_result> results;
  int exit_status = 0;
  int signal = 0;  ///< that ended it; 0: none
};

/// Runs it to its end.
[[nodiscard]] maybe_failure run_explorations(const exploration_run& run, termination& signals,
                                             exploration_outcome& outcome);

/// The GoogleTest filter of the test that an exploration stands in.
[[nodiscard]] std::string test_of(const std::string& exploration);

}  // namespace interlock::cli
