// SPDX-License-Identifier: Apache-2.0

/// The main() of the unit and conformance tests.

#include <gtest/gtest.h>

int main(int argc, char** argv) {
  // A death test starts the program again instead of forking it: other threads exist.
  GTEST_FLAG_SET(death_test_style, "threadsafe");
  ::testing::InitGoogleTest(&argc, argv);
  return RUN_ALL_TESTS();
}
