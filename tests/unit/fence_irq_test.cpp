// SPDX-License-Identifier: Apache-2.0

/// Fences from interrupts: signalled, waited for and dropped between any two instructions.

#include "interlock/fence_fd.hpp"
#include "interlock/interrupt.hpp"
#include "interlock/seqno_fence.hpp"
#include "interlock_platform/poller.hpp"
#include "irq_test_support.hpp"
#include "seqno_test_support.hpp"
#include "support/rounds.hpp"

namespace interlock::test {
namespace {

using fence_irq_test = report_test;

struct irq_callback {
  dma_fence_cb cb;
  bool in_hardirq_then = false;
  bool in_section = false;
  atomic<int> runs{0};

  static void run(dma_fence*, dma_fence_cb* cb) {
    irq_callback& self = *INTERLOCK_CONTAINER_OF(cb, irq_callback, cb);
    self.in_hardirq_then = in_hardirq();
    self.in_section = dma_fence_in_signalling();
    self.runs.fetch_add_release(1);
  }
};

TEST_F(fence_irq_test, a_handler_signals_and_wakes) {
  spinning_cpu cpu;
  const auto line = make_line_on(cpu.id());
  const auto fence = make_mock();
  irq_callback cb;
  ASSERT_TRUE(fence->add_callback(cb.cb, irq_callback::run));
  const irq_action action = request(*line, [&] {
    fence->signal();
    return irqreturn::handled;
  });
  kthread waiter = start("waiter", [&] { fence->wait(); });
  EXPECT_TRUE(sleeps(waiter.get(), task_uninterruptible));
  raise_irq(*line);
  waiter.join();
  EXPECT_EQ(cb.runs.load_acquire(), 1);
  EXPECT_TRUE(cb.in_hardirq_then);
  EXPECT_EQ(fence->status(), 1);
}

TEST_F(fence_irq_test, the_fence_lock_holds_a_handler_off) {
  const auto line = make_line_on();
  const auto fence = make_mock();
  const irq_action action = request(*line, [&] {
    fence->signal();
    return irqreturn::handled;
  });
  fence->enable_sw_signaling();
  {
    const guard g{irqsave, fence->lock};
    raise_irq(*line);
    EXPECT_FALSE(fence->test_signaled_flag()) << "the handler would deadlock here";
  }
  EXPECT_TRUE(eventually([&] { return fence->test_signaled_flag(); }));
}

TEST_F(fence_irq_test, a_section_is_not_the_handlers) {
  const auto line = make_line_on();
  bool inside = true;
  bool cookie = false;
  atomic<bool> ran{false};
  const irq_action action = request(*line, [&] {
    inside = dma_fence_in_signalling();
    cookie = dma_fence_begin_signalling();
    dma_fence_end_signalling(cookie);
    ran.store_release(true);
    return irqreturn::handled;
  });
  const guard g{signalling};
  raise_irq(*line);
  EXPECT_TRUE(eventually([&] { return ran.load_acquire(); }));
  EXPECT_FALSE(inside);
  EXPECT_TRUE(cookie) << "a handler is atomic: nothing is begun";
  EXPECT_TRUE(dma_fence_in_signalling());
}

TEST_F(fence_irq_test, a_handler_processes_a_timeline) {
  spinning_cpu cpu;
  const auto line = make_line_on(cpu.id());
  mock_provider provider;
  const auto timeline = make_timeline(provider);
  constexpr std::uint64_t rounds = test::rounds(50);
  const irq_action action = request(*line, [&] {
    seqno_timeline_process(*timeline);
    return irqreturn::handled;
  });
  for (std::uint64_t n = 1; n <= rounds; ++n) {
    const auto fence = fence_at(timeline, n);
    counting_callback cb;
    ASSERT_TRUE(cb.add_to(*fence));
    seqno_timeline_advance(*timeline, n);
    if (seqno_timeline_armed(*timeline)) raise_irq(*line);
    fence->wait();
    // Signalled comes before the callbacks; this waits for them.
    EXPECT_FALSE(fence->remove_callback(cb.cb));
    EXPECT_EQ(cb.runs.load_acquire(), 1);
  }
  EXPECT_EQ(provider.armed.load_relaxed(), rounds);
}

TEST_F(fence_irq_test, a_handler_drops_the_last_reference) {
  spinning_cpu cpu;
  const auto line = make_line_on(cpu.id());
  mock_provider provider;
  auto timeline = make_timeline(provider);
  auto fence = fence_at(timeline, 1);
  timeline.reset();
  const irq_action action = request(*line, [&] {
    fence.reset();
    return irqreturn::handled;
  });
  raise_irq(*line);
  EXPECT_TRUE(eventually([&] { return provider.released.load_acquire() == 1; }));
}

TEST_F(fence_irq_test, a_handler_makes_a_descriptor_readable) {
  const auto line = make_line_on();
  const auto fence = make_mock();
  const fence_fd fd = fence_fd::open(*fence).value();
  const irq_action action = request(*line, [&] {
    fence->signal();
    return irqreturn::handled;
  });
  raise_irq(*line);
  EXPECT_TRUE(eventually([&] { return platform::drain_event_fd(fd.get()); }));
}

/// Everything a task does with fences, while a handler on the same CPU does the same.
TEST_F(fence_irq_test, handlers_land_between_any_two_instructions) {
  const auto line = make_line_on();
  mock_provider provider;
  const auto timeline = make_timeline(provider);
  const auto shared = make_mock(2);  // of a timeline of its own
  constexpr std::uint64_t rounds = test::rounds(3000);
  ref_ptr<dma_fence> current;
  atomic<bool> ready{false};
  atomic<std::uint64_t> handled{0};
  const irq_action action = request(*line, [&] {
    if (ready.load_acquire()) {
      current->signal();
      (void)current->status();
    }
    (void)shared->is_signaled();
    dma_fence_cb cb;
    if (shared->add_callback(cb, counting_callback::run)) shared->remove_callback(cb);
    seqno_timeline_process(*timeline);
    handled.fetch_add_release(1);
    return irqreturn::handled;
  });
  atomic<bool> stop{false};
  kthread raiser = start("raiser", [&] {
    for (int n = 0; n < endless && !stop.load_acquire(); ++n) {
      raise_irq(*line);
      schedule();
    }
  });
  for (std::uint64_t n = 1; n <= rounds; ++n) {
    current = make_mock(1, n);
    ready.store_release(true);
    counting_callback cb;
    const bool added = cb.add_to(*current).has_value();
    current->signal();
    ASSERT_EQ(cb.runs.load_acquire(), added ? 1 : 0);
    ASSERT_EQ(current->status(), 1);
    ready.store_release(false);
    const auto fence = fence_at(timeline, n);
    fence->enable_sw_signaling();
    complete(timeline, n);
    ASSERT_TRUE(fence->wait_until(deadline_after(std::chrono::seconds{60})));
    counting_callback again;
    ASSERT_TRUE(again.add_to(*shared));
    ASSERT_TRUE(shared->remove_callback(again.cb));
  }
  EXPECT_TRUE(eventually([&] { return handled.load_acquire() != 0; }));
  stop.store_release(true);
  raiser.join();
  shared->signal();
}

}  // namespace
}  // namespace interlock::test
