// SPDX-License-Identifier: Apache-2.0
#pragma once

/// What the fence layer has to say to people.

#include "interlock/dma_fence.hpp"
#include "interlock_platform/park.hpp"

namespace interlock::inline INTERLOCK_PLATFORM::detail {

/// "driver=... timeline=... context=... seqno=... unsignaled".
void put_fence(report_text& out, const dma_fence& fence) noexcept;

/// The last reference of a fence with callbacks is gone. Context: any but NMI.
void report_released_fence(const dma_fence& fence) noexcept;

/// Option `fence_report_dropped`: report unsignalled fences that nobody waits for, too.
[[nodiscard]] bool reports_dropped_fences() noexcept;
void report_dropped_fence(const dma_fence& fence) noexcept;

/// Watches over one unbounded wait (option `fence_watchdog_ms`, 0: off): tells when to look up from
/// it, and prints who waits for what and for how long; then again after twice as long, and so on.
class overdue_watch {
 public:
  explicit overdue_watch(deadline until) noexcept;

  /// Until when to sleep: `until` of the wait, or the next look.
  [[nodiscard]] deadline next() const noexcept { return next_; }
  /// True if the wait itself is over at `next()`.
  [[nodiscard]] bool is_final() const noexcept { return next_ == until_; }

  [[nodiscard]] platform::deadline_kind kind() const noexcept {
    return is_final() ? platform::deadline_kind::timeout : platform::deadline_kind::watchdog;
  }

  /// Begins the advice; the caller adds a line for each thing it waits for, and calls `submit`.
  void begin(report_text& out, location where) noexcept;
  void submit(report_text& out) noexcept;

 private:
  deadline until_;
  deadline began_{};
  deadline next_;
};

}  // namespace interlock::inline INTERLOCK_PLATFORM::detail
