// SPDX-License-Identifier: Apache-2.0
#pragma once

/// What a thread holds, and in which context it is.

#include <cstddef>
#include <cstdint>

#include "lock_graph.hpp"

namespace interlock::inline INTERLOCK_PLATFORM::platform::validator {

inline constexpr std::size_t held_max = 48;

/// Bits of preempt_count; the core's words hold them, and are what masks (platforms/README.md).
namespace context_bits {
inline constexpr std::uint32_t serving_softirq = 0x0000'0100u, softirq_disabled = 0x0000'0200u,
                               softirq = 0x0000'ff00u, hardirq = 0x000f'0000u, nmi = 0x00f0'0000u;
}

struct held_lock {
  const void* lock;
  class_index index;      ///< 0: it has none, or is not entered whole yet
  std::uint32_t context;  ///< 0: task, else bits: softirq 1, hardirq 2, NMI 4
  bool attempt;
  location where;
};

/// Touched by its thread, and by handlers on it, only. A handler leaves what it found.
struct held_locks {
  atomic<std::uint32_t> owner;  ///< 0: free; else the id that the thread had when it took it
  std::uint32_t depth;
  held_lock list[held_max];
};

/// Says what is wrong with `lock`, of which the story tells. Nothing is held that a reporter could want.
void tell(const story& s, const held_locks& held, const void* lock, location where,
          void* caller) noexcept;
void tell_limit(const char* limit, void* caller) noexcept;

}  // namespace interlock::inline INTERLOCK_PLATFORM::platform::validator
