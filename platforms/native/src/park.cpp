// SPDX-License-Identifier: Apache-2.0

/// Blocking on a word by futex, and the clock.
///
/// Ordering: none of its own. The kernel tests the word and enqueues the thread under one lock,
///           which unpark takes too; callers order their data by accesses to the word.
/// ThreadSanitizer does not see a futex either, and need not, for the same reason. But it holds
/// handlers back until the thread's next atomic operation, so a parked thread must come back to run
/// them: the kernel begins an untimed wait anew after a handler, and ends a timed one.
/// Source: futex(2).

#include "interlock_platform/park.hpp"

#include <linux/futex.h>
#include <sched.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#include <climits>

#include "interlock_platform/stack_trace.hpp"
#include "native.hpp"

namespace interlock::inline INTERLOCK_PLATFORM::platform {
namespace {

constexpr std::int64_t ns_per_second = 1'000'000'000;

timespec to_timespec(deadline until) noexcept {
  const std::int64_t ns = until.time_since_epoch().count();
  return {static_cast<time_t>(ns / ns_per_second), static_cast<long>(ns % ns_per_second)};
}

int futex_flags(park_scope scope) noexcept {
  return scope == park_scope::process ? FUTEX_PRIVATE_FLAG : 0;
}

}  // namespace

park_result park(const atomic<std::uint32_t>& word, std::uint32_t expected, deadline until,
                 park_scope scope, deadline_kind /*kind*/) noexcept {
  const errno_keeper keeper;
  // Tested here first: a changed word wins over an expired deadline, and neither needs the kernel.
  if (word.load_relaxed() != expected) return park_result::value_changed;
  const bool timed = until != no_deadline || under_thread_sanitizer;
  if (timed && until <= now()) return park_result::timed_out;
  const timespec absolute = to_timespec(until);
  // The bitset variant takes an absolute time, on the monotonic clock.
  const long rc = syscall(SYS_futex, &word, FUTEX_WAIT_BITSET | futex_flags(scope), expected,
                          timed ? &absolute : nullptr, nullptr, FUTEX_BITSET_MATCH_ANY);
  if (rc == 0) return park_result::woken;
  switch (errno) {
    case EAGAIN: return park_result::value_changed;
    case ETIMEDOUT: return park_result::timed_out;
    case EINTR: return park_result::woken;
    default: die();  // an unmapped or misaligned word; to return would make the caller spin
  }
}

unsigned unpark(const atomic<std::uint32_t>& word, unsigned count, park_scope scope) noexcept {
  const errno_keeper keeper;
  if (count == 0) return 0;  // of which the kernel would make 1
  const unsigned wanted = count < unpark_all ? count : unpark_all;
  static_assert(unpark_all <= INT_MAX);
  const long woken = syscall(SYS_futex, &word, FUTEX_WAKE | futex_flags(scope), wanted);
  return woken > 0 ? static_cast<unsigned>(woken) : 0;  // EFAULT: the word is gone, as it may be
}

void yield() noexcept { sched_yield(); }

deadline now() noexcept {
  timespec t;
  clock_gettime(CLOCK_MONOTONIC, &t);
  return deadline{ktime{t.tv_sec * ns_per_second + t.tv_nsec}};
}

}  // namespace interlock::inline INTERLOCK_PLATFORM::platform
