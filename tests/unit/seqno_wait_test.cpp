// SPDX-License-Identifier: Apache-2.0

/// Waiting for the word itself, and events that it rings.

#include <cstdlib>

#include "interlock_platform/poller.hpp"
#include "seqno_test_support.hpp"
#include "support/rounds.hpp"

namespace interlock::test {
namespace {

/// Before the library reads its options: a watchdog that does not keep tests waiting.
const int options_set = setenv("INTERLOCK_OPTIONS", "fence_watchdog_ms=20", 1);

using seqno_wait_test = report_test;

constexpr deadline far_away = no_deadline - ktime{1};  // bounded, so not watched

/// Until somebody is counted on the cell: from then on a store must ring.
void await_sleeper(const ref_ptr<seqno_timeline>& timeline) {
  const seqno_cell& cell = seqno_timeline_cell(*timeline);
  EXPECT_TRUE(eventually([&] { return cell.waiters.load_acquire() != 0; }));
}

struct word_waiter {
  word_waiter(const ref_ptr<seqno_timeline>& timeline, std::uint64_t seqno, deadline until,
              const atomic<std::uint32_t>* stop = nullptr)
      : thread{start("waiter", [this, timeline, seqno, until, stop] {
          end = seqno_wait_until(*timeline, seqno, until, stop);
        })} {}

