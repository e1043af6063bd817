// SPDX-License-Identifier: Apache-2.0

/// A second copy of the library, loaded beside the one that this program links, and unloaded again:
/// nothing of it stays behind, and the two do not disturb each other.

#include <dlfcn.h>
#include <pthread.h>
#include <signal.h>

#include <filesystem>
#include <thread>

#include "interlock_platform/doorbell.hpp"
#include "interlock_platform/local.hpp"
#include "interlock_platform/stack_trace.hpp"
#include "platform_test_support.hpp"

namespace interlock::test {
namespace {

using platform::doorbell;

constexpr std::uint32_t no_such_thread = 1u << 23;  // above the kernel's largest

/// A copy of libinterlock in a file of its own, so that the loader takes it for another library.
class copy_of_library {
 public:
  copy_of_library() {
    Dl_info info;
    if (dladdr(reinterpret_cast<void*>(platform::enlist), &info) == 0) return;
    const std::filesystem::path original{info.dli_fname};
    if (original.filename().string().find(".so") == std::string::npos) return;
    file_ = std::filesystem::temp_directory_path() /
            ("interlock_copy_" + std::to_string(getpid()) + ".so");
    std::filesystem::copy_file(original, file_, std::filesystem::copy_options::overwrite_existing);
  }
  ~copy_of_library() {
    unload();
    if (exists()) std::filesystem::remove(file_);
  }
  copy_of_library(const copy_of_library&) = delete;
  copy_of_library& operator=(const copy_of_library&) = delete;

  bool exists() const { return !file_.empty(); }

  /// RTLD_DEEPBIND makes it use its own symbols, not those of the library that the program links.
  bool load() {
    handle_ = dlopen(file_.c_str(), RTLD_NOW | RTLD_LOCAL | RTLD_DEEPBIND);
    return handle_ != nullptr;
  }
  void unload() {
    if (handle_ != nullptr) dlclose(handle_);
    handle_ = nullptr;
  }
  bool is_mapped() const {
    std::ifstream maps{"/proc/self/maps"};
    for (std::string text; std::getline(maps, text);) {
      if (text.find(file_.filename().string()) != std::string::npos) return true;
    }
    return false;
  }

  /// The copy's own version of a function of the library.
  template <class Function>
  Function* its(Function* function) const {
    Dl_info info;
    dladdr(reinterpret_cast<void*>(function), &info);
    return reinterpret_cast<Function*>(dlsym(handle_, info.dli_sname));
  }

