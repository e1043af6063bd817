// SPDX-License-Identifier: Apache-2.0

/// RCU where the process does what only a real one does: signals on a thread's first and last
/// instruction, destructors of thread keys, fork, dlclose.

#include <dlfcn.h>
#include <pthread.h>
#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#include <thread>

#include "interlock/preempt.hpp"
#include "interlock/shutdown.hpp"
#include "rcu_test_support.hpp"
#include "support/report_recorder.hpp"

namespace interlock::test {
namespace {

std::uint64_t outstanding() {
  const rcu_statistics s = rcu_get_statistics();
  return s.callbacks_queued - s.callbacks_invoked;
}

// --- signal handlers ---

constexpr int storm_signal = SIGUSR1;
constexpr std::size_t pool_size = 50'000;

constinit rcu_pointer<checked_object> shared;
constinit atomic<std::size_t> heads_used{0};
constinit atomic<std::uint64_t> handled{0};
constinit atomic<std::uint64_t> handled_amid_section{0};
rcu_head pool[pool_size];

void read_once() {
  const guard outer{rcu};
  const guard inner{rcu};
  if (rcu_dereference(shared)->state != checked_object::alive) abort();
}

void handler(int) {
  if (rcu_read_lock_held()) handled_amid_section.fetch_add_relaxed(1);
  read_once();
  const std::size_t i = heads_used.fetch_add_relaxed(1);
  if (i < pool_size) call_rcu(pool[i], [](rcu_head*) {});
  handled.fetch_add_relaxed(1);
}

/// Sends the signal to the process, without end; only threads that do not block it take it, and
/// those that just start take it before the first instruction of their function.
class signal_storm {
 public:
  signal_storm() {
    struct sigaction action {};
    action.sa_handler = handler;
    sigaction(storm_signal, &action, &old_);
    mask(SIG_BLOCK);
    sender_ = std::thread{[this] {
      while (!stop_.load_relaxed()) {
        kill(getpid(), storm_signal);
        platform::yield();
      }
    }};
  }
  ~signal_storm() {
    stop_.store_relaxed(true);
    sender_.join();
    signal(storm_signal, SIG_IGN);  // drops what is pending
    mask(SIG_UNBLOCK);
    sigaction(storm_signal, &old_, nullptr);
  }
  signal_storm(const signal_storm&) = delete;
  signal_storm& operator=(const signal_storm&) = delete;

  /// A thread that takes the signal from the beginning.
  static pthread_t exposed_thread(void* (*body)(void*)) {
    pthread_attr_t attributes;
    pthread_attr_init(&attributes);
    sigset_t none;
    sigemptyset(&none);
    pthread_attr_setsigmask_np(&attributes, &none);
    pthread_t thread;
    if (pthread_create(&thread, &attributes, body, nullptr) != 0) abort();
    pthread_attr_destroy(&attributes);
    return thread;
  }

 private:
  static void mask(int how) {
    sigset_t set;
    sigemptyset(&set);
    sigaddset(&set, storm_signal);
    pthread_sigmask(how, &set, nullptr);
  }

  atomic<bool> stop_{false};
  std::thread sender_;
  struct sigaction old_;
};

class rcu_signals : public testing::Test {
 protected:
  void SetUp() override {
    if (thread_sanitizer) GTEST_SKIP() << "ThreadSanitizer defers asynchronous signals";
    rcu_barrier();  // the worker runs before a handler calls call_rcu
    rcu_assign_pointer(shared, new checked_object);
    handled.store_relaxed(0);
    updater = start([this] {
      while (!stop.load_relaxed()) {
        checked_object* const old = rcu_exchange_pointer(shared, new checked_object);
        synchronize_rcu();
        delete old;
      }
    });
  }
  void TearDown() override {
    if (thread_sanitizer) return;
    stop.store_relaxed(true);
    updater.join();
    rcu_barrier();
    heads_used.store_relaxed(0);
    delete rcu_exchange_pointer(shared, nullptr);
  }

