// SPDX-License-Identifier: Apache-2.0
#pragma once

/// GoogleTest in what is explored: an EXPECT or ASSERT that fails there ends the execution as a failure, with its trace.
///
///     interlock::model::expectations here;
///     const auto r = interlock::model::explore([] { ... EXPECT_EQ(a, b); });
///     EXPECT_TRUE(r.passed()) << r;

#include <gtest/gtest-spi.h>
#include <gtest/gtest.h>

#include <string>

#include "interlock_platform/machine.h"

namespace interlock::model {

/// As long as it lives, failures inside of executions are the execution's; those outside stay GoogleTest's.
/// Context: outside of executions.
class expectations : private testing::ScopedFakeTestPartResultReporter {
 public:
  expectations()
      : testing::ScopedFakeTestPartResultReporter{INTERCEPT_ALL_THREADS, nullptr},
        former_{nullptr} {
    // GoogleTest keeps two things per thread, made on first use: here, for memory that an execution
    // allocates ends with it.
    const testing::ScopedTrace trace{"", 0, ""};
    testing::TestPartResultArray results;
    const testing::ScopedFakeTestPartResultReporter reporter{INTERCEPT_ONLY_CURRENT_THREAD,
                                                             &results};
  }

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
