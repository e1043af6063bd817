// SPDX-License-Identifier: Apache-2.0

/// The word itself: storing it, ringing, and sleeping on it, without any fence.
///
/// Ordering: [Q1] to [Q4] of seqno_buffer.hpp and seqno_timeline.hpp.
/// Hostile memory: what a peer writes into a cell costs its readers time, no more. A false count of
///   waiters makes the producer ring in vain, or not ring: hence the bounded sleep. A doorbell that
///   never rests keeps a sleeper awake. A false value ends a wait, or does not.

#include "fence/fence_report.hpp"
#include "fence/seqno_timeline.hpp"
#include "interlock_platform/local.hpp"
#include "interlock_platform/park.hpp"
#include "interlock_platform/poller.hpp"
#include "irq/service.hpp"
#include "sched/spin.hpp"
#include "sched/task_impl.hpp"

namespace interlock::inline INTERLOCK_PLATFORM {
namespace {

constexpr ktime shared_look_interval = std::chrono::milliseconds{100};

platform::park_scope scope_of(const seqno_timeline& timeline) noexcept {
  return seqno_buffer_fd(*timeline.buffer) >= 0 ? platform::park_scope::shared
                                                : platform::park_scope::process;
}

void ring_sleepers(seqno_timeline& timeline) noexcept {
  timeline.cell->doorbell.fetch_add_release(1);  // [Q4]
  platform::unpark(timeline.cell->doorbell, platform::unpark_all, scope_of(timeline));
  timeline.times_rung.fetch_add_relaxed(1);
}

/// One wait for the word.
struct word_wait {
  const seqno_timeline& timeline;
  std::uint64_t seqno;
  const atomic<std::uint32_t>* stop;

  /// True with its end in `end`. Order: acquires what was rung about.
  bool is_over(seqno_wait_end& end) const noexcept {
    const detail::seqno_verdict verdict = detail::judge_seqno(timeline, seqno);
    const bool stopped = stop != nullptr && stop->load_acquire() != 0;  // with the caller's release
    if (verdict == detail::seqno_verdict::open && !stopped) return false;
    end = verdict == detail::seqno_verdict::passed   ? seqno_wait_end::passed
          : verdict == detail::seqno_verdict::failed ? seqno_wait_end::failed
                                                     : seqno_wait_end::stopped;
    return true;
  }

  bool spin(seqno_wait_end& end) const noexcept {
    if (is_over(end)) return true;
    for (std::uint32_t left = detail::spin_limit(); left != 0; --left) {
      platform::cpu_relax();
      if (is_over(end)) return true;
    }
    return false;
  }

  struct look {
    deadline before;
    platform::deadline_kind kind;
  };

  /// How long a sleeper may rely on being rung.
  look look_before(const look& until) const noexcept {
    const bool polled = timeline.options.doorbell == seqno_doorbell::none;
    if (!polled && scope_of(timeline) == platform::park_scope::process) return until;
    const deadline again =
        platform::now() + (polled ? timeline.options.poll_interval : shared_look_interval);
    return again < until.before ? look{again, platform::deadline_kind::watchdog} : until;
  }

