// SPDX-License-Identifier: Apache-2.0

/// Kthreads: a control block shared by the handle and the thread.
///
/// Invariants:
///   I1. The control block is freed by the handle's side only, after the thread has ended (join).
///       In the child of a fork it never was: the handle is only let go.
///   I2. The task is made before the thread, so that the thread cannot fail for want of memory.
/// Ordering:
///   [K1] the thread's start (task adopted) releases, [K2] the starter acquires.
///   [K3] the stop request releases, [K4] kthread_should_stop acquires. A thread that announced a
///        sleep before it asked is woken, by [W1] and [W2] of task.hpp: the request is the
///        condition.
///   The thread's value is ordered by the join.

#include "interlock/kthread.hpp"

#include <cstdlib>
#include <cstring>

#include "interlock_platform/lifecycle.hpp"
#include "interlock_platform/park.hpp"
#include "interlock_platform/thread.hpp"
#include "report/report_lines.hpp"
#include "sched/task_impl.hpp"

namespace interlock::inline INTERLOCK_PLATFORM {

struct kthread::control {
  int (*entry)(void*);
  void* argument;
  void (*destroy)(void*);
  task* self;  ///< the handle's reference
  platform::thread_handle thread{};
  int value = 0;
  std::uint32_t generation = platform::fork_generation();
  atomic<std::uint32_t> started{0};
  atomic<std::uint32_t> should_stop{0};
};

/// What the C edge needs of the class.
struct kthread_access {
  using control = kthread::control;

  static kthread make(control* c) noexcept {
    kthread made;
    made.control_ = c;
    return made;
  }

  static void run(void* argument) noexcept {
    control& c = *static_cast<control*>(argument);
    intrusive_get(*c.self);  // the thread's own reference, dropped by its exit hook
    detail::adopt_task(*c.self);
    c.started.store_release(1);  // [K1] pairs with [K2]
    platform::unpark(c.started, 1);
    c.value = c.entry(c.argument);
    if (c.destroy != nullptr) c.destroy(c.argument);
  }

  static control* make_control() noexcept {
    void* const memory = std::malloc(sizeof(control));
    task* const self = memory != nullptr ? detail::make_task() : nullptr;
    if (self == nullptr) {
      std::free(memory);
      return nullptr;
    }
    return new (memory) control{nullptr, nullptr, nullptr, self};
  }

  static void free_control(control* c) noexcept {
    intrusive_put(*c->self);
    c->~control();
    std::free(c);
  }

  /// True, and reported, if the caller is the thread itself.
  static bool is_self(const control& c, const char* function) noexcept {
    if (c.self != detail::task_if_any()) return false;
    detail::locks_warning(report_kind::warning, "kthread == current", function);
    return true;
  }

  static bool stayed_with_parent(const control& c) noexcept {
    return c.generation != platform::fork_generation();
  }

  static bool stop_requested(const void* c) noexcept {
    return static_cast<const control*>(c)->should_stop.load_acquire() != 0;  // [K4] with [K3]
  }
};

kthread& kthread::operator=(kthread&& other) noexcept {
  if (this != &other) {
    if (joinable()) (void)stop();
    control_ = std::exchange(other.control_, nullptr);
  }
  return *this;
}

kthread::~kthread() {
  if (joinable()) (void)stop();
}

int kthread::stop() noexcept {
  might_sleep();
  if (control_ == nullptr) return to_negative_errno(error::no_such_process);
  if (kthread_access::is_self(*control_, "kthread::stop")) {
    return to_negative_errno(error::resource_deadlock_would_occur);
  }
  if (!kthread_access::stayed_with_parent(*control_)) {
    control_->should_stop.store_release(1);  // [K3] pairs with [K4]
    (void)wake_up_state(*control_->self, task_normal | task_state::wakekill);
  }
  return join();
}

int kthread::join() noexcept {
  might_sleep();
  if (control_ == nullptr) return to_negative_errno(error::no_such_process);
  if (kthread_access::is_self(*control_, "kthread::join")) {
    return to_negative_errno(error::resource_deadlock_would_occur);
  }
  control* const ended = std::exchange(control_, nullptr);
  int value = to_negative_errno(error::no_such_process);
  if (!kthread_access::stayed_with_parent(*ended)) {
    platform::join(ended->thread);
    value = ended->value;
  }
  kthread_access::free_control(ended);
  return value;
}

task& kthread::get() const noexcept {
  INTERLOCK_BUG_ON(control_ == nullptr);
  return *control_->self;
}

result<kthread> kthread_run_raw(const char* name, int (*entry)(void*), void* argument,
                                void (*destroy)(void*)) noexcept {
  might_sleep();
  error failure = error::not_enough_memory;
  if (kthread_access::control* const c = kthread_access::make_control()) {
    c->entry = entry;
    c->argument = argument;
    c->destroy = destroy;
    c->self->thread.store_relaxed(c);
    std::strncpy(c->self->name, name, sizeof c->self->name - 1);
    const result<platform::thread_handle> spawned = platform::spawn(kthread_access::run, c, name);
    if (spawned) {
      c->thread = *spawned;
      while (c->started.load_acquire() == 0) {  // [K2] pairs with [K1]
        platform::park(c->started, 0, no_deadline);
      }
      return kthread_access::make(c);
    }
    failure = spawned.error();
    kthread_access::free_control(c);
  }
  if (destroy != nullptr) destroy(argument);
  return failure;
}

void detail::kthread_fork_child(void* control) noexcept {
  static_cast<kthread_access::control*>(control)->generation = platform::fork_generation();
}

bool kthread_should_stop() noexcept {
  const task* const self = detail::task_if_any();
  if (self == nullptr) return false;
  const void* const control = self->thread.load_relaxed();
  return control != nullptr && kthread_access::stop_requested(control);
}

}  // namespace interlock::inline INTERLOCK_PLATFORM
