// SPDX-License-Identifier: Apache-2.0

/// What exploring finds: each failing program beside its corrected twin.

#include "interlock/model/explore.hpp"

#include <gtest/gtest.h>

#include <algorithm>
#include <atomic>
#include <condition_variable>
#include <cstdlib>
#include <functional>
#include <memory>
#include <mutex>
#include <string>
#include <thread>

#include "interlock/interlock.hpp"
#include "interlock/model/gtest.hpp"
#include "interlock_platform/park.hpp"

namespace {

using namespace interlock;

bool says(const model::report& r, const char* what) {
  return r.text().find(what) != std::string::npos;
}

model::options on(unsigned cpus) {
  model::options o;
  o.cpus = cpus;
  return o;
}

TEST(explore, a_plain_counter_is_a_data_race) {
  const auto r = model::explore([] {
    int n = 0;
    std::thread a{[&] { ++n; }};
    std::thread b{[&] { ++n; }};
    a.join();
    b.join();
  });
  EXPECT_FALSE(r.passed());
  EXPECT_TRUE(says(r, "BUG: data-race:")) << r;
}

TEST(explore, a_mutex_makes_it_right_in_ninety_executions) {
  model::options o = on(4);
  o.strategy = model::strategy::exhaustive;
  const auto r = model::explore(o, [] {
    std::mutex lock;
    int n = 0;
    const auto twice = [&] {
      for (int i = 0; i < 2; ++i) {
        std::lock_guard g{lock};
        ++n;
      }
    };
    std::thread a{twice};
    std::thread b{twice};
    std::thread c{twice};
    a.join();
    b.join();
    c.join();
    if (n != 6) std::abort();
  });
  EXPECT_TRUE(r.passed()) << r;
  EXPECT_TRUE(r.complete());
  EXPECT_EQ(r.executions() - r.blocked(), 90u);
}

TEST(explore, a_task_that_never_calls_the_core_ends_without_it) {
  model::options o = on(2);
  o.strategy = model::strategy::exhaustive;
  const auto r = model::explore(o, [] {
    std::thread t{[] {}};
    t.join();
  });
  EXPECT_TRUE(r.passed()) << r;
  EXPECT_TRUE(r.complete());
  EXPECT_EQ(r.steps(), 3 * r.executions());  // two ends and a join
}

TEST(explore, a_lost_update_of_atomics_is_found) {
  const auto r = model::explore([] {
    std::atomic<int> n{0};
    const auto add = [&] { n.store(n.load() + 1); };
    std::thread a{add};
    std::thread b{add};
    a.join();
    b.join();
    if (n != 2) std::abort();
  });
  EXPECT_TRUE(says(r, "BUG: abort()")) << r;
}

TEST(explore, locks_in_two_orders_deadlock) {
  const auto r = model::explore([] {
    std::mutex a;
    std::mutex b;
    std::thread one{[&] {
      std::lock_guard g{a};
      std::lock_guard h{b};
    }};
    std::thread two{[&] {
      std::lock_guard g{b};
      std::lock_guard h{a};
    }};
    one.join();
    two.join();
  });
  EXPECT_TRUE(says(r, "BUG: deadlock")) << r;
}

TEST(explore, a_wait_without_a_predicate_loses_its_wake) {
  const auto wait = [](bool with_predicate) {
    return model::explore([=] {
      std::mutex lock;
      std::condition_variable ready;
      bool done = false;
      std::thread waker{[&] {
        std::lock_guard g{lock};
        done = true;
        ready.notify_one();
      }};
      std::unique_lock g{lock};
      if (with_predicate) {
        ready.wait(g, [&] { return done; });
      } else {
        ready.wait(g);
      }
      g.unlock();
      waker.join();
    });
  };
  const auto lost = wait(false);
  EXPECT_TRUE(says(lost, "BUG: deadlock")) << lost;
  const auto good = wait(true);
  EXPECT_TRUE(good.passed() && good.complete()) << good;
}

TEST(explore, a_plain_lock_in_a_task_and_its_handler_deadlocks) {
  const auto share = [](auto mode) {
    return model::explore([=] {
      const auto line = *make_irq_line({.name = "dma", .kind = irq_kind::asynchronous});
      spinlock lock;
      int shared = 0;
      const auto action = request_irq(*line, [&] {
                            guard g{no_mask, lock};
                            ++shared;
                            return irqreturn::handled;
                          }).value();
      kthread device = kthread_run("device", [&] {
                         raise_irq(*line);
                         return 0;
                       }).value();
      {
        guard g{mode, lock};
        ++shared;
      }
      (void)device.join();
    });
  };
  const auto bad = share(no_mask);
  EXPECT_FALSE(bad.passed());
  EXPECT_TRUE(says(bad, "BUG: ") || says(bad, "WARNING: inconsistent lock state")) << bad;
  const auto good = share(irqsave);
  EXPECT_TRUE(good.passed()) << good;
}

/// A line that is raised on its own CPU, where interrupts are on, is served by the task itself.
TEST(explore, a_handler_that_its_task_runs_is_shown_on_it) {
  const auto program = [](bool in_handler) {
    return model::explore([=] {
      const auto line = *make_irq_line({.name = "device", .kind = irq_kind::asynchronous});
      const auto action = request_irq(*line, [=] {
                            if (in_handler) std::abort();
                            return irqreturn::handled;
                          }).value();
      raise_irq(*line);
      local_bh_disable();
      std::abort();
    });
  };
  const auto handler = program(true);
  EXPECT_NE(handler.text().find("  main (hardirq): fails"), std::string::npos) << handler;
  const auto task = program(false);
  EXPECT_NE(task.text().find(" main: fails"), std::string::npos) << task;
}

TEST(explore, use_after_free_and_double_free_are_found) {
  const auto after = model::explore([] {
    int* const p = new int{1};
    std::thread reader{[=] { (void)*const_cast<volatile int*>(p); }};
    delete p;
    reader.join();
  });
  EXPECT_FALSE(after.passed());
  const auto twice = model::explore([] {
    auto* volatile const p = static_cast<int*>(std::malloc(sizeof(int)));
    std::free(p);
    std::free(p);
  });
  EXPECT_TRUE(says(twice, "BUG: double free")) << twice;
}

TEST(explore, a_failed_expectation_is_a_failure_with_a_trace) {
  const model::expectations here;
  const auto r = model::explore([] {
    std::atomic<int> n{0};
    std::thread other{[&] { n.store(1); }};
    EXPECT_EQ(n.load(), 0);
    other.join();
  });
  EXPECT_TRUE(says(r, "expectation failed")) << r;
  EXPECT_FALSE(r.token().empty());
}

TEST(explore, memory_from_before_is_put_back) {
  int captured = 0;
  static int global = 0;
  auto* const older = new int{0};
  const auto r = model::explore([&, older] {
    if (captured != 0 || global != 0 || *older != 0) std::abort();
    captured = global = *older = 1;
    std::atomic<int> n{0};
    std::thread a{[&] { n.fetch_add(1); }};
    std::thread b{[&] { n.fetch_add(2); }};
    a.join();
    b.join();
  });
  EXPECT_TRUE(r.passed()) << r;
  EXPECT_GT(r.executions(), 1u);
  EXPECT_EQ(captured + global + *older, 0);
  delete older;
}

TEST(explore, a_token_replays_the_failure) {
  const auto program = [] {
    std::atomic<int> n{0};
    std::thread a{[&] { n.fetch_add(1); }};
    std::thread b{[&] { n.store(5); }};
    a.join();
    b.join();
    if (n == 5) std::abort();
  };
  const auto found = model::explore(program);
  ASSERT_FALSE(found.passed());
  model::options again;
  again.replay = found.token().c_str();
  const auto replayed = model::explore(again, program);
  EXPECT_EQ(replayed.executions(), 1u);
  EXPECT_EQ(replayed.text(), found.text());
  again.replay = "2fusc.zz";
  EXPECT_TRUE(says(model::explore(again, program), "diverges"));
}

TEST(explore, a_sampled_failure_is_shortened) {
  model::options o = on(3);
  o.strategy = model::strategy::random;
  const auto r = model::explore(o, [] {
    std::atomic<int> n{0};
    std::atomic<int> noise{0};
    const auto add = [&] {
      for (int i = 0; i < 5; ++i) noise.fetch_add(1);
      n.store(n.load() + 1);
      for (int i = 0; i < 5; ++i) noise.fetch_add(1);
    };
    std::thread a{add};
    std::thread b{add};
    std::thread c{add};
    a.join();
    b.join();
    c.join();
    if (n != 3) std::abort();
  });
  ASSERT_FALSE(r.passed());
  // main, one that reads, the two others, the first again, main; and what starts them.
  const auto turns = std::count_if(r.token().begin() + 5, r.token().end(),
                                   [](char c) { return c >= 'a' && c <= 'z'; });
  EXPECT_LE(turns, 10) << r;
}

TEST(explore, the_environment_goes_before_the_options) {
  const auto counts = [] {
    model::options o;
    o.name = "counts";
    return model::explore(o, [] {
      std::atomic<int> n{0};
      std::thread a{[&] { n.fetch_add(1); }};
      std::thread b{[&] { n.fetch_add(1); }};
      a.join();
      b.join();
    });
  };
  const auto with = [&](const char* text) {
    setenv("INTERLOCK_EXPLORE", text, 1);
    auto r = counts();
    unsetenv("INTERLOCK_EXPLORE");
    return r;
  };
  EXPECT_EQ(with("strategy=random,executions=7,seed=3").executions(), 7u);
  EXPECT_EQ(with("only=another").executions(), 0u);
  EXPECT_TRUE(says(with("colour=red"), "INTERLOCK_EXPLORE: there is no key 'colour'"));
  EXPECT_TRUE(says(with("time=soon"), "time: 'soon' is not a time"));
  EXPECT_TRUE(says(with("cpus=9"), "cpus: '9' is not 1 to 8"));
  EXPECT_TRUE(says(with("replay=x"), "not a replay token"));
}

TEST(explore, expectations_outside_of_executions_are_the_tests) {
  testing::TestPartResultArray seen;
  {
    testing::ScopedFakeTestPartResultReporter reporter{
        testing::ScopedFakeTestPartResultReporter::INTERCEPT_ALL_THREADS, &seen};
    const model::expectations here;
    EXPECT_EQ(1, 2) << "outside";
  }
  ASSERT_EQ(seen.size(), 1);
  EXPECT_NE(std::string{seen.GetTestPartResult(0).message()}.find("outside"), std::string::npos);
}

TEST(explore, what_follows_a_wake_is_no_part_of_it) {
  // The sleeper may go on before the waker's next step, or after it.
  for (const int bad : {0, 1}) {
    model::options o;
    o.strategy = model::strategy::exhaustive;
    const auto r = model::explore(o, [=] {
      atomic<std::uint32_t> word{0};
      std::atomic<int> x{0};
      std::thread waker{[&] {
        word.store_release(1);
        (void)platform::unpark(word, 1);
        x.store(1);
      }};
      bool slept = false;
      while (word.load_acquire() == 0) {
        slept = platform::park(word, 0, no_deadline) == platform::park_result::woken;
      }
      if (slept && x.load() == bad) std::abort();
      waker.join();
    });
    EXPECT_TRUE(says(r, "BUG: abort()")) << "x == " << bad << '\n' << r;
  }
}

int table[4];

/// The first line of the race of two tasks on it.
template <class Where>
std::string race_on(Where&& where) {
  const auto r = model::explore([&] {
    int on_stack[2] = {};
    const auto on_heap = std::make_unique<int[]>(8);
    int* const at = where(on_stack, on_heap.get());
    std::thread other{[=] { *at = 1; }};
    *at = 2;
    other.join();
  });
  return r.text().substr(0, r.text().find('\n'));
}

TEST(explore, the_memory_of_a_race_is_named_alike_in_each_process) {
  const auto names = [](const std::string& line, const char* text) {
    return line.find(std::string{" of 4 bytes at "} + text) != std::string::npos;
  };
  int of_host[2] = {};
  std::string line = race_on([](int*, int*) { return &table[2]; });
  EXPECT_TRUE(names(line, "table+8 by ")) << line;
  line = race_on([](int*, int* on_heap) { return on_heap + 1; });
  EXPECT_TRUE(names(line, "heap+0x")) << line;
  line = race_on([](int* on_stack, int*) { return on_stack; });
  EXPECT_TRUE(names(line, "stack(main)+0x")) << line;
  line = race_on([&](int*, int*) { return of_host; });
  EXPECT_TRUE(names(line, "stack(host)+0x")) << line;
}

/// "file:line" of a stack's innermost function.
std::string innermost(const model::report& r) {
  const std::size_t by = r.text().find("\nby main on cpu 0:\n");
  const std::size_t open = r.text().find('(', r.text().find("\n   ", by + 1));
  // The name may end in () itself.
  const std::size_t from = r.text().find(".cpp:", open);
  return by == std::string::npos ? ""
                                 : r.text().substr(from + 5, r.text().find(')', from) - from - 5);
}

TEST(explore, the_stack_of_a_failure_begins_where_it_stands) {
  // Each in one line, and the line before tells its number: what an execution writes is undone.
  int line = __LINE__ + 1;
  auto r = model::explore([] { std::abort(); });
  EXPECT_EQ(innermost(r), std::to_string(line)) << r;
  {
    const model::expectations here;
    line = __LINE__ + 1;
    r = model::explore([] { EXPECT_EQ(table[0], 1); });
  }
  EXPECT_EQ(innermost(r), std::to_string(line)) << r;
  int* volatile nowhere = nullptr;
  line = __LINE__ + 1;
  r = model::explore([&] { *nowhere = 1; });
  EXPECT_EQ(innermost(r), std::to_string(line)) << r;
}

/// Ends by abort(), and its token replays it where nothing has been learned yet.
void fails_and_replays(const model::options& o, const std::function<void()>& f) {
  const auto r = model::explore(o, f);
  ASSERT_FALSE(r.passed());
  EXPECT_EQ(r.text().substr(0, 23), "BUG: abort() was called") << r;
  EXPECT_EQ(r.text().find("WARNING"), std::string::npos) << r;
  model::options again = o;
  again.replay = r.token().c_str();
  const auto same = model::explore(again, f);
  EXPECT_EQ(same.text().substr(0, 23), "BUG: abort() was called") << same;
  EXPECT_EQ(same.token(), r.token());
}

/// Which memory is shared is learned meanwhile, and a later exploration begins without knowing it.
TEST(explore, a_token_of_every_access_is_good_where_nothing_is_learned) {
  int plain = 0;
  const auto f = [&plain] {
    std::mutex lock;
    std::atomic<int> n{0};
    const auto add = [&] {
      {
        const std::lock_guard g{lock};
        plain = plain * 2 + 1;
      }
      n.store(n.load() + 1);
    };
    std::thread a{add};
    std::thread b{add};
    a.join();
    b.join();
    if (n != 2) std::abort();
  };
  model::options o;
  o.points = model::points::every_access;
  for (const auto strategy : {model::strategy::exhaustive, model::strategy::random}) {
    o.strategy = strategy;
    fails_and_replays(o, f);
  }
}

/// Nor which step of an operation of the library was its first.
TEST(explore, a_token_of_every_access_is_good_with_operations_of_the_library) {
  int plain = 0;
  const auto f = [&plain] {
    mutex lock;
    completion done;
    int n = 0;
    int seen = 0;
    std::atomic<int> together{0};
    const auto line = make_irq_line({.name = "device", .kind = irq_kind::asynchronous}).value();
    const auto handler = request_irq(*line, [&] {
                           ++seen;
                           done.complete();
                           return irqreturn::handled;
                         }).value();
    const auto add = [&] {
      {
        guard g{lock};
        plain = plain * 2 + 1;
      }
      for (int i = 0; i < 4; ++i) together.store(together.load() + 1);
    };
    auto a = kthread_run("a", [&] {
               add();
               n = 1;
               done.complete();
             }).value();
    raise_irq(*line);
    add();
    done.wait();
    done.wait();
    ++n;
    (void)a.join();
    if (together != 8) std::abort();
  };
  for (const auto which : {model::granularity::user, model::granularity::library}) {
    for (unsigned seed = 1; seed <= 4; ++seed) {
      model::options o;
      o.granularity = which;
      o.points = model::points::every_access;
      o.strategy = model::strategy::random;
      o.seed = seed;
      fails_and_replays(o, f);
    }
  }
}

}  // namespace
