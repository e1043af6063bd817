// SPDX-License-Identifier: Apache-2.0
#pragma once

/// One job in the hands of the kernel: which submission it needs next, and what a completion means.
///
/// Invariant: at most one submission of an operation is in the kernel's hands at a time, beside a
///            request to cancel it.

#include <liburing.h>

#include <cstddef>
#include <cstdint>

#include "interlock/device/job_ring.hpp"

namespace interlock::inline INTERLOCK_PLATFORM::uring {

struct operation {
  enum class phase : std::uint32_t {
    idle,     ///< no job
    held,     ///< started, but an earlier operation must end first
    hung,     ///< a fault: in nobody's hands until it is cancelled
    stalled,  ///< a fault: a timeout runs before the work
    polled,   ///< the file said EAGAIN: waits until it is ready
    working,  ///< the work itself
  };

  job_entry* entry = nullptr;
  phase state = phase::idle;
  bool cancel_sent = false;
  std::size_t done = 0;         ///< bytes so far
  __kernel_timespec timeout{};  ///< read by the kernel when the submission is made

  [[nodiscard]] bool in_kernel() const noexcept { return state >= phase::stalled; }
  /// At a file's own position, where order matters.
  [[nodiscard]] bool is_stream() const noexcept;
};

/// 0, or the -errno with which the work cannot begin: io_uring ignores the offset where there is
/// none, and would take from a pipe what another job was to have.
[[nodiscard]] int check_target(const operation& op) noexcept;

/// Fills `sqe` with what `op` needs in its state.
void prepare_submission(operation& op, io_uring_sqe& sqe) noexcept;

/// What a completion of `op` leads to: another submission (the state says which), or the end.
struct next_step {
  bool again;
  std::int64_t outcome;  ///< if it is the end
};
[[nodiscard]] next_step digest(operation& op, int completion) noexcept;

}  // namespace interlock::inline INTERLOCK_PLATFORM::uring
