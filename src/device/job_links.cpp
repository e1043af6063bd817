// SPDX-License-Identifier: Apache-2.0

/// How a device waits for the fences of its next job: in memory where it can, else by a callback.
///
/// Invariants: I1. At most one link is armed: jobs start in order, so only the next job waits.
///   I2. `link.fence` is held while it is armed, `waiting_on` is valid while it is set.
///   I3. An error of the fence is read after the wait for it is over, and becomes the job's.
/// Ordering:   [L1] a callback sets `signaled`, then looks for the sleeper ([D4]); [L2] the
///   device's thread announces its sleep ([D3]), then reads it.
///   [L3] a cancel marks the entry [D7], then kicks `waiting_on` under the ring's lock; the thread
///   sets `waiting_on` under the lock [L4], then reads the mark: one of them sees the other.
/// Contexts:   the device's thread, a task; `on_signal` any but NMI.

#include <utility>

#include "device/job_ring_impl.hpp"
#include "interlock/guard.hpp"
#include "interlock/report.hpp"
#include "sched/task_impl.hpp"

namespace interlock::inline INTERLOCK_PLATFORM {
namespace {

/// 0 while it is not done, 1 if it went well, else -errno. A device that failed as a whole
/// included.
int outcome_of(dma_fence& fence) noexcept { return fence.status(); }

void on_signal(dma_fence*, dma_fence_cb* cb) {
  auto* const link = INTERLOCK_CONTAINER_OF(cb, device::link_wait, callback);
  auto* const ring = INTERLOCK_CONTAINER_OF(link, job_ring, link);
  link->signaled.store_release(1);  // [L1] pairs with [L2]
  device::wake_sleeper(*ring, job_ring_sleep::for_link);
}

/// Adds the callback; false if the fence is signalled by now. That it is decided in memory does not
/// mean so: who has settled it may be kept from signalling it, by this very thread's priority.
bool add_callback(job_ring& ring, const ref_ptr<dma_fence>& fence) noexcept {
  ring.link.signaled.store_relaxed(0);
  if (!fence->add_callback(ring.link.callback, &on_signal)) return false;
  ring.link.armed = device::link_wait::kind::callback;
  ring.link.fence = fence;
  ring.link.watch = detail::overdue_watch{no_deadline};
  return true;
}

/// The same for a fence that is not waited for in memory.
bool arm_callback(job_ring& ring, const ref_ptr<dma_fence>& fence) noexcept {
  if (!add_callback(ring, fence)) return false;
  device::count(ring.counters.callback_waits);
  return true;
}

/// A wait in memory is over; it counts, whether it had to sleep or not.
void count_memory_wait(job_ring& ring) noexcept {
  if (std::exchange(ring.link.in_memory, false)) device::count(ring.counters.memory_waits);
}

/// The watchdog of the armed link: says who waits for what, and for how long.
void report_if_overdue(job_ring& ring, location where = location::current()) noexcept {
  device::link_wait& link = ring.link;
  if (link.watch.is_final() || monotonic_clock::now() < link.watch.next()) return;
  report_text text;
  link.watch.begin(text, where);
  detail::put_fence(text, *link.fence);
  text << "\nwaited for by driver=" << ring.record->driver_name
       << " timeline=" << ring.record->timeline_name << " seqno=" << ring.taken + 1 << '\n';
  link.watch.submit(text);
}

/// The point in memory that `fence` stands for, if this ring waits in memory at all.
seqno_point memory_point(const job_ring& ring, const dma_fence& fence) noexcept {
  if (ring.options.link != link_mode::memory) return {nullptr, 0};
  return to_seqno_fence(fence);
}

/// Sleeps until the callback has run or the job is cancelled.
void sleep_for_callback(job_ring& ring) noexcept {
  task& self = current_task();
  while (true) {
    set_current_state(task_interruptible);
    if (!job_ring_prepare_sleep(ring, job_ring_sleep::for_link)) break;  // [L2]
    const std::uint64_t before = wakeups_of(self);
    (void)detail::schedule_until(ring.link.watch.next(), ring.link.watch.kind(),
                                 location::current());
    job_ring_finish_sleep(ring, wakeups_of(self) - before);
    report_if_overdue(ring);
  }
  set_current_state_raw(task_running);
}

/// Sleeps on the word until it has passed, its producer failed, or the job is cancelled.
void sleep_in_memory(job_ring& ring, const job_entry& entry, const seqno_point& point) noexcept {
  const auto timeline = ref_ptr<seqno_timeline>::share(*point.timeline);
  {
    guard g{no_mask, ring.lock};
    ring.waiting_on = timeline.get();  // [L4] pairs with [L3] mark_cancelled
  }
  const std::uint64_t before = wakeups_of(current_task());
  while (device::cancel_code(entry) == 0) {
    // `stopped` ends it only by the loop's condition: a kick may be meant for somebody else.
    const seqno_wait_end end =
        seqno_wait_until(*timeline, point.seqno, no_deadline, &entry.cancelled);
    if (end == seqno_wait_end::passed || end == seqno_wait_end::failed) break;
  }
  const std::uint64_t wakes = wakeups_of(current_task()) - before;
  {
    guard g{no_mask, ring.lock};
    ring.waiting_on = nullptr;
  }
  device::count(ring.counters.wakes, wakes);
  device::count(ring.counters.wakes_on_link, wakes);
}

/// Waits for one fence: 0, or -errno.
int wait_for(job_ring& ring, job_entry& entry, const ref_ptr<dma_fence>& fence) noexcept {
  while (!fence->test_signaled_flag()) {
    if (const int cancelled = device::cancel_code(entry); cancelled != 0) return cancelled;
    if (const seqno_point point = memory_point(ring, *fence); point.timeline != nullptr) {
      ring.link.in_memory = true;
      sleep_in_memory(ring, entry, point);
      if (device::cancel_code(entry) != 0 || outcome_of(*fence) != 0) continue;
      if (!add_callback(ring, fence)) continue;
    } else if (!arm_callback(ring, fence)) {
      continue;
    }
    sleep_for_callback(ring);
    device::disarm_link(ring);
  }
  count_memory_wait(ring);
  const int outcome = outcome_of(*fence);
  return outcome < 0 ? outcome : 0;
}

}  // namespace

int job_ring_wait(job_ring& ring, job_entry& entry) noexcept {
  might_sleep();
  for (auto& fence : entry.work->waits) {
    if (!fence) continue;
    if (const int code = wait_for(ring, entry, fence); code != 0) return code;
  }
  return device::cancel_code(entry);
}

namespace {

/// The armed link has nothing to tell yet.
bool still_pending(job_ring& ring) noexcept {
  device::link_wait& link = ring.link;
  if (link.armed == device::link_wait::kind::none) return false;
  const bool pending = link.armed == device::link_wait::kind::callback
                           ? link.signaled.load_acquire() == 0  // [L2] pairs with [L1]
                           : !seqno_timeline_passed(*link.timeline, link.seqno) &&
                                 seqno_timeline_error(*link.timeline) == 0;
  if (pending) report_if_overdue(ring);
  return pending;
}

/// Arms a link that rings `event_fd` or calls `wake`; false if the fence is done by now.
bool arm(job_ring& ring, const ref_ptr<dma_fence>& fence, int event_fd) noexcept {
  const seqno_point point = memory_point(ring, *fence);
  if (point.timeline == nullptr) return arm_callback(ring, fence);
  device::link_wait& link = ring.link;
  link.event.fd = event_fd;
  link.timeline = ref_ptr<seqno_timeline>::share(*point.timeline);
  link.seqno = point.seqno;
  if (!seqno_event_arm(*link.timeline, link.event, point.seqno)) {
    link.timeline.reset();
    return outcome_of(*fence) == 0 && add_callback(ring, fence);
  }
  link.armed = device::link_wait::kind::memory;
  link.fence = fence;
  link.watch = detail::overdue_watch{no_deadline};
  return true;
}

/// One fence of an entry: over, pending or failed.
job_links poll_fence(job_ring& ring, const ref_ptr<dma_fence>& fence, int event_fd,
                     int* failure) noexcept {
  if (still_pending(ring)) return job_links::pending;
  device::disarm_link(ring);
  if (memory_point(ring, *fence).timeline != nullptr) ring.link.in_memory = true;
  // A fence that cannot be armed is signalled.
  while (!fence->test_signaled_flag() && outcome_of(*fence) == 0) {
    if (arm(ring, fence, event_fd)) return job_links::pending;
  }
  count_memory_wait(ring);
  const int outcome = outcome_of(*fence);
  if (outcome >= 0) return job_links::over;
  *failure = outcome;
  return job_links::failed;
}

}  // namespace

job_links job_ring_poll(job_ring& ring, job_entry& entry, int event_fd, int* failure) noexcept {
  if (*failure = device::cancel_code(entry); *failure != 0) {
    device::disarm_link(ring);
    ring.link.in_memory = false;
    return job_links::failed;
  }
  for (; entry.next_wait < job::max_waits; ++entry.next_wait) {
    const auto& fence = entry.work->waits[entry.next_wait];
    if (!fence) continue;
    const job_links state = poll_fence(ring, fence, event_fd, failure);
    if (state != job_links::over) return state;
  }
  return job_links::over;
}

deadline job_ring_look_before(const job_ring& ring) noexcept {
  const bool armed = ring.link.armed != device::link_wait::kind::none;
  return armed ? ring.link.watch.next() : no_deadline;
}

namespace device {

void disarm_link(job_ring& ring) noexcept {
  link_wait& link = ring.link;
  if (link.armed == link_wait::kind::memory) {
    (void)seqno_event_cancel(*link.timeline, link.event);
  } else if (link.armed == link_wait::kind::callback) {
    // Also if it ran: on return it does not run now, so the ring may go away.
    (void)link.fence->remove_callback(link.callback);
    link.signaled.store_relaxed(0);
  }
  link.armed = link_wait::kind::none;
  link.timeline.reset();
  link.fence.reset();
}

}  // namespace device
}  // namespace interlock::inline INTERLOCK_PLATFORM
