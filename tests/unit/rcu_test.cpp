// SPDX-License-Identifier: Apache-2.0

/// RCU's promises to readers, updaters and callbacks.

#include <sys/syscall.h>

#include <algorithm>
#include <cstddef>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <memory>
#include <optional>
#include <string>

#include "interlock/bottom_half.hpp"
#include "interlock/shutdown.hpp"
#include "rcu_test_support.hpp"
#include "support/rounds.hpp"

namespace interlock::test {
namespace {

static_assert(sizeof(rcu_head) == 16 && offsetof(rcu_head, next) == 0 &&
              offsetof(rcu_head, func) == 8);
static_assert(std::is_standard_layout_v<rcu_head> && std::is_trivial_v<rcu_head>);
static_assert(sizeof(rcu_pointer<int>) == sizeof(int*));

std::uint64_t outstanding() {
  const rcu_statistics s = rcu_get_statistics();
  return s.callbacks_queued - s.callbacks_invoked;
}

// --- readers ---

TEST(rcu_reader, nests) {
  EXPECT_FALSE(rcu_read_lock_held());
  rcu_read_lock();
  {
    const guard inner{rcu};
    rcu_read_lock();
    rcu_read_unlock();
    EXPECT_TRUE(rcu_read_lock_held());
  }
  EXPECT_TRUE(rcu_read_lock_held());
  EXPECT_FALSE(sleep_allowed());
  rcu_read_unlock();
  EXPECT_FALSE(rcu_read_lock_held());
  EXPECT_TRUE(sleep_allowed());
}

TEST(rcu_reader, holds_up_a_grace_period_until_it_leaves) {
  held_reader reader;
  const rcu_cookie cookie = get_state_synchronize_rcu();
  atomic<bool> left{false};
  kthread updater = start([&] {
    synchronize_rcu();
    EXPECT_TRUE(left.load_acquire());
    EXPECT_TRUE(poll_state_synchronize_rcu(cookie));
  });
  // Under way, and it stays so for as long as the reader does.
  wait_until([&] { return get_state_synchronize_rcu() != cookie; });
  for (int i = 0; i < rounds(1000); ++i) {
    platform::yield();
    ASSERT_FALSE(poll_state_synchronize_rcu(cookie));
  }
  left.store_release(true);
  reader.leave();
  updater.join();
}

TEST(rcu_reader, of_an_inner_section_leaves_with_the_outermost) {
  flag entered, inner_left, leave;
  kthread reader = start([&] {
    rcu_read_lock();
    rcu_read_lock();
    entered.raise();
    rcu_read_unlock();
    inner_left.raise();
    leave.await();
    rcu_read_unlock();
  });
  entered.await();
  inner_left.await();
  const rcu_cookie cookie = start_poll_synchronize_rcu();
  for (int i = 0; i < rounds(1000); ++i) {
    platform::yield();
    ASSERT_FALSE(poll_state_synchronize_rcu(cookie));
  }
  leave.raise();
  reader.join();
  synchronize_rcu();
  EXPECT_TRUE(poll_state_synchronize_rcu(cookie));
}

TEST(rcu_reader, that_loops_does_not_starve_a_grace_period) {
  atomic<bool> stop{false};
  flag running;
  kthread reader = start([&] {
    for (int n = 0; n < endless && !stop.load_relaxed(); ++n) {
      rcu_read_lock();
      running.raise();
      rcu_read_unlock();
    }
  });
  running.await();
  for (int i = 0; i < rounds(200); ++i) synchronize_rcu();
  for (int i = 0; i < rounds(200); ++i) synchronize_rcu_expedited();
  stop.store_relaxed(true);
  reader.join();
}

/// Two readers, of whom one is inside at any time.
TEST(rcu_reader, that_overlaps_with_others_does_not_starve_a_grace_period) {
  atomic<bool> stop{false};
  atomic<std::uint32_t> inside{0};
  const auto body = [&] {
    while (!stop.load_relaxed()) {
      rcu_read_lock();
      inside.fetch_add_seq_cst(1);
      while (inside.load_seq_cst() < 2 && !stop.load_relaxed()) platform::yield();
      rcu_read_unlock();
      inside.fetch_sub_seq_cst(1);
    }
  };
  kthread first = start(body), second = start(body);
  for (int i = 0; i < rounds(50); ++i) synchronize_rcu();
  stop.store_relaxed(true);
  first.join();
  second.join();
}

/// A grace period waits for sections that began before it, however soon the next one follows: for
/// two of a thread, if it had read the number just before it changed. (Without numbers it would
/// have to meet the thread in the moment between two sections.)
TEST(rcu_reader, that_enters_later_does_not_hold_up_a_grace_period) {
  atomic<bool> stop{false};
  atomic<std::uint64_t> sections{0};
  kthread reader = start([&] {
    for (int n = 0; n < endless && !stop.load_relaxed(); ++n) {
      const guard g{rcu};
      sections.fetch_add_relaxed(1);
      for (int i = 0; i < rounds(1000) && !stop.load_relaxed(); ++i) platform::yield();
    }
  });
  wait_until([&] { return sections.load_relaxed() != 0; });
  std::uint64_t most = 0;
  for (int i = 0; i < rounds(20); ++i) {
    const std::uint64_t before = sections.load_relaxed();
    synchronize_rcu();
    most = std::max(most, sections.load_relaxed() - before);
  }
  EXPECT_LE(most, 10u);  // naps of the updater included
  stop.store_relaxed(true);
  reader.join();
}

TEST(rcu_reader, threads_come_and_go_during_grace_periods) {
  atomic<bool> stop{false};
  kthread updater = start([&] {
    for (int n = 0; n < endless && !stop.load_relaxed(); ++n) synchronize_rcu();
  });
  for (int round = 0; round < rounds(100); ++round) {
    kthread readers[4];
    for (kthread& t : readers) {
      t = start([] {
        for (int i = 0; i < rounds(100); ++i) const guard g{rcu};
      });
    }
    for (kthread& t : readers) t.join();
  }
  stop.store_relaxed(true);
  updater.join();
}

/// Readers follow a pointer whose object updaters replace and free in every way.
TEST(rcu_reader, never_sees_what_was_freed) {
  rcu_pointer<checked_object> shared{new checked_object};
  atomic<bool> stop{false};
  const auto read = [&] {
    for (int n = 0; n < endless && !stop.load_relaxed(); ++n) {
      const guard g{rcu};
      const checked_object* const seen = rcu_dereference(shared);
      for (int i = 0; i < 8; ++i) ASSERT_EQ(seen->state, checked_object::alive);
    }
  };
  kthread first = start(read), second = start(read);
  const auto update = [&](int seed) {
    for (int i = 0; i < rounds(2000); ++i) {
      checked_object* const old = rcu_exchange_pointer(shared, new checked_object);
      switch ((i + seed) % 3) {
        case 0:
          synchronize_rcu();
          delete old;
          break;
        case 1: delete_rcu<&checked_object::rcu>(old); break;
        default: cond_synchronize_rcu(start_poll_synchronize_rcu()); delete old;
      }
    }
  };
  kthread updater = start([&] { update(1); });
  update(0);
  updater.join();
  stop.store_relaxed(true);
  first.join();
  second.join();
  rcu_barrier();
  delete rcu_access_pointer(shared);
}

// --- polled grace periods ---

TEST(rcu_poll, a_cookie_passes_with_the_next_grace_period_and_starts_none) {
  rcu_barrier();
  const rcu_cookie cookie = get_state_synchronize_rcu();
  const std::uint64_t before = rcu_get_statistics().grace_periods;
  EXPECT_FALSE(poll_state_synchronize_rcu(cookie));
  for (int i = 0; i < rounds(1000); ++i) platform::yield();
  EXPECT_FALSE(poll_state_synchronize_rcu(cookie));
  EXPECT_EQ(rcu_get_statistics().grace_periods, before);
  synchronize_rcu();
  EXPECT_TRUE(poll_state_synchronize_rcu(cookie));
  EXPECT_FALSE(poll_state_synchronize_rcu(get_state_synchronize_rcu()));
}

TEST(rcu_poll, a_started_one_passes_by_itself) {
  const rcu_cookie cookie = start_poll_synchronize_rcu();
  wait_until([&] { return poll_state_synchronize_rcu(cookie); });
}

TEST(rcu_poll, a_default_cookie_has_passed) {
  EXPECT_TRUE(poll_state_synchronize_rcu(rcu_cookie{}));
}

TEST(rcu_poll, a_wait_for_a_passed_cookie_needs_no_grace_period) {
  const rcu_cookie cookie = get_state_synchronize_rcu();
  cond_synchronize_rcu(cookie);
  EXPECT_TRUE(poll_state_synchronize_rcu(cookie));
  const std::uint64_t before = rcu_get_statistics().grace_periods;
  cond_synchronize_rcu(cookie);
  EXPECT_EQ(rcu_get_statistics().grace_periods, before);
}

TEST(rcu_poll, a_grace_period_under_way_does_not_count) {
  held_reader early;
  const rcu_cookie idle = get_state_synchronize_rcu();
  kthread updater = start([] { synchronize_rcu(); });
  wait_until([&] { return get_state_synchronize_rcu() != idle; });
  const rcu_cookie amid = get_state_synchronize_rcu();
  early.leave();
  updater.join();
  EXPECT_TRUE(poll_state_synchronize_rcu(idle));
  EXPECT_FALSE(poll_state_synchronize_rcu(amid));
  synchronize_rcu();
  EXPECT_TRUE(poll_state_synchronize_rcu(amid));
}

TEST(rcu_poll, many_updaters_share_one_grace_period) {
  constexpr int updaters = 8;
  rcu_barrier();
  held_reader reader;
  const rcu_cookie idle = get_state_synchronize_rcu();
  const std::uint64_t before = rcu_get_statistics().grace_periods;
  kthread leader = start([] { synchronize_rcu(); });
  wait_until([&] { return get_state_synchronize_rcu() != idle; });
  atomic<int> asked{0};
  kthread others[updaters];
  for (kthread& t : others) {
    t = start([&] {
      const rcu_cookie own = get_state_synchronize_rcu();
      asked.fetch_add_relaxed(1);
      cond_synchronize_rcu(own);
    });
  }
  wait_until([&] { return asked.load_relaxed() == updaters; });
  reader.leave();
  leader.join();
  for (kthread& t : others) t.join();
  EXPECT_EQ(rcu_get_statistics().grace_periods - before, 2u)
      << "the leader's, and one for all who asked during it";
}

// --- callbacks ---

struct numbered {
  rcu_head rcu;
  int number;
  std::vector<int>* record;
};

numbered& numbered_of(rcu_head* head) {
  return *reinterpret_cast<numbered*>(reinterpret_cast<char*>(head) - offsetof(numbered, rcu));
}

TEST(rcu_callback, those_of_one_task_run_in_order) {
  std::vector<int> record;
  constexpr int count = rounds(1000, 10);
  std::vector<numbered> heads(count);
  for (int i = 0; i < count; ++i) {
    numbered& n = heads[static_cast<std::size_t>(i)];
    n.number = i;
    n.record = &record;
    call_rcu(n.rcu, [](rcu_head* head) {
      const numbered& self = numbered_of(head);
      self.record->push_back(self.number);
    });
  }
  rcu_barrier();
  ASSERT_EQ(record.size(), heads.size());
  for (int i = 0; i < count; ++i) ASSERT_EQ(record[static_cast<std::size_t>(i)], i);
}

struct counted {
  rcu_head rcu;
  atomic<int>* count;
  static void count_it(rcu_head* head) {
    reinterpret_cast<counted*>(head)->count->fetch_add_relaxed(1);
  }
};

TEST(rcu_callback, a_barrier_waits_for_those_of_all_threads) {
  for (int round = 0; round < rounds(50); ++round) {
    atomic<int> count{0};
    std::vector<counted> heads(40);
    kthread threads[4];
    for (std::size_t t = 0; t < 4; ++t) {
      threads[t] = start([&, t] {
        for (std::size_t i = 0; i < 10; ++i) {
          counted& c = heads[t * 10 + i];
          c.count = &count;
          call_rcu(c.rcu, counted::count_it);
        }
      });
    }
    for (kthread& t : threads) t.join();
    rcu_barrier();
    ASSERT_EQ(count.load_relaxed(), 40);
  }
  EXPECT_EQ(outstanding(), 0u);
}

TEST(rcu_callback, waits_for_a_reader) {
  held_reader reader;
  atomic<int> count{0};
  counted c{{}, &count};
  call_rcu(c.rcu, counted::count_it);
  for (int i = 0; i < rounds(1000); ++i) {
    platform::yield();
    ASSERT_EQ(count.load_relaxed(), 0);
  }
  reader.leave();
  rcu_barrier();
  EXPECT_EQ(count.load_relaxed(), 1);
}

TEST(rcu_callback, runs_in_softirq_context_on_another_thread) {
  static std::uint32_t seen_count = 0;
  static bool could_sleep = true, serving = false;
  static std::uint32_t thread_id = 0;
  rcu_head head;
  call_rcu(head, [](rcu_head*) {
    seen_count = preempt_count();
    could_sleep = sleep_allowed();
    serving = in_serving_softirq();
    thread_id = platform::this_task().id.load_relaxed();
  });
  rcu_barrier();
  EXPECT_EQ(seen_count, softirq_offset);
  EXPECT_FALSE(could_sleep);
  EXPECT_TRUE(serving);
  EXPECT_NE(thread_id, platform::this_task().id.load_relaxed());
}

TEST(rcu_callback, may_queue_others) {
  struct chain {
    rcu_head rcu;
    int left;
    static void next(rcu_head* head) {
      auto* const self = reinterpret_cast<chain*>(head);
      if (--self->left > 0) call_rcu(self->rcu, next);
    }
  };
  chain c{{}, 3};
  call_rcu(c.rcu, chain::next);
  for (int i = 0; i < 3; ++i) rcu_barrier();
  EXPECT_EQ(c.left, 0);
}

TEST(rcu_callback, unlock_runs_none) {
  atomic<int> count{0};
  counted c{{}, &count};
  rcu_read_lock();
  const std::uint32_t id = platform::this_task().id.load_relaxed();
  static std::uint32_t ran_on = 0;
  call_rcu(c.rcu, [](rcu_head* head) {
    ran_on = platform::this_task().id.load_relaxed();
    counted::count_it(head);
  });
  rcu_read_unlock();
  rcu_barrier();
  EXPECT_EQ(count.load_relaxed(), 1);
  EXPECT_NE(ran_on, id);
}

/// RCU's own thread as the kernel shows it; empty before it has started.
std::filesystem::path worker_in_proc() {
  for (const auto& thread : std::filesystem::directory_iterator{"/proc/self/task"}) {
    std::string name;
    std::ifstream{thread.path() / "comm"} >> name;
    if (name == "ilk-rcu") return thread.path();
  }
  return {};
}

/// In a futex(2) whose fourth argument, the deadline, is null. Nothing where the kernel does not
/// tell.
std::optional<bool> sleeps_without_deadline(const std::filesystem::path& thread) {
  std::ifstream file{thread / "syscall"};
  std::vector<std::string> words;
  for (std::string word; file >> word;) words.push_back(word);
  if (words.empty()) return std::nullopt;
  return words.size() > 4 && words[0] == std::to_string(SYS_futex) && words[4] == "0x0";
}

/// A worker that has nothing to do naps once, then sleeps until it is woken: for ever, if it is not.
TEST(rcu_callback, the_push_wakes_an_idle_worker) {
  if (thread_sanitizer) GTEST_SKIP() << "every park has a deadline there";
  atomic<int> count{0};
  for (int round = 1; round <= 20; ++round) {
    rcu_barrier();
    counted c{{}, &count};
    call_rcu(c.rcu, counted::count_it);
    ASSERT_TRUE(eventually([&] { return count.load_acquire() == round; }));
    const std::filesystem::path worker = worker_in_proc();
    ASSERT_FALSE(worker.empty());
    if (!sleeps_without_deadline(worker)) GTEST_SKIP() << "the kernel does not say who sleeps";
    ASSERT_TRUE(eventually([&] { return *sleeps_without_deadline(worker); }));
  }
}

TEST(rcu_free, frees_blocks_by_the_offset_of_their_head) {
  struct block {
    char before[4000];
    rcu_head rcu;
  };
  constexpr int count = rounds(100, 2);
  const std::uint64_t before = rcu_get_statistics().callbacks_invoked;
  for (int i = 0; i < count; ++i) {
    auto* const b = static_cast<block*>(std::malloc(sizeof(block)));
    free_rcu(b->rcu, b);
    auto* const h = static_cast<rcu_head*>(std::malloc(sizeof(rcu_head)));
    free_rcu(*h, h);
  }
  rcu_barrier();
  EXPECT_EQ(rcu_get_statistics().callbacks_invoked - before,
            2u * count);  // leaks are LeakSanitizer's
}

TEST(rcu_free, deletes_through_any_layout) {
  static int destroyed = 0;
  struct base {
    virtual ~base() { ++destroyed; }
    int some = 0;
  };
  struct derived final : base {
    std::unique_ptr<int> owned = std::make_unique<int>(1);
    rcu_head rcu;
  };
  delete_rcu<&derived::rcu>(new derived);
  rcu_barrier();
  EXPECT_EQ(destroyed, 1);
}

TEST(rcu_shutdown, runs_what_is_queued_and_works_again) {
  atomic<int> count{0};
  for (int round = 1; round <= 3; ++round) {
    counted c{{}, &count};
    call_rcu(c.rcu, counted::count_it);
    shutdown();
    ASSERT_EQ(count.load_relaxed(), round);
  }
  shutdown();
  counted c{{}, &count};
  call_rcu(c.rcu, counted::count_it);
  rcu_barrier();
  EXPECT_EQ(count.load_relaxed(), 4);
}

TEST(rcu_shutdown, does_not_wait_for_ever_for_a_reader) {
  atomic<int> count{0};
  counted c{{}, &count};
  {
    held_reader reader;
    call_rcu(c.rcu, counted::count_it);
    shutdown();
    EXPECT_EQ(count.load_relaxed(), 0);
  }
  rcu_barrier();
  EXPECT_EQ(count.load_relaxed(), 1);
}

}  // namespace
}  // namespace interlock::test
