// SPDX-License-Identifier: Apache-2.0

/// Seqnos, the order of completion, the ring, and many submitters.

#include <array>
#include <thread>

#include "device_test.hpp"
#include "interlock/atomic.hpp"

CONFORMANCE_SUITE(order, device_feature::none);

namespace conformance {
namespace {

/// Notes in which order fences were signalled, under nobody's lock but the order of callbacks.
struct observed_fence {
  dma_fence_cb callback{};
  std::vector<std::uint64_t>* order = nullptr;
  static void note(dma_fence* fence, dma_fence_cb* cb) {
    auto* const self = INTERLOCK_CONTAINER_OF(cb, observed_fence, callback);
    self->order->push_back(fence->seqno);
  }
};

}  // namespace
}  // namespace conformance

CONFORMANCE(order, seqnos_count_up_on_one_context) {
  auto queue = test.open();
  std::array<job, 8> jobs;
  std::uint64_t context = 0;
  for (std::size_t i = 0; i < jobs.size(); ++i) {
    jobs[i] = nop();
    const auto fence = submit(*queue, jobs[i]);
    EXPECT_EQ(fence->seqno, i + 1);
    EXPECT_EQ(jobs[i].seqno, i + 1);
    if (i == 0) context = fence->context;
    EXPECT_EQ(fence->context, context);
    ASSERT_TRUE(fence->wait_until(patience()));
    EXPECT_EQ(fence->status(), 1);
  }
  EXPECT_EQ(context, seqno_timeline_context(queue->timeline()));
}

CONFORMANCE(order, fences_are_signalled_in_order) {
  auto queue = test.open();
  const auto gate = make_gate();
  std::vector<std::uint64_t> order;
  std::array<job, 40> jobs;
  std::array<observed_fence, 40> observed;
  std::vector<ref_ptr<dma_fence>> fences;
  for (std::size_t i = 0; i < jobs.size(); ++i) {
    jobs[i] = i == 0 ? nop_after(gate) : nop();
    fences.push_back(submit(*queue, jobs[i]));
    observed[i].order = &order;
    ASSERT_TRUE(fences[i]->add_callback(observed[i].callback, &observed_fence::note));
  }
  EXPECT_EQ(seqno_timeline_value(queue->timeline()), 0u) << "the first job still waits";
  gate->signal();
  ASSERT_TRUE(fences.back()->wait_until(patience()));
  // Signalled comes before the callbacks; this waits for them.
  EXPECT_FALSE(fences.back()->remove_callback(observed.back().callback));
  ASSERT_EQ(order.size(), jobs.size());
  for (std::size_t i = 0; i < order.size(); ++i) EXPECT_EQ(order[i], i + 1);
}

CONFORMANCE(order, the_outcome_is_there_before_the_fence) {
  static atomic<int> wrong{0};
  wrong.store_relaxed(0);
  auto queue = test.open();
  for (int i = 0; i < 200; ++i) {
    job work = nop();
    work.prepare = [](job&) { return to_negative_errno(error::bad_message); };
    const auto fence = submit(*queue, work);
    while (!seqno_timeline_passed(queue->timeline(), fence->seqno)) std::this_thread::yield();
    ASSERT_EQ(work.result, to_negative_errno(error::bad_message));
    ASSERT_EQ(fence->status(), to_negative_errno(error::bad_message));
  }
}

CONFORMANCE(order, a_full_ring_refuses) {
  device_queue_options options = test.options();
  options.ring_size = 4;
  auto queue = test.open(options);
  const auto gate = make_gate();
  std::array<job, 5> jobs;
  std::vector<ref_ptr<dma_fence>> fences;
  for (std::size_t i = 0; i < 4; ++i) {
    jobs[i] = nop_after(gate);
    fences.push_back(submit(*queue, jobs[i]));
  }
  jobs[4] = nop_after(gate);
  const auto refused = queue->submit(jobs[4]);
  ASSERT_FALSE(refused);
  EXPECT_EQ(refused.error(), error::resource_unavailable_try_again);
  EXPECT_EQ(jobs[4].waits[0], ref_ptr<dma_fence>{gate}) << "with an error nothing is touched";
  EXPECT_EQ(queue->statistics().submitted, 4u);

  gate->signal();
  ASSERT_TRUE(fences[0]->wait_until(patience()));
  fences.push_back(submit(*queue, jobs[4]));
  ASSERT_TRUE(fences.back()->wait_until(patience()));
  EXPECT_EQ(fences.back()->seqno, 5u);
}

CONFORMANCE(order, there_is_room_as_soon_as_a_fence_is_done) {
  device_queue_options options = test.options();
  options.ring_size = 2;
  auto queue = test.open(options);
  std::array<job, 2> jobs{nop(), nop()};
  std::array<ref_ptr<dma_fence>, 2> fences;
  for (std::size_t i = 0; i < 3000; ++i) {
    auto& fence = fences[i % 2];
    if (fence) {
      ASSERT_TRUE(wait_for_word(*queue, fence->seqno));
    }
    fence = submit(*queue, jobs[i % 2]);
    ASSERT_TRUE(fence);
  }
  ASSERT_TRUE(fences[1]->wait_until(patience()));
}

CONFORMANCE(order, jobs_of_many_submitters_all_complete) {
  constexpr int threads = 4, each = 500;
  auto queue = test.open();
  std::array<std::uint64_t, threads> last{};
  std::array<bool, threads> ordered{};
  std::vector<std::thread> submitters;
  for (std::size_t t = 0; t < threads; ++t) {
    submitters.emplace_back([&, t] {
      ordered[t] = true;
      for (int i = 0; i < each; ++i) {
        job work = nop();
        auto fence = queue->submit(work);
        while (!fence) {
          std::this_thread::yield();
          fence = queue->submit(work);
        }
        ordered[t] = ordered[t] && (*fence)->seqno > last[t];
        last[t] = (*fence)->seqno;
        ordered[t] = (*fence)->wait_until(patience()) && ordered[t];
      }
    });
  }
  for (auto& submitter : submitters) submitter.join();
  for (const bool good : ordered) EXPECT_TRUE(good);
  const device_queue_statistics counted = queue->statistics();
  EXPECT_EQ(counted.submitted, std::uint64_t{threads} * each);
  EXPECT_EQ(counted.completed, counted.submitted);
  EXPECT_EQ(counted.failed, 0u);
}
