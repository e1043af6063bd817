// SPDX-License-Identifier: Apache-2.0
#pragma once

/// Another program, run to its end and measured.

#include <string>
#include <vector>

#include "failure.hpp"
#include "termination.hpp"

namespace interlock::cli {

struct child_usage {
  double seconds = 0;      ///< from start to end
  double cpu_seconds = 0;  ///< user and system
  std::size_t peak_bytes = 0;
};

/// Runs `words` (the first is a path) with standard output thrown away. A signal to us goes on to
/// it.
[[nodiscard]] maybe_failure run_child(const std::vector<std::string>& words, termination& signals,
                                      termination::action& at_signal, child_usage& usage);

}  // namespace interlock::cli
