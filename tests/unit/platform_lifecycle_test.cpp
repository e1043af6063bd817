// SPDX-License-Identifier: Apache-2.0

/// The order and the circumstances in which lifecycle hooks run.

#include "interlock_platform/lifecycle.hpp"

#include <pthread.h>
#include <signal.h>

#include <string>
#include <thread>

#include "interlock_platform/local.hpp"
#include "platform_test_support.hpp"

namespace interlock::test {
namespace {

/// What ran, in order, while `recording`.
std::string record;
atomic<bool> recording{false};

void note(const char* what) noexcept {
  if (recording.load_relaxed()) record += what;
}

template <class Body>
std::string record_of(Body body) {
  record.clear();
  recording.store_relaxed(true);
  body();
  recording.store_relaxed(false);
  return record;
}

bool all_signals_blocked() noexcept {
  sigset_t mask;
  pthread_sigmask(SIG_BLOCK, nullptr, &mask);
  for (int number = 1; number <= SIGRTMAX; ++number) {
    const bool unblockable = number == SIGKILL || number == SIGSTOP;
    const bool of_libc = number >= __SIGRTMIN && number < SIGRTMIN;
    if (!unblockable && !of_libc && sigismember(&mask, number) != 1) return false;
  }
  return true;
}

platform::lifecycle_hook low{
    .order = 1001,
    .cpu_exit = []() noexcept { note(all_signals_blocked() ? "u" : "?"); },
    .task_exit = []() noexcept { note(all_signals_blocked() ? "a" : "?"); },
    .fork_prepare = []() noexcept { note("p"); },
    .fork_parent = []() noexcept { note("f"); },
    .fork_child = []() noexcept { note("c"); },
    .shutdown = []() noexcept { note("s"); }};
platform::lifecycle_hook high{
    .order = 1003,
    .cpu_exit = []() noexcept { note(all_signals_blocked() ? "U" : "?"); },
    .task_exit = []() noexcept { note(all_signals_blocked() ? "A" : "?"); },
    .fork_prepare = []() noexcept { note("P"); },
    .fork_parent = []() noexcept { note("F"); },
    .fork_child = []() noexcept { note("C"); },
    .shutdown = []() noexcept { note("S"); }};
platform::lifecycle_hook idle{.order = 1002};

class platform_lifecycle : public testing::Test {
 protected:
  static void SetUpTestSuite() {
    for (platform::lifecycle_hook* hook : {&low, &high, &idle, &high}) {
      platform::add_lifecycle_hook(*hook);
    }
  }
};

TEST_F(platform_lifecycle, ends_run_from_high_to_low_the_cpus_first_with_signals_blocked) {
  EXPECT_EQ(record_of([] { std::thread{[] { platform::enlist(); }}.join(); }), "UAua");
}

TEST_F(platform_lifecycle, shutdown_runs_from_high_to_low_and_again) {
  EXPECT_EQ(record_of([] {
              platform::run_shutdown_hooks();
              platform::run_shutdown_hooks();
            }),
            "SsSs");
}

TEST_F(platform_lifecycle, fork_prepares_from_high_to_low_and_resumes_from_low_to_high) {
  EXPECT_EQ(
      record_of([] { EXPECT_EQ(status_of_child([] { return record == "PpcC" ? 0 : 1; }), 0); }),
      "PpfF");
}

TEST_F(platform_lifecycle, a_hook_added_twice_runs_once) {
  platform::add_lifecycle_hook(low);
  EXPECT_EQ(record_of([] { platform::run_shutdown_hooks(); }), "Ss");
}

TEST_F(platform_lifecycle, the_child_can_fork_and_start_threads) {
  EXPECT_EQ(status_of_child([] {
              std::thread{[] { platform::enlist(); }}.join();
              return status_of_child([] { return 7; });
            }),
            7);
}

TEST_F(platform_lifecycle, shutdown_runs_at_process_exit) {
  int pipe_fds[2];
  ASSERT_EQ(pipe(pipe_fds), 0);
  static int write_end;
  write_end = pipe_fds[1];
  static platform::lifecycle_hook at_exit{
      .order = 1004,
      .shutdown = []() noexcept { [[maybe_unused]] const auto n = write(write_end, "x", 1); }};
  const pid_t child = fork();
  if (child == 0) {
    platform::add_lifecycle_hook(at_exit);
    std::exit(0);
  }
  close(write_end);
  char c = 0;
  EXPECT_EQ(read(pipe_fds[0], &c, 1), 1);
  EXPECT_EQ(read(pipe_fds[0], &c, 1), 0) << "and once only";
  close(pipe_fds[0]);
  waitpid(child, nullptr, 0);
}

}  // namespace
}  // namespace interlock::test