 private:
  std::filesystem::path file_;
  void* handle_ = nullptr;
};

class platform_unload : public testing::Test {
 protected:
  void SetUp() override {
    if (thread_sanitizer || address_sanitizer) GTEST_SKIP() << "sanitizers refuse RTLD_DEEPBIND";
    if (!copy.exists()) GTEST_SKIP() << "the library is linked statically";
    ASSERT_TRUE(copy.load()) << dlerror();
  }
  copy_of_library copy;
};

bool is_default(int number) {
  struct sigaction action;
  sigaction(number, nullptr, &action);
  return action.sa_handler == SIG_DFL;
}

/// Keys that libc can still give, which shows whether one was returned.
pthread_key_t lowest_free_key() {
  pthread_key_t key;
  pthread_key_create(&key, nullptr);
  pthread_key_delete(key);
  return key;
}

TEST_F(platform_unload, leaves_nothing_behind) {
  const auto enlist = copy.its(platform::enlist);
  const auto capture_remote_stack = copy.its(platform::capture_remote_stack);
  const auto describe_address = copy.its(platform::describe_address);
  const auto doorbell_signal = copy.its(platform::doorbell_signal);
  ASSERT_NE(enlist, nullptr);
  ASSERT_NE(enlist, platform::enlist);

  enlist();
  std::thread{[&] { enlist(); }}.join();
  void* frames[2];
  capture_remote_stack(no_such_thread, frames, 2);  // installs the NMI, whoever answers
  const int number = doorbell_signal(doorbell::nmi);
  ASSERT_NE(number, 0);
  EXPECT_FALSE(is_default(number));
  char text[100];
  describe_address(frames, true, text, sizeof(text));

  // A thread that the copy knows, and that ends after it is gone.
  flag gone;
  flag known;
  std::thread survivor{[&] {
    enlist();
    known.raise();
    gone.await();
  }};
  known.await();
  copy.unload();
  gone.raise();
  survivor.join();
  EXPECT_FALSE(copy.is_mapped());
  EXPECT_TRUE(is_default(number));
  EXPECT_EQ(status_of_child([] { return 7; }), 7) << "a fork handler was left";
}

TEST_F(platform_unload, can_be_loaded_again_and_again) {
  copy.unload();
  const pthread_key_t key = lowest_free_key();
  for (int i = 0; i < 50; ++i) {
    ASSERT_TRUE(copy.load()) << dlerror();
    copy.its(platform::enlist)();
    std::thread{[&] { copy.its(platform::enlist)(); }}.join();
    copy.unload();
    ASSERT_FALSE(copy.is_mapped());
    ASSERT_EQ(lowest_free_key(), key);
  }
}

TEST_F(platform_unload, a_handler_that_the_process_put_over_ours_stays) {
  void* frames[2];
  copy.its(platform::capture_remote_stack)(no_such_thread, frames, 2);
  const int number = copy.its(platform::doorbell_signal)(doorbell::nmi);
  struct sigaction theirs {
  }, found;
  theirs.sa_handler = [](int) {};
  sigaction(number, &theirs, nullptr);
  copy.unload();
  sigaction(number, nullptr, &found);
  EXPECT_EQ(found.sa_handler, theirs.sa_handler);
  signal(number, SIG_DFL);
}

/// The default action of a real-time signal ends the process.
TEST_F(platform_unload, a_ring_that_a_thread_holds_back_does_not_end_the_process) {
  const auto install = copy.its(platform::install_doorbell);
  const auto ring = copy.its(platform::ring_doorbell);
  EXPECT_EQ(status_of_child([&] {
              if (!install(doorbell::interrupt, []() noexcept {})) return 1;
              flag up, unloaded;
              std::uint32_t id = 0;
              std::thread masked{[&] {
                sigset_t all, before;
                sigfillset(&all);
                pthread_sigmask(SIG_SETMASK, &all, &before);
                id = gettid();
                up.raise();
                unloaded.await();
                pthread_sigmask(SIG_SETMASK, &before, nullptr);
              }};
              up.await();
              if (!ring(id, doorbell::interrupt)) return 2;
              copy.unload();
              unloaded.raise();
              masked.join();
              return copy.is_mapped() ? 3 : 0;
            }),
            0);
}

struct slow_handler {
  flag entered, leave;
  atomic<int> left{0};
};
slow_handler slow;

TEST_F(platform_unload, waits_for_handlers_under_way) {
  slow.entered.lower();
  slow.leave.lower();
  slow.left.store_relaxed(0);
  ASSERT_TRUE(copy.its(platform::install_doorbell)(doorbell::interrupt, []() noexcept {
    slow.entered.raise();
    slow.leave.await();
    slow.left.fetch_add_relaxed(1);
  }));
  const int number = copy.its(platform::doorbell_signal)(doorbell::interrupt);
  std::thread rung{[&] { (void)copy.its(platform::ring_doorbell)(gettid(), doorbell::interrupt); }};
  slow.entered.await();
  std::thread releaser{[&] {
    while (!is_default(number)) platform::yield();  // the unload has begun
    for (int i = 0; i < 1000; ++i) platform::yield();
    slow.leave.raise();
  }};
  copy.unload();
  EXPECT_EQ(slow.left.load_relaxed(), 1) << "its text went while it ran";
  releaser.join();
  rung.join();
}

atomic<int> first_rung{0};
atomic<int> second_rung{0};

TEST_F(platform_unload, two_copies_have_their_own_threads_and_doorbells) {
  first_rung.store_relaxed(0);
  second_rung.store_relaxed(0);
  const auto install = copy.its(platform::install_doorbell);
  ASSERT_TRUE(platform::install_doorbell(doorbell::interrupt,
                                         []() noexcept { first_rung.fetch_add_relaxed(1); }));
  ASSERT_TRUE(install(doorbell::interrupt, []() noexcept { second_rung.fetch_add_relaxed(1); }));
  EXPECT_NE(platform::doorbell_signal(doorbell::interrupt),
            copy.its(platform::doorbell_signal)(doorbell::interrupt));
  ASSERT_TRUE(platform::ring_doorbell(gettid(), doorbell::interrupt));
  EXPECT_EQ(first_rung.load_relaxed(), 1);
  EXPECT_EQ(second_rung.load_relaxed(), 0);
  ASSERT_TRUE(copy.its(platform::ring_doorbell)(gettid(), doorbell::interrupt));
  EXPECT_EQ(first_rung.load_relaxed(), 1);
  EXPECT_EQ(second_rung.load_relaxed(), 1);

  std::thread{[&] {
    copy.its(platform::enlist)();
    EXPECT_EQ(platform::this_task().id.load_relaxed(), 0u);
    platform::enlist();
    EXPECT_EQ(platform::this_task().id.load_relaxed(), gettid());
  }}.join();
}

}  // namespace
}  // namespace interlock::test
