// SPDX-License-Identifier: Apache-2.0

/// Errors, cancelling, faults and the end of a queue.

#include <array>
#include <thread>

#include "device_test.hpp"

CONFORMANCE_SUITE(failure, device_feature::none);
CONFORMANCE_SUITE(fault, device_feature::fault_injection);

namespace conformance {
namespace {

/// Counts how often `prepare` ran.
atomic<int> prepared{0};
job counted_nop() {
  prepared.store_relaxed(0);
  job work = nop();
  work.prepare = [](job&) {
    prepared.fetch_add_relaxed(1);
    return 0;
  };
  return work;
}

int fail_with_io_error(job&) { return to_negative_errno(error::io_error); }

}  // namespace
}  // namespace conformance

CONFORMANCE(failure, an_error_travels_down_the_links) {
  auto a = test.open(test.options("a"));
  auto b = test.open(test.options("b"));
  auto c = test.open(test.options("c"));
  job fails = nop(), waits = counted_nop(), waits_more = counted_nop(), unrelated = nop();
  fails.prepare = &fail_with_io_error;
  waits.waits[0] = submit(*a, fails);
  waits_more.waits[0] = submit(*b, waits);
  const auto last = submit(*c, waits_more);
  ASSERT_TRUE(last->wait_until(patience()));
  EXPECT_EQ(last->status(), to_negative_errno(error::io_error));
  EXPECT_EQ(waits.result, to_negative_errno(error::io_error));
  EXPECT_EQ(prepared.load_relaxed(), 0) << "what is cancelled does not run";
  EXPECT_EQ(a->statistics().failed, 1u);
  EXPECT_EQ(a->statistics().cancelled, 0u) << "it failed by itself";
  EXPECT_EQ(b->statistics().cancelled, 1u);
  EXPECT_EQ(c->statistics().cancelled, 1u);

  const auto next = submit(*b, unrelated);
  ASSERT_TRUE(next->wait_until(patience()));
  EXPECT_EQ(next->status(), 1) << "later jobs are not touched";
}

CONFORMANCE(failure, a_job_without_a_kind_is_refused) {
  auto queue = test.open();
  std::byte buffer[1];
  for (const int what : {0, 1, 2}) {
    job work;
    if (what == 0) work.execute = [](job&) -> std::int64_t { return 0; };
    if (what == 1) work.buffer = buffer;
    if (what == 2) work.fd = 0;
    const auto fence = queue->submit(work);
    ASSERT_FALSE(fence);
    EXPECT_EQ(fence.error(), error::invalid_argument);
  }
}

CONFORMANCE(failure, a_job_in_flight_is_refused) {
  auto queue = test.open();
  const auto gate = make_gate();
  job work = nop_after(gate);
  const auto first = submit(*queue, work);
  const auto again = queue->submit(work);
  ASSERT_FALSE(again);
  EXPECT_EQ(again.error(), error::device_or_resource_busy);
  gate->signal();
  ASSERT_TRUE(first->wait_until(patience()));
  EXPECT_EQ(submit(*queue, work)->wait_until(patience()), true) << "reusable after that";
}

CONFORMANCE(failure, the_error_of_a_foreign_fence_cancels) {
  auto queue = test.open();
  for (const bool signalled_before : {true, false}) {
    const auto gate = make_gate();
    gate->set_error(error::no_space_on_device);
    if (signalled_before) gate->signal();
    job work = counted_nop();
    work.waits[1] = gate;
    const auto fence = submit(*queue, work);
    if (!signalled_before) gate->signal();
    ASSERT_TRUE(fence->wait_until(patience()));
    EXPECT_EQ(fence->status(), to_negative_errno(error::no_space_on_device));
    EXPECT_EQ(prepared.load_relaxed(), 0);
  }
}

CONFORMANCE(failure, a_producer_that_goes_away_cancels) {
  auto queue = test.open();
  for (const bool before : {true, false}) {
    auto word = std::make_unique<test_timeline>();
    job work = nop_after(word->fence(1));
    if (before) seqno_timeline_fail(word->get(), error::owner_dead);
    const auto fence = submit(*queue, work);
    if (!before) seqno_timeline_fail(word->get(), error::owner_dead);
    ASSERT_TRUE(fence->wait_until(patience()));
    EXPECT_EQ(fence->status(), to_negative_errno(error::owner_dead));
  }
}

// The fence is not asked before the job's storage has served another job.
CONFORMANCE(failure, the_error_outlives_the_job) {
  auto queue = test.open();
  std::vector<ref_ptr<dma_fence>> failed;
  job work;
  constexpr std::size_t count = 300;  // more than any history keeps
  for (std::size_t i = 0; i < count; ++i) {
    for (const bool fails : {true, false}) {
      work = nop();
      if (fails) work.prepare = &fail_with_io_error;
      const auto fence = submit(*queue, work);
      ASSERT_TRUE(wait_for_word(*queue, fence->seqno));
      if (fails) failed.push_back(fence);
    }
  }
  EXPECT_EQ(work.result, 0);
  for (const auto& fence : failed) {
    EXPECT_FALSE(fence->test_signaled_flag()) << "nobody asked yet";
    EXPECT_EQ(fence->status(), to_negative_errno(error::io_error));
  }
}

