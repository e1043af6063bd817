// SPDX-License-Identifier: Apache-2.0
#pragma once

/// A queue of operations on an io_uring.
///
/// Its thread is part of the device. It sleeps in one place, in the ring: there it hears of
/// completed operations and of the bell, which is rung by new jobs, by words in memory that have
/// passed (`seqno_event_arm`), by fences' callbacks and by cancels.
///
/// Invariants: I1. Operations are in the kernel in any order; the job ring completes them in order.
///   I2. A job is finished only when the kernel has let go of its buffer. I3. Of the operations at
///   a file's own position one is in the kernel; `sync` is there alone with later ones. I4. At most
///   one operation is held, and no job starts meanwhile.

#include <memory>

#include "interlock/completion.hpp"
#include "interlock/device/ring_queue.hpp"
#include "kernel_ring.hpp"
#include "operation.hpp"

namespace interlock::inline INTERLOCK_PLATFORM::uring {

class queue final : public ring_queue {
 public:
  [[nodiscard]] static result<std::unique_ptr<device_queue>> open(
      const device_queue_options& options) noexcept;
  ~queue() override;

 private:
  static constexpr std::size_t operations_max = 64;

  result<void> start_thread(const device_queue_options& options) noexcept;
  int serve() noexcept;

  void reap() noexcept;
  void cancel_marked() noexcept;
  job_ring_sleep start_jobs() noexcept;

  operation* idle_operation() noexcept;
  [[nodiscard]] bool may_begin(const operation& op) const noexcept;
  void begin(operation& op) noexcept;
  void submit_operation(operation& op) noexcept;
  void end(operation& op, std::int64_t outcome) noexcept;

  kernel_ring kernel_;
  kthread thread_;
  ring_features wanted_;
  completion started_;
  result<void> start_outcome_;

  // The thread's.
  operation operations_[operations_max];
  std::size_t busy_ = 0;       ///< operations that are not idle
  operation* held_ = nullptr;  ///< I4
};

}  // namespace interlock::inline INTERLOCK_PLATFORM::uring
