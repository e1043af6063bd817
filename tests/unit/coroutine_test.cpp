// SPDX-License-Identifier: Apache-2.0

/// Coroutines on fences, and the queue they resume on.

#include "interlock/coroutine.hpp"

#include <sys/wait.h>
#include <unistd.h>

#include <signal.h>
#include <ucontext.h>

#include <memory>

#include "seqno_test_support.hpp"
#include "support/rounds.hpp"

namespace interlock::test {
namespace {

using coroutine_test = report_test;

struct numbered_work : task_work {
  int number = 0;
  std::vector<int>* order = nullptr;
};

void append(task_work& work) {
  auto& self = static_cast<numbered_work&>(work);
  self.order->push_back(self.number);
}

// --- the queue -----------------------------------------------------------------------------------

TEST_F(coroutine_test, a_queue_runs_in_order_of_posting) {
  std::vector<int> order;
  numbered_work works[3];
  task_queue queue;
  EXPECT_EQ(queue.run_ready(), 0u);
  for (int i = 0; i < 3; ++i) {
    works[i].run = append;
    works[i].number = i;
    works[i].order = &order;
    queue.post(works[i]);
  }
  EXPECT_EQ(queue.run_ready(), 3u);
  EXPECT_EQ(order, (std::vector<int>{0, 1, 2}));
  EXPECT_EQ(queue.run_ready(), 0u);
}

TEST_F(coroutine_test, a_work_may_free_itself_and_post_more) {
  struct again : task_work {
    task_queue* queue;
    int left;
  };
  task_queue queue;
  auto* const work = new again;
  work->queue = &queue;
  work->left = 3;
  work->run = [](task_work& w) {
    auto& self = static_cast<again&>(w);
    if (--self.left != 0) {
      self.queue->post(self);
    } else {
      delete &self;
    }
  };
  queue.post(*work);
  EXPECT_EQ(queue.run_ready(), 1u);
  EXPECT_EQ(queue.run_ready(), 1u);
  EXPECT_EQ(queue.run_ready(), 1u);
  EXPECT_EQ(queue.run_ready(), 0u);
}

TEST_F(coroutine_test, run_drains_the_queue_before_it_stops) {
  std::vector<int> order;
  numbered_work work;
  work.run = append;
  work.order = &order;
  task_queue queue;
  queue.post(work);
  queue.stop();
  queue.run();
  EXPECT_EQ(order.size(), 1u);
}

// A sanitizer's own code would be stepped too, and TSan runs no handler at once.
#if defined(__x86_64__) && !defined(__SANITIZE_THREAD__) && !defined(__SANITIZE_ADDRESS__)

constexpr greg_t trap_flag = 0x100;

/// The runner is single-stepped; at one of its instructions a work is posted and the queue stopped.
struct stepped_run {
  task_queue queue;
  numbered_work work;
  std::vector<int> order;
  int instruction;
  bool slept = false;  ///< it had announced its sleep by then

  static inline stepped_run* current = nullptr;

  explicit stepped_run(int at) : instruction{at} {
    work.run = append;
    work.order = &order;
    order.reserve(1);
  }

  static void on_trap(int, siginfo_t*, void* context) {
    stepped_run& self = *current;
    self.slept = state_of(current_task()) != task_running;
    if (!self.slept && --self.instruction != 0) return;
    static_cast<ucontext_t*>(context)->uc_mcontext.gregs[REG_EFL] &= ~trap_flag;
    self.queue.post(self.work);
    self.queue.stop();
  }

