// SPDX-License-Identifier: Apache-2.0
#pragma once

/// What the tool says when it fails, and the exit statuses that it promises.

#include <fmt/core.h>

#include <optional>
#include <string>
#include <utility>

#include "interlock/error.hpp"

namespace interlock::cli {

namespace exit_status {
inline constexpr int success = 0;
inline constexpr int failure = 1;
inline constexpr int usage = 2;
inline constexpr int signal_base = 128;  ///< plus the signal's number: 130 for ^C, 143 for SIGTERM
}  // namespace exit_status

struct failure {
  std::string message;
  int status = exit_status::failure;
};

/// Nothing, or why it went wrong.
using maybe_failure = std::optional<failure>;

template <class... Args>
[[nodiscard]] failure fail(fmt::format_string<Args...> format, Args&&... args) {
  return {fmt::format(format, std::forward<Args>(args)...)};
}

/// "No space left on device"
[[nodiscard]] inline std::string describe_error(error e) { return make_error_code(e).message(); }

}  // namespace interlock::cli
