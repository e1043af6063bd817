// SPDX-License-Identifier: Apache-2.0

/// Links: jobs that wait for fences of other queues, of other providers, and of nobody's.

#include <array>
#include <random>
#include <thread>

#include "device_test.hpp"

CONFORMANCE_SUITE(link, device_feature::none);

CONFORMANCE(link, waits_in_memory_arm_nothing) {
  auto producer = test.open(test.options("producer"));
  auto consumer = test.open(test.options("consumer"));
  const auto gate = make_gate();
  constexpr std::size_t count = 32;
  std::array<job, count> made, used;
  for (std::size_t i = 0; i < count; ++i) {
    made[i] = i == 0 ? nop_after(gate) : nop();
    used[i] = nop_after(submit(*producer, made[i]));
    ASSERT_TRUE(submit(*consumer, used[i]));
  }
  gate->signal();
  ASSERT_TRUE(wait_for_word(*consumer, count));
  EXPECT_EQ(consumer->statistics().memory_waits, count);
  EXPECT_EQ(consumer->statistics().callback_waits, 0u);
  for (device_queue* queue : {producer.get(), consumer.get()}) {
    EXPECT_EQ(queue->statistics().interrupts, 0u);
    EXPECT_EQ(seqno_timeline_get_statistics(queue->timeline()).fences_armed, 0u);
    EXPECT_EQ(seqno_timeline_get_statistics(queue->timeline()).provider_armed, 0u);
  }
}

CONFORMANCE(link, the_submitter_is_never_woken) {
  auto producer = test.open(test.options("producer"));
  auto consumer = test.open(test.options("consumer"));
  const auto gate = make_gate();
  std::array<job, 16> made, used;
  const std::uint64_t before = wakeups_of(current_task());
  for (std::size_t i = 0; i < made.size(); ++i) {
    made[i] = i == 0 ? nop_after(gate) : nop();
    used[i] = nop_after(submit(*producer, made[i]));
    ASSERT_TRUE(submit(*consumer, used[i]));
  }
  gate->signal();
  ASSERT_TRUE(wait_for_word(*consumer, used.size()));
  EXPECT_EQ(wakeups_of(current_task()), before);
}

CONFORMANCE(link, a_callback_wakes_the_device) {
  auto producer = test.open(test.options("producer"));
  device_queue_options options = test.options("consumer");
  options.link = link_mode::callback;
  auto consumer = test.open(options);
  const auto gate = make_gate();
  job made = nop_after(gate), used = nop_after(submit(*producer, made));
  const auto last = submit(*consumer, used);
  while (consumer->statistics().callback_waits == 0) std::this_thread::yield();
  gate->signal();
  ASSERT_TRUE(wait_for_word(*consumer, 1));
  EXPECT_EQ(last->status(), 1);
  EXPECT_EQ(consumer->statistics().callback_waits, 1u);
  EXPECT_EQ(consumer->statistics().memory_waits, 0u);
  EXPECT_EQ(producer->statistics().interrupts, 1u) << "the armed fence costs an interrupt";
}

CONFORMANCE(link, foreign_fences_are_waited_for_by_callback) {
  auto queue = test.open();
  const auto gate = make_gate();
  job work = nop_after(gate);
  const auto fence = submit(*queue, work);
  while (queue->statistics().callback_waits == 0) std::this_thread::yield();
  EXPECT_FALSE(fence->is_signaled());
  gate->signal();
  ASSERT_TRUE(fence->wait_until(patience()));
  EXPECT_EQ(fence->status(), 1);
  EXPECT_EQ(queue->statistics().callback_waits, 1u);
}

CONFORMANCE(link, all_waits_of_a_job_count) {
  auto queue = test.open();
  const auto gate = make_gate();
  const auto second = make_gate();
  test_timeline word;
  job work = nop();
  work.waits[0] = gate;
  work.waits[1] = word.fence(7);
  work.waits[3] = second;  // after an empty one
  work.cookie = &word;
  work.prepare = [](job& self) {
    auto& timeline = static_cast<test_timeline*>(self.cookie)->get();
    return seqno_timeline_passed(timeline, 7) ? 0 : to_negative_errno(error::invalid_argument);
  };
  const auto fence = submit(*queue, work);
  second->signal();
  word.advance(6);
  gate->signal();
  for (int i = 0; i < 200; ++i) std::this_thread::yield();
  EXPECT_FALSE(fence->is_signaled());
  word.advance(7);
  ASSERT_TRUE(fence->wait_until(patience()));
  EXPECT_EQ(fence->status(), 1) << "it started too early";
  for (const auto& wait : work.waits) EXPECT_FALSE(wait) << "references end with the job";
}

CONFORMANCE(link, a_fence_that_is_done_costs_no_wait) {
  auto queue = test.open();
  const auto gate = make_gate();
  gate->signal();
  job work = nop_after(gate);
  ASSERT_TRUE(submit(*queue, work)->wait_until(patience()));
  EXPECT_EQ(queue->statistics().callback_waits, 0u);
  EXPECT_EQ(queue->statistics().memory_waits, 0u);
}

