// SPDX-License-Identifier: Apache-2.0
#pragma once

/// Where the result goes: a file that has its name only when it is whole, or a stream.
///
/// A file is made without a name (O_TMPFILE) in its directory and linked at the end, so that
/// nothing is left whatever ends the program; where the file system cannot, under a hidden name
/// that is removed on failure.

#include <sys/types.h>

#include <string>

#include "failure.hpp"
#include "owned_fd.hpp"

namespace interlock::cli {

class output_file {
 public:
  output_file() = default;
  output_file(const output_file&) = delete;
  output_file& operator=(const output_file&) = delete;
  /// Drops what was written, unless `commit` has succeeded.
  ~output_file();

  /// `path` "-" is standard output. `replace`: an existing file may be written over (at `commit`).
  [[nodiscard]] maybe_failure open(const std::string& path, bool replace, mode_t mode);
  /// Gives the file its name.
  [[nodiscard]] maybe_failure commit();

  [[nodiscard]] int fd() const noexcept { return fd_.get(); }
  /// For messages.
  [[nodiscard]] const std::string& name() const noexcept { return name_; }
  /// A pipe, a terminal, a device: written in order, without offsets.
  [[nodiscard]] bool is_stream() const noexcept { return stream_; }

  /// Removes a hidden name. For the end of the program without an unwinding; async-signal-safe.
  void discard() noexcept;

 private:
  [[nodiscard]] maybe_failure open_stream(bool replace);
  [[nodiscard]] bool rename_hidden() noexcept;
  [[nodiscard]] maybe_failure open_hidden(mode_t mode);
  [[nodiscard]] std::string hidden_name() const;

  owned_fd fd_;
  std::string name_;
  std::string hidden_;  ///< the name of the unfinished file, if it has one
  bool stream_ = false;
  bool replace_ = false;
};

}  // namespace interlock::cli
