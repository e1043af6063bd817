// SPDX-License-Identifier: Apache-2.0

/// Threads of the process, which the library did not start: they are tasks from first use to end.

#include <gtest/gtest.h>
#include <malloc.h>
#include <pthread.h>

#include <string>
#include <thread>
#include <vector>

#include "interlock/completion.hpp"
#include "interlock/cpu.hpp"
#include "interlock/mutex.hpp"
#include "interlock_platform/lifecycle.hpp"
#include "support/report_recorder.hpp"
#include "support/rounds.hpp"
#include "support/sanitizers.hpp"
#include "support/tasks.hpp"

namespace interlock {
namespace {

class thread_exit_test : public test::report_test {};

TEST_F(thread_exit_test, a_foreign_thread_is_a_task_without_registration) {
  ref_ptr<task> seen;
  completion ready;
  completion leave;
  std::thread t{[&] {
    seen = current_task_ref();
    ready.complete();
    leave.wait();
  }};
  ready.wait();
  EXPECT_TRUE(test::sleeps(*seen, task_uninterruptible));
  leave.complete();
  t.join();
  EXPECT_EQ(state_of(*seen), task_state::dead);
}

TEST_F(thread_exit_test, its_task_bears_the_threads_name) {
  std::string name;
  kthread t = test::start("named", [&] { name = task_name(current_task()); });
  (void)t.join();
  EXPECT_EQ(name, "named");
}

/// Threads begin, use everything once, and end, while others wake those that may have ended.
TEST_F(thread_exit_test, wakes_race_with_ends) {
  constexpr int threads = test::rounds(200);
  mutex m;
  long counter = 0;
  for (int i = 0; i < threads; ++i) {
    ref_ptr<task> target;
    completion ready;
    std::thread t{[&] {
      target = current_task_ref();
      ready.complete();
      const guard g{m};
      ++counter;
    }};
    ready.wait();
    for (int n = 0; n < 20; ++n) wake_up_process(*target);
    t.join();
    EXPECT_FALSE(wake_up_process(*target));
  }
  EXPECT_EQ(counter, threads);
}

/// The last use of a lock may be in a destructor of thread storage, when the thread is ending.
/// Asks, after the irq layer's hook, whether the CPU may come back.
thread_local bool asks_at_exit = false;
bool came_back = true;
constinit platform::lifecycle_hook late_hook{.order = platform::hook_order::report,
                                             .task_exit = []() noexcept {
                                               if (asks_at_exit)
                                                 came_back = online_cpu().has_value();
                                             }};

TEST_F(thread_exit_test, a_cpu_that_ends_does_not_come_online_again) {
  ASSERT_TRUE(service_cpu().has_value());
  platform::add_lifecycle_hook(late_hook);
  cpu_id cpu{};
  std::thread t{[&] {
    cpu = *online_cpu();
    asks_at_exit = true;
  }};
  t.join();
  EXPECT_FALSE(came_back);
  EXPECT_FALSE(cpu_is_online(cpu));
}

TEST_F(thread_exit_test, destructors_of_thread_storage_may_lock) {
  static mutex m;
  static atomic<int> destroyed{0};
  struct late_user {
    bool used = false;
    ~late_user() {
      const guard g{m};
      destroyed.fetch_add_relaxed(1);
    }
  };
  std::thread t{[] {
    thread_local late_user user;
    user.used = true;
    const guard g{m};
  }};
  t.join();
  EXPECT_EQ(destroyed.load_relaxed(), 1);
}

/// Behind the last call of the library's own key: nothing of the library sees the thread end any more.
TEST_F(thread_exit_test, locks_in_the_last_destructors_leave_nothing_behind) {
  if (test::thread_sanitizer) GTEST_SKIP() << "its own key ends the thread before the last round";
  constexpr int threads = test::rounds(2000);
  constexpr std::uintptr_t last_round = PTHREAD_DESTRUCTOR_ITERATIONS;
  static mutex m;
  static pthread_key_t key;
  static atomic<int> locked{0};
  locked.store_relaxed(0);
  ASSERT_EQ(pthread_key_create(&key,
                               [](void* value) {
                                 const auto round = reinterpret_cast<std::uintptr_t>(value);
                                 if (round < last_round) {
                                   const auto next = static_cast<const char*>(value) + 1;
                                   pthread_setspecific(key, next);
                                   return;
                                 }
                                 const guard g{m};
                                 locked.fetch_add_relaxed(1);
                               }),
            0);
  const auto run_one = [] {
    std::thread{[] {
      { const guard g{m}; }
      pthread_setspecific(key, reinterpret_cast<const void*>(std::uintptr_t{1}));
    }}.join();
  };
  run_one();
  const std::size_t before = mallinfo2().uordblks;
  for (int i = 0; i < threads; ++i) run_one();
  const std::size_t after = mallinfo2().uordblks;
  EXPECT_EQ(locked.load_relaxed(), threads + 1);
  EXPECT_LT(after, before + threads * 40u);
  pthread_key_delete(key);
}

}  // namespace
}  // namespace interlock
