// SPDX-License-Identifier: Apache-2.0
#pragma once

/// An object of JSON on one line, whose values are strings, numbers and words: what the simulated machine writes.

#include <string>
#include <utility>
#include <vector>

namespace interlock::cli {

using json_line = std::vector<std::pair<std::string, std::string>>;

/// Its keys and values, strings without their quotes; false if it is no such object.
[[nodiscard]] bool read_json_line(const std::string& line, json_line& fields);

/// The value of a key; empty if it is not there.
[[nodiscard]] const std::string& value_of(const json_line& fields, const char* key);

}  // namespace interlock::cli
