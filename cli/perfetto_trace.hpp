// SPDX-License-Identifier: Apache-2.0
#pragma once

/// A run as a Perfetto trace (TrackEvent protobuf), for https://ui.perfetto.dev: one track per
/// timeline and one of the submitting thread, one slice per job, one flow per fence: from the job that
/// signals it through everything that could not begin without it, in order of time.

#include <string>

#include "failure.hpp"
#include "run_record.hpp"

namespace interlock::cli {

[[nodiscard]] maybe_failure write_perfetto_trace(const run_record& record, const std::string& path);

/// A trace that is complete, into its file.
[[nodiscard]] maybe_failure write_trace_file(const std::string& bytes, const std::string& path);

}  // namespace interlock::cli
