// SPDX-License-Identifier: Apache-2.0

/// Two copies of the library in one process: each has its own words, readers, threads and signals.

#include <dlfcn.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <csignal>
#include <filesystem>
#include <fstream>
#include <string>
#include <vector>

#include "interlock/interlock.hpp"
#include "interlock_platform/doorbell.hpp"
#include "modules/second_copy_static.hpp"
#include "support/sanitizers.hpp"

namespace {

using namespace interlock;

class two_copies : public testing::Test {
 protected:
  void SetUp() override {
    handle_ = dlopen(INTERLOCK_TEST_MODULE_DIR "/second_copy_static.so", RTLD_NOW | RTLD_LOCAL);
    ASSERT_NE(handle_, nullptr) << dlerror();
    run = symbol<decltype(&second_copy_run)>("second_copy_run");
    interrupts = symbol<decltype(&second_copy_interrupts)>("second_copy_interrupts");
    read = symbol<decltype(&second_copy_read)>("second_copy_read");
    shutdown_copy = symbol<decltype(&second_copy_shutdown)>("second_copy_shutdown");
    start_timer = symbol<decltype(&second_copy_start_timer)>("second_copy_start_timer");
    ASSERT_TRUE(run && start_timer && interrupts && read && shutdown_copy);
  }
  void TearDown() override { unload(); }

  void unload() {
    if (handle_ == nullptr) return;
    EXPECT_EQ(dlclose(handle_), 0);
    handle_ = nullptr;
  }

  template <class F>
  F symbol(const char* name) {
    return reinterpret_cast<F>(dlsym(handle_, name));
  }

  decltype(&second_copy_run) run = nullptr;
  decltype(&second_copy_start_timer) start_timer = nullptr;
  decltype(&second_copy_interrupts) interrupts = nullptr;
  decltype(&second_copy_read) read = nullptr;
  decltype(&second_copy_shutdown) shutdown_copy = nullptr;

 private:
  void* handle_ = nullptr;
};

/// An interrupt on this thread, from another one, in the copy that this program is linked to.
int take_interrupt() {
  auto line = make_irq_line({.name = "first", .kind = irq_kind::asynchronous});
  if (!line) return to_negative_errno(line.error());
  completion handled;
  auto action = request_irq(**line, [&] {
    handled.complete();
    return irqreturn::handled;
  });
  if (!action) return to_negative_errno(action.error());
  auto raiser = kthread_run("first-raiser", [&] { raise_irq(**line); });
  if (!raiser) return to_negative_errno(raiser.error());
  handled.wait();
  raiser->join();
  return platform::doorbell_signal(platform::doorbell::interrupt);
}

TEST_F(two_copies, use_different_signals_on_the_same_thread) {
  ASSERT_TRUE(online_cpu().has_value());
  const int first = take_interrupt();
  const int second = run();
  EXPECT_GT(first, 0);
  EXPECT_GT(second, 0);
  EXPECT_NE(first, second);
  EXPECT_EQ(interrupts(), 1);
  EXPECT_GT(take_interrupt(), 0) << "the second copy took nothing from the first";
}

TEST_F(two_copies, have_readers_of_their_own) {
  read(
      [](void*) {
        EXPECT_FALSE(rcu_read_lock_held()) << "the reader is the other copy's";
        synchronize_rcu();  // does not wait for it
      },
      nullptr);
}

TEST_F(two_copies, contexts_are_counted_by_each) {
  guard g{no_preempt};
  EXPECT_TRUE(in_atomic());
  read([](void*) { EXPECT_TRUE(in_atomic()); }, nullptr);
}

/// What a library can leave behind in its process.
struct belongings {
  std::vector<std::string> threads;
  std::vector<int> signals;  ///< with a handler
  std::size_t descriptors = 0;

  [[nodiscard]] bool has_thread(const char* name) const {
    return std::find(threads.begin(), threads.end(), name) != threads.end();
  }
};

belongings look_around() {
  belongings found;
  for (const auto& thread : std::filesystem::directory_iterator{"/proc/self/task"}) {
    std::string name;
    std::ifstream{thread.path() / "comm"} >> name;
    found.threads.push_back(name);
  }
  std::sort(found.threads.begin(), found.threads.end());
  for (int number = 1; number <= SIGRTMAX; ++number) {
    struct sigaction action {};
    if (sigaction(number, nullptr, &action) == 0 && action.sa_handler != SIG_DFL &&
        action.sa_handler != SIG_IGN) {
      found.signals.push_back(number);
    }
  }
  for ([[maybe_unused]] const auto& fd : std::filesystem::directory_iterator{"/proc/self/fd"}) {
    ++found.descriptors;
  }
  return found;
}

TEST_F(two_copies, one_that_is_unloaded_without_shutdown_leaves_nothing) {
  if (interlock::test::thread_sanitizer) GTEST_SKIP() << "ThreadSanitizer starts a thread itself";
  const belongings before = look_around();
  EXPECT_GT(run(), 0);
  EXPECT_EQ(start_timer(), 0);
  const belongings amid = look_around();
  EXPECT_TRUE(amid.has_thread("ilk-irq"));
  EXPECT_TRUE(amid.has_thread("ilk-rcu"));
  EXPECT_GT(amid.signals.size(), before.signals.size());
  EXPECT_GT(amid.descriptors, before.descriptors);
  unload();
  const belongings after = look_around();
  EXPECT_EQ(after.threads, before.threads);
  EXPECT_EQ(after.signals, before.signals);
  EXPECT_EQ(after.descriptors, before.descriptors);
}

TEST_F(two_copies, one_can_be_unloaded_and_the_other_goes_on) {
  EXPECT_GT(run(), 0);
  shutdown_copy();
  unload();
  EXPECT_EQ(dlopen(INTERLOCK_TEST_MODULE_DIR "/second_copy_static.so", RTLD_NOW | RTLD_NOLOAD),
            nullptr)
      << "it is still mapped";
  EXPECT_GT(take_interrupt(), 0);
  synchronize_rcu();
}

}  // namespace
