// SPDX-License-Identifier: Apache-2.0

/// Stacks of this thread, of a handler and of another thread, and how addresses are described.

#include "interlock_platform/stack_trace.hpp"

#include <dlfcn.h>
#include <pthread.h>
#include <signal.h>

#include <cstring>
#include <string>
#include <thread>

#include "interlock_platform/doorbell.hpp"
#include "interlock_platform/local.hpp"
#include "platform_test_support.hpp"
#include "support/libdw.hpp"

namespace interlock::test {

// Outside the unnamed namespace, so that they have names in any build.
std::size_t capture_in_a_named_function(void** frames, std::size_t capacity);
void spin_in_a_named_function(atomic<std::uint32_t>& id, const atomic<bool>& stop);

[[gnu::noinline]] std::size_t capture_in_a_named_function(void** frames, std::size_t capacity) {
  const std::size_t count = platform::capture_stack(frames, capacity);
  asm volatile("" ::: "memory");  // no tail call
  return count;
}

[[gnu::noinline]] void spin_in_a_named_function(atomic<std::uint32_t>& id,
                                                const atomic<bool>& stop) {
  id.store_release(gettid());  // [U1] pairs with [U2]
  while (!stop.load_relaxed()) {
  }
}

namespace {

std::string describe(void* address, bool may_allocate = true) {
  char text[256];
  platform::describe_address(address, may_allocate, text, sizeof(text));
  return text;
}

bool contains(const std::string& text, const char* part) {
  return text.find(part) != std::string::npos;
}

TEST(platform_stack_trace, begins_with_the_caller) {
  SKIP_WITHOUT_LIBDW();
  void* frames[32];
  const std::size_t count = capture_in_a_named_function(frames, 32);
  ASSERT_GE(count, 3u);
  EXPECT_TRUE(contains(describe(frames[0]), "capture_in_a_named_function")) << describe(frames[0]);
  EXPECT_TRUE(contains(describe(frames[1]), "begins_with_the_caller")) << describe(frames[1]);
}

TEST(platform_stack_trace, is_cut_to_the_capacity) {
  void* frames[3] = {};
  EXPECT_EQ(capture_in_a_named_function(frames, 2), 2u);
  EXPECT_EQ(frames[2], nullptr);
  EXPECT_EQ(capture_in_a_named_function(frames, 0), 0u);
}

TEST(platform_stack_trace, walks_out_of_a_handler) {
  SKIP_WITHOUT_LIBDW();
  static void* frames[32];
  static std::size_t count;
  signal(SIGUSR1, [](int) { count = platform::capture_stack(frames, 32); });
  raise(SIGUSR1);
  bool found = false;
  for (std::size_t i = 0; i < count; ++i) {
    found |= contains(describe(frames[i]), "walks_out_of_a_handler");
  }
  EXPECT_TRUE(found);
}

// --- the stack of another thread ---

TEST(platform_stack_trace, remote_stack_begins_with_the_spinning_function) {
  SKIP_IF_SIGNALS_ARE_DEFERRED();
  SKIP_WITHOUT_LIBDW();
  atomic<std::uint32_t> id{0};
  atomic<bool> stop{false};
  std::thread target{[&] { spin_in_a_named_function(id, stop); }};
  while (id.load_acquire() == 0) platform::yield();  // [U2] pairs with [U1]
  void* frames[32];
  std::size_t count = 0;
  std::string first;
  // The first answer may still find it on its way into the loop.
  for (int i = 0; i < 100 && !contains(first, "spin_in_a_named_function"); ++i) {
    count = platform::capture_remote_stack(id.load_relaxed(), frames, 32);
    if (count > 0) first = describe(frames[0]);
  }
  EXPECT_TRUE(contains(first, "spin_in_a_named_function")) << first;
  EXPECT_GE(count, 2u);
  void* one[2] = {};
  EXPECT_EQ(platform::capture_remote_stack(id.load_relaxed(), one, 1), 1u);
  EXPECT_EQ(one[1], nullptr);
  stop.store_relaxed(true);
  target.join();
}

TEST(platform_stack_trace, remote_stack_of_the_caller_is_its_own) {
  void* frames[32];
  EXPECT_GE(platform::capture_remote_stack(gettid(), frames, 32), 1u);
}

TEST(platform_stack_trace, a_thread_that_cannot_answer_has_no_stack) {
  flag ready, done;
  std::uint32_t id = 0;
  std::thread deaf{[&] {
    sigset_t all;
    sigfillset(&all);
    pthread_sigmask(SIG_BLOCK, &all, nullptr);
    id = gettid();
    ready.raise();
    done.await();
  }};
  ready.await();
  void* frames[4];
  const deadline before = platform::now();
  EXPECT_EQ(platform::capture_remote_stack(id, frames, 4), 0u);
  EXPECT_GE(platform::now() - before, std::chrono::milliseconds{100});
  done.raise();
  deaf.join();
  EXPECT_EQ(platform::capture_remote_stack(id, frames, 4), 0u) << "nor one that has ended";
}

TEST(platform_stack_trace, many_askers) {
  atomic<std::uint32_t> id{0};
  atomic<bool> stop{false};
  std::thread target{[&] { spin_in_a_named_function(id, stop); }};
  while (id.load_acquire() == 0) platform::yield();  // [U2] pairs with [U1]
  atomic<int> answers{0};
  std::thread askers[3];
  for (auto& asker : askers) {
    asker = std::thread{[&] {
      void* frames[16];
      for (int i = 0; i < 50; ++i) {
        // A busy machine may leave some without an answer in time.
        if (platform::capture_remote_stack(id.load_relaxed(), frames, 16) > 0) {
          answers.fetch_add_relaxed(1);
        }
      }
    }};
  }
  for (auto& asker : askers) asker.join();
  EXPECT_GT(answers.load_relaxed(), 0);
  stop.store_relaxed(true);
  target.join();
}

// --- descriptions ---

/// A frame in this very function: an address behind one of its instructions.
[[gnu::noinline]] void* own_frame() {
  void* frame[1] = {};
  capture_in_a_named_function(frame, 1);
  return frame[0];
}

TEST(platform_stack_trace, names_function_and_line) {
  SKIP_WITHOUT_LIBDW();
  const std::string text = describe(own_frame());
  EXPECT_TRUE(contains(text, "interlock::test::capture_in_a_named_function(void**")) << text;
  EXPECT_TRUE(contains(text, "+0x")) << text;
#if !defined(NDEBUG) || defined(__OPTIMIZE__)
  EXPECT_TRUE(contains(text, "(platform_stack_trace_test.cpp:")) << text;
#endif
}

TEST(platform_stack_trace, in_a_handler_names_module_and_offset) {
  Dl_info info;
  ASSERT_NE(dladdr(own_frame(), &info), 0);
  const std::string text = describe(own_frame(), false);
  const std::string module = std::strrchr(info.dli_fname, '/') + 1;
  EXPECT_EQ(text.substr(0, module.size() + 3), module + "+0x") << text;
  const auto offset = std::stoull(text.substr(module.size() + 1), nullptr, 16);
  EXPECT_EQ(offset, static_cast<char*>(own_frame()) - static_cast<char*>(info.dli_fbase)) << text;
}

TEST(platform_stack_trace, names_functions_of_libraries) {
  void* const function = dlsym(RTLD_DEFAULT, "memfd_create");
  ASSERT_NE(function, nullptr);
  const std::string text = describe(static_cast<char*>(function) + 2);
  EXPECT_TRUE(contains(text, "memfd_create+0x2")) << text;
}

TEST(platform_stack_trace, unknown_addresses_are_numbers) {
  EXPECT_EQ(describe(reinterpret_cast<void*>(0x1234), false), "0x1234");
  EXPECT_EQ(describe(reinterpret_cast<void*>(0x1234), true), "0x1234");
  EXPECT_EQ(describe(nullptr, false), "0x0");
}

TEST(platform_stack_trace, descriptions_are_cut_and_terminated) {
  for (const bool may_allocate : {false, true}) {
    char text[8];
    std::memset(text, 'x', sizeof(text));
    platform::describe_address(own_frame(), may_allocate, text, 5);
    EXPECT_EQ(std::strlen(text), 4u);
    EXPECT_EQ(text[5], 'x');
    platform::describe_address(own_frame(), may_allocate, text + 6, 0);
    EXPECT_EQ(text[6], 'x');
  }
}

TEST(platform_stack_trace, names_what_was_loaded_since_and_not_what_has_gone) {
  SKIP_WITHOUT_LIBDW();
  describe(own_frame());
  void* const library = dlopen("libcrypt.so.1", RTLD_NOW);
  if (library == nullptr) GTEST_SKIP() << "no library to load";
  void* const function = dlsym(library, "crypt");
  ASSERT_NE(function, nullptr);
  void* const inside = static_cast<char*>(function) + 1;
  const std::string text = describe(inside);
  EXPECT_TRUE(contains(text, "crypt")) << text;
  EXPECT_FALSE(contains(text, "[")) << "a symbol found without libdw: " << text;
  dlclose(library);
  EXPECT_EQ(describe(inside).substr(0, 2), "0x");
}

TEST(platform_stack_trace_death, die_aborts) {
  EXPECT_EXIT(platform::die(), testing::KilledBySignal(SIGABRT), "");
}

}  // namespace
}  // namespace interlock::test
