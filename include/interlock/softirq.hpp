// SPDX-License-Identifier: Apache-2.0
#pragma once

/// Softirqs: work that interrupt handlers leave for the moment after them, still ahead of tasks.
///
/// A raised softirq runs on the CPU that raised it: at the end of the outermost interrupt, when
/// bottom halves or interrupts are enabled again, or at once if raised in plain task context. It
/// runs in softirq context with interrupts on, so hard interrupts nest on top of it. After 10
/// rounds or 2 ms in a row the rest is deferred: the halted task goes on, and the CPU is
/// interrupted again about 1 ms later. (The kernel's ksoftirqd would be another CPU here, which
/// local_bh_disable could not exclude.)

#include "interlock/bottom_half.hpp"
#include "interlock/result.hpp"

namespace interlock::inline INTERLOCK_PLATFORM {

/// A vector number, 0 (served first) to 31.
enum class softirq : std::uint32_t {};

/// Reserves a free vector for `action(cookie)`, which MUST NOT sleep or throw. Vectors are few: drivers share one and keep queues.
/// Errors: no_space_on_device (all 32 are taken). Context: task. For the life of the process.
[[nodiscard]] INTERLOCK_API result<softirq> open_softirq(const char* name, void (*action)(void*),
                                                         void* cookie) noexcept;

/// Raises it on this CPU. Context: any but NMI; async-signal-safe.
INTERLOCK_API void raise_softirq(softirq vector) noexcept;

struct softirq_statistics {
  std::uint64_t raised;
  std::uint64_t served;
  std::uint64_t deferred;  ///< times that a CPU's load was deferred, all vectors
};
/// Context: any.
[[nodiscard]] INTERLOCK_API softirq_statistics softirq_get_statistics() noexcept;

}  // namespace interlock::inline INTERLOCK_PLATFORM
