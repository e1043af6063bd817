// SPDX-License-Identifier: Apache-2.0

/// Interrupts between threads: that they come, when they cannot come, and whose they are.

#include "interlock_platform/doorbell.hpp"

#include <pthread.h>
#include <signal.h>
#include <sys/resource.h>

#include <thread>

#include "interlock_platform/local.hpp"
#include "interlock_platform/thread.hpp"
#include "platform_test_support.hpp"

namespace interlock::test {
namespace {

using platform::doorbell;

atomic<int> interrupts{0};
atomic<int> nmis{0};
atomic<std::uint32_t> last_target{0};
/// What the entry of the interrupt does besides, in some tests.
atomic<void (*)() noexcept> inside{nullptr};

void count_interrupt() noexcept {
  last_target.store_relaxed(gettid());
  if (auto* const body = inside.load_relaxed(); body != nullptr) body();
  interrupts.fetch_add_release(1);  // [I1] pairs with [I2]
}

void count_nmi() noexcept { nmis.fetch_add_release(1); }  // [I1] pairs with [I2]

/// The signal that is installed for the test; a default is fine.
int signal_of(doorbell bell) { return platform::doorbell_signal(bell); }

void await(const atomic<int>& counter, int value) {
  while (counter.load_acquire() < value) platform::yield();  // [I2] pairs with [I1]
}

/// A thread that spins, calling nothing, until `stop`.
class spinner {
 public:
  spinner() : thread_{[this] { run(); }} {
    while (id_.load_acquire() == 0) platform::yield();  // [U2] pairs with [U1]
  }
  ~spinner() {
    stop_.store_relaxed(true);
    thread_.join();
  }
  std::uint32_t id() const { return id_.load_relaxed(); }
  int errno_seen() const { return errno_seen_.load_relaxed(); }

 private:
  void run() {
    platform::enlist();
    errno = 1234;
    id_.store_release(gettid());  // [U1] pairs with [U2]
    while (!stop_.load_relaxed()) errno_seen_.store_relaxed(errno);
  }

