// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <string>

#include "failure.hpp"

namespace interlock::cli {

/// Decompresses the file `output` and compares it with `input`, byte by byte.
[[nodiscard]] maybe_failure verify_output(const std::string& input, const std::string& output);

}  // namespace interlock::cli
