// SPDX-License-Identifier: Apache-2.0
#pragma once

/// What happened in a run, for a trace: the jobs of each timeline, and what the submitting thread
/// did.

#include <cstdint>
#include <string>
#include <vector>

#include "interlock/dma_fence.hpp"
#include "interlock/time.hpp"

namespace interlock::cli {

/// A fence by its global name.
struct fence_key {
  std::uint64_t context = 0;
  std::uint64_t seqno = 0;
};
[[nodiscard]] inline fence_key key_of(const dma_fence& fence) noexcept {
  return {fence.context, fence.seqno};
}

struct run_record {
  struct span {
    std::string name;
    deadline begin{};
    deadline end{};
    std::uint64_t chunk = 0;
    std::int64_t bytes = 0;          ///< of jobs; or -errno
    fence_key makes{};               ///< context 0: none
    std::vector<fence_key> follows;  ///< what it could not begin without
  };
  struct track {
    std::string name;
    std::vector<span> spans;  ///< in order of time
  };

  /// The submitting thread first, then the timelines in order of the stages.
  std::vector<track> tracks;
};

}  // namespace interlock::cli
