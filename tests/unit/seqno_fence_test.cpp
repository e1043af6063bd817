// SPDX-License-Identifier: Apache-2.0

/// Fences that memory decides: comparing, arming, processing, failing.

#include "interlock/seqno_fence.hpp"

#include "interlock/irqflags.hpp"
#include "interlock/rcupdate.hpp"
#include "interlock/shutdown.hpp"
#include "seqno_test_support.hpp"
#include "support/rounds.hpp"

namespace interlock::test {
namespace {

using seqno_fence_test = report_test;

// --- comparing -----------------------------------------------------------------------------------

constexpr auto bits32 = seqno_width::bits32;
constexpr auto bits64 = seqno_width::bits64;
constexpr auto cyclic = seqno_order::cyclic;
constexpr auto linear = seqno_order::linear;

static_assert(seqno_reached(5, 5, bits64, linear) && seqno_reached(6, 5, bits64, linear));
static_assert(!seqno_reached(4, 5, bits64, linear));
static_assert(seqno_reached(UINT64_MAX, 0, bits64, linear));
static_assert(!seqno_reached(0, UINT64_MAX, bits64, linear));
static_assert(seqno_reached(0, UINT64_MAX, bits64, cyclic));
static_assert(seqno_reached(INT64_MAX, 0, bits64, cyclic));
static_assert(!seqno_reached(1ull << 63, 0, bits64, cyclic));
static_assert(!seqno_reached(UINT64_MAX, 0, bits64, cyclic));
static_assert(seqno_reached(5, 5, bits32, cyclic) && !seqno_reached(4, 5, bits32, cyclic));
static_assert(seqno_reached(0x7fff'ffff, 0, bits32, cyclic));
static_assert(!seqno_reached(0x8000'0000, 0, bits32, cyclic));
static_assert(seqno_reached(0, 0xffff'ffff, bits32, cyclic));
static_assert(!seqno_reached(0xffff'ffff, 0, bits32, cyclic));
static_assert(seqno_reached(0x1'0000'0002, 0xffff'ffff, bits32, cyclic));
static_assert(seqno_reached(0xffff'ffff, 0, bits32, linear));
static_assert(!seqno_reached(0, 0xffff'ffff, bits32, linear));
static_assert(!seqno_reached(0x1'0000'0000, 1, bits32, linear), "the high half does not count");

TEST_F(seqno_fence_test, a_timeline_of_32_bits_reads_the_low_half) {
  mock_provider provider;
  const auto timeline = make_timeline(provider, {.width = bits32, .order = cyclic});
  seqno_timeline_cell(*timeline).value.store_release(0xdead'beef'0000'0005);
  EXPECT_EQ(seqno_timeline_value(*timeline), 5u);
  EXPECT_TRUE(seqno_timeline_passed(*timeline, 5));
  EXPECT_FALSE(seqno_timeline_passed(*timeline, 6));
}

// --- making --------------------------------------------------------------------------------------

TEST_F(seqno_fence_test, a_timeline_needs_names_and_a_cell) {
  const auto buffer = make_seqno_buffer(2).value();
  seqno_timeline_ops ops = mock_provider::ops;
  EXPECT_EQ(make_seqno_timeline(ops, nullptr, nullptr, 0).error(), error::invalid_argument);
  EXPECT_EQ(make_seqno_timeline(ops, nullptr, buffer, 2).error(), error::invalid_argument);
  EXPECT_EQ(make_seqno_timeline(ops, nullptr, buffer, 0, {.poll_interval = {}}).error(),
            error::invalid_argument);
  ops.get_driver_name = nullptr;
  EXPECT_EQ(make_seqno_timeline(ops, nullptr, buffer, 0).error(), error::invalid_argument);
  ops = mock_provider::ops;
  ops.get_timeline_name = nullptr;
  EXPECT_EQ(make_seqno_timeline(ops, nullptr, buffer, 0).error(), error::invalid_argument);
}

TEST_F(seqno_fence_test, a_timeline_knows_what_it_was_made_of) {
  mock_provider provider;
  const auto buffer = make_seqno_buffer(2).value();
  const auto timeline =
      make_seqno_timeline(mock_provider::ops, &provider, buffer, 1, {.context = 77}).value();
  EXPECT_EQ(seqno_timeline_cookie(*timeline), &provider);
  EXPECT_EQ(seqno_timeline_context(*timeline), 77u);
  EXPECT_EQ(&seqno_timeline_buffer(*timeline), buffer.get());
  EXPECT_EQ(seqno_timeline_cell_index(*timeline), 1u);
  EXPECT_EQ(&seqno_timeline_cell(*timeline), &seqno_buffer_cell(*buffer, 1));
  EXPECT_EQ(seqno_timeline_error(*timeline), 0);
  const auto other = make_timeline(provider);
  EXPECT_NE(seqno_timeline_context(*other), 0u) << "a fresh one";
}

TEST_F(seqno_fence_test, a_fence_is_of_its_timeline) {
  mock_provider provider;
  const auto timeline = make_timeline(provider);
  const auto fence = fence_at(timeline, 5);
  EXPECT_EQ(fence->context, seqno_timeline_context(*timeline));
  EXPECT_EQ(fence->seqno, 5u);
  char text[200];
  fence->describe(text, sizeof text);
  EXPECT_NE(std::strstr(text, "driver=mock timeline=ring"), nullptr) << text;
  const seqno_point point = to_seqno_fence(*fence);
  EXPECT_EQ(point.timeline, timeline.get());
  EXPECT_EQ(point.seqno, 5u);
}

TEST_F(seqno_fence_test, only_an_unsignalled_seqno_fence_has_a_point) {
  mock_provider provider;
  const auto timeline = make_timeline(provider);
  const auto fence = fence_at(timeline, 1);
  const auto other = make_mock();
  EXPECT_EQ(to_seqno_fence(*other).timeline, nullptr);
  complete(timeline, 1);
  EXPECT_TRUE(fence->is_signaled());
  EXPECT_EQ(to_seqno_fence(*fence).timeline, nullptr);
}

TEST_F(seqno_fence_test, fences_compare_as_their_timeline_does) {
  mock_provider provider;
  const auto wide = make_timeline(provider);
  EXPECT_TRUE(dma_fence_is_later(*fence_at(wide, 0x8000'0001), *fence_at(wide, 1)));
  const auto narrow = make_timeline(provider, {.width = bits32, .order = cyclic});
  EXPECT_FALSE(dma_fence_is_later(*fence_at(narrow, 0x8000'0001), *fence_at(narrow, 1)));
}

TEST_F(seqno_fence_test, fences_keep_the_timeline_which_keeps_the_buffer) {
  mock_provider provider;
  auto timeline = make_timeline(provider);
  auto fence = fence_at(timeline, 1);
  seqno_timeline& raw = *timeline;
  timeline.reset();
  EXPECT_EQ(provider.released.load_acquire(), 0);
  seqno_timeline_advance(raw, 1);
  EXPECT_TRUE(fence->is_signaled());
  fence.reset();
  EXPECT_EQ(provider.released.load_acquire(), 1);
  rcu_barrier();
}

// --- unarmed -------------------------------------------------------------------------------------

TEST_F(seqno_fence_test, an_unarmed_fence_answers_from_memory_and_latches) {
  mock_provider provider;
  const auto timeline = make_timeline(provider);
  const auto fence = fence_at(timeline, 3);
  EXPECT_FALSE(fence->is_signaled());
  EXPECT_EQ(complete(timeline, 3), 0u);
  EXPECT_FALSE(fence->test_signaled_flag());
  EXPECT_TRUE(fence->is_signaled());
  seqno_timeline_cell(*timeline).value.store_release(0);  // a device gone mad
  EXPECT_TRUE(fence->is_signaled());
  EXPECT_EQ(fence->status(), 1);
  EXPECT_EQ(provider.armed.load_relaxed(), 0);
}

TEST_F(seqno_fence_test, a_million_unarmed_fences_cost_their_producer_nothing) {
  mock_provider provider;
  const auto timeline = make_timeline(provider);
  constexpr std::uint64_t count = rounds(1'000'000, 10);
  std::vector<ref_ptr<dma_fence>> fences;
  fences.reserve(count);
  for (std::uint64_t n = 1; n <= count; ++n) fences.push_back(fence_at(timeline, n));
  const auto last_armed = fence_at(timeline, count);
  last_armed->enable_sw_signaling();
  EXPECT_EQ(complete(timeline, count), 1u) << "one is armed, one is signalled";
  EXPECT_EQ(provider.status_asked.load_relaxed(), 1) << "and no other is looked at";
  EXPECT_FALSE(fences.front()->test_signaled_flag());
  EXPECT_FALSE(fences.back()->test_signaled_flag());
  EXPECT_TRUE(fences.front()->is_signaled());
  EXPECT_EQ(provider.status_asked.load_relaxed(), 2);
  const seqno_statistics statistics = seqno_timeline_get_statistics(*timeline);
  EXPECT_EQ(statistics.fences_made, count + 1);
  EXPECT_EQ(statistics.fences_armed, 1u);
  EXPECT_EQ(statistics.processed, 1u);
  EXPECT_EQ(statistics.rings, 0u);
}

// --- armed ---------------------------------------------------------------------------------------

TEST_F(seqno_fence_test, the_provider_is_armed_once_not_per_fence) {
  mock_provider provider;
  const auto timeline = make_timeline(provider);
  const auto one = fence_at(timeline, 1);
  const auto two = fence_at(timeline, 2);
  EXPECT_FALSE(seqno_timeline_armed(*timeline));
  one->enable_sw_signaling();
  two->enable_sw_signaling();
  EXPECT_TRUE(seqno_timeline_armed(*timeline));
  EXPECT_EQ(provider.armed.load_relaxed(), 1);
  EXPECT_EQ(complete(timeline, 1), 1u);
  EXPECT_EQ(provider.disarmed.load_relaxed(), 0);
  EXPECT_EQ(complete(timeline, 2), 1u);
  EXPECT_EQ(provider.disarmed.load_relaxed(), 1);
  EXPECT_FALSE(seqno_timeline_armed(*timeline));
  const auto three = fence_at(timeline, 3);
  three->enable_sw_signaling();
  EXPECT_EQ(provider.armed.load_relaxed(), 2);
  EXPECT_EQ(complete(timeline, 3), 1u);
}

TEST_F(seqno_fence_test, arming_a_passed_fence_signals_it_at_once) {
  mock_provider provider;
  const auto timeline = make_timeline(provider);
  const auto fence = fence_at(timeline, 1);
  seqno_timeline_advance(*timeline, 1);
  counting_callback cb;
  EXPECT_EQ(cb.add_to(*fence).error(), error::no_such_file_or_directory);
  EXPECT_EQ(fence->status(), 1);
  EXPECT_EQ(provider.armed.load_relaxed(), 0);
}

/// The store falls between the look that arms and the provider's arming: nobody will interrupt.
TEST_F(seqno_fence_test, arming_does_not_lose_a_store) {
  mock_provider provider;
  provider.on_arm = [](seqno_timeline& timeline) { seqno_timeline_advance(timeline, 1); };
  const auto timeline = make_timeline(provider);
  const auto fence = fence_at(timeline, 1);
  fence->enable_sw_signaling();
  EXPECT_TRUE(fence->test_signaled_flag());
  EXPECT_EQ(provider.armed.load_relaxed(), 1);
  EXPECT_EQ(provider.disarmed.load_relaxed(), 1);
  EXPECT_FALSE(seqno_timeline_armed(*timeline));
}

TEST_F(seqno_fence_test, armed_fences_are_signalled_in_order_of_seqno) {
  mock_provider provider;
  const auto timeline = make_timeline(provider);
  std::vector<ref_ptr<dma_fence>> fences;
  std::vector<counting_callback*> order;
  order.reserve(8);
  std::vector<counting_callback> cbs(6);
  const std::uint64_t armed_as[] = {3, 1, 5, 2, 4, 3};
  for (std::size_t i = 0; i < 6; ++i) {
    fences.push_back(fence_at(timeline, armed_as[i]));
    cbs[i].order = &order;
    ASSERT_TRUE(cbs[i].add_to(*fences[i]));
  }
  EXPECT_EQ(complete(timeline, 4), 5u);
  EXPECT_FALSE(fences[2]->is_signaled());
  EXPECT_EQ(complete(timeline, 9), 1u);
  const std::vector<counting_callback*> expected{&cbs[1], &cbs[3], &cbs[0],
                                                 &cbs[5], &cbs[4], &cbs[2]};
  EXPECT_EQ(order, expected);
}

TEST_F(seqno_fence_test, a_cyclic_timeline_orders_across_the_wrap) {
  mock_provider provider;
  const auto timeline = make_timeline(provider, {.width = bits32, .order = cyclic});
  seqno_timeline_advance(*timeline, 0xffff'fff0);
  const auto before = fence_at(timeline, 0xffff'ffff);
  const auto after = fence_at(timeline, 1);
  after->enable_sw_signaling();
  before->enable_sw_signaling();
  EXPECT_FALSE(after->test_signaled_flag());
  EXPECT_EQ(complete(timeline, 0xffff'ffff), 1u);
  EXPECT_TRUE(before->test_signaled_flag());
  EXPECT_FALSE(after->test_signaled_flag());
  EXPECT_EQ(complete(timeline, 1), 1u);
  EXPECT_TRUE(after->test_signaled_flag());
}

TEST_F(seqno_fence_test, an_armed_fence_lives_until_it_is_signalled) {
  mock_provider provider;
  auto timeline = make_timeline(provider);
  counting_callback cb;
  ASSERT_TRUE(cb.add_to(*fence_at(timeline, 1)));
  EXPECT_EQ(complete(timeline, 1), 1u);
  EXPECT_EQ(cb.runs.load_relaxed(), 1);
  timeline.reset();
  EXPECT_EQ(provider.released.load_acquire(), 1);
}

TEST_F(seqno_fence_test, a_callback_may_arm_and_process_the_same_timeline) {
  struct chained {
    dma_fence_cb cb;
    seqno_timeline* timeline;
    dma_fence* next;
    counting_callback at_end;
  };
  mock_provider provider;
  const auto timeline = make_timeline(provider);
  const auto first = fence_at(timeline, 1);
  const auto second = fence_at(timeline, 2);
  chained link{{}, timeline.get(), second.get(), {}};
  ASSERT_TRUE(first->add_callback(link.cb, [](dma_fence*, dma_fence_cb* cb) {
    chained& self = *INTERLOCK_CONTAINER_OF(cb, chained, cb);
    EXPECT_TRUE(self.at_end.add_to(*self.next));
    seqno_timeline_advance(*self.timeline, 2);
    EXPECT_EQ(seqno_timeline_process(*self.timeline), 0u) << "left to the one who is at it";
  }));
  EXPECT_EQ(complete(timeline, 1), 2u);
  EXPECT_EQ(link.at_end.runs.load_relaxed(), 1);
}

// --- the outcome ---------------------------------------------------------------------------------

TEST_F(seqno_fence_test, the_status_op_is_asked_once_before_the_signal) {
  mock_provider provider;
  provider.failing_seqno = 2;
  const auto timeline = make_timeline(provider);
  const auto one = fence_at(timeline, 1);
  const auto two = fence_at(timeline, 2);
  const auto again = fence_at(timeline, 2);
  one->enable_sw_signaling();
  two->enable_sw_signaling();
  complete(timeline, 2);
  EXPECT_EQ(one->status(), 1);
  EXPECT_EQ(two->status(), -EIO);
  EXPECT_EQ(two->provider_code, 99u);
  EXPECT_EQ(provider.status_asked.load_relaxed(), 2);
  EXPECT_EQ(again->status(), -EIO) << "unarmed, peeked at";
  EXPECT_EQ(again->status(), -EIO);
  EXPECT_EQ(provider.status_asked.load_relaxed(), 3);
}

TEST_F(seqno_fence_test, a_failed_timeline_fails_what_it_has_not_passed) {
  mock_provider provider;
  const auto timeline = make_timeline(provider);
  const auto passed = fence_at(timeline, 1);
  const auto armed = fence_at(timeline, 2);
  const auto unarmed = fence_at(timeline, 3);
  armed->enable_sw_signaling();
  seqno_timeline_advance(*timeline, 1);
  seqno_timeline_fail(*timeline, error::no_such_device);
  seqno_timeline_fail(*timeline, error::io_error);  // the first counts
  EXPECT_EQ(seqno_timeline_error(*timeline), -ENODEV);
  EXPECT_TRUE(armed->test_signaled_flag());
  EXPECT_EQ(armed->status(), -ENODEV);
  EXPECT_EQ(unarmed->status(), -ENODEV);
  EXPECT_EQ(passed->status(), 1);
  const auto future = fence_at(timeline, 9);
  future->wait();
  EXPECT_EQ(future->status(), -ENODEV);
  EXPECT_EQ(provider.disarmed.load_relaxed(), 1);
}

TEST_F(seqno_fence_test, hints_are_forwarded_while_they_are_the_earliest) {
  mock_provider provider;
  const auto timeline = make_timeline(provider);
  const auto one = fence_at(timeline, 1);
  const auto two = fence_at(timeline, 2);
  one->set_deadline(deadline{ktime{50}});
  two->set_deadline(deadline{ktime{70}});  // later: nothing new
  two->set_deadline(deadline{ktime{40}});
  complete(timeline, 2);
  const auto three = fence_at(timeline, 3);
  three->set_deadline(deadline{ktime{90}});  // what was hinted at is done
  const std::vector<std::pair<std::uint64_t, std::int64_t>> expected{{1, 50}, {2, 40}, {3, 90}};
  EXPECT_EQ(provider.hints, expected);
}

// --- polling -------------------------------------------------------------------------------------

TEST_F(seqno_fence_test, a_timeline_without_arm_op_is_polled) {
  mock_provider provider;
  const auto timeline = make_timeline(provider, {}, mock_provider::polled_ops);
  for (std::uint64_t n = 1; n <= 3; ++n) {
    const auto fence = fence_at(timeline, n);
    counting_callback cb;
    ASSERT_TRUE(cb.add_to(*fence));
    // A device: it stores the word, and tells nobody.
    seqno_timeline_cell(*timeline).value.store_release(n);
    fence->wait();
    // Signalled comes before the callbacks; this waits for them.
    EXPECT_FALSE(fence->remove_callback(cb.cb));
    EXPECT_EQ(cb.runs.load_relaxed(), 1);
  }
}

TEST_F(seqno_fence_test, a_timeline_that_refuses_arming_is_polled) {
  mock_provider provider;
  provider.can_arm.store_relaxed(false);
  const auto timeline = make_timeline(provider);
  const auto fence = fence_at(timeline, 1);
  shutdown();  // nobody has started the service CPU for this timeline
  fence->enable_sw_signaling();
  EXPECT_EQ(provider.armed.load_relaxed(), 1);
  EXPECT_EQ(fence->status(), 0);
  seqno_timeline_cell(*timeline).value.store_release(1);
  fence->wait();
  EXPECT_EQ(fence->status(), 1);
  EXPECT_EQ(provider.disarmed.load_relaxed(), 0);
}

TEST_F(seqno_fence_test, a_polled_fence_outlives_the_service_cpu) {
  mock_provider provider;
  const auto timeline = make_timeline(provider, {}, mock_provider::polled_ops);
  const auto armed = fence_at(timeline, 1);
  const auto unarmed = fence_at(timeline, 2);
  armed->enable_sw_signaling();
  shutdown();
  // Not decided: nobody polls now, and whoever waits sees to it that somebody does.
  EXPECT_EQ(armed->status(), 0);
  EXPECT_FALSE(unarmed->wait_until(deadline_after(std::chrono::milliseconds{5})));
  EXPECT_EQ(unarmed->status(), 0);
  shutdown();
  seqno_timeline_cell(*timeline).value.store_release(2);
  EXPECT_TRUE(armed->wait_until(deadline_after(std::chrono::seconds{10})));
  EXPECT_TRUE(unarmed->wait_until(deadline_after(std::chrono::seconds{10})));
  EXPECT_EQ(armed->status(), 1);
  EXPECT_EQ(unarmed->status(), 1);
}

/// There the service CPU cannot be started: the next operation in a task does.
TEST_F(seqno_fence_test, a_polled_fence_may_be_armed_where_nobody_may_sleep) {
  mock_provider provider;
  const auto timeline = make_timeline(provider, {}, mock_provider::polled_ops);
  const auto fence = fence_at(timeline, 1);
  const auto other = fence_at(timeline, 2);
  counting_callback first;
  counting_callback second;
  shutdown();
  {
    const irq_flags flags = local_irq_save();
    EXPECT_TRUE(first.add_to(*fence));
    local_irq_restore(flags);
  }
  EXPECT_EQ(fence->status(), 0);
  seqno_timeline_cell(*timeline).value.store_release(1);
  ASSERT_TRUE(second.add_to(*other));
  EXPECT_TRUE(eventually([&] { return first.runs.load_acquire() == 1; }));
  EXPECT_EQ(fence->status(), 1);
  EXPECT_EQ(other->status(), 0);
  seqno_timeline_cell(*timeline).value.store_release(2);
  EXPECT_TRUE(eventually([&] { return second.runs.load_acquire() == 1; }));
}

TEST_F(seqno_fence_test, polling_stops_and_lets_the_timeline_go) {
  mock_provider provider;
  seqno_timeline_ops ops = mock_provider::polled_ops;
  ops.release = mock_provider::release;
  auto timeline = make_timeline(provider, {}, ops);
  auto fence = fence_at(timeline, 1);
  fence->enable_sw_signaling();
  seqno_timeline_cell(*timeline).value.store_release(1);
  fence->wait();
  fence.reset();
  timeline.reset();
  EXPECT_TRUE(eventually([&] { return provider.released.load_acquire() == 1; }));
}

// --- races ---------------------------------------------------------------------------------------

/// Two process, one arms: each fence is signalled once, in order, and none is left behind.
TEST_F(seqno_fence_test, processing_on_two_cpus_keeps_the_order) {
  struct ordered {
    dma_fence_cb cb;
    std::uint64_t seqno;
    atomic<std::uint64_t>* newest;
    atomic<int>* disorder;
    ref_ptr<dma_fence> fence;

    static void check(dma_fence*, dma_fence_cb* cb) {
      ordered& self = *INTERLOCK_CONTAINER_OF(cb, ordered, cb);
      if (self.newest->load_acquire() >= self.seqno) self.disorder->fetch_add_relaxed(1);
      self.newest->store_release(self.seqno);
    }
  };
  constexpr std::uint64_t count = rounds(2000);
  mock_provider provider;
  const auto timeline = make_timeline(provider);
  atomic<std::uint64_t> newest{0};
  atomic<int> disorder{0};
  std::vector<ordered> all(count);
  for (std::uint64_t n = 1; n <= count; ++n) {
    ordered& o = all[n - 1];
    o.seqno = n;
    o.newest = &newest;
    o.disorder = &disorder;
    o.fence = fence_at(timeline, n);
    ASSERT_TRUE(o.fence->add_callback(o.cb, ordered::check));
  }
  atomic<bool> stop{false};
  const auto process = [&] {
    while (!stop.load_acquire()) seqno_timeline_process(*timeline);
  };
  kthread one = start("one", process);
  kthread other = start("other", process);
  for (std::uint64_t n = 1; n <= count; ++n) {
    seqno_timeline_advance(*timeline, n);
    if (n % 8 == 0) schedule();
  }
  EXPECT_TRUE(eventually([&] { return newest.load_acquire() == count; }));
  stop.store_release(true);
  one.join();
  other.join();
  EXPECT_EQ(disorder.load_relaxed(), 0);
}

/// Arm against store: the device looks at `armed` after its store and processes only then.
TEST_F(seqno_fence_test, no_fence_is_lost_between_arming_and_the_store) {
  constexpr std::uint64_t rounds = test::rounds(2000);
  mock_provider provider;
  const auto timeline = make_timeline(provider);
  atomic<std::uint64_t> asked{0};
  kthread device = start("device", [&] {
    for (std::uint64_t n = 1; n <= rounds; ++n) {
      follow([&] { return asked.load_acquire() >= n; });
      complete(timeline, n);
    }
  });
  for (std::uint64_t n = 1; n <= rounds; ++n) {
    const auto fence = fence_at(timeline, n);
    asked.store_release(n);
    fence->wait();  // a lost fence would hang here
    ASSERT_EQ(fence->status(), 1);
  }
  device.join();
}

/// Peek, arm and process decide one fence at once: its outcome is asked once.
TEST_F(seqno_fence_test, one_outcome_for_all_who_ask) {
  constexpr std::uint64_t rounds = test::rounds(1000);
  mock_provider provider;
  const auto timeline = make_timeline(provider);
  ref_ptr<dma_fence> fence;
  atomic<std::uint64_t> round{0};
  atomic<std::uint64_t> finished{0};
  kthread peeker = start("peeker", [&] {
    for (std::uint64_t n = 1; n <= rounds; ++n) {
      follow([&] { return round.load_acquire() >= n; });
      follow([&] { return fence->status() != 0; });
      EXPECT_EQ(fence->status(), -EIO);
      finished.store_release(n);
    }
  });
  for (std::uint64_t n = 1; n <= rounds; ++n) {
    provider.failing_seqno = n;
    provider.status_asked.store_relaxed(0);
    fence = fence_at(timeline, n);
    if (n % 2 != 0) fence->enable_sw_signaling();
    round.store_release(n);
    complete(timeline, n);
    fence->wait();
    ASSERT_EQ(fence->status(), -EIO);
    follow([&] { return finished.load_acquire() >= n; });
    ASSERT_EQ(provider.status_asked.load_relaxed(), 1);
  }
  peeker.join();
}

}  // namespace
}  // namespace interlock::test
