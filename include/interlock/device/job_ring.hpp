// SPDX-License-Identifier: Apache-2.0
#pragma once

/// The ring of jobs: what every provider's queue shares. For authors of providers; users of devices
/// see only device_queue.hpp. docs/providers.md walks through it.
///
/// The ring takes jobs from many submitters, gives each its fence, resolves its waits, and
/// completes jobs in order whatever order the device finishes them in. The device supplies one
/// thread, which alone calls the functions below the line "the device's side".
///
/// Invariants:
///   I1. retired <= taken <= accepted; each is a seqno and only grows.
///   I2. An entry belongs to the submitter until `accepted` passes it, then to the device's thread
///       until `retired` does.
///   I3. The outcome of a job is complete before the timeline advances over it, and nothing of the
///       job is touched afterwards.
///   I4. An error lies in the fence before the timeline advances: the ring holds a reference to each
///       fence until then, so recording an error never allocates.
/// Ordering: [D1] submit publishes an entry, [D2] the device's thread takes it. [D3] the device
///   announces its sleep, then looks for work; [D4] submitters and callbacks make work, then look
///   for a sleeper: a full barrier between each pair, so one of the two sees the other. [D5] the
///   device gives an entry back, [D6] submit reuses it. [D7] cancel marks an entry, [D8] the device
///   sees it.

#include "interlock/device/device_queue.hpp"
#include "interlock/kthread.hpp"

namespace interlock::inline INTERLOCK_PLATFORM {

/// A job as its device sees it.
struct job_entry {
  job* work = nullptr;
  std::uint64_t seqno = 0;
  /// The errno with which the job has to end (cancel_all, close); 0: none. Read by any wait, [D8].
  atomic<std::uint32_t> cancelled{0};
  /// What `inject` asked for; the ring has dealt with `error` itself.
  device_fault fault{};

  // The ring's own.
  ref_ptr<dma_fence> fence;
  std::uint32_t next_wait = 0;
  bool started = false;
  bool finished = false;
};

/// The kinds of job that a device accepts, as bits.
using job_kinds = std::uint32_t;
/// Context: any.
[[nodiscard]] constexpr job_kinds kind_bit(job_kind kind) noexcept {
  return 1u << static_cast<std::uint32_t>(kind);
}

struct job_ring_ops {
  const char* driver_name;  ///< copied
  job_kinds kinds;
  bool faults;  ///< `inject` is supported
  /// The device's thread sleeps, or a job was cancelled: make it look again. MUST NOT sleep, nor
  /// call the ring. Any context but NMI (a fence's callback); may come late or twice.
  void (*wake)(void* device);
};

/// Opaque. Owned by the queue that made it.
struct job_ring;

/// Errors: not_enough_memory, those of make_irq_line. Context: task, may sleep.
[[nodiscard]] INTERLOCK_API result<job_ring*> make_job_ring(
    const job_ring_ops& ops, void* device, const device_queue_options& options) noexcept;
/// Fails what is left of the timeline and frees the ring. Context: task.
/// Pre: closed, and the device's thread has ended (or this is a child of fork, where it never was).
INTERLOCK_API void destroy_job_ring(job_ring* ring) noexcept;

// --- the owner's side: what device_queue promises ------------------------------------------------

/// Context: task.
[[nodiscard]] INTERLOCK_API result<ref_ptr<dma_fence>> job_ring_submit(job_ring& ring,
                                                                       job& work) noexcept;
/// Context: task.
INTERLOCK_API void job_ring_cancel(job_ring& ring, error e) noexcept;
/// Context: task.
[[nodiscard]] INTERLOCK_API result<void> job_ring_inject(job_ring& ring,
                                                         const device_fault& fault) noexcept;
/// Context: any.
[[nodiscard]] INTERLOCK_API seqno_timeline& job_ring_timeline(job_ring& ring) noexcept;
/// Context: task.
[[nodiscard]] INTERLOCK_API device_queue_statistics
job_ring_statistics(const job_ring& ring) noexcept;
/// No submits from now on (no_such_device); cancels what is there (operation_canceled). The
/// device's thread goes on until `job_ring_closed`.
/// Context: task.
INTERLOCK_API void job_ring_close(job_ring& ring) noexcept;
/// True in a child of fork: the device's thread does not exist here. Context: any.
[[nodiscard]] INTERLOCK_API bool job_ring_is_orphan(const job_ring& ring) noexcept;

// --- the device's side: its thread only ----------------------------------------------------------

/// The oldest entry that was not taken; null if there is none. It stays the next until it is taken.
/// Context: task, the device's.
[[nodiscard]] INTERLOCK_API job_entry* job_ring_next(job_ring& ring) noexcept;
/// Closed, and every job is completed: the thread can end.
/// Context: any.
[[nodiscard]] INTERLOCK_API bool job_ring_closed(const job_ring& ring) noexcept;

/// Waits for the fences of the next entry; 0, or the -errno with which it must be finished. Sleeps.
/// Context: task, the device's, may sleep.
[[nodiscard]] INTERLOCK_API int job_ring_wait(job_ring& ring, job_entry& entry) noexcept;

enum class job_links : std::uint32_t { pending, over, failed };
/// The same without sleeping, for a thread that sleeps elsewhere: `pending` means that `event_fd`
/// will be rung or `wake` called once there is something new. `*failure` is set with `failed`.
/// Context: task, the device's.
[[nodiscard]] INTERLOCK_API job_links job_ring_poll(job_ring& ring, job_entry& entry, int event_fd,
                                                    int* failure) noexcept;
/// With a link pending: when to call `job_ring_poll` again even if nothing was rung, for the
/// watchdog (option `fence_watchdog_ms`), which names what is waited for.
/// Context: task, the device's.
[[nodiscard]] INTERLOCK_API deadline job_ring_look_before(const job_ring& ring) noexcept;

/// Takes the next entry: its waits are over. Injects an error, runs `prepare`. 0, or the -errno
/// with which it must be finished.
/// Context: task, the device's.
[[nodiscard]] INTERLOCK_API int job_ring_start(job_ring& ring, job_entry& entry) noexcept;
/// The outcome of an entry, bytes or -errno, in any order. The fences of all that are finished
/// without a gap are then done. An entry may be finished without having been started, while it is
/// the next. The entry and its job MUST NOT be touched afterwards. Order: [I3], [D5].
/// Context: task, the device's.
INTERLOCK_API void job_ring_finish(job_ring& ring, job_entry& entry, std::int64_t outcome) noexcept;
/// Calls `visit` for each entry that was taken and is not finished, oldest first.
/// Context: task.
INTERLOCK_API void job_ring_for_each_running(job_ring& ring,
                                             void (*visit)(void* device,
                                                           job_entry& entry)) noexcept;

enum class job_ring_sleep : std::uint32_t { awake, for_work, for_link };
/// Announces a sleep: from now on `wake` is called for what the thread sleeps for, and for cancels.
/// False: there is something to do already; the thread is awake. Order: [D3].
/// Context: task, the device's.
[[nodiscard]] INTERLOCK_API bool job_ring_prepare_sleep(job_ring& ring,
                                                        job_ring_sleep what) noexcept;
/// The end of the sleep; `wakes`: how often the thread really slept and was woken meanwhile.
/// Context: task, the device's.
INTERLOCK_API void job_ring_finish_sleep(job_ring& ring, std::uint64_t wakes) noexcept;

}  // namespace interlock::inline INTERLOCK_PLATFORM
