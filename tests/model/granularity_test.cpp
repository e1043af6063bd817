// SPDX-License-Identifier: Apache-2.0

/// Granularity `user`: an operation of the library is one step. Far fewer executions; those that are left are run without loss,
/// and end in no other states than those of granularity `library`.

#include <gtest/gtest.h>

#include <algorithm>
#include <atomic>
#include <cstdio>
#include <cstdlib>
#include <functional>
#include <random>
#include <set>
#include <string>
#include <vector>

#include "interlock/interlock.hpp"
#include "interlock/model/explore.hpp"
#include "interlock_platform/machine.h"

namespace {

using namespace interlock;

enum granularity : unsigned { library = 0, user = 2 };
constexpr unsigned exhaustive = 1;
constexpr unsigned enumerate = 2;

struct outcome {
  std::set<std::string> states;
  bool complete = false;
  std::uint64_t executions = 0;
  std::uint64_t blocked = 0;
  std::string failure;
  std::string token;
};

std::string notes;  ///< what the program says of its end

struct bounds {
  unsigned cpus = 2;
  unsigned preemption = 2;
  std::uint64_t executions = 300'000;
  unsigned processes = 1;
};

outcome explore(const std::function<void()>& f, unsigned strategy, unsigned granularity,
                const bounds& b = {}) {
  outcome out;
  interlock_machine_options o{};
  o.cpus = b.cpus;
  o.preemption = b.preemption;
  o.granularity = granularity;
  o.strategy = strategy;
  o.seed = 1;
  o.pct_depth = 3;
  o.executions = b.executions;
  o.processes = b.processes;
  o.state_context = &out.states;
  o.state = [](void*, void* states) {
    static_cast<std::set<std::string>*>(states)->insert(notes.c_str());
  };
  interlock_machine_result r{};
  interlock_machine_explore(
      &o, [](void* function) { (*static_cast<const std::function<void()>*>(function))(); },
      const_cast<std::function<void()>*>(&f), &r);
  out.complete = r.complete;
  out.executions = r.executions;
  out.blocked = r.blocked;
  if (r.failed) out.failure = r.text;
  if (r.token != nullptr) out.token = r.token;
  interlock_machine_result_free(&r);
  return out;
}

kthread start(const char* name, auto function) {
  return kthread_run(name, std::move(function)).value();
}

int order[8];
int count;
void note(int what) { order[count++] = what; }
void tell() {
  char text[64] = {};
  for (int i = 0; i < count; ++i) text[i] = static_cast<char>('a' + order[i]);
  std::snprintf(&notes[0], notes.size(), "%s", text);
}

struct program {
  const char* name;
  std::function<void()> f;
};

const std::vector<program>& programs() {
  static const std::vector<program> all{
      {"spinlock",
       [] {
         spinlock lock;
         const auto add = [&](int who) {
           guard g{no_mask, lock};
           note(who);
         };
         auto other = start("other", [&] {
           add(1);
           add(2);
         });
         add(3);
         (void)other.join();
         tell();
       }},
      {"mutex",
       [] {
         mutex lock;
         const auto add = [&](int who) {
           guard g{lock};
           note(who);
         };
         auto other = start("other", [&] { add(1); });
         add(3);
         (void)other.join();
         tell();
       }},
      {"completion",
       [] {
         completion done;
         std::atomic<int> n{0};
         auto other = start("other", [&] {
           n.fetch_add(1);
           done.complete();
           n.fetch_add(2);
         });
         done.wait();
         const int seen = n.load();
         (void)other.join();
         note(seen);
         tell();
       }},
      {"atomics between primitives",
       [] {
         spinlock lock;
         std::atomic<int> n{0};
         auto other = start("other", [&] {
           n.store(1);
           { guard g{no_mask, lock}; }
           n.store(2);
         });
         const int first = n.load();
         { guard g{no_mask, lock}; }
         const int second = n.load();
         (void)other.join();
         note(first);
         note(second);
         tell();
       }},
  };
  return all;
}

class granularity_user : public testing::Test {
 protected:
  void SetUp() override { notes.assign(64, '\0'); }
};

TEST_F(granularity_user, takes_far_fewer_executions_to_the_same_states) {
  constexpr std::uint64_t times = 5;
  for (const program& p : programs()) {
    SCOPED_TRACE(p.name);
    const outcome fine = explore(p.f, exhaustive, library);
    const outcome coarse = explore(p.f, exhaustive, user);
    const outcome every = explore(p.f, enumerate, user);
    EXPECT_EQ(fine.failure + coarse.failure + every.failure, "");
    EXPECT_TRUE(fine.complete && coarse.complete && every.complete);
    EXPECT_EQ(coarse.states, fine.states);
    EXPECT_EQ(coarse.states, every.states);
    EXPECT_GT(coarse.states.size(), 1u);
    EXPECT_GT(fine.executions, times * coarse.executions)
        << fine.executions << ", and " << coarse.executions;
    EXPECT_LE(coarse.executions, every.executions);
  }
}

// --- generated programs ---

enum class code { add, store, masked, bare, sleeping, complete, try_wait, raise, resched };
struct action {
  code what;
  int number;
};
struct generated {
  bounds b;
  unsigned tasks = 2;
  bool has_handler = false;
  std::vector<action> task[3];
  std::vector<action> handler;
};

struct objects {
  spinlock masked;  ///< also of the handler
  spinlock bare;
  mutex sleeping;
  completion done;
  std::atomic<int> x{0};
  int of_masked = 0;
  int of_bare = 0;
  int of_sleeping = 0;
  int results[4] = {};
  irq_line* line = nullptr;

