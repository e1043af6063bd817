// SPDX-License-Identifier: Apache-2.0
#pragma once

/// `completion`: a count of events that tasks wait for. Source: Linux
/// Documentation/scheduler/completion.rst (semantics).
///
/// Unlike `std::latch` it can be completed from an interrupt handler and destroyed by the waiter as
/// soon as `wait` returns.
/// Ordering: what happened before `complete` is visible after the `wait` that it ended.

#include "interlock/wait_queue.hpp"

namespace interlock::inline INTERLOCK_PLATFORM {

struct completion {
  /// Nothing is complete. The class of its lock is its declaration, see lock_class.hpp.
  /// Context: any but NMI.
  template <class Here = decltype([] {})>
  INTERLOCK_ALWAYS_INLINE constexpr completion(declared_at here = declared_at::current()) noexcept
      : wq_{declaration<Here>{}, here.where(), "wait"} {}
  completion(const completion&) = delete;
  completion& operator=(const completion&) = delete;

  /// Lets one waiter pass, now or later. Context: any but NMI.
  INTERLOCK_API void complete() noexcept;
  /// Lets all pass for ever (until `reinit`). Context: any but NMI.
  INTERLOCK_API void complete_all() noexcept;

  /// Context: task, may sleep. A wait that passes uses up one `complete`.
  INTERLOCK_API void wait(location where = location::current()) noexcept;
  [[nodiscard]] INTERLOCK_API bool wait_until(deadline until,
                                              location where = location::current()) noexcept;
  [[nodiscard]] INTERLOCK_API result<void> wait_interruptible(
      deadline until = no_deadline, location where = location::current()) noexcept;
  [[nodiscard]] INTERLOCK_API result<void> wait_killable(
      deadline until = no_deadline, location where = location::current()) noexcept;

  /// Uses up one `complete` if there is one. Context: any but NMI.
  [[nodiscard]] INTERLOCK_API bool try_wait() noexcept;
  /// True if a wait would pass; then no `complete` that made it so is inside the object any more,
  /// so that it may be destroyed. Context: any but NMI.
  [[nodiscard]] INTERLOCK_API bool done() const noexcept;
  /// Back to 0. Pre: nobody waits.
  /// Context: any; nobody waits.
  void reinit() noexcept { done_.store_relaxed(0); }

 private:
  static constexpr std::uint32_t all = 0x7fff'ffffu;

  void add(std::uint32_t count, unsigned wakes) noexcept;
  bool take() noexcept INTERLOCK_REQUIRES(wq_.lock);
  result<void> wait_for_event(task_state state, deadline until, location where) noexcept;

  mutable wait_queue wq_;
  atomic<std::uint32_t> done_{0};  ///< written under wq_.lock
};

}  // namespace interlock::inline INTERLOCK_PLATFORM