  atomic<std::uint32_t> id_{0};
  atomic<int> errno_seen_{0};
  atomic<bool> stop_{false};
  std::thread thread_;
};

class platform_doorbell : public testing::Test {
 protected:
  void SetUp() override {
    platform::enlist();
    ASSERT_TRUE(platform::install_doorbell(doorbell::interrupt, count_interrupt));
    ASSERT_TRUE(platform::install_doorbell(doorbell::nmi, count_nmi));
    interrupts.store_relaxed(0);
    nmis.store_relaxed(0);
    inside.store_relaxed(nullptr);
  }
};

TEST_F(platform_doorbell, default_numbers_are_the_highest_free_ones) {
  EXPECT_EQ(signal_of(doorbell::interrupt), SIGRTMAX - 1);
  EXPECT_EQ(signal_of(doorbell::nmi), SIGRTMAX - 2);
}

TEST_F(platform_doorbell, install_is_idempotent_and_refuses_another_entry) {
  const int number = signal_of(doorbell::interrupt);
  EXPECT_TRUE(platform::install_doorbell(doorbell::interrupt, count_interrupt));
  EXPECT_EQ(signal_of(doorbell::interrupt), number);
  const auto second = platform::install_doorbell(doorbell::interrupt, count_nmi);
  ASSERT_FALSE(second);
  EXPECT_EQ(second.error(), error::device_or_resource_busy);
}

TEST_F(platform_doorbell, handler_restarts_calls_and_masks_nothing) {
  for (const doorbell bell : {doorbell::interrupt, doorbell::nmi}) {
    struct sigaction action;
    ASSERT_EQ(sigaction(signal_of(bell), nullptr, &action), 0);
    EXPECT_TRUE(action.sa_flags & SA_RESTART);
    EXPECT_TRUE(action.sa_flags & SA_NODEFER);
    EXPECT_FALSE(action.sa_flags & SA_ONSTACK);
    EXPECT_TRUE(sigisemptyset(&action.sa_mask));
  }
}

TEST_F(platform_doorbell, rings_a_thread_that_spins) {
  const spinner target;
  for (int i = 1; i <= 100; ++i) {
    ASSERT_TRUE(platform::ring_doorbell(target.id(), doorbell::interrupt));
    await(interrupts, i);
    EXPECT_EQ(last_target.load_relaxed(), target.id());
  }
  ASSERT_TRUE(platform::ring_doorbell(target.id(), doorbell::nmi));
  await(nmis, 1);
}

TEST_F(platform_doorbell, rings_the_caller_before_it_returns) {
  SKIP_IF_SIGNALS_ARE_DEFERRED();
  ASSERT_TRUE(platform::ring_doorbell(gettid(), doorbell::interrupt));
  EXPECT_EQ(interrupts.load_relaxed(), 1);
}

TEST_F(platform_doorbell, entries_interrupt_each_other_and_themselves) {
  SKIP_IF_SIGNALS_ARE_DEFERRED();
  static atomic<int> depth{0};
  static atomic<int> deepest{0};
  inside.store_relaxed([]() noexcept {
    const int d = depth.fetch_add_relaxed(1) + 1;
    if (d > deepest.load_relaxed()) deepest.store_relaxed(d);
    const int before = nmis.load_relaxed();
    EXPECT_TRUE(platform::ring_doorbell(gettid(), doorbell::nmi));
    EXPECT_EQ(nmis.load_relaxed(), before + 1);
    const bool rung = d == 3 || platform::ring_doorbell(gettid(), doorbell::interrupt);
    EXPECT_TRUE(rung);
    depth.fetch_sub_relaxed(1);
  });
  ASSERT_TRUE(platform::ring_doorbell(gettid(), doorbell::interrupt));
  EXPECT_EQ(deepest.load_relaxed(), 3);
  EXPECT_EQ(interrupts.load_relaxed(), 3);
}

TEST_F(platform_doorbell, errno_is_kept_on_both_sides) {
  inside.store_relaxed([]() noexcept { errno = 4321; });
  {
    const spinner target;
    errno = 1234;
    ASSERT_TRUE(platform::ring_doorbell(target.id(), doorbell::interrupt));
    EXPECT_EQ(errno, 1234);
    await(interrupts, 1);
    EXPECT_EQ(target.errno_seen(), 1234);
  }
  errno = 1234;
  EXPECT_FALSE(platform::ring_doorbell(1u << 23, doorbell::interrupt));
  EXPECT_EQ(errno, 1234);
}

TEST_F(platform_doorbell, a_thread_that_does_not_exist) {
  std::uint32_t id = 0;
  std::thread{[&] { id = gettid(); }}.join();
  const auto rung = platform::ring_doorbell(id, doorbell::interrupt);
  ASSERT_FALSE(rung);
  EXPECT_EQ(rung.error(), error::no_such_process);
  EXPECT_FALSE(platform::doorbell_is_blocked(id, doorbell::interrupt));
}

TEST_F(platform_doorbell, exhausted_signal_queue_is_an_error) {
  EXPECT_EQ(status_of_child([] {
              const rlimit none{0, 0};
              setrlimit(RLIMIT_SIGPENDING, &none);
              const auto rung = platform::ring_doorbell(gettid(), doorbell::interrupt);
              return !rung && rung.error() == error::resource_unavailable_try_again ? 0 : 1;
            }),
            0);
}

// --- blocked doorbells ---

void change_own_mask(int how, doorbell bell) {
  sigset_t set;
  sigemptyset(&set);
  sigaddset(&set, signal_of(bell));
  pthread_sigmask(how, &set, nullptr);
}

TEST_F(platform_doorbell, own_mask_is_recognised) {
  EXPECT_FALSE(platform::doorbell_is_blocked(gettid(), doorbell::interrupt));
  change_own_mask(SIG_BLOCK, doorbell::interrupt);
  EXPECT_TRUE(platform::doorbell_is_blocked(gettid(), doorbell::interrupt));
  EXPECT_FALSE(platform::doorbell_is_blocked(gettid(), doorbell::nmi));
  change_own_mask(SIG_UNBLOCK, doorbell::interrupt);
  EXPECT_FALSE(platform::doorbell_is_blocked(gettid(), doorbell::interrupt));
}

TEST_F(platform_doorbell, the_mask_of_another_thread_is_recognised) {
  for (const doorbell blocked : {doorbell::interrupt, doorbell::nmi}) {
    flag ready, done;
    std::uint32_t id = 0;
    std::thread other{[&] {
      change_own_mask(SIG_BLOCK, blocked);
      id = gettid();
      ready.raise();
      done.await();
    }};
    ready.await();
    for (const doorbell bell : {doorbell::interrupt, doorbell::nmi}) {
      EXPECT_EQ(platform::doorbell_is_blocked(id, bell), bell == blocked);
    }
    done.raise();
    other.join();
  }
}

TEST_F(platform_doorbell, held_doorbells_come_when_they_are_released) {
  SKIP_IF_SIGNALS_ARE_DEFERRED();
  platform::hold_doorbells();
  ASSERT_TRUE(platform::ring_doorbell(gettid(), doorbell::interrupt));
  ASSERT_TRUE(platform::ring_doorbell(gettid(), doorbell::nmi));
  EXPECT_TRUE(platform::doorbell_is_blocked(gettid(), doorbell::interrupt));
  EXPECT_EQ(interrupts.load_relaxed(), 0);
  EXPECT_EQ(nmis.load_relaxed(), 0);
  platform::release_doorbells();
  EXPECT_EQ(interrupts.load_relaxed(), 1);
  EXPECT_EQ(nmis.load_relaxed(), 1);
}

TEST_F(platform_doorbell, a_handler_put_over_ours_counts_as_blocked) {
  struct sigaction theirs {
  }, ours;
  theirs.sa_handler = SIG_IGN;
  sigaction(signal_of(doorbell::interrupt), &theirs, &ours);
  EXPECT_TRUE(platform::doorbell_is_blocked(gettid(), doorbell::interrupt));
  sigaction(signal_of(doorbell::interrupt), &ours, nullptr);
  EXPECT_FALSE(platform::doorbell_is_blocked(gettid(), doorbell::interrupt));
}

// --- signals that are not ours ---

TEST_F(platform_doorbell, signals_of_others_are_dropped) {
  SKIP_IF_SIGNALS_ARE_DEFERRED();
  const int number = signal_of(doorbell::interrupt);
  pthread_kill(pthread_self(), number);
  kill(getpid(), number);
  sigqueue(getpid(), number, sigval{.sival_ptr = &interrupts});
  EXPECT_EQ(status_of_child([&] { return kill(getppid(), number); }), 0);
  // Ours comes behind theirs: the kernel keeps the order within one number.
  ASSERT_TRUE(platform::ring_doorbell(gettid(), doorbell::interrupt));
  EXPECT_EQ(interrupts.load_relaxed(), 1);
}

// --- service threads and options ---

TEST_F(platform_doorbell, service_threads_hear) {
  static flag rung;
  static atomic<std::uint32_t> id;
  rung.lower();
  id.store_relaxed(0);
  inside.store_relaxed([]() noexcept { rung.raise(); });
  auto thread = platform::spawn(
      [](void*) {
        id.store_release(gettid());  // [U1] pairs with [U2]
        rung.await();
      },
      nullptr, "listener");
  ASSERT_TRUE(thread);
  while (id.load_acquire() == 0) platform::yield();  // [U2] pairs with [U1]
  EXPECT_FALSE(platform::doorbell_is_blocked(id.load_relaxed(), doorbell::interrupt));
  EXPECT_FALSE(platform::doorbell_is_blocked(id.load_relaxed(), doorbell::nmi));
  ASSERT_TRUE(platform::ring_doorbell(id.load_relaxed(), doorbell::interrupt));
  platform::join(*thread);
}

/// Installs in a fresh process; 0, or the errno, or 100 + the number if it is not `expected`.
[[noreturn]] void exit_after_install(doorbell bell, int expected) {
  if (platform::doorbell_signal(bell) != 0) std::exit(99);
  if (platform::ring_doorbell(gettid(), bell)) std::exit(98);
  const auto installed = platform::install_doorbell(bell, count_interrupt);
  if (!installed) std::exit(-to_negative_errno(installed));
  const int number = platform::doorbell_signal(bell);
  std::exit(number == expected ? 0 : 100 + number);
}

TEST(platform_doorbell_options, numbers_can_be_chosen) {
  const options_for_children options{"irq_signal=40:nmi_signal=41"};
  EXPECT_EXIT(exit_after_install(doorbell::interrupt, 40), testing::ExitedWithCode(0), "");
  EXPECT_EXIT(exit_after_install(doorbell::nmi, 41), testing::ExitedWithCode(0), "");
}

TEST(platform_doorbell_options, defaults_avoid_the_number_chosen_for_the_other) {
  const std::string text = "nmi_signal=" + std::to_string(SIGRTMAX - 1);
  const options_for_children options{text.c_str()};
  EXPECT_EXIT(exit_after_install(doorbell::interrupt, SIGRTMAX - 2), testing::ExitedWithCode(0),
              "");
}

TEST(platform_doorbell_options, others_than_realtime_signals_are_refused) {
  for (const char* const text : {"irq_signal=10", "irq_signal=0", "irq_signal=-1", "irq_signal=99",
                                 "irq_signal=23", "irq_signal=32"}) {
    const options_for_children options{text};
    EXPECT_EXIT(exit_after_install(doorbell::interrupt, 0), testing::ExitedWithCode(EINVAL), "")
        << text;
  }
}

TEST(platform_doorbell_options, one_number_for_both_is_refused) {
  const options_for_children options{"irq_signal=40:nmi_signal=40"};
  EXPECT_EXIT(exit_after_install(doorbell::interrupt, 0), testing::ExitedWithCode(EBUSY), "");
}

TEST(platform_doorbell_options, a_number_that_the_process_handles_is_refused) {
  const options_for_children options{"irq_signal=40"};
  EXPECT_EXIT(
      {
        signal(40, [](int) {});
        exit_after_install(doorbell::interrupt, 0);
      },
      testing::ExitedWithCode(EBUSY), "");
}

TEST(platform_doorbell_options, numbers_that_the_process_took_since_load_are_passed_over) {
  const options_for_children options{""};
  EXPECT_EXIT(
      {
        signal(SIGRTMAX - 1, [](int) {});
        signal(SIGRTMAX - 3, SIG_IGN);
        exit_after_install(doorbell::interrupt, SIGRTMAX - 4);  // -2 is kept for the NMI
      },
      testing::ExitedWithCode(0), "");
}

TEST(platform_doorbell_options, numbers_that_the_loading_thread_blocks_are_passed_over) {
  const options_for_children options{""};  // the mask is inherited by the new program
  sigset_t set;
  sigemptyset(&set);
  sigaddset(&set, SIGRTMAX - 1);
  pthread_sigmask(SIG_BLOCK, &set, nullptr);
  EXPECT_EXIT(exit_after_install(doorbell::interrupt, SIGRTMAX - 2), testing::ExitedWithCode(0),
              "");
  pthread_sigmask(SIG_UNBLOCK, &set, nullptr);
}

TEST(platform_doorbell_options, none_free_is_an_error) {
  const options_for_children options{""};
  EXPECT_EXIT(
      {
        for (int number = SIGRTMIN; number <= SIGRTMAX; ++number) signal(number, [](int) {});
        exit_after_install(doorbell::interrupt, 0);
      },
      testing::ExitedWithCode(EBUSY), "");
}

}  // namespace
}  // namespace interlock::test
