// SPDX-License-Identifier: Apache-2.0

/// A thread that sleeps until there is work, is woken by it, and stops when asked: see
/// sleep_and_wake.md.

#include <cstdio>

#include "interlock/completion.hpp"
#include "interlock/kthread.hpp"
#include "interlock/spinlock.hpp"
#include "interlock/wait_queue.hpp"

namespace {

using namespace interlock;

struct job {
  int number;
  long result = 0;
  completion done;
  list_head node{};

  explicit job(int n) noexcept : number{n} {}
};

/// Serves jobs in a thread of its own. Submitting works from interrupt handlers too.
class worker {
 public:
  result<void> start() noexcept {
    result<kthread> started = kthread_run("worker", [this] { return serve(); });
    if (!started) return started.error();
    thread_ = std::move(started.value());
    return {};
  }

  void submit(job& j) noexcept {
    {
      const guard g{irqsave, lock_};
      list_add_tail(j.node, jobs_);
    }
    wake_up(work_);
  }

  /// Asks the thread to end, whatever it sleeps in, and waits for it. Returns what it served.
  int stop() noexcept { return thread_.stop(); }

 private:
  int serve() noexcept {
    int served = 0;
    while (true) {
      wait_event(work_, [this] { return has_work() || kthread_should_stop(); });
      job* const next = take();
      if (next == nullptr) return served;  // asked to stop, and nothing left
      next->result = long{next->number} * next->number;
      next->done.complete();
      ++served;
    }
  }

  bool has_work() noexcept {
    const guard g{irqsave, lock_};
    return !list_empty(jobs_);
  }

  job* take() noexcept {
    const guard g{irqsave, lock_};
    if (list_empty(jobs_)) return nullptr;
    job* const first = INTERLOCK_CONTAINER_OF(jobs_.next, job, node);
    list_del_init(first->node);
    return first;
  }

  spinlock lock_;
  list_head jobs_ INTERLOCK_GUARDED_BY(lock_){&jobs_, &jobs_};
  wait_queue work_;
  kthread thread_;
};

/// The protocol under wait_event, by hand: announce the sleep, look, sleep.
void wait_by_hand(const atomic<bool>& ready) noexcept {
  while (true) {
    set_current_state(task_uninterruptible);
    if (ready.load_acquire()) break;
    schedule();
  }
  set_current_state(task_running);
}

}  // namespace

int main() {
  worker w;
  if (!w.start()) return 1;

  job square{12};
  w.submit(square);
  square.done.wait();
  std::printf("%d squared is %ld\n", square.number, square.result);

  job late{7};
  if (!late.done.wait_until(deadline_after(std::chrono::milliseconds{10}))) {
    std::printf("nobody served a job that was not submitted\n");
  }

  atomic<bool> ready{false};
  const ref_ptr<task> sleeper = current_task_ref();
  result<kthread> waker = kthread_run("waker", [&] {
    ready.store_release(true);
    wake_up_process(*sleeper);
  });
  if (!waker) return 1;
  wait_by_hand(ready);
  std::printf("woken by hand\n");
  (void)waker->join();

  std::printf("the worker served %d job\n", w.stop());
  return square.result == 144 ? 0 : 1;
}
