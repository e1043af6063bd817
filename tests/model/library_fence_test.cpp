// SPDX-License-Identifier: Apache-2.0

/// Fences on the simulated machine. Some lie on the stack and are never freed: see the test that is
/// left out.

#include <new>
#include <vector>

#include "model/library_support.hpp"

namespace interlock::test {
namespace {

const char* name_of(dma_fence*) { return "test"; }
constexpr dma_fence_ops with_enable(bool (*enable)(dma_fence*)) {
  dma_fence_ops ops{};
  ops.get_driver_name = ops.get_timeline_name = name_of;
  ops.enable_signaling = enable;
  return ops;
}
constexpr dma_fence_ops plain_ops = with_enable(nullptr);

ref_ptr<dma_fence> make_fence(const dma_fence_ops& ops = plain_ops) {
  return ref_ptr<dma_fence>::adopt(new (std::malloc(sizeof(dma_fence))) dma_fence{ops, 1, 1});
}

TEST(library_fence, one_of_two_signals_wins) {
  const model::expectations here;
  passes_all(model::explore(all(), [] {
    const auto fence = make_fence();
    bool other_did = false;
    auto other = start("other", [&, fence] { other_did = fence->signal(); });
    const bool did = fence->signal();
    (void)other.join();
    EXPECT_NE(did, other_did);
    EXPECT_EQ(fence->status(), 1);
  }));
}

struct noted : dma_fence_cb {
  int calls = 0;
  int data = 0;
  const int* source = nullptr;
};
void take_note(dma_fence*, dma_fence_cb* cb) {
  auto& n = static_cast<noted&>(*cb);
  ++n.calls;
  n.data = *n.source;
}

TEST(library_fence, a_callback_runs_once_or_is_refused) {
  const model::expectations here;
  passes_all(model::explore(all(), [] {
    const auto fence = make_fence();
    int work = 0;
    noted cb;
    cb.source = &work;
    auto device = start("device", [&, fence] {
      work = 1;
      fence->signal();
    });
    const bool added = fence->add_callback(cb, take_note).has_value();
    if (!added) {
      EXPECT_EQ(work, 1);
    }
    (void)device.join();
    EXPECT_EQ(cb.calls, added ? 1 : 0);
    EXPECT_EQ(cb.data, added ? 1 : 0);
  }));
}

/// The callback's storage ends where remove_callback has returned.
TEST(library_fence, a_callback_is_removed_or_has_run) {
  const model::expectations here;
  passes_all(model::explore(all(), [] {
    const auto fence = make_fence();
    const int work = 1;
    auto* const cb = new noted;
    cb->source = &work;
    auto device = start("device", [&, fence] { fence->signal(); });
    const bool added = fence->add_callback(*cb, take_note).has_value();
    const bool removed = added && fence->remove_callback(*cb);
    EXPECT_EQ(cb->calls, added && !removed ? 1 : 0);
    delete cb;
    (void)device.join();
  }));
}

TEST(library_fence, two_callbacks_run_in_order) {
  const model::expectations here;
  passes(model::explore(some(10'000, 3), [] {
    const auto fence = make_fence();
    const int work = 1;
    noted a;
    noted b;
    a.source = &work;
    b.source = &a.calls;
    auto device = start("device", [&, fence] { fence->signal(); });
    auto other = start("other", [&, fence] { (void)fence->is_signaled(); });
    const bool first = fence->add_callback(a, take_note).has_value();
    const bool second = fence->add_callback(b, take_note).has_value();
    (void)device.join();
    (void)other.join();
    EXPECT_FALSE(second && !first);
    if (second) {
      EXPECT_EQ(b.data, 1);
    }
  }));
}

/// A wait parks on the fence's flags, or, if it may be interrupted, has a callback.
enum class wait_kind { plain, interruptible };
constexpr wait_kind wait_kinds[] = {wait_kind::plain, wait_kind::interruptible};

void wait_for(dma_fence& fence, wait_kind kind) {
  if (kind == wait_kind::plain) {
    fence.wait();
  } else {
    (void)fence.wait_interruptible();
  }
}

TEST(library_fence, a_wait_sees_the_work) {
  const model::expectations here;
  for (const wait_kind kind : wait_kinds) {
    passes(model::explore(some(10'000), [kind] {
      const auto fence = make_fence();
      int work = 0;
      auto device = start("device", [&, fence] {
        work = 1;
        fence->signal();
      });
      wait_for(*fence, kind);
      EXPECT_EQ(work, 1);
      (void)device.join();
    }));
  }
}

/// A watchdog looks again where a wake was lost, and mends it: then the clock has gone on.
class without_watchdog {
 public:
  without_watchdog() noexcept : begun_{monotonic_clock::now()} {}
  without_watchdog(const without_watchdog&) = delete;
  without_watchdog& operator=(const without_watchdog&) = delete;
  ~without_watchdog() { EXPECT_LT(monotonic_clock::now() - begun_, std::chrono::seconds{1}); }

