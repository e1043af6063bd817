// SPDX-License-Identifier: Apache-2.0
#pragma once

/// What a layer must do when a thread ends, when the process forks, when the library shuts down.

#include <cstdint>

#include "interlock_platform/platform.hpp"

namespace interlock::inline INTERLOCK_PLATFORM::platform {

/// One static object per layer that needs it. Null members are skipped.
///
/// `cpu_exit`, `task_exit`  run at the end of a CPU, of a task: natively of both at once, on the
///                 ending thread, with all signals blocked for the rest of its life. Hooks run from
///                 the highest `order` to the lowest, and of one hook the CPU's end before the
///                 task's. The thread's words are then `task_life::dead`.
/// `fork_prepare`  runs in the parent before fork, highest order first; it takes the locks which
///                 must be consistent in the child. First come the locks under which a task may
///                 sleep, or wait for a handler (`sleeping_locks`); then interrupts are held back
///                 everywhere (`interrupts`), since one may have halted malloc, whose locks fork
///                 takes; then the locks that are taken with interrupts off, layer by layer.
/// `fork_parent`, `fork_child` run after it, lowest order first. In the child only the forking
///                 thread exists; it has been given its new id already. Preemption is disabled
///                 there, so that nothing sleeps or starts a thread inside fork.
/// `shutdown`      joins the layer's service threads, highest order first; they restart on need.
struct lifecycle_hook {
  int order;
  void (*cpu_exit)() noexcept = nullptr;
  void (*task_exit)() noexcept = nullptr;
  void (*fork_prepare)() noexcept = nullptr;
  void (*fork_parent)() noexcept = nullptr;
  void (*fork_child)() noexcept = nullptr;
  void (*shutdown)() noexcept = nullptr;
  lifecycle_hook* next = nullptr;
};

/// Orders of the layers, left to right.
namespace hook_order {
inline constexpr int platform = 0, report = 100, sched = 200, locking = 300, wait = 400, rcu = 500,
                     irq = 600, fence = 700, device = 800;
// For forks only.
inline constexpr int timelines = 850, interrupts = 875, sleeping_locks = 900;
}  // namespace hook_order

/// Adds a hook. Context: static initialisation or task. The object must outlive the library.
INTERLOCK_API void add_lifecycle_hook(lifecycle_hook& hook) noexcept;

/// How often this process and those before it were forked off: what a thread of the parent holds, or
/// waits in, bears another number. Context: any.
[[nodiscard]] INTERLOCK_API std::uint32_t fork_generation() noexcept;

/// Joins all service threads. Context: task. Called by `interlock::shutdown` and at unload.
INTERLOCK_API void run_shutdown_hooks() noexcept;

}  // namespace interlock::inline INTERLOCK_PLATFORM::platform
