// SPDX-License-Identifier: Apache-2.0
#pragma once

/// How often a test repeats a race.

#include <climits>

namespace interlock::test {

/// On real threads as often as it takes to meet the interleavings that matter. The simulated machine chooses them, and runs the
/// test many times: there `explored` is enough, for instance one for each case that the rounds take in turn.
consteval int rounds([[maybe_unused]] int native, [[maybe_unused]] int explored = 3) {
#if defined(INTERLOCK_TEST_IS_EXPLORED)
  return explored;
#else
  return native;
#endif
}

/// How often a thread repeats what it does until it is told to stop. The simulated machine is not fair to the others.
inline constexpr int endless = rounds(INT_MAX, 20);

}  // namespace interlock::test
