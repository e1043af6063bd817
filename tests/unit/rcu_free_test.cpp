// SPDX-License-Identifier: Apache-2.0

/// free_rcu: the task that gives blocks frees them itself, and nothing is forgotten if it does not.

#include <sys/wait.h>
#include <unistd.h>

#include <cstdlib>
#include <thread>

#include "interlock/bottom_half.hpp"
#include "interlock/dma_fence.hpp"
#include "interlock/shutdown.hpp"
#include "rcu_test_support.hpp"
#include "support/report_recorder.hpp"

namespace interlock::test {
namespace {

struct block {
  char before[24];
  rcu_head rcu;
};

void give(int count) {
  for (int i = 0; i < count; ++i) {
    auto* const b = static_cast<block*>(std::malloc(sizeof(block)));
    free_rcu(b->rcu, b);
  }
}

std::uint64_t outstanding() {
  const rcu_statistics s = rcu_get_statistics();
  return s.callbacks_queued - s.callbacks_invoked;
}
std::uint64_t freed() { return rcu_get_statistics().callbacks_invoked; }

/// After so many calls a task surely keeps blocks itself.
constexpr int warm_up = 1000;

/// The worker cannot do anything while it lives.
class busy_worker {
 public:
  busy_worker() {
    rcu_barrier();
    call_rcu(own_.head, [](rcu_head* head) {
      auto* const self = reinterpret_cast<callback*>(head);
      self->running.raise();
      self->leave.await();
    });
    own_.running.await();
  }
  ~busy_worker() {
    own_.leave.raise();
    rcu_barrier();
  }
  busy_worker(const busy_worker&) = delete;
  busy_worker& operator=(const busy_worker&) = delete;

