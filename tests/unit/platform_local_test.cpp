// SPDX-License-Identifier: Apache-2.0

/// How threads become known, from wherever they use the library first, and how their end does.

#include "interlock_platform/local.hpp"

#include <pthread.h>
#include <sched.h>
#include <signal.h>

#include <cstring>
#include <thread>
#include <vector>

#include "interlock_platform/lifecycle.hpp"
#include "platform_test_support.hpp"

namespace interlock::test {
namespace {

std::uint32_t life_of_this_thread() { return platform::this_task().life.load_relaxed(); }
constexpr auto unknown = static_cast<std::uint32_t>(task_life::unknown);
constexpr auto enlisted = static_cast<std::uint32_t>(task_life::enlisted);
constexpr auto dead = static_cast<std::uint32_t>(task_life::dead);

/// Exits of thread `watched`, as a hook sees them.
struct {
  atomic<std::uint32_t> watched{0};
  atomic<unsigned> exits{0};
  atomic<unsigned> life{0};
} observed;

platform::lifecycle_hook observer{.order = 1000, .task_exit = []() noexcept {
                                    if (gettid() != observed.watched.load_relaxed()) return;
                                    observed.exits.fetch_add_relaxed(1);
                                    observed.life.store_relaxed(life_of_this_thread());
                                  }};

/// Counts from now on the exits of the calling thread.
void watch_this_thread() {
  observed.exits.store_relaxed(0);
  observed.watched.store_relaxed(gettid());
}

class platform_local : public testing::Test {
 protected:
  static void SetUpTestSuite() { platform::add_lifecycle_hook(observer); }
};

TEST_F(platform_local, new_thread_has_zero_words) {
  std::thread{[] {
    const char zeros[sizeof(platform::thread_words)] = {};
    EXPECT_EQ(std::memcmp(&platform::this_thread, zeros, sizeof(zeros)), 0);
  }}.join();
}

TEST_F(platform_local, enlist_gives_the_kernels_id_and_is_idempotent) {
  std::thread{[] {
    watch_this_thread();
    for (int i = 0; i < 3; ++i) {
      platform::enlist();
      EXPECT_EQ(platform::this_task().id.load_relaxed(), gettid());
      EXPECT_EQ(platform::this_cpu().id.load_relaxed(), gettid());
      EXPECT_EQ(life_of_this_thread(), enlisted);
    }
  }}.join();
  EXPECT_EQ(observed.exits.load_relaxed(), 1u);
  EXPECT_EQ(observed.life.load_relaxed(), enlisted) << "hooks still find a living thread";
}

TEST_F(platform_local, enlist_keeps_errno) {
  std::thread{[] {
    errno = 1234;
    platform::enlist();
    EXPECT_EQ(errno, 1234);
  }}.join();
}

TEST_F(platform_local, thread_that_never_uses_the_library_has_no_exit) {
  std::thread{[] { watch_this_thread(); }}.join();
  EXPECT_EQ(observed.exits.load_relaxed(), 0u);
}

// --- the first use in a signal handler ---

flag handler_ran;
std::uint32_t id_seen_by_handler;

void handle_by_enlisting(int) {
  watch_this_thread();
  platform::enlist();
  id_seen_by_handler = platform::this_task().id.load_relaxed();
  handler_ran.raise();
}

TEST_F(platform_local, first_use_in_a_handler_on_a_threads_first_instruction) {
  handler_ran.lower();
  id_seen_by_handler = 0;
  // The signal is pending for the process and all threads block it, but the new one does not from
  // the moment on that it exists.
  struct sigaction action {};
  action.sa_handler = handle_by_enlisting;
  sigaction(SIGUSR1, &action, nullptr);
  sigset_t set, none, before;
  sigemptyset(&none);
  sigemptyset(&set);
  sigaddset(&set, SIGUSR1);
  pthread_sigmask(SIG_BLOCK, &set, &before);
  kill(getpid(), SIGUSR1);

  pthread_attr_t attributes;
  pthread_attr_init(&attributes);
  pthread_attr_setsigmask_np(&attributes, &none);
  pthread_t thread;
  static std::uint32_t id_seen_by_thread;
  pthread_create(
      &thread, &attributes,
      [](void*) -> void* {
        handler_ran.await();
        id_seen_by_thread = platform::this_task().id.load_relaxed();
        return nullptr;
      },
      nullptr);
  pthread_join(thread, nullptr);
  pthread_attr_destroy(&attributes);
  pthread_sigmask(SIG_SETMASK, &before, nullptr);

  EXPECT_NE(id_seen_by_handler, 0u);
  EXPECT_EQ(id_seen_by_handler, id_seen_by_thread);
  EXPECT_EQ(id_seen_by_handler, observed.watched.load_relaxed());
  EXPECT_EQ(observed.exits.load_relaxed(), 1u);
}

#if defined(__x86_64__)

/// Steps through enlist() by the processor's trap flag, and enlists in the handler after the
/// instruction of the given number.
struct {
  int interrupt_after;
  int steps;
} stepping;

void handle_step(int) {
  if (++stepping.steps == stepping.interrupt_after) platform::enlist();
}

void set_trap_flag() { asm volatile("pushfq\n orq $0x100, (%%rsp)\n popfq" ::: "memory", "cc"); }
void clear_trap_flag() {
  asm volatile("pushfq\n andq $~0x100, (%%rsp)\n popfq" ::: "memory", "cc");
}

TEST_F(platform_local, handler_between_any_two_instructions_of_enlist) {
  SKIP_IF_SIGNALS_ARE_DEFERRED();
  struct sigaction action {
  }, before;
  action.sa_handler = handle_step;
  sigaction(SIGTRAP, &action, &before);
  bool finished = false;
  for (int n = 1; !finished; ++n) {
    stepping = {n, 0};
    std::thread{[] {
      watch_this_thread();
      set_trap_flag();
      platform::enlist();
      clear_trap_flag();
      EXPECT_EQ(platform::this_task().id.load_relaxed(), gettid());
      EXPECT_EQ(life_of_this_thread(), enlisted);
    }}.join();
    ASSERT_EQ(observed.exits.load_relaxed(), 1u) << "interrupted after instruction " << n;
    finished = stepping.steps < n;
  }
  EXPECT_GT(stepping.steps, 20) << "the trap flag did nothing";
  sigaction(SIGTRAP, &before, nullptr);
}

#endif

// --- the end of a thread ---

/// A key of the test, whose destructor uses the library in the given round and notes what it saw.
struct other_key {
  explicit other_key(int round_of_use) : use_in_round{round_of_use} {}

