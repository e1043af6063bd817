// SPDX-License-Identifier: Apache-2.0
#pragma once

/// Reports of broken contracts, in the kernel's formats: what happens with them, and who reads
/// them.
///
/// The first line of a report is one that kernel log parsers know ("BUG: sleeping function called
/// from invalid context at ..."). Then come facts, held context, and the stack, one frame a line.
/// Reports of several threads are printed one after another.
/// Action: option `report=abort|log|quiet`, or `set_report_action`. Default: abort.

#include <cstddef>
#include <cstdint>

#include "interlock/location.hpp"
#include "interlock/preempt.hpp"

namespace interlock::inline INTERLOCK_PLATFORM {

enum class report_action {
  abort,    ///< print, then SIGABRT (advice is printed only)
  log,      ///< print, then go on
  handler,  ///< call the handler of `set_report_handler`, then go on
  quiet,    ///< count it, then go on
};

enum class report_kind {
  bug,                 ///< INTERLOCK_BUG_ON
  warning,             ///< INTERLOCK_WARN_ON
  sleep_in_atomic,     ///< might_sleep in a context that may not
  schedule_in_atomic,  ///< schedule() in atomic context
  context_imbalance,   ///< a preempt, bh, irq or RCU section was left more often than entered
  spinlock_misuse,     ///< recursion, unlock by another, unlock of a free lock
  mutex_misuse,        ///< recursion, unlock by another task, wrong context
  lock_order,          ///< lock validator: locks are taken in orders that can deadlock
  lock_irq_state,      ///< lock validator: an interrupt can wait for a lock that it halted
  lock_validator_off,  ///< advice: the lock validator has come to a limit, and looks no further
  rcu_misuse,          ///< see rcupdate.hpp
  rcu_stall,           ///< advice: a reader holds up a grace period
  hung_task,           ///< advice: an unbounded wait takes too long
  irq_nobody_cared,    ///< a line that no handler claims
  fence_misuse,        ///< see dma_fence.hpp
  fence_overdue,       ///< advice: the fence watchdog
};

/// Advice ("INFO: ...") says that something takes long, not that it is wrong: it never aborts.
/// Context: any.
[[nodiscard]] constexpr bool report_is_advice(report_kind kind) noexcept {
  return kind == report_kind::rcu_stall || kind == report_kind::hung_task ||
         kind == report_kind::fence_overdue || kind == report_kind::lock_validator_off;
}

/// What a handler sees. Lifetime: the call.
struct report {
  report_kind kind;
  const char* text;  ///< the whole report, lines ended by '\n', terminated
  std::size_t size;
  void* const* frames;  ///< return addresses, innermost first
  std::size_t frame_count;
};

using report_handler = void (*)(const report& what, void* cookie) noexcept;

/// Sets what is done with reports. Context: any.
INTERLOCK_API void set_report_action(report_action action) noexcept;

/// Sets the handler and makes it the action; null restores the option's action. The handler runs in
/// the context that broke the contract (NMI included), and must be as careful as that demands. It
/// is never entered twice at a time: a report made inside it goes to the console, bare.
/// Lifetime: on return no other thread is in the old handler.
/// Context: task.
INTERLOCK_API void set_report_handler(report_handler handler, void* cookie) noexcept;

/// Reports made since the program began, printed or not. Context: any.
[[nodiscard]] INTERLOCK_API std::uint64_t report_count() noexcept;

/// Text assembled without allocation; what does not fit is cut and marked. Context: any.
/// Some 4 KB: enough for a headline, small enough for the stack of a handler.
class INTERLOCK_API report_text {
 public:
  report_text() noexcept : text_{own_}, capacity_{sizeof own_} { own_[0] = '\0'; }
  /// Writes into `buffer`, which outlives the text and holds at least 16 bytes.
  report_text(char* buffer, std::size_t capacity) noexcept : text_{buffer}, capacity_{capacity} {
    buffer[0] = '\0';
  }
  report_text(const report_text&) = delete;
  report_text& operator=(const report_text&) = delete;

  report_text& operator<<(const char* text) noexcept;
  report_text& operator<<(char c) noexcept;
  report_text& operator<<(int number) noexcept;
  report_text& operator<<(unsigned number) noexcept;
  report_text& operator<<(long number) noexcept;
  report_text& operator<<(unsigned long number) noexcept;
  report_text& operator<<(location where) noexcept;                          ///< "file:line"
  report_text& hex(std::uint64_t number, unsigned min_digits = 1) noexcept;  ///< digits only

  [[nodiscard]] const char* c_str() const noexcept { return text_; }
  [[nodiscard]] std::size_t size() const noexcept { return size_; }

 private:
  void append(const char* text, std::size_t count) noexcept;
  void append_number(std::uint64_t magnitude, bool negative) noexcept;

  char* text_;
  std::size_t capacity_;
  std::size_t size_ = 0;
  char own_[4000];
};

/// A paragraph that an upper layer adds to each report: held locks, the current task, ...
/// Static; registered once with `add_report_section`. `print` runs in the reporting context.
struct report_section {
  void (*print)(report_text& out) noexcept;
  report_section* next;
};
/// Context: any.
INTERLOCK_API void add_report_section(report_section& section) noexcept;

/// Ends `headline` with the sections and the stack, and acts on it. Returns unless the action is
/// abort. Context: any, NMI included; a report inside a report is printed bare.
INTERLOCK_API void submit_report(report_kind kind, report_text& headline) noexcept;
INTERLOCK_API void submit_report(report_kind kind, const char* headline) noexcept;

/// As above with a stack that was captured elsewhere (a stalled reader's).
INTERLOCK_API void submit_report(report_kind kind, report_text& headline, void* const* frames,
                                 std::size_t frame_count) noexcept;

/// For misuse after which nothing can go on: prints, tells a handler, then ends the process,
/// whatever the action. Context: any, NMI included.
[[noreturn]] INTERLOCK_API void submit_fatal_report(report_kind kind,
                                                    report_text& headline) noexcept;
[[noreturn]] INTERLOCK_API void bug_at(const char* condition, location where) noexcept;
INTERLOCK_API void warn_at(const char* condition, location where) noexcept;

}  // namespace interlock::inline INTERLOCK_PLATFORM

/// Ends the process if `condition` holds: going on would destroy data. On in release builds.
#define INTERLOCK_BUG_ON(condition)                                      \
  do {                                                                   \
    if (condition) [[unlikely]]                                          \
      ::interlock::bug_at(#condition, ::interlock::location::current()); \
  } while (false)

/// Reports if `condition` holds and yields it: `if (INTERLOCK_WARN_ON(x)) return ...`.
#define INTERLOCK_WARN_ON(condition) \
  ((condition) ? (::interlock::warn_at(#condition, ::interlock::location::current()), true) : false)