  seqno_wait_end end{};
  kthread thread;
};

TEST_F(seqno_wait_test, a_passed_word_is_not_waited_for) {
  mock_provider provider;
  const auto timeline = make_timeline(provider);
  seqno_timeline_advance(*timeline, 5);
  EXPECT_EQ(seqno_wait_until(*timeline, 5, expired_deadline), seqno_wait_end::passed);
  EXPECT_EQ(seqno_wait_until(*timeline, 6, expired_deadline), seqno_wait_end::timed_out);
  EXPECT_EQ(seqno_timeline_cell(*timeline).waiters.load_relaxed(), 0u);
}

TEST_F(seqno_wait_test, a_wait_ends_at_its_deadline) {
  for (const auto doorbell : {seqno_doorbell::futex, seqno_doorbell::none}) {
    mock_provider provider;
    const auto timeline = make_timeline(provider, {.doorbell = doorbell});
    const deadline until = deadline_after(std::chrono::milliseconds{5});
    EXPECT_EQ(seqno_wait_until(*timeline, 1, until), seqno_wait_end::timed_out);
    EXPECT_GE(monotonic_clock::now(), until);
  }
}

TEST_F(seqno_wait_test, a_store_wakes_the_sleeper_and_arms_nothing) {
  mock_provider provider;
  const auto timeline = make_timeline(provider);
  word_waiter w{timeline, 2, far_away};
  await_sleeper(timeline);
  seqno_timeline_advance(*timeline, 1);
  await_sleeper(timeline);
  seqno_timeline_advance(*timeline, 2);
  w.thread.join();
  EXPECT_EQ(w.end, seqno_wait_end::passed);
  EXPECT_EQ(seqno_timeline_cell(*timeline).waiters.load_relaxed(), 0u);
  EXPECT_EQ(provider.armed.load_relaxed(), 0);
  // It may have seen the second store on its way from the first, and have left.
  const std::uint64_t rings = seqno_timeline_get_statistics(*timeline).rings;
  EXPECT_TRUE(rings == 1 || rings == 2) << rings;
}

TEST_F(seqno_wait_test, without_sleepers_nothing_is_rung) {
  mock_provider provider;
  const auto timeline = make_timeline(provider);
  for (std::uint64_t n = 1; n <= 100; ++n) seqno_timeline_advance(*timeline, n);
  EXPECT_EQ(seqno_timeline_get_statistics(*timeline).rings, 0u);
  EXPECT_EQ(seqno_timeline_cell(*timeline).doorbell.load_relaxed(), 0u);
}

TEST_F(seqno_wait_test, a_word_that_nobody_rings_is_polled) {
  mock_provider provider;
  const auto timeline = make_timeline(provider, {.doorbell = seqno_doorbell::none});
  word_waiter w{timeline, 1, far_away};
  await_sleeper(timeline);
  seqno_timeline_cell(*timeline).value.store_release(1);
  w.thread.join();
  EXPECT_EQ(w.end, seqno_wait_end::passed);
}

TEST_F(seqno_wait_test, a_kick_shows_the_stop_flag) {
  mock_provider provider;
  const auto timeline = make_timeline(provider);
  atomic<std::uint32_t> stop{0};
  word_waiter w{timeline, 1, far_away, &stop};
  await_sleeper(timeline);
  seqno_timeline_kick(*timeline);  // for nothing: it looks, and sleeps on
  stop.store_release(1);
  seqno_timeline_kick(*timeline);
  w.thread.join();
  EXPECT_EQ(w.end, seqno_wait_end::stopped);
}

TEST_F(seqno_wait_test, a_failure_ends_the_wait) {
  mock_provider provider;
  const auto timeline = make_timeline(provider);
  word_waiter w{timeline, 1, far_away};
  await_sleeper(timeline);
  seqno_timeline_fail(*timeline, error::no_such_device);
  w.thread.join();
  EXPECT_EQ(w.end, seqno_wait_end::failed);
  seqno_timeline_advance(*timeline, 1);
  EXPECT_EQ(seqno_wait_until(*timeline, 1, expired_deadline), seqno_wait_end::passed);
}

TEST_F(seqno_wait_test, an_unbounded_wait_is_watched) {
  mock_provider provider;
  const auto timeline = make_timeline(provider, {.context = 12});
  word_waiter w{timeline, 34, no_deadline};
  ASSERT_TRUE(eventually([&] { return reports.pending() >= 2; }));
  seqno_timeline_advance(*timeline, 34);
  w.thread.join();
  EXPECT_TRUE(reports.took(report_kind::fence_overdue, "INFO: task waiter:"));
  EXPECT_NE(std::strstr(reports.text(), "driver=mock timeline=ring context=12 seqno=34 value=0"),
            nullptr)
      << reports.text();
  while (reports.pending() != 0) {
    EXPECT_TRUE(reports.took(report_kind::fence_overdue, "INFO: "));
  }
}

TEST_F(seqno_wait_test, waiting_in_atomic_context_is_reported) {
  mock_provider provider;
  const auto timeline = make_timeline(provider);
  const guard g{no_preempt};
  EXPECT_EQ(seqno_wait_until(*timeline, 0, expired_deadline), seqno_wait_end::passed);
  EXPECT_TRUE(reports.took(report_kind::sleep_in_atomic, "BUG: sleeping function called"));
}

TEST_F(seqno_wait_test, no_wake_is_lost) {
  constexpr std::uint64_t rounds = test::rounds(2000);
  mock_provider provider;
  const auto there = make_timeline(provider);
  const auto back = make_timeline(provider);
  kthread peer = start("peer", [&] {
    for (std::uint64_t n = 1; n <= rounds; ++n) {
      EXPECT_EQ(seqno_wait_until(*there, n, far_away), seqno_wait_end::passed);
      seqno_timeline_advance(*back, n);
    }
  });
  for (std::uint64_t n = 1; n <= rounds; ++n) {
    seqno_timeline_advance(*there, n);
    ASSERT_EQ(seqno_wait_until(*back, n, far_away), seqno_wait_end::passed);
  }
  peer.join();
}

// --- events --------------------------------------------------------------------------------------

/// An event with a descriptor of its own.
struct owned_event {
  owned_event() : event{{}, 0, platform::open_event_fd().value()} {}
  ~owned_event() { platform::close_fd(event.fd); }
  bool rang() { return platform::drain_event_fd(event.fd); }
  seqno_event event;
};

TEST_F(seqno_wait_test, an_event_rings_once_when_its_seqno_has_passed) {
  mock_provider provider;
  const auto timeline = make_timeline(provider);
  owned_event one;
  owned_event two;
  EXPECT_TRUE(seqno_event_arm(*timeline, two.event, 2));
  EXPECT_TRUE(seqno_event_arm(*timeline, one.event, 1));
  seqno_timeline_advance(*timeline, 1);
  EXPECT_TRUE(one.rang());
  EXPECT_FALSE(two.rang());
  EXPECT_FALSE(seqno_event_cancel(*timeline, one.event));
  seqno_timeline_advance(*timeline, 2);
  EXPECT_TRUE(two.rang());
  seqno_timeline_advance(*timeline, 3);
  EXPECT_FALSE(one.rang());
  EXPECT_FALSE(two.rang());
  EXPECT_EQ(seqno_timeline_get_statistics(*timeline).rings, 0u) << "no sleeper was woken for it";
}

TEST_F(seqno_wait_test, an_event_of_a_passed_seqno_is_not_queued) {
  mock_provider provider;
  const auto timeline = make_timeline(provider);
  seqno_timeline_advance(*timeline, 1);
  owned_event e;
  EXPECT_FALSE(seqno_event_arm(*timeline, e.event, 1));
  EXPECT_FALSE(seqno_event_cancel(*timeline, e.event));
  EXPECT_FALSE(e.rang());
}

TEST_F(seqno_wait_test, a_cancelled_event_does_not_ring) {
  mock_provider provider;
  const auto timeline = make_timeline(provider);
  owned_event e;
  EXPECT_TRUE(seqno_event_arm(*timeline, e.event, 1));
  EXPECT_TRUE(seqno_event_cancel(*timeline, e.event));
  seqno_timeline_advance(*timeline, 1);
  EXPECT_FALSE(e.rang());
}

TEST_F(seqno_wait_test, a_failure_rings_events) {
  mock_provider provider;
  const auto timeline = make_timeline(provider);
  owned_event e;
  EXPECT_TRUE(seqno_event_arm(*timeline, e.event, 1));
  seqno_timeline_fail(*timeline, error::io_error);
  EXPECT_TRUE(e.rang());
  EXPECT_FALSE(seqno_event_arm(*timeline, e.event, 1));
}

TEST_F(seqno_wait_test, a_polled_timeline_rings_events) {
  mock_provider provider;
  const auto timeline = make_timeline(provider, {}, mock_provider::polled_ops);
  owned_event e;
  EXPECT_TRUE(seqno_event_arm(*timeline, e.event, 1));
  seqno_timeline_cell(*timeline).value.store_release(1);
  EXPECT_TRUE(eventually([&] { return e.rang(); }));
}

TEST_F(seqno_wait_test, arming_an_event_does_not_lose_a_store) {
  constexpr std::uint64_t rounds = test::rounds(1000);
  mock_provider provider;
  const auto timeline = make_timeline(provider);
  atomic<std::uint64_t> asked{0};
  kthread device = start("device", [&] {
    for (std::uint64_t n = 1; n <= rounds; ++n) {
      follow([&] { return asked.load_acquire() >= n; });
      seqno_timeline_advance(*timeline, n);
    }
  });
  owned_event e;
  for (std::uint64_t n = 1; n <= rounds; ++n) {
    asked.store_release(n);
    if (seqno_event_arm(*timeline, e.event, n)) {
      ASSERT_TRUE(eventually([&] { return e.rang(); }));
    }
  }
  device.join();
}

}  // namespace
}  // namespace interlock::test
