// SPDX-License-Identifier: Apache-2.0

/// The words of a thread, and how its end becomes known: by the destructor of one pthread key.
///
/// Invariants: I1. A thread whose `life` is `enlisted` has the key set, so its exit hooks will run.
///             I2. The hooks of a thread run once, after which `life` is `dead` for good.
/// Contexts:   enlist() may be interrupted by a handler that calls enlist(): each step stores what
///             the handler has stored, so doing it again changes nothing.

#include "interlock_platform/local.hpp"

#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "native.hpp"

namespace interlock::inline INTERLOCK_PLATFORM::platform {

thread_local constinit thread_words this_thread [[gnu::tls_model("initial-exec")]]{};

namespace {

using life = task_life;

/// The key plus one; 0 before the library is loaded and after it is unloaded.
constinit atomic<std::uint32_t> exit_key{0};

/// The key's value counts the calls of its destructor. POSIX calls destructors in rounds, at least
/// four, as long as one sets a key again. The first call only re-arms, so that the destructors of
/// other keys in that round still find an enlisted thread, whichever is called first; the second
/// ends it. To wait for a later round would be unsafe: a thread that uses Interlock for the first
/// time in a destructor has fewer rounds left, does not know how many, and would run out of them
/// with its hooks never run and its words unmapped. (As it is, this needs a first use in round 3.)
constexpr std::uintptr_t first_call = 1;
constexpr std::uintptr_t final_call = 2;

void set_exit_key(std::uintptr_t call) noexcept {
  const std::uint32_t key = exit_key.load_relaxed();
  if (key != 0) pthread_setspecific(key - 1, reinterpret_cast<const void*>(call));
}

void thread_ends(void* value) noexcept {
  if (reinterpret_cast<std::uintptr_t>(value) != final_call) {
    set_exit_key(final_call);
    return;
  }
  // From here on nothing may enlist this thread again, so no handler may run on it.
  sigset_t all;
  sigfillset(&all);
  pthread_sigmask(SIG_SETMASK, &all, nullptr);
  run_thread_exit_hooks();
  this_task().life.store_relaxed(static_cast<std::uint32_t>(life::dead));
}

}  // namespace

std::uint32_t kernel_thread_id() noexcept {
  return static_cast<std::uint32_t>(syscall(SYS_gettid));
}

/// Runs as early as a library can, so that the number is below 32: glibc keeps those values in the
/// thread itself, while a larger one would allocate at a thread's first use, in a handler too.
void create_exit_key() noexcept {
  pthread_key_t key;
  if (pthread_key_create(&key, [](void* value) { thread_ends(value); }) != 0) return;
  exit_key.store_relaxed(key + 1);
}

void delete_exit_key() noexcept {
  const std::uint32_t key = exit_key.exchange_relaxed(0);
  if (key != 0) pthread_key_delete(key - 1);
}

void enlist() noexcept {
  const errno_keeper keeper;
  task_words& task = this_task();
  if (task.id.load_relaxed() == 0) task.id.store_relaxed(kernel_thread_id());
  this_cpu().id.store_relaxed(task.id.load_relaxed());  // one task, one CPU
  if (task.life.load_relaxed() != static_cast<std::uint32_t>(life::unknown)) return;
  // Before the library's constructor there is no key: stay unknown, and be enlisted at a later use.
  if (exit_key.load_relaxed() == 0) return;
  set_exit_key(first_call);
  task.life.store_relaxed(static_cast<std::uint32_t>(life::enlisted));
}

unsigned online_processors() noexcept {
  constexpr std::size_t most_processors = 8192;
  unsigned long mask[most_processors / (8 * sizeof(unsigned long))] = {};
  // The system call itself: glibc's wrapper wants a cpu_set_t of exactly the right type.
  const long bytes = syscall(SYS_sched_getaffinity, 0, sizeof(mask), mask);
  unsigned count = 0;
  for (long i = 0; i < bytes / static_cast<long>(sizeof(unsigned long)); ++i) {
    count += static_cast<unsigned>(__builtin_popcountl(mask[i]));
  }
  return count > 0 ? count : 1;
}

}  // namespace interlock::inline INTERLOCK_PLATFORM::platform
