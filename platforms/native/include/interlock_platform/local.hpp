// SPDX-License-Identifier: Apache-2.0
#pragma once

/// The current CPU and task, and how a thread becomes known. See platforms/README.md.

#include "interlock/detail/local_words.hpp"
#include "interlock_platform/platform.hpp"

namespace interlock::inline INTERLOCK_PLATFORM::platform {

struct thread_words {
  cpu_words cpu;
  task_words task;
};
static_assert(sizeof(thread_words) == 128, "docs/footprint.md promises 128 bytes of static TLS");

/// Initial-exec, so that an access is one instruction and never allocates, in a signal handler too.
INTERLOCK_API extern thread_local constinit thread_words this_thread
    [[gnu::tls_model("initial-exec")]];

/// The words of the CPU that executes the caller. Context: any, NMI included.
/// Post: on a thread never seen before, all words are zero.
inline cpu_words& this_cpu() noexcept { return this_thread.cpu; }

/// The words of the current task (in an interrupt: of the task that it interrupted).
inline task_words& this_task() noexcept { return this_thread.task; }

/// Makes the calling thread known: gives it an id and arranges for the exit hooks of lifecycle.hpp.
/// Post: the `id` of task and CPU is not 0; on a thread whose exit hooks have run, `life` stays
///       `dead`.
/// Context: any, NMI included; idempotent; async-signal-safe.
INTERLOCK_API void enlist() noexcept;

/// True if the caller is in a signal handler, or if that cannot be told (a stack without unwind
/// tables). A handler may stand anywhere on its thread, also behind the last point at which
/// enlist() can arrange for the exit hooks: who would leave a trace of the thread elsewhere asks
/// first. False in a handler during which no signal at all is blocked (SA_NODEFER and an empty
/// sa_mask). Context: any, NMI included; async-signal-safe. A system call, and a walk up the stack
/// if any signal is blocked.
[[nodiscard]] INTERLOCK_API bool may_be_in_signal_handler() noexcept;

/// A handler may have halted malloc.
inline constexpr bool handlers_may_allocate = false;

/// The number of processors on which this process may run, at least 1.
[[nodiscard]] INTERLOCK_API unsigned online_processors() noexcept;

/// How many pauses a spin that ends by parking may take; the core measures how many are worth while.
inline constexpr std::uint32_t pauses_max = 0xffff'ffffu;
/// Whether locks are taken where the caller stands if they are free.
inline constexpr bool inlines_fast_paths = true;
/// Whether a pause ends with a change of what the caller has read.
inline constexpr bool pauses_wait = false;

/// A hint that the caller spins. Context: any.
inline void cpu_relax() noexcept {
#if defined(__x86_64__) || defined(__i386__)
  __builtin_ia32_pause();
#elif defined(__aarch64__)
  asm volatile("isb" ::: "memory");
#endif
}

}  // namespace interlock::inline INTERLOCK_PLATFORM::platform