CONFORMANCE(failure, a_fence_made_by_hand_tells_the_error) {
  auto queue = test.open();
  job good = nop(), bad = nop();
  bad.prepare = &fail_with_io_error;
  ASSERT_TRUE(submit(*queue, good));
  ASSERT_TRUE(submit(*queue, bad));
  ASSERT_TRUE(wait_for_word(*queue, 2));
  const auto first = std::move(*make_seqno_fence(queue->timeline(), 1));
  const auto second = std::move(*make_seqno_fence(queue->timeline(), 2));
  EXPECT_EQ(first->status(), 1);
  EXPECT_EQ(second->status(), to_negative_errno(error::io_error));
}

CONFORMANCE(failure, cancel_all_fails_what_has_not_finished) {
  auto queue = test.open();
  const auto gate = make_gate();
  std::array<job, 8> jobs;
  std::vector<ref_ptr<dma_fence>> fences;
  job before = counted_nop(), after = nop();
  const auto done = submit(*queue, before);
  ASSERT_TRUE(done->wait_until(patience()));
  for (std::size_t i = 0; i < jobs.size(); ++i) {
    jobs[i] = counted_nop();
    if (i == 2) jobs[i].waits[0] = gate;
    fences.push_back(submit(*queue, jobs[i]));
  }
  ASSERT_TRUE(fences[1]->wait_until(patience()));
  prepared.store_relaxed(0);
  queue->cancel_all(error::timed_out);
  ASSERT_TRUE(fences.back()->wait_until(patience()));
  EXPECT_EQ(done->status(), 1);
  EXPECT_EQ(fences[1]->status(), 1);
  for (std::size_t i = 2; i < jobs.size(); ++i) {
    EXPECT_EQ(fences[i]->status(), to_negative_errno(error::timed_out));
    EXPECT_EQ(jobs[i].result, to_negative_errno(error::timed_out));
  }
  EXPECT_EQ(prepared.load_relaxed(), 0);
  EXPECT_EQ(queue->statistics().cancelled, 6u);
  const auto next = submit(*queue, after);
  ASSERT_TRUE(next->wait_until(patience()));
  EXPECT_EQ(next->status(), 1) << "the queue goes on";
}

CONFORMANCE(failure, cancel_all_ends_a_wait_in_memory) {
  for (const link_mode link : {link_mode::memory, link_mode::callback}) {
    device_queue_options options = test.options();
    options.link = link;
    auto queue = test.open(options);
    test_timeline word;
    for (std::uint64_t i = 1; i <= 20; ++i) {
      job work = nop_after(word.fence(100));
      const auto fence = submit(*queue, work);
      for (std::uint64_t n = 0; n < i * 10; ++n) std::this_thread::yield();
      queue->cancel_all(error::operation_canceled);
      ASSERT_TRUE(wait_for_word(*queue, i));
      EXPECT_EQ(fence->status(), to_negative_errno(error::operation_canceled));
    }
  }
}

CONFORMANCE(failure, closing_fails_what_is_queued) {
  const auto gate = make_gate();
  test_timeline word;
  for (const bool in_memory : {true, false}) {
    auto queue = test.open();
    std::array<job, 4> jobs;
    std::vector<ref_ptr<dma_fence>> fences;
    for (auto& work : jobs) {
      work = nop_after(in_memory ? word.fence(1) : ref_ptr<dma_fence>{gate});
      fences.push_back(submit(*queue, work));
    }
    queue.reset();
    for (const auto& fence : fences) {
      EXPECT_EQ(fence->status(), to_negative_errno(error::operation_canceled));
    }
    for (const auto& work : jobs)
      EXPECT_EQ(work.result, to_negative_errno(error::operation_canceled));
  }
}

CONFORMANCE(failure, closing_an_unused_queue_is_quick) {
  for (int i = 0; i < 20; ++i) EXPECT_TRUE(test.open());
}

CONFORMANCE(failure, fences_outlive_their_queue) {
  auto queue = test.open(test.options("short-lived"));
  job work = nop();
  const auto fence = submit(*queue, work);
  ASSERT_TRUE(wait_for_word(*queue, 1));
  queue.reset();
  {
    guard reader{rcu};
    EXPECT_STREQ(fence->timeline_name(), "short-lived");
  }
  EXPECT_EQ(fence->status(), 1);
}

CONFORMANCE(failure, unknown_kinds_are_refused) {
  auto queue = test.open();
  const device_feature features = test.which().features();
  const auto promised = [&](job_kind kind) {
    switch (kind) {
      case job_kind::execute: return has(features, device_feature::compute);
      case job_kind::timeout: return has(features, device_feature::timer);
      case job_kind::nop: return true;
      default: return has(features, device_feature::file_io);
    }
  };
  for (const job_kind kind : {job_kind::execute, job_kind::read, job_kind::write, job_kind::sync,
                              job_kind::timeout, job_kind::nop}) {
    job work;
    work.kind = kind;
    if (kind == job_kind::execute) work.execute = [](job&) -> std::int64_t { return 0; };
    const auto fence = queue->submit(work);
    if (promised(kind)) {
      ASSERT_TRUE(fence);
      ASSERT_TRUE((*fence)->wait_until(patience()));
    } else {
      ASSERT_FALSE(fence);
      EXPECT_EQ(fence.error(), error::operation_not_supported);
    }
  }
}

