// SPDX-License-Identifier: Apache-2.0

/// What becomes of devices when the process forks: their threads stay with the parent, so the
/// child's copies of the queues answer no_such_device, and fences that were not done fail with it.
///
/// Invariants: I1. The list holds every ring of this process. I2. It does not change while `lock`
///             is held, which fork_prepare takes, so the child finds it whole.
/// Limits:     a fence that another thread was about to signal at the moment of the fork may stay
///             unsignalled in the child.
/// Contexts:   task; the hooks run around fork.

#include <cstdlib>
#include <new>

#include "device/job_ring_impl.hpp"
#include "fence/seqno_timeline.hpp"
#include "interlock/guard.hpp"
#include "interlock_platform/lifecycle.hpp"

namespace interlock::inline INTERLOCK_PLATFORM::device {
namespace {

struct ring_list {
  spinlock lock;
  list_head rings INTERLOCK_GUARDED_BY(lock) = {&rings, &rings};
  atomic<std::uint32_t> generation{0};
};
constinit ring_list all;

/// A lock that stays held across the fork. Taken by one function and dropped by another; preemption
/// is off by `all.lock` already, and its count has no room for every ring.
void hold(spinlock& lock) noexcept INTERLOCK_NO_THREAD_SAFETY_ANALYSIS {
  lock.lock(no_mask);
  preempt_enable();
}
void let_go(spinlock& lock) noexcept INTERLOCK_NO_THREAD_SAFETY_ANALYSIS {
  preempt_disable();
  lock.unlock(no_mask);
}

template <class Function>
void for_each_ring(Function function) noexcept INTERLOCK_NO_THREAD_SAFETY_ANALYSIS {
  for (list_head* at = all.rings.next; at != &all.rings; at = at->next) {
    function(*INTERLOCK_CONTAINER_OF(at, job_ring, node));
  }
}

irq_flags saved_flags{};  ///< of the forking thread; under `all.lock`

void prepare() noexcept INTERLOCK_NO_THREAD_SAFETY_ANALYSIS {
  all.lock.lock(no_mask);
  saved_flags = local_irq_save();
  for_each_ring([](job_ring& ring) {
    hold(ring.timeline->lock);
    hold(ring.record->lock);
  });
}

void release() noexcept INTERLOCK_NO_THREAD_SAFETY_ANALYSIS {
  for_each_ring([](job_ring& ring) {
    let_go(ring.record->lock);
    let_go(ring.timeline->lock);
  });
  local_irq_restore(saved_flags);
}

/// Who signalled fences of it, if anybody did, stayed with the parent. Its lock is held.
void stop_processing(seqno_timeline& timeline) noexcept INTERLOCK_NO_THREAD_SAFETY_ANALYSIS {
  timeline.processing = false;
}

void parent() noexcept INTERLOCK_NO_THREAD_SAFETY_ANALYSIS {
  release();
  all.lock.unlock(no_mask);
}

void child() noexcept INTERLOCK_NO_THREAD_SAFETY_ANALYSIS {
  all.generation.store_relaxed(all.generation.load_relaxed() + 1);
  for_each_ring([](job_ring& ring) { stop_processing(*ring.timeline); });
  release();
  for_each_ring([](job_ring& ring) { seqno_timeline_fail(*ring.timeline, error::no_such_device); });
  all.lock.unlock(no_mask);
}

constinit platform::lifecycle_hook hook{
    platform::hook_order::device, nullptr, &prepare, &parent, &child, nullptr, nullptr};
[[maybe_unused]] const bool hooked = (platform::add_lifecycle_hook(hook), true);

/// The handles of threads that stayed with a parent.
struct forgotten_thread {
  kthread thread;
  forgotten_thread* next;
};
constinit atomic<forgotten_thread*> forgotten{nullptr};

}  // namespace

std::uint32_t fork_generation() noexcept { return all.generation.load_relaxed(); }

void register_ring(job_ring& ring) noexcept {
  guard g{no_mask, all.lock};
  list_add_tail(ring.node, all.rings);
}

void unregister_ring(job_ring& ring) noexcept {
  guard g{no_mask, all.lock};
  list_del_init(ring.node);
}

}  // namespace interlock::inline INTERLOCK_PLATFORM::device

namespace interlock::inline INTERLOCK_PLATFORM {

void job_ring_forget_thread(kthread thread) noexcept {
  void* const memory = std::malloc(sizeof(device::forgotten_thread));
  // Without memory the child cannot even forget: the handle's destructor would wait for ever.
  INTERLOCK_BUG_ON(memory == nullptr);
  auto* const kept = new (memory) device::forgotten_thread{std::move(thread), nullptr};
  kept->next = device::forgotten.load_relaxed();
  while (!device::forgotten.compare_exchange_relaxed(kept->next, kept)) {
  }
}

}  // namespace interlock::inline INTERLOCK_PLATFORM