  /// Pre: counted in `waiters`.
  seqno_wait_end sleep(const look& until) const noexcept {
    const atomic<std::uint32_t>& doorbell = timeline.cell->doorbell;
    seqno_wait_end end = seqno_wait_end::timed_out;
    while (true) {
      const std::uint32_t heard = doorbell.load_acquire();  // [Q4] before the conditions
      if (is_over(end)) return end;
      const look next = look_before(until);
      const auto parked =
          platform::park(doorbell, heard, next.before, scope_of(timeline), next.kind);
      if (parked == platform::park_result::woken) detail::count_wakeup(current_task());
      if (parked != platform::park_result::timed_out || platform::now() < until.before) continue;
      (void)is_over(end);
      return end;
    }
  }
};

void put_word(report_text& out, const seqno_timeline& timeline, std::uint64_t seqno) noexcept {
  // The ops of C take no const; a name op changes nothing.
  auto* const named = const_cast<seqno_timeline*>(&timeline);
  out << "driver=" << timeline.ops->get_driver_name(named)
      << " timeline=" << timeline.ops->get_timeline_name(named)
      << " context=" << timeline.options.context << " seqno=" << seqno
      << " value=" << seqno_timeline_value(timeline) << '\n';
}

seqno_wait_end sleep_watched(const word_wait& wait, deadline until, location where) noexcept {
  detail::overdue_watch watch{until};
  while (true) {
    const seqno_wait_end end = wait.sleep({watch.next(), watch.kind()});
    if (end != seqno_wait_end::timed_out || watch.is_final()) return end;
    report_text text;
    watch.begin(text, where);
    put_word(text, wait.timeline, wait.seqno);
    watch.submit(text);
  }
}

}  // namespace

bool seqno_timeline_advance(seqno_timeline& timeline, std::uint64_t seqno) noexcept {
  timeline.cell->value.store_release(seqno);  // [Q1]
  smp_mb();  // [Q2] pairs with [Q3], with seqno_event_arm, and with [Q5]
  if (timeline.cell->waiters.load_relaxed() != 0) ring_sleepers(timeline);
  if (timeline.event_count.load_relaxed() != 0) {
    const guard g{irqsave, timeline.lock};
    detail::ring_events(timeline, seqno_timeline_value(timeline));
  }
  return timeline.armed_count.load_acquire() != 0;  // [Q6] of this store
}

void seqno_timeline_kick(seqno_timeline& timeline) noexcept { ring_sleepers(timeline); }

seqno_wait_end seqno_wait_until(const seqno_timeline& timeline, std::uint64_t seqno, deadline until,
                                const atomic<std::uint32_t>* stop, location where) noexcept {
  might_sleep(where);
  const word_wait wait{timeline, seqno, stop};
  seqno_wait_end end = seqno_wait_end::timed_out;
  if (wait.spin(end)) return end;
  atomic<std::uint32_t>& waiters = timeline.cell->waiters;
  waiters.fetch_add_seq_cst(1);  // [Q3] pairs with [Q2]
  smp_mb();                      // between [Q3] and the word
  end = sleep_watched(wait, until, where);
  waiters.fetch_sub_relaxed(1);
  return end;
}

// --- events --------------------------------------------------------------------------------------

void detail::ring_events(seqno_timeline& timeline, std::uint64_t value) noexcept {
  list_head* node = timeline.events.next;
  while (node != &timeline.events) {
    seqno_event& event = *INTERLOCK_CONTAINER_OF(node, seqno_event, node);
    node = node->next;
    if (judge_seqno(timeline, value, event.seqno) == seqno_verdict::open) continue;
    list_del_init(event.node);
    timeline.event_count.fetch_sub_relaxed(1);
    platform::signal_event_fd(event.fd);  // the last touch: its owner may wake, and free it
  }
}

namespace {

bool arm_event(seqno_timeline& timeline, seqno_event& event) noexcept {
  const guard g{irqsave, timeline.lock};
  if (detail::judge_seqno(timeline, event.seqno) != detail::seqno_verdict::open) return false;
  list_add_tail(event.node, timeline.events);
  timeline.event_count.fetch_add_seq_cst(1);
  smp_mb();  // [Q3] for events: between the count and the word; pairs with [Q2]
  if (detail::judge_seqno(timeline, event.seqno) != detail::seqno_verdict::open) {
    list_del_init(event.node);
    timeline.event_count.fetch_sub_relaxed(1);
    return false;
  }
  // Without a timer it still rings as soon as somebody calls advance or process.
  if (timeline.ops->arm == nullptr) detail::start_polling(timeline);
  return true;
}

}  // namespace

bool seqno_event_arm(seqno_timeline& timeline, seqno_event& event, std::uint64_t seqno) noexcept {
  event.seqno = seqno;
  list_init(event.node);
  if (!arm_event(timeline, event)) return false;
  detail::serve_orphans();
  return true;
}

bool seqno_event_cancel(seqno_timeline& timeline, seqno_event& event) noexcept {
  const guard g{irqsave, timeline.lock};
  if (list_empty(event.node)) return false;
  list_del_init(event.node);
  timeline.event_count.fetch_sub_relaxed(1);
  return true;
}

}  // namespace interlock::inline INTERLOCK_PLATFORM
