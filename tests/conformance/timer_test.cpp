// SPDX-License-Identifier: Apache-2.0

/// Timers: jobs that take a time.

#include <array>

#include "device_test.hpp"

CONFORMANCE_SUITE(timer, device_feature::timer);

namespace conformance {
namespace {

job timeout(ktime delay) {
  job work;
  work.kind = job_kind::timeout;
  work.delay = delay;
  return work;
}

}  // namespace
}  // namespace conformance

CONFORMANCE(timer, takes_its_time_and_succeeds) {
  auto queue = test.open();
  for (const ktime delay : {ktime{}, ktime{-5}, ktime{std::chrono::milliseconds{20}}}) {
    job work = timeout(delay);
    const deadline begin = monotonic_clock::now();
    const auto fence = submit(*queue, work);
    ASSERT_TRUE(fence->wait_until(patience()));
    EXPECT_EQ(fence->status(), 1);
    EXPECT_EQ(work.result, 0);
    EXPECT_GE(monotonic_clock::now() - begin, delay);
  }
}

CONFORMANCE(timer, starts_when_its_waits_are_over) {
  auto queue = test.open();
  const auto gate = make_gate();
  job work = timeout(std::chrono::milliseconds{10});
  work.waits[0] = gate;
  const auto fence = submit(*queue, work);
  const deadline opened = monotonic_clock::now();
  gate->signal();
  ASSERT_TRUE(fence->wait_until(patience()));
  EXPECT_GE(monotonic_clock::now() - opened, work.delay);
}

CONFORMANCE(timer, ends_by_cancel_all) {
  auto queue = test.open();
  job work = timeout(std::chrono::hours{1}), later = timeout(std::chrono::hours{1});
  const auto first = submit(*queue, work);
  const auto second = submit(*queue, later);
  queue->cancel_all(error::timed_out);
  ASSERT_TRUE(second->wait_until(patience()));
  EXPECT_EQ(first->status(), to_negative_errno(error::timed_out));
  EXPECT_EQ(second->status(), to_negative_errno(error::timed_out));
}

// A long one first: where several run at once the short ones end first, and are completed after.
CONFORMANCE(timer, completes_in_order_of_submission) {
  auto queue = test.open();
  std::array<job, 3> jobs{timeout(std::chrono::milliseconds{30}),
                          timeout(std::chrono::milliseconds{1}), nop()};
  std::array<ref_ptr<dma_fence>, 3> fences;
  const deadline begin = monotonic_clock::now();
  for (std::size_t i = 0; i < jobs.size(); ++i) fences[i] = submit(*queue, jobs[i]);
  ASSERT_TRUE(fences[2]->wait_until(patience()));
  EXPECT_GE(monotonic_clock::now() - begin, jobs[0].delay);
  for (const auto& fence : fences) EXPECT_EQ(fence->status(), 1);
}
