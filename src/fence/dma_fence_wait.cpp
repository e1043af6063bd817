// SPDX-License-Identifier: Apache-2.0

/// Waiting for fences. Who waits for one and may not be interrupted parks on its flags: all of them
/// are woken by one unpark, and none takes the fence's lock. Else there is a callback on the
/// waiter's stack that wakes its task, which so can be woken otherwise too.
///
/// Invariants: I1. Whoever runs the callback holds the fence's lock, and the waiter takes that lock
///   (in remove_callback) before it returns: so neither the callback nor the task ends while it is
///   being called. What is left of the wake after the lock knows both by address only, see
///   fence_waiter.hpp.
/// Ordering: the two-sided rule of task.hpp. The waiter announces its state [W1], then looks at the
///   flag; the signaller sets the flag, then wakes, which begins with a barrier [W2].
///   [E8] On the flags: the waiter sets `sleepers`, and parks as long as they hold what it has seen,
///   unsignalled and with that bit. Their modifications have one order: if the signal's is later it
///   finds the bit, and unparks after it; if it is earlier the waiter sees it, or its park does,
///   whose test of the word is atomic against that unpark. Other bits that change end a park early,
///   or stay unnoticed. Nobody clears `sleepers`: of one that has timed out an unpark too many is
///   left.
/// Contexts: task, may sleep.

#include <cstdlib>

#include "fence/fence_report.hpp"
#include "fence/fence_waiter.hpp"
#include "interlock/task.hpp"
#include "irq/service.hpp"
#include "sched/task_impl.hpp"

