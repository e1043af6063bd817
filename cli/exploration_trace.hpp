// SPDX-License-Identifier: Apache-2.0
#pragma once

/// The failing execution of an exploration as a Perfetto trace (TrackEvent protobuf), for https://ui.perfetto.dev: a track per CPU with its
/// tasks, interrupts and softirqs on what they have halted, and their steps; a track per flow with what it holds; arrows from
/// what wakes, raises or signals, and along each fence. There is no time in it: each step takes a microsecond.

#include <string>

#include "failure.hpp"

namespace interlock::cli {

/// `steps`: the file that the simulated machine has written for INTERLOCK_EXPLORE_STEPS.
[[nodiscard]] maybe_failure write_exploration_trace(const std::string& steps,
                                                    const std::string& path);

}  // namespace interlock::cli
