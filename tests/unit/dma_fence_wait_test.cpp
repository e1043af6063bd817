// SPDX-License-Identifier: Apache-2.0

/// Waiting for one fence and for any of several.

#include <cstdlib>
#include <memory>
#include <vector>

#include "fence_test_support.hpp"
#include "support/rounds.hpp"

namespace interlock::test {
namespace {

/// Before the library reads its options: a watchdog that does not keep tests waiting.
const int options_set = setenv("INTERLOCK_OPTIONS", "fence_watchdog_ms=20", 1);

using dma_fence_wait_test = report_test;

deadline soon() { return deadline_after(std::chrono::milliseconds{20}); }

/// Waits in a thread of its own, and says how it ended.
struct waiting_task {
  template <class Wait>
  explicit waiting_task(Wait wait)
      : thread{start("waiter", [this, wait] {
          wait();
          ended.store_release(true);
        })} {}

  atomic<bool> ended{false};
  kthread thread;
};

// --- one -----------------------------------------------------------------------------------------

TEST_F(dma_fence_wait_test, a_signalled_fence_is_not_waited_for) {
  const auto fence = make_mock();
  fence->signal();
  fence->wait();
  EXPECT_TRUE(fence->wait_until(expired_deadline));
  EXPECT_TRUE(fence->wait_interruptible());
  EXPECT_EQ(mock(fence).enabled.load_relaxed(), 0);
}

TEST_F(dma_fence_wait_test, an_expired_deadline_polls) {
  const auto fence = make_mock();
  EXPECT_FALSE(fence->wait_until(expired_deadline));
  EXPECT_EQ(mock(fence).enabled.load_relaxed(), 1);
  mock(fence).done.store_release(true);
  EXPECT_TRUE(fence->wait_until(expired_deadline));
}

TEST_F(dma_fence_wait_test, a_wait_ends_at_its_deadline) {
  const auto fence = make_mock();
  const deadline until = soon();
  EXPECT_FALSE(fence->wait_until(until));
  EXPECT_GE(monotonic_clock::now(), until);
  EXPECT_EQ(state_of(current_task()), task_running);
  const auto interruptible = fence->wait_interruptible(soon());
  ASSERT_FALSE(interruptible);
  EXPECT_EQ(interruptible.error(), error::timed_out);
  fence->signal();  // finds no callback of a wait that is over
}

TEST_F(dma_fence_wait_test, a_refused_arming_ends_the_wait) {
  const auto fence = make_mock();
  mock(fence).accepts.store_relaxed(false);
  fence->wait();
  EXPECT_EQ(fence->status(), 1);
}

TEST_F(dma_fence_wait_test, the_signal_wakes_every_waiter) {
  const auto fence = make_mock();
  waiting_task uninterruptible{[&] { fence->wait(); }};
  waiting_task interruptible{[&] { EXPECT_TRUE(fence->wait_interruptible()); }};
  waiting_task bounded{
      [&] { EXPECT_TRUE(fence->wait_until(deadline_after(std::chrono::seconds{60}))); }};
  EXPECT_TRUE(sleeps(uninterruptible.thread.get(), task_uninterruptible));
  EXPECT_TRUE(sleeps(interruptible.thread.get(), task_interruptible));
  EXPECT_TRUE(sleeps(bounded.thread.get(), task_uninterruptible));
  EXPECT_FALSE(uninterruptible.ended.load_acquire());
  EXPECT_FALSE(interruptible.ended.load_acquire());
  fence->signal();
  uninterruptible.thread.join();
  interruptible.thread.join();
  bounded.thread.join();
  while (reports.pending() != 0) {
    EXPECT_TRUE(reports.took(report_kind::fence_overdue, "INFO: "));
  }
}

TEST_F(dma_fence_wait_test, a_task_signal_ends_the_interruptible_wait_only) {
  const auto fence = make_mock();
  waiting_task uninterruptible{[&] { EXPECT_TRUE(fence->wait_until(no_deadline - ktime{1})); }};
  waiting_task interruptible{[&] {
    const auto ended = fence->wait_interruptible(no_deadline - ktime{1});
    EXPECT_TRUE(!ended && ended.error() == error::interrupted);
  }};
  EXPECT_TRUE(sleeps(uninterruptible.thread.get(), task_uninterruptible));
  EXPECT_TRUE(sleeps(interruptible.thread.get(), task_interruptible));
  send_signal(uninterruptible.thread.get(), task_signal::interrupt);
  send_signal(interruptible.thread.get(), task_signal::interrupt);
  interruptible.thread.join();
  EXPECT_FALSE(uninterruptible.ended.load_acquire());
  fence->signal();
  uninterruptible.thread.join();
}

TEST_F(dma_fence_wait_test, a_signalled_fence_wins_over_a_pending_task_signal) {
  const auto fence = make_mock();
  fence->signal();
  waiting_task w{[&] {
    send_signal(current_task(), task_signal::interrupt);
    EXPECT_TRUE(fence->wait_interruptible());
  }};
  w.thread.join();
}

TEST_F(dma_fence_wait_test, a_stray_wake_does_not_end_the_wait) {
  const auto fence = make_mock();
  waiting_task w{[&] { EXPECT_TRUE(fence->wait_until(no_deadline - ktime{1})); }};
  EXPECT_TRUE(sleeps(w.thread.get(), task_uninterruptible));
  for (int i = 0; i < 3; ++i) wake_up_process(w.thread.get());
  EXPECT_FALSE(w.ended.load_acquire());
  fence->signal();
  w.thread.join();
}

TEST_F(dma_fence_wait_test, a_stray_wake_does_not_end_an_interruptible_wait) {
  const auto fence = make_mock();
  waiting_task w{[&] { EXPECT_TRUE(fence->wait_interruptible().has_value()); }};
  for (int i = 0; i < 3; ++i) {
    EXPECT_TRUE(sleeps(w.thread.get(), task_interruptible));
    wake_up_process(w.thread.get());
  }
  EXPECT_FALSE(w.ended.load_acquire());
  fence->signal();
  w.thread.join();
}

/// More than signal notes under the fence's lock; and as many on its flags.
TEST_F(dma_fence_wait_test, one_signal_wakes_all_waits_of_both_kinds) {
  const auto fence = make_mock();
  constexpr std::size_t of_each = 20;
  constexpr deadline in_the_end = no_deadline - ktime{1};  // without the watchdog
  std::vector<std::unique_ptr<waiting_task>> tasks;
  for (std::size_t i = 0; i < of_each; ++i) {
    tasks.push_back(std::make_unique<waiting_task>(
        [&] { EXPECT_TRUE(fence->wait_interruptible(in_the_end).has_value()); }));
    tasks.push_back(
        std::make_unique<waiting_task>([&] { EXPECT_TRUE(fence->wait_until(in_the_end)); }));
  }
  for (std::size_t i = 0; i < tasks.size(); ++i) {
    EXPECT_TRUE(
        sleeps(tasks[i]->thread.get(), i % 2 == 0 ? task_interruptible : task_uninterruptible));
  }
  EXPECT_TRUE(fence->signal());
  for (auto& t : tasks) t->thread.join();
}

TEST_F(dma_fence_wait_test, waiting_in_atomic_context_is_reported_also_for_a_signalled_fence) {
  const auto fence = make_mock();
  fence->signal();
  const guard g{no_preempt};
  fence->wait();
  EXPECT_TRUE(reports.took(report_kind::sleep_in_atomic,
                           "BUG: sleeping function called from invalid context at"));
}

// --- the wait op ---------------------------------------------------------------------------------

struct wait_op_call {
  bool interruptible;
  std::int64_t deadline_ns;
};
std::vector<wait_op_call> wait_op_calls;
int wait_op_result = 0;

int recording_wait(dma_fence* fence, bool interruptible, std::int64_t deadline_ns) {
  wait_op_calls.push_back({interruptible, deadline_ns});
  if (wait_op_result == 0) fence->signal();
  return wait_op_result;
}

TEST_F(dma_fence_wait_test, the_wait_op_replaces_the_default) {
  dma_fence_ops ops = mock_fence::ops;
  ops.wait = recording_wait;
  const auto fence = make_mock(1, 1, 0, ops);
  wait_op_calls.clear();
  wait_op_result = -EINTR;
  const auto interrupted = fence->wait_interruptible(deadline{ktime{123}});
  ASSERT_FALSE(interrupted);
  EXPECT_EQ(interrupted.error(), error::interrupted);
  wait_op_result = -ETIMEDOUT;
  EXPECT_FALSE(fence->wait_until(deadline{ktime{77}}));
  wait_op_result = 0;
  fence->wait();
  ASSERT_EQ(wait_op_calls.size(), 3u);
  EXPECT_TRUE(wait_op_calls[0].interruptible);
  EXPECT_EQ(wait_op_calls[0].deadline_ns, 123);
  EXPECT_FALSE(wait_op_calls[1].interruptible);
  EXPECT_EQ(wait_op_calls[1].deadline_ns, 77);
  EXPECT_EQ(mock(fence).enabled.load_relaxed(), 1);
}

// --- the watchdog --------------------------------------------------------------------------------

TEST_F(dma_fence_wait_test, an_unbounded_wait_is_watched) {
  const auto fence = make_mock(8, 9);
  waiting_task w{[&] { fence->wait(); }};
  ASSERT_TRUE(eventually([&] { return reports.pending() >= 2; }));
  fence->signal();
  w.thread.join();
  EXPECT_TRUE(reports.took(report_kind::fence_overdue, "INFO: task waiter:"));
  EXPECT_NE(std::strstr(reports.text(), " blocked for more than 0 seconds."), nullptr);
  EXPECT_NE(std::strstr(reports.text(), "driver=mock timeline=line context=8 seqno=9 unsignaled"),
            nullptr)
      << reports.text();
  EXPECT_NE(std::strstr(reports.text(), "dma_fence_wait_test.cpp:"), nullptr) << reports.text();
  while (reports.pending() != 0) {
    EXPECT_TRUE(reports.took(report_kind::fence_overdue, "INFO: "));
  }
}

TEST_F(dma_fence_wait_test, the_watchdog_never_ends_the_program) {
  EXPECT_EXIT(
      {
        set_report_action(report_action::abort);
        const auto fence = make_mock();
        waiting_task w{[&] { fence->wait(); }};
        while (report_count() == 0) schedule();
        fence->signal();
        w.thread.join();
        std::exit(0);
      },
      testing::ExitedWithCode(0), "INFO: task waiter");
}

// --- any of several ------------------------------------------------------------------------------

std::vector<dma_fence*> raw(const std::vector<ref_ptr<dma_fence>>& fences) {
  std::vector<dma_fence*> all;
  for (const auto& fence : fences) all.push_back(fence.get());
  return all;
}

std::vector<ref_ptr<dma_fence>> make_several(std::size_t count) {
  std::vector<ref_ptr<dma_fence>> fences;
  for (std::size_t i = 0; i < count; ++i) fences.push_back(make_mock(i + 1, 1));
  return fences;
}

TEST_F(dma_fence_wait_test, wait_any_refuses_what_names_no_fence) {
  EXPECT_EQ(dma_fence_wait_any({}, no_deadline).error(), error::invalid_argument);
  dma_fence* const none[] = {nullptr};
  EXPECT_EQ(dma_fence_wait_any(none, no_deadline).error(), error::invalid_argument);
}

TEST_F(dma_fence_wait_test, wait_any_polls_and_times_out) {
  const auto fences = make_several(2);
  const auto all = raw(fences);
  EXPECT_EQ(dma_fence_wait_any(all, expired_deadline).error(), error::timed_out);
  EXPECT_EQ(dma_fence_wait_any(all, soon()).error(), error::timed_out);
  for (const auto& fence : fences) EXPECT_TRUE(list_empty(fence->cb_list));
}

TEST_F(dma_fence_wait_test, wait_any_returns_the_lowest_index) {
  const auto fences = make_several(4);
  fences[3]->signal();
  fences[1]->signal();
  EXPECT_EQ(dma_fence_wait_any(raw(fences), no_deadline).value(), 1u);
  for (const auto i : {0u, 2u}) EXPECT_TRUE(list_empty(fences[i]->cb_list));
}

TEST_F(dma_fence_wait_test, wait_any_is_woken_by_each) {
  constexpr std::size_t many = 40;  // more than lie on the stack
  for (const std::size_t count : {std::size_t{1}, std::size_t{16}, many}) {
    const auto fences = make_several(count);
    const std::size_t index = count - 1;
    waiting_task w{
        [&] { EXPECT_EQ(dma_fence_wait_any(raw(fences), no_deadline - ktime{1}).value(), index); }};
    EXPECT_TRUE(sleeps(w.thread.get(), task_uninterruptible));
    fences[index]->signal();
    w.thread.join();
    for (std::size_t i = 0; i < index; ++i) EXPECT_TRUE(list_empty(fences[i]->cb_list));
  }
}

TEST_F(dma_fence_wait_test, wait_any_takes_a_fence_twice) {
  const auto fence = make_mock();
  dma_fence* const twice[] = {fence.get(), fence.get()};
  waiting_task w{[&] { EXPECT_EQ(dma_fence_wait_any(twice, no_deadline - ktime{1}).value(), 0u); }};
  EXPECT_TRUE(sleeps(w.thread.get(), task_uninterruptible));
  fence->signal();
  w.thread.join();
}

TEST_F(dma_fence_wait_test, wait_any_can_be_interrupted) {
  const auto fences = make_several(2);
  waiting_task w{[&] {
    EXPECT_EQ(dma_fence_wait_any(raw(fences), no_deadline - ktime{1}, true).error(),
              error::interrupted);
  }};
  EXPECT_TRUE(sleeps(w.thread.get(), task_interruptible));
  send_signal(w.thread.get(), task_signal::interrupt);
  w.thread.join();
}

TEST_F(dma_fence_wait_test, wait_any_is_watched) {
  const auto fences = make_several(2);
  waiting_task w{[&] { EXPECT_TRUE(dma_fence_wait_any(raw(fences), no_deadline)); }};
  ASSERT_TRUE(eventually([&] { return reports.pending() >= 1; }));
  fences[0]->signal();
  w.thread.join();
  EXPECT_TRUE(reports.took(report_kind::fence_overdue, "any of 2 fences"));
  while (reports.pending() != 0) {
    EXPECT_TRUE(reports.took(report_kind::fence_overdue, "INFO: "));
  }
}

// --- races ---------------------------------------------------------------------------------------

/// A waiter that leaves at its deadline while it is being woken: its stack must stay untouched.
TEST_F(dma_fence_wait_test, timeouts_race_with_signals) {
  constexpr int rounds = test::rounds(1000);
  ref_ptr<dma_fence> fence;
  atomic<int> round{0};
  atomic<int> finished{0};
  kthread signaller = start("signaller", [&] {
    for (int r = 1; r <= rounds; ++r) {
      follow([&] { return round.load_acquire() >= r; });
      const deadline until = deadline_after(std::chrono::microseconds{r % 50});
      while (monotonic_clock::now() < until) platform::cpu_relax();
      fence->signal();
      finished.store_release(r);
    }
  });
  for (int r = 1; r <= rounds; ++r) {
    fence = make_mock();
    round.store_release(r);
    if (fence->wait_until(deadline_after(std::chrono::microseconds{25}))) {
      ASSERT_TRUE(fence->test_signaled_flag());
    }
    follow([&] { return finished.load_acquire() >= r; });
  }
  signaller.join();
}

}  // namespace
}  // namespace interlock::test
