// SPDX-License-Identifier: Apache-2.0
#pragma once

/// The lines that headlines of several layers share, in the kernel's wording.

#include "interlock/report.hpp"

namespace interlock::inline INTERLOCK_PLATFORM::detail {

/// The ids of the current task and of the CPU it runs on. They enlist the thread.
/// Context: any, NMI included.
[[nodiscard]] std::uint32_t reporter_id() noexcept;
[[nodiscard]] std::uint32_t reporter_cpu() noexcept;

/// "name/id" of the current task, as the kernel's "comm/pid".
void put_self(report_text& out) noexcept;
/// "name" of the current task.
void put_name(report_text& out) noexcept;

/// "WARNING: CPU: 7 PID: 7 at ", without the place and without the line's end.
void put_warning(report_text& out) noexcept;

/// "DEBUG_LOCKS_WARN_ON(condition)", then "WARNING: CPU: 7 PID: 7 at function", submitted.
void locks_warning(report_kind kind, const char* condition, const char* function) noexcept;

/// Where the current task last entered atomic context and where its CPU switched interrupts off,
/// as far as either holds now. One line each.
void put_atomic_places(report_text& out) noexcept;

/// The action in force. Context: any.
[[nodiscard]] report_action current_report_action() noexcept;

/// What the context layer calls when it notices misuse.
void report_context_fault(context_fault fault) noexcept;

/// Counts a report that is not printed (rate limit).
void count_report() noexcept;

}  // namespace interlock::inline INTERLOCK_PLATFORM::detail
