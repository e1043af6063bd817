// SPDX-License-Identifier: Apache-2.0

/// The timeline as an object: its making, its end, and the timer that polls where nobody rings.
///
/// Invariants and lock order: seqno_timeline.hpp.
/// Contexts: the last reference may be dropped in a handler, so the memory goes through RCU.

#include "fence/seqno_timeline.hpp"

#include <cstdlib>
#include <new>
#include <type_traits>

#include "interlock_platform/park.hpp"

namespace interlock::inline INTERLOCK_PLATFORM {
namespace {

void free_timeline(rcu_head* head) noexcept {
  seqno_timeline* const timeline = INTERLOCK_CONTAINER_OF(head, seqno_timeline, rcu);
  timeline->~seqno_timeline();
  std::free(timeline);
}

/// In hardirq context on the service CPU.
hrtimer_restart poll(hrtimer& timer) noexcept {
  seqno_timeline& timeline = *INTERLOCK_CONTAINER_OF(&timer, seqno_timeline, timer);
  seqno_timeline_process(timeline);
  {
    const guard g{irqsave, timeline.lock};
    if (timeline.armed_count.load_relaxed() != 0 || timeline.event_count.load_relaxed() != 0) {
      hrtimer_forward(timer, platform::now(), timeline.options.poll_interval);
      return hrtimer_restart::restart;
    }
    timeline.polling = false;
  }
  intrusive_put(timeline);
  return hrtimer_restart::norestart;
}

bool is_valid(const seqno_timeline_ops& ops, const ref_ptr<seqno_buffer>& buffer, std::size_t cell,
              const seqno_timeline_options& options) noexcept {
  return ops.get_driver_name != nullptr && ops.get_timeline_name != nullptr && buffer != nullptr &&
         cell < seqno_buffer_cells(*buffer) && options.poll_interval > ktime::zero();
}

}  // namespace

// What detail::word_of relies on.
static_assert(std::is_standard_layout_v<seqno_timeline> && offsetof(seqno_timeline, word) == 0);

namespace detail {

void start_polling(seqno_timeline& timeline) noexcept {
  if (timeline.polling) return;
  intrusive_get(timeline);  // the timer's
  timeline.polling = true;
  // It cannot fail in atomic context. Without a service CPU it is in the heap, and serve_orphans in
  // the next operation of a task starts one.
  (void)hrtimer_start(timeline.timer, platform::now() + timeline.options.poll_interval);
}

}  // namespace detail

seqno_timeline::seqno_timeline(const seqno_timeline_ops& table, void* user,
                               ref_ptr<seqno_buffer> memory, std::size_t index,
                               const seqno_timeline_options& chosen) noexcept
    : word{&seqno_buffer_cell(*memory, index), chosen.width, chosen.order},
      ops{&table},
      cookie{user},
      buffer{std::move(memory)},
      cell{&seqno_buffer_cell(*buffer, index)},
      cell_index{index},
      options{chosen},
      armed{&armed, &armed},
      events{&events, &events},
      timer{poll} {
  if (options.context == 0) options.context = dma_fence_context_alloc();
}

void intrusive_get(seqno_timeline& timeline) noexcept { timeline.references.get(); }

void intrusive_put(seqno_timeline& timeline) noexcept {
  if (!timeline.references.put()) return;
  detail::unlink_timeline(timeline);
  if (timeline.ops->release != nullptr) timeline.ops->release(&timeline, timeline.cookie);
  call_rcu(timeline.rcu, free_timeline);
}

result<ref_ptr<seqno_timeline>> make_seqno_timeline(
    const seqno_timeline_ops& ops, void* cookie, ref_ptr<seqno_buffer> buffer, std::size_t cell,
    const seqno_timeline_options& options) noexcept {
  if (!is_valid(ops, buffer, cell, options)) return error::invalid_argument;
  if (ops.arm == nullptr) {
    // The timer will be started in atomic context, where the CPU that serves it cannot be. A later
    // operation of a task would do it, but there need not be one.
    if (const auto cpu = service_cpu(); !cpu) return cpu.error();
  }
  void* const memory = std::malloc(sizeof(seqno_timeline));
  if (memory == nullptr) return error::not_enough_memory;
  auto* const timeline = new (memory) seqno_timeline{ops, cookie, std::move(buffer), cell, options};
  detail::link_timeline(*timeline);
  return ref_ptr<seqno_timeline>::adopt(timeline);
}

void* seqno_timeline_cookie(const seqno_timeline& timeline) noexcept { return timeline.cookie; }

std::uint64_t seqno_timeline_context(const seqno_timeline& timeline) noexcept {
  return timeline.options.context;
}

seqno_cell& seqno_timeline_cell(seqno_timeline& timeline) noexcept { return *timeline.cell; }

std::size_t seqno_timeline_cell_index(const seqno_timeline& timeline) noexcept {
  return timeline.cell_index;
}

seqno_buffer& seqno_timeline_buffer(seqno_timeline& timeline) noexcept { return *timeline.buffer; }

int seqno_timeline_error(const seqno_timeline& timeline) noexcept {
  return timeline.failure.load_acquire();  // pairs with seqno_timeline_fail
}

seqno_statistics seqno_timeline_get_statistics(const seqno_timeline& timeline) noexcept {
  return {timeline.fences_made.load_relaxed(), timeline.fences_armed.load_relaxed(),
          timeline.times_armed.load_relaxed(), timeline.times_processed.load_relaxed(),
          timeline.times_rung.load_relaxed()};
}

}  // namespace interlock::inline INTERLOCK_PLATFORM
