// SPDX-License-Identifier: Apache-2.0

/// Parking, unparking and the clock.

#include "interlock_platform/park.hpp"

#include <pthread.h>
#include <signal.h>
#include <sys/mman.h>
#include <time.h>

#include <new>
#include <thread>
#include <vector>

#include "platform_test_support.hpp"

namespace interlock::test {
namespace {

using platform::park_result;
using platform::park_scope;
using std::chrono::milliseconds;
using word = atomic<std::uint32_t>;

TEST(platform_park, changed_word_wins_over_an_expired_deadline) {
  const word w{5};
  EXPECT_EQ(platform::park(w, 4, no_deadline), park_result::value_changed);
  EXPECT_EQ(platform::park(w, 4, expired_deadline), park_result::value_changed);
  EXPECT_EQ(platform::park(w, 5, expired_deadline), park_result::timed_out);
}

TEST(platform_park, times_out_at_the_deadline_not_before) {
  const word w{0};
  for (const park_scope scope : {park_scope::process, park_scope::shared}) {
    const deadline until = platform::now() + milliseconds{20};
    while (platform::park(w, 0, until, scope) != park_result::timed_out) {
    }
    EXPECT_GE(platform::now(), until);
  }
}

TEST(platform_park, deadlines_that_have_passed_do_not_sleep) {
  const word w{0};
  const deadline epoch{};
  for (const deadline past :
       {expired_deadline, epoch - ktime{1}, epoch, epoch + ktime{1}, platform::now()}) {
    EXPECT_EQ(platform::park(w, 0, past), park_result::timed_out);
  }
}

TEST(platform_park, far_deadlines_are_no_error) {
  word w{0};
  for (const deadline far : {no_deadline, no_deadline - ktime{1}}) {
    std::thread sleeper{[&] { EXPECT_EQ(platform::park(w, 0, far), park_result::woken); }};
    while (platform::unpark(w, 1) == 0) platform::yield();
    sleeper.join();
  }
}

TEST(platform_park, unpark_wakes_as_many_as_asked) {
  word w{0};
  atomic<unsigned> awake{0};
  std::vector<atomic<std::uint32_t>> ids(3);
  std::vector<std::thread> sleepers;
  for (auto& id : ids) {
    sleepers.emplace_back([&] {
      id.store_release(gettid());  // [U1] pairs with [U2]
      while (platform::park(w, 0, no_deadline) != park_result::woken) {
      }
      awake.fetch_add_relaxed(1);
    });
  }
  for (auto& id : ids) {
    while (id.load_acquire() == 0) platform::yield();  // [U2] pairs with [U1]
    wait_until_asleep(id.load_relaxed());
  }
  EXPECT_EQ(platform::unpark(w, 0), 0u);
  EXPECT_EQ(platform::unpark(w, 2), 2u);
  EXPECT_EQ(platform::unpark(w, platform::unpark_all), 1u);
  EXPECT_EQ(platform::unpark(w, platform::unpark_all), 0u);
  for (auto& sleeper : sleepers) sleeper.join();
  EXPECT_EQ(awake.load_relaxed(), 3u);
}

/// Parks a thread on `parked_word` and runs a handler on it, which changes the word but wakes
/// nobody.
park_result result_after_handler(deadline until) {
  static word parked_word{0};
  parked_word.store_relaxed(0);
  struct sigaction action {};
  action.sa_handler = [](int) { parked_word.store_relaxed(1); };
  action.sa_flags = SA_RESTART;
  sigaction(SIGUSR1, &action, nullptr);
  atomic<std::uint32_t> id{0};
  park_result result{};
  std::thread sleeper{[&] {
    id.store_release(gettid());  // [U1] pairs with [U2]
    result = platform::park(parked_word, 0, until);
  }};
  while (id.load_acquire() == 0) platform::yield();  // [U2] pairs with [U1]
  wait_until_asleep(id.load_relaxed());
  pthread_kill(sleeper.native_handle(), SIGUSR1);
  sleeper.join();
  return result;
}

TEST(platform_park, a_handler_on_the_parked_thread_ends_the_wait_by_changing_the_word) {
  // SA_RESTART begins an untimed wait anew, which tests the word; a timed one is interrupted.
  EXPECT_NE(result_after_handler(no_deadline), park_result::timed_out);
  EXPECT_NE(result_after_handler(platform::now() + std::chrono::hours{1}), park_result::timed_out);
}

TEST(platform_park, shared_words_wake_across_processes_private_ones_do_not) {
  void* const memory =
      mmap(nullptr, sizeof(word), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
  ASSERT_NE(memory, MAP_FAILED);
  auto* const w = new (memory) word{0};
  const pid_t child = fork();
  if (child == 0) {
    const bool woken = platform::park(*w, 0, no_deadline, park_scope::shared) == park_result::woken;
    _exit(woken ? 0 : 1);
  }
  std::string state;
  while (state != "S") {  // the child's only sleep is in park
    std::ifstream file{"/proc/" + std::to_string(child) + "/stat"};
    std::string pid, name;
    file >> pid >> name >> state;
  }
  EXPECT_EQ(platform::unpark(*w, 1, park_scope::process), 0u);
  EXPECT_EQ(platform::unpark(*w, 1, park_scope::shared), 1u);
  int status = -1;
  waitpid(child, &status, 0);
  EXPECT_EQ(status, 0);
  munmap(memory, sizeof(word));
}

TEST(platform_park, unpark_of_a_word_that_is_gone_wakes_nobody) {
  void* const memory =
      mmap(nullptr, sizeof(word), PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  auto* const w = new (memory) word{0};
  munmap(memory, sizeof(word));
  EXPECT_EQ(platform::unpark(*w, 1), 0u);
  EXPECT_EQ(platform::unpark(*w, 1, park_scope::shared), 0u);
}

TEST(platform_park, errno_is_kept) {
  word w{0};
  errno = 1234;
  platform::park(w, 1, no_deadline);
  platform::park(w, 0, platform::now() + milliseconds{1});
  platform::unpark(w, 1);
  EXPECT_EQ(errno, 1234);
}

TEST(platform_park, now_is_the_monotonic_clock) {
  timespec before, after;
  clock_gettime(CLOCK_MONOTONIC, &before);
  const auto ns = platform::now().time_since_epoch().count();
  clock_gettime(CLOCK_MONOTONIC, &after);
  EXPECT_GE(ns, before.tv_sec * 1'000'000'000 + before.tv_nsec);
  EXPECT_LE(ns, after.tv_sec * 1'000'000'000 + after.tv_nsec);
}

}  // namespace
}  // namespace interlock::test
