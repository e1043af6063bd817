// SPDX-License-Identifier: Apache-2.0
#pragma once

/// The table at the end of a run, one column per run.

#include <string>
#include <vector>

#include "run_counts.hpp"

namespace interlock::cli {

struct table_column {
  std::string title;
  run_counts counts;
};

/// `peak_bytes`: the most memory that the process has had, of all columns together.
[[nodiscard]] std::string format_table(const std::vector<table_column>& columns,
                                       std::size_t peak_bytes);

}  // namespace interlock::cli
