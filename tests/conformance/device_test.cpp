// SPDX-License-Identifier: Apache-2.0

/// The fixture: opening queues, skipping, and expected failures.

#include "device_test.hpp"

#include <gtest/gtest-spi.h>

#include <algorithm>
#include <thread>

namespace conformance {
namespace {

bool contains(const std::vector<std::string>& names, const char* name) {
  return std::find(names.begin(), names.end(), name) != names.end();
}

constexpr seqno_timeline_ops word_ops() {
  seqno_timeline_ops ops{};
  ops.get_driver_name = [](seqno_timeline*) { return "test"; };
  ops.get_timeline_name = [](seqno_timeline*) { return "word"; };
  ops.arm = [](seqno_timeline*) { return true; };
  return ops;
}
constexpr seqno_timeline_ops ops = word_ops();

}  // namespace

ref_ptr<gate_fence> make_gate() {
  auto made = make_fence<gate_fence>(dma_fence_context_alloc(), 1u);
  EXPECT_TRUE(made);
  return std::move(*made);
}

test_timeline::test_timeline() {
  auto buffer = make_seqno_buffer(1);
  auto made = make_seqno_timeline(ops, nullptr, std::move(*buffer), 0);
  EXPECT_TRUE(made);
  timeline_ = std::move(*made);
}

test_timeline::~test_timeline() { seqno_timeline_fail(*timeline_, error::operation_canceled); }

ref_ptr<dma_fence> test_timeline::fence(std::uint64_t seqno) {
  auto made = make_seqno_fence(*timeline_, seqno);
  EXPECT_TRUE(made);
  return std::move(*made);
}

void test_timeline::advance(std::uint64_t seqno) {
  seqno_timeline_advance(*timeline_, seqno);
  if (seqno_timeline_armed(*timeline_)) (void)seqno_timeline_process(*timeline_);
}

void device_test::SetUp() {
  const provider_probe found = which().source->probe();
  if (!found.available) GTEST_SKIP() << which().name << ": " << found.detail;
}

verdict judge(const backend& which, const char* name, const std::function<void()>& body) {
  if (contains(which.unsupported, name)) return verdict::unsupported;
  if (!contains(which.expected_failures, name)) {
    body();
    return verdict::ran;
  }
  testing::TestPartResultArray results;
  {
    testing::ScopedFakeTestPartResultReporter catcher{
        testing::ScopedFakeTestPartResultReporter::INTERCEPT_ALL_THREADS, &results};
    body();
  }
  for (int i = 0; i < results.size(); ++i) {
    if (results.GetTestPartResult(i).failed()) return verdict::failed_as_expected;
  }
  return verdict::passed_unexpectedly;
}

void device_test::run(const char* name, void (*body)(device_test&)) {
  switch (judge(which(), name, [&] { body(*this); })) {
    case verdict::ran: return;
    case verdict::unsupported: GTEST_SKIP() << "makes no sense for " << which().name;
    case verdict::failed_as_expected: GTEST_SKIP() << which().name << " fails it, as expected";
    case verdict::passed_unexpectedly:
      FAIL() << which().name << " is expected to fail it, but passes: take it off the list";
  }
}

device_queue_options device_test::options(const char* name) const {
  device_queue_options chosen;
  chosen.name = name;
  chosen.without = which().without.c_str();
  return chosen;
}

std::unique_ptr<device_queue> device_test::open(const device_queue_options& chosen) const {
  auto queue = which().source->open(chosen);
  EXPECT_TRUE(queue) << error_name(queue.error());
  return queue ? std::move(*queue) : nullptr;
}

ref_ptr<dma_fence> submit(device_queue& queue, job& work) {
  auto fence = queue.submit(work);
  EXPECT_TRUE(fence) << error_name(fence.error());
  return fence ? std::move(*fence) : nullptr;
}

bool wait_for_word(device_queue& queue, std::uint64_t seqno) {
  const deadline end = patience();
  while (!seqno_timeline_passed(queue.timeline(), seqno)) {
    if (monotonic_clock::now() > end) return false;
    std::this_thread::yield();
  }
  return true;
}

job nop() {
  job work;
  work.kind = job_kind::nop;
  return work;
}

job nop_after(ref_ptr<dma_fence> fence) {
  job work = nop();
  work.waits[0] = std::move(fence);
  return work;
}

}  // namespace conformance
