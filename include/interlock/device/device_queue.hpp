// SPDX-License-Identifier: Apache-2.0
#pragma once

/// Queues of jobs that produce fences: what users of devices see, and what providers promise.
///
/// A queue is a ring that a device serves. Each job gets the next seqno of the queue's timeline;
/// when it is done the device stores that seqno in memory, and raises its line only if a fence is
/// armed. A job names up to `max_waits` fences to wait for. The device waits by itself:
///   1. for a seqno fence, in memory, if it can (`device_feature::memory_wait`);
///   2. else by a callback on the fence, which wakes the device's thread.
/// The submitting thread neither waits for such a link nor is woken for it.
///
/// Order: jobs start and complete in the order of their seqnos. A wait therefore holds up the later
/// jobs of its own queue, never the earlier ones, and no other queue. A device with
/// `device_feature::out_of_order` works on several started jobs at once: one that needs the data of
/// another waits for its fence. It keeps two orders by itself: jobs at a file's own position
/// (`offset` -1) run one after another, and `sync` runs after all earlier jobs.
///
/// A device MUST complete every job it accepted: done, failed, or cancelled (when what it waits for
/// failed, on `cancel_all`, on close), in bounded time once its waits are over. It MUST NOT call
/// back into the submitter except through `prepare`, `execute` and the fence. An error of a job it
/// waits for becomes the job's own error. The outcome is in the job before its fence can be seen
/// done, and the fence tells the error whenever it is asked, also after the job's storage was used
/// again.

#include <cstddef>
#include <cstdint>
#include <memory>

#include "interlock/seqno_fence.hpp"

namespace interlock::inline INTERLOCK_PLATFORM {

class device_queue;

/// What a job does. `execute` is for devices that compute (engine), the rest for file devices.
enum class job_kind : std::uint32_t { execute, read, write, sync, timeout, nop };

/// One unit of work. Caller-owned; all members are the device's from `submit` to the signal of its
/// fence, then the outcome may be read. Reusable after that.
/// Lifetime: until its fence is signalled, or the queue is gone: destroying the queue completes what
/// it has not finished. So declare jobs, and what they work on, before their queue.
/// Functions MUST NOT throw.
struct job {
  static constexpr std::size_t max_waits = 4;

  job_kind kind = job_kind::nop;

  /// Fences to wait for; the job keeps references from submit to completion.
  /// Empty ones are skipped; all are empty when the job is done.
  ref_ptr<dma_fence> waits[max_waits];

  /// Optional. Runs on the device, after the waits and before the work: takes lengths and offsets
  /// from finished jobs; may change all members of this group and the next. Returns 0 or -errno
  /// (fails the job). Must not sleep long. Not run if a wait failed or the job was cancelled.
  int (*prepare)(job& self) = nullptr;

  /// job_kind::execute. Runs on the device, which does nothing else meanwhile and cannot end it.
  /// Returns bytes produced, or -errno.
  std::int64_t (*execute)(job& self) = nullptr;
  void* cookie = nullptr;  ///< for prepare and execute

  // job_kind::read, write, sync, timeout
  int fd = -1;
  std::byte* buffer = nullptr;
  std::size_t length = 0;
  std::int64_t offset = -1;  ///< -1: the file's own position (pipes)
  ktime delay{};             ///< job_kind::timeout

  // Outcome.
  /// Bytes produced or written (then always all of them), bytes read (fewer only at the end of the
  /// file), 0 for the other kinds; or -errno, also if a part was transferred before.
  std::int64_t result = 0;
  std::uint64_t seqno = 0;
  deadline started{};  ///< when its waits were over (option `timestamps` of the queue)
  deadline finished{};

  std::uint32_t in_flight = 0;  ///< the queue's: not 0 while submitted and not complete
};

/// How jobs are linked where a device could do several things.
enum class link_mode : std::uint32_t {
  memory,    ///< the device waits on seqnos in memory (callback for foreign fences)
  callback,  ///< the device always arms the fence and is woken by its callback
};

struct device_queue_options {
  const char* name = "queue";  ///< the timeline's name; copied
  std::size_t ring_size = 64;  ///< jobs, rounded up to a power of two
  link_mode link = link_mode::memory;
  bool timestamps = false;       ///< fill job::started and finished
  bool arm_every_fence = false;  ///< raise the line for each job, armed or not (to measure)
  /// Features of the system that the device shall do without, as "multishot,taskrun"; unknown words
  /// are ignored. Tests use it to run the fallbacks; each provider lists its words. Null: none.
  const char* without = nullptr;
};

/// Counted, not derived: each number is incremented where the thing happens.
struct device_queue_statistics {
  std::uint64_t submitted = 0;
  std::uint64_t completed = 0;
  std::uint64_t failed = 0;          ///< of completed: with an error, cancelled ones included
  std::uint64_t cancelled = 0;       ///< of failed: because of a wait, cancel_all or close
  std::uint64_t memory_waits = 0;    ///< waits decided by a word in memory, passed already or not
  std::uint64_t callback_waits = 0;  ///< waits for which a callback was added
  std::uint64_t interrupts = 0;      ///< times the line was raised
  std::uint64_t wakes = 0;           ///< times the device's thread slept and was woken
  std::uint64_t wakes_on_link = 0;   ///< of these, while it waited for a job's waits
  std::uint64_t depth_max = 0;
};

/// A fault to inject. `index` counts submitted jobs from 0.
struct device_fault {
  enum class action : std::uint32_t { none, error, hang, stall } what = action::none;
  std::uint64_t index = 0;
  int error_code = -5;  ///< -EIO
  ktime stall_time{};
};

/// A queue of one device. Made by a provider; destroyed by its owner in task context: cancels what
/// is queued, waits for what runs, signals every fence.
class device_queue {
 public:
  device_queue(const device_queue&) = delete;
  device_queue& operator=(const device_queue&) = delete;
  virtual ~device_queue() = default;

  /// Queues `j`; its fence, the next of the timeline.
  /// Errors: resource_unavailable_try_again (the ring is full), not_enough_memory, no_such_device
  ///         (closed, or this is a child of fork), operation_not_supported (the kind),
  ///         invalid_argument (execute without a function; nop with a function or a buffer: the
  ///         kind was forgotten), device_or_resource_busy (the job is in flight already).
  /// With an error nothing was queued and the job's waits are untouched.
  /// Context: task. Never waits for another device.
  [[nodiscard]] virtual result<ref_ptr<dma_fence>> submit(job& j) noexcept = 0;

  /// Fails every job that has not finished with `e`, running and hung ones included; those
  /// submitted later are not touched. Returns at once: the device completes them soon after, in
  /// order, and a running `execute` when it returns. Context: task.
  virtual void cancel_all(error e) noexcept = 0;

  /// Makes the job with this index misbehave, once, if it has not started yet.
  /// Errors: operation_not_supported; invalid_argument (no action, or a code that is no -errno);
  ///         not_enough_memory (16 are waiting already). Context: task.
  [[nodiscard]] virtual result<void> inject(const device_fault& fault) noexcept = 0;

  /// Context: any.
  [[nodiscard]] virtual seqno_timeline& timeline() noexcept = 0;
  /// Context: task.
  [[nodiscard]] virtual device_queue_statistics statistics() const noexcept = 0;

 protected:
  device_queue() = default;
};

}  // namespace interlock::inline INTERLOCK_PLATFORM
