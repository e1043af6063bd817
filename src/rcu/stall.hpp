// SPDX-License-Identifier: Apache-2.0
#pragma once

/// Readers that hold up a grace period for too long.

#include "interlock/time.hpp"
#include "interlock_platform/platform.hpp"

namespace interlock::inline INTERLOCK_PLATFORM::detail {

/// Reports when a grace period has lasted for `rcu_stall_ms`, and again after three times as long,
/// and so on. One for each grace period; the leader asks it each time it naps.
class stall_watch {
 public:
  void check(deadline now, std::uint64_t target) noexcept;

 private:
  deadline began_ = no_deadline;
  deadline next_ = no_deadline;
  ktime interval_{};
};

}  // namespace interlock::inline INTERLOCK_PLATFORM::detail
