// SPDX-License-Identifier: Apache-2.0

/// What becomes of devices when the process forks: their threads stay with the parent, so the
/// child's copies of the queues answer no_such_device, and fences that were not done fail with it.
///
/// Invariants: I1. The list holds every ring of this process. I2. It does not change while `lock`
///             is held, which fork_prepare takes, so the child finds it whole.
/// Contexts:   the hooks run around fork, between those of the timelines, whose locks are held.

#include "device/job_ring_impl.hpp"
#include "fence/fork_locks.hpp"
#include "fence/seqno_timeline.hpp"
#include "interlock/guard.hpp"
#include "interlock_platform/lifecycle.hpp"

namespace interlock::inline INTERLOCK_PLATFORM::device {
namespace {

struct ring_list {
  spinlock lock;
  list_head rings INTERLOCK_GUARDED_BY(lock) = {&rings, &rings};
};
constinit ring_list all;

template <class Function>
void for_each_ring(Function function) noexcept INTERLOCK_NO_THREAD_SAFETY_ANALYSIS {
  for (list_head* at = all.rings.next; at != &all.rings; at = at->next) {
    function(*INTERLOCK_CONTAINER_OF(at, job_ring, node));
  }
}

void prepare() noexcept INTERLOCK_NO_THREAD_SAFETY_ANALYSIS {
  all.lock.lock(no_mask);
  for_each_ring([](job_ring& ring) { detail::hold_across_fork(ring.record->lock); });
}

void parent() noexcept INTERLOCK_NO_THREAD_SAFETY_ANALYSIS {
  for_each_ring([](job_ring& ring) { detail::let_go_after_fork(ring.record->lock); });
  all.lock.unlock(no_mask);
}

/// Their fences are told by the hook of the timelines, which comes next.
void child() noexcept INTERLOCK_NO_THREAD_SAFETY_ANALYSIS {
  parent();
  for_each_ring([](job_ring& ring) {
    int none = 0;
    (void)ring.timeline->failure.compare_exchange_seq_cst(none,
                                                          to_negative_errno(error::no_such_device));
  });
}

constinit platform::lifecycle_hook hook{.order = platform::hook_order::device,
                                        .fork_prepare = &prepare,
                                        .fork_parent = &parent,
                                        .fork_child = &child};
[[maybe_unused]] const bool hooked = (platform::add_lifecycle_hook(hook), true);

}  // namespace

void register_ring(job_ring& ring) noexcept {
  guard g{no_mask, all.lock};
  list_add_tail(ring.node, all.rings);
}

void unregister_ring(job_ring& ring) noexcept {
  guard g{no_mask, all.lock};
  list_del_init(ring.node);
}

}  // namespace interlock::inline INTERLOCK_PLATFORM::device
