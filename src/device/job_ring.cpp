// SPDX-License-Identifier: Apache-2.0

/// The owner's side of a job ring: making it, submitting, cancelling, closing.
///
/// Invariants: of interlock/device/job_ring.hpp; here: `submitted` == `accepted` outside of `lock`.
/// Ordering:   [D1] to [D8] there.
/// Contexts:   task.

#include <cstdlib>
#include <new>

#include "device/job_ring_impl.hpp"
#include "fence/seqno_timeline.hpp"
#include "interlock/guard.hpp"
#include "interlock/might_sleep.hpp"
#include "interlock_platform/lifecycle.hpp"

namespace interlock::inline INTERLOCK_PLATFORM {
namespace {

constexpr std::uint64_t ring_size_max = 1u << 20;

std::uint64_t round_up(std::uint64_t wanted) noexcept {
  std::uint64_t size = 2;
  while (size < wanted && size < ring_size_max) size <<= 1;
  return size;
}

irqreturn on_interrupt(irq_line&, void* cookie) {
  (void)seqno_timeline_process(*static_cast<seqno_timeline*>(cookie));
  return irqreturn::handled;
}

result<void> make_line(job_ring& ring) noexcept {
  irq_line_options line_options;
  line_options.name = ring.record->timeline_name;
  auto line = make_irq_line(line_options);
  if (!line) return line.error();
  ring.line = std::move(*line);

  // The handler's reference, put when the handler is gone for good.
  intrusive_get(*ring.timeline);
  irq_request_options request;
  request.name = ring.record->timeline_name;
  auto action = request_threaded_irq_raw(
      *ring.line, &on_interrupt, nullptr, ring.timeline.get(),
      [](void* cookie) { intrusive_put(*static_cast<seqno_timeline*>(cookie)); }, request);
  if (!action) return action.error();
  ring.action = std::move(*action);
  return {};
}

/// What a parent of ours has in flight is not ours.
std::uint32_t in_flight_mark() noexcept { return platform::fork_generation() + 1; }

/// What does not depend on the state of the ring.
result<void> validate(const job_ring& ring, const job& work) noexcept {
  if ((ring.ops.kinds & kind_bit(work.kind)) == 0) return error::operation_not_supported;
  if (work.kind == job_kind::execute && work.execute == nullptr) return error::invalid_argument;
  const bool has_work = work.execute != nullptr || work.buffer != nullptr || work.fd >= 0;
  if (work.kind == job_kind::nop && has_work) return error::invalid_argument;
  if (work.in_flight == in_flight_mark()) return error::device_or_resource_busy;
  return {};
}

/// The device's word of a job that nobody can see yet.
void fill(job_entry& entry, job& work, std::uint64_t seqno, const ref_ptr<dma_fence>& fence) {
  entry.work = &work;
  entry.seqno = seqno;
  entry.cancelled.store_relaxed(0);
  entry.fault = {};
  entry.fence = fence;
  entry.next_wait = 0;
  entry.started = false;
  entry.finished = false;
  work.seqno = seqno;
  work.result = 0;
  work.in_flight = in_flight_mark();
}

/// What job_ring_submit does under the lock. Takes over `memory` if it succeeds.
result<ref_ptr<dma_fence>> enqueue(job_ring& ring, job& work, void* memory) noexcept
    INTERLOCK_REQUIRES(ring.lock) {
  if (ring.closed.load_relaxed() != 0) return error::no_such_device;
  const std::uint64_t depth = ring.submitted - ring.retired.load_acquire();  // [D6] with [D5]
  if (depth >= ring.size) return error::resource_unavailable_try_again;
  const std::uint64_t seqno = ring.submitted + 1;
  ref_ptr<dma_fence> fence = detail::make_seqno_fence_in(memory, *ring.timeline, seqno);

  fill(ring.entry(seqno), work, seqno, fence);
  ring.submitted = seqno;
  device::count(ring.counters.submitted);
  if (depth + 1 > ring.counters.depth_max.load_relaxed()) {
    ring.counters.depth_max.store_relaxed(depth + 1);
  }
  ring.accepted.store_release(seqno);  // [D1] pairs with [D2]
  return fence;
}

/// Marks what has not finished; under the lock no entry is reused meanwhile.
void mark_cancelled(job_ring& ring, error e) noexcept INTERLOCK_REQUIRES(ring.lock) {
  for (std::uint64_t n = ring.retired.load_acquire() + 1; n <= ring.submitted; ++n) {  // [D6]
    std::uint32_t none = 0;
    // [D7] pairs with [D8]; the first reason stays.
    (void)ring.entry(n).cancelled.compare_exchange_release(none, static_cast<std::uint32_t>(e));
  }
  if (ring.waiting_on != nullptr) seqno_timeline_kick(*ring.waiting_on);
}

}  // namespace

result<job_ring*> make_job_ring(const job_ring_ops& ops, void* device,
                                const device_queue_options& options) noexcept {
  might_sleep();
  auto timeline = device::make_device_timeline(ops.driver_name, options.name);
  if (!timeline) return timeline.error();
  void* const memory = std::malloc(sizeof(job_ring));
  if (memory == nullptr) return error::not_enough_memory;
  auto* const ring = new (memory) job_ring;
  ring->ops = ops;
  ring->device = device;
  ring->options = options;
  ring->size = round_up(options.ring_size);
  ring->timeline = std::move(*timeline);
  ring->record = static_cast<device::timeline_record*>(seqno_timeline_cookie(*ring->timeline));
  ring->ops.driver_name = ring->record->driver_name;
  ring->options.name = ring->record->timeline_name;
  ring->generation = platform::fork_generation();
  device::register_ring(*ring);

  void* const entries = std::calloc(ring->size, sizeof(job_entry));
  if (entries == nullptr) {
    destroy_job_ring(ring);
    return error::not_enough_memory;
  }
  ring->entries = static_cast<job_entry*>(entries);
  for (std::uint64_t i = 0; i < ring->size; ++i) new (&ring->entries[i]) job_entry;
  if (auto line = make_line(*ring); !line) {
    destroy_job_ring(ring);
    return line.error();
  }
  return ring;
}

void destroy_job_ring(job_ring* ring) noexcept {
  device::unregister_ring(*ring);
  // What a child of fork inherited unfinished, never happens here.
  seqno_timeline_fail(*ring->timeline, job_ring_is_orphan(*ring) ? error::no_such_device
                                                                 : error::operation_canceled);
  ring->action.free();
  if (ring->entries != nullptr) {
    for (std::uint64_t i = 0; i < ring->size; ++i) ring->entries[i].~job_entry();
    std::free(ring->entries);
  }
  ring->~job_ring();
  std::free(ring);
}

bool job_ring_is_orphan(const job_ring& ring) noexcept {
  return ring.generation != platform::fork_generation();
}

result<ref_ptr<dma_fence>> job_ring_submit(job_ring& ring, job& work) noexcept {
  INTERLOCK_TRY(validate(ring, work));
  if (job_ring_is_orphan(ring)) return error::no_such_device;
  // Before the lock, which keeps the device and other submitters off.
  void* const memory = detail::allocate_seqno_fence(*ring.timeline);
  if (memory == nullptr) return error::not_enough_memory;
  result<ref_ptr<dma_fence>> fence = error::not_enough_memory;
  {
    guard g{no_mask, ring.lock};
    fence = enqueue(ring, work, memory);
  }
  if (!fence) {
    std::free(memory);
    return fence;
  }
  device::wake_sleeper(ring, job_ring_sleep::for_work);
  return fence;
}

void job_ring_cancel(job_ring& ring, error e) noexcept {
  if (job_ring_is_orphan(ring)) return;
  {
    guard g{no_mask, ring.lock};
    mark_cancelled(ring, e);
  }
  ring.ops.wake(ring.device);
}

void job_ring_close(job_ring& ring) noexcept {
  if (job_ring_is_orphan(ring)) return;
  {
    guard g{no_mask, ring.lock};
    mark_cancelled(ring, error::operation_canceled);
    ring.closed.store_release(1);  // pairs with job_ring_closed
  }
  ring.ops.wake(ring.device);
}

result<void> job_ring_inject(job_ring& ring, const device_fault& fault) noexcept {
  if (!ring.ops.faults) return error::operation_not_supported;
  if (job_ring_is_orphan(ring)) return error::no_such_device;
  if (fault.what == device_fault::action::none) return error::invalid_argument;
  if (fault.error_code >= 0 || fault.error_code < -4095) return error::invalid_argument;
  guard g{no_mask, ring.lock};
  for (device_fault& slot : ring.faults) {
    if (slot.what != device_fault::action::none) continue;
    slot = fault;
    ring.fault_count.store_release(ring.fault_count.load_relaxed() + 1);  // see job_ring_next
    return {};
  }
  return error::not_enough_memory;
}

seqno_timeline& job_ring_timeline(job_ring& ring) noexcept { return *ring.timeline; }

device_queue_statistics job_ring_statistics(const job_ring& ring) noexcept {
  const device::counters& c = ring.counters;
  device_queue_statistics s;
  s.completed = c.completed.load_relaxed();
  s.failed = c.failed.load_relaxed();
  s.cancelled = c.cancelled.load_relaxed();
  s.memory_waits = c.memory_waits.load_relaxed();
  s.callback_waits = c.callback_waits.load_relaxed();
  s.interrupts = c.interrupts.load_relaxed();
  s.wakes = c.wakes.load_relaxed();
  s.wakes_on_link = c.wakes_on_link.load_relaxed();
  s.depth_max = c.depth_max.load_relaxed();
  s.submitted = c.submitted.load_relaxed();
  return s;
}

namespace device {

void wake_sleeper(job_ring& ring, job_ring_sleep what) noexcept {
  smp_mb();  // [D4] pairs with [D3] job_ring_prepare_sleep
  if (ring.sleeping.load_relaxed() != static_cast<std::uint32_t>(what)) return;
  ring.ops.wake(ring.device);
}

}  // namespace device
}  // namespace interlock::inline INTERLOCK_PLATFORM