namespace interlock::inline INTERLOCK_PLATFORM {
namespace {

enum class wait_end { signaled, interrupted, timed_out };

using waiter = detail::fence_waiter;
using detail::wake_fence_waiter;

/// Sleeps until `is_done()`, which the callbacks of this task's waiters follow.
template <class Predicate>
wait_end sleep_until_done(Predicate is_done, task_state state, const detail::overdue_watch& watch,
                          location where) noexcept {
  wait_end end = wait_end::signaled;
  while (true) {
    set_current_state(state);  // [W1] pairs with [W2]
    if (is_done()) break;
    if (signal_pending_state(state)) {
      end = wait_end::interrupted;
      break;
    }
    if (!detail::schedule_until(watch.next(), watch.kind(), where)) {
      end = is_done() ? wait_end::signaled : wait_end::timed_out;
      break;
    }
  }
  set_current_state_raw(task_running);
  return end;
}

/// True if it is signalled; false when `watch.next()` has passed.
bool park_on_flags(dma_fence& fence, task& self, const detail::overdue_watch& watch) noexcept {
  std::uint32_t seen = fence.flags.load_acquire();  // [E4]
  bool slept = false;
  while ((seen & dma_fence_flag::signaled) == 0) {
    if ((seen & dma_fence_flag::sleepers) == 0) {
      seen = fence.flags.fetch_or_acquire(dma_fence_flag::sleepers);  // [E8], [E4]
      if ((seen & dma_fence_flag::signaled) != 0) break;
      seen |= dma_fence_flag::sleepers;
    }
    const auto parked = platform::park(fence.flags, seen, watch.next(),
                                       platform::park_scope::process, watch.kind());
    slept = slept || parked == platform::park_result::woken;
    seen = fence.flags.load_acquire();  // [E4]
    if (parked == platform::park_result::timed_out) {
      return (seen & dma_fence_flag::signaled) != 0;
    }
  }
  detail::learn_from_park(self, slept);
  return true;
}

/// Pre: armed, as I8 of dma_fence.cpp asks for.
wait_end wait_on_flags(dma_fence& fence, const detail::overdue_watch& watch,
                       location where) noexcept {
  detail::check_may_sleep_now(where);
  task& self = current_task();
  set_current_state_raw(task_uninterruptible);  // for who looks at it; nothing depends on it
  const auto is_done = [&fence] { return fence.test_signaled_flag(); };
  const bool has_deadline = watch.kind() != platform::deadline_kind::watchdog;
  const bool done =
      detail::spin_before_park(self, has_deadline, is_done) || park_on_flags(fence, self, watch);
  set_current_state_raw(task_running);
  return done ? wait_end::signaled : wait_end::timed_out;
}

wait_end default_wait(dma_fence& fence, task_state state, const detail::overdue_watch& watch,
                      location where) noexcept {
  if (watch.next() == expired_deadline) {
    return fence.is_signaled() ? wait_end::signaled : wait_end::timed_out;
  }
  if (state == task_uninterruptible) return wait_on_flags(fence, watch, where);
  waiter w{{}, &current_task()};
  if (!fence.add_callback(w.cb, wake_fence_waiter)) return wait_end::signaled;
  const auto is_done = [&fence] { return fence.test_signaled_flag(); };
  const wait_end end = sleep_until_done(is_done, state, watch, where);
  fence.remove_callback(w.cb);
  return end;
}

using wait_op = int (*)(dma_fence*, bool, std::int64_t);

/// A table with a wait op is never detached, so its maker outlives this.
wait_op find_wait_op(dma_fence& fence) noexcept {
  const guard g{rcu};
  const dma_fence_ops* const table = rcu_dereference(fence.ops);
  return table != nullptr ? table->wait : nullptr;
}

wait_end provider_wait(dma_fence& fence, wait_op op, bool interruptible, deadline until) noexcept {
  const int outcome = op(&fence, interruptible, until.time_since_epoch().count());
  if (outcome == 0) return wait_end::signaled;
  return outcome == -EINTR ? wait_end::interrupted : wait_end::timed_out;
}

wait_end wait_armed(dma_fence& fence, task_state state, deadline until, location where) noexcept {
  const wait_op op = find_wait_op(fence);
  detail::overdue_watch watch{until};
  while (true) {
    detail::serve_orphans_to_wait();  // again after a shutdown meanwhile
    const wait_end end = op != nullptr
                             ? provider_wait(fence, op, state == task_interruptible, watch.next())
                             : default_wait(fence, state, watch, where);
    if (end != wait_end::timed_out || watch.is_final()) return end;
    report_text text;
    watch.begin(text, where);
    detail::put_fence(text, fence);
    text << '\n';
    watch.submit(text);
  }
}

wait_end wait_for(dma_fence& fence, task_state state, deadline until, location where) noexcept {
  might_sleep(where);
  if (fence.test_signaled_flag()) return wait_end::signaled;
  platform::event::fence_wait_start(&fence);
  fence.enable_sw_signaling();
  const wait_end end = wait_armed(fence, state, until, where);
  platform::event::fence_wait_end(&fence);
  return end;
}

// --- several fences ------------------------------------------------------------------------------

using fence_span = std::span<dma_fence* const>;

constexpr std::size_t none = static_cast<std::size_t>(-1);
constexpr std::size_t waiters_on_stack = 16;
constexpr std::size_t fences_described = 4;

std::size_t first_signaled(fence_span fences) noexcept {
  for (std::size_t i = 0; i < fences.size(); ++i) {
    if (fences[i]->test_signaled_flag()) return i;
  }
  return none;
}

/// How many were added: all, or those before the first that is signalled already.
std::size_t add_waiters(fence_span fences, waiter* waiters) noexcept {
  task* const self = &current_task();
  for (std::size_t i = 0; i < fences.size(); ++i) {
    waiters[i].sleeper = self;
    if (!fences[i]->add_callback(waiters[i].cb, wake_fence_waiter)) return i;
  }
  return fences.size();
}

void describe_any(report_text& out, fence_span fences) noexcept {
  out << "any of " << fences.size() << " fences\n";
  for (std::size_t i = 0; i < fences.size() && i < fences_described; ++i) {
    detail::put_fence(out, *fences[i]);
    out << '\n';
  }
}

wait_end sleep_for_any(fence_span fences, task_state state, deadline until,
                       location where) noexcept {
  const auto is_done = [fences] { return first_signaled(fences) != none; };
  detail::overdue_watch watch{until};
  while (true) {
    detail::serve_orphans_to_wait();
    const wait_end end = sleep_until_done(is_done, state, watch, where);
    if (end != wait_end::timed_out || watch.is_final()) return end;
    report_text text;
    watch.begin(text, where);
    describe_any(text, fences);
    watch.submit(text);
  }
}

wait_end wait_for_any(fence_span fences, waiter* waiters, task_state state, deadline until,
                      location where) noexcept {
  for (dma_fence* fence : fences) platform::event::fence_wait_start(fence);
  const std::size_t added = add_waiters(fences, waiters);
  wait_end end = wait_end::signaled;
  if (added == fences.size()) end = sleep_for_any(fences, state, until, where);
  for (std::size_t i = 0; i < added; ++i) fences[i]->remove_callback(waiters[i].cb);
  for (dma_fence* fence : fences) platform::event::fence_wait_end(fence);
  return end;
}

}  // namespace

namespace detail {

const atomic<std::uint32_t>* begin_fence_wake(dma_fence_cb& cb) noexcept {
  fence_waiter& waiter = *INTERLOCK_CONTAINER_OF(&cb, fence_waiter, cb);
  return begin_wake(*waiter.sleeper, task_normal).parked;  // [W2] pairs with [W1]
}

void wake_fence_waiter(dma_fence*, dma_fence_cb* cb) noexcept {
  const atomic<std::uint32_t>* const parked = begin_fence_wake(*cb);
  if (parked != nullptr) platform::unpark(*parked, 1);
}

}  // namespace detail

void dma_fence::wait(location where) noexcept {
  (void)wait_for(*this, task_uninterruptible, no_deadline, where);
}

bool dma_fence::wait_until(deadline until, location where) noexcept {
  return wait_for(*this, task_uninterruptible, until, where) == wait_end::signaled;
}

result<void> dma_fence::wait_interruptible(deadline until, location where) noexcept {
  switch (wait_for(*this, task_interruptible, until, where)) {
    case wait_end::interrupted: return error::interrupted;
    case wait_end::timed_out: return error::timed_out;
    default: return {};
  }
}

result<std::size_t> dma_fence_wait_any(fence_span fences, deadline until, bool interruptible,
                                       location where) noexcept {
  might_sleep(where);
  if (fences.empty()) return error::invalid_argument;
  for (dma_fence* fence : fences) {
    if (fence == nullptr) return error::invalid_argument;
  }
  waiter on_stack[waiters_on_stack];
  waiter* waiters = on_stack;
  if (fences.size() > waiters_on_stack) {
    waiters = static_cast<waiter*>(std::calloc(fences.size(), sizeof(waiter)));
    if (waiters == nullptr) return error::not_enough_memory;
  }
  const task_state state = interruptible ? task_interruptible : task_uninterruptible;
  const wait_end end = wait_for_any(fences, waiters, state, until, where);
  if (waiters != on_stack) std::free(waiters);
  if (end == wait_end::interrupted) return error::interrupted;
  if (end == wait_end::timed_out) return error::timed_out;
  return first_signaled(fences);
}

}  // namespace interlock::inline INTERLOCK_PLATFORM
