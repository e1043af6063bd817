// SPDX-License-Identifier: Apache-2.0

/// What the io_uring device does with a feature, and without it.

#include <gtest/gtest.h>

#if defined(INTERLOCK_HAS_URING)

#include <filesystem>
#include <fstream>
#include <string>

#include "interlock/device/provider.hpp"
#include "uring/kernel_ring.hpp"

namespace interlock::uring {
namespace {

/// How many submissions the kernel has taken from the process's one ring; -1 if it does not tell.
long submissions() {
  for (const auto& fd : std::filesystem::directory_iterator{"/proc/self/fd"}) {
    std::error_code gone;
    if (std::filesystem::read_symlink(fd, gone) != "anon_inode:[io_uring]") continue;
    std::ifstream info{"/proc/self/fdinfo/" + fd.path().filename().string()};
    for (std::string line; std::getline(info, line);) {
      if (line.rfind("SqHead:", 0) == 0)
        return std::stol(line.substr(line.find_first_of("0123456789")));
    }
  }
  return -1;
}

/// Rings the bell a few times and waits for each; how many submissions that took.
long submissions_of_rings(const char* without, int rings) {
  kernel_ring ring;
  EXPECT_TRUE(ring.make_bell());
  EXPECT_TRUE(ring.setup(8, features_without(without)));
  ring.submit();
  const long before = submissions();
  for (int i = 0; i < rings; ++i) {
    ring.ring_bell();
    while (!ring.rang()) {
      (void)ring.wait(no_deadline);
      std::uint64_t tag = 0;
      int outcome = 0;
      while (ring.take(tag, outcome)) {
      }
    }
  }
  ring.submit();
  return before < 0 ? -1 : submissions() - before;
}

TEST(uring_ring, words_strike_out_features) {
  EXPECT_TRUE(features_without(nullptr).multishot);
  EXPECT_TRUE(features_without(nullptr).taskrun);
  EXPECT_FALSE(features_without("multishot").multishot);
  EXPECT_TRUE(features_without("multishot").taskrun);
  EXPECT_FALSE(features_without("multishot,taskrun").multishot);
  EXPECT_FALSE(features_without("multishot,taskrun").taskrun);
  EXPECT_TRUE(features_without("multi").multishot);
}

TEST(uring_ring, one_poll_serves_all_rings_or_each_has_its_own) {
  if (!uring_provider().probe().available) GTEST_SKIP() << "no io_uring here";
  constexpr int rings = 5;
  const long with = submissions_of_rings(nullptr, rings);
  if (with < 0) GTEST_SKIP() << "the kernel does not tell how many submissions it took";
  EXPECT_EQ(with, 0) << "the poll stays";
  EXPECT_EQ(submissions_of_rings("multishot", rings), rings);
}

}  // namespace
}  // namespace interlock::uring

#endif