// --- faults --------------------------------------------------------------------------------------

CONFORMANCE(fault, an_injected_error_fails_one_job) {
  auto queue = test.open();
  device_fault fault;
  fault.what = device_fault::action::error;
  fault.index = 1;
  fault.error_code = to_negative_errno(error::bad_message);
  ASSERT_TRUE(queue->inject(fault));
  std::array<job, 3> jobs;
  std::vector<ref_ptr<dma_fence>> fences;
  for (auto& work : jobs) {
    work = nop();
    fences.push_back(submit(*queue, work));
  }
  ASSERT_TRUE(fences.back()->wait_until(patience()));
  EXPECT_EQ(fences[0]->status(), 1);
  EXPECT_EQ(fences[1]->status(), to_negative_errno(error::bad_message));
  EXPECT_EQ(fences[2]->status(), 1);
  EXPECT_EQ(queue->statistics().failed, 1u);
  EXPECT_EQ(queue->statistics().cancelled, 0u);
}

CONFORMANCE(fault, a_hung_job_ends_by_cancel_all) {
  auto hangs = test.open(test.options("hangs"));
  auto waits = test.open(test.options("waits"));
  auto unrelated = test.open(test.options("unrelated"));
  device_fault fault;
  fault.what = device_fault::action::hang;
  fault.index = 1;
  ASSERT_TRUE(hangs->inject(fault));
  job before = nop(), hung = nop(), behind = nop(), dependent = nop();
  ASSERT_TRUE(submit(*hangs, before)->wait_until(patience())) << "earlier jobs complete";
  dependent.waits[0] = submit(*hangs, hung);
  const auto last = submit(*hangs, behind);
  const auto down = submit(*waits, dependent);
  for (int i = 0; i < 50; ++i) {
    job other = nop();
    ASSERT_TRUE(submit(*unrelated, other)->wait_until(patience()));
  }
  EXPECT_FALSE(last->is_signaled());
  EXPECT_FALSE(down->is_signaled());
  hangs->cancel_all(error::timed_out);
  ASSERT_TRUE(last->wait_until(patience()));
  ASSERT_TRUE(down->wait_until(patience()));
  EXPECT_EQ(hung.result, to_negative_errno(error::timed_out));
  EXPECT_EQ(down->status(), to_negative_errno(error::timed_out));
}

CONFORMANCE(fault, a_hung_job_ends_by_close) {
  auto queue = test.open();
  device_fault fault;
  fault.what = device_fault::action::hang;
  ASSERT_TRUE(queue->inject(fault));
  job work = counted_nop();
  const auto fence = submit(*queue, work);
  while (prepared.load_acquire() == 0) std::this_thread::yield();  // it has begun
  queue.reset();
  EXPECT_EQ(fence->status(), to_negative_errno(error::operation_canceled));
}

CONFORMANCE(fault, a_stalled_job_completes_later) {
  auto queue = test.open();
  device_fault fault;
  fault.what = device_fault::action::stall;
  fault.stall_time = std::chrono::milliseconds{30};
  ASSERT_TRUE(queue->inject(fault));
  job work = nop();
  const deadline begin = monotonic_clock::now();
  const auto fence = submit(*queue, work);
  ASSERT_TRUE(fence->wait_until(patience()));
  EXPECT_EQ(fence->status(), 1);
  EXPECT_GE(monotonic_clock::now() - begin, fault.stall_time);
}

CONFORMANCE(fault, a_stall_ends_by_cancel_all) {
  auto queue = test.open();
  device_fault fault;
  fault.what = device_fault::action::stall;
  fault.stall_time = std::chrono::hours{1};
  ASSERT_TRUE(queue->inject(fault));
  job work = counted_nop();
  const auto fence = submit(*queue, work);
  while (prepared.load_acquire() == 0) std::this_thread::yield();  // it has begun
  queue->cancel_all(error::interrupted);
  ASSERT_TRUE(fence->wait_until(patience()));
  EXPECT_EQ(fence->status(), to_negative_errno(error::interrupted));
}

CONFORMANCE(fault, what_cannot_be_injected_is_refused) {
  auto queue = test.open();
  EXPECT_EQ(queue->inject({}).error(), error::invalid_argument);
  device_fault fault;
  fault.what = device_fault::action::error;
  fault.error_code = 5;
  EXPECT_EQ(queue->inject(fault).error(), error::invalid_argument);
  fault.error_code = to_negative_errno(error::io_error);
  fault.index = 1'000'000;
  int taken = 0;
  while (taken < 1000 && queue->inject(fault)) ++taken;
  EXPECT_EQ(taken, 16);
  EXPECT_EQ(queue->inject(fault).error(), error::not_enough_memory);
}
