// SPDX-License-Identifier: Apache-2.0

/// Devices that wait too long say for whom, however they wait.

#include <cstdlib>
#include <cstring>
#include <vector>

#include "interlock/device/provider.hpp"
#include "interlock/fence_class.hpp"
#include "support/report_recorder.hpp"
#include "support/tasks.hpp"

namespace interlock {
namespace {

// Before the library reads it, which it does once.
[[maybe_unused]] const int chosen = ::setenv("INTERLOCK_OPTIONS", "fence_watchdog_ms=20", 1);

struct stuck_fence : fence_class<stuck_fence> {
  using fence_class::fence_class;
  const char* driver_name_of() const noexcept { return "stuck-driver"; }
  const char* timeline_name_of() const noexcept { return "stuck-timeline"; }
};

std::vector<const provider*> providers() {
  std::vector<const provider*> all;
#if defined(INTERLOCK_HAS_ENGINE)
  all.push_back(&engine_provider());
#endif
#if defined(INTERLOCK_HAS_PREAD)
  all.push_back(&pread_provider());
#endif
#if defined(INTERLOCK_HAS_URING)
  all.push_back(&uring_provider());
#endif
  return all;
}

class device_watchdog : public testing::TestWithParam<const provider*> {
 protected:
  void SetUp() override {
    const provider_probe found = GetParam()->probe();
    if (!found.available) GTEST_SKIP() << found.detail;
    device_queue_options options;
    options.name = "waiting";
    queue_ = std::move(*GetParam()->open(options));
  }

  /// Submits a job that waits for `fence`, until the watchdog has spoken twice.
  void expect_report(ref_ptr<dma_fence> fence, const char* producer, const char* timeline) {
    job work;
    work.kind = job_kind::nop;
    work.waits[0] = std::move(fence);
    const auto done = queue_->submit(work);
    ASSERT_TRUE(done);
    for (int i = 0; i < 2; ++i) {
      ASSERT_TRUE(test::eventually([&] { return reports_.pending() != 0; }));
      EXPECT_TRUE(reports_.took(report_kind::fence_overdue, producer));
      EXPECT_NE(std::strstr(reports_.text(), timeline), nullptr) << reports_.text();
      EXPECT_NE(std::strstr(reports_.text(), " ms for"), nullptr) << "its age";
    }
    queue_->cancel_all(error::timed_out);
    (*done)->wait();
    while (reports_.pending() != 0) (void)reports_.took(report_kind::fence_overdue, "");
  }

  test::report_recorder reports_;
  std::unique_ptr<device_queue> queue_;
};

TEST_P(device_watchdog, names_a_fence_that_is_waited_for_by_callback) {
  expect_report(std::move(*make_fence<stuck_fence>(dma_fence_context_alloc(), 77u)),
                "driver=stuck-driver", "timeline=stuck-timeline");
}

TEST_P(device_watchdog, names_a_word_that_is_waited_for_in_memory) {
  device_queue_options options;
  options.name = "hangs";
  const auto other = std::move(*GetParam()->open(options));
  device_fault fault;
  fault.what = device_fault::action::hang;
  ASSERT_TRUE(other->inject(fault));
  job hung;
  hung.kind = job_kind::nop;
  auto fence = std::move(*other->submit(hung));
  expect_report(fence, "timeline=hangs", "seqno=1");
  other->cancel_all(error::timed_out);
  fence->wait();
}

INSTANTIATE_TEST_SUITE_P(, device_watchdog, testing::ValuesIn(providers()),
                         [](const auto& one) { return std::string{one.param->name}; });

}  // namespace
}  // namespace interlock
