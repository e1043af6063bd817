// SPDX-License-Identifier: Apache-2.0
#pragma once

/// `seqno_fence`: a fence that memory decides. A device writes a word; the fence of seqno n is done
/// once the word has reached n. Another device that can wait on memory waits without any software.
///
/// A `seqno_timeline` stands for one word in a `seqno_buffer`: it makes the fences of one context,
/// keeps those that are armed in seqno order, and arms its provider once, not once per fence. One
/// store of the device that passes a million outstanding fences costs nothing; only armed ones are
/// then signalled, in order. A fence that somebody asks (is_signaled, or arms when the word has
/// passed it) answers for itself at once, maybe ahead of an armed earlier one, which is done too.
///
/// An armed fence lives until it is signalled, and with it the timeline and the buffer: a producer
/// that goes away calls `seqno_timeline_fail`. A peer process that dies is noticed by nobody: its
/// fences stay unsignalled until somebody calls that (the watchdog of the waits tells), and so does
/// a device that stores garbage; other timelines do not suffer.
///
/// Conditions: greater-or-equal, 32 or 64 bits wide. Cyclic: `(signed)(value - n) >= 0`, horizon
/// half the range. Linear: unsigned compare. Latched: a fence that was seen done stays done,
/// whatever the word does afterwards. Source: the kernel's seqno_fence (3.17 to 5.15) for the idea;
/// CUDA stream memory operations for the cyclic compare, HIP for the linear one.

#include "interlock/dma_fence.hpp"
#include "interlock/seqno_buffer.hpp"

