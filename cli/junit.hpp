// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "explorations.hpp"

namespace interlock::cli {

/// The results as JUnit XML: a suite for the binary, a case for each exploration,
/// and one for each process that did not end well.
[[nodiscard]] maybe_failure write_junit(const std::string& path, const exploration_run& run,
                                        const exploration_outcome& outcome);

}  // namespace interlock::cli
