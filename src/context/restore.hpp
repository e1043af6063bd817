// SPDX-License-Identifier: Apache-2.0
#pragma once

/// Mends the context after code that has left it unbalanced.

#include "interlock/preempt.hpp"

namespace interlock::inline INTERLOCK_PLATFORM::detail {

/// Sets preempt_count to what it was before, and announces each level that is taken or given back.
/// Context: any.
inline void restore_preempt_count(std::uint32_t wanted) noexcept {
  atomic<std::uint32_t>& depth = platform::this_task().preempt_depth;
  const std::uint32_t wanted_depth = wanted & preempt_mask;
  for (std::uint32_t now = depth.load_relaxed(); now < wanted_depth; ++now)
    platform::event::context_enter(preempt_offset);
  for (std::uint32_t now = depth.load_relaxed(); now > wanted_depth; --now)
    platform::event::context_exit(preempt_offset);
  depth.store_relaxed(wanted_depth);

  atomic<std::uint32_t>& count = platform::this_cpu().interrupt_count;
  const std::uint32_t wanted_count = wanted & ~preempt_mask;
  const auto settle = [&](std::uint32_t level, std::uint32_t mask) {
    const std::uint32_t there = wanted_count & mask;
    for (std::uint32_t now = count.load_relaxed(); (now & mask) < there; now += level) {
      platform::event::context_enter(level);
      count.store_relaxed(now + level);
    }
    for (std::uint32_t now = count.load_relaxed(); (now & mask) > there; now -= level) {
      platform::event::context_exit(level);
      count.store_relaxed(now - level);
    }
  };
  settle(softirq_offset, softirq_offset);
  settle(softirq_disable_offset, softirq_mask & ~softirq_offset);
  settle(hardirq_offset, hardirq_mask);
  settle(nmi_offset, nmi_mask);
}

}  // namespace interlock::inline INTERLOCK_PLATFORM::detail