 private:
  deadline begun_;
};

TEST(library_fence, a_wait_is_woken) {
  const model::expectations here;
  for (const wait_kind kind : wait_kinds) {
    passes(model::explore(some(10'000), [kind] {
      const without_watchdog at_once;
      const auto fence = make_fence();
      auto device = start("device", [&, fence] { fence->signal(); });
      wait_for(*fence, kind);
      (void)device.join();
    }));
  }
}

/// All executions; the fence is armed, so that the signal races with the wait alone.
TEST(library_fence, a_wait_for_an_armed_fence_is_woken) {
  const model::expectations here;
  passes_all(model::explore(all(), [] {
    const without_watchdog at_once;
    dma_fence fence{plain_ops, 1,
                    1};  // never freed: who queues a callback at the end may seem to spin
    fence.enable_sw_signaling();
    auto device = start("device", [&] { fence.signal(); });
    fence.wait();
    (void)device.join();
  }));
}

/// One wake is for all: also for who comes while another gives up.
TEST(library_fence, a_waiter_that_gives_up_takes_no_wake_from_another) {
  const model::expectations here;
  passes(model::explore(some(10'000, 3), [] {
    const without_watchdog at_once;
    const auto fence = make_fence();
    auto hasty = start("hasty", [=] {
      (void)fence->wait_until(monotonic_clock::now() + std::chrono::microseconds{1});
    });
    auto patient = start("patient", [=] { fence->wait(); });
    fence->signal();
    (void)patient.join();
    (void)hasty.join();
  }));
}

/// More than signal notes under the lock, which it drops to wake those; one leaves meanwhile.
TEST(library_fence, many_interruptible_waits_are_woken) {
  const model::expectations here;
  passes(model::explore(some(100, 2), [] {
    const without_watchdog at_once;
    const auto fence = make_fence();
    constexpr int waiters = 20;
    std::vector<kthread> tasks;
    for (int i = 0; i < waiters; ++i) {
      tasks.push_back(start("waiter", [=] {
        (void)fence->wait_interruptible(
            i == 0 ? monotonic_clock::now() + std::chrono::microseconds{1} : no_deadline);
      }));
    }
    // All but the first have parked when time passes.
    sleep_for(std::chrono::milliseconds{1});
    fence->signal();
    for (kthread& t : tasks) (void)t.join();
  }));
}

/// What the signaller uses of it, stack and task, lasts as long.
TEST(library_fence, a_waiter_may_end_when_its_wait_has_ended) {
  for (const wait_kind kind : wait_kinds) {
    passes(model::explore(some(10'000, 3), [kind] {
      const auto fence = make_fence();
      auto device = start("device", [=] { fence->signal(); });
      auto waiter = start("waiter", [=] { wait_for(*fence, kind); });
      (void)waiter.join();
      (void)device.join();
    }));
  }
}

TEST(library_fence, a_wait_with_a_deadline_ends) {
  const model::expectations here;
  passes(model::explore(some(10'000), [] {
    const auto fence = make_fence();
    int work = 0;
    auto device = start("device", [&, fence] {
      work = 1;
      fence->signal();
    });
    if (fence->wait_until(monotonic_clock::now() + std::chrono::microseconds{1})) {
      EXPECT_EQ(work, 1);
    }
    (void)device.join();
  }));
}

TEST(library_fence, a_wait_for_any_names_one_that_is_done) {
  const model::expectations here;
  passes(model::explore(some(10'000, 3), [] {
    dma_fence a{plain_ops, 1,
                1};  // never freed: who queues two callbacks at the end may seem to spin
    dma_fence b{plain_ops, 2, 1};
    auto first = start("first", [&] { a.signal(); });
    auto second = start("second", [&] { b.signal(); });
    dma_fence* const both[] = {&a, &b};
    const auto index = dma_fence_wait_any(both, no_deadline);
    EXPECT_TRUE(index.has_value() && both[*index]->test_signaled_flag());
    (void)first.join();
    (void)second.join();
  }));
}

/// The waiter's put may be the last, with the signaller still inside: it holds its own.
TEST(library_fence, whoever_puts_last_frees) {
  passes(model::explore(some(10'000), [] {
    auto fence = make_fence();
    auto device = start("device", [mine = fence]() mutable {
      mine->signal();
      mine = {};
    });
    fence->wait();
    fence = {};
    (void)device.join();
    rcu_barrier();
  }));
}

TEST(library_fence, a_reader_gets_a_reference_or_none) {
  const model::expectations here;
  passes(model::explore(some(10'000), [] {
    rcu_pointer<dma_fence> slot{make_fence().release()};
    auto reader = start("reader", [&] {
      if (const auto got = dma_fence_get_rcu_safe(slot)) {
        EXPECT_EQ(got->seqno, 1u);
      }
    });
    auto old = ref_ptr<dma_fence>::adopt(rcu_exchange_pointer(slot, nullptr));
    old->signal();
    old = {};
    (void)reader.join();
    rcu_barrier();
  }));
}

// --- fences that are armed are signalled under their lock ---

TEST(library_fence, one_of_two_signals_of_an_armed_fence_wins) {
  const model::expectations here;
  passes_all(model::explore(all(), [] {
    const auto fence = make_fence();
    const int work = 1;
    noted cb;
    cb.source = &work;
    EXPECT_TRUE(fence->add_callback(cb, take_note).has_value());
    bool other_did = false;
    auto other = start("other", [&, fence] { other_did = fence->signal(); });
    const bool did = fence->signal();
    (void)other.join();
    EXPECT_NE(did, other_did);
    EXPECT_EQ(cb.calls, 1);
  }));
}

TEST(library_fence, who_finds_an_armed_fence_signalled_sees_the_work_and_the_time) {
  const model::expectations here;
  passes(model::explore(some(10'000), [] {
    const auto fence = make_fence();
    fence->enable_sw_signaling();
    int work = 0;
    auto device = start("device", [&, fence] {
      work = 1;
      fence->signal();
    });
    while (!fence->test_signaled_flag()) {
    }
    EXPECT_EQ(work, 1);
    EXPECT_LE(fence->timestamp(), monotonic_clock::now());
    (void)device.join();
  }));
}

/// Nobody has read the clock for a fence that nobody had armed: the first that asks does.
TEST(library_fence, two_ask_for_the_time) {
  const model::expectations here;
  passes_all(model::explore(all(), [] {
    const auto fence = make_fence();
    fence->signal();
    deadline other_time{};
    auto other = start("other", [&, fence] { other_time = fence->timestamp(); });
    const deadline time = fence->timestamp();
    (void)other.join();
    EXPECT_EQ(time, other_time);
  }));
}

TEST(library_fence, a_callback_may_free_its_storage) {
  passes(model::explore(some(10'000), [] {
    const auto fence = make_fence();
    auto* const cb = new dma_fence_cb;
    auto device = start("device", [=] { fence->signal(); });
    const auto free_it = [](dma_fence*, dma_fence_cb* self) { delete self; };
    if (!fence->add_callback(*cb, free_it)) delete cb;
    (void)device.join();
  }));
}

TEST(library_fence, a_handler_and_a_task_of_its_cpu_signal) {
  const auto program = [] {
    const auto fence = make_fence();
    fence->enable_sw_signaling();
    const auto line = *make_irq_line({.name = "device", .kind = irq_kind::asynchronous});
    const auto action = request_irq(*line, [&] {
                          fence->signal();
                          return irqreturn::handled;
                        }).value();
    auto device = start("device", [&] { raise_irq(*line); });
    fence->signal();
    (void)device.join();
  };
  passes(model::explore(some(4000), program));
  passes(model::explore(full(some(4000)), program));
}

std::atomic<int> armed{0};
bool count_arming(dma_fence*) {
  armed.fetch_add(1);
  return true;
}
constexpr dma_fence_ops arming_ops = with_enable(count_arming);

TEST(library_fence, signalling_is_enabled_once) {
  const model::expectations here;
  passes(model::explore(some(10'000, 3), [] {
    armed = 0;
    const auto fence = make_fence(arming_ops);
    auto a = start("a", [=] { fence->wait(); });
    auto b = start("b", [=] { fence->enable_sw_signaling(); });
    fence->signal();
    (void)a.join();
    (void)b.join();
    EXPECT_LE(armed.load(), 1);
  }));
}

TEST(library_fence, a_handler_signals_what_its_task_waits_for) {
  const auto program = [] {
    dma_fence fence{plain_ops, 1, 1};
    const auto line = *make_irq_line({.name = "device", .kind = irq_kind::asynchronous});
    const auto action = request_irq(*line, [&] {
                          fence.signal();
                          return irqreturn::handled;
                        }).value();
    auto device = start("device", [&] { raise_irq(*line); });
    fence.wait();
    (void)device.join();
  };
  passes(model::explore(some(4000), program));
  passes(model::explore(full(some(4000)), program));
}

// --- seqno fences ---

const char* timeline_name(seqno_timeline*) { return "test"; }
bool arm(seqno_timeline*) { return true; }
constexpr seqno_timeline_ops interrupting = [] {
  seqno_timeline_ops ops{};
  ops.get_driver_name = ops.get_timeline_name = timeline_name;
  ops.arm = arm;
  return ops;
}();

/// Of a word of its own.
ref_ptr<seqno_timeline> make_timeline(const seqno_timeline_ops& ops = interrupting) {
  return *make_seqno_timeline(ops, nullptr, *make_seqno_buffer(1), 0);
}

enum class device_order { store_tells, store_then_ask, ask_then_store };

/// A device that interrupts only if somebody has armed a fence.
void arm_while_a_device_finishes(device_order how) {
  const auto timeline = make_timeline();
  const auto fence = *make_seqno_fence(*timeline, 1);
  noted cb;
  const int work = 1;
  cb.source = &work;
  auto device = start("device", [&] {
    const bool asked = how == device_order::ask_then_store && seqno_timeline_armed(*timeline);
    const bool told = seqno_timeline_advance(*timeline, 1) && how == device_order::store_tells;
    if (asked || told || (how == device_order::store_then_ask && seqno_timeline_armed(*timeline))) {
      (void)seqno_timeline_process(*timeline);
    }
  });
  const bool added = fence->add_callback(cb, take_note).has_value();
  (void)device.join();
  if (cb.calls != (added ? 1 : 0)) std::abort();
}

TEST(library_fence, an_armed_seqno_fence_is_signalled) {
  for (const device_order how : {device_order::store_tells, device_order::store_then_ask}) {
    passes(model::explore(some(10'000), [how] { arm_while_a_device_finishes(how); }));
    passes(model::explore(tso(some(10'000)), [how] { arm_while_a_device_finishes(how); }));
  }
}

TEST(library_fence, a_device_that_asks_before_its_store_misses_one) {
  fails(model::explore(some(10'000),
                       [] { arm_while_a_device_finishes(device_order::ask_then_store); }),
        "BUG: abort()");
}

TEST(library_fence, seqno_fences_of_one_timeline_are_signalled_in_order) {
  const model::expectations here;
  passes(model::explore(some(10'000), [] {
    const auto timeline = make_timeline();
    const auto one = *make_seqno_fence(*timeline, 1);
    const auto two = *make_seqno_fence(*timeline, 2);
    auto device = start("device", [&] {
      for (std::uint64_t n = 1; n <= 2; ++n) {
        seqno_timeline_advance(*timeline, n);
        if (seqno_timeline_armed(*timeline)) (void)seqno_timeline_process(*timeline);
      }
    });
    two->wait();
    EXPECT_TRUE(one->is_signaled());
    (void)device.join();
  }));
}

TEST(library_fence, seqno_fences_that_are_due_at_once_are_signalled_in_order) {
  const model::expectations here;
  passes(model::explore(some(100), [] {
    const auto timeline = make_timeline();
    const auto one = *make_seqno_fence(*timeline, 1);
    const auto two = *make_seqno_fence(*timeline, 2);
    one->enable_sw_signaling();
    two->enable_sw_signaling();
    seqno_timeline_advance(*timeline, 2);
    EXPECT_EQ(seqno_timeline_process(*timeline), 2u);
  }));
}

/// Two devices, or a device and its reset, look at the word at once.
TEST(library_fence, two_processors_of_a_timeline_keep_the_order) {
  const model::expectations here;
  passes(model::explore(some(10'000), [] {
    const auto timeline = make_timeline();
    const auto one = *make_seqno_fence(*timeline, 1);
    const auto two = *make_seqno_fence(*timeline, 2);
    one->enable_sw_signaling();
    two->enable_sw_signaling();
    seqno_timeline_advance(*timeline, 1);
    auto device = start("device", [&] {
      seqno_timeline_advance(*timeline, 2);
      (void)seqno_timeline_process(*timeline);
    });
    (void)seqno_timeline_process(*timeline);
    (void)device.join();
    EXPECT_TRUE(one->test_signaled_flag() && two->test_signaled_flag());
  }));
}

TEST(library_fence, a_peek_and_a_failure_settle_a_fence_once) {
  const model::expectations here;
  passes(model::explore(some(10'000), [] {
    const auto timeline = make_timeline();
    const auto fence = *make_seqno_fence(*timeline, 1);
    fence->enable_sw_signaling();
    auto device = start("device", [&] { seqno_timeline_fail(*timeline, error::io_error); });
    (void)fence->is_signaled();
    (void)device.join();
    EXPECT_LT(fence->status(), 0);
  }));
}

/// In a handler and in a task of its CPU.
TEST(library_fence, a_handler_and_a_task_of_its_cpu_process) {
  const auto program = [] {
    const auto timeline = make_timeline();
    const auto fence = *make_seqno_fence(*timeline, 1);
    fence->enable_sw_signaling();
    const auto line = *make_irq_line({.name = "device", .kind = irq_kind::asynchronous});
    const auto action = request_irq(*line, [&] {
                          (void)seqno_timeline_process(*timeline);
                          return irqreturn::handled;
                        }).value();
    auto device = start("device", [&] {
      seqno_timeline_advance(*timeline, 1);
      raise_irq(*line);
    });
    (void)seqno_timeline_process(*timeline);
    fence->wait();
    (void)device.join();
  };
  passes(model::explore(some(4000), program));
  passes(model::explore(full(some(4000)), program));
}

std::atomic<int> released{0};
constexpr seqno_timeline_ops counting_releases = [] {
  seqno_timeline_ops ops = interrupting;
  ops.release = [](seqno_timeline*, void*) { released.fetch_add(1); };
  return ops;
}();

/// Fences keep their timeline: it ends with the last of them.
TEST(library_fence, a_fence_that_is_passed_while_it_is_armed_leaves_nothing_behind) {
  const model::expectations here;
  passes(model::explore(some(10'000), [] {
    released = 0;
    {
      const auto timeline = make_timeline(counting_releases);
      const auto fence = *make_seqno_fence(*timeline, 1);
      auto device = start("device", [&] {
        seqno_timeline_advance(*timeline, 1);
        if (seqno_timeline_armed(*timeline)) (void)seqno_timeline_process(*timeline);
      });
      fence->enable_sw_signaling();
      (void)device.join();
    }
    EXPECT_EQ(released.load(), 1);
  }));
}

TEST(library_fence, a_wait_in_memory_sees_the_work) {
  const model::expectations here;
  passes(model::explore(some(10'000), [] {
    const auto timeline = make_timeline();
    int work = 0;
    auto device = start("device", [&] {
      work = 1;
      seqno_timeline_advance(*timeline, 1);
    });
    EXPECT_EQ(seqno_wait_until(*timeline, 1, no_deadline), seqno_wait_end::passed);
    EXPECT_EQ(work, 1);
    (void)device.join();
  }));
}

TEST(library_fence, an_advance_has_a_full_barrier) {
  const model::expectations here;
  passes(model::explore(tso(some(10'000)), [] {
    const without_watchdog at_once;
    const auto timeline = make_timeline();
    auto device = start("device", [&] { seqno_timeline_advance(*timeline, 1); });
    (void)seqno_wait_until(*timeline, 1, no_deadline);
    (void)device.join();
  }));
}

TEST(library_fence, a_wait_in_memory_is_rung) {
  const model::expectations here;
  passes(model::explore(some(10'000), [] {
    const without_watchdog at_once;
    const auto timeline = make_timeline();
    auto device = start("device", [&] { seqno_timeline_advance(*timeline, 1); });
    EXPECT_EQ(seqno_wait_until(*timeline, 1, no_deadline), seqno_wait_end::passed);
    (void)device.join();
  }));
}

TEST(library_fence, a_timeline_that_fails_fails_its_fences) {
  const model::expectations here;
  passes(model::explore(some(10'000), [] {
    const auto timeline = make_timeline();
    const auto fence = *make_seqno_fence(*timeline, 1);
    auto device = start("device", [&] { seqno_timeline_fail(*timeline, error::io_error); });
    fence->wait();
    EXPECT_LT(fence->status(), 0);
    (void)device.join();
  }));
}

}  // namespace
}  // namespace interlock::test
