// SPDX-License-Identifier: Apache-2.0
#pragma once

/// Threads with a stop request, after the kernel's kthreads.

#include <memory>
#include <new>
#include <type_traits>
#include <utility>

#include "interlock/result.hpp"
#include "interlock/task.hpp"

namespace interlock::inline INTERLOCK_PLATFORM {

/// A running thread. Movable; the destructor stops it (see `stop`). In the child of a fork the thread
/// does not exist: `stop` and `join` answer -ESRCH and let the handle go.
class INTERLOCK_API kthread {
 public:
  kthread() noexcept = default;
  kthread(kthread&& other) noexcept : control_{std::exchange(other.control_, nullptr)} {}
  kthread& operator=(kthread&& other) noexcept;
  ~kthread();

  /// Asks the thread to stop, wakes it whatever it sleeps in, waits for its end, and returns its
  /// value. A thread that ended by itself returns its value too. The handle is empty afterwards; of
  /// an empty one the answer is -ESRCH.
  /// Context: task, may sleep; not from the thread itself (reported).
  int stop() noexcept;

  /// Waits for the end without asking for it. Context: task, may sleep.
  int join() noexcept;

  /// Context: any.
  [[nodiscard]] bool joinable() const noexcept { return control_ != nullptr; }
  /// The thread's task; valid as long as the handle is not empty, longer with a reference.
  /// Context: any.
  [[nodiscard]] task& get() const noexcept;

 private:
  friend struct kthread_access;
  struct control;
  control* control_ = nullptr;
};

/// The C edge: runs `entry(argument)` in a new thread. `destroy(argument)`, if not null, runs at
/// its end, also if the thread could not be started. Errors: not_enough_memory,
/// resource_unavailable_try_again. Context: task, may sleep.
[[nodiscard]] INTERLOCK_API result<kthread> kthread_run_raw(const char* name, int (*entry)(void*),
                                                            void* argument,
                                                            void (*destroy)(void*)) noexcept;

/// Runs `function()` (returning int or void) in a new thread called `name` (15 bytes are kept). An
/// exception out of it ends the process. Errors: as above. Context: task, may sleep.
template <class F>
[[nodiscard]] result<kthread> kthread_run(const char* name, F&& function) noexcept {
  using callable = std::decay_t<F>;
  static_assert(std::is_invocable_v<callable&>, "a thread runs function()");
  auto* const copy = new (std::nothrow) callable(std::forward<F>(function));
  if (copy == nullptr) return error::not_enough_memory;
  return kthread_run_raw(
      name,
      [](void* argument) noexcept -> int {
        auto& f = *static_cast<callable*>(argument);
        if constexpr (std::is_void_v<std::invoke_result_t<callable&>>) {
          f();
          return 0;
        } else {
          return static_cast<int>(f());
        }
      },
      copy, [](void* argument) { delete static_cast<callable*>(argument); });
}

/// True once `stop` was called for the current thread; false on threads that are no kthreads.
/// Context: task. Order: acquire; what the stopper wrote before is visible.
[[nodiscard]] INTERLOCK_API bool kthread_should_stop() noexcept;

}  // namespace interlock::inline INTERLOCK_PLATFORM
