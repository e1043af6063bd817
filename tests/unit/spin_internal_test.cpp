// SPDX-License-Identifier: Apache-2.0

/// How long to spin is measured by whoever sleeps first: a program of its own.

#include <gtest/gtest.h>
#include <sched.h>

#include "sched/spin.hpp"

namespace interlock::test {
namespace {

TEST(spin, a_thread_that_is_bound_to_one_cpu_does_not_keep_the_others_from_it) {
  cpu_set_t before;
  ASSERT_EQ(sched_getaffinity(0, sizeof before, &before), 0);
  if (CPU_COUNT(&before) < 2) GTEST_SKIP() << "there is one CPU";
  std::size_t first = 0;
  while (!CPU_ISSET(first, &before)) ++first;
  cpu_set_t one;
  CPU_ZERO(&one);
  CPU_SET(first, &one);
  ASSERT_EQ(sched_setaffinity(0, sizeof one, &one), 0);
  EXPECT_GT(detail::spin_limit(), 0u);
}

}  // namespace
}  // namespace interlock::test