 private:
  struct callback {
    rcu_head head;
    flag running, leave;
  } own_;
};

TEST(rcu_free, a_task_frees_what_it_gave_itself) {
  give(warm_up);
  rcu_barrier();
  const busy_worker nobody_else;
  const std::uint64_t before = freed();
  give(20'000);
  EXPECT_GE(freed() - before, 10'000u);
  EXPECT_LE(outstanding(), 10'000u);
}

TEST(rcu_free, frees_nothing_that_a_reader_may_see) {
  give(warm_up);
  rcu_barrier();
  held_reader reader;
  const std::uint64_t before = freed();
  give(5000);
  EXPECT_EQ(freed(), before);
  reader.leave();
  rcu_barrier();
  EXPECT_EQ(freed(), before + 5000);
  EXPECT_EQ(outstanding(), 0u);
}

/// Its own section included: what it gives inside waits until it has left.
TEST(rcu_free, inside_a_reader_waits_for_that_reader) {
  give(warm_up);
  rcu_barrier();
  const std::uint64_t before = freed();
  {
    const guard g{rcu};
    give(5000);
    EXPECT_EQ(freed(), before);
  }
  rcu_barrier();
  EXPECT_EQ(freed(), before + 5000);
}

TEST(rcu_free, what_a_task_keeps_that_gives_no_more_is_freed) {
  flag given, leave;
  kthread giver = start([&] {
    give(warm_up);
    given.raise();
    leave.await();
  });
  given.await();
  wait_until([] { return outstanding() == 0; });
  leave.raise();
  giver.join();
}

TEST(rcu_free, what_a_task_keeps_that_ends_is_freed) {
  for (int i = 0; i < 20; ++i) start([] { give(warm_up); }).join();
  wait_until([] { return outstanding() == 0; });
}

TEST(rcu_free, a_barrier_waits_for_what_other_tasks_keep) {
  held_reader reader;
  flag given[3], leave;
  kthread givers[3];
  for (std::size_t i = 0; i < 3; ++i) {
    givers[i] = start([&, i] {
      give(warm_up);
      given[i].raise();
      leave.await();
      give(warm_up);
    });
    given[i].await();
  }
  EXPECT_EQ(outstanding(), 3u * warm_up);
  kthread waiter = start([] {
    rcu_barrier();
    EXPECT_EQ(outstanding(), 0u);
  });
  reader.leave();
  waiter.join();
  leave.raise();
  for (kthread& t : givers) t.join();
  rcu_barrier();
  EXPECT_EQ(outstanding(), 0u);
}

/// Barriers take blocks out of rings whose owners go on giving, and the worker does when they pause.
TEST(rcu_free, tasks_give_while_others_take) {
  atomic<bool> stop{false};
  atomic<std::uint64_t> given{0};
  kthread givers[3];
  const std::uint64_t before = freed();
  for (kthread& t : givers) {
    t = start([&] {
      std::uint64_t count = 0;
      while (!stop.load_relaxed()) {
        give(700);
        count += 700;
        if (count % 4900 == 0) platform::yield();
      }
      given.fetch_add_relaxed(count);
    });
  }
  for (int i = 0; i < 200; ++i) rcu_barrier();
  stop.store_relaxed(true);
  for (kthread& t : givers) t.join();
  rcu_barrier();
  EXPECT_EQ(outstanding(), 0u);
  EXPECT_EQ(freed() - before, given.load_relaxed());
}

TEST(rcu_free, in_contexts_that_may_not_free_nothing_is_freed_there) {
  give(warm_up);
  rcu_barrier();
  const busy_worker nobody_else;
  give(warm_up);
  const std::uint64_t before = freed();
  {
    local_bh_disable();
    give(warm_up);
    local_bh_enable();
    preempt_disable();
    give(warm_up);
    preempt_enable();
    const bool cookie = dma_fence_begin_signalling();
    give(warm_up);
    dma_fence_end_signalling(cookie);
  }
  EXPECT_EQ(freed(), before);
}

TEST(rcu_free, a_shutdown_frees_what_is_kept) {
  flag given, leave;
  kthread giver = start([&] {
    give(warm_up);
    given.raise();
    leave.await();
    give(warm_up);
  });
  given.await();
  give(warm_up);
  shutdown();
  EXPECT_EQ(outstanding(), 0u);
  leave.raise();
  giver.join();
  give(warm_up);
  rcu_barrier();
  EXPECT_EQ(outstanding(), 0u);
}

TEST(rcu_free, the_same_block_twice_is_reported) {
  report_recorder reports;
  give(warm_up);
  {
    held_reader reader;
    auto* const b = static_cast<block*>(std::malloc(sizeof(block)));
    free_rcu(b->rcu, b);
    free_rcu(b->rcu, b);
    reader.leave();
  }
  rcu_barrier();
  EXPECT_TRUE(reports.took(report_kind::rcu_misuse, "call_rcu(): Double-freed CB 0x"));
  EXPECT_EQ(reports.pending(), 0u);
  EXPECT_EQ(outstanding(), 0u);
}

TEST(rcu_free, the_child_of_a_fork_frees_what_all_had_kept) {
  if (thread_sanitizer) GTEST_SKIP() << "ThreadSanitizer allows no threads after such a fork";
  held_reader reader;
  flag given, leave;
  kthread giver = start([&] {
    give(warm_up);
    given.raise();
    leave.await();
  });
  given.await();
  give(warm_up);
  const std::uint64_t before = outstanding();
  EXPECT_EQ(before, 2u * warm_up);
  const pid_t child = fork();
  if (child == 0) {
    alarm(60);
    if (outstanding() != before) _exit(1);
    give(warm_up);
    rcu_barrier();
    if (outstanding() != 0) _exit(2);
    const std::uint64_t so_far = freed();
    give(20'000);  // its ring is still its own
    if (freed() - so_far < 10'000) _exit(3);
    std::thread{[] { give(warm_up); }}.join();
    shutdown();
    _exit(outstanding() == 0 ? 0 : 4);
  }
  int status = -1;
  waitpid(child, &status, 0);
  EXPECT_TRUE(WIFEXITED(status) && WEXITSTATUS(status) == 0) << status;
  leave.raise();
  giver.join();
  EXPECT_EQ(outstanding(), before);
  reader.leave();
  rcu_barrier();
  EXPECT_EQ(outstanding(), 0u);
}

/// Another gives and frees all the time; only its ring is taken over, wherever it was.
TEST(rcu_free, the_child_of_a_fork_amid_all_has_nothing_left) {
  if (thread_sanitizer) GTEST_SKIP() << "ThreadSanitizer allows no threads after such a fork";
  if (address_sanitizer) GTEST_SKIP() << "its allocator may be locked for ever in the child";
  atomic<bool> stop{false};
  kthread giver = start([&] {
    while (!stop.load_relaxed()) give(100);
  });
  for (int i = 0; i < 30; ++i) {
    give(50);
    const pid_t child = fork();
    if (child == 0) {
      alarm(60);
      rcu_barrier();
      _exit(outstanding() == 0 ? 0 : 1);
    }
    int status = -1;
    waitpid(child, &status, 0);
    ASSERT_TRUE(WIFEXITED(status) && WEXITSTATUS(status) == 0) << status;
  }
  stop.store_relaxed(true);
  giver.join();
  rcu_barrier();
}

/// In programs of their own, since options are read once.
class rcu_free_option : public testing::Test {
 protected:
  template <class Body>
  static void in_child(const char* options, Body body) {
    const options_for_children set{options};
    EXPECT_EXIT(
        {
          body();
          _exit(testing::Test::HasFailure() ? 1 : 0);
        },
        testing::ExitedWithCode(0), "");
  }
};

TEST_F(rcu_free_option, the_backlog_counts_what_tasks_keep) {
  in_child("rcu_backlog_max=500", [] {
    give(100);
    rcu_barrier();
    held_reader reader;
    kthread giver = start([] { give(5000); });
    wait_until([] { return rcu_get_statistics().callers_pushed_back != 0; });
    for (int i = 0; i < 1000; ++i) platform::yield();
    EXPECT_LE(outstanding(), 700u);
    reader.leave();
    giver.join();
    rcu_barrier();
    EXPECT_EQ(outstanding(), 0u);
  });
}

TEST_F(rcu_free_option, no_batches_or_small_ones) {
  for (const char* options : {"rcu_free_batch=0", "rcu_free_batch=-1", "rcu_free_batch=2",
                              "rcu_free_batch=5", "membarrier=0"}) {
    in_child(options, [] {
      kthread other = start([] { give(10'000); });
      give(10'000);
      other.join();
      wait_until([] { return outstanding() == 0; });
      EXPECT_EQ(freed(), 20'000u);
    });
  }
}

}  // namespace
}  // namespace interlock::test
