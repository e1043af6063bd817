// SPDX-License-Identifier: Apache-2.0

/// Timelines around a fork: whole in the child, and with nothing of the parent's waiting in them.
///
/// Invariants: I6 of seqno_timeline.hpp. The list's lock comes before a timeline's; nobody but the
///             forker holds two timelines' locks.
/// Limits:     a fence that another thread was signalling at the moment of the fork may stay
///             unsignalled in the child; so may one that another thread was arming.
/// Contexts:   the hooks run around fork, in a task.

#include "fence/fork_locks.hpp"
#include "fence/seqno_timeline.hpp"
#include "interlock/irqflags.hpp"
#include "interlock_platform/lifecycle.hpp"

namespace interlock::inline INTERLOCK_PLATFORM::detail {
namespace {

struct timeline_list {
  spinlock lock;
  list_head timelines INTERLOCK_GUARDED_BY(lock) = {&timelines, &timelines};
};
constinit timeline_list all;
constinit irq_flags saved_flags{};  ///< of the forking thread; under `all.lock`

seqno_timeline& timeline_at(list_head* node) noexcept {
  return *INTERLOCK_CONTAINER_OF(node, seqno_timeline, all);
}

template <class Function>
void for_each_timeline(Function function) noexcept INTERLOCK_NO_THREAD_SAFETY_ANALYSIS {
  for (list_head* at = all.timelines.next; at != &all.timelines; at = at->next) {
    function(timeline_at(at));
  }
}

void fork_prepare() noexcept INTERLOCK_NO_THREAD_SAFETY_ANALYSIS {
  const irq_flags flags = all.lock.lock(irqsave);
  saved_flags = flags;
  for_each_timeline([](seqno_timeline& timeline) { hold_across_fork(timeline.lock); });
}

void fork_parent() noexcept INTERLOCK_NO_THREAD_SAFETY_ANALYSIS {
  for_each_timeline([](seqno_timeline& timeline) { let_go_after_fork(timeline.lock); });
  all.lock.unlock(irqsave, saved_flags);
}

/// The first timeline after `before` (null: of all) with a reference, or null.
ref_ptr<seqno_timeline> next_timeline(const seqno_timeline* before) noexcept {
  guard g{irqsave, all.lock};
  list_head* at = before != nullptr ? before->all.next : all.timelines.next;
  for (; at != &all.timelines; at = at->next) {
    if (timeline_at(at).references.get_unless_zero()) {
      return ref_ptr<seqno_timeline>::adopt(&timeline_at(at));
    }
  }
  return nullptr;
}

/// Its lock is held, by fork_prepare.
void leave_parent_held(seqno_timeline& timeline) noexcept INTERLOCK_NO_THREAD_SAFETY_ANALYSIS {
  leave_parent(timeline);
}

/// What has failed by the fork (device_fork.cpp) tells its fences: they have no callbacks any more.
void fork_child() noexcept INTERLOCK_NO_THREAD_SAFETY_ANALYSIS {
  for_each_timeline(leave_parent_held);
  fork_parent();
  ref_ptr<seqno_timeline> at = next_timeline(nullptr);
  while (at) {
    if (seqno_timeline_error(*at) != 0) (void)seqno_timeline_process(*at);
    at = next_timeline(at.get());
  }
}

constinit platform::lifecycle_hook hook{.order = platform::hook_order::timelines,
                                        .fork_prepare = fork_prepare,
                                        .fork_parent = fork_parent,
                                        .fork_child = fork_child};

[[gnu::constructor]] void install_hook() noexcept { platform::add_lifecycle_hook(hook); }

}  // namespace

void link_timeline(seqno_timeline& timeline) noexcept {
  guard g{irqsave, all.lock};
  list_add_tail(timeline.all, all.timelines);
}

void unlink_timeline(seqno_timeline& timeline) noexcept {
  guard g{irqsave, all.lock};
  list_del_init(timeline.all);
}

}  // namespace interlock::inline INTERLOCK_PLATFORM::detail
