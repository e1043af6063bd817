// SPDX-License-Identifier: Apache-2.0
#pragma once

/// What a seqno timeline is made of; for the sources of this folder.
///
/// Invariants:
///   I1. `armed` holds the armed fences in seqno order, equal ones in order of arming; their
///       number is `armed_count`. Each has a reference that belongs to the list.
///   I2. One thread at a time signals what it took off the list (`processing`); who finds it busy
///       sets `look_again` and leaves. So fences are signalled in the order of the list, though the
///       lock is not held meanwhile.
///   I3. A fence's outcome (status op, or the timeline's error) is asked by the one who sets the
///       flag `settled`, and set before the signal by the same.
///   I4. The provider is armed, or the timer is, whenever `armed_count` is not 0. The timer may have
///       to wait for a service CPU, but that is no outcome of a fence: operations that end with
///       `serve_orphans` start one.
///   I5. The running poll timer owns a reference to the timeline.
///   I6. Every timeline is on one list, which does not change during a fork, nor does any timeline:
///       seqno_fork.cpp holds all their locks.
/// Lock order: fence lock, then timeline lock. Callbacks run under neither timeline lock.
/// Ordering:
///   armer                                   producer
///     list and count             [Q5]         word = n, release           [Q1]
///     full barrier                            full barrier                [Q2], or [Q6]
///     read the word                           if (armed) raise the line: process
///   Either the producer sees the armer, or the armer sees the word: then it is not armed at all.
///   Sleepers on the cell: [Q1] to [Q3] of seqno_buffer.hpp, and
///   [Q4] a ring releases what it is about (the word, the stop flag, the error); a sleeper acquires
///        the doorbell before it looks at them, and parks only if the doorbell is still the same.

#include "interlock/hrtimer.hpp"
#include "interlock/seqno_fence.hpp"

namespace interlock::inline INTERLOCK_PLATFORM {

struct seqno_timeline {
  seqno_timeline(const seqno_timeline_ops& table, void* user, ref_ptr<seqno_buffer> memory,
                 std::size_t index, const seqno_timeline_options& chosen) noexcept;

  detail::seqno_word word;  ///< first: read by inline functions, of `cell` and `options`
  refcount references;
  list_head all;  ///< I6
  const seqno_timeline_ops* ops;
  void* cookie;
  ref_ptr<seqno_buffer> buffer;
  seqno_cell* cell;
  std::size_t cell_index;
  seqno_timeline_options options;  ///< with its context
  rcu_head rcu;

  atomic<int> failure{0};  ///< 0, or -errno of seqno_timeline_fail

  spinlock lock;
  list_head armed INTERLOCK_GUARDED_BY(lock);
  list_head events INTERLOCK_GUARDED_BY(lock);
  bool processing INTERLOCK_GUARDED_BY(lock) = false;
  bool look_again INTERLOCK_GUARDED_BY(lock) = false;
  bool provider_armed INTERLOCK_GUARDED_BY(lock) = false;
  bool polling INTERLOCK_GUARDED_BY(lock) = false;
  std::uint64_t hint_seqno INTERLOCK_GUARDED_BY(lock) = 0;
  std::int64_t hint_ns INTERLOCK_GUARDED_BY(lock) = INT64_MAX;
  hrtimer timer;

  mutable atomic<std::uint32_t> armed_count{0};  ///< written under the lock, read by producers
  atomic<std::uint32_t> event_count{0};          ///< the same for events

  atomic<std::uint64_t> fences_made{0};
  atomic<std::uint64_t> fences_armed{0};
  atomic<std::uint64_t> times_armed{0};
  atomic<std::uint64_t> times_processed{0};
  atomic<std::uint64_t> times_rung{0};
};

namespace detail {

/// `value` was read from the timeline's word, or is a seqno of it.
[[nodiscard]] inline bool seqno_passed(const seqno_timeline& timeline, std::uint64_t value,
                                       std::uint64_t seqno) noexcept {
  return seqno_reached(value, seqno, timeline.options.width, timeline.options.order);
}

/// What is known of a seqno: nothing yet, that its work is done, or that it never will be.
enum class seqno_verdict { open, passed, failed };

/// Order: acquires what was done before the word was stored, or the failure.
[[nodiscard]] inline seqno_verdict judge_seqno(const seqno_timeline& timeline, std::uint64_t value,
                                               std::uint64_t seqno) noexcept {
  if (seqno_passed(timeline, value, seqno)) return seqno_verdict::passed;
  return timeline.failure.load_acquire() != 0 ? seqno_verdict::failed  // [Q4]
                                              : seqno_verdict::open;
}
[[nodiscard]] inline seqno_verdict judge_seqno(const seqno_timeline& timeline,
                                               std::uint64_t seqno) noexcept {
  return judge_seqno(timeline, seqno_timeline_value(timeline), seqno);
}

/// The two halves of make_seqno_fence, for who holds a lock when the seqno is known: memory, null if
/// there is none, to be given to the second or to std::free; and a fence in it.
[[nodiscard]] void* allocate_seqno_fence(const seqno_timeline& timeline) noexcept;
[[nodiscard]] ref_ptr<dma_fence> make_seqno_fence_in(void* memory, seqno_timeline& timeline,
                                                     std::uint64_t seqno) noexcept;

/// Sees to it that the word is polled as long as something waits. The caller calls `serve_orphans`
/// when it has dropped the lock.
void start_polling(seqno_timeline& timeline) noexcept INTERLOCK_REQUIRES(timeline.lock);

/// I6. Context: any but NMI.
void link_timeline(seqno_timeline& timeline) noexcept;
void unlink_timeline(seqno_timeline& timeline) noexcept;

/// In the child of a fork, where nobody else runs: who signalled, waited or listened stayed with the
/// parent. Callbacks leave the armed fences without being run, since they are the parent's.
void leave_parent(seqno_timeline& timeline) noexcept INTERLOCK_REQUIRES(timeline.lock);

/// Rings the events that are due.
void ring_events(seqno_timeline& timeline, std::uint64_t value) noexcept
    INTERLOCK_REQUIRES(timeline.lock);

}  // namespace detail

}  // namespace interlock::inline INTERLOCK_PLATFORM
