// SPDX-License-Identifier: Apache-2.0
#pragma once

/// A run as a Perfetto trace (TrackEvent protobuf), for https://ui.perfetto.dev: one track per
/// timeline, one slice per job, one flow arrow per fence from who signals it to who waited for it.

#include <string>

#include "failure.hpp"
#include "run_record.hpp"

namespace interlock::cli {

[[nodiscard]] maybe_failure write_perfetto_trace(const run_record& record, const std::string& path);

}  // namespace interlock::cli
