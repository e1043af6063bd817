// SPDX-License-Identifier: Apache-2.0
#pragma once

/// One io_uring with the best setup that this kernel allows, and a bell to wake who waits on it.
///
/// Invariants: I1. Used by one thread, that which called `setup`, except `ring_bell`. I2. While the
///   ring is open, a poll of the bell is in flight or queued.
/// Contexts:   task; `ring_bell` any but NMI.

#include <liburing.h>

#include <cstdint>
#include <utility>

#include "interlock/result.hpp"
#include "interlock/time.hpp"
#include "interlock_platform/platform.hpp"

namespace interlock::inline INTERLOCK_PLATFORM::uring {

/// What to use of the kernel; what it has of that.
struct ring_features {
  bool multishot = true;  ///< a poll that stays (5.13), else armed again after each ring
  bool taskrun = true;    ///< completions run when we wait, not by interrupting us (6.1)
};

/// Strikes out the words that `without` names.
[[nodiscard]] ring_features features_without(const char* without) noexcept;

class kernel_ring {
 public:
  /// The bell's tag; tags of operations are larger. 0: nobody asks for the completion.
  static constexpr std::uint64_t ignored_tag = 0, bell_tag = 1, first_tag = 2;

  kernel_ring() = default;
  kernel_ring(const kernel_ring&) = delete;
  kernel_ring& operator=(const kernel_ring&) = delete;
  ~kernel_ring();

  /// Makes the bell. Errors: too_many_files_open, not_enough_memory.
  result<void> make_bell() noexcept;
  /// Makes the ring with `entries` submissions. Errors: those of io_uring_setup(2).
  result<void> setup(unsigned entries, ring_features wanted) noexcept;

  /// A submission, zeroed. Never fails as long as no more are asked for between two calls of `wait`
  /// than `setup` was told.
  [[nodiscard]] io_uring_sqe& next_submission() noexcept;
  /// Submits.
  void submit() noexcept;
  /// Submits; sleeps until there is a completion, or `until`. How often the thread slept.
  std::uint64_t wait(deadline until) noexcept;
  /// Takes a completion; false if there is none. The bell's are taken care of: see `rang`.
  bool take(std::uint64_t& tag, int& outcome) noexcept;
  /// The bell rang since the last call.
  [[nodiscard]] bool rang() noexcept { return std::exchange(rang_, false); }

  void ring_bell() const noexcept;
  [[nodiscard]] int bell_fd() const noexcept { return bell_fd_; }
  [[nodiscard]] ring_features features() const noexcept { return features_; }

 private:
  int submit_and_sleep(deadline until) noexcept;
  void back_off(int code) noexcept;
  void arm_bell() noexcept;
  void on_bell(int outcome, unsigned flags) noexcept;

  io_uring ring_{};
  bool open_ = false;
  bool rang_ = false;
  int bell_fd_ = -1;
  ring_features features_{};
};

}  // namespace interlock::inline INTERLOCK_PLATFORM::uring
