// SPDX-License-Identifier: Apache-2.0
#pragma once

/// Where in the source a context was entered; a default argument of the functions that enter one.
/// Context: any.
/// (`std::source_location` is missing from clang 14 with libstdc++ 12.)

namespace interlock {

struct location {
  const char* file = nullptr;
  int line = 0;

  static constexpr location current(const char* file = __builtin_FILE(),
                                    int line = __builtin_LINE()) noexcept {
    return {file, line};
  }
};

}  // namespace interlock
