// SPDX-License-Identifier: Apache-2.0
#pragma once

/// A queue of the software device.

#include <memory>

#include "interlock/device/job_server.hpp"
#include "interlock/device/ring_queue.hpp"

namespace interlock::inline INTERLOCK_PLATFORM::engine {

/// Invariant: one job at a time runs, on the thread of the server.
class queue final : public ring_queue {
 public:
  [[nodiscard]] static result<std::unique_ptr<device_queue>> open(
      const device_queue_options& options) noexcept;
  ~queue() override;

 private:
  job_server* server_ = nullptr;
};

}  // namespace interlock::inline INTERLOCK_PLATFORM::engine
