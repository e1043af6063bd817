// SPDX-License-Identifier: Apache-2.0

/// Computing: functions as jobs.

#include <array>
#include <thread>

#include "device_test.hpp"

CONFORMANCE_SUITE(compute, device_feature::compute);

namespace conformance {
namespace {

job execute(std::int64_t (*function)(job&), void* cookie = nullptr) {
  job work;
  work.kind = job_kind::execute;
  work.execute = function;
  work.cookie = cookie;
  return work;
}

}  // namespace
}  // namespace conformance

CONFORMANCE(compute, runs_on_the_device) {
  auto queue = test.open();
  static std::thread::id where;
  job work = execute([](job& self) -> std::int64_t {
    where = std::this_thread::get_id();
    return *static_cast<int*>(self.cookie);
  });
  int value = 42;
  work.cookie = &value;
  const auto fence = submit(*queue, work);
  ASSERT_TRUE(fence->wait_until(patience()));
  EXPECT_EQ(work.result, 42);
  EXPECT_EQ(fence->status(), 1);
  EXPECT_NE(where, std::this_thread::get_id());
}

CONFORMANCE(compute, a_negative_result_is_an_error) {
  auto queue = test.open();
  job work = execute([](job&) -> std::int64_t { return to_negative_errno(error::bad_message); });
  const auto fence = submit(*queue, work);
  ASSERT_TRUE(fence->wait_until(patience()));
  EXPECT_EQ(fence->status(), to_negative_errno(error::bad_message));
  EXPECT_EQ(queue->statistics().failed, 1u);
}

CONFORMANCE(compute, prepare_runs_first_and_can_refuse) {
  auto queue = test.open();
  int order = 0;
  job work = execute(
      [](job& self) -> std::int64_t { return ++*static_cast<int*>(self.cookie) == 2 ? 0 : -1; },
      &order);
  work.prepare = [](job& self) { return ++*static_cast<int*>(self.cookie) == 1 ? 0 : -1; };
  ASSERT_TRUE(submit(*queue, work)->wait_until(patience()));
  EXPECT_EQ(work.result, 0);
  EXPECT_EQ(order, 2);
  work.prepare = [](job&) { return to_negative_errno(error::invalid_argument); };
  ASSERT_TRUE(submit(*queue, work)->wait_until(patience()));
  EXPECT_EQ(work.result, to_negative_errno(error::invalid_argument));
  EXPECT_EQ(order, 2) << "execute did not run";
}

CONFORMANCE(compute, without_a_function_it_is_refused) {
  auto queue = test.open();
  job work = execute(nullptr);
  const auto fence = queue->submit(work);
  ASSERT_FALSE(fence);
  EXPECT_EQ(fence.error(), error::invalid_argument);
}

CONFORMANCE(compute, what_runs_ends_before_cancel_fails_it) {
  static atomic<std::uint32_t> entered{0}, leave{0};
  entered.store_relaxed(0);
  leave.store_relaxed(0);
  auto queue = test.open();
  job work = execute([](job&) -> std::int64_t {
    entered.store_release(1);
    while (leave.load_acquire() == 0) std::this_thread::yield();
    return 7;
  });
  const auto fence = submit(*queue, work);
  while (entered.load_acquire() == 0) std::this_thread::yield();
  queue->cancel_all(error::timed_out);
  EXPECT_FALSE(fence->is_signaled()) << "the buffer is still in use";
  leave.store_release(1);
  ASSERT_TRUE(fence->wait_until(patience()));
  EXPECT_EQ(fence->status(), to_negative_errno(error::timed_out));
}

// Device to device: each stage sees what the one before wrote.
CONFORMANCE(compute, a_pipeline_passes_data_on) {
  auto a = test.open(test.options("a"));
  auto b = test.open(test.options("b"));
  constexpr int rounds = 2000;
  struct slot {
    job produce, consume;
    ref_ptr<dma_fence> done;
    int data = 0, seen = 0;
  };
  std::array<slot, 16> slots;
  for (int i = 0; i < rounds; ++i) {
    slot& now = slots[static_cast<std::size_t>(i) % slots.size()];
    if (now.done) {
      ASSERT_TRUE(wait_for_word(*b, now.done->seqno));
      ASSERT_EQ(now.seen, 2 * (i - static_cast<int>(slots.size())));
    }
    now.data = i;
    now.produce = execute(
        [](job& self) -> std::int64_t {
          static_cast<slot*>(self.cookie)->data *= 2;
          return 0;
        },
        &now);
    now.consume = execute(
        [](job& self) -> std::int64_t {
          auto& s = *static_cast<slot*>(self.cookie);
          s.seen = s.data;
          return 0;
        },
        &now);
    now.consume.waits[0] = submit(*a, now.produce);
    now.done = submit(*b, now.consume);
  }
  ASSERT_TRUE(wait_for_word(*b, rounds));
  EXPECT_EQ(a->statistics().interrupts + b->statistics().interrupts, 0u);
}
