// SPDX-License-Identifier: Apache-2.0

/// The lock validator: each rule with what breaks it and what does not, although nothing ever deadlocks
/// here: all is done by one thread, or by several in turn.

#include <gtest/gtest.h>
#include <sys/wait.h>
#include <unistd.h>

#include <array>
#include <cstdlib>
#include <cstring>
#include <memory>
#include <regex>
#include <string>
#include <vector>

#include "checked/shared_declaration.hpp"
#include "interlock/interlock.hpp"
#include "interlock_platform/park.hpp"
#include "support/report_recorder.hpp"
#include "support/sanitizers.hpp"
#include "support/tasks.hpp"

namespace interlock::test {
namespace {

constexpr char circular[] = "WARNING: possible circular locking dependency detected\n";
constexpr char inconsistent[] = "WARNING: inconsistent lock state\n";
constexpr char irq_order[] = "WARNING: HARDIRQ-safe -> HARDIRQ-unsafe lock order detected\n";
constexpr char softirq_order[] = "WARNING: SOFTIRQ-safe -> SOFTIRQ-unsafe lock order detected\n";
constexpr char irq_inversion[] = "WARNING: possible irq lock inversion dependency detected\n";

template <class... Locks>
void take(Locks&... locks) {
  (locks.lock(no_mask), ...);
  (locks.unlock(no_mask), ...);
}

template <class Outer, class Inner>
void nest(Outer& outer, Inner& inner) {
  guard o{outer};
  guard i{inner};
}
void nest(spinlock& outer, spinlock& inner, location where = location::current()) {
  guard o{no_mask, outer, where};
  guard i{no_mask, inner, where};
}
void nest_irqsave(spinlock& outer, spinlock& inner) {
  guard o{irqsave, outer};
  guard i{irqsave, inner};
}

/// With the free lock.
template <class F>
void try_it(spinlock& lock, F function) {
  if (!lock.try_lock(no_mask)) {
    ADD_FAILURE() << "the lock is not free";
    return;
  }
  function();
  lock.unlock(no_mask);
}
/// All at once.
template <class Object>
void hold_all(Object* objects, std::size_t count) {
  if (count == 0) return;
  guard g{no_mask, objects->lock};
  hold_all(objects + 1, count - 1);
}

/// Holds `lock` from before `taken` until `done`, for which it polls: it must not sleep.
void hold_until(spinlock& lock, completion& taken, completion& done) {
  lock.lock(no_mask);
  taken.complete();
  while (!done.try_wait()) platform::yield();
  lock.unlock(no_mask);
}

/// Runs `function` in a hard interrupt.
template <class F>
void in_irq(F function) {
  struct bell {
    irq_work work{[](irq_work& w) { (*INTERLOCK_CONTAINER_OF(&w, bell, work)->function)(); }};
    F* function;
  };
  bell b{.function = &function};
  EXPECT_TRUE(irq_work_queue(b.work));
}

/// Runs `function` in a softirq.
template <class F>
void in_softirq_context(F function) {
  static void (*call)(void*) = nullptr;
  static void* cookie = nullptr;
  static const softirq vector = open_softirq(
                                    "validator", [](void*) { call(cookie); }, nullptr)
                                    .value();
  call = [](void* f) { (*static_cast<F*>(f))(); };
  cookie = &function;
  raise_softirq(vector);
}

class lock_validator_test : public report_test {
 protected:
  [[nodiscard]] bool says(const std::string& text) const {
    return std::strstr(reports.text(), text.c_str()) != nullptr;
  }
  void expect_none() { EXPECT_EQ(reports.pending(), 0u); }
  void expect_one(report_kind kind, const char* first_line) {
    ASSERT_TRUE(reports.took(kind, first_line));
    EXPECT_EQ(std::strncmp(reports.text(), first_line, std::strlen(first_line)), 0)
        << reports.text();
    expect_none();
  }
};

// --- V1: order ---

TEST_F(lock_validator_test, two_locks_in_both_orders) {
  spinlock a;
  spinlock b;
  nest(a, b);
  expect_none();
  nest(b, a);
  expect_one(report_kind::lock_order, circular);
}

TEST_F(lock_validator_test, two_locks_in_one_order) {
  spinlock a;
  spinlock b;
  for (int i = 0; i < 3; ++i) nest(a, b);
  take(a);
  take(b);
  expect_none();
}

TEST_F(lock_validator_test, a_breach_is_reported_once) {
  spinlock a;
  spinlock b;
  for (int i = 0; i < 3; ++i) {
    nest(a, b);
    nest(b, a);
  }
  expect_one(report_kind::lock_order, circular);
}

TEST_F(lock_validator_test, another_breach_is_another_report) {
  spinlock a;
  spinlock b;
  spinlock c;
  nest(a, b);
  nest(b, a);
  expect_one(report_kind::lock_order, circular);
  nest(b, c);
  expect_none();
  nest(c, a);
  expect_one(report_kind::lock_order, circular);
}

TEST_F(lock_validator_test, a_cycle_of_three) {
  spinlock a;
  spinlock b;
  spinlock c;
  nest(a, b);
  nest(b, c);
  expect_none();
  nest(c, a);
  expect_one(report_kind::lock_order, circular);
  EXPECT_TRUE(says("Chain exists of:\n"));
  EXPECT_TRUE(says("-> #2 (lock_validator_test.cpp:"));
}

TEST_F(lock_validator_test, orders_are_joined_over_a_lock_that_is_held_throughout) {
  spinlock a;
  spinlock b;
  spinlock c;
  take(a, b, c);  // a before c follows from a before b, and b before c
  nest(c, a);
  expect_one(report_kind::lock_order, circular);
}

TEST_F(lock_validator_test, threads_need_not_meet) {
  spinlock a;
  spinlock b;
  start("first", [&] { nest(a, b); }).join();
  expect_none();
  start("second", [&] { nest(b, a); }).join();
  expect_one(report_kind::lock_order, circular);
  EXPECT_TRUE(says("second/"));
}

TEST_F(lock_validator_test, mutexes_and_spinlocks_stand_in_one_order) {
  mutex m;
  mutex n;
  nest(m, n);
  expect_none();
  nest(n, m);
  expect_one(report_kind::lock_order, circular);
  EXPECT_TRUE(says("}-{3:3}"));
}

TEST_F(lock_validator_test, an_attempt_waits_for_nobody) {
  spinlock a;
  spinlock b;
  nest(a, b);
  {
    guard g{no_mask, b};
    try_it(a, [] {});
  }
  expect_none();
}

TEST_F(lock_validator_test, but_it_holds) {
  spinlock a;
  spinlock b;
  nest(a, b);
  try_it(b, [&] { take(a); });
  expect_one(report_kind::lock_order, circular);
}

TEST_F(lock_validator_test, what_was_held_before_an_attempt_is_before_what_follows) {
  spinlock a;
  spinlock b;
  spinlock c;
  {
    guard g{no_mask, a};
    try_it(b, [&] { take(c); });
  }
  expect_none();
  nest(c, a);
  expect_one(report_kind::lock_order, circular);
}

TEST_F(lock_validator_test, an_attempt_that_fails_holds_nothing) {
  spinlock a;
  spinlock b;
  nest(a, b);
  completion taken;
  completion done;
  kthread holder = start("holder", [&] { hold_until(b, taken, done); });
  taken.wait();
  EXPECT_FALSE(b.try_lock(no_mask));
  take(a);
  done.complete();
  holder.join();
  expect_none();
}

TEST_F(lock_validator_test, what_was_released_is_not_held) {
  spinlock a;
  spinlock b;
  nest(a, b);
  b.lock(no_mask);
  b.unlock(no_mask);
  a.lock(no_mask);
  a.unlock(no_mask);
  a.lock(no_mask);
  b.lock(no_mask);
  a.unlock(no_mask);  // not the last one first
  b.unlock(no_mask);
  take(a);
  expect_none();
}

// --- classes ---

/// A breach is told once in a program, so each test has classes of its own.
template <class Test>
struct account {
  spinlock lock;
};
template <class Test>
struct ledger {
  spinlock lock;
};
template <class Test>
[[gnu::noinline]] std::unique_ptr<account<Test>> open_account() {
  return std::make_unique<account<Test>>();
}

TEST_F(lock_validator_test, a_class_is_a_declaration) {
  struct test;
  // No lock of these is ever taken in both orders.
  const auto one = open_account<test>();
  const auto other = open_account<test>();
  ledger<test> all;
  nest(one->lock, all.lock);
  expect_none();
  nest(all.lock, other->lock);
  expect_one(report_kind::lock_order, circular);
}

TEST_F(lock_validator_test, elements_are_of_one_class) {
  struct test;
  std::vector<account<test>> accounts(2);
  ledger<test> all;
  nest(accounts[0].lock, all.lock);
  nest(all.lock, accounts[1].lock);
  expect_one(report_kind::lock_order, circular);
}

struct both {
  spinlock first, second;
  mutex third;
};
[[gnu::noinline]] std::unique_ptr<both> make_both() { return std::make_unique<both>(); }

TEST_F(lock_validator_test, members_of_one_struct_are_classes_of_their_own) {
  spinlock between;
  for (int i = 0; i < 2; ++i) {
    const auto b = make_both();
    nest(b->first, between);
    nest(between, b->second);
    guard g{b->third};
    guard h{no_mask, b->first};
  }
  expect_none();
}

TEST_F(lock_validator_test, and_in_order_whatever_struct_they_are_in) {
  const auto one = make_both();
  const auto other = std::make_unique<both>();  // inlined here
  nest(one->first, one->second);
  expect_none();
  nest(other->second, other->first);
  expect_one(report_kind::lock_order, circular);
}

TEST_F(lock_validator_test, locks_of_one_line_are_two_classes) {
  spinlock a, b;
  spinlock between;
  nest(a, between);
  nest(between, b);
  expect_none();
}

TEST_F(lock_validator_test, static_locks_are_classes_of_their_own) {
  static constinit spinlock table[3];
  nest(table[0], table[1]);
  nest(table[1], table[2]);
  expect_none();
  nest(table[2], table[0]);
  expect_one(report_kind::lock_order, circular);
}

/// What the library's templates construct has a place in those.
TEST_F(lock_validator_test, what_the_cxx_library_constructs_is_told_apart_by_its_callers) {
  const auto a = std::make_unique<spinlock>();
  const auto b = std::make_unique<spinlock>();
  spinlock between;
  nest(*a, between);
  nest(between, *b);
  expect_none();
  nest(*b, between);
  expect_one(report_kind::lock_order, circular);
}

TEST_F(lock_validator_test, one_inside_of_a_primitive_has_the_place_of_that) {
  completion a;
  completion b;
  a.complete();
  b.complete();
  wait_queue q;
  wait_queue r;
  nest(q.lock, r.lock);
  nest(r.lock, q.lock);
  expect_one(report_kind::lock_order, circular);
  EXPECT_TRUE(says("->lock)"));
}

constinit lock_class parent_class{"parent"};
constinit lock_class child_class{"child"};

struct node {
  explicit node(const lock_class& c) { set_lock_class(lock, c); }
  spinlock lock;
};

TEST_F(lock_validator_test, named_classes_split_a_declaration) {
  node parent{parent_class};
  node child{child_class};
  spinlock between;
  nest(parent.lock, between);
  nest(between, child.lock);
  expect_none();
  nest(child.lock, parent.lock);
  expect_one(report_kind::lock_order, circular);
  EXPECT_TRUE(says("(parent){+.+.}-{2:2}, at: "));
  EXPECT_TRUE(says("(child){+.+.}-{2:2}, at: "));
}

TEST_F(lock_validator_test, and_join_two) {
  static constinit lock_class joined{"joined"};
  spinlock a;
  spinlock b;
  mutex unused;
  set_lock_class(a, joined);
  set_lock_class(b, joined);
  set_lock_class(unused, parent_class);
  spinlock between;
  nest(a, between);
  expect_none();
  nest(between, b);
  expect_one(report_kind::lock_order, circular);
  EXPECT_TRUE(says("(joined)"));
}

TEST_F(lock_validator_test, a_lock_that_is_made_anew_has_no_past) {
  alignas(spinlock) unsigned char memory[2][sizeof(spinlock)];
  const auto first = new (memory[0]) spinlock;
  const auto second = new (memory[1]) spinlock;
  nest(*first, *second);
  const auto third = new (memory[1]) spinlock;
  const auto fourth = new (memory[0]) spinlock;
  nest(*third, *fourth);
  expect_none();
}

TEST_F(lock_validator_test, one_that_ends_locked_is_not_held) {
  alignas(spinlock) unsigned char memory[sizeof(spinlock)];
  spinlock other;
  spinlock* ended = nullptr;
  for (int i = 0; i < 2; ++i) {
    ended = new (memory) spinlock;
    if (i == 0) ended->lock(no_mask);
  }
  preempt_enable();
  take(other);
  nest(other, *ended);
  expect_none();
}

/// Its constructor is inlined in two translation units, so there are two classes of it.
TEST_F(lock_validator_test, a_declaration_that_two_units_have_compiled_is_in_order_lock_by_lock) {
  const auto a = std::make_unique<shared_declaration>();
  const auto b = make_elsewhere();
  const auto c = std::make_unique<shared_declaration>();
  const auto d = make_elsewhere();
  nest(a->lock, b->lock);
  nest(d->lock, c->lock);
  expect_none();
  nest(b->lock, a->lock);
  expect_one(report_kind::lock_order, circular);
}

// --- within a class ---

TEST_F(lock_validator_test, nesting_in_a_class_is_no_breach) {
  struct test;
  const auto a = open_account<test>();
  const auto b = open_account<test>();
  const auto c = open_account<test>();
  nest(a->lock, b->lock);
  nest(b->lock, c->lock);
  nest(a->lock, c->lock);
  expect_none();
}

TEST_F(lock_validator_test, but_both_orders_of_two_are) {
  struct test;
  const auto a = open_account<test>();
  const auto b = open_account<test>();
  for (int i = 0; i < 2; ++i) {
    nest(a->lock, b->lock);
    nest(b->lock, a->lock);
  }
  expect_one(report_kind::lock_order, circular);
  EXPECT_TRUE(says("Both are of one class"));
}

TEST_F(lock_validator_test, and_a_round_of_three) {
  struct test;
  std::vector<account<test>> accounts(3);
  nest(accounts[0].lock, accounts[1].lock);
  nest(accounts[1].lock, accounts[2].lock);
  expect_none();
  nest(accounts[2].lock, accounts[0].lock);
  expect_one(report_kind::lock_order, circular);
}

/// Their addresses are those of earlier ones, whose orders are no orders of theirs.
TEST_F(lock_validator_test, orders_of_objects_end_with_them) {
  struct test;
  alignas(account<test>) unsigned char memory[2][sizeof(account<test>)];
  for (int i = 0; i < 4; ++i) {
    account<test>* made[2];
    for (int k = 0; k < 2; ++k) made[k] = new (memory[k]) account<test>;
    nest(made[i % 2]->lock, made[1 - i % 2]->lock);
  }
  expect_none();
}

TEST_F(lock_validator_test, and_are_learned_anew_of_those_that_follow) {
  struct test;
  alignas(account<test>) unsigned char memory[2][sizeof(account<test>)];
  account<test>* a = nullptr;
  account<test>* b = nullptr;
  const auto make = [&] {
    account<test>* made[2];
    for (int k = 0; k < 2; ++k) made[k] = new (memory[k]) account<test>;
    a = made[0];
    b = made[1];
  };
  make();
  for (int i = 0; i < 3; ++i) nest(a->lock, b->lock);
  make();
  nest(b->lock, a->lock);
  expect_none();
  nest(a->lock, b->lock);
  expect_one(report_kind::lock_order, circular);
}

// --- V2: interrupts ---

TEST_F(lock_validator_test, a_lock_of_a_handler_is_taken_with_interrupts_on) {
  spinlock lock;
  take(lock);
  expect_none();
  in_irq([&] { take(lock); });
  expect_one(report_kind::lock_irq_state, inconsistent);
  EXPECT_TRUE(says("inconsistent {HARDIRQ-ON-W} -> {IN-HARDIRQ-W} usage.\n"));
  EXPECT_TRUE(says("[HC1[1]:SC0[0]:HE0:SE1] takes:\n"));
  in_irq([&] { take(lock); });
  take(lock);
  expect_none();
}

TEST_F(lock_validator_test, the_other_way_round) {
  spinlock lock;
  in_irq([&] { take(lock); });
  expect_none();
  take(lock);
  expect_one(report_kind::lock_irq_state, inconsistent);
  EXPECT_TRUE(says("inconsistent {IN-HARDIRQ-W} -> {HARDIRQ-ON-W} usage.\n"));
  EXPECT_TRUE(says("[HC0[0]:SC0[0]:HE1:SE1] takes:\n"));
}

TEST_F(lock_validator_test, a_lock_of_a_handler_is_taken_with_interrupts_off) {
  spinlock lock;
  for (int i = 0; i < 2; ++i) {
    { guard g{irqsave, lock}; }
    in_irq([&] { take(lock); });
  }
  expect_none();
}

TEST_F(lock_validator_test, interrupts_switched_on_with_the_lock_held) {
  spinlock lock;
  in_irq([&] { take(lock); });
  const irq_flags flags = lock.lock(irqsave);
  expect_none();
  local_irq_enable();
  expect_one(report_kind::lock_irq_state, inconsistent);
  local_irq_disable();
  lock.unlock(irqsave, flags);
}

TEST_F(lock_validator_test, an_attempt_of_a_handler) {
  spinlock lock;
  take(lock);
  in_irq([&] {
    if (lock.try_lock(no_mask)) lock.unlock(no_mask);
  });
  expect_none();
}

TEST_F(lock_validator_test, a_lock_of_a_softirq_is_taken_with_bottom_halves_on) {
  spinlock lock;
  take(lock);
  in_softirq_context([&] { take(lock); });
  expect_one(report_kind::lock_irq_state, inconsistent);
  EXPECT_TRUE(says("inconsistent {SOFTIRQ-ON-W} -> {IN-SOFTIRQ-W} usage.\n"));
}

/// What is switched on is both; each breach is told.
TEST_F(lock_validator_test, a_lock_of_both_is_taken_with_all_on) {
  spinlock lock;
  in_irq([&] { take(lock); });
  in_softirq_context([&] { guard g{irqsave, lock}; });
  expect_none();
  take(lock);
  EXPECT_EQ(reports.pending(), 2u);
  for (const char* const how : {"inconsistent {IN-HARDIRQ-W} -> {HARDIRQ-ON-W} usage.\n",
                                "inconsistent {IN-SOFTIRQ-W} -> {SOFTIRQ-ON-W} usage.\n"})
    EXPECT_TRUE(reports.took(report_kind::lock_irq_state, how));
}

/// The same of an order: the inner lock is an unsafe one in both ways.
TEST_F(lock_validator_test, a_lock_of_both_before_an_unsafe_one) {
  spinlock safe;
  spinlock unsafe;
  in_irq([&] { take(safe); });
  in_softirq_context([&] { guard g{irqsave, safe}; });
  take(unsafe);
  expect_none();
  nest_irqsave(safe, unsafe);
  EXPECT_EQ(reports.pending(), 2u);
  for (const char* const first_line : {irq_order, softirq_order})
    EXPECT_TRUE(reports.took(report_kind::lock_irq_state, first_line));
}

TEST_F(lock_validator_test, a_lock_of_a_softirq_is_taken_with_bottom_halves_off) {
  spinlock lock;
  for (int i = 0; i < 2; ++i) {
    { guard g{mask_bh, lock}; }
    { guard g{irqsave, lock}; }
    in_softirq_context([&] { take(lock); });
  }
  expect_none();
}

TEST_F(lock_validator_test, bottom_halves_enabled_with_the_lock_held) {
  spinlock lock;
  in_softirq_context([&] { take(lock); });
  local_bh_disable();
  lock.lock(no_mask);
  expect_none();
  local_bh_enable();
  expect_one(report_kind::lock_irq_state, inconsistent);
  lock.unlock(no_mask);
}

TEST_F(lock_validator_test, what_a_handler_interrupts_is_no_order) {
  spinlock task_only;
  spinlock handlers;
  {
    guard g{no_mask, task_only};
    in_irq([&] { take(handlers); });
  }
  expect_none();
  // This is: the handler can wait for a lock whose holder waits for what the handler has halted.
  nest_irqsave(handlers, task_only);
  expect_one(report_kind::lock_irq_state, irq_order);
}

// --- V3: ways from what interrupts take to what they can halt ---

TEST_F(lock_validator_test, an_irq_safe_lock_before_an_unsafe_one) {
  spinlock safe;
  spinlock unsafe;
  in_irq([&] { take(safe); });
  take(unsafe);
  expect_none();
  for (int i = 0; i < 2; ++i) nest_irqsave(safe, unsafe);
  expect_one(report_kind::lock_irq_state, irq_order);
  EXPECT_TRUE(says("... which became HARDIRQ-irq-safe at:\n"));
  EXPECT_TRUE(says("... which became HARDIRQ-irq-unsafe at:\n"));
}

TEST_F(lock_validator_test, an_irq_safe_lock_before_another) {
  spinlock safe;
  spinlock too;
  in_irq([&] { take(safe); });
  { guard g{irqsave, too}; }
  nest_irqsave(safe, too);
  in_irq([&] { take(too); });
  expect_none();
}

TEST_F(lock_validator_test, an_unsafe_lock_before_a_safe_one) {
  spinlock safe;
  spinlock unsafe;
  in_irq([&] { take(safe); });
  {
    guard g{no_mask, unsafe};
    guard h{irqsave, safe};
  }
  expect_none();
}

TEST_F(lock_validator_test, over_a_third_lock) {
  spinlock safe;
  spinlock middle;
  spinlock unsafe;
  in_irq([&] { take(safe); });
  take(unsafe);
  nest_irqsave(middle, unsafe);
  expect_none();
  nest_irqsave(safe, middle);
  expect_one(report_kind::lock_irq_state, irq_order);
  EXPECT_TRUE(says("the dependencies between the locks are:\n"));
}

TEST_F(lock_validator_test, a_state_that_comes_after_the_order) {
  spinlock outer;
  spinlock inner;
  nest_irqsave(outer, inner);
  take(inner);
  expect_none();
  in_irq([&] { take(outer); });
  expect_one(report_kind::lock_irq_state, irq_inversion);
  EXPECT_TRUE(says("but this lock took another, HARDIRQ-unsafe lock in the past:\n"));
}

TEST_F(lock_validator_test, the_other_state_that_comes_after_the_order) {
  spinlock outer;
  spinlock inner;
  nest_irqsave(outer, inner);
  in_irq([&] { take(outer); });
  expect_none();
  take(inner);
  expect_one(report_kind::lock_irq_state, irq_inversion);
  EXPECT_TRUE(says("but this lock was taken by another, HARDIRQ-safe lock in the past:\n"));
}

TEST_F(lock_validator_test, a_softirq_safe_lock_before_an_unsafe_one) {
  spinlock safe;
  spinlock unsafe;
  in_softirq_context([&] { take(safe); });
  take(unsafe);
  {
    guard g{mask_bh, safe};
    guard h{no_mask, unsafe};
  }
  expect_one(report_kind::lock_irq_state, softirq_order);
}

// --- the report ---

constinit lock_class golden_a{"golden_a"};
constinit lock_class golden_b{"golden_b"};

/// Addresses, ids, places and stacks replaced: what remains is what parsers read.
std::string shape(const std::string& text) {
  std::string out = text.substr(0, text.find("\nstack backtrace:\n"));
  const auto replace = [&out](const char* what, const char* by) {
    out = std::regex_replace(out, std::regex{what}, by);
  };
  replace("\n        [^ ][^\n]*", "");  // frames
  replace("0x[0-9a-f]+", "ADDR");
  replace("/[0-9]+", "/ID");
  replace("at:? [^\n]*lock_validator_test.cpp:[0-9]+\n", "at PLACE\n");
  return out;
}

TEST_F(lock_validator_test, the_report_of_a_cycle) {
  spinlock a;
  spinlock b;
  set_lock_class(a, golden_a);
  set_lock_class(b, golden_b);
  start("golden", [&] {
    nest(a, b);
    nest(b, a);
  }).join();
  expect_one(report_kind::lock_order, circular);
  EXPECT_EQ(shape(reports.text()),
            R"(WARNING: possible circular locking dependency detected
golden/ID is trying to acquire lock:
ADDR (golden_a){+.+.}-{2:2}, at PLACE

but task is already holding lock:
ADDR (golden_b){+.+.}-{2:2}, at PLACE

which lock already depends on the new lock.

the existing dependency chain (in reverse order) is:

-> #1 (golden_b){+.+.}-{2:2}:
       at PLACE

-> #0 (golden_a){+.+.}-{2:2}:
       at PLACE

other info that might help us debug this:

 Possible unsafe locking scenario:

       CPU0                    CPU1
       ----                    ----
  lock(golden_b);
                               lock(golden_a);
                               lock(golden_b);
  lock(golden_a);

 *** DEADLOCK ***

1 lock held by golden/ID:
 #0: ADDR (golden_b){+.+.}-{2:2}, at PLACE
)");
}

TEST_F(lock_validator_test, the_report_names_static_locks) {
  static constinit spinlock name_of_mine;
  static constinit spinlock name_of_other;
  nest(name_of_mine, name_of_other);
  nest(name_of_other, name_of_mine);
  expect_one(report_kind::lock_order, circular);
  EXPECT_TRUE(says("name_of_mine")) << reports.text();
  EXPECT_TRUE(says("name_of_other"));
}

// --- limits and lives ---

TEST_F(lock_validator_test, what_the_forking_thread_holds_it_holds_in_the_child) {
  spinlock a;
  spinlock b;
  nest(a, b);
  b.lock(no_mask);
  const pid_t child = fork();
  if (child == 0) {
    a.lock(no_mask);
    a.unlock(no_mask);
    b.unlock(no_mask);
    // In the child alone: what it learns is its own.
    std::_Exit(reports.pending() == 1 ? 0 : 1);
  }
  b.unlock(no_mask);
  int status = -1;
  ASSERT_EQ(waitpid(child, &status, 0), child);
  EXPECT_EQ(status, 0);
  expect_none();
  nest(b, a);
  expect_one(report_kind::lock_order, circular);
}

/// The core makes the locks of armed fences anew in a child. Their class is that of their kind all the same.
TEST_F(lock_validator_test, a_lock_that_a_fork_remakes_keeps_its_class) {
  struct test;
  std::vector<account<test>> accounts(2);
  spinlock other;
  nest(accounts[0].lock, other);
  const pid_t child = fork();
  if (child == 0) {
    std::construct_at(&accounts[1].lock, spinlock::remade{});
    nest(other, accounts[1].lock);
    std::_Exit(reports.pending() == 1 ? 0 : 1);
  }
  int status = -1;
  ASSERT_EQ(waitpid(child, &status, 0), child);
  EXPECT_EQ(status, 0);
  expect_none();
}

TEST_F(lock_validator_test, threads_give_their_lists_back) {
  constexpr int more_than_there_are = 2100;
  spinlock lock;
  for (int i = 0; i < more_than_there_are; ++i) start("short", [&] { take(lock); }).join();
  expect_none();
}

TEST_F(lock_validator_test, more_held_than_it_can_list) {
  struct test;
  std::vector<account<test>> accounts(60);
  hold_all(accounts.data(), accounts.size());
  expect_none();
  spinlock a;
  spinlock b;
  nest(a, b);
  nest(b, a);
  expect_one(report_kind::lock_order, circular);
}

/// More than the table of locks has room for: old ones are forgotten, and nothing false is said.
TEST_F(lock_validator_test, more_locks_than_it_can_list) {
  struct test;
  std::vector<account<test>> accounts(300'000);
  spinlock other;
  for (account<test>& a : accounts) nest(a.lock, other);
  for (account<test>& a : accounts) nest(a.lock, other);
  expect_none();
  spinlock b;
  nest(other, b);
  nest(b, other);
  expect_one(report_kind::lock_order, circular);
}

void use_up_all_classes() {
  static constexpr std::size_t count = 9000;
  alignas(lock_class) static unsigned char memory[count][sizeof(lock_class)];
  spinlock lock;
  for (auto& m : memory) {
    set_lock_class(lock, *new (m) lock_class{"one of many"});
    take(lock);
  }
}

TEST(lock_validator_limit_test, is_told_once_and_ends_nothing) {
  const auto run = [] {
    use_up_all_classes();
    spinlock a;
    spinlock b;
    nest(a, b);
    nest(b, a);
    std::fprintf(stderr, "reports: %d\n", static_cast<int>(report_count()));
    std::exit(0);
  };
  EXPECT_EXIT(run(), testing::ExitedWithCode(0),
              "^BUG: MAX_LOCKDEP_KEYS too low!\n"
              "turning off the locking correctness validator.\n(.*\n)*reports: 1\n$");
}

TEST(lock_validator_limit_test, a_breach_ends_the_program_by_default) {
  const auto run = [] {
    spinlock a;
    spinlock b;
    nest(a, b);
    nest(b, a);
  };
  EXPECT_EXIT(run(), testing::KilledBySignal(SIGABRT), "^WARNING: possible circular locking");
}

// --- all at once ---

/// Threads make, take and end locks of common classes in the right order, with interrupts among them.
TEST_F(lock_validator_test, many_threads_at_once) {
  struct test;
  static constexpr int threads = 6;
  static constexpr int rounds_each = 2000;
  ledger<test> all;
  atomic<std::uint32_t> interrupts{0};
  spinlock handlers;
  {
    std::vector<kthread> running;
    for (int t = 0; t < threads; ++t) {
      running.push_back(start("hammer", [&] {
        for (int i = 0; i < rounds_each; ++i) {
          const auto a = open_account<test>();
          const auto b = open_account<test>();
          nest(a->lock, all.lock);
          nest(a->lock, b->lock);
          guard g{irqsave, handlers};
          if (i % 16 == 0) interrupts.fetch_add_relaxed(1);
        }
      }));
    }
    running.push_back(start("bell", [&] {
      for (int i = 0; i < rounds_each; ++i) in_irq([&] { take(handlers); });
    }));
    for (kthread& k : running) k.join();
  }
  expect_none();
  EXPECT_NE(interrupts.load_relaxed(), 0u);
  const auto last = open_account<test>();
  nest(all.lock, last->lock);
  expect_one(report_kind::lock_order, circular);
}

/// The first to see a breach tells it, and no other.
TEST_F(lock_validator_test, many_threads_find_the_same) {
  spinlock a;
  spinlock b;
  nest(a, b);
  spinlock gate;  // so that they never deadlock
  {
    std::vector<kthread> running;
    for (int t = 0; t < 6; ++t) {
      running.push_back(start("finder", [&] {
        guard g{no_mask, gate};
        nest(b, a);
      }));
    }
    for (kthread& k : running) k.join();
  }
  expect_one(report_kind::lock_order, circular);
}

}  // namespace
}  // namespace interlock::test
