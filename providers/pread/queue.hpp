// SPDX-License-Identifier: Apache-2.0
#pragma once

/// A queue of file operations that a thread does one after another.

#include <memory>

#include "interlock/device/job_server.hpp"
#include "interlock/device/ring_queue.hpp"

namespace interlock::inline INTERLOCK_PLATFORM::pread_files {

/// How the thread blocks in the system and is called out of it.
/// Ordering: [B1] the thread says that it blocks, then looks whether it is cancelled; [B2] a cancel
///   marks the job, then looks whether the thread blocks. Full barriers between: one sees the
///   other.
struct blocking_point {
  int bell_fd = -1;  ///< an event descriptor, polled beside the file
  atomic<std::uint32_t> blocked{0};
};

/// The work of one job of kind read, write or sync: bytes, or -errno. Ends soon after a cancel.
[[nodiscard]] std::int64_t transfer(blocking_point& at, const job_entry& entry) noexcept;

class queue final : public ring_queue {
 public:
  [[nodiscard]] static result<std::unique_ptr<device_queue>> open(
      const device_queue_options& options) noexcept;
  ~queue() override;

 private:
  static std::int64_t perform(void* device, job_entry& entry);
  static void interrupt(void* device);

  job_server* server_ = nullptr;
  blocking_point point_;
};

}  // namespace interlock::inline INTERLOCK_PLATFORM::pread_files
