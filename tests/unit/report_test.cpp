// SPDX-License-Identifier: Apache-2.0
#include "interlock/report.hpp"

#include <gtest/gtest.h>

#include <climits>
#include <string>

#include "support/report_recorder.hpp"
#include "support/tasks.hpp"

namespace interlock {
namespace {

TEST(report_text, formats_numbers) {
  report_text text;
  text << 0 << ' ' << -1 << ' ' << INT_MIN << ' ' << 4'000'000'000u << ' ' << LONG_MIN << ' '
       << ULONG_MAX;
  EXPECT_STREQ(text.c_str(),
               "0 -1 -2147483648 4000000000 -9223372036854775808 18446744073709551615");
}

TEST(report_text, formats_hex_and_places) {
  report_text text;
  text.hex(0) << ' ';
  text.hex(0x1f, 8) << ' ';
  text.hex(UINT64_MAX) << ' ' << location{"a.cpp", 12} << ' ' << location{} << ' '
                       << static_cast<const char*>(nullptr);
  EXPECT_STREQ(text.c_str(), "0 0000001f ffffffffffffffff a.cpp:12 ?:0 (null)");
}

TEST(report_text, cuts_what_does_not_fit_and_says_so) {
  char buffer[20];
  report_text text{buffer, sizeof buffer};
  text << "0123456789"
       << "0123456789";
  EXPECT_STREQ(text.c_str(), "0123456789012[cut]\n");
  EXPECT_EQ(text.size(), sizeof buffer - 1);
  text << "more";
  EXPECT_STREQ(text.c_str(), "0123456789012[cut]\n");
}

TEST(report_text, takes_exactly_what_fits) {
  char buffer[20];
  report_text text{buffer, sizeof buffer};
  text << "0123456789012";
  EXPECT_STREQ(text.c_str(), "0123456789012");
  text << "";
  EXPECT_STREQ(text.c_str(), "0123456789012");
  text << 'x';
  EXPECT_STREQ(text.c_str(), "0123456789012[cut]\n");
}

class report_test : public test::report_test {};

TEST_F(report_test, warn_on_reports_the_condition_and_yields_it) {
  const int line = __LINE__ + 1;
  EXPECT_TRUE(INTERLOCK_WARN_ON(1 + 1 == 2));
  EXPECT_FALSE(INTERLOCK_WARN_ON(1 + 1 == 3));
  ASSERT_TRUE(reports.took(report_kind::warning, "WARNING: CPU: "));
  EXPECT_NE(
      std::string{reports.text()}.find("report_test.cpp:" + std::to_string(line) + " 1 + 1 == 2\n"),
      std::string::npos);
}

TEST_F(report_test, ends_the_headline_and_adds_the_task_and_the_stack) {
  submit_report(report_kind::warning, "headline");
  ASSERT_TRUE(reports.took(report_kind::warning, "headline\n"));
  const std::string text{reports.text()};
  EXPECT_EQ(text.find("headline\n"), 0u);
  EXPECT_NE(text.find("\nCPU: "), std::string::npos);
  EXPECT_NE(text.find(" PID: " + std::to_string(task_id(current_task())) + " Comm: "),
            std::string::npos);
  EXPECT_NE(text.find("\nCall Trace:\n #0 "), std::string::npos);
  EXPECT_EQ(text.back(), '\n');
}

TEST_F(report_test, prints_a_stack_captured_elsewhere) {
  report_text headline;
  headline << "stalled\n";
  void* const frames[] = {reinterpret_cast<void*>(&report_count)};
  submit_report(report_kind::rcu_stall, headline, frames, 1);
  ASSERT_TRUE(reports.took(report_kind::rcu_stall, "Call Trace:\n #0 "));
  EXPECT_EQ(std::string{reports.text()}.find(" #1 "), std::string::npos);
}

TEST_F(report_test, counts_every_report) {
  const std::uint64_t before = report_count();
  submit_report(report_kind::warning, "one\n");
  submit_report(report_kind::warning, "two\n");
  EXPECT_EQ(report_count(), before + 2);
  EXPECT_TRUE(reports.took(report_kind::warning, "one"));
  EXPECT_TRUE(reports.took(report_kind::warning, "two"));
  set_report_action(report_action::quiet);
  submit_report(report_kind::warning, "three\n");
  EXPECT_EQ(report_count(), before + 3);
  EXPECT_EQ(reports.pending(), 0u);
}

int sections_printed = 0;

TEST_F(report_test, sections_follow_the_headline) {
  static report_section section{[](report_text& out) noexcept {
                                  ++sections_printed;
                                  out << "1 lock held\n";
                                },
                                nullptr};
  add_report_section(section);
  submit_report(report_kind::warning, "headline\n");
  EXPECT_EQ(sections_printed, 1);
  ASSERT_TRUE(reports.took(report_kind::warning, "headline\n"));
  const std::string text{reports.text()};
  EXPECT_LT(text.find("1 lock held\n"), text.find("Call Trace:\n"));
}

int handled = 0;

TEST(report, a_report_inside_a_handler_does_not_reenter_it) {
  set_report_handler(
      [](const report&, void*) noexcept {
        ++handled;
        submit_report(report_kind::warning, "made inside the handler of a test\n");
      },
      nullptr);
  submit_report(report_kind::warning, "outer\n");
  EXPECT_EQ(handled, 1);
  submit_report(report_kind::warning, "outer\n");
  EXPECT_EQ(handled, 2);
  set_report_handler(nullptr, nullptr);
}

/// Reporters in several threads: each report reaches the handler alone and whole.
TEST(report, concurrent_reports_are_serialised) {
  struct watch {
    atomic<int> inside{0};
    int reports = 0;
    bool overlapped = false;
  } seen;
  set_report_handler(
      [](const report& what, void* cookie) noexcept {
        watch& w = *static_cast<watch*>(cookie);
        if (w.inside.fetch_add_relaxed(1) != 0) w.overlapped = true;
        schedule();
        ++w.reports;  // not atomic: the handler runs alone
        if (std::string{what.text}.find("from a thread\n") != 0) w.overlapped = true;
        w.inside.fetch_sub_relaxed(1);
      },
      &seen);
  constexpr int threads = 4;
  constexpr int each = 8;
  {
    kthread reporters[threads];
    for (kthread& t : reporters) {
      t = test::start("reporter", [] {
        for (int i = 0; i < each; ++i) submit_report(report_kind::warning, "from a thread\n");
      });
    }
    for (kthread& t : reporters) (void)t.join();
  }
  set_report_handler(nullptr, nullptr);
  EXPECT_EQ(seen.reports, threads * each);
  EXPECT_FALSE(seen.overlapped);
}

}  // namespace
}  // namespace interlock
