// SPDX-License-Identifier: Apache-2.0
#pragma once

/// Numbers for people.

#include <cstdint>
#include <string>

namespace interlock::cli {

/// "512 B", "13.4 MiB"
[[nodiscard]] std::string format_bytes(double bytes);
/// "12 345 678"
[[nodiscard]] std::string format_count(std::uint64_t count);

}  // namespace interlock::cli
