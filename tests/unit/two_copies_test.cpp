// SPDX-License-Identifier: Apache-2.0

/// Two copies of the library in one process: each has its own words, readers, threads and signals.

#include <dlfcn.h>
#include <gtest/gtest.h>

#include "interlock/interlock.hpp"
#include "interlock_platform/doorbell.hpp"
#include "modules/second_copy_static.hpp"

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
    ASSERT_TRUE(run && interrupts && read && shutdown_copy);
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
