// SPDX-License-Identifier: Apache-2.0

/// Each broken contract of RCU is reported, once, in the kernel's words, and the program goes on.

#include <cstring>

#include "interlock/bottom_half.hpp"
#include "rcu_test_support.hpp"
#include "support/report_recorder.hpp"

namespace interlock::test {
namespace {

void do_nothing(rcu_head*) {}

class rcu_misuse : public report_test {
 protected:
  void expect_one(report_kind kind, const char* text) {
    EXPECT_TRUE(reports.took(kind, text));
    EXPECT_EQ(reports.pending(), 0u);
    EXPECT_FALSE(rcu_read_lock_held());
    EXPECT_EQ(preempt_count(), 0u);
  }
};

// --- waiting inside a reader ---

TEST_F(rcu_misuse, synchronize_in_a_reader) {
  rcu_read_lock();
  rcu_read_lock();
  synchronize_rcu();
  EXPECT_TRUE(rcu_read_lock_held());
  rcu_read_unlock();
  EXPECT_TRUE(rcu_read_lock_held());
  rcu_read_unlock();
  expect_one(report_kind::rcu_misuse,
             "Illegal synchronize_rcu() in RCU read-side critical section!");
  EXPECT_NE(std::strstr(reports.text(), "WARNING: suspicious RCU usage\n"), nullptr);
  EXPECT_NE(std::strstr(reports.text(), "rcu_misuse_test.cpp:"), nullptr);
}

TEST_F(rcu_misuse, expedited_in_a_reader) {
  const guard g{rcu};
  synchronize_rcu_expedited();
  EXPECT_TRUE(reports.took(report_kind::rcu_misuse, "Illegal synchronize_rcu_expedited() in RCU"));
}

TEST_F(rcu_misuse, conditional_in_a_reader_although_it_would_not_wait) {
  const guard g{rcu};
  cond_synchronize_rcu(rcu_cookie{});
  EXPECT_TRUE(reports.took(report_kind::rcu_misuse, "Illegal cond_synchronize_rcu() in RCU"));
}

TEST_F(rcu_misuse, barrier_in_a_reader) {
  rcu_head head;
  call_rcu(head, do_nothing);
  {
    const guard g{rcu};
    rcu_barrier();
  }
  expect_one(report_kind::rcu_misuse, "Illegal rcu_barrier() in RCU read-side critical section!");
}

TEST_F(rcu_misuse, sleep_in_a_reader) {
  rcu_read_lock();
  might_sleep();
  rcu_read_unlock();
  expect_one(report_kind::sleep_in_atomic, "RCU nest depth: 1, expected: 0");
}

TEST_F(rcu_misuse, synchronize_in_atomic_context) {
  preempt_disable();
  synchronize_rcu();
  preempt_enable();
  expect_one(report_kind::sleep_in_atomic, "BUG: sleeping function called from invalid context");
}

// --- in callbacks ---

TEST_F(rcu_misuse, synchronize_in_a_callback) {
  rcu_head head;
  call_rcu(head, [](rcu_head*) { synchronize_rcu(); });
  rcu_barrier();
  expect_one(report_kind::sleep_in_atomic, "BUG: sleeping function called from invalid context");
}

TEST_F(rcu_misuse, barrier_in_a_callback) {
  rcu_head head;
  call_rcu(head, [](rcu_head*) { rcu_barrier(); });
  rcu_barrier();
  expect_one(report_kind::rcu_misuse, "Illegal rcu_barrier() in an RCU callback!");
}

TEST_F(rcu_misuse, callback_that_leaves_preemption_disabled) {
  rcu_head head;
  call_rcu(head, [](rcu_head*) { preempt_disable(); });
  rcu_barrier();
  expect_one(report_kind::rcu_misuse, "left the context unbalanced");
}

TEST_F(rcu_misuse, callback_that_leaves_bottom_halves_disabled) {
  rcu_head head;
  call_rcu(head, [](rcu_head*) { local_bh_disable(); });
  rcu_barrier();
  expect_one(report_kind::rcu_misuse, "left the context unbalanced");
}

TEST_F(rcu_misuse, callback_that_stays_a_reader) {
  rcu_head head;
  call_rcu(head, [](rcu_head*) { rcu_read_lock(); });
  rcu_barrier();
  expect_one(report_kind::rcu_misuse, "RCU nest depth: 1, expected: 0");
  synchronize_rcu();  // it does no more
}

TEST_F(rcu_misuse, callback_that_leaves_interrupts_off) {
  rcu_head head;
  call_rcu(head, [](rcu_head*) { local_irq_disable(); });
  rcu_barrier();
  expect_one(report_kind::rcu_misuse, "irqs_disabled(): 1, expected: 0");
}

// --- heads ---

TEST_F(rcu_misuse, head_queued_twice) {
  static int runs = 0;
  const auto count = [](rcu_head*) { ++runs; };
  rcu_head head;
  {
    held_reader reader;
    call_rcu(head, count);
    call_rcu(head, count);
  }
  rcu_barrier();
  expect_one(report_kind::rcu_misuse, "call_rcu(): Double-freed CB 0x");
  EXPECT_EQ(runs, 1);
  call_rcu(head, count);  // again, after it has run, is right
  rcu_barrier();
  EXPECT_EQ(runs, 2);
}

/// A head is memory like any other until it is queued: no garbage in it looks like misuse.
TEST_F(rcu_misuse, garbage_in_a_head_is_none) {
  union {
    std::uint64_t words[2];
    rcu_head head;
  } u;
  for (const std::uint64_t garbage : {std::uint64_t{0}, ~std::uint64_t{0}, std::uint64_t{8}}) {
    u.words[0] = u.words[1] = garbage;
    call_rcu(u.head, do_nothing);
    rcu_barrier();
  }
}

TEST_F(rcu_misuse, callback_without_a_function) {
  rcu_head head;
  call_rcu(head, nullptr);
  rcu_barrier();
  expect_one(report_kind::rcu_misuse, "without a function");
}

// --- readers ---

TEST_F(rcu_misuse, unlock_without_lock) {
  rcu_read_unlock();
  expect_one(report_kind::context_imbalance, "WARNING: bad unlock balance detected!");
  const guard g{rcu};
  EXPECT_TRUE(rcu_read_lock_held());
}

TEST_F(rcu_misuse, dereference_outside_a_reader) {
  int value = 0;
  const rcu_pointer<int> p{&value};
  (void)rcu_dereference(p);
  expect_one(report_kind::rcu_misuse, "suspicious rcu_dereference_check() usage!");
}

TEST_F(rcu_misuse, checked_dereference_with_neither) {
  int value = 0;
  const rcu_pointer<int> p{&value};
  (void)rcu_dereference_check(p, true);
  (void)rcu_dereference_protected(p, true);
  (void)rcu_access_pointer(p);
  {
    const guard g{rcu};
    (void)rcu_dereference_check(p, false);
  }
  EXPECT_EQ(reports.pending(), 0u);
  (void)rcu_dereference_check(p, false);
  EXPECT_TRUE(reports.took(report_kind::rcu_misuse, "suspicious rcu_dereference_check() usage!"));
  (void)rcu_dereference_protected(p, false);
  EXPECT_TRUE(reports.took(report_kind::rcu_misuse, "suspicious rcu_dereference_check() usage!"));
}

TEST_F(rcu_misuse, thread_that_ends_inside_a_reader) {
  start([] { rcu_read_lock(); }).join();
  synchronize_rcu();  // goes on
  expect_one(report_kind::rcu_misuse, "its thread ends inside an RCU read-side critical section");
}

}  // namespace
}  // namespace interlock::test
