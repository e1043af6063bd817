// SPDX-License-Identifier: Apache-2.0
#pragma once

/// What the files of the native platform share. Nothing outside this folder includes it.

#include <cerrno>
#include <cstddef>
#include <cstdint>

#include "interlock/atomic.hpp"
#include "interlock/barrier.hpp"
#include "interlock/error.hpp"
#include "interlock_platform/doorbell.hpp"
#include "interlock_platform/park.hpp"

namespace interlock::inline INTERLOCK_PLATFORM::platform {

static_assert(sizeof(void*) == 8, "the native platform uses 64-bit system calls");

/// The error of the system call that has just failed.
inline error last_error() noexcept { return static_cast<error>(errno); }

/// Puts errno back: what the core calls from a handler, or from a lock, must not change it.
class errno_keeper {
 public:
  errno_keeper() noexcept : saved_{errno} {}
  ~errno_keeper() { errno = saved_; }
  errno_keeper(const errno_keeper&) = delete;
  errno_keeper& operator=(const errno_keeper&) = delete;

 private:
  int saved_;
};

/// A lock for task context within this platform, which cannot use the core's.
/// The word is 0 when free, 1 when held, 2 when held and perhaps awaited.
/// Source: Drepper, "Futexes Are Tricky" (2011), mutex3.
class private_lock {
 public:
  void lock() noexcept {
    std::uint32_t seen = 0;
    if (word_.compare_exchange_acquire(seen, 1)) return;  // [N1] pairs with [N2]
    while (word_.exchange_acquire(2) != 0) {              // [N1] pairs with [N2]
      park(word_, 2, no_deadline);
    }
  }
  void unlock() noexcept {
    if (word_.exchange_release(0) == 2) unpark(word_, 1);  // [N2] pairs with [N1]
  }

 private:
  atomic<std::uint32_t> word_{0};
};

class private_guard {
 public:
  explicit private_guard(private_lock& lock) noexcept : lock_{lock} { lock_.lock(); }
  ~private_guard() { lock_.unlock(); }
  private_guard(const private_guard&) = delete;
  private_guard& operator=(const private_guard&) = delete;

 private:
  private_lock& lock_;
};

/// The id of the calling thread, asked of the kernel.
[[nodiscard]] std::uint32_t kernel_thread_id() noexcept;

// local.cpp
void create_exit_key() noexcept;
void delete_exit_key() noexcept;

// lifecycle.cpp
void run_thread_exit_hooks() noexcept;

// doorbell.cpp
inline constexpr std::size_t doorbell_count = 2;
void choose_doorbells() noexcept;
void restore_doorbells() noexcept;
/// Installs the NMI doorbell if it is not, without an entry of the core.
result<void> require_nmi() noexcept;
/// The numbers that a service thread must not block, 0 for none; installed or not.
[[nodiscard]] int chosen_doorbell(doorbell bell) noexcept;

// stack_trace.cpp
void prime_unwinder() noexcept;
/// Called by the NMI handler: answers `capture_remote_stack` if it asked this thread.
void answer_stack_request(void* signal_context) noexcept;

// symbolizer.cpp
/// The lines of an address by libdw, or false. Allocates. Context: task, `symbolizer_lock` held.
bool describe_by_debug_information(void* address, char* buffer, std::size_t size) noexcept;
void close_symbolizer() noexcept;

/// Held over fork, so that the child finds them free.
extern private_lock doorbell_lock, stack_request_lock, symbolizer_lock;

}  // namespace interlock::inline INTERLOCK_PLATFORM::platform
