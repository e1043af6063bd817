// SPDX-License-Identifier: Apache-2.0

/// The asymmetric barrier by membarrier(2), private expedited.
///
/// The kernel sends an interrupt to each processor that runs a thread of this process, which acts
/// as a full barrier there; other threads pass one when they are switched in.
/// Invariants: I1. The answer, once given, never changes: readers have acted on it.
///             I2. `yes` implies that this process is registered. fork(2) copies the registration
///                 with the address space; only execve(2) clears it.
/// Ordering:   [B1] publishes the answer after the registration, [B2] reads it before it is used.
///
/// ThreadSanitizer cannot see the barrier. Nothing is done about that here: its users (RCU) order
/// themselves for it by acquire and release on the words that they share.

#include "interlock_platform/asymmetric_barrier.hpp"

#include <linux/membarrier.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "interlock/options.hpp"
#include "interlock_platform/stack_trace.hpp"
#include "native.hpp"

namespace interlock::inline INTERLOCK_PLATFORM::platform {
namespace {

enum class answer : std::uint32_t { unknown, yes, no };

constinit atomic<std::uint32_t> asymmetric{static_cast<std::uint32_t>(answer::unknown)};

bool membarrier(int command) noexcept { return syscall(SYS_membarrier, command, 0, 0) == 0; }

/// Several threads, or a thread and its handler, may probe at once: registering is idempotent, and
/// the first to store decides.
answer probe() noexcept {
  const errno_keeper keeper;
  // ENOSYS: no such call. EINVAL: no such command. EPERM: a filter forbids it.
  const bool usable =
      option_integer("membarrier", 1) != 0 && membarrier(MEMBARRIER_CMD_REGISTER_PRIVATE_EXPEDITED);
  const auto found = static_cast<std::uint32_t>(usable ? answer::yes : answer::no);
  auto seen = static_cast<std::uint32_t>(answer::unknown);
  if (asymmetric.compare_exchange_acq_rel(seen, found)) seen = found;  // [B1] pairs with [B2]
  return static_cast<answer>(seen);
}

answer current_answer() noexcept {
  const auto known = static_cast<answer>(asymmetric.load_acquire());  // [B2] pairs with [B1]
  return known != answer::unknown ? known : probe();
}

}  // namespace

void heavy_barrier() noexcept {
  if (current_answer() == answer::no) {
    smp_mb();
    return;
  }
  const errno_keeper keeper;
  if (membarrier(MEMBARRIER_CMD_PRIVATE_EXPEDITED)) return;
  // A restored checkpoint may have lost the registration. If a filter has forbidden the call since,
  // then readers rely on a barrier that nobody can give them any more: going on would be unsound.
  if (membarrier(MEMBARRIER_CMD_REGISTER_PRIVATE_EXPEDITED) &&
      membarrier(MEMBARRIER_CMD_PRIVATE_EXPEDITED)) {
    return;
  }
  static constexpr char text[] = "interlock: membarrier(2) was withdrawn while in use\n";
  console_write(text, sizeof(text) - 1);
  die();
}

bool heavy_barrier_is_asymmetric() noexcept { return current_answer() == answer::yes; }

}  // namespace interlock::inline INTERLOCK_PLATFORM::platform
