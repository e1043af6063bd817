// SPDX-License-Identifier: Apache-2.0
#pragma once

/// Blocking on a word, and the clock. See platforms/README.md.

#include <cstdint>

#include "interlock/atomic.hpp"
#include "interlock/time.hpp"
#include "interlock_platform/platform.hpp"

namespace interlock::inline INTERLOCK_PLATFORM::platform {

enum class park_scope {
  process,  ///< parked and woken by threads of this process
  shared,   ///< the word lies in memory shared between processes
};

enum class park_result {
  woken,          ///< by unpark, or spuriously
  value_changed,  ///< the word did not hold `expected`; nothing was waited for
  timed_out,
};

/// Whose deadline it is. A platform with a clock of its own lets it pass accordingly; natively both
/// are the same.
enum class deadline_kind {
  timeout,   ///< somebody asked for it: it passes whatever else goes on
  watchdog,  ///< the library's own look whether all is well, or that tries again: what it waits for
             ///< comes by itself, unless something is wrong
};

/// Blocks while `word == expected`, until `unpark` or `until`. May return `woken` spuriously (a
/// signal handler that ran can be such a case): the caller tests its condition again. A handler on
/// the parked thread itself ends the wait by changing the word, which is tested again after it.
/// Order:   the test of the word and the enqueueing are atomic against unpark; callers order their
///          own data by accesses to the word.
/// Context: any; it is one system call, and async-signal-safe.
INTERLOCK_API park_result park(const atomic<std::uint32_t>& word, std::uint32_t expected,
                               deadline until, park_scope scope = park_scope::process,
                               deadline_kind kind = deadline_kind::timeout) noexcept;

/// A handler, or a thread in an atomic section, may park: the threads it waits for have stacks of their
/// own.
inline constexpr bool atomic_may_park = true;

/// Wakes up to `count` of those parked on `word`. The word need not exist any more.
/// Context: any; one system call, async-signal-safe. Returns how many were woken.
INTERLOCK_API unsigned unpark(const atomic<std::uint32_t>& word, unsigned count,
                              park_scope scope = park_scope::process) noexcept;

inline constexpr unsigned unpark_all = 0x7fffffff;

/// Lets another thread of this processor run. Context: any.
INTERLOCK_API void yield() noexcept;

/// The monotonic clock. Context: any.
[[nodiscard]] INTERLOCK_API deadline now() noexcept;

}  // namespace interlock::inline INTERLOCK_PLATFORM::platform
