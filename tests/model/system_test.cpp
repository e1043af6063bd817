// SPDX-License-Identifier: Apache-2.0

/// What an execution sees of the system, and leaves of it: environment, heap, time, GoogleTest's results.

#include <cstdlib>
#include <cstring>

#include "model/library_support.hpp"

namespace interlock::test {
namespace {

constexpr const char* variable = "INTERLOCK_TEST_VARIABLE";

TEST(system, what_is_set_in_the_environment_is_gone_with_the_execution) {
  const model::expectations here;
  ASSERT_EQ(unsetenv(variable), 0);
  const auto r = model::explore(some(2), [] {
    EXPECT_EQ(std::getenv(variable), nullptr);
    EXPECT_EQ(setenv(variable, "one", 1), 0);
    EXPECT_EQ(setenv(variable, "two", 0), 0);
    EXPECT_STREQ(std::getenv(variable), "one");
    EXPECT_EQ(setenv(variable, "three", 1), 0);
    EXPECT_STREQ(std::getenv(variable), "three");
    EXPECT_EQ(setenv("a=b", "", 1), -1);
  });
  passes(r);
  EXPECT_EQ(r.executions(), 3u);
  EXPECT_EQ(std::getenv(variable), nullptr);
}

TEST(system, what_is_taken_from_the_environment_is_there_again) {
  const model::expectations here;
  ASSERT_EQ(setenv(variable, "host", 1), 0);
  static char assignment[] = "INTERLOCK_TEST_VARIABLE=put";
  passes(model::explore(some(3), [] {
    EXPECT_STREQ(std::getenv(variable), "host");
    EXPECT_EQ(unsetenv(variable), 0);
    EXPECT_EQ(std::getenv(variable), nullptr);
    EXPECT_NE(std::getenv("PATH"), nullptr);
    EXPECT_EQ(putenv(assignment), 0);
    EXPECT_STREQ(std::getenv(variable), "put");
    EXPECT_EQ(clearenv(), 0);
    EXPECT_EQ(std::getenv("PATH"), nullptr);
  }));
  EXPECT_STREQ(std::getenv(variable), "host");
  ASSERT_EQ(unsetenv(variable), 0);
}

TEST(system, a_block_from_before_may_grow) {
  const model::expectations here;
  auto* const block = static_cast<char*>(std::malloc(8));
  std::strcpy(block, "before");
  passes(model::explore(some(3), [&] {
    auto* const grown = static_cast<char*>(std::realloc(block, std::size_t{1} << 20));
    EXPECT_STREQ(grown, "before");
    grown[0] = 'B';
    std::free(grown);
  }));
  EXPECT_STREQ(block, "before");
  std::free(block);
}

/// Who says "in an hour" expects something else to come first.
TEST(system, a_far_deadline_passes_only_when_nothing_else_can_go_on) {
  const auto waits = [](ktime time) {
    return [time] {
      const model::expectations here;
      model::options o = all();
      o.far = std::chrono::seconds{5};
      return model::explore(o, [time] {
        completion done;
        auto other = start("other", [&] { done.complete(); });
        EXPECT_TRUE(done.wait_until(deadline_after(time)));
        (void)other.join();
      });
    }();
  };
  passes_all(waits(std::chrono::hours{1}));
  fails(waits(std::chrono::milliseconds{1}), "BUG: expectation failed");
  passes_all(model::explore(all(), [] { sleep_for(std::chrono::hours{1}); }));
}

TEST(system, a_skipped_execution_has_not_passed) {
  const model::expectations here;
  const auto r = model::explore(some(3), [] { GTEST_SKIP() << "no reason"; });
  EXPECT_FALSE(r.passed());
  fails(r, "skipped at ");
  fails(r, "no reason");
}

}  // namespace
}  // namespace interlock::test
