// SPDX-License-Identifier: Apache-2.0

/// The harness itself: it must notice what it is there to notice.

#include "device_test.hpp"

namespace conformance {
namespace {

const backend fake{"fake", nullptr, "", {"senseless"}, {"broken"}};

TEST(conformance_harness, runs_what_nothing_is_said_about) {
  bool ran = false;
  EXPECT_EQ(judge(fake, "ordinary", [&] { ran = true; }), verdict::ran);
  EXPECT_TRUE(ran);
}

TEST(conformance_harness, leaves_out_what_makes_no_sense) {
  bool ran = false;
  EXPECT_EQ(judge(fake, "senseless", [&] { ran = true; }), verdict::unsupported);
  EXPECT_FALSE(ran);
}

TEST(conformance_harness, catches_an_expected_failure) {
  EXPECT_EQ(judge(fake, "broken", [] { ADD_FAILURE(); }), verdict::failed_as_expected);
  EXPECT_EQ(judge(fake, "broken", [] { FAIL(); }), verdict::failed_as_expected);
}

TEST(conformance_harness, notices_an_unexpected_pass) {
  EXPECT_EQ(judge(fake, "broken", [] { SUCCEED(); }), verdict::passed_unexpectedly);
}

TEST(conformance_harness, runs_every_provider_that_was_built) {
  std::size_t providers = 0;
  for (const backend& which : backends()) {
    if (which.name == which.source->name) ++providers;
  }
  std::size_t built = 0;
#if defined(INTERLOCK_HAS_ENGINE)
  ++built;
#endif
#if defined(INTERLOCK_HAS_PREAD)
  ++built;
#endif
#if defined(INTERLOCK_HAS_URING)
  ++built;
#endif
  EXPECT_EQ(providers, built);
}

}  // namespace
}  // namespace conformance
