// SPDX-License-Identifier: Apache-2.0
#pragma once

/// The explorations of a test binary: it is run with INTERLOCK_EXPLORE and its kin, and its log read.

#include <cstdint>
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
  std::string test;  ///< the GoogleTest test that was run by itself; empty: all of the binary was
};

struct exploration_run {
  std::string binary;
  std::vector<std::string> arguments;
  std::string filter;      ///< GoogleTest's; empty: all tests
  std::string explore;     ///< INTERLOCK_EXPLORE
  std::string html;        ///< the first failure is written there; empty: it is not
  std::string trace;       ///< as a trace of Perfetto
  bool output = false;     ///< its standard output is shown
  unsigned processes = 1;  ///< 1: the binary once; more: each of its tests in a process of its own
};

/// A process that did not end well, though no exploration of it failed.
struct bad_end {
  std::string test;  ///< empty: the binary as a whole
  int exit_status = 0;
  int signal = 0;  ///< 0: none
};

struct exploration_outcome {
  std::vector<exploration_result> results;  ///< in the order of the binary
  std::vector<bad_end> bad_ends;
  bool written = false;  ///< what `html` and `trace` ask for
};

/// Runs them to their end.
[[nodiscard]] maybe_failure run_explorations(const exploration_run& run, termination& signals,
                                             exploration_outcome& outcome);

/// The GoogleTest filter of the test that an exploration stands in.
[[nodiscard]] std::string test_of(const std::string& exploration);

/// "ended by signal 9 (Killed)" or "exit status 3"
[[nodiscard]] std::string describe_end(const bad_end& end);

/// The line of a shell that replays it.
[[nodiscard]] std::string replay_command(const exploration_run& run,
                                         const exploration_result& result);

}  // namespace interlock::cli
