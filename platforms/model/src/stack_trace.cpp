// SPDX-License-Identifier: Apache-2.0

/// The end of an execution by the program's own will.

#include "interlock_platform/stack_trace.hpp"

namespace interlock::inline INTERLOCK_PLATFORM::platform {

void die() noexcept { interlock_machine_fail("BUG: the program ended itself (platform::die)"); }

}  // namespace interlock::inline INTERLOCK_PLATFORM::platform
