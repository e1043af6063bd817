// SPDX-License-Identifier: Apache-2.0
#pragma once

/// A `device_queue` over a job ring: derive from it, set the ring, add what is the device's own.

#include "interlock/device/job_ring.hpp"

namespace interlock::inline INTERLOCK_PLATFORM {

/// Lives in the provider, not in the core library, which is free of vtables.
/// Invariant: `ring_` is set before the queue is given to its owner.
class ring_queue : public device_queue {
 public:
  /// Context: task.
  [[nodiscard]] result<ref_ptr<dma_fence>> submit(job& j) noexcept override {
    return job_ring_submit(*ring_, j);
  }
  /// Context: task.
  void cancel_all(error e) noexcept override { job_ring_cancel(*ring_, e); }
  /// Context: task.
  [[nodiscard]] result<void> inject(const device_fault& fault) noexcept override {
    return job_ring_inject(*ring_, fault);
  }
  /// Context: any.
  [[nodiscard]] seqno_timeline& timeline() noexcept override { return job_ring_timeline(*ring_); }
  /// Context: task.
  [[nodiscard]] device_queue_statistics statistics() const noexcept override {
    return job_ring_statistics(*ring_);
  }

 protected:
  ring_queue() = default;
  job_ring* ring_ = nullptr;
};

}  // namespace interlock::inline INTERLOCK_PLATFORM
