// SPDX-License-Identifier: Apache-2.0
#pragma once

/// What the suites share: queues of the backend under test, jobs, and fences that a test decides.
///
///   CONFORMANCE(file_io, reads_stop_at_the_end) { auto queue = open(); ... }
///
/// is a test of the suite `file_io`, run for each backend that the suite was instantiated with.

#include <gtest/gtest.h>

#include <functional>
#include <memory>

#include "backend.hpp"
#include "interlock/fence_class.hpp"
#include "support/sanitizers.hpp"

namespace conformance {

using namespace interlock;
using interlock::test::thread_sanitizer;

/// Long enough for a loaded machine under a sanitizer; nothing waits that long if all is well.
inline deadline patience() { return deadline_after(std::chrono::seconds{60}); }

/// A fence that no device recognises: only its callback tells.
struct gate_fence : fence_class<gate_fence> {
  using fence_class::fence_class;
  const char* driver_name_of() const noexcept { return "test"; }
  const char* timeline_name_of() const noexcept { return "gate"; }
};
ref_ptr<gate_fence> make_gate();

/// A word in memory that the test writes.
class test_timeline {
 public:
  test_timeline();
  ~test_timeline();
  test_timeline(const test_timeline&) = delete;
  test_timeline& operator=(const test_timeline&) = delete;

  ref_ptr<dma_fence> fence(std::uint64_t seqno);
  /// As a device does: stores the word, signals what is armed.
  void advance(std::uint64_t seqno);
  seqno_timeline& get() { return *timeline_; }

 private:
  ref_ptr<seqno_timeline> timeline_;
};

enum class verdict { ran, unsupported, failed_as_expected, passed_unexpectedly };
/// Runs `body` unless the backend says that it makes no sense; catches what it is expected to fail.
verdict judge(const backend& which, const char* name, const std::function<void()>& body);

class device_test : public testing::TestWithParam<backend> {
 protected:
  void SetUp() override;

  void run(const char* name, void (*body)(device_test&));

 public:
  /// Names differ, so that reports tell queues apart.
  [[nodiscard]] device_queue_options options(const char* name = "queue") const;
  [[nodiscard]] std::unique_ptr<device_queue> open() const { return open(options()); }
  [[nodiscard]] std::unique_ptr<device_queue> open(const device_queue_options& chosen) const;
  [[nodiscard]] const backend& which() const { return GetParam(); }
};

/// Submits and expects that to work.
ref_ptr<dma_fence> submit(device_queue& queue, job& work);
/// Waits for the fence without a callback of it, nor being woken: looks at the word.
bool wait_for_word(device_queue& queue, std::uint64_t seqno);

job nop();
job nop_after(ref_ptr<dma_fence> fence);

/// Names the backend at the end of a test's name.
struct backend_name {
  std::string operator()(const testing::TestParamInfo<backend>& info) const {
    return info.param.name;
  }
};

}  // namespace conformance

/// A suite, run for the backends that promise `feature`.
#define CONFORMANCE_SUITE(suite, feature)                                                       \
  namespace conformance {                                                                       \
  class suite : public device_test {};                                                          \
  GTEST_ALLOW_UNINSTANTIATED_PARAMETERIZED_TEST(suite);                                         \
  INSTANTIATE_TEST_SUITE_P(, suite, testing::ValuesIn(backends_with(feature)), backend_name{}); \
  }                                                                                             \
  static_assert(true)

/// The body is a function of its own, so that an expected failure can be caught.
#define CONFORMANCE(suite, name)                       \
  namespace conformance {                              \
  static void suite##_##name(device_test& test);       \
  TEST_P(suite, name) { run(#name, &suite##_##name); } \
  }                                                    \
  static void conformance::suite##_##name([[maybe_unused]] device_test& test)
