// SPDX-License-Identifier: Apache-2.0
#pragma once

/// What is compressed: a file, a pipe, or standard input.

#include <sys/types.h>

#include <cstdint>
#include <optional>
#include <string>

#include "failure.hpp"
#include "owned_fd.hpp"

namespace interlock::cli {

class input_file {
 public:
  /// `path` "-" is standard input.
  [[nodiscard]] maybe_failure open(const std::string& path);

  [[nodiscard]] int fd() const noexcept { return fd_.get(); }
  /// For messages.
  [[nodiscard]] const std::string& name() const noexcept { return name_; }
  /// Bytes, if it is a file that can be read at any offset; what has none is read to its end. Files
  /// of size 0 are among the latter: those of /proc say so and are not empty.
  [[nodiscard]] std::optional<std::uint64_t> size() const noexcept { return size_; }
  /// The permissions that the output gets.
  [[nodiscard]] mode_t mode() const noexcept { return mode_; }
  /// How large the file is now; absent for streams.
  [[nodiscard]] std::optional<std::uint64_t> size_now() const noexcept;
  /// The same file, device and number.
  [[nodiscard]] bool is_same_file(const std::string& path) const noexcept;

 private:
  owned_fd fd_;
  std::string name_;
  std::optional<std::uint64_t> size_;
  mode_t mode_ = 0666;
};

/// The input if none is named: the C++ compiler proper, a large file that is wherever the tool was
/// built. Empty if there is none.
[[nodiscard]] std::string default_input();

}  // namespace interlock::cli
