// SPDX-License-Identifier: Apache-2.0

/// The rules of locks, RCU and fences, by which the machine judges what the core announces: each breach, and its corrected twin.

#include <gtest/gtest.h>
#include <pthread.h>

#include <atomic>
#include <chrono>
#include <condition_variable>
#include <cstdint>
#include <mutex>
#include <optional>
#include <thread>

#include "interlock/interlock.hpp"
#include "interlock/model/explore.hpp"
#include "interlock_platform/machine.h"

/// Not of this file alone, or the compiler would leave it out.
namespace rules_test {
void* volatile kept;
}  // namespace rules_test

namespace {

using namespace interlock;

bool says(const model::report& r, const char* what) {
  return r.text().find(what) != std::string::npos;
}

/// All of them.
template <class F>
model::report every(F&& function) {
  model::options o;
  o.strategy = model::strategy::exhaustive;
  return model::explore(o, std::forward<F>(function));
}

/// One execution, in which nothing goes wrong by itself.
template <class F>
model::report once(F&& function) {
  model::options o;
  o.strategy = model::strategy::exhaustive;
  o.executions = 1;
  return model::explore(o, std::forward<F>(function));
}

TEST(rules, two_orders_of_locks_are_an_inversion_without_a_deadlock) {
  const auto program = [](bool same_order) {
    return once([=] {
      spinlock a;
      spinlock b;
      {
        guard g{no_mask, a};
        guard h{no_mask, b};
      }
      guard g{no_mask, same_order ? a : b};
      guard h{no_mask, same_order ? b : a};
    });
  };
  const auto bad = program(false);
  EXPECT_TRUE(says(bad, "WARNING: possible circular locking dependency detected")) << bad;
  const auto good = program(true);
  EXPECT_TRUE(good.passed()) << good;
}

TEST(rules, three_orders_of_three_locks_are_an_inversion) {
  const auto program = [](bool round) {
    return once([=] {
      spinlock a;
      spinlock b;
      spinlock c;
      {
        guard g{no_mask, a};
        guard h{no_mask, b};
      }
      {
        guard g{no_mask, b};
        guard h{no_mask, c};
      }
      guard g{no_mask, round ? c : a};
      guard h{no_mask, round ? a : c};
    });
  };
  const auto bad = program(true);
  EXPECT_TRUE(says(bad, "WARNING: possible circular locking dependency detected")) << bad;
  const auto good = program(false);
  EXPECT_TRUE(good.passed()) << good;
}

TEST(rules, locks_are_judged_however_many_are_held) {
  const auto program = [](int between, bool turned) {
    return once([=]() INTERLOCK_NO_THREAD_SAFETY_ANALYSIS {
      mutex first;
      mutex second;
      mutex others[48];
      {
        guard g{first};
        guard h{second};
      }
      guard g{turned ? second : first};
      for (int i = 0; i < between; ++i) others[i].lock();
      { guard h{turned ? first : second}; }
      for (int i = 0; i < between; ++i) others[i].unlock();
    });
  };
  const auto bad = program(20, true);
  EXPECT_TRUE(says(bad, "WARNING: possible circular locking dependency detected")) << bad;
  const auto good = program(20, false);
  EXPECT_TRUE(good.passed()) << good;
  const auto most = program(46, false);
  EXPECT_TRUE(most.passed()) << most;
  const auto more = program(47, false);
  EXPECT_TRUE(says(more, "main holds more than 48 locks at once")) << more;
}

TEST(rules, an_attempt_waits_for_nobody_and_is_no_inversion) {
  const auto r = once([] {
    spinlock a;
    spinlock b;
    {
      guard g{no_mask, a};
      guard h{no_mask, b};
    }
    guard g{no_mask, b};
    if (a.try_lock(no_mask)) a.unlock(no_mask);
  });
  EXPECT_TRUE(r.passed()) << r;
}

TEST(rules, a_lock_of_a_handler_taken_with_interrupts_on_is_inconsistent) {
  // The interrupt comes when the lock is free: only the rule can see what might have been.
  const auto program = [](auto mode) {
    return once([=] {
      const auto line = *make_irq_line({.name = "dma", .kind = irq_kind::asynchronous});
      spinlock lock;
      const auto action = request_irq(*line, [&] {
                            guard g{no_mask, lock};
                            return irqreturn::handled;
                          }).value();
      { guard g{mode, lock}; }
      raise_irq(*line);
    });
  };
  const auto bad = program(no_mask);
  EXPECT_TRUE(says(bad, "WARNING: inconsistent lock state")) << bad;
  EXPECT_TRUE(says(bad, "{HARDIRQ-ON-W} -> {IN-HARDIRQ-W}")) << bad;
  const auto good = program(irqsave);
  EXPECT_TRUE(good.passed()) << good;
}

TEST(rules, a_lock_of_a_softirq_taken_with_bottom_halves_on_is_inconsistent) {
  const auto program = [](auto mode) {
    return once([=] {
      spinlock lock;
      const softirq vector = *open_softirq(
          "rules",
          [](void* cookie) {
            guard g{no_mask, *static_cast<spinlock*>(cookie)};
          },
          &lock);
      { guard g{mode, lock}; }
      raise_softirq(vector);  // and serves it at once
    });
  };
  const auto bad = program(no_mask);
  EXPECT_TRUE(says(bad, "{SOFTIRQ-ON-W} -> {IN-SOFTIRQ-W}")) << bad;
  const auto masked = program(mask_bh);
  EXPECT_TRUE(masked.passed()) << masked;
  const auto off = program(irqsave);
  EXPECT_TRUE(off.passed()) << off;
}

TEST(rules, an_attempt_of_a_handler_waits_for_nobody) {
  const auto r = once([] {
    const auto line = *make_irq_line({.name = "dma", .kind = irq_kind::asynchronous});
    spinlock lock;
    const auto action = request_irq(*line, [&] {
                          if (lock.try_lock(no_mask)) lock.unlock(no_mask);
                          return irqreturn::handled;
                        }).value();
    { guard g{no_mask, lock}; }
    raise_irq(*line);
  });
  EXPECT_TRUE(r.passed()) << r;
}

TEST(rules, a_task_ends_as_it_began) {
  const auto preempt = once([] { preempt_disable(); });
  EXPECT_TRUE(says(preempt, "BUG: a task that ends has preemption disabled")) << preempt;
  const auto masked = once([] { local_irq_disable(); });
  EXPECT_TRUE(says(masked, "BUG: a task that ends has interrupts off")) << masked;
  const auto bh = once([] { local_bh_disable(); });
  EXPECT_TRUE(says(bh, "BUG: a task that ends has bottom halves disabled")) << bh;
  const auto reader = once([] { rcu_read_lock(); });
  EXPECT_TRUE(says(reader, "BUG: a task that ends is inside of an RCU read-side section"))
      << reader;
  const auto locked = once([]() INTERLOCK_NO_THREAD_SAFETY_ANALYSIS {
    static mutex lock;
    lock.lock();
  });
  EXPECT_TRUE(says(locked, "BUG: a task that ends holds a lock")) << locked;
}

const char* name(dma_fence* /*fence*/) { return "rules"; }
constexpr dma_fence_ops plain_ops{name, name, nullptr, nullptr, nullptr, nullptr, nullptr};

TEST(rules, fences_of_a_context_are_signalled_in_order) {
  const auto program = [](bool in_order) {
    return once([=] {
      const std::uint64_t context = dma_fence_context_alloc();
      auto* const first = new (std::malloc(sizeof(dma_fence))) dma_fence{plain_ops, context, 1};
      auto* const second = new (std::malloc(sizeof(dma_fence))) dma_fence{plain_ops, context, 2};
      (in_order ? first : second)->signal();
      (in_order ? second : first)->signal();
      intrusive_put(*first);
      intrusive_put(*second);
    });
  };
  const auto bad = program(false);
  EXPECT_TRUE(says(bad, "is signalled after")) << bad;
  const auto good = program(true);
  EXPECT_TRUE(good.passed()) << good;
}

/// The library lets one of two signals win, and announces that one.
TEST(rules, a_fence_is_signalled_once) {
  const auto program = [](int times) {
    return once([=] {
      for (const std::uint64_t fence : {4096u, 8192u}) {
        interlock_machine_announce(interlock_machine_fence_init, fence, 77, fence);
        for (int i = 0; i < times; ++i) {
          interlock_machine_announce(interlock_machine_fence_signaled, fence, 0, 0);
        }
      }
    });
  };
  const auto bad = program(2);
  EXPECT_TRUE(says(bad, "BUG: fence 77:4096 is signalled twice")) << bad;
  const auto good = program(1);
  EXPECT_TRUE(good.passed()) << good;
}

TEST(rules, seqnos_of_32_bits_begin_again) {
  const auto program = [](std::uint64_t one, std::uint64_t next) {
    return once([=] {
      const std::uint64_t context = dma_fence_context_alloc();
      auto* const first = new (std::malloc(sizeof(dma_fence))) dma_fence{plain_ops, context, one};
      auto* const second = new (std::malloc(sizeof(dma_fence))) dma_fence{plain_ops, context, next};
      first->signal();
      second->signal();
      intrusive_put(*first);
      intrusive_put(*second);
    });
  };
  const auto wrapped = program(0xffff'ffff, 0);
  EXPECT_TRUE(wrapped.passed()) << wrapped;
  const auto back = program(0, 0xffff'ffff);
  EXPECT_TRUE(says(back, "is signalled after")) << back;
  const auto wide = program(0xffff'ffff, 0x1'0000'0000);
  EXPECT_TRUE(wide.passed()) << wide;
}

/// Whoever is asked first says first that it is done, as seqno fences do.
TEST(rules, fences_answer_in_any_order) {
  static constexpr dma_fence_ops done_ops{
      name, name, nullptr, [](dma_fence* /*fence*/) { return true; }, nullptr, nullptr, nullptr};
  const auto r = once([] {
    const std::uint64_t context = dma_fence_context_alloc();
    auto* const first = new (std::malloc(sizeof(dma_fence))) dma_fence{done_ops, context, 1};
    auto* const second = new (std::malloc(sizeof(dma_fence))) dma_fence{done_ops, context, 2};
    if (!second->is_signaled()) std::abort();
    first->signal();
    intrusive_put(*first);
    intrusive_put(*second);
  });
  EXPECT_TRUE(r.passed()) << r;
}

TEST(rules, a_wait_names_the_fence_that_nobody_signals) {
  const auto r = once([] {
    auto* const fence = new (std::malloc(sizeof(dma_fence))) dma_fence{plain_ops, 77, 5};
    fence->wait();
  });
  EXPECT_TRUE(says(r, "context=77 seqno=5 unsignaled")) << r;
}

TEST(rules, a_lock_in_the_place_of_another_is_another) {
  const auto r = once([] {
    // Two objects with two locks each, one after the other on the same stack, locked in opposite orders. The locks are of one
    // class, so that they are in order one by one.
    struct both {
      spinlock locks[2];
    };
    alignas(both) unsigned char place[sizeof(both)];
    for (const bool turned : {false, true}) {
      both* const b = new (place) both;
      guard g{no_mask, b->locks[turned ? 1 : 0]};
      guard h{no_mask, b->locks[turned ? 0 : 1]};
    }
  });
  EXPECT_TRUE(r.passed()) << r;
}

// --- what the core can not do wrong is announced in its place ---

void announce(interlock_machine_event event, std::uint64_t what = 0) {
  interlock_machine_announce(event, what, 0, 0);
}

/// A reader is inside when `begin` is called, and when `end` is, unless it has left before.
template <class Begin, class End>
model::report with_reader(bool leaves, Begin begin, End end) {
  return once([=] {
    completion inside;
    completion may_leave;
    auto reader = kthread_run("reader", [&] {
                    rcu_read_lock();
                    rcu_read_unlock();
                    announce(interlock_machine_rcu_enter);
                    inside.complete();
                    if (leaves) announce(interlock_machine_rcu_exit);
                    may_leave.wait();
                    if (!leaves) announce(interlock_machine_rcu_exit);
                  }).value();
    inside.wait();
    begin();
    if (leaves) cond_resched();
    end();
    may_leave.complete();
    (void)reader.join();
  });
}

TEST(rules, a_grace_period_waits_for_readers) {
  const auto begin = [] { announce(interlock_machine_rcu_gp_begin); };
  const auto end = [] { announce(interlock_machine_rcu_gp_end); };
  const auto bad = with_reader(false, begin, end);
  EXPECT_TRUE(says(bad, "BUG: a grace period ends while reader")) << bad;
}

TEST(rules, a_grace_period_waits_for_no_later_reader) {
  const auto begin = [] { announce(interlock_machine_rcu_gp_begin); };
  const auto end = [] { announce(interlock_machine_rcu_gp_end); };
  const auto later = once([&] {
    begin();
    announce(interlock_machine_rcu_enter);
    end();
    announce(interlock_machine_rcu_exit);
  });
  EXPECT_TRUE(later.passed()) << later;
  const auto again = once([&] {  // the one that was inside has left, and another section has begun
    announce(interlock_machine_rcu_enter);
    begin();
    announce(interlock_machine_rcu_exit);
    announce(interlock_machine_rcu_enter);
    end();
    announce(interlock_machine_rcu_exit);
  });
  EXPECT_TRUE(again.passed()) << again;
}

TEST(rules, synchronize_rcu_waits_for_readers) {
  const auto begin = [] { announce(interlock_machine_rcu_wait_begin); };
  const auto end = [] { announce(interlock_machine_rcu_wait_end); };
  const auto bad = with_reader(false, begin, end);
  EXPECT_TRUE(says(bad, "BUG: synchronize_rcu returns while reader")) << bad;
  const auto good = once([&] {
    begin();
    announce(interlock_machine_rcu_enter);  // later than the wait
    end();
    announce(interlock_machine_rcu_exit);
  });
  EXPECT_TRUE(good.passed()) << good;
}

TEST(rules, callbacks_wait_for_readers) {
  const auto begin = [] { announce(interlock_machine_rcu_queued, 4096); };
  const auto end = [] { announce(interlock_machine_rcu_invoked, 4096); };
  const auto bad = with_reader(false, begin, end);
  EXPECT_TRUE(says(bad, "BUG: an RCU callback is invoked while reader")) << bad;
  const auto twice = once([&] {
    begin();
    begin();
  });
  EXPECT_TRUE(says(twice, "BUG: an RCU callback is queued twice")) << twice;
  const auto again = once([&] {
    begin();
    end();
    begin();
    end();
  });
  EXPECT_TRUE(again.passed()) << again;
}

TEST(rules, a_signalling_section_waits_for_no_fence) {
  const auto program = [](bool inside) {
    return once([=] {
      auto* const fence = new (std::malloc(sizeof(dma_fence))) dma_fence{plain_ops, 77, 5};
      fence->signal();
      const bool cookie = dma_fence_begin_signalling();
      if (inside) announce(interlock_machine_fence_wait_start, 1);
      dma_fence_end_signalling(cookie);
      if (!inside) announce(interlock_machine_fence_wait_start, 1);
      intrusive_put(*fence);
    });
  };
  const auto bad = program(true);
  EXPECT_TRUE(says(bad, "waits for a fence inside of a signalling section")) << bad;
  const auto good = program(false);
  EXPECT_TRUE(good.passed()) << good;
}

/// The library reports a wait that is overdue; the machine knows of it when nobody can go on.
TEST(rules, a_deadlock_names_the_fence_that_nobody_signals) {
  const auto program = [](bool signalled) {
    return once([=] {
      constexpr std::uint64_t fence = 4096;
      interlock_machine_announce(interlock_machine_fence_init, fence, 77, 5);
      announce(interlock_machine_fence_wait_start, fence);
      if (signalled) announce(interlock_machine_fence_signaled, fence);
      static const std::uint32_t word = 0;
      (void)interlock_machine_park(&word, 0, INT64_MAX, false);
    });
  };
  const auto waits = program(false);
  EXPECT_TRUE(says(waits, "main waits for fence 77:5, which nobody signals")) << waits;
  const auto other = program(true);
  EXPECT_TRUE(says(other, "BUG: deadlock") && !says(other, "nobody signals")) << other;
}

TEST(rules, a_lock_of_a_signalling_section_is_not_held_across_a_wait) {
  const auto program = [](bool across) {
    return once([=] {
      mutex lock;
      auto* const fence = new (std::malloc(sizeof(dma_fence))) dma_fence{plain_ops, 77, 5};
      {
        const bool cookie = dma_fence_begin_signalling();
        {
          guard g{lock};  // the way to the signal goes through it
          fence->signal();
        }
        dma_fence_end_signalling(cookie);
      }
      auto* const other = new (std::malloc(sizeof(dma_fence))) dma_fence{plain_ops, 78, 1};
      const auto wait = [&] {
        (void)other->wait_until(monotonic_clock::now() + std::chrono::milliseconds{1});
      };
      if (across) {
        guard g{lock};
        wait();
      } else {
        wait();
      }
      intrusive_put(*other);
      intrusive_put(*fence);
    });
  };
  const auto bad = program(true);
  EXPECT_TRUE(says(bad, "WARNING: possible circular locking dependency detected")) << bad;
  EXPECT_TRUE(says(bad, "the signalling of fences")) << bad;
  const auto good = program(false);
  EXPECT_TRUE(good.passed()) << good;
}

TEST(rules, a_wake_that_only_a_watchdog_makes_good_is_lost) {
  const auto program = [](bool wakes) {
    return every([=] {
      struct sleeper {
        std::uint32_t word = 0;
      };
      auto* const s = new sleeper;
      auto waker = kthread_run("waker", [=] {
                     std::atomic_ref{s->word}.store(1, std::memory_order_release);
                     if (wakes) interlock_machine_unpark(&s->word, 1);
                   }).value();
      (void)interlock_machine_park(&s->word, 0, INT64_MAX - 1, true);
      (void)waker.join();
      delete s;
    });
  };
  const auto bad = program(false);
  EXPECT_TRUE(says(bad, "BUG: lost wake-up")) << bad;
  const auto good = program(true);
  EXPECT_TRUE(good.passed()) << good;
}

TEST(rules, a_handler_that_waits_for_a_word_sleeps) {
  const auto program = [](bool waits) {
    return once([=] {
      const auto line = *make_irq_line({.name = "dma", .kind = irq_kind::asynchronous});
      std::atomic<int> word{0};
      const auto action = request_irq(*line, [&] {
                            if (waits) word.wait(0);
                            return irqreturn::handled;
                          }).value();
      raise_irq(*line);
    });
  };
  const auto bad = program(true);
  EXPECT_TRUE(says(bad, "BUG: scheduling while atomic: main waits for an atomic object")) << bad;
  const auto good = program(false);
  EXPECT_TRUE(good.passed()) << good;
}

/// In an interrupt that comes in between two steps, not one that its task runs.
TEST(rules, an_interrupt_sleeps_never) {
  const auto r = every([] {
    std::atomic<bool> ready{false};
    static std::uint32_t word;
    word = 0;
    ref_ptr<irq_line> line;
    irq_action action;
    auto owner = kthread_run("owner", [&] {
                   line = *make_irq_line({.name = "dma", .kind = irq_kind::asynchronous});
                   action = request_irq(*line, [&] {
                              (void)interlock_machine_park(&word, 0, INT64_MAX, false);
                              return irqreturn::handled;
                            }).value();
                   ready = true;
                   while (ready) platform::cpu_relax();
                   action.free();
                 }).value();
    while (!ready) platform::cpu_relax();
    raise_irq(*line);
    ready = false;
    (void)owner.join();
  });
  EXPECT_TRUE(says(r, "BUG: scheduling while atomic: an interrupt handler sleeps")) << r;
}

/// What the library has a hand in it reports itself; these are of the standard library.
TEST(rules, who_has_disabled_something_does_not_sleep) {
  const auto program = [](auto enter, auto leave) {
    return [=](auto wait) {
      const auto bad = once([=] {
        enter();
        wait();
        leave();
      });
      EXPECT_TRUE(says(bad, "BUG: scheduling while atomic: main ")) << bad;
      const auto good = once([=] {
        enter();
        leave();
        wait();
      });
      EXPECT_TRUE(good.passed()) << good;
    };
  };
  const auto sleep = [] { std::this_thread::sleep_for(std::chrono::milliseconds{1}); };
  const auto join = [] { std::thread{[] {}}.join(); };
  const auto wait = [] {
    std::mutex lock;
    std::condition_variable never;
    std::unique_lock g{lock};
    (void)never.wait_for(g, std::chrono::milliseconds{1});
  };
  const auto preempt = program([] { preempt_disable(); }, [] { preempt_enable(); });
  preempt(sleep);
  preempt(join);
  preempt(wait);
  program([] { local_irq_disable(); }, [] { local_irq_enable(); })(sleep);
  program([] { local_bh_disable(); }, [] { local_bh_enable(); })(sleep);
}

// --- memory ---

/// What `other` does beside `main`, and ordered after it.
template <class Main, class Other>
void races_unless_ordered(Main main, Other other) {
  const auto beside = every([=] {
    auto* const word = new int{0};
    std::thread thread{[=] { other(word); }};
    main(word);
    thread.join();
    rules_test::kept = word;
  });
  EXPECT_TRUE(says(beside, "BUG: data-race")) << beside;
  const auto before = every([=] {
    auto* const word = new int{0};
    main(word);
    std::thread thread{[=] { other(word); }};
    thread.join();
    rules_test::kept = word;
  });
  EXPECT_TRUE(before.passed()) << before;
}

TEST(rules, a_write_races_with_a_read_before_it) {
  races_unless_ordered([](int* word) { rules_test::kept = word + *word; },
                       [](int* word) { *word = 1; });
}

TEST(rules, a_plain_access_races_with_an_atomic_one) {
  races_unless_ordered([](int* word) { *word = 1; },
                       [](int* word) { std::atomic_ref{*word}.store(2); });
}

TEST(rules, a_free_races_with_an_access_before_it) {
  const auto program = [](bool waits) {
    return once([=] {
      auto* const word = new int{0};
      std::atomic<bool> read{false};
      std::thread reader{[&, word] {
        rules_test::kept = word + *word;
        read.store(true, waits ? std::memory_order_release : std::memory_order_relaxed);
      }};
      while (!read.load(std::memory_order_acquire)) std::this_thread::yield();
      rules_test::kept = nullptr;
      delete word;
      reader.join();
    });
  };
  const auto bad = program(false);
  EXPECT_TRUE(says(bad, "BUG: data-race: free of 4 bytes")) << bad;
  const auto good = program(true);
  EXPECT_TRUE(good.passed()) << good;
}

/// Whoever comes first: nobody has touched the memory before.
TEST(rules, a_free_beside_an_access_is_found) {
  const auto program = [](bool waits) {
    return every([=] {
      auto* const word = static_cast<int*>(std::malloc(sizeof(int)));
      std::thread thread{[=] { std::atomic_ref{*word}.store(1); }};
      if (waits) thread.join();
      std::free(word);
      if (!waits) thread.join();
    });
  };
  const auto bad = program(false);
  EXPECT_TRUE(says(bad, "BUG: use after free: write of 4 bytes") ||
              says(bad, "BUG: data-race: free"))
      << bad;
  const auto good = program(true);
  EXPECT_TRUE(good.passed()) << good;
}

TEST(rules, a_block_is_freed_once_and_at_its_beginning) {
  const auto program = [](std::size_t at, unsigned times) {
    return once([=] {
      auto* const block = static_cast<char*>(std::malloc(16));
      rules_test::kept = block;
      for (unsigned i = 0; i < times; ++i) {
        std::free(static_cast<char*>(rules_test::kept) + at);
      }
    });
  };
  const auto twice = program(0, 2);
  EXPECT_TRUE(says(twice, "BUG: double free of a block of 16 bytes")) << twice;
  const auto inside = program(4, 1);
  EXPECT_TRUE(says(inside, "which is not the beginning of a block")) << inside;
  const auto good = program(0, 1);
  EXPECT_TRUE(good.passed()) << good;
}

TEST(rules, what_nothing_points_to_is_a_leak) {
  struct node {
    node* next;
    int value;
  };
  const auto program = [](int how) {
    return once([how] {
      auto* const first = new node{nullptr, 1};
      first->next = new node{nullptr, 2};
      rules_test::kept = first;
      if (how != 2) rules_test::kept = nullptr;
      if (how == 0) return;  // both
      if (how == 1) {        // the second
        delete first;
        return;
      }
      if (how == 3) {
        delete first->next;
        delete first;
      }
    });
  };
  const auto both = program(0);
  EXPECT_TRUE(says(both, "BUG: memory leak: 32 bytes in 2 blocks")) << both;
  EXPECT_TRUE(says(both, "rules_test.cpp")) << both;
  const auto second = program(1);
  EXPECT_TRUE(says(second, "BUG: memory leak: 16 bytes in 1 block ")) << second;
  const auto reached = program(2);
  EXPECT_TRUE(reached.passed()) << reached;
  const auto freed = program(3);
  EXPECT_TRUE(freed.passed()) << freed;
}

/// A handler of a threaded line runs on the service task, which stays.
TEST(rules, the_value_of_a_key_is_no_leak_while_its_task_stays) {
  const auto program = [](bool keeps) {
    return once([=] {
      static pthread_key_t key;
      if (pthread_key_create(&key, nullptr) != 0) std::abort();
      const auto line = *make_irq_line({.name = "device"});
      completion done;
      const auto action = request_irq(*line, [&] {
                            (void)pthread_setspecific(key, new int{1});
                            if (!keeps) (void)pthread_setspecific(key, nullptr);
                            done.complete();
                            return irqreturn::handled;
                          }).value();
      raise_irq(*line);
      done.wait();
    });
  };
  const auto kept = program(true);
  EXPECT_TRUE(kept.passed()) << kept;
  const auto lost = program(false);
  EXPECT_TRUE(says(lost, "BUG: memory leak: 4 bytes in 1 block ")) << lost;
}

}  // namespace
