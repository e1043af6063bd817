// SPDX-License-Identifier: Apache-2.0

/// Service threads: name, signal mask, enlisted from the start, and failure to start.

#include "interlock_platform/thread.hpp"

#include <pthread.h>
#include <signal.h>
#include <sys/resource.h>

#include <string>

#include "interlock_platform/local.hpp"
#include "interlock_platform/park.hpp"
#include "platform_test_support.hpp"

namespace interlock::test {
namespace {

struct seen {
  char name[16];
  sigset_t mask;
  std::uint32_t life;
  std::uint32_t id;
};

seen run_service_thread(const char* name) {
  seen s{};
  auto thread = platform::spawn(
      [](void* argument) {
        auto& here = *static_cast<seen*>(argument);
        platform::thread_name(here.name);
        pthread_sigmask(SIG_BLOCK, nullptr, &here.mask);
        here.life = platform::this_task().life.load_relaxed();
        here.id = platform::this_task().id.load_relaxed();
      },
      &s, name);
  EXPECT_TRUE(thread);
  if (thread) platform::join(*thread);
  return s;
}

TEST(platform_thread, has_its_name_from_the_start) {
  EXPECT_STREQ(run_service_thread("ilk/worker").name, "ilk/worker");
  EXPECT_STREQ(run_service_thread("").name, "");
}

TEST(platform_thread, a_device_sleeps_until_its_word_is_written) {
  struct shared {
    atomic<std::uint32_t> word{0};
    std::uint32_t seen = 0;
  } s;
  auto device = platform::spawn_device(
      [](void* argument) {
        auto& here = *static_cast<shared*>(argument);
        while (here.word.load_acquire() == 0) platform::device_wait(here.word, 0);
        platform::device_wait(here.word, 0);  // at once
        here.seen = here.word.load_acquire();
      },
      &s, "device");
  ASSERT_TRUE(device);
  s.word.store_release(7);
  platform::unpark(s.word, 1);
  platform::join(*device);
  EXPECT_EQ(s.seen, 7u);
}

TEST(platform_thread, keeps_15_bytes_of_a_long_name) {
  EXPECT_STREQ(run_service_thread("0123456789abcdefgh").name, "0123456789abcde");
}

TEST(platform_thread, is_enlisted) {
  const seen s = run_service_thread("x");
  EXPECT_EQ(s.life, static_cast<std::uint32_t>(task_life::enlisted));
  EXPECT_NE(s.id, 0u);
  EXPECT_NE(s.id, gettid());
}

TEST(platform_thread, blocks_the_signals_of_the_process) {
  const seen s = run_service_thread("x");
  for (const int blocked : {SIGINT, SIGTERM, SIGUSR1, SIGURG, SIGCHLD, SIGALRM, SIGPROF, SIGPIPE,
                            static_cast<int>(SIGRTMIN), static_cast<int>(SIGRTMAX)}) {
    EXPECT_EQ(sigismember(&s.mask, blocked), 1) << blocked;
  }
  for (const int heard :
       {SIGSEGV, SIGBUS, SIGFPE, SIGILL, SIGTRAP, SIGABRT, SIGRTMAX - 1, SIGRTMAX - 2}) {
    EXPECT_EQ(sigismember(&s.mask, heard), 0) << heard;
  }
}

TEST(platform_thread, spawn_leaves_the_mask_of_the_caller) {
  sigset_t before, after;
  pthread_sigmask(SIG_BLOCK, nullptr, &before);
  run_service_thread("x");
  pthread_sigmask(SIG_BLOCK, nullptr, &after);
  for (int number = 1; number <= SIGRTMAX; ++number) {
    EXPECT_EQ(sigismember(&before, number), sigismember(&after, number));
  }
}

TEST(platform_thread, no_room_for_a_stack_is_an_error) {
  if (thread_sanitizer || address_sanitizer) GTEST_SKIP() << "sanitizers need address space";
  EXPECT_EQ(status_of_child([] {
              const rlimit little{1 << 20, 1 << 20};
              setrlimit(RLIMIT_AS, &little);
              static flag never;
              for (int i = 0; i < 100; ++i) {  // libc may have kept some stacks of earlier threads
                auto thread = platform::spawn([](void*) { never.await(); }, nullptr, "x");
                if (thread) continue;
                return thread.error() == error::resource_unavailable_try_again ||
                               thread.error() == error::not_enough_memory
                           ? 0
                           : 2;
              }
              return 1;
            }),
            0);
}

}  // namespace
}  // namespace interlock::test
