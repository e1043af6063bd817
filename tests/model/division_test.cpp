// SPDX-License-Identifier: Apache-2.0

/// An exhaustive search that processes divide runs what one process would run: each execution once, whoever runs it. What goes wrong
/// in one of them is told.

#include <gtest/gtest.h>
#include <signal.h>
#include <unistd.h>

#include <atomic>
#include <functional>
#include <mutex>
#include <set>
#include <string>
#include <thread>
#include <vector>

#include "division_support.hpp"
#include "interlock/interlock.hpp"
#include "interlock/model/explore.hpp"
#include "interlock_platform/machine.h"
#include "outcome_support.hpp"

namespace {

using namespace interlock;
using division_support::shared_texts;
using division_support::this_process;
using outcome_support::add_under_a_mutex;
using outcome_support::enumerate;
using outcome_support::exhaustive;

constexpr unsigned random_ones = 3;

struct outcome {
  bool passed = false;
  bool complete = false;
  std::uint64_t executions = 0;
  std::uint64_t blocked = 0;
  std::string text;
  std::string token;
};

struct state_of {
  std::function<void()> f;
};

interlock_machine_options options_for(unsigned processes, unsigned strategy = exhaustive) {
  interlock_machine_options o{};
  o.cpus = 4;
  o.preemption = 2;
  o.strategy = strategy;
  o.seed = 1;
  o.pct_depth = 3;
  o.processes = processes;
  return o;
}

outcome explore(interlock_machine_options o, const std::function<void()>& f,
                std::function<void()> at_end = {}) {
  state_of context{std::move(at_end)};
  if (context.f) {
    o.state = [](void*, void* state) { static_cast<state_of*>(state)->f(); };
    o.state_context = &context;
  }
  interlock_machine_result r{};
  interlock_machine_explore(
      &o, [](void* function) { (*static_cast<const std::function<void()>*>(function))(); },
      const_cast<std::function<void()>*>(&f), &r);
  outcome out;
  out.passed = !r.failed;
  out.complete = r.complete;
  out.executions = r.executions;
  out.blocked = r.blocked;
  if (r.text != nullptr) out.text = r.text;
  if (r.token != nullptr) out.token = r.token;
  interlock_machine_result_free(&r);
  return out;
}

/// Two threads, and all orders of `adds` steps of each.
void add_atomically(int adds) {
  std::atomic<int> n{0};
  const auto add = [&] {
    for (int i = 0; i < adds; ++i) n.fetch_add(1);
  };
  std::thread a{add};
  std::thread b{add};
  add();
  a.join();
  b.join();
}

class divided : public testing::TestWithParam<unsigned> {};

TEST_P(divided, each_order_of_critical_sections_is_run_once) {
  shared_texts ran;
  for (const auto& [steps, orders] : {std::pair{3u, 1680u}, std::pair{4u, 34650u}}) {
    const outcome r = explore(
        options_for(GetParam()), [s = steps] { add_under_a_mutex(3, s); },
        [&] { ran.add(this_process()); });
    EXPECT_TRUE(r.passed) << r.text;
    EXPECT_TRUE(r.complete);
    EXPECT_EQ(r.executions - r.blocked, orders);
  }
  EXPECT_EQ(ran.count(), 1680u + 34650u);
  EXPECT_EQ(ran.all().size() > 1, GetParam() > 1) << "processes that ran one: " << ran.all().size();
}

TEST_P(divided, each_of_all_executions_is_run_once) {
  const auto f = [] { add_atomically(1); };
  const outcome one = explore(options_for(1, enumerate), f);
  const outcome many = explore(options_for(GetParam(), enumerate), f);
  EXPECT_TRUE(one.complete && many.complete);
  EXPECT_EQ(many.executions, one.executions);
}

TEST_P(divided, the_executions_are_those_asked_for) {
  interlock_machine_options o = options_for(GetParam());
  o.executions = 3'000;
  const outcome r = explore(o, [] { add_under_a_mutex(3, 4); });
  EXPECT_TRUE(r.passed) << r.text;
  EXPECT_FALSE(r.complete);
  EXPECT_EQ(r.executions, 3'000u);
}

TEST_P(divided, what_turns_out_to_be_shared_is_known_to_all) {
  // Plain memory is a point as soon as a second thread touches it. That happens late here, in few of the executions: then the
  // search begins again, in all processes.
  int plain[2] = {};
  int sum = 0;
  const auto f = [&] {
    std::atomic<int> turns{0};
    std::mutex lock;
    const auto step = [&](int i) {
      int seen = 0;
      for (int k = 0; k < 4; ++k) seen = seen * 3 + turns.fetch_add(1);
      const std::lock_guard g{lock};
      // 0 1 2 3: it was the first; the other then does its own, and this one what is the other's.
      plain[seen == 18 && i == 1 ? 0 : i] += seen;
    };
    std::thread a{step, 0};
    std::thread b{step, 1};
    a.join();
    b.join();
    sum = plain[0] * 1'000 + plain[1];
  };
  const auto states = [&](unsigned processes) {
    interlock_machine_options o = options_for(processes);
    o.points = 1;
    shared_texts found;
    const outcome r = explore(o, f, [&] { found.add(std::to_string(sum)); });
    EXPECT_TRUE(r.passed) << r.text;
    EXPECT_TRUE(r.complete);
    // More than one search has the same states twice.
    EXPECT_GT(found.count(), found.all().size());
    return found.all();
  };
  const std::set<std::string> found = states(GetParam());
  EXPECT_GT(found.size(), 10u);
  EXPECT_EQ(found, states(1));
}

TEST_P(divided, a_failure_in_one_ends_all) {
  const pid_t first = ::getpid();
  const auto f = [&] {
    std::atomic<int> n{0};
    const auto add = [&] {
      for (int i = 0; i < 6; ++i) n.store(n.load() + 1);
    };
    std::thread a{add};
    std::thread b{add};
    a.join();
    b.join();
    if (n < 4) std::abort();
  };
  const outcome r = explore(options_for(GetParam()), f);
  EXPECT_EQ(::getpid(), first);
  EXPECT_FALSE(r.passed);
  EXPECT_FALSE(r.complete);
  EXPECT_EQ(r.text.substr(0, r.text.find('\n')), "BUG: abort() was called");
  interlock_machine_options again = options_for(1);
  again.replay = r.token.c_str();
  EXPECT_EQ(explore(again, f).text.substr(0, 23), "BUG: abort() was called");
}

TEST_P(divided, samplers_are_not) {
  interlock_machine_options o = options_for(GetParam(), random_ones);
  o.executions = 500;
  shared_texts ran;
  const outcome r = explore(
      o, [] { add_under_a_mutex(3, 3); }, [&] { ran.add(this_process()); });
  EXPECT_TRUE(r.passed) << r.text;
  EXPECT_EQ(ran.all(), std::set<std::string>{this_process()});
  EXPECT_EQ(r.executions, 500u);
}

/// Two tasks that lock, wait and wake by the library, with accesses of their own between.
void use_the_library(unsigned rounds, int* order) {
  mutex lock;
  completion done;
  std::atomic<int> n{0};
  int count = 0;
  const auto work = [&](int who) {
    for (unsigned i = 0; i < rounds; ++i) {
      const int seen = n.fetch_add(1);
      {
        guard g{lock};
        order[count++] = who * 10 + seen;
      }
    }
  };
  kthread other = kthread_run("other", [&] {
                    work(1);
                    done.complete();
                  }).value();
  work(0);
  done.wait();
  (void)other.join();
  order[count] = n.load();
}

/// Each is a step of many accesses, which another process has to know to let its flow sleep.
TEST_P(divided, operations_of_the_library_are_steps) {
  int order[8] = {};
  const auto run = [&](unsigned processes, shared_texts& found, shared_texts& ran) {
    interlock_machine_options o = options_for(processes);
    o.cpus = 2;
    o.granularity = 2;
    return explore(
        o, [&] { use_the_library(2, order); },
        [&] {
          std::string text;
          for (const int i : order) text += std::to_string(i) + ' ';
          found.add(text);
          ran.add(this_process());
        });
  };
  shared_texts found[2];
  shared_texts ran[2];
  const outcome one = run(1, found[0], ran[0]);
  const outcome many = run(GetParam(), found[1], ran[1]);
  EXPECT_TRUE(one.passed && many.passed) << one.text << many.text;
  EXPECT_TRUE(one.complete && many.complete);
  EXPECT_EQ(many.executions, one.executions);
  EXPECT_EQ(many.blocked, one.blocked);
  EXPECT_GT(found[0].all().size(), 10u);
  EXPECT_EQ(found[1].all(), found[0].all());
  EXPECT_EQ(ran[1].all().size() > 1, GetParam() > 1);
}

INSTANTIATE_TEST_SUITE_P(processes, divided, testing::Values(1u, 2u, 3u));

TEST(division, a_failure_that_only_another_process_sees_is_said_to_diverge) {
  const pid_t first = ::getpid();
  const outcome r = explore(options_for(2), [first] {
    add_atomically(3);
    if (::getpid() != first) std::abort();
  });
  EXPECT_FALSE(r.passed);
  EXPECT_FALSE(r.complete);
  EXPECT_NE(r.text.find("BUG: executions diverge"), std::string::npos) << r.text;
  EXPECT_NE(r.text.find("abort() was called"), std::string::npos) << r.text;
}

TEST(division, a_process_that_is_killed_is_no_silent_pass) {
  const pid_t first = ::getpid();
  for (int number : {SIGKILL, SIGTERM}) {
    const outcome r = explore(
        options_for(3), [] { add_under_a_mutex(3, 4); },
        [first, number] {
          if (::getpid() != first) ::kill(::getpid(), number);
        });
    EXPECT_FALSE(r.passed);
    EXPECT_FALSE(r.complete);
    EXPECT_NE(r.text.find("one of the 3 processes that divide the search was ended by signal " +
                          std::to_string(number)),
              std::string::npos)
        << r.text;
    EXPECT_EQ(r.token, "");
  }
}

TEST(division, a_loop_that_would_give_up_is_tried_by_who_saw_it) {
  // What comes of giving up is not explored. The first process has no such loop.
  const pid_t first = ::getpid();
  const auto f = [first] {
    add_atomically(3);
    if (::getpid() == first) return;
    std::atomic<bool> ready{false};
    std::thread other{[&] { ready.store(true); }};
    for (int rounds = 0; !ready.load() && rounds < 10; ++rounds) interlock_machine_relax();
    other.join();
  };
  const outcome alone = explore(options_for(1), f);
  EXPECT_TRUE(alone.passed && alone.complete) << alone.text;
  const outcome r = explore(options_for(2), f);
  EXPECT_TRUE(r.passed) << r.text;
  EXPECT_FALSE(r.complete);
}

TEST(division, what_one_learns_all_know) {
  // Two flows touch it only where the first process does not come. Were that not told, it would be learned again and again.
  const pid_t first = ::getpid();
  int plain = 0;
  interlock_machine_options o = options_for(2);
  o.points = 1;
  const outcome r = explore(o, [first, &plain] {
    add_atomically(3);
    if (::getpid() == first) return;
    ++plain;
    std::thread c{[&] { ++plain; }};
    c.join();
  });
  EXPECT_TRUE(r.passed) << r.text;
  EXPECT_TRUE(r.complete);
  // Twice what is to be run, at most: it begins again once.
  interlock_machine_options alone = options_for(1);
  EXPECT_LT(r.executions, 2 * explore(alone, [] { add_atomically(3); }).executions);
}

TEST(division, too_many_processes_are_refused) {
  const outcome r = explore(options_for(65), [] {});
  EXPECT_FALSE(r.passed);
  EXPECT_NE(r.text.find("option processes: 1 to 64"), std::string::npos) << r.text;
}

}  // namespace
