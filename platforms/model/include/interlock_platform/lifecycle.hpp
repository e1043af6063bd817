// SPDX-License-Identifier: Apache-2.0
#pragma once

/// What a layer must do when a thread ends, when the process forks, when the library shuts down.

#include <cstdint>

#include "interlock_platform/platform.hpp"

namespace interlock::inline INTERLOCK_PLATFORM::platform {

/// One static object per layer that needs it. Null members are skipped.
///
/// `task_exit`     runs in the ending task, with the doorbells of its CPU held; hooks run from the
///                 highest `order` to the lowest. Its words are then `task_life::dead`.
/// `shutdown`      joins the layer's service tasks, highest order first; they restart on need.
/// The others never run: a CPU of the machine does not end, and nothing forks.
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

/// Nothing forks. Context: any.
[[nodiscard]] inline std::uint32_t fork_generation() noexcept { return 0; }

/// Joins all service tasks. Context: task. Called by `interlock::shutdown`.
INTERLOCK_API void run_shutdown_hooks() noexcept;

}  // namespace interlock::inline INTERLOCK_PLATFORM::platform
