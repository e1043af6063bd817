// SPDX-License-Identifier: Apache-2.0
#pragma once

/// GoogleTest in what is explored: an EXPECT or ASSERT that fails there ends the execution as a failure, with its trace.
/// Explorations are named after the test that they stand in.
///
///     interlock::model::expectations here;
///     const auto r = interlock::model::explore([] { ... EXPECT_EQ(a, b); });
///     EXPECT_TRUE(r.passed()) << r;

#include <gtest/gtest-spi.h>
#include <gtest/gtest.h>

#include <string>

#include "interlock_platform/machine.h"

namespace interlock::model {

namespace detail {

/// "suite.test" of the test that runs.
inline const char* test_name() {
  static std::string name;
  const testing::TestInfo* const info = testing::UnitTest::GetInstance()->current_test_info();
  if (info == nullptr) return nullptr;
  name = std::string{info->test_suite_name()} + '.' + info->name();
  return name.c_str();
}
inline const bool names_explorations = (interlock_machine_name_explorations(test_name), true);

}  // namespace detail

/// As long as it lives, failures inside of executions are the execution's; those outside stay GoogleTest's.
/// Context: outside of executions.
class expectations : private testing::ScopedFakeTestPartResultReporter {
 public:
  expectations()
      : testing::ScopedFakeTestPartResultReporter{INTERCEPT_ALL_THREADS, nullptr},
        former_{nullptr} {}

 private:
  void ReportTestPartResult(const testing::TestPartResult& result) override {
    if (!result.failed()) return;
    std::string text = "BUG: expectation failed at ";
    text += result.file_name() != nullptr ? result.file_name() : "?";
    text += ':' + std::to_string(result.line_number()) + '\n' + result.message();
    interlock_machine_fail(text.c_str());
  }
  void* former_;
};

}  // namespace interlock::model
