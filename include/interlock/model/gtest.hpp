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

#include <optional>
#include <string>
#include <vector>

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
/// Begins the failure of an execution that a GTEST_SKIP has ended: it did not pass.
inline constexpr char skipped[] = "skipped at ";

inline const bool names_explorations = (interlock_machine_name_explorations(test_name), true);

}  // namespace detail

/// As long as it lives, failures inside of executions are the execution's; those outside are GoogleTest's when it ends.
/// Context: outside of executions.
class expectations {
 public:
  expectations() {
    // What GoogleTest keeps per thread is made now: memory of an execution would not outlive it.
    testing::TestPartResultArray none;
    testing::ScopedFakeTestPartResultReporter made{
        testing::ScopedFakeTestPartResultReporter::INTERCEPT_ONLY_CURRENT_THREAD, &none};
    const testing::ScopedTrace trace{__FILE__, __LINE__, ""};
    reporter_.emplace(outside_);
  }
  ~expectations() {
    reporter_.reset();
    for (const testing::TestPartResult& result : outside_) {
      GTEST_MESSAGE_AT_(result.file_name() != nullptr ? result.file_name() : "?",
                        result.line_number(), result.message(), result.type());
    }
  }
  expectations(const expectations&) = delete;
  expectations& operator=(const expectations&) = delete;

 private:
  class reporter : private testing::ScopedFakeTestPartResultReporter {
   public:
    explicit reporter(std::vector<testing::TestPartResult>& outside)
        : testing::ScopedFakeTestPartResultReporter{INTERCEPT_ALL_THREADS, nullptr},
          outside_{outside} {}

   private:
    void ReportTestPartResult(const testing::TestPartResult& result) override {
      if (!interlock_machine_in_execution()) {
        outside_.push_back(result);
      } else if (!result.passed()) {
        std::string text = result.skipped() ? detail::skipped : "BUG: expectation failed at ";
        text += result.file_name() != nullptr ? result.file_name() : "?";
        text += ':' + std::to_string(result.line_number()) + '\n' + result.message();
        interlock_machine_fail(text.c_str());
      }
    }
    std::vector<testing::TestPartResult>& outside_;
  };

  std::vector<testing::TestPartResult> outside_;
  std::optional<reporter> reporter_;
};

}  // namespace interlock::model
