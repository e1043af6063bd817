// SPDX-License-Identifier: Apache-2.0
#pragma once

/// Where in the source a context was entered; a default argument of the functions that enter one. And
/// which declaration has made an object.
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

/// Where a lock is declared: the default argument of its constructor, and nothing that a location
/// turns into. Internal.
class declared_at {
 public:
  static constexpr declared_at current(const char* file = __builtin_FILE(),
                                       int line = __builtin_LINE()) noexcept {
    return declared_at{{file, line}};
  }
  [[nodiscard]] constexpr location where() const noexcept { return where_; }

 private:
  explicit constexpr declared_at(location where) noexcept : where_{where} {}
  location where_;
};

/// Names a declaration at compile time: each use of a constructor whose parameter `Which` has the default
/// `decltype([] {})` has a type of its own there. A primitive hands it on to the locks that it is made of.
/// Internal.
template <class Which>
struct declaration {};

}  // namespace interlock
