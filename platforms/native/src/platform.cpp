// SPDX-License-Identifier: Apache-2.0

/// The tag by which objects built for this platform link with this platform's library only.

#include "interlock_platform/platform.hpp"

// The address is all that matters.
const char interlock_platform_native = 1;
