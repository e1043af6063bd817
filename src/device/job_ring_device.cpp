// SPDX-License-Identifier: Apache-2.0

/// The device's side of a job ring: taking jobs, completing them in order, sleeping.
///
/// Invariants: of interlock/device/job_ring.hpp. Here: entries retire in batches; the fences of a
///             batch are held until the word has passed them.
/// Ordering:   [D2], [D3], [D5], [D8] there.
/// Contexts:   the device's thread, a task.

#include "device/job_ring_impl.hpp"
#include "interlock/guard.hpp"

namespace interlock::inline INTERLOCK_PLATFORM {
namespace {

/// How many jobs one store of the word completes at most.
constexpr std::size_t batch_max = 16;

void take_fault(job_ring& ring, job_entry& entry) noexcept {
  if (ring.fault_count.load_acquire() == 0) return;  // pairs with job_ring_inject
  guard g{no_mask, ring.lock};
  for (device_fault& fault : ring.faults) {
    if (fault.what == device_fault::action::none || fault.index + 1 != entry.seqno) continue;
    entry.fault = fault;
    fault = {};
    ring.fault_count.store_relaxed(ring.fault_count.load_relaxed() - 1);
    return;
  }
}

/// Writes the outcome into the job; what it waited for is let go. The job is still the device's.
void record_outcome(job_ring& ring, job_entry& entry, std::int64_t outcome) noexcept {
  const int cancelled = device::cancel_code(entry);
  if (cancelled != 0) outcome = cancelled;
  job& work = *entry.work;
  for (auto& wait : work.waits) wait.reset();
  work.result = outcome;
  if (ring.options.timestamps) work.finished = monotonic_clock::now();
  device::count(ring.counters.completed);
  if (outcome >= 0) return;
  const int code = static_cast<int>(outcome);
  device::count(ring.counters.failed);
  // Never started: a wait failed, or it was cancelled before.
  if (cancelled != 0 || !entry.started) device::count(ring.counters.cancelled);
  entry.fence->set_error(from_negative_errno(code));
  device::record_failure(*ring.record, entry.seqno, code);
}

/// Raises the line if somebody asked to hear of it.
void announce(job_ring& ring, bool armed) noexcept {
  if (!ring.options.arm_every_fence && !armed) return;
  device::count(ring.counters.interrupts);
  raise_irq(*ring.line);
}

/// Completes the finished entries that follow `retired` without a gap; true if there may be more.
bool retire_batch(job_ring& ring) noexcept {
  const std::size_t limit = ring.options.arm_every_fence ? 1 : batch_max;
  const std::uint64_t first = ring.retired.load_relaxed() + 1;
  ref_ptr<dma_fence> done[batch_max];
  std::uint64_t next = first;
  while (next - first < limit && next <= ring.taken && ring.entry(next).finished) {
    done[next - first] = std::move(ring.entry(next).fence);
    ring.entry(next).work->in_flight = 0;
    ring.entry(next).finished = false;
    ++next;
  }
  if (next == first) return false;
  // The entries go back first: who waits for the word may submit at once and must find room.
  ring.retired.store_release(next - 1);  // [D5] pairs with [D6] job_ring_submit
  {
    guard g{signalling};
    announce(ring, seqno_timeline_advance(*ring.timeline, next - 1));
  }
  return next - first == limit;
}

}  // namespace

job_entry* job_ring_next(job_ring& ring) noexcept {
  if (ring.accepted.load_acquire() == ring.taken) return nullptr;  // [D2] pairs with [D1]
  return &ring.entry(ring.taken + 1);
}

bool job_ring_closed(const job_ring& ring) noexcept {
  return ring.closed.load_acquire() != 0 &&  // pairs with job_ring_close
         ring.accepted.load_acquire() == ring.retired.load_relaxed();
}

int job_ring_start(job_ring& ring, job_entry& entry) noexcept {
  ring.taken = entry.seqno;
  entry.started = true;
  job& work = *entry.work;
  if (ring.options.timestamps) work.started = monotonic_clock::now();
  take_fault(ring, entry);
  if (const int code = device::cancel_code(entry); code != 0) return code;
  if (entry.fault.what == device_fault::action::error) return entry.fault.error_code;
  return work.prepare != nullptr ? work.prepare(work) : 0;
}

void job_ring_finish(job_ring& ring, job_entry& entry, std::int64_t outcome) noexcept {
  if (entry.seqno > ring.taken) ring.taken = entry.seqno;
  record_outcome(ring, entry, outcome);
  entry.finished = true;
  while (retire_batch(ring)) {
  }
}

void job_ring_for_each_running(job_ring& ring,
                               void (*visit)(void* device, job_entry& entry)) noexcept {
  for (std::uint64_t n = ring.retired.load_relaxed() + 1; n <= ring.taken; ++n) {
    if (!ring.entry(n).finished) visit(ring.device, ring.entry(n));
  }
}

bool job_ring_prepare_sleep(job_ring& ring, job_ring_sleep what) noexcept {
  ring.sleeping.store_relaxed(static_cast<std::uint32_t>(what));
  smp_mb();  // [D3] pairs with [D4] wake_sleeper
  bool work = false;
  if (what == job_ring_sleep::for_work) work = job_ring_next(ring) != nullptr;
  if (what == job_ring_sleep::for_link) {
    work = ring.link.signaled.load_acquire() != 0 ||  // pairs with on_signal
           device::cancel_code(*job_ring_next(ring)) != 0;
  }
  if (!work && !job_ring_closed(ring)) return true;
  ring.sleeping.store_relaxed(static_cast<std::uint32_t>(job_ring_sleep::awake));
  return false;
}

void job_ring_finish_sleep(job_ring& ring, std::uint64_t wakes) noexcept {
  const auto what = static_cast<job_ring_sleep>(ring.sleeping.load_relaxed());
  ring.sleeping.store_relaxed(static_cast<std::uint32_t>(job_ring_sleep::awake));
  if (wakes == 0) return;
  device::count(ring.counters.wakes, wakes);
  if (what == job_ring_sleep::for_link) device::count(ring.counters.wakes_on_link, wakes);
}

}  // namespace interlock::inline INTERLOCK_PLATFORM
