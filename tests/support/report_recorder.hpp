// SPDX-License-Identifier: Apache-2.0
#pragma once

/// Reports as something a test can expect: recorded instead of printed, and an error unless taken.

#include <gtest/gtest.h>

#include <cstddef>

#include "interlock/report.hpp"
#include "support/rounds.hpp"

namespace interlock::test {

/// Records reports while it lives. Recording allocates nothing, so it works in handlers too.
class report_recorder {
 public:
  /// Without long stacks on the simulated machine, which looks at every byte that an execution frees.
  static constexpr std::size_t text_size = is_explored ? 600 : 6000;

  struct record {
    report_kind kind;
    char text[text_size];
  };

  report_recorder() noexcept;
  ~report_recorder();
  report_recorder(const report_recorder&) = delete;
  report_recorder& operator=(const report_recorder&) = delete;

  /// Reports that were made and not taken yet.
  [[nodiscard]] std::size_t pending() const noexcept;

  /// Takes the oldest report: it must be of `kind` and contain `text`.
  [[nodiscard]] ::testing::AssertionResult took(report_kind kind, const char* text) noexcept;

  /// The text of the report that was taken last, for further looks; "" if there was none.
  [[nodiscard]] const char* text() const noexcept { return last_; }

 private:
  static void record_one(const report& what, void* cookie) noexcept;

  static constexpr std::size_t capacity = 16;

  record records_[capacity];
  atomic<std::size_t> made_{0};
  std::size_t taken_ = 0;
  const char* last_ = "";
};

/// A fixture whose tests fail on every report that they did not take.
class report_test : public ::testing::Test {
 protected:
  void TearDown() override {
    while (reports.pending() != 0) {
      EXPECT_TRUE(reports.took(report_kind{-1}, "")) << "unexpected report";
    }
  }

  report_recorder reports;
};

}  // namespace interlock::test
