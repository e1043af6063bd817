// SPDX-License-Identifier: Apache-2.0
#pragma once

/// What a run cost: numbers that were counted where the things happened, summed over the timelines.

#include <cstddef>
#include <cstdint>

#include "interlock/time.hpp"

namespace interlock::cli {

struct wake_counts {
  std::uint64_t all = 0;
  std::uint64_t on_link = 0;  ///< of these, for a stage to be done that the next one follows
};

struct run_counts {
  ktime elapsed{};
  std::uint64_t chunks = 0;
  std::uint64_t bytes_in = 0;
  std::uint64_t bytes_out = 0;

  std::uint64_t fences_made = 0;
  std::uint64_t fences_armed = 0;
  std::uint64_t interrupts = 0;
  std::uint64_t memory_waits = 0;
  std::uint64_t callback_waits = 0;

  wake_counts submitter;
  wake_counts engines;
  wake_counts files;

  std::size_t pool_bytes = 0;  ///< of the slots
};

}  // namespace interlock::cli
