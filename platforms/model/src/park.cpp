// SPDX-License-Identifier: Apache-2.0

/// Blocking on a word, and the clock: the machine's.

#include "interlock_platform/park.hpp"

#include "interlock_platform/machine.h"

namespace interlock::inline INTERLOCK_PLATFORM::platform {
namespace {

static_assert(sizeof(atomic<std::uint32_t>) == sizeof(std::uint32_t));
static_assert(static_cast<int>(park_result::woken) == interlock_machine_woken);
static_assert(static_cast<int>(park_result::value_changed) == interlock_machine_value_changed);
static_assert(static_cast<int>(park_result::timed_out) == interlock_machine_timed_out);

const std::uint32_t* plain(const atomic<std::uint32_t>& word) noexcept {
  return reinterpret_cast<const std::uint32_t*>(&word);
}

}  // namespace

park_result park(const atomic<std::uint32_t>& word, std::uint32_t expected, deadline until,
                 park_scope /*scope*/, deadline_kind kind) noexcept {
  return static_cast<park_result>(interlock_machine_park(
      plain(word), expected, until.time_since_epoch().count(), kind == deadline_kind::watchdog));
}

unsigned unpark(const atomic<std::uint32_t>& word, unsigned count, park_scope /*scope*/) noexcept {
  return interlock_machine_unpark(plain(word), count);
}

deadline now() noexcept { return deadline{ktime{interlock_machine_now()}}; }

}  // namespace interlock::inline INTERLOCK_PLATFORM::platform
