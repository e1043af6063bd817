// SPDX-License-Identifier: Apache-2.0

/// The asymmetric barrier: with membarrier, without, and when it is taken away.

#include "interlock_platform/asymmetric_barrier.hpp"

#include <linux/filter.h>
#include <linux/membarrier.h>
#include <linux/seccomp.h>
#include <sys/prctl.h>

#include <cstddef>
#include <thread>

#include "platform_test_support.hpp"

namespace interlock::test {
namespace {

bool system_has_membarrier() {
  const long commands = syscall(SYS_membarrier, MEMBARRIER_CMD_QUERY, 0, 0);
  return commands > 0 && (commands & MEMBARRIER_CMD_PRIVATE_EXPEDITED) != 0;
}

#define SKIP_WITHOUT_MEMBARRIER() \
  if (!system_has_membarrier()) GTEST_SKIP() << "no membarrier(2) here"

/// From now on membarrier(2) fails in this process, as under a container's filter.
bool forbid_membarrier() {
  sock_filter code[] = {
      BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(seccomp_data, nr)),
      BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_membarrier, 0, 1),
      BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | EPERM),
      BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
  };
  sock_fprog program{sizeof(code) / sizeof(*code), code};
  return prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) == 0 &&
         prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &program) == 0;
}

/// Store buffering: of two threads that each store one word and load the other's, at least one must
/// see the other's store. Returns how often neither did.
struct store_buffering {
  /// The updater starts a varying moment later, because the reader learns of the round late.
  static constexpr int most_delay = 256;

  atomic<int> x{0}, y{0}, round{0}, finished{0};
  int seen_by_reader = 0;

  void run_reader(int rounds, bool asymmetric) {
    for (int i = 1; i <= rounds; ++i) {
      for (int spins = 1; round.load_acquire() != i; ++spins) {  // [S1] pairs with [S2]
        if (spins % 256 == 0) platform::yield();
      }
      x.store_relaxed(1);
      asymmetric ? platform::light_barrier() : smp_mb();
      seen_by_reader = y.load_relaxed();
      finished.store_release(i);  // [S3] pairs with [S4]
    }
  }

  bool neither_saw(int i) {
    x.store_relaxed(0);
    y.store_relaxed(0);
    round.store_release(i);  // [S2] pairs with [S1]
    for (int delay = i % most_delay; delay > 0; --delay) barrier();
    y.store_relaxed(1);
    platform::heavy_barrier();
    const int seen_by_updater = x.load_relaxed();
    while (finished.load_acquire() != i) platform::yield();  // [S4] pairs with [S3]
    return seen_by_reader == 0 && seen_by_updater == 0;
  }
};

int count_store_buffering(int rounds, bool asymmetric) {
  store_buffering test;
  std::thread reader{[&] { test.run_reader(rounds, asymmetric); }};
  int neither = 0;
  for (int i = 1; i <= rounds; ++i) {
    if (test.neither_saw(i)) ++neither;
  }
  reader.join();
  return neither;
}

// Expect: never.
TEST(platform_asymmetric_barrier, store_buffering_is_forbidden) {
  EXPECT_EQ(count_store_buffering(2000, platform::heavy_barrier_is_asymmetric()), 0);
}

TEST(platform_asymmetric_barrier, is_asymmetric_where_the_system_can) {
  SKIP_WITHOUT_MEMBARRIER();
  EXPECT_TRUE(platform::heavy_barrier_is_asymmetric());
}

TEST(platform_asymmetric_barrier, works_in_the_child_of_a_fork) {
  SKIP_WITHOUT_MEMBARRIER();
  ASSERT_TRUE(platform::heavy_barrier_is_asymmetric());
  EXPECT_EQ(status_of_child([] {
              // The registration came with the address space: the very call works.
              if (syscall(SYS_membarrier, MEMBARRIER_CMD_PRIVATE_EXPEDITED, 0, 0) != 0) return 1;
              platform::heavy_barrier();
              return platform::heavy_barrier_is_asymmetric() ? 0 : 2;
            }),
            0);
}

TEST(platform_asymmetric_barrier, errno_is_kept) {
  errno = 1234;
  platform::heavy_barrier();
  EXPECT_EQ(errno, 1234);
}

void exit_with_symmetric_barrier() {
  const bool asymmetric = platform::heavy_barrier_is_asymmetric();
  const int violations = count_store_buffering(5000, asymmetric);
  std::exit(asymmetric || violations != 0 ? 1 : 0);
}

TEST(platform_asymmetric_barrier, option_switches_it_off) {
  const options_for_children options{"membarrier=0"};
  EXPECT_EXIT(exit_with_symmetric_barrier(), testing::ExitedWithCode(0), "");
}

TEST(platform_asymmetric_barrier, option_of_one_changes_nothing) {
  SKIP_WITHOUT_MEMBARRIER();
  const options_for_children options{"membarrier=1"};
  EXPECT_EXIT(std::exit(platform::heavy_barrier_is_asymmetric() ? 0 : 1),
              testing::ExitedWithCode(0), "");
}

TEST(platform_asymmetric_barrier, a_filter_makes_it_symmetric) {
  const options_for_children options{""};
  EXPECT_EXIT(
      {
        if (!forbid_membarrier()) std::exit(2);
        exit_with_symmetric_barrier();
      },
      testing::ExitedWithCode(0), "");
}

TEST(platform_asymmetric_barrier, to_withdraw_it_in_use_is_fatal) {
  SKIP_WITHOUT_MEMBARRIER();
  EXPECT_DEATH(
      {
        if (!platform::heavy_barrier_is_asymmetric() || !forbid_membarrier()) std::exit(0);
        platform::heavy_barrier();
      },
      "membarrier.* was withdrawn");
}

}  // namespace
}  // namespace interlock::test