  pthread_key_t key = 0;
  int use_in_round;  ///< 0: in every round
  int round = 0;
  std::vector<std::uint32_t> life_seen;
  std::uint32_t id_seen = 0;
  bool signals_blocked = false;
};

bool blocks_signals() {
  sigset_t mask;
  pthread_sigmask(SIG_BLOCK, nullptr, &mask);
  return sigismember(&mask, SIGUSR1) == 1 && sigismember(&mask, SIGRTMAX - 1) == 1;
}

void end_with(other_key& k) {
  pthread_key_create(&k.key, [](void* value) {
    auto& self = *static_cast<other_key*>(value);
    if (++self.round == self.use_in_round || self.use_in_round == 0) platform::enlist();
    self.life_seen.push_back(life_of_this_thread());
    self.id_seen = platform::this_task().id.load_relaxed();
    self.signals_blocked = blocks_signals();
    if (self.round < PTHREAD_DESTRUCTOR_ITERATIONS) pthread_setspecific(self.key, value);
  });
}

TEST_F(platform_local, destructors_of_other_keys_find_an_enlisted_thread_then_a_dead_one) {
  if (thread_sanitizer) GTEST_SKIP() << "its own key ends the thread before the last round";
  other_key k{0};
  end_with(k);
  std::uint32_t id = 0;
  std::thread{[&] {
    platform::enlist();
    watch_this_thread();
    id = gettid();
    pthread_setspecific(k.key, &k);
  }}.join();
  pthread_key_delete(k.key);
  EXPECT_EQ(k.life_seen, (std::vector<std::uint32_t>{enlisted, dead, dead, dead}));
  EXPECT_EQ(k.id_seen, id) << "a dead thread keeps its id";
  EXPECT_TRUE(k.signals_blocked) << "no handler may run on a dead thread";
  EXPECT_EQ(observed.exits.load_relaxed(), 1u);
}

TEST_F(platform_local, first_use_in_another_keys_destructor_is_cleaned_up) {
  if (thread_sanitizer) GTEST_SKIP() << "its own key ends the thread before the last round";
  for (int round = 1; round <= 2; ++round) {
    other_key k{round};
    end_with(k);
    std::thread{[&] {
      watch_this_thread();
      pthread_setspecific(k.key, &k);
    }}.join();
    pthread_key_delete(k.key);
    EXPECT_EQ(observed.exits.load_relaxed(), 1u) << "first used in round " << round;
    EXPECT_EQ(k.life_seen.back(), dead);
  }
}

TEST_F(platform_local, many_threads) {
  for (int i = 0; i < 100; ++i) {
    std::thread a{[] { platform::enlist(); }};
    std::thread b{[] { platform::enlist(); }};
    a.join();
    b.join();
  }
}

TEST_F(platform_local, the_child_of_a_fork_has_its_own_id) {
  platform::enlist();
  const std::uint32_t parent = platform::this_task().id.load_relaxed();
  const int status = status_of_child([&] {
    const std::uint32_t id = platform::this_task().id.load_relaxed();
    if (id == parent || id != gettid()) return 1;
    if (platform::this_cpu().id.load_relaxed() != id) return 2;
    if (platform::this_task().former_id != parent) return 3;
    return life_of_this_thread() == enlisted ? 0 : 4;
  });
  EXPECT_EQ(status, 0);
  EXPECT_EQ(platform::this_task().id.load_relaxed(), parent);
}

TEST_F(platform_local, fork_on_an_unknown_thread_gives_it_no_id_of_another) {
  std::thread{[] {
    EXPECT_EQ(status_of_child([] {
                const std::uint32_t id = platform::this_task().id.load_relaxed();
                // The layers' fork hooks may be its first use of the library.
                return life_of_this_thread() == unknown ? id != 0 : id != gettid();
              }),
              0);
  }}.join();
}

TEST_F(platform_local, online_processors_are_those_the_thread_may_use) {
  EXPECT_GE(platform::online_processors(), 1u);
  std::thread{[] {
    cpu_set_t one;
    CPU_ZERO(&one);
    CPU_SET(static_cast<unsigned>(sched_getcpu()), &one);
    ASSERT_EQ(sched_setaffinity(0, sizeof(one), &one), 0);
    EXPECT_EQ(platform::online_processors(), 1u);
  }}.join();
}

}  // namespace
}  // namespace interlock::test