CONFORMANCE(link, a_job_may_wait_for_its_own_queue) {
  auto queue = test.open();
  const auto gate = make_gate();
  job first = nop_after(gate);
  const auto earlier = submit(*queue, first);
  job second = nop_after(earlier);
  second.cookie = earlier.get();
  second.prepare = [](job& self) {
    return static_cast<dma_fence*>(self.cookie)->is_signaled() ? 0 : -EPROTO;
  };
  const auto later = submit(*queue, second);
  gate->signal();
  ASSERT_TRUE(later->wait_until(patience()));
  EXPECT_EQ(later->status(), 1) << "it began before what it waits for was done";
}

CONFORMANCE(link, a_stuck_fence_holds_up_its_own_queue_only) {
  auto stuck = test.open(test.options("stuck"));
  auto other = test.open(test.options("other"));
  const auto never = make_gate();
  test_timeline word;
  job before = nop(), waits = nop_after(never), behind = nop();
  const auto earlier = submit(*stuck, before);
  ASSERT_TRUE(submit(*stuck, waits));
  const auto later = submit(*stuck, behind);
  ASSERT_TRUE(earlier->wait_until(patience())) << "an earlier job completes";
  for (int i = 0; i < 50; ++i) {
    job work = nop();
    ASSERT_TRUE(submit(*other, work)->wait_until(patience()));
  }
  EXPECT_FALSE(later->is_signaled()) << "jobs start in order";
  never->signal();
  ASSERT_TRUE(later->wait_until(patience()));
}

// Whether a device sleeps or still spins is its own affair, so this is tried until it slept. It has
// waited for a callback before, which must not keep it from sleeping.
CONFORMANCE(link, wakes_are_counted) {
  auto queue = test.open();
  const auto gate = make_gate();
  job first = nop_after(gate);
  const auto begun = submit(*queue, first);
  while (queue->statistics().callback_waits == 0) std::this_thread::yield();
  gate->signal();
  ASSERT_TRUE(begun->wait_until(patience()));
  const std::uint64_t slept_before = queue->statistics().wakes_on_link;
  test_timeline word;
  const deadline end = patience();
  std::uint64_t round = 0;
  while (queue->statistics().wakes_on_link == slept_before && monotonic_clock::now() < end) {
    job work = nop_after(word.fence(++round));
    const auto fence = submit(*queue, work);
    for (std::uint64_t i = 0; i < 100 * round; ++i) std::this_thread::yield();
    word.advance(round);
    ASSERT_TRUE(wait_for_word(*queue, round + 1));
  }
  const device_queue_statistics counted = queue->statistics();
  EXPECT_GT(counted.wakes_on_link, slept_before);
  EXPECT_LE(counted.wakes_on_link, counted.wakes);
}

// Every job looks whether all that it waits for is done when it starts.
CONFORMANCE(link, random_graphs_run_in_order) {
  constexpr std::size_t queues = 3, rounds = 600, live = 48;
  struct node {
    job work;
    std::vector<ref_ptr<dma_fence>> before;
    ref_ptr<dma_fence> fence;
  };
  static atomic<int> early{0};
  early.store_relaxed(0);
  std::vector<std::unique_ptr<device_queue>> devices;
  for (std::size_t i = 0; i < queues; ++i) {
    device_queue_options options = test.options();
    options.link = i == 1 ? link_mode::callback : link_mode::memory;
    devices.push_back(test.open(options));
  }
  std::array<node, live> nodes;
  std::minstd_rand random{7};
  for (std::size_t i = 0; i < rounds; ++i) {
    node& now = nodes[i % live];
    if (now.fence) {
      ASSERT_TRUE(now.fence->wait_until(patience()));
    }
    now.work = nop();
    now.before.clear();
    for (std::size_t w = 0; w < random() % (job::max_waits + 1); ++w) {
      const node& earlier = nodes[random() % live];
      if (!earlier.fence || &earlier == &now) continue;
      now.work.waits[w] = earlier.fence;
      now.before.push_back(earlier.fence);
    }
    now.work.cookie = &now;
    now.work.prepare = [](job& self) {
      for (const auto& fence : static_cast<node*>(self.cookie)->before) {
        if (!fence->is_signaled()) early.fetch_add_relaxed(1);
      }
      return 0;
    };
    now.fence = submit(*devices[random() % queues], now.work);
    ASSERT_TRUE(now.fence);
  }
  for (auto& device : devices) {
    ASSERT_TRUE(wait_for_word(*device, device->statistics().submitted));
  }
  EXPECT_EQ(early.load_relaxed(), 0);
}

#if defined(INTERLOCK_HAS_ENGINE)

CONFORMANCE(link, providers_wait_for_each_other) {
  auto queue = test.open();
  device_queue_options options;
  options.name = "other";
  auto other = std::move(*engine_provider().open(options));
  const auto gate = make_gate();
  constexpr std::size_t count = 20;
  std::array<job, count> first, second, third;
  for (std::size_t i = 0; i < count; ++i) {
    first[i] = i == 0 ? nop_after(gate) : nop();
    second[i] = nop_after(submit(*other, first[i]));
    third[i] = nop_after(submit(*queue, second[i]));
    ASSERT_TRUE(submit(*other, third[i]));
  }
  gate->signal();
  ASSERT_TRUE(wait_for_word(*other, 2 * count));
  EXPECT_EQ(queue->statistics().memory_waits, count);
  EXPECT_EQ(other->statistics().memory_waits, count);
  EXPECT_EQ(queue->statistics().interrupts + other->statistics().interrupts, 0u);
}

#endif