  atomic<bool> stop{false};
  kthread updater;
};

/// A thread of ASan's begins in its allocator, whose locks a handler there may need.
#define SKIP_IF_THREADS_BEGIN_IN_AN_ALLOCATOR() \
  if (address_sanitizer) GTEST_SKIP() << "AddressSanitizer's allocator takes no signals"

TEST_F(rcu_signals, on_the_first_and_last_instructions_of_threads) {
  SKIP_IF_THREADS_BEGIN_IN_AN_ALLOCATOR();
  const signal_storm storm;
  while (handled.load_relaxed() < 500) {
    pthread_t threads[4];
    for (pthread_t& t : threads) {
      t = signal_storm::exposed_thread([](void*) -> void* { return nullptr; });
    }
    for (const pthread_t t : threads) pthread_join(t, nullptr);
  }
}

TEST_F(rcu_signals, amid_the_first_sections_of_threads) {
  SKIP_IF_THREADS_BEGIN_IN_AN_ALLOCATOR();
  const signal_storm storm;
  while (handled.load_relaxed() < 500) {
    pthread_t threads[4];
    for (pthread_t& t : threads) {
      t = signal_storm::exposed_thread([](void*) -> void* {
        for (int n = 0; n < 20; ++n) read_once();
        return nullptr;
      });
    }
    for (const pthread_t t : threads) pthread_join(t, nullptr);
  }
}

TEST_F(rcu_signals, between_any_two_instructions_of_sections) {
  const signal_storm storm;
  const pthread_t reader = signal_storm::exposed_thread([](void*) -> void* {
    while (handled.load_relaxed() < 500) read_once();
    return nullptr;
  });
  pthread_join(reader, nullptr);
  EXPECT_GT(handled_amid_section.load_relaxed(), 0u);
}

// --- the end of a thread ---

flag entered_late, leave_late;
constinit atomic<int> rounds{0};
pthread_key_t late_key;

/// Sets its key again as long as POSIX allows. In the last round the exit hooks have run.
void late_destructor(void* value) {
  const guard g{rcu};
  rounds.fetch_add_relaxed(1);
  if (platform::this_task().life.load_relaxed() != static_cast<std::uint32_t>(task_life::dead)) {
    pthread_setspecific(late_key, value);
    return;
  }
  entered_late.raise();
  leave_late.await();
}

TEST(rcu_thread_end, a_reader_after_the_exit_hooks_holds_up_a_grace_period) {
  ASSERT_EQ(pthread_key_create(&late_key, late_destructor), 0);
  std::thread thread{[] {
    { const guard g{rcu}; }
    pthread_setspecific(late_key, &late_key);
  }};
  entered_late.await();
  const rcu_cookie cookie = start_poll_synchronize_rcu();
  for (int i = 0; i < 1000; ++i) {
    platform::yield();
    ASSERT_FALSE(poll_state_synchronize_rcu(cookie));
  }
  leave_late.raise();
  thread.join();
  cond_synchronize_rcu(cookie);
  EXPECT_GT(rounds.load_relaxed(), 1);
  pthread_key_delete(late_key);
}

/// What a handler finds that interrupts the enlisting: a link that is claimed but perhaps not
/// pushed.
TEST(rcu_thread_end, a_reader_amid_the_enlisting_holds_up_a_grace_period) {
  flag entered, leave;
  kthread reader = start([&] {
    task_words& self = platform::this_task();
    task_words* const link = self.rcu_next.load_relaxed();
    ASSERT_EQ(link, nullptr);
    self.rcu_next.store_relaxed(reinterpret_cast<task_words*>(std::uintptr_t{1}));
    rcu_read_lock();
    rcu_read_lock();
    entered.raise();
    leave.await();
    rcu_read_unlock();
    rcu_read_unlock();
    EXPECT_FALSE(rcu_read_lock_held());
    EXPECT_EQ(self.rcu.load_relaxed(), 0u);
    self.rcu_next.store_relaxed(link);
  });
  entered.await();
  const rcu_cookie cookie = start_poll_synchronize_rcu();
  for (int i = 0; i < 1000; ++i) {
    platform::yield();
    ASSERT_FALSE(poll_state_synchronize_rcu(cookie));
  }
  leave.raise();
  reader.join();
  cond_synchronize_rcu(cookie);
}

// --- the worker ---

/// Who queues a callback cannot start the worker while another holds the lock for that. The holder
/// here has given up on a reader, and is about to leave what is queued.
TEST(rcu_worker, is_started_by_the_holder_of_its_lock_if_another_could_not) {
  static atomic<int> ran{0};
  ran.store_relaxed(0);
  const auto count = [](rcu_head*) { ran.fetch_add_release(1); };
  rcu_head early;
  rcu_head late;
  shutdown();
  held_reader reader;
  preempt_disable();
  call_rcu(early, count);  // starts no worker
  preempt_enable();
  const rcu_cookie idle = get_state_synchronize_rcu();
  kthread holder = start([] { shutdown(); });
  wait_until([&] { return get_state_synchronize_rcu() != idle; });
  call_rcu(late, count);
  holder.join();
  reader.leave();
  const deadline until = platform::now() + std::chrono::seconds{10};
  while (ran.load_acquire() != 2 && platform::now() < until) platform::yield();
  EXPECT_EQ(ran.load_acquire(), 2) << "nobody runs them";
  rcu_barrier();
}

// --- fork ---

/// Runs `body`, which returns an exit status, in a child process, and returns what became of it.
template <class Body>
int status_of_child(Body body) {
  const pid_t child = fork();
  if (child == 0) {
    alarm(60);
    _exit(body());
  }
  int status = -1;
  waitpid(child, &status, 0);
  return WIFEXITED(status) ? WEXITSTATUS(status) : 256 + WTERMSIG(status);
}

/// 0 if all of RCU works here.
int try_everything() {
  static int ran = 0;
  rcu_head head;
  { const guard g{rcu}; }
  synchronize_rcu();
  call_rcu(head, [](rcu_head*) { ++ran; });
  rcu_barrier();
  if (ran != 1) return 1;
  kthread other = start([] {
    { const guard g{rcu}; }
    synchronize_rcu_expedited();
  });
  other.join();
  held_reader reader;
  const rcu_cookie cookie = start_poll_synchronize_rcu();
  for (int i = 0; i < 100; ++i) {
    platform::yield();
    if (poll_state_synchronize_rcu(cookie)) return 2;
  }
  reader.leave();
  cond_synchronize_rcu(cookie);
  shutdown();
  return outstanding() == 0 ? 0 : 3;
}

class rcu_fork : public testing::Test {
 protected:
  void SetUp() override {
    if (thread_sanitizer) GTEST_SKIP() << "ThreadSanitizer allows no threads after such a fork";
  }
};

TEST_F(rcu_fork, the_child_of_a_quiet_process_works) {
  synchronize_rcu();
  EXPECT_EQ(status_of_child(try_everything), 0);
  rcu_barrier();
  EXPECT_EQ(status_of_child(try_everything), 0);
}

TEST_F(rcu_fork, readers_of_the_parent_are_not_in_the_child) {
  held_reader reader;
  EXPECT_EQ(status_of_child(try_everything), 0);
}

TEST_F(rcu_fork, a_grace_period_of_the_parent_does_not_pass_in_the_child) {
  held_reader reader;
  const rcu_cookie idle = get_state_synchronize_rcu();
  kthread updater = start([] { synchronize_rcu(); });
  wait_until([&] { return get_state_synchronize_rcu() != idle; });
  EXPECT_EQ(status_of_child([&] {
              if (poll_state_synchronize_rcu(idle)) return 10;
              synchronize_rcu();
              if (!poll_state_synchronize_rcu(idle)) return 11;
              return try_everything();
            }),
            0);
  reader.leave();
  updater.join();
}

TEST_F(rcu_fork, queued_callbacks_run_in_both) {
  static atomic<int> ran{0};
  held_reader reader;
  std::vector<rcu_head> heads(100);
  for (rcu_head& head : heads) call_rcu(head, [](rcu_head*) { ran.fetch_add_relaxed(1); });
  // Somebody waits for them: it is not in the child, nor is the memory its wait lies in.
  kthread waiter = start([] { rcu_barrier(); });
  EXPECT_EQ(status_of_child([] {
              rcu_barrier();
              if (ran.load_relaxed() != 100) return 10;
              return try_everything();
            }),
            0);
  EXPECT_EQ(ran.load_relaxed(), 0);
  reader.leave();
  waiter.join();
  rcu_barrier();
  EXPECT_EQ(ran.load_relaxed(), 100);
}

TEST_F(rcu_fork, inside_a_reader_is_reported_and_goes_on) {
  report_recorder reports;
  rcu_read_lock();
  EXPECT_EQ(status_of_child([] {
              if (!rcu_read_lock_held()) return 10;
              kthread updater = start([] { synchronize_rcu(); });
              const rcu_cookie cookie = get_state_synchronize_rcu();
              for (int i = 0; i < 100; ++i) platform::yield();
              if (poll_state_synchronize_rcu(cookie)) return 11;
              rcu_read_unlock();
              updater.join();
              return try_everything();
            }),
            0);
  rcu_read_unlock();
  EXPECT_TRUE(reports.took(report_kind::rcu_misuse, "forks in an RCU read-side critical section!"));
  EXPECT_EQ(reports.pending(), 0u);
  synchronize_rcu();
}

TEST_F(rcu_fork, in_a_callback) {
  static int status = -1;
  rcu_head head;
  call_rcu(head, [](rcu_head*) {
    status = status_of_child([] {
      { const guard g{rcu}; }
      static rcu_head another;
      call_rcu(another, [](rcu_head*) {});
      return in_serving_softirq() ? 0 : 10;
    });
  });
  rcu_barrier();
  EXPECT_EQ(status, 0);
}

/// The child's callback is between others that the parent's worker had taken.
TEST_F(rcu_fork, in_a_callback_keeps_the_counts) {
  static pid_t child = -1;
  std::vector<rcu_head> heads(4);
  {
    held_reader reader;
    call_rcu(heads[0], [](rcu_head*) {});
    call_rcu(heads[1], [](rcu_head*) {});
    call_rcu(heads[2], [](rcu_head*) {
      child = fork();
      if (child != 0) return;
      alarm(60);
      static rcu_head last;
      call_rcu(last, [](rcu_head*) { _exit(outstanding() == 1 ? 0 : 1); });
    });
    call_rcu(heads[3], [](rcu_head*) {});
  }
  rcu_barrier();
  int status = -1;
  ASSERT_EQ(waitpid(child, &status, 0), child);
  EXPECT_TRUE(WIFEXITED(status) && WEXITSTATUS(status) == 0) << status;
  EXPECT_EQ(outstanding(), 0u);
}

/// The parent gives up on readers a second after it began to shut down; the child has no such hurry.
TEST_F(rcu_fork, in_a_callback_of_a_shutdown_leaves_the_child_a_worker) {
  constexpr int ran = 7;
  static pid_t child = -1;
  rcu_head head;
  {
    held_reader reader;
    call_rcu(head, [](rcu_head*) {
      child = fork();
      if (child != 0) return;
      alarm(60);
      static rcu_head last;
      static flag reads;
      std::thread{[] {
        const guard g{rcu};
        reads.raise();
        atomic<std::uint32_t> never{0};
        platform::park(never, 0, platform::now() + std::chrono::milliseconds{1200});
      }}.detach();
      reads.await();
      // By the thread that forked. If it gave up, the child's exit would run it on another.
      call_rcu(last, [](rcu_head*) { _exit(gettid() == getpid() ? ran : 1); });
    });
    kthread leaver = start([&] {
      // Amid the shutdown, which nobody can see begin. If it begins later, less is tested.
      atomic<std::uint32_t> never{0};
      platform::park(never, 0, platform::now() + std::chrono::milliseconds{50});
      reader.leave();
    });
    shutdown();
    leaver.join();
  }
  rcu_barrier();
  int status = -1;
  ASSERT_EQ(waitpid(child, &status, 0), child);
  EXPECT_TRUE(WIFEXITED(status) && WEXITSTATUS(status) == ran) << status;
}

TEST_F(rcu_fork, amid_everything) {
  if (address_sanitizer) GTEST_SKIP() << "its allocator may be locked for ever in the child";
  atomic<bool> stop{false};
  const auto busy = [&] {
    while (!stop.load_relaxed()) {
      { const guard g{rcu}; }
      delete_rcu<&checked_object::rcu>(new checked_object);
      synchronize_rcu();
      std::thread{[] { const guard g{rcu}; }}.join();
    }
  };
  kthread first = start(busy), second = start(busy);
  kthread third = start([&] {
    while (!stop.load_relaxed()) rcu_barrier();
  });
  for (int i = 0; i < 50; ++i) ASSERT_EQ(status_of_child(try_everything), 0) << "fork " << i;
  stop.store_relaxed(true);
  first.join();
  second.join();
  third.join();
  rcu_barrier();
  EXPECT_EQ(outstanding(), 0u);
}

// --- dlclose ---

TEST(rcu_unload, code_of_callbacks_may_go_after_a_barrier) {
  for (int round = 1; round <= 20; ++round) {
    void* const module = dlopen(INTERLOCK_TEST_MODULE_DIR "/rcu_plugin.so", RTLD_NOW | RTLD_LOCAL);
    ASSERT_NE(module, nullptr) << dlerror();
    const auto queue =
        reinterpret_cast<void (*)(atomic<int>*, int)>(dlsym(module, "rcu_plugin_queue"));
    ASSERT_NE(queue, nullptr);
    atomic<int> count{0};
    queue(&count, 500);
    rcu_barrier();
    EXPECT_EQ(count.load_relaxed(), 500);
    dlclose(module);
  }
}

}  // namespace
}  // namespace interlock::test
