// SPDX-License-Identifier: Apache-2.0

/// High-resolution timers: one heap, served by the service CPU.
///
/// Bits of `state`:
/// - armed: it is in the heap.
/// - posted: it expired, and its node is on the way to the CPU that started it.
/// - void: posted, but cancelled or started anew, so the node's arrival does nothing; or running
///   and to be cancelled, so that `restart` is not obeyed.
///
/// Invariants:
///   T1. `state`, the heap, and every CPU's `running_timer` change under `timers_lock` (irqsave).
///   T2. While a function runs, its CPU's `running_timer` points to the timer. After a function has
///       returned norestart the timer is not touched: it may be gone.
///   T3. The service CPU sleeps no longer than until the first expiry: whoever puts a timer in
///       front of the others wakes it.
///   T4. One run of what is due is bounded, by `runs_max`, and a timer that restarts without having
///       moved its expiry expires anew now, behind whatever else is due: so no timer keeps the
///       service CPU from the others, nor from its lines.
///   T5. A timer may be in the heap while there is no service CPU: started where nobody may sleep,
///       or left by a shutdown or a fork. `timers_wait` tells the next operation of a task, which
///       starts one.
/// Contexts: functions run in hardirq context with interrupts off, without the lock.

#include "interlock/hrtimer.hpp"

#include "interlock/irq_work.hpp"
#include "interlock/might_sleep.hpp"
#include "interlock/spinlock.hpp"
#include "interlock/task.hpp"
#include "interlock_platform/park.hpp"
#include "irq/lifecycle.hpp"
#include "irq/service.hpp"
#include "irq/timer_heap.hpp"
#include "irq/waiters.hpp"