  void run(const std::vector<action>& actions, int who) {
    int& result = results[who];
    const auto use = [&](int& value, int number) {
      result = result * 5 + value % 5;
      value = value * 3 + number;
    };
    for (const action& a : actions) {
      switch (a.what) {
        case code::add: result = result * 5 + x.fetch_add(a.number); break;
        case code::store: x.store(result * 3 + a.number); break;
        case code::masked: {
          guard g{irqsave, masked};
          use(of_masked, a.number);
          if (a.number > 2) x.fetch_add(1);
          break;
        }
        case code::bare: {
          guard g{no_mask, bare};
          use(of_bare, a.number);
          break;
        }
        case code::sleeping: {
          guard g{sleeping};
          use(of_sleeping, a.number);
          if (a.number > 2) x.fetch_add(1);
          break;
        }
        case code::complete: done.complete(); break;
        case code::try_wait: result = result * 5 + (done.try_wait() ? 1 : 0); break;
        case code::raise:
          if (line != nullptr) raise_irq(*line);
          break;
        case code::resched: cond_resched(); break;
      }
    }
  }
};

void run(const generated& p) {
  objects o;
  {
    ref_ptr<irq_line> line;
    irq_action handler;
    if (p.has_handler) {
      line = make_irq_line({.name = "device", .kind = irq_kind::asynchronous}).value();
      handler = request_irq(*line, [&] {
                  o.run(p.handler, 3);
                  return irqreturn::handled;
                }).value();
      o.line = line.get();
    }
    kthread one = start("one", [&] { o.run(p.task[1], 1); });
    kthread two;
    if (p.tasks > 2) two = start("two", [&] { o.run(p.task[2], 2); });
    o.run(p.task[0], 0);
    (void)one.join();
    if (p.tasks > 2) (void)two.join();
  }
  std::snprintf(&notes[0], notes.size(), "%d %d %d %d %d %d %d %d", o.x.load(), o.of_masked,
                o.of_bare, o.of_sleeping, o.results[0], o.results[1], o.results[2], o.results[3]);
}

generated generate(unsigned seed) {
  std::mt19937 source{seed};
  const auto below = [&](unsigned n) { return static_cast<unsigned>(source() % n); };
  generated p;
  p.b.cpus = below(3) == 0 ? 1 : 2;
  p.b.preemption = below(2) == 0 ? 2 : below(3);
  p.b.executions = 2'000;
  p.tasks = 2;
  p.has_handler = below(5) == 0;
  for (unsigned t = 0; t < p.tasks; ++t) {
    const unsigned actions = 1 + below(p.has_handler ? 1 : 3);
    for (unsigned i = 0; i < actions; ++i) {
      p.task[t].push_back(
          {static_cast<code>(below(p.has_handler ? 9 : 7)), 1 + static_cast<int>(below(4))});
    }
  }
  constexpr code of_handlers[] = {code::add, code::masked, code::complete};
  p.handler.push_back({of_handlers[below(3)], 1 + static_cast<int>(below(4))});
  return p;
}

constexpr unsigned seeds_per_test = 100;
class granularity_user_of_generated : public testing::TestWithParam<unsigned> {};

/// Nothing is lost of what it runs; and what it runs are executions of granularity `user`, so its states are some of theirs.
TEST_P(granularity_user_of_generated, programs_loses_nothing) {
  notes.assign(64, '\0');
  unsigned compared = 0;
  unsigned with_library = 0;
  unsigned several = 0;
  unsigned equal = 0;
  std::uint64_t all = 0;
  std::uint64_t reduced = 0;
  std::uint64_t fine = 0;
  std::uint64_t coarse = 0;
  for (unsigned seed = GetParam(); seed < GetParam() + seeds_per_test; ++seed) {
    SCOPED_TRACE("seed " + std::to_string(seed));
    const generated p = generate(seed);
    const auto f = [&p] { run(p); };
    const outcome every = explore(f, enumerate, user, p.b);
    ASSERT_EQ(every.failure, "");
    if (!every.complete) continue;
    const outcome one_of_each = explore(f, exhaustive, user, p.b);
    EXPECT_EQ(one_of_each.failure, "");
    EXPECT_TRUE(one_of_each.complete);
    EXPECT_EQ(one_of_each.states, every.states);
    ++compared;
    all += every.executions;
    reduced += one_of_each.executions;
    if (every.states.size() > 1) ++several;
    if (seed % 4 == 0 && !p.has_handler) {  // with handlers a few may be run more or less
      bounds divided = p.b;
      divided.processes = 3;
      const outcome by_three = explore(f, exhaustive, user, divided);
      EXPECT_EQ(by_three.failure, "");
      EXPECT_TRUE(by_three.complete);
      EXPECT_EQ(by_three.executions, one_of_each.executions);
      EXPECT_EQ(by_three.blocked, one_of_each.blocked);
    }
    const outcome insides = explore(f, exhaustive, library, p.b);
    EXPECT_EQ(insides.failure, "");
    if (!insides.complete) continue;
    ++with_library;
    fine += insides.executions;
    coarse += one_of_each.executions;
    EXPECT_TRUE(std::includes(insides.states.begin(), insides.states.end(), every.states.begin(),
                              every.states.end()));
    if (insides.states == every.states) ++equal;
  }
  EXPECT_GT(compared, seeds_per_test / 3);
  EXPECT_GT(several, compared / 4);
  EXPECT_GT(with_library, compared / 2);
  EXPECT_GT(all, 2 * reduced);
  EXPECT_GT(fine, 5 * coarse);
  testing::Test::RecordProperty("compared", static_cast<int>(compared));
  testing::Test::RecordProperty("with_library", static_cast<int>(with_library));
  testing::Test::RecordProperty("equal", static_cast<int>(equal));
  testing::Test::RecordProperty("library", static_cast<int>(fine));
  testing::Test::RecordProperty("user", static_cast<int>(coarse));
}

INSTANTIATE_TEST_SUITE_P(reduction, granularity_user_of_generated,
                         testing::Range(1u, 301u, seeds_per_test));

// --- what is still found, and where others come in ---

TEST_F(granularity_user, two_locks_in_two_orders_still_wait_for_each_other) {
  const outcome r = explore(
      [] {
        spinlock first;
        spinlock second;
        auto other = start("other", [&] {
          guard g{no_mask, second};
          guard h{no_mask, first};
        });
        {
          guard g{no_mask, first};
          guard h{no_mask, second};
        }
        (void)other.join();
      },
      exhaustive, user);
  EXPECT_NE(r.failure, "");
}

TEST_F(granularity_user, what_the_program_does_itself_is_explored_in_full) {
  const auto f = [] {
    std::atomic<int> n{0};
    const auto add = [&] { n.store(n.load() + 1); };
    auto other = start("other", add);
    add();
    (void)other.join();
    note(n.load());
    tell();
  };
  const outcome r = explore(f, exhaustive, user);
  EXPECT_EQ(r.states, (std::set<std::string>{"b", "c"}));
}

TEST_F(granularity_user, a_token_says_so) {
  const auto f = [] {
    std::atomic<int> n{0};
    completion done;
    const auto add = [&] { n.store(n.load() + 1); };
    auto other = start("other", [&] {
      done.complete();
      add();
    });
    done.wait();
    add();
    (void)other.join();
    if (n != 2) std::abort();
  };
  const outcome r = explore(f, exhaustive, user);
  ASSERT_NE(r.token, "");
  EXPECT_EQ(r.token.substr(0, 5), "2fusc");
  interlock_machine_options o{};
  o.cpus = 2;
  o.preemption = 2;
  o.replay = r.token.c_str();
  interlock_machine_result again{};
  interlock_machine_explore(
      &o, [](void* g) { (*static_cast<const decltype(f)*>(g))(); },
      const_cast<void*>(static_cast<const void*>(&f)), &again);
  EXPECT_TRUE(again.failed);
  EXPECT_EQ(std::string{again.text}.substr(0, 23), "BUG: abort() was called");
  interlock_machine_result_free(&again);
}

}  // namespace
