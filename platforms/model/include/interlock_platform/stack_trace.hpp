// SPDX-License-Identifier: Apache-2.0
#pragma once

/// Stacks, for reports.

#include <cstddef>
#include <cstdint>

#include "interlock_platform/machine.h"
#include "interlock_platform/platform.hpp"

namespace interlock::inline INTERLOCK_PLATFORM::platform {

/// Captures the caller's return addresses, innermost first. Inlined at -O0 too: the first frame lies
/// in the caller. Context: any, NMI included.
[[gnu::always_inline]] inline std::size_t capture_stack(void** frames,
                                                        std::size_t capacity) noexcept {
  return interlock_machine_stack(frames, capacity);
}

/// A halted CPU's stack stands in the trace of the machine.
inline std::size_t capture_remote_stack(std::uint32_t, void**, std::size_t) noexcept { return 0; }

/// Writes "function (file.cpp:34)" about a frame; terminated. The machine allocates elsewhere.
inline void describe_address(void* address, bool /*may_allocate*/, char* buffer,
                             std::size_t size) noexcept {
  interlock_machine_describe(address, buffer, size);
}

/// Adds to the report of the execution. Context: any.
inline void console_write(const char* text, std::size_t size) noexcept {
  interlock_machine_console(text, size);
}

/// Ends the execution as a bug does. Context: any.
[[noreturn]] INTERLOCK_API void die() noexcept;

}  // namespace interlock::inline INTERLOCK_PLATFORM::platform
