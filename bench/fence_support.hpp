// SPDX-License-Identifier: Apache-2.0
#pragma once

/// Fences and timelines for the programs that measure them.

#include <cstdlib>
#include <new>

#include "interlock/seqno_fence.hpp"

namespace suite {

inline const char* name_of_fence(interlock::dma_fence*) { return "bench"; }
inline constexpr interlock::dma_fence_ops fence_ops{name_of_fence, name_of_fence, nullptr, nullptr,
                                                    nullptr,       nullptr,       nullptr};

inline const char* name_of_timeline(interlock::seqno_timeline*) { return "bench"; }
inline bool arm_timeline(interlock::seqno_timeline*) { return true; }
inline constexpr interlock::seqno_timeline_ops timeline_ops{
    name_of_timeline, name_of_timeline, arm_timeline, nullptr, nullptr, nullptr, nullptr};

inline interlock::ref_ptr<interlock::dma_fence> make_fence(std::uint32_t flags = 0) {
  void* const memory = std::malloc(sizeof(interlock::dma_fence));
  return interlock::ref_ptr<interlock::dma_fence>::adopt(
      new (memory) interlock::dma_fence{fence_ops, 1, 1, flags});
}

inline interlock::ref_ptr<interlock::seqno_timeline> make_timeline() {
  return interlock::make_seqno_timeline(timeline_ops, nullptr,
                                        interlock::make_seqno_buffer(1).value(), 0)
      .value();
}

}  // namespace suite
