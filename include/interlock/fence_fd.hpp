// SPDX-License-Identifier: Apache-2.0
#pragma once

/// A fence as a one-shot file descriptor, on demand, for epoll, poll, io_uring and other loops.

#include <utility>

#include "interlock/dma_fence.hpp"

namespace interlock::inline INTERLOCK_PLATFORM {

/// Owns an eventfd that becomes readable when the fence signals, also on error, and stays so.
/// Movable; closes on destruction. The fence is armed and kept alive meanwhile.
class INTERLOCK_API fence_fd {
 public:
  fence_fd() noexcept = default;
  fence_fd(fence_fd&& other) noexcept : control_{std::exchange(other.control_, nullptr)} {}
  fence_fd& operator=(fence_fd&& other) noexcept;
  ~fence_fd();

  /// Errors: too_many_files_open, too_many_files_open_in_system, not_enough_memory. Context: task.
  [[nodiscard]] static result<fence_fd> open(dma_fence& fence) noexcept;

  /// The descriptor, owned by this object; -1 if empty.
  /// Context: any.
  [[nodiscard]] int get() const noexcept;
  /// The fence it stands for.
  /// Context: any.
  [[nodiscard]] dma_fence& fence() const noexcept;

 private:
  struct control;
  control* control_ = nullptr;
};

}  // namespace interlock::inline INTERLOCK_PLATFORM
