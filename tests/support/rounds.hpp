// SPDX-License-Identifier: Apache-2.0
#pragma once

/// How often a test repeats a race: natively, and on the simulated machine.

#include <climits>

namespace interlock::test {

#if defined(INTERLOCK_TEST_IS_EXPLORED)
inline constexpr bool is_explored = true;
#else
inline constexpr bool is_explored = false;
#endif

/// On real threads as often as it takes to meet the interleavings that matter. The simulated machine chooses them, and runs the
/// test many times: there `explored` is enough, for instance one for each case that the rounds take in turn.
consteval int rounds(int native, int explored = 3) { return is_explored ? explored : native; }

/// How often a thread repeats what it does until it is told to stop. The simulated machine is not fair to the others.
inline constexpr int endless = rounds(INT_MAX, 20);

}  // namespace interlock::test
