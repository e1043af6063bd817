// SPDX-License-Identifier: Apache-2.0
#pragma once

/// The hardware: one channel of an engine that copies memory. Played by a function, see
/// interlock/device/simulated_device.hpp.

#include <cstdint>

#include "interlock/device/simulated_device.hpp"
#include "interlock/interlock.hpp"

namespace dma {

using namespace interlock;

/// One copy. The engine reads it, and what it names, from the doorbell on until it counts it as finished.
struct descriptor {
  const std::byte* from;
  std::byte* to;
  std::uint32_t size;
};

/// What driver and engine share: descriptors by their number modulo `depth`.
struct ring {
  static constexpr std::uint32_t most = 8;
  /// Numbers stay below the value that a doorbell reads when the device is gone.
  static constexpr std::uint32_t numbers = 0x8000'0000u;
  static constexpr std::uint32_t next(std::uint32_t n) noexcept { return (n + 1) % numbers; }

  descriptor descriptors[most];
  std::uint32_t depth = most;         ///< a power of two
  atomic<std::uint32_t> finished{0};  ///< the engine's: how many it has copied
};

/// Plays the channel: its doorbell is told how many descriptors there are; it copies them in order,
/// counts each, and raises its line.
void play_channel(ring& shared, irq_line& line, doorbell_register& doorbell) noexcept;

}  // namespace dma
