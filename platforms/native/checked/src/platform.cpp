// SPDX-License-Identifier: Apache-2.0

/// The tag by which objects built for the checked platform link with its library only.

#include "interlock_platform/platform.hpp"

// The address is all that matters.
const char interlock_platform_native_checked = 1;
