// SPDX-License-Identifier: Apache-2.0
#pragma once

/// Blocking on a word, and the clock. See platforms/README.md.

#include <cstdint>

#include "interlock/atomic.hpp"
#include "interlock/time.hpp"
#include "interlock_platform/machine.h"
#include "interlock_platform/platform.hpp"

namespace interlock::inline INTERLOCK_PLATFORM::platform {

enum class park_scope {
  process,
  shared,  ///< the word lies in memory that could be shared between processes: here the same
};

enum class park_result {
  woken,          ///< by unpark, or spuriously
  value_changed,  ///< the word did not hold `expected`; nothing was waited for
  timed_out,
};

/// Whose deadline it is.
enum class deadline_kind {
  timeout,   ///< somebody asked for it: it may pass at any step
  watchdog,  ///< the library's own: it passes only when nothing else can run
};

/// Blocks while `word == expected`, until `unpark` or `until`. Never wakes spuriously, though callers
/// test again.
/// Order:   what happened before the unpark that ended it. Context: any that may sleep.
INTERLOCK_API park_result park(const atomic<std::uint32_t>& word, std::uint32_t expected,
                               deadline until, park_scope scope = park_scope::process,
                               deadline_kind kind = deadline_kind::timeout) noexcept;

/// A CPU that parks goes over to another task, which an interrupt or an atomic section must not.
inline constexpr bool atomic_may_park = false;

/// Wakes up to `count` of those parked on `word`. The word need not exist any more.
/// Context: any. Returns how many were woken.
INTERLOCK_API unsigned unpark(const atomic<std::uint32_t>& word, unsigned count,
                              park_scope scope = park_scope::process) noexcept;

inline constexpr unsigned unpark_all = 0x7fffffff;

/// Offers the CPU to its other tasks. Context: any.
inline void yield() noexcept { interlock_machine_yield(); }

/// The machine's clock: it goes on when a deadline passes. Context: any.
[[nodiscard]] INTERLOCK_API deadline now() noexcept;

}  // namespace interlock::inline INTERLOCK_PLATFORM::platform