namespace interlock::inline INTERLOCK_PLATFORM {

enum class seqno_width : std::uint32_t { bits32, bits64 };
enum class seqno_order : std::uint32_t { cyclic, linear };

/// How a CPU sleeper learns that the word has changed.
enum class seqno_doorbell : std::uint32_t {
  futex,  ///< the producer rings `seqno_cell::doorbell` (`seqno_timeline_advance` does)
  none,   ///< nobody rings: poll
};

/// Has `value` reached `seqno`? Of 32 bits the low halves count. Context: any.
[[nodiscard]] constexpr bool seqno_reached(std::uint64_t value, std::uint64_t seqno,
                                           seqno_width width, seqno_order order) noexcept {
  if (width == seqno_width::bits64) {
    return order == seqno_order::linear ? value >= seqno
                                        : static_cast<std::int64_t>(value - seqno) >= 0;
  }
  const auto value32 = static_cast<std::uint32_t>(value);
  const auto seqno32 = static_cast<std::uint32_t>(seqno);
  return order == seqno_order::linear ? value32 >= seqno32
                                      : static_cast<std::int32_t>(value32 - seqno32) >= 0;
}

struct seqno_timeline;

/// What a provider implements. Null where optional.
struct seqno_timeline_ops {
  /// Mandatory, as in dma_fence_ops.
  const char* (*get_driver_name)(seqno_timeline* timeline);
  const char* (*get_timeline_name)(seqno_timeline* timeline);
  /// Optional. The first armed fence: switch the interrupt on; its handler calls
  /// `seqno_timeline_process`. False, or no op: cannot, so the library polls the word by a timer
  /// of the service CPU. One that may answer so for a fence armed in an interrupt calls `service_cpu`
  /// before: there it cannot be started, and the fence would wait for the next operation of a task
  /// that can.
  /// Any context but NMI, under the timeline's lock with interrupts off.
  bool (*arm)(seqno_timeline* timeline);
  /// Optional. No armed fence is left: switch the interrupt off. As `arm`.
  void (*disarm)(seqno_timeline* timeline);
  /// Optional. The outcome of the work of `seqno`, asked when it is first seen done: 0 or -errno;
  /// `*provider_code` may be set. Any context but NMI.
  int (*status)(seqno_timeline* timeline, std::uint64_t seqno, std::uint64_t* provider_code);
  /// Optional. A hint for the fence of `seqno`, earlier than all before it that still matter. Any
  /// context but NMI.
  void (*set_deadline)(seqno_timeline* timeline, std::uint64_t seqno, std::int64_t deadline_ns);
  /// Optional. The last reference is gone; the timeline itself is freed after a grace period. Any
  /// context but NMI.
  void (*release)(seqno_timeline* timeline, void* cookie);
};

struct seqno_timeline_options {
  seqno_width width = seqno_width::bits64;
  seqno_order order = seqno_order::linear;
  seqno_doorbell doorbell = seqno_doorbell::futex;
  std::uint64_t context = 0;                             ///< 0: a new one
  ktime poll_interval = std::chrono::microseconds{100};  ///< where nobody rings or interrupts
};

/// Opaque, counted. Keeps its buffer mapped; its fences keep it.
/// Context: any but NMI.
INTERLOCK_API void intrusive_get(seqno_timeline& timeline) noexcept;
/// Context: any but NMI; a task may wait, as in call_rcu.
INTERLOCK_API void intrusive_put(seqno_timeline& timeline) noexcept;

/// `ops` outlive the timeline. Without an arm op the service CPU is started.
/// Errors: not_enough_memory; invalid_argument (an op or the cell is missing, or the poll interval
///         is not positive); those of service_cpu. Context: task, a task may wait for that start.
[[nodiscard]] INTERLOCK_API result<ref_ptr<seqno_timeline>> make_seqno_timeline(
    const seqno_timeline_ops& ops, void* cookie, ref_ptr<seqno_buffer> buffer, std::size_t cell,
    const seqno_timeline_options& options = {}) noexcept;
result<ref_ptr<seqno_timeline>> make_seqno_timeline(seqno_timeline_ops&& ops, void* cookie,
                                                    ref_ptr<seqno_buffer> buffer, std::size_t cell,
                                                    const seqno_timeline_options& = {}) = delete;

/// Context: any.
[[nodiscard]] INTERLOCK_API void* seqno_timeline_cookie(const seqno_timeline& timeline) noexcept;
/// Context: any.
[[nodiscard]] INTERLOCK_API std::uint64_t seqno_timeline_context(
    const seqno_timeline& timeline) noexcept;
/// Context: any.
[[nodiscard]] INTERLOCK_API seqno_cell& seqno_timeline_cell(seqno_timeline& timeline) noexcept;
/// Context: any.
[[nodiscard]] INTERLOCK_API std::size_t seqno_timeline_cell_index(
    const seqno_timeline& timeline) noexcept;
/// Context: any.
[[nodiscard]] INTERLOCK_API seqno_buffer& seqno_timeline_buffer(seqno_timeline& timeline) noexcept;

namespace detail {

/// The first member of a timeline, for what is inline. Never changes.
struct seqno_word {
  const seqno_cell* cell;
  seqno_width width;
  seqno_order order;
};

[[nodiscard]] inline const seqno_word& word_of(const seqno_timeline& timeline) noexcept {
  return reinterpret_cast<const seqno_word&>(
      timeline);  // standard layout: checked where it is made
}

}  // namespace detail

/// The word as it stands. One load. Context: any. Order: acquire, pairs with the device's release.
[[nodiscard]] inline std::uint64_t seqno_timeline_value(const seqno_timeline& timeline) noexcept {
  const detail::seqno_word& word = detail::word_of(timeline);
  const std::uint64_t value = word.cell->value.load_acquire();  // [Q1]
  return word.width == seqno_width::bits32 ? static_cast<std::uint32_t>(value) : value;
}
/// One load and compare; arms nothing. Context: any. Order: acquire.
[[nodiscard]] inline bool seqno_timeline_passed(const seqno_timeline& timeline,
                                                std::uint64_t seqno) noexcept {
  const detail::seqno_word& word = detail::word_of(timeline);
  return seqno_reached(word.cell->value.load_acquire(), seqno, word.width, word.order);  // [Q1]
}

/// A fence for `seqno`. Errors: not_enough_memory. Context: task; allocates, so not inside a
/// signalling section (reported).
[[nodiscard]] INTERLOCK_API result<ref_ptr<dma_fence>> make_seqno_fence(
    seqno_timeline& timeline, std::uint64_t seqno) noexcept;

/// What a device that can wait on memory needs to know of a fence.
struct seqno_point {
  seqno_timeline* timeline;
  std::uint64_t seqno;
};
/// The cast back: the point if `fence` is an unsignalled seqno fence, else a null timeline.
/// Context: any. Lifetime: the caller's reference to the fence.
[[nodiscard]] INTERLOCK_API seqno_point to_seqno_fence(const dma_fence& fence) noexcept;

// --- the producer's side -------------------------------------------------------------------------

/// A software device has finished all work up to `seqno`: stores the word [Q1] and rings the
/// sleepers, if there are any. Fences are not signalled: if it returns true, which is what
/// `seqno_timeline_armed` would tell, raise the line whose handler calls `seqno_timeline_process`.
/// Context: any but NMI; one writer at a time. Order: full barrier between the store and that look.
/// Not [[nodiscard]]: whose fences nobody arms need not look.
INTERLOCK_API bool seqno_timeline_advance(seqno_timeline& timeline, std::uint64_t seqno) noexcept;
/// At least one fence is armed. For who stores the word by itself: call it after that. Context: any.
/// Order: full barrier first [Q6]; either it sees the armer, or the armer sees the store.
[[nodiscard]] INTERLOCK_API bool seqno_timeline_armed(const seqno_timeline& timeline) noexcept;
/// Reads the word and signals the armed fences that it has passed, in order; how many. If another
/// CPU (or the code that this handler halted) is at it, that one looks again, and this call returns
/// 0. The heart of an interrupt handler. Context: any but NMI.
INTERLOCK_API std::size_t seqno_timeline_process(seqno_timeline& timeline) noexcept;
/// The producer is gone: every fence that the word has not passed fails with `e`, now and in
/// future. The first call counts. As with `process`, another CPU may finish the signalling after
/// the return. Context: any but NMI.
INTERLOCK_API void seqno_timeline_fail(seqno_timeline& timeline, error e) noexcept;
/// 0, or the -errno of seqno_timeline_fail.
/// Context: any.
[[nodiscard]] INTERLOCK_API int seqno_timeline_error(const seqno_timeline& timeline) noexcept;

// --- waiting in memory: what a software device or a CPU does by itself ---------------------------

enum class seqno_wait_end { passed, timed_out, failed, stopped };

/// Waits for the word, spinning briefly, then sleeping on its doorbell; arms no fence and raises no
/// interrupt. Ends with `stopped` if `*stop` (may be null) becomes nonzero and the cell is rung
/// (`seqno_timeline_kick`), with `failed` after seqno_timeline_fail. A word that another process
/// can write is looked at every 100 ms at least, because its ring cannot be relied on; one that
/// nobody rings, every `poll_interval`. An unbounded wait has the watchdog of dma_fence::wait.
/// A fence of this point may tell its status a moment later, if another is about to signal it:
/// `dma_fence::wait` waits for that.
/// Context: task, may sleep.
[[nodiscard]] INTERLOCK_API seqno_wait_end seqno_wait_until(
    const seqno_timeline& timeline, std::uint64_t seqno, deadline until,
    const atomic<std::uint32_t>* stop = nullptr, location where = location::current()) noexcept;
/// Makes every sleeper of the word look again. Context: any but NMI.
INTERLOCK_API void seqno_timeline_kick(seqno_timeline& timeline) noexcept;

/// A one-shot doorbell in form of an event descriptor: for a device whose thread sleeps elsewhere
/// (in an io_uring). Caller-owned; queued by `seqno_event_arm`, off after it rang.
struct seqno_event {
  list_head node;
  std::uint64_t seqno;
  int fd;
};
/// Rings `event.fd` once the word has passed `seqno`; false (and nothing is queued) if it has by
/// now. Only for timelines whose producer calls `seqno_timeline_advance` in this process, or that
/// poll; `seqno_timeline_process` rings too. A failed timeline has passed everything. Context: any
/// but NMI.
[[nodiscard]] INTERLOCK_API bool seqno_event_arm(seqno_timeline& timeline, seqno_event& event,
                                                 std::uint64_t seqno) noexcept;
/// True if it was still queued. Context: any but NMI.
INTERLOCK_API bool seqno_event_cancel(seqno_timeline& timeline, seqno_event& event) noexcept;

struct seqno_statistics {
  std::uint64_t fences_made;
  std::uint64_t fences_armed;
  std::uint64_t provider_armed;  ///< calls of ops.arm
  std::uint64_t processed;       ///< calls of seqno_timeline_process
  std::uint64_t rings;           ///< doorbells rung (system calls made) by advance
};
/// Context: any.
[[nodiscard]] INTERLOCK_API seqno_statistics
seqno_timeline_get_statistics(const seqno_timeline& timeline) noexcept;

}  // namespace interlock::inline INTERLOCK_PLATFORM
