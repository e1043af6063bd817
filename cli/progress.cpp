// SPDX-License-Identifier: Apache-2.0
#include "progress.hpp"

#include <fmt/core.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include <algorithm>
#include <cstdio>
#include <utility>

#include "units.hpp"

namespace interlock::cli {

namespace {

constexpr ktime frame_time = std::chrono::milliseconds{100};
constexpr unsigned frames_per_line = 100;  ///< where there is no terminal: one line in 10 s

std::size_t terminal_width() noexcept {
  ::winsize size{};
  if (::ioctl(STDERR_FILENO, TIOCGWINSZ, &size) != 0 || size.ws_col == 0) return 80;
  return size.ws_col;
}

/// Replaces the terminal's line.
void print_over(std::string line, std::size_t width) {
  if (line.size() >= width) line.resize(width - 1);
  fmt::print(stderr, "\r{}\x1b[K", line);
  std::fflush(stderr);
}

}  // namespace

progress_display::progress_display(const pipeline_progress& progress, std::string title,
                                   std::optional<std::uint64_t> total)
    : progress_{progress},
      title_{std::move(title)},
      total_{total},
      terminal_{::isatty(STDERR_FILENO) != 0} {
  auto started = kthread_run("progress", [this] { serve(); });
  if (started) thread_ = std::move(*started);  // without it nothing is lost but the display
}

progress_display::~progress_display() {
  if (!thread_.joinable()) return;
  (void)thread_.stop();
  if (terminal_) fmt::print(stderr, "\r\x1b[K");
}

void progress_display::serve() {
  const deadline begin = monotonic_clock::now();
  for (unsigned frame = 0; !kthread_should_stop(); ++frame) {
    const std::chrono::duration<double> age = monotonic_clock::now() - begin;
    if (terminal_) {
      draw_bar(terminal_width(), age.count());
    } else if (frame != 0 && frame % frames_per_line == 0) {
      print_line(age.count());
    }
    set_current_state(task_interruptible);
    if (!kthread_should_stop()) (void)schedule_timeout(frame_time);
    set_current_state_raw(task_running);
  }
}

std::string progress_display::figures(double seconds) const {
  const std::uint64_t in = progress_.bytes_in.load(std::memory_order_relaxed);
  const std::uint64_t out = progress_.bytes_out.load(std::memory_order_relaxed);
  std::string text = in == 0 ? "" : fmt::format("{:5.1f} %", 100.0 * double(out) / double(in));
  if (seconds > 0) text += fmt::format("  {}/s", format_bytes(double(in) / seconds));
  return text;
}

void progress_display::draw_bar(std::size_t width, double seconds) const {
  const std::uint64_t in = progress_.bytes_in.load(std::memory_order_relaxed);
  const std::string right = figures(seconds);
  std::string line;
  if (!total_ || *total_ == 0) {
    line = fmt::format("{}  {}  {}", title_, format_bytes(double(in)), right);
  } else {
    const double part = std::min(1.0, double(in) / double(*total_));
    const std::string percent = fmt::format("{:3.0f} %", 100 * part);
    // Title, bar, percent, figures; the bar takes what is left.
    const std::size_t others = title_.size() + percent.size() + right.size() + 8;
    const std::size_t room = width > others ? std::min<std::size_t>(width - others, 40) : 0;
    if (room < 8) return print_over(fmt::format("{}  {}", title_, percent), width);
    const std::string full(static_cast<std::size_t>(part * double(room)), '#');
    line = fmt::format("{}  [{:-<{}}]  {}  {}", title_, full, room, percent, right);
  }
  print_over(std::move(line), width);
}

void progress_display::print_line(double seconds) const {
  const std::uint64_t in = progress_.bytes_in.load(std::memory_order_relaxed);
  const std::string of = total_ ? fmt::format(" of {}", format_bytes(double(*total_))) : "";
  fmt::print(stderr, "{}: {}{}  {}\n", title_, format_bytes(double(in)), of, figures(seconds));
}

}  // namespace interlock::cli
