// SPDX-License-Identifier: Apache-2.0
#pragma once

/// Stacks, for reports.

#include <cstddef>
#include <cstdint>

#include "interlock_platform/platform.hpp"

namespace interlock::inline INTERLOCK_PLATFORM::platform {

/// Captures the caller's return addresses, innermost first, without allocating.
/// Context: any, NMI included. Returns how many were written.
INTERLOCK_API std::size_t capture_stack(void** frames, std::size_t capacity) noexcept;

/// Captures the stack of CPU `id` by a non-maskable interrupt; 0 if it does not answer within
/// 100 ms. Context: task. One capture at a time; others wait.
INTERLOCK_API std::size_t capture_remote_stack(std::uint32_t id, void** frames,
                                               std::size_t capacity) noexcept;

/// Writes "function+0x12 (file.cpp:34)" or the best that is known about `address`; terminated.
/// With libdw on the system (loaded on need) lines are named; without, symbols; without, offsets.
/// Context: task may name lines; in interrupt context only module and offset are written, because
///          the rest is not async-signal-safe. `may_allocate` says which.
INTERLOCK_API void describe_address(void* address, bool may_allocate, char* buffer,
                                    std::size_t size) noexcept;

/// Writes to the report stream (standard error). Context: any. Never fails loudly.
INTERLOCK_API void console_write(const char* text, std::size_t size) noexcept;

/// Ends the process as a bug does (SIGABRT). Context: any.
[[noreturn]] INTERLOCK_API void die() noexcept;

}  // namespace interlock::inline INTERLOCK_PLATFORM::platform
