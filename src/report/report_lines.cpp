// SPDX-License-Identifier: Apache-2.0

/// The lines that headlines of several layers share.

#include "report/report_lines.hpp"

#include "interlock_platform/thread.hpp"

namespace interlock::inline INTERLOCK_PLATFORM::detail {

std::uint32_t reporter_id() noexcept {
  platform::enlist();
  return platform::this_task().id.load_relaxed();
}

std::uint32_t reporter_cpu() noexcept {
  platform::enlist();
  return platform::this_cpu().id.load_relaxed();
}

void put_name(report_text& out) noexcept {
  char name[16] = {};
  platform::thread_name(name);
  out << name;
}

void put_self(report_text& out) noexcept {
  put_name(out);
  out << '/' << reporter_id();
}

void put_warning(report_text& out) noexcept {
  out << "WARNING: CPU: " << reporter_cpu() << " PID: " << reporter_id() << " at ";
}

void locks_warning(report_kind kind, const char* condition, const char* function) noexcept {
  report_text text;
  text << "DEBUG_LOCKS_WARN_ON(" << condition << ")\n";
  put_warning(text);
  text << function << '\n';
  submit_report(kind, text);
}

void put_atomic_places(report_text& out) noexcept {
  const location atomic_at = platform::this_task().atomic_at;
  if (preempt_count() != 0 && atomic_at.file != nullptr) {
    out << "Preemption disabled at: " << atomic_at << '\n';
  }
  const location irqs_off_at = platform::this_cpu().irqs_off_at;
  if (irqs_disabled() && irqs_off_at.file != nullptr) {
    out << "Interrupts disabled at: " << irqs_off_at << '\n';
  }
}

}  // namespace interlock::inline INTERLOCK_PLATFORM::detail
