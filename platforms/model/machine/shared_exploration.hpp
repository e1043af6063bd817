// SPDX-License-Identifier: Apache-2.0
#pragma once

/// What the processes that share the explorations of a test tell each other, in a mapped file: the machine in them, and
/// `interlock check`, which includes this header and nothing else of the machine.

#include <atomic>
#include <cstddef>
#include <cstdint>

namespace interlock::machine {

/// As many as fit the page, in the order of the explorations of the process.
struct shared_exploration {
  std::atomic<std::uint64_t> began;       ///< CLOCK_MONOTONIC in ns; 0: not yet
  std::atomic<std::uint64_t> sampled;     ///< executions of the samplers
  std::atomic<std::uint64_t> executions;  ///< all
  std::atomic<std::uint64_t> depth;
  std::atomic<std::uint64_t>
      searched;                      ///< millionths of the exhaustive search, estimated; 0: unknown
  std::atomic<std::uint64_t> ended;  ///< 0: not yet; 1: it has; 2 + n: process n has seen it fail
  std::atomic<std::uint64_t> divides;  ///< 1: processes that are granted to the search, it starts
  std::atomic<std::uint64_t> granted;  ///< so many beside the first
};
static_assert(sizeof(shared_exploration) == 64);

inline constexpr std::size_t shared_page_size = 4096;
inline constexpr std::size_t shared_explorations = shared_page_size / sizeof(shared_exploration);

}  // namespace interlock::machine
