// SPDX-License-Identifier: Apache-2.0

/// What is counted is what happened; interrupts come only to those who asked.

#include <array>
#include <thread>

#include "device_test.hpp"

CONFORMANCE_SUITE(statistics, device_feature::none);

CONFORMANCE(statistics, nobody_armed_means_no_interrupt) {
  auto queue = test.open();
  std::array<job, 50> jobs;
  for (auto& work : jobs) {
    work = nop();
    ASSERT_TRUE(submit(*queue, work));
  }
  ASSERT_TRUE(wait_for_word(*queue, jobs.size()));
  const device_queue_statistics counted = queue->statistics();
  EXPECT_EQ(counted.submitted, jobs.size());
  EXPECT_EQ(counted.completed, jobs.size());
  EXPECT_EQ(counted.failed, 0u);
  EXPECT_EQ(counted.cancelled, 0u);
  EXPECT_EQ(counted.interrupts, 0u);
  EXPECT_GE(counted.depth_max, 1u);
  EXPECT_LE(counted.depth_max, jobs.size());
}

CONFORMANCE(statistics, an_armed_fence_costs_one_interrupt) {
  auto queue = test.open();
  const auto gate = make_gate();
  std::array<job, 3> jobs{nop_after(gate), nop(), nop()};
  std::vector<ref_ptr<dma_fence>> fences;
  for (auto& work : jobs) fences.push_back(submit(*queue, work));
  fences[2]->enable_sw_signaling();
  EXPECT_EQ(queue->statistics().interrupts, 0u);
  gate->signal();
  ASSERT_TRUE(fences[2]->wait_until(patience()));
  // One for the batch that the armed job is in. Those before it may be stored alone; each of these
  // stores finds a fence armed too. Later ones find none.
  EXPECT_GE(queue->statistics().interrupts, 1u);
  EXPECT_LE(queue->statistics().interrupts, 3u);
  const std::uint64_t interrupts = queue->statistics().interrupts;
  std::array<job, 10> later;
  for (auto& work : later) {
    work = nop();
    fences.push_back(submit(*queue, work));
  }
  ASSERT_TRUE(wait_for_word(*queue, fences.size()));
  EXPECT_EQ(queue->statistics().interrupts, interrupts);
  EXPECT_EQ(seqno_timeline_get_statistics(queue->timeline()).fences_armed, 1u);
}

CONFORMANCE(statistics, arming_every_fence_interrupts_for_every_job) {
  device_queue_options options = test.options();
  options.arm_every_fence = true;
  auto queue = test.open(options);
  std::array<job, 20> jobs;
  for (auto& work : jobs) {
    work = nop();
    ASSERT_TRUE(submit(*queue, work));
  }
  const deadline end = patience();
  ASSERT_TRUE(wait_for_word(*queue, jobs.size()));
  while (queue->statistics().interrupts < jobs.size() && monotonic_clock::now() < end) {
    std::this_thread::yield();  // the line is raised after the store
  }
  EXPECT_EQ(queue->statistics().interrupts, jobs.size());
}

CONFORMANCE(statistics, depth_is_the_most_that_was_queued) {
  auto queue = test.open();
  const auto gate = make_gate();
  std::array<job, 12> jobs;
  ref_ptr<dma_fence> last;
  for (auto& work : jobs) {
    work = nop_after(gate);
    last = submit(*queue, work);
  }
  gate->signal();
  ASSERT_TRUE(last->wait_until(patience()));
  EXPECT_EQ(queue->statistics().depth_max, jobs.size());
}

CONFORMANCE(statistics, timestamps_on_request) {
  for (const bool wanted : {true, false}) {
    device_queue_options options = test.options();
    options.timestamps = wanted;
    auto queue = test.open(options);
    const auto gate = make_gate();
    job work = nop_after(gate);
    const auto fence = submit(*queue, work);
    const deadline opened = monotonic_clock::now();
    gate->signal();
    ASSERT_TRUE(fence->wait_until(patience()));
    if (wanted) {
      EXPECT_GE(work.started, opened) << "started: the waits are over";
      EXPECT_GE(work.finished, work.started);
      EXPECT_LE(work.finished, monotonic_clock::now());
    } else {
      EXPECT_EQ(work.started, deadline{});
      EXPECT_EQ(work.finished, deadline{});
    }
  }
}

CONFORMANCE(statistics, an_idle_device_sleeps) {
  auto queue = test.open();
  const deadline end = patience();
  std::uint64_t round = 0;
  while (queue->statistics().wakes < 2 && monotonic_clock::now() < end) {
    job work = nop();
    ASSERT_TRUE(submit(*queue, work));
    ASSERT_TRUE(wait_for_word(*queue, ++round));
    for (std::uint64_t i = 0; i < 10 * round; ++i) std::this_thread::yield();
  }
  const device_queue_statistics counted = queue->statistics();
  EXPECT_GE(counted.wakes, 2u);
  EXPECT_EQ(counted.wakes_on_link, 0u) << "it waited for work, for no link";
}
