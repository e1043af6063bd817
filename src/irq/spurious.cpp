// SPDX-License-Identifier: Apache-2.0

/// Lines that nobody claims. Source: Linux kernel/irq/spurious.c (the limits and the first line).
///
/// Of each 100000 runs, if more than 99900 were claimed by no handler, the line is switched off. A
/// run that comes more than 100 ms after the last unclaimed one starts the count anew, so that rare
/// ones never add up.

#include "interlock/report.hpp"
#include "interlock/task.hpp"
#include "irq/line.hpp"

namespace interlock::inline INTERLOCK_PLATFORM::detail {
namespace {

constexpr std::uint32_t window = 100'000;
constexpr std::uint32_t unhandled_max = 99'900;
constexpr ktime forgiven_after = std::chrono::milliseconds{100};

void cut_off(irq_line& line) noexcept {
  (void)change(line, [](std::uint32_t state) {
    return (state + line_state::depth_one) | line_state::cut_off;
  });
  report_text text;
  text << "irq " << line.number << ": nobody cared (line \"" << line.name << "\")\nhandlers:\n";
  for (const auto* action = line.actions.load_seq_cst(); action != nullptr;
       action = action->next.load_seq_cst()) {
    text << ' ' << action->name << '\n';
  }
  text << "Disabling IRQ #" << line.number << '\n';
  submit_report(report_kind::irq_nobody_cared, text);
}

void count_unhandled(irq_line& line) noexcept {
  const deadline now = monotonic_clock::now();
  if (now - line.last_unhandled > forgiven_after) {
    line.window_unhandled = 1;
  } else {
    ++line.window_unhandled;
  }
  line.last_unhandled = now;
}

}  // namespace

void note_run(irq_line& line, bool claimed) noexcept {
  atomic<std::uint64_t>& counter = claimed ? line.handled : line.spurious;
  counter.store_relaxed(counter.load_relaxed() + 1);
  if (!claimed) count_unhandled(line);
  if (++line.window_runs < window) return;
  line.window_runs = 0;
  if (line.window_unhandled > unhandled_max) cut_off(line);
  line.window_unhandled = 0;
}

}  // namespace interlock::inline INTERLOCK_PLATFORM::detail
