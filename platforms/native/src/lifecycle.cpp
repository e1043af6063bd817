// SPDX-License-Identifier: Apache-2.0

/// Load, fork, thread exit and unload of the library, and the hooks of the layers.
///
/// Invariants: I1. The list of hooks is sorted, highest order first; nothing is ever removed.
///             I2. Nobody adds a hook between the two halves of a fork: `list_lock` is held.
/// Ordering:   [H1] links a hook whose members are final; [H2] finds it.

#include "interlock_platform/lifecycle.hpp"

#include <pthread.h>

#include <atomic>

#include "interlock_platform/local.hpp"
#include "native.hpp"

extern "C" {
// The Itanium C++ ABI's, in libc; <cxxabi.h> belongs to the C++ runtime, which we do not link.
int __cxa_atexit(void (*function)(void*), void* argument, void* owner) noexcept;
void __cxa_finalize(void* owner) noexcept;
}

namespace interlock::inline INTERLOCK_PLATFORM::platform {
namespace {

using step = void (*lifecycle_hook::*)() noexcept;

constinit lifecycle_hook* first_hook = nullptr;
constinit private_lock list_lock;
constinit std::uint32_t generation = 0;  ///< changes in a child, while that has one thread

/// Hooks are aggregates, so that the layers can initialise them; hence the link is a plain pointer.
lifecycle_hook* follow(lifecycle_hook*& link) noexcept {
  return std::atomic_ref{link}.load(std::memory_order_acquire);  // [H2] pairs with [H1]
}

void run_downwards(step member) noexcept {
  for (lifecycle_hook* hook = follow(first_hook); hook != nullptr; hook = follow(hook->next)) {
    if (hook->*member != nullptr) (hook->*member)();
  }
}

/// Recursion, because the list is short and has one direction.
void run_upwards(lifecycle_hook* hook, step member) noexcept {
  if (hook == nullptr) return;
  run_upwards(follow(hook->next), member);
  if (hook->*member != nullptr) (hook->*member)();
}

void lock_all() noexcept {
  doorbell_lock.lock();
  stack_request_lock.lock();
  symbolizer_lock.lock();
}

void unlock_all() noexcept {
  symbolizer_lock.unlock();
  stack_request_lock.unlock();
  doorbell_lock.unlock();
}

void fork_prepare() noexcept {
  list_lock.lock();
  run_downwards(&lifecycle_hook::fork_prepare);
  lock_all();
}

void fork_parent() noexcept {
  unlock_all();
  run_upwards(follow(first_hook), &lifecycle_hook::fork_parent);
  list_lock.unlock();
}

void fork_child() noexcept {
  if (task_words& task = this_task(); task.id.load_relaxed() != 0) {
    task.former_id = task.id.load_relaxed();
    task.id.store_relaxed(kernel_thread_id());
    this_cpu().id.store_relaxed(task.id.load_relaxed());
  }
  ++generation;
  unlock_all();
  atomic<std::uint32_t>& depth = this_task().preempt_depth;
  depth.store_relaxed(depth.load_relaxed() + 1);
  run_upwards(follow(first_hook), &lifecycle_hook::fork_child);
  depth.store_relaxed(depth.load_relaxed() - 1);
  list_lock.unlock();
}

/// Whether the library's destructor runs because the process ends, not because of dlclose(3). Exit
/// handlers run before any destructor of a library; this one has an owner of its own, so that
/// dlclose does not take it for one of this library's, and the destructor can withdraw it.
constinit bool process_exits = false;
constinit char exit_handler_owner = 0;

/// 101 is the first priority that the compiler leaves to libraries.
[[gnu::constructor(101)]] void load() noexcept {
  create_exit_key();
  choose_doorbells();
  prime_unwinder();
  // From a shared object these are registered with its handle: dlclose removes them.
  pthread_atfork([] { fork_prepare(); }, [] { fork_parent(); }, [] { fork_child(); });
  __cxa_atexit([](void*) { process_exits = true; }, nullptr, &exit_handler_owner);
}

/// At process exit other threads may still run, and use the library: it stays usable.
[[gnu::destructor(101)]] void unload() noexcept {
  run_shutdown_hooks();
  if (process_exits) return;
  __cxa_finalize(&exit_handler_owner);
  restore_doorbells();
  close_symbolizer();
  delete_exit_key();
}

}  // namespace

void add_lifecycle_hook(lifecycle_hook& hook) noexcept {
  const private_guard guard{list_lock};
  lifecycle_hook** link = &first_hook;
  while (*link != nullptr && (*link)->order >= hook.order) {
    if (*link == &hook) return;
    link = &(*link)->next;
  }
  hook.next = *link;
  std::atomic_ref{*link}.store(&hook, std::memory_order_release);  // [H1] pairs with [H2]
}

std::uint32_t fork_generation() noexcept { return generation; }

void run_thread_exit_hooks() noexcept {
  for (lifecycle_hook* hook = follow(first_hook); hook != nullptr; hook = follow(hook->next)) {
    for (const step member : {&lifecycle_hook::cpu_exit, &lifecycle_hook::task_exit}) {
      if (hook->*member != nullptr) (hook->*member)();
    }
  }
}

void run_shutdown_hooks() noexcept { run_downwards(&lifecycle_hook::shutdown); }

}  // namespace interlock::inline INTERLOCK_PLATFORM::platform