  [[gnu::noinline]] void go() {
    current = this;
    asm volatile(
        "lea -128(%%rsp), %%rsp\n"  // below the red zone
        "pushfq\n"
        "orq $0x100, (%%rsp)\n"
        "popfq\n"
        "lea 128(%%rsp), %%rsp\n" ::
            : "memory", "cc");
    queue.run();
  }
};

/// Between any two instructions from the beginning of run() until it sleeps.
TEST_F(coroutine_test, what_is_posted_before_stop_has_run_when_run_returns) {
  (void)current_task();
  struct sigaction action {};
  struct sigaction before {};
  action.sa_sigaction = stepped_run::on_trap;
  action.sa_flags = SA_SIGINFO;
  ASSERT_EQ(sigaction(SIGTRAP, &action, &before), 0);
  bool slept = false;
  for (int instruction = 1; !slept; ++instruction) {
    stepped_run stepped{instruction};
    stepped.go();
    slept = stepped.slept;
    EXPECT_EQ(stepped.order.size(), 1u) << "at instruction " << instruction;
    stepped.queue.run_ready();
  }
  sigaction(SIGTRAP, &before, nullptr);
}

#endif

TEST_F(coroutine_test, a_sleeping_runner_is_woken_by_post_and_stop) {
  std::vector<int> order;
  numbered_work work;
  work.run = append;
  work.order = &order;
  task_queue queue;
  kthread runner = start("runner", [&] { queue.run(); });
  EXPECT_TRUE(sleeps(runner.get(), task_uninterruptible));
  queue.post(work);
  EXPECT_TRUE(sleeps(runner.get(), task_uninterruptible));
  queue.stop();
  runner.join();
  EXPECT_EQ(order.size(), 1u);
}

/// The queue ends as soon as its last work has run, while the poster may still be inside post().
TEST_F(coroutine_test, a_queue_may_end_right_after_its_last_work) {
  constexpr int rounds = test::rounds(300);
  struct stopper : task_work {
    task_queue* queue;
  };
  for (int r = 0; r < rounds; ++r) {
    auto queue = std::make_unique<task_queue>();
    stopper work;
    work.queue = queue.get();
    work.run = [](task_work& w) { static_cast<stopper&>(w).queue->stop(); };
    kthread poster = start("poster", [&work] { work.queue->post(work); });
    queue->run();
    queue.reset();
    poster.join();
  }
}

TEST_F(coroutine_test, no_wake_is_lost) {
  constexpr int works_each = test::rounds(5000);
  struct counter : task_work {
    atomic<int>* count;
  };
  atomic<int> count{0};
  std::vector<counter> works(2 * works_each);
  for (auto& w : works) {
    w.count = &count;
    w.run = [](task_work& self) { static_cast<counter&>(self).count->fetch_add_relaxed(1); };
  }
  task_queue queue;
  kthread runner = start("runner", [&] { queue.run(); });
  const auto post_half = [&](std::size_t first) {
    for (std::size_t i = 0; i < works_each; ++i) {
      queue.post(works[first + i]);
      if (i % 16 == 0) schedule();
    }
  };
  kthread other = start("poster", [&] { post_half(works_each); });
  post_half(0);
  other.join();
  EXPECT_TRUE(eventually([&] { return count.load_relaxed() == 2 * works_each; }));
  queue.stop();
  runner.join();
}

// --- coroutines ----------------------------------------------------------------------------------

/// Starts at once, owns itself.
struct detached {
  struct promise_type {
    detached get_return_object() noexcept { return {}; }
    std::suspend_never initial_suspend() noexcept { return {}; }
    std::suspend_never final_suspend() noexcept { return {}; }
    void return_void() noexcept {}
    void unhandled_exception() noexcept { std::abort(); }
  };
};

detached await_status(task_queue& queue, ref_ptr<dma_fence> fence, atomic<int>& status) {
  status.store_release(co_await fence_on(queue, std::move(fence)));
}

TEST_F(coroutine_test, resumes_on_the_executor_with_the_status) {
  task_queue queue;
  atomic<int> status{0};
  const auto fence = make_mock();
  await_status(queue, fence, status);
  EXPECT_EQ(queue.run_ready(), 0u);
  fence->signal();
  EXPECT_EQ(status.load_acquire(), 0) << "not in the signaller's context";
  EXPECT_EQ(queue.run_ready(), 1u);
  EXPECT_EQ(status.load_acquire(), 1);
}

TEST_F(coroutine_test, sees_the_error) {
  task_queue queue;
  atomic<int> status{0};
  const auto fence = make_mock();
  await_status(queue, fence, status);
  fence->set_error(error::io_error);
  fence->signal();
  queue.run_ready();
  EXPECT_EQ(status.load_acquire(), -EIO);
}

TEST_F(coroutine_test, a_signalled_fence_does_not_suspend) {
  task_queue queue;
  atomic<int> status{0};
  const auto fence = make_mock();
  fence->signal();
  await_status(queue, fence, status);
  EXPECT_EQ(status.load_acquire(), 1);
  EXPECT_EQ(queue.run_ready(), 0u);
}

/// Owned by whoever made it, who may destroy it where it waits.
struct owned {
  struct promise_type {
    owned get_return_object() noexcept {
      return {std::coroutine_handle<promise_type>::from_promise(*this)};
    }
    std::suspend_never initial_suspend() noexcept { return {}; }
    std::suspend_always final_suspend() noexcept { return {}; }
    void return_void() noexcept {}
    void unhandled_exception() noexcept { std::abort(); }
  };
  std::coroutine_handle<promise_type> handle;
};

owned await_owned(task_queue& queue, ref_ptr<dma_fence> fence, atomic<int>& status) {
  status.store_release(co_await fence_on(queue, std::move(fence)));
}

TEST_F(coroutine_test, one_that_is_destroyed_while_it_waits_is_not_resumed) {
  task_queue queue;
  atomic<int> status{0};
  const auto fence = make_mock();
  await_owned(queue, fence, status).handle.destroy();
  EXPECT_EQ(fence->refs.read(), 1u);
  EXPECT_TRUE(list_empty(fence->cb_list));
  fence->signal();
  EXPECT_EQ(queue.run_ready(), 0u);
  EXPECT_EQ(status.load_acquire(), 0);
}

/// In the child of a fork its callback is gone from the fence; there is nothing to resume.
TEST_F(coroutine_test, one_that_waits_may_be_destroyed_in_a_child) {
  task_queue queue;
  atomic<int> status{0};
  const auto timeline_owner = std::make_unique<mock_provider>();
  const auto timeline = make_timeline(*timeline_owner);
  const auto fence = fence_at(timeline, 1);
  const owned waiting = await_owned(queue, fence, status);
  const pid_t child = fork();
  if (child == 0) {
    waiting.handle.destroy();
    _exit(0);
  }
  int end = -1;
  ASSERT_EQ(waitpid(child, &end, 0), child);
  EXPECT_TRUE(WIFEXITED(end) && WEXITSTATUS(end) == 0);
  complete(timeline, 1);
  EXPECT_EQ(queue.run_ready(), 1u);
  EXPECT_EQ(status.load_acquire(), 1);
  waiting.handle.destroy();
}

TEST_F(coroutine_test, one_whose_resumption_is_posted_must_not_be_destroyed) {
  task_queue queue;
  atomic<int> status{0};
  const auto fence = make_mock();
  const owned waiting = await_owned(queue, fence, status);
  fence->signal();
  EXPECT_DEATH(waiting.handle.destroy(), "whose resumption is posted");
  EXPECT_EQ(queue.run_ready(), 1u);
  EXPECT_EQ(status.load_acquire(), 1);
  waiting.handle.destroy();
}

TEST_F(coroutine_test, a_fence_that_refuses_arming_does_not_suspend_for_good) {
  task_queue queue;
  atomic<int> status{0};
  const auto fence = make_mock();
  mock(fence).accepts.store_relaxed(false);
  await_status(queue, fence, status);
  EXPECT_EQ(status.load_acquire(), 1);
}

/// The coroutine holds the last reference, and ends on another thread while this one suspends it.
TEST_F(coroutine_test, suspension_races_with_resumption) {
  constexpr int rounds = test::rounds(2000);
  task_queue queue;
  kthread runner = start("runner", [&] { queue.run(); });
  dma_fence* next = nullptr;
  atomic<int> round{0};
  kthread signaller = start("signaller", [&] {
    for (int r = 1; r <= rounds; ++r) {
      follow([&] { return round.load_acquire() >= r; });
      const auto mine = ref_ptr<dma_fence>::adopt(next);
      mine->signal();
    }
  });
  for (int r = 1; r <= rounds; ++r) {
    atomic<int> status{0};
    auto fence = make_mock();
    next = ref_ptr<dma_fence>{fence}.release();
    round.store_release(r);
    await_status(queue, std::move(fence), status);
    follow([&] { return status.load_acquire() != 0; });
  }
  signaller.join();
  queue.stop();
  runner.join();
}

}  // namespace
}  // namespace interlock::test
