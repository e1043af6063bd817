// SPDX-License-Identifier: Apache-2.0

#include "dma_engine/hardware.hpp"

#include <cstring>

namespace dma {

void play_channel(ring& shared, irq_line& line, doorbell_register& doorbell) noexcept {
  std::uint32_t finished = 0;
  for (std::uint32_t told = 0; (told = doorbell.wait(told)) != doorbell_register::gone;) {
    while (finished != told) {
      const descriptor& d = shared.descriptors[finished % shared.depth];
      std::memcpy(d.to, d.from, d.size);
      finished = ring::next(finished);
      shared.finished.store_release(finished);
      raise_irq(line);
    }
  }
}

}  // namespace dma
