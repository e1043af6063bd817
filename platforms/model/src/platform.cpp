// SPDX-License-Identifier: Apache-2.0

/// The tag by which objects built for this platform link with this platform's library only.
///
/// Of the whole folder: no file but instrumented/visible.cpp is instrumented. The machine takes the CPU away only
/// where it is called, so what such a file does between two calls of `interlock_machine_*`,
/// `visible_*` or malloc happens at once: no other flow, no interrupt comes between, and plain data
/// need no lock. What orders the data of the core, or decides what it does next, is a visible access.
/// These files are always optimised: an inline function of a shared header (of `atomic`) that was
/// left as a function here could be the copy that the linker keeps for the instrumented objects too.

#include "interlock_platform/platform.hpp"

// The address is all that matters.
const char interlock_platform_model = 1;
