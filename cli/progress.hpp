// SPDX-License-Identifier: Apache-2.0
#pragma once

/// How far a run is: a bar on a terminal, a line now and then elsewhere. On standard error.

#include <optional>
#include <string>

#include "interlock/kthread.hpp"
#include "pipeline.hpp"

namespace interlock::cli {

/// Shows it while it lives; the bar is wiped at the end. A thread of its own draws it, so that the
/// submitting thread is not woken for it.
class progress_display {
 public:
  /// `total` bytes, if known. Lifetime: `progress` outlives it.
  progress_display(const pipeline_progress& progress, std::string title,
                   std::optional<std::uint64_t> total);
  progress_display(const progress_display&) = delete;
  progress_display& operator=(const progress_display&) = delete;
  ~progress_display();

 private:
  void serve();
  void draw_bar(std::size_t width, double seconds) const;
  void print_line(double seconds) const;
  [[nodiscard]] std::string figures(double seconds) const;

  const pipeline_progress& progress_;
  const std::string title_;
  const std::optional<std::uint64_t> total_;
  const bool terminal_;
  kthread thread_;
};

}  // namespace interlock::cli
