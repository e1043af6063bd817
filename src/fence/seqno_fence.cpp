// SPDX-License-Identifier: Apache-2.0

/// Fences of a timeline: armed in seqno order, decided by the word, signalled by `process`.
///
/// Invariants, lock order, ordering [Q1] to [Q6]: seqno_timeline.hpp. Further:
///   I6. A fence is on a list (`armed`, or the processor's own) from arming until it is signalled
///       by process; its node is touched under the timeline's lock, then by the processor alone.
///   I7. Whoever finds `settled` set by another leaves the fence to that one, who signals it at
///       once: in the core (a peek or an arming that said "done"), or in signal_all().
/// Contexts: any but NMI. Only make_seqno_fence allocates, in allocate_seqno_fence.

#include <cstdlib>
#include <new>

#include "fence/seqno_timeline.hpp"
#include "interlock_platform/park.hpp"

namespace interlock::inline INTERLOCK_PLATFORM {

using detail::judge_seqno;
using detail::seqno_verdict;

namespace {

/// The outcome has been asked for.
constexpr std::uint32_t settled = 1u << dma_fence_flag::user_bits;

struct seqno_fence {
  dma_fence base;
  seqno_timeline* timeline;  ///< counted
  list_head node;            ///< of seqno_timeline::armed
};

seqno_fence& as_seqno_fence(dma_fence* fence) noexcept {
  return *INTERLOCK_CONTAINER_OF(fence, seqno_fence, base);
}

/// Sets the outcome of a fence: that of its work, or the timeline's failure. True for the one caller
/// who does, and who shall signal it.
bool settle(seqno_fence& fence, seqno_verdict verdict) noexcept {
  // Relaxed: of several, one; what that one sets is published by the signal, [E3].
  if ((fence.base.flags.fetch_or_relaxed(settled) & settled) != 0) return false;
  int code = seqno_timeline_error(*fence.timeline);
  if (verdict == seqno_verdict::passed) {
    const auto status = fence.timeline->ops->status;
    code =
        status == nullptr ? 0 : status(fence.timeline, fence.base.seqno, &fence.base.provider_code);
  }
  if (code != 0) fence.base.set_error(from_negative_errno(code));
  return true;
}

// --- the armed list ------------------------------------------------------------------------------

/// From the tail: in-order arming takes one step.
void insert(seqno_timeline& timeline, seqno_fence& fence) noexcept
    INTERLOCK_REQUIRES(timeline.lock) {
  list_head* at = timeline.armed.prev;
  while (at != &timeline.armed) {
    const seqno_fence& earlier = *INTERLOCK_CONTAINER_OF(at, seqno_fence, node);
    if (detail::seqno_passed(timeline, fence.base.seqno, earlier.base.seqno)) break;
    at = at->prev;
  }
  list_add(fence.node, *at);
}

/// The first armed fence: somebody has to see to it that `process` is called.
void start_delivery(seqno_timeline& timeline) noexcept INTERLOCK_REQUIRES(timeline.lock) {
  if (timeline.ops->arm != nullptr) {
    timeline.times_armed.fetch_add_relaxed(1);
    timeline.provider_armed = timeline.ops->arm(&timeline);
    if (timeline.provider_armed) return;
  }
  detail::start_polling(timeline);
}

/// No armed fence is left. A timer that polls finds that out by itself.
void stop_delivery(seqno_timeline& timeline) noexcept INTERLOCK_REQUIRES(timeline.lock) {
  if (!timeline.provider_armed) return;
  timeline.provider_armed = false;
  if (timeline.ops->disarm != nullptr) timeline.ops->disarm(&timeline);
}

void uncount(seqno_timeline& timeline, std::uint32_t fences) noexcept
    INTERLOCK_REQUIRES(timeline.lock) {
  const std::uint32_t left = timeline.armed_count.fetch_sub_relaxed(fences) - fences;
  if (left == 0) stop_delivery(timeline);
}

/// `open` if the fence is on the list now. Not so if it is decided already.
seqno_verdict try_arm(seqno_timeline& timeline, seqno_fence& fence) noexcept {
  const guard g{irqsave, timeline.lock};
  seqno_verdict verdict = judge_seqno(timeline, fence.base.seqno);
  if (verdict != seqno_verdict::open) return verdict;
  insert(timeline, fence);
  intrusive_get(fence.base);                             // the list's
  if (timeline.armed_count.fetch_add_seq_cst(1) == 0) {  // [Q5] pairs with [Q6]
    start_delivery(timeline);
  }
  smp_mb();  // between [Q5] and the word; the provider may have been switched on just now
  verdict = judge_seqno(timeline, fence.base.seqno);
  if (verdict == seqno_verdict::open) {
    timeline.fences_armed.fetch_add_relaxed(1);
    return verdict;
  }
  list_del_init(fence.node);
  uncount(timeline, 1);
  (void)fence.base.refs.put();  // never the last: the armer holds one
  return verdict;
}

// --- the ops -------------------------------------------------------------------------------------

const char* driver_name_of(dma_fence* base) noexcept {
  seqno_timeline* const timeline = as_seqno_fence(base).timeline;
  return timeline->ops->get_driver_name(timeline);
}

const char* timeline_name_of(dma_fence* base) noexcept {
  seqno_timeline* const timeline = as_seqno_fence(base).timeline;
  return timeline->ops->get_timeline_name(timeline);
}

/// Under the fence's lock. True also if another has settled it, who waits for that lock (I7).
bool enable_signaling(dma_fence* base) noexcept {
  seqno_fence& fence = as_seqno_fence(base);
  const seqno_verdict verdict = try_arm(*fence.timeline, fence);
  return verdict == seqno_verdict::open || !settle(fence, verdict);
}

bool peek(dma_fence* base) noexcept {
  seqno_fence& fence = as_seqno_fence(base);
  const seqno_verdict verdict = judge_seqno(*fence.timeline, base->seqno);
  if (verdict == seqno_verdict::open) return false;
  // Settled by another, but not signalled yet: for a moment the peek lags.
  return settle(fence, verdict) || base->test_signaled_flag();
}

void forward_deadline(dma_fence* base, std::int64_t deadline_ns) noexcept {
  seqno_timeline& timeline = *as_seqno_fence(base).timeline;
  if (timeline.ops->set_deadline == nullptr) return;
  {
    const guard g{irqsave, timeline.lock};
    const bool stale = seqno_timeline_passed(timeline, timeline.hint_seqno);
    if (!stale && deadline_ns >= timeline.hint_ns) return;
    timeline.hint_seqno = base->seqno;
    timeline.hint_ns = deadline_ns;
  }
  timeline.ops->set_deadline(&timeline, base->seqno, deadline_ns);
}

void release(dma_fence* base) noexcept {
  seqno_timeline& timeline = *as_seqno_fence(base).timeline;
  dma_fence_free(*base);
  intrusive_put(timeline);
}

constexpr dma_fence_ops fence_ops{
    .get_driver_name = driver_name_of,
    .get_timeline_name = timeline_name_of,
    .enable_signaling = enable_signaling,
    .signaled = peek,
    .wait = nullptr,
    .release = release,
    .set_deadline = forward_deadline,
};

// --- processing ----------------------------------------------------------------------------------

/// Takes what is decided off the armed list.
void take_decided(seqno_timeline& timeline, std::uint64_t value, list_head& taken) noexcept
    INTERLOCK_REQUIRES(timeline.lock) {
  std::uint32_t count = 0;
  while (!list_empty(timeline.armed)) {
    list_head& node = *timeline.armed.next;
    const seqno_fence& fence = *INTERLOCK_CONTAINER_OF(&node, seqno_fence, node);
    if (judge_seqno(timeline, value, fence.base.seqno) == seqno_verdict::open) break;
    list_del_init(node);
    list_add_tail(node, taken);
    ++count;
  }
  if (count != 0) uncount(timeline, count);
}

/// Without the lock: callbacks run in here. All are signalled as of now.
std::size_t signal_all(seqno_timeline& timeline, std::uint64_t value, list_head& taken) noexcept {
  const deadline now = platform::now();
  std::size_t signalled = 0;
  while (!list_empty(taken)) {
    list_head& node = *taken.next;
    list_del_init(node);
    seqno_fence& fence = *INTERLOCK_CONTAINER_OF(&node, seqno_fence, node);
    const seqno_verdict verdict = judge_seqno(timeline, value, fence.base.seqno);
    if (settle(fence, verdict) && fence.base.signal_timestamp(now)) ++signalled;
    intrusive_put(fence.base);
  }
  return signalled;
}

}  // namespace

void detail::leave_parent(seqno_timeline& timeline) noexcept {
  timeline.processing = false;
  timeline.look_again = false;
  for (list_head* node = timeline.armed.next; node != &timeline.armed; node = node->next) {
    dma_fence& fence = INTERLOCK_CONTAINER_OF(node, seqno_fence, node)->base;
    std::construct_at(&fence.lock, spinlock::remade{});  // its holder may be the parent's,
    if (fence.test_signaled_flag()) continue;  // amid a change of the list: so only `next` is
    fence.flags.fetch_and_relaxed(~settled);   // who was about to signal it is not here
    list_head* callback = fence.cb_list.next;  // relied upon, or amid the signal: then the list is
    if (fence.cb_list.prev == &fence.cb_list) callback = &fence.cb_list;  // detached, `next` a time
    while (callback != &fence.cb_list) {
      list_head* const next = callback->next;
      list_init(*callback);
      callback = next;
    }
    list_init(fence.cb_list);
  }
  while (!list_empty(timeline.events)) list_del_init(*timeline.events.next);
  timeline.event_count.store_relaxed(0);
}

std::size_t seqno_timeline_process(seqno_timeline& timeline) noexcept {
  timeline.times_processed.fetch_add_relaxed(1);
  std::size_t signalled = 0;
  irq_flags flags = timeline.lock.lock(irqsave);
  timeline.look_again = true;
  if (!timeline.processing) {
    timeline.processing = true;
    while (timeline.look_again) {
      timeline.look_again = false;
      const std::uint64_t value = seqno_timeline_value(timeline);
      list_head taken{&taken, &taken};
      take_decided(timeline, value, taken);
      detail::ring_events(timeline, value);
      if (list_empty(taken)) continue;
      timeline.lock.unlock(irqsave, flags);
      signalled += signal_all(timeline, value, taken);
      flags = timeline.lock.lock(irqsave);
    }
    timeline.processing = false;
  }
  timeline.lock.unlock(irqsave, flags);
  return signalled;
}

bool seqno_timeline_armed(const seqno_timeline& timeline) noexcept {
  // [Q6] A read-modify-write of the word that the armer modifies: whoever comes second sees the
  // other, and all that the other did before. (advance has a barrier already, so it only loads.)
  return timeline.armed_count.fetch_add_seq_cst(0) != 0;
}

void seqno_timeline_fail(seqno_timeline& timeline, error e) noexcept {
  int none = 0;
  if (!timeline.failure.compare_exchange_seq_cst(none, to_negative_errno(e))) return;  // [Q4]
  seqno_timeline_process(timeline);
  seqno_timeline_kick(timeline);
}

void* detail::allocate_seqno_fence(const seqno_timeline& timeline) noexcept {
  dma_fence_might_allocate();
  // A timeline may have been made before a fork, whose child has no service CPU yet.
  if (timeline.ops->arm == nullptr && sleep_allowed()) (void)service_cpu();
  return std::malloc(sizeof(seqno_fence));
}

ref_ptr<dma_fence> detail::make_seqno_fence_in(void* memory, seqno_timeline& timeline,
                                               std::uint64_t seqno) noexcept {
  const seqno_timeline_options& options = timeline.options;
  const bool wraps32 = options.width == seqno_width::bits32 && options.order == seqno_order::cyclic;
  auto* const fence = new (memory) seqno_fence{
      {fence_ops, options.context, seqno, wraps32 ? 0 : dma_fence_flag::seqno64}, &timeline, {}};
  list_init(fence->node);
  intrusive_get(timeline);
  timeline.fences_made.fetch_add_relaxed(1);
  return ref_ptr<dma_fence>::adopt(&fence->base);
}

result<ref_ptr<dma_fence>> make_seqno_fence(seqno_timeline& timeline,
                                            std::uint64_t seqno) noexcept {
  void* const memory = detail::allocate_seqno_fence(timeline);
  if (memory == nullptr) return error::not_enough_memory;
  return detail::make_seqno_fence_in(memory, timeline, seqno);
}

seqno_point to_seqno_fence(const dma_fence& fence) noexcept {
  if (rcu_access_pointer(fence.ops) != &fence_ops || fence.test_signaled_flag()) return {};
  const auto& whole = *reinterpret_cast<const seqno_fence*>(reinterpret_cast<const char*>(&fence) -
                                                            offsetof(seqno_fence, base));
  return {whole.timeline, fence.seqno};
}

}  // namespace interlock::inline INTERLOCK_PLATFORM
