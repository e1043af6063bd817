// SPDX-License-Identifier: Apache-2.0
#pragma once

/// The insides of a job ring; shared by the files of this folder.
///
/// Invariants and ordering: see interlock/device/job_ring.hpp.

#include <cstddef>
#include <cstdint>

#include "fence/fence_report.hpp"
#include "interlock/device/job_ring.hpp"
#include "interlock/interrupt.hpp"
#include "interlock/seqno_fence.hpp"
#include "interlock/spinlock.hpp"
#include "interlock/task.hpp"

namespace interlock::inline INTERLOCK_PLATFORM::device {

/// What a timeline needs for as long as a fence of it lives; outlives ring, queue and provider.
/// Owned by the timeline: freed by its release op.
///
/// The queue's own fences carry their error themselves (I4). The history answers for fences that
/// somebody else makes of the timeline; it keeps the last `history_size` runs of failed seqnos.
struct timeline_record {
  static constexpr std::size_t history_size = 64;
  static constexpr std::size_t name_size = 64;

  struct failed_run {
    std::uint64_t first;
    std::uint64_t last;
    int code;  ///< -errno
  };

  char driver_name[name_size];
  char timeline_name[name_size];
  spinlock lock;  ///< taken with irqsave: `status` is asked in handlers
  failed_run history[history_size] INTERLOCK_GUARDED_BY(lock);
  std::size_t failed_runs INTERLOCK_GUARDED_BY(lock);  ///< recorded ever; the ring's position
  rcu_head rcu;
};

void record_failure(timeline_record& record, std::uint64_t seqno, int code) noexcept;

/// A timeline with a record, in a private buffer of its own.
result<ref_ptr<seqno_timeline>> make_device_timeline(const char* driver, const char* name) noexcept;

/// Statistics as they are counted. Each has one writer at a time, or is incremented atomically.
struct counters {
  atomic<std::uint64_t> submitted, completed, failed, cancelled, memory_waits, callback_waits;
  atomic<std::uint64_t> interrupts, wakes, wakes_on_link, depth_max;
};

/// Counts on the device's thread, the only writer.
inline void count(atomic<std::uint64_t>& counter, std::uint64_t by = 1) noexcept {
  counter.store_relaxed(counter.load_relaxed() + by);
}

/// The one link that the device's thread waits for at a time.
struct link_wait {
  enum class kind : std::uint32_t { none, memory, callback };

  kind armed = kind::none;
  bool in_memory = false;            ///< the wait for the present fence began in memory
  ref_ptr<dma_fence> fence;          ///< the one waited for, held while armed
  ref_ptr<seqno_timeline> timeline;  ///< kind memory
  std::uint64_t seqno = 0;
  seqno_event event{};
  dma_fence_cb callback{};
  atomic<std::uint32_t> signaled{0};  ///< set by the callback
  detail::overdue_watch watch{no_deadline};
};

void register_ring(job_ring& ring) noexcept;
void unregister_ring(job_ring& ring) noexcept;

}  // namespace interlock::inline INTERLOCK_PLATFORM::device

namespace interlock::inline INTERLOCK_PLATFORM {

struct job_ring {
  // Set when it is made.
  job_ring_ops ops{};
  void* device = nullptr;
  device_queue_options options{};
  std::uint64_t size = 0;  ///< a power of two
  job_entry* entries = nullptr;
  ref_ptr<seqno_timeline> timeline;
  device::timeline_record* record = nullptr;  ///< the timeline's
  ref_ptr<irq_line> line;
  irq_action action;
  std::uint32_t generation = 0;

  // The submitters'.
  spinlock lock;  ///< tasks only; orders submits, cancels, faults and `waiting_on`
  std::uint64_t submitted INTERLOCK_GUARDED_BY(lock) = 0;
  static constexpr std::size_t faults_max = 16;
  device_fault faults[faults_max] INTERLOCK_GUARDED_BY(lock) = {};
  seqno_timeline* waiting_on INTERLOCK_GUARDED_BY(lock) = nullptr;  ///< to kick on cancel

  // Between the two sides.
  atomic<std::uint64_t> accepted{0};  ///< [D1], [D2]
  atomic<std::uint64_t> retired{0};   ///< [D5], [D6]
  atomic<std::uint32_t> closed{0};
  atomic<std::uint32_t> fault_count{0};  ///< written under `lock`
  atomic<std::uint32_t> sleeping{0};     ///< job_ring_sleep; [D3], [D4]
  device::counters counters;

  // The device's thread's.
  std::uint64_t taken = 0;
  device::link_wait link;

  list_head node{};  ///< of all rings of the process

  job_entry& entry(std::uint64_t seqno) noexcept { return entries[seqno & (size - 1)]; }
};

}  // namespace interlock::inline INTERLOCK_PLATFORM

namespace interlock::inline INTERLOCK_PLATFORM::device {

/// The errno with which an entry has to end, as -errno; 0: none.
[[nodiscard]] inline int cancel_code(const job_entry& entry) noexcept {
  return -static_cast<int>(entry.cancelled.load_acquire());  // [D8] pairs with [D7]
}

/// Wakes the device if it sleeps for `what`. The caller has made the work already.
void wake_sleeper(job_ring& ring, job_ring_sleep what) noexcept;

/// Calls off what is armed, if anything; on return no callback of it runs.
void disarm_link(job_ring& ring) noexcept;

}  // namespace interlock::inline INTERLOCK_PLATFORM::device
