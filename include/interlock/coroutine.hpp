// SPDX-License-Identifier: Apache-2.0
#pragma once

/// `co_await fence_on(executor, fence)`: coroutines that wait for fences.
///
/// A fence's callback runs with interrupts off, maybe in hardirq; user code must not. So a
/// coroutine resumes only on an executor of tasks, which has to be named: `co_await fence` does not
/// compile.

#include <coroutine>
#include <utility>

#include "interlock/dma_fence.hpp"
#include "interlock/llist.hpp"
#include "interlock/report.hpp"
#include "interlock_platform/lifecycle.hpp"

namespace interlock::inline INTERLOCK_PLATFORM {

/// Intrusive node of something to run in task context.
struct task_work {
  llist_node node{nullptr};
  void (*run)(task_work& work) = nullptr;
};

/// What coroutines resume on. `post` is called from a fence callback: any context, must not sleep.
template <class E>
concept task_executor = requires(E& executor, task_work& work) {
  { executor.post(work) }
  noexcept;
};

/// A queue of task works that some task of the user drains, one task at a time; the simplest
/// executor. Lifetime: until every posted work has run; the destructor waits for posts that have
/// not returned yet (they may be on another CPU, past the point where their work could run).
class INTERLOCK_API task_queue {
 public:
  task_queue() noexcept = default;
  task_queue(const task_queue&) = delete;
  task_queue& operator=(const task_queue&) = delete;
  ~task_queue();

  /// Context: any but NMI.
  void post(task_work& work) noexcept;
  /// Runs what is queued now, in order of posting; how many. Context: task.
  std::size_t run_ready() noexcept;
  /// Runs works until `stop()` was called and the queue is empty. Context: task, may sleep.
  void run() noexcept;
  /// Context: any but NMI.
  void stop() noexcept;

 private:
  void wake_sleeper() noexcept;
  void await_posters() noexcept;

  llist_head queue_;
  atomic<std::uint32_t> posting_{0};  ///< calls of post and stop that have not returned
  atomic<std::uint32_t> stopped_{0};
  atomic<task*> sleeper_{nullptr};  ///< the task in run()
};

/// The awaitable of `fence_on`. The coroutine resumes on the executor, with the fence's status: 1,
/// or -errno. A fence that is signalled already does not suspend: the coroutine goes on where it
/// is, which is a task. Lifetime: holds a reference to the fence; the executor must outlive it. A
/// suspended coroutine may be destroyed until its fence is signalled: it is then waited for no more.
/// Later its resumption is posted, and to destroy it ends the process.
template <task_executor E>
class [[nodiscard]] fence_awaiter {
 public:
  fence_awaiter(E& executor, ref_ptr<dma_fence> fence) noexcept
      : executor_{executor}, fence_{std::move(fence)} {}
  fence_awaiter(const fence_awaiter&) = delete;
  fence_awaiter& operator=(const fence_awaiter&) = delete;
  /// Context: task.
  ~fence_awaiter() {
    if (!suspended_) return;
    const bool waited = fence_->remove_callback(callback_.cb);
    const bool is_here = generation_ == platform::fork_generation();
    INTERLOCK_BUG_ON(!waited && is_here && "a coroutine is destroyed whose resumption is posted");
  }

  /// Context: task.
  [[nodiscard]] bool await_ready() const noexcept { return fence_->is_signaled(); }

  // Not inlined: clang before 17 may then keep `fence` in the frame that is gone by then.
  /// Context: task.
  [[gnu::noinline]] bool await_suspend(std::coroutine_handle<> handle) noexcept {
    const ref_ptr<dma_fence> fence = fence_;  // the coroutine may end, and drop its own
    link_.owner = this;
    link_.handle = handle;
    link_.run = [](task_work& work) {
      link& self = static_cast<link&>(work);
      self.owner->suspended_ = false;
      self.handle.resume();
    };
    suspended_ = true;
    generation_ = platform::fork_generation();
    // After a successful add the coroutine may resume elsewhere at any moment: touch nothing more.
    if (fence->add_callback(callback_.cb, &fired)) return true;
    suspended_ = false;
    return false;
  }

  /// Context: task.
  [[nodiscard]] int await_resume() const noexcept { return fence_->status(); }

 private:
  struct link : task_work {
    fence_awaiter* owner = nullptr;
    std::coroutine_handle<> handle;
  };
  struct callback {
    dma_fence_cb cb;
    link* to;
  };

  static void fired(dma_fence*, dma_fence_cb* cb) {
    link& l = *INTERLOCK_CONTAINER_OF(cb, callback, cb)->to;
    l.owner->executor_.post(l);
  }

  E& executor_;
  ref_ptr<dma_fence> fence_;
  link link_;
  callback callback_{{}, &link_};
  bool suspended_ = false;        ///< the callback is on the fence, or the work on the executor
  std::uint32_t generation_ = 0;  ///< of the process in which it was; a child's fences forget it
};

/// `int status = co_await fence_on(executor, fence);`
/// Context: task.
template <task_executor E>
[[nodiscard]] fence_awaiter<E> fence_on(E& executor, ref_ptr<dma_fence> fence) noexcept {
  return {executor, std::move(fence)};
}

}  // namespace interlock::inline INTERLOCK_PLATFORM
