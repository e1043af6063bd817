// SPDX-License-Identifier: Apache-2.0
#pragma once

/// Reports of broken RCU contracts, and the table that finds a head which is queued twice.

#include "interlock/rcupdate.hpp"

namespace interlock::inline INTERLOCK_PLATFORM::detail {

/// "WARNING: suspicious RCU usage", with `where: what`.
void report_suspicious(location where, const char* what) noexcept;

void report_unlock_underflow() noexcept;
void report_exit_in_reader() noexcept;
void report_fork_in_reader() noexcept;
void report_null_callback(const rcu_head& head) noexcept;

/// What a callback must leave as it found it.
struct context_snapshot {
  std::uint32_t interrupt_count;
  std::uint32_t preempt_depth;
  std::uint32_t irqs_off;
  std::uint32_t rcu_nesting;
  friend bool operator==(const context_snapshot&, const context_snapshot&) noexcept = default;
};
[[nodiscard]] context_snapshot take_context_snapshot() noexcept;

/// Reports that `func` left the context different from `before`, and puts it back.
void report_unbalanced_callback(void (*func)(rcu_head*), const context_snapshot& before) noexcept;

/// Whether heads are checked: unknown until somebody asks.
enum class head_checking : std::uint32_t { unknown, on, off };
extern constinit atomic<std::uint32_t> head_checking_word;

[[nodiscard]] inline bool heads_are_surely_unchecked() noexcept {
  return head_checking_word.load_relaxed() == static_cast<std::uint32_t>(head_checking::off);
}

[[nodiscard]] bool note_queued_slow(const rcu_head& head) noexcept;
void note_invoked_slow(const rcu_head& head) noexcept;

/// Notes that `head` is queued. False, and reported, if it was queued already.
/// Context: any but NMI. The table has room for most programs; what does not fit is not checked.
[[nodiscard]] inline bool note_queued(const rcu_head& head) noexcept {
  return heads_are_surely_unchecked() || note_queued_slow(head);
}
/// Notes that it is not queued any more.
inline void note_invoked(const rcu_head& head) noexcept {
  if (!heads_are_surely_unchecked()) note_invoked_slow(head);
}

/// In the child of a fork: forgets all; then what is queued there is noted again.
void forget_queued() noexcept;

}  // namespace interlock::inline INTERLOCK_PLATFORM::detail