namespace interlock::inline INTERLOCK_PLATFORM {
namespace {

constexpr std::uint32_t armed_bit = 1u << 0;
constexpr std::uint32_t posted_bit = 1u << 1;
constexpr std::uint32_t void_bit = 1u << 2;
constexpr unsigned runs_max = 64;

constinit spinlock timers_lock;
constinit hrtimer* first INTERLOCK_GUARDED_BY(timers_lock) = nullptr;
constinit atomic<std::uint32_t> armed_timers{0};  ///< in the heap; written under the lock
constinit detail::irq_waiters waiters;

/// True if it stands in front now.
bool arm(hrtimer& timer) noexcept INTERLOCK_REQUIRES(timers_lock) {
  if ((timer.state & armed_bit) != 0) {
    detail::heap_remove(first, timer);
  } else {
    armed_timers.store_relaxed(armed_timers.load_relaxed() + 1);
  }
  timer.state |= armed_bit;
  detail::heap_insert(first, timer);
  return first == &timer;
}

void disarm(hrtimer& timer) noexcept INTERLOCK_REQUIRES(timers_lock) {
  detail::heap_remove(first, timer);
  timer.state &= ~armed_bit;
  armed_timers.store_relaxed(armed_timers.load_relaxed() - 1);
}

/// Natively at most two CPUs can run it: the one that started it, and the service CPU.
bool function_runs(const hrtimer& timer) noexcept INTERLOCK_REQUIRES(timers_lock) {
  guard g{rcu};
  const detail::cpu_descriptor* cpu = detail::first_cpu();
  while (cpu != nullptr && cpu->running_timer != &timer) cpu = rcu_dereference(cpu->next);
  return cpu != nullptr;
}

/// In hardirq context. Pre: the lock is held, in no_mask mode; it is dropped around the call.
void call(detail::cpu_descriptor& cpu, hrtimer& timer) noexcept
    INTERLOCK_REQUIRES(timers_lock) INTERLOCK_NO_THREAD_SAFETY_ANALYSIS {
  cpu.running_timer = &timer;  // T2
  const deadline expired = timer.expires;
  timers_lock.unlock(no_mask);
  const detail::handler_context context = detail::enter_handler();
  const hrtimer_restart end = timer.func(timer);
  detail::check_handler(context, "hrtimer", "");
  timers_lock.lock(no_mask);
  bool in_front = false;
  if (end == hrtimer_restart::restart && (timer.state & (armed_bit | void_bit)) == 0) {
    if (timer.expires == expired) timer.expires = monotonic_clock::now();  // T4
    in_front = arm(timer);
  }
  cpu.running_timer = nullptr;
  if (in_front && !cpu.is_service) detail::wake_service();  // T3
}

/// Sends an expired timer to the CPU that started it. False if that has ended.
bool send(hrtimer& timer) noexcept {
  guard g{rcu};
  detail::cpu_descriptor* const cpu = detail::find_cpu(timer.cpu);
  return cpu != nullptr && !cpu->is_service && detail::post(*cpu, timer.node);
}

void expire(detail::cpu_descriptor& service, hrtimer& timer) noexcept
    INTERLOCK_REQUIRES(timers_lock) INTERLOCK_NO_THREAD_SAFETY_ANALYSIS {
  disarm(timer);
  if (timer.run_mode == hrtimer_mode::service) {
    call(service, timer);
    return;
  }
  if ((timer.state & posted_bit) != 0) {
    timer.state &= ~void_bit;  // the node that is on its way serves this expiry
    return;
  }
  timer.state |= posted_bit;
  if (!send(timer)) {
    timer.state &= ~posted_bit;
    call(service, timer);
  }
}

/// Runs what is due, as an interrupt of the service CPU.
void run_due(irq_work&) noexcept INTERLOCK_NO_THREAD_SAFETY_ANALYSIS {
  detail::cpu_descriptor& cpu = *detail::this_descriptor();
  timers_lock.lock(no_mask);
  const deadline now = monotonic_clock::now();
  // What is left is due still, and so comes in the next round.
  for (unsigned runs = 0; runs < runs_max && first != nullptr && first->expires <= now; ++runs) {
    expire(cpu, *first);
  }
  timers_lock.unlock(no_mask);
  waiters.wake();
}

constinit irq_work due_work{[](irq_work& work) { run_due(work); }};

deadline next_expiry() noexcept {
  guard g{irqsave, timers_lock};
  return first != nullptr ? first->expires : no_deadline;
}

bool is_on_its_way(const hrtimer& timer) noexcept INTERLOCK_REQUIRES(timers_lock) {
  return (timer.state & posted_bit) != 0 || function_runs(timer);
}

/// One attempt of hrtimer_cancel. True when nothing is left to wait for.
bool cancel_once(hrtimer& timer, bool& was_armed) noexcept {
  guard g{irqsave, timers_lock};
  const std::uint32_t state = timer.state;
  if ((state & armed_bit) != 0) disarm(timer);
  // Its node will find that it is void: as good as armed.
  if ((state & armed_bit) != 0 || (state & (posted_bit | void_bit)) == posted_bit) was_armed = true;
  if (is_on_its_way(timer)) {
    timer.state |= void_bit;
    return false;
  }
  timer.state &= ~void_bit;
  return true;
}

bool has_arrived(const hrtimer& timer) noexcept {
  guard g{irqsave, timers_lock};
  return !is_on_its_way(timer);
}

}  // namespace

namespace detail {

bool timers_wait() noexcept { return armed_timers.load_relaxed() != 0; }

deadline serve_timers() noexcept {
  deadline next = next_expiry();
  if (next <= monotonic_clock::now()) {
    (void)irq_work_queue(due_work);
    // Held back by a fork, whose end wakes the service CPU?
    next = due_work.flags.load_relaxed() != 0 ? no_deadline : next_expiry();
  }
  return next;
}

bool is_due_work(const cpu_node& node) noexcept { return &node == &due_work.node; }

void hrtimer_run_pinned(cpu_node& node, bool gone) noexcept INTERLOCK_NO_THREAD_SAFETY_ANALYSIS {
  hrtimer& timer = *INTERLOCK_CONTAINER_OF(&node, hrtimer, node);
  if (gone) {
    post_to_service(node);
    return;
  }
  timers_lock.lock(no_mask);
  const bool wanted = (timer.state & void_bit) == 0;
  timer.state &= ~(posted_bit | void_bit);
  if (wanted) call(*this_descriptor(), timer);
  timers_lock.unlock(no_mask);
  waiters.wake();
}

void timers_fork_prepare() noexcept INTERLOCK_NO_THREAD_SAFETY_ANALYSIS {
  timers_lock.lock(no_mask);
}
void timers_fork_parent() noexcept INTERLOCK_NO_THREAD_SAFETY_ANALYSIS {
  timers_lock.unlock(no_mask);
}
void timers_fork_child() noexcept INTERLOCK_NO_THREAD_SAFETY_ANALYSIS {
  timers_lock.unlock(no_mask);
  due_work.flags.store_relaxed(0);  // the CPU that ran it is not here
  std::construct_at(&waiters, spinlock::remade{});
}

}  // namespace detail

// Not hrtimer_cancel(): it may be freed where nothing sleeps, and by its own function.
hrtimer::~hrtimer() {
  if (!started) return;
  bool was_armed = false;
  while (!cancel_once(*this, was_armed)) {
    const detail::cpu_descriptor* const self = detail::this_descriptor();
    if (self != nullptr && self->running_timer == this) return;
    detail::serve_orphans_to_wait();  // its node may wait for a service CPU, in the child of a fork
    platform::yield();
  }
}

result<void> hrtimer_start(hrtimer& timer, deadline when) noexcept {
  const result<cpu_id> service = detail::require_service();
  if (!service && sleep_allowed()) return service.error();  // else armed all the same: T5
  cpu_id pinned_to = cpu_id::none;
  if (timer.run_mode == hrtimer_mode::pinned) {
    const result<cpu_id> own = online_cpu();
    if (!own) return own.error();
    pinned_to = *own;
  }
  bool in_front;
  {
    guard g{irqsave, timers_lock};
    if ((timer.state & armed_bit) != 0) disarm(timer);
    if ((timer.state & posted_bit) != 0) timer.state |= void_bit;
    timer.started = true;
    timer.expires = when;
    timer.cpu = pinned_to;
    in_front = arm(timer);
  }
  const detail::cpu_descriptor* const self = detail::this_descriptor();
  if (in_front && (self == nullptr || !self->is_service)) detail::wake_service();  // T3
  return {};
}

std::uint64_t hrtimer_forward(hrtimer& timer, deadline now, ktime period) noexcept {
  guard g{irqsave, timers_lock};
  // Started anew by somebody while the function runs: it stands in the heap, and that start holds.
  if ((timer.state & armed_bit) != 0) return 0;
  if (now < timer.expires || period <= ktime::zero()) return 0;
  const auto periods = (now - timer.expires) / period + 1;
  timer.expires += periods * period;
  return static_cast<std::uint64_t>(periods);
}

bool hrtimer_cancel(hrtimer& timer, location where) noexcept {
  might_sleep(where);
  bool was_armed = false;
  while (!cancel_once(timer, was_armed)) {
    waiters.wait([&] { return has_arrived(timer); }, where);
  }
  return was_armed;
}

int hrtimer_try_to_cancel(hrtimer& timer) noexcept {
  guard g{irqsave, timers_lock};
  if (is_on_its_way(timer)) return -1;
  if ((timer.state & armed_bit) == 0) return 0;
  disarm(timer);
  return 1;
}

}  // namespace interlock::inline INTERLOCK_PLATFORM
