// SPDX-License-Identifier: Apache-2.0

/// Forks while everything runs: timers that halt malloc, RCU callbacks that start timers, callbacks
/// that come and go on armed fences, mutexes that are waited for. The parent must get past its
/// forks, and the child must find all of it in working order.

#include <sys/wait.h>
#include <unistd.h>

#include <csignal>
#include <cstdlib>
#include <vector>

#include "interlock/completion.hpp"
#include "interlock/hrtimer.hpp"
#include "interlock/mutex.hpp"
#include "interlock/rcupdate.hpp"
#include "interlock/seqno_fence.hpp"
#include "support/sanitizers.hpp"
#include "torture.hpp"

namespace interlock::torture {
namespace {

constexpr ktime period{60'000};

struct ticker {
  explicit ticker(hrtimer_mode mode) : timer{tick, mode} {}
  static hrtimer_restart tick(hrtimer& t) {
    INTERLOCK_CONTAINER_OF(&t, ticker, timer)->ticks.fetch_add_relaxed(1);
    hrtimer_forward(t, monotonic_clock::now(), period);
    return hrtimer_restart::restart;
  }
  [[nodiscard]] bool start() { return hrtimer_start(timer, deadline_after(period)).has_value(); }
  [[nodiscard]] bool goes_on() {
    const std::uint32_t before = ticks.load_relaxed();
    const deadline until = deadline_after(std::chrono::seconds{20});
    while (ticks.load_relaxed() == before) {
      if (monotonic_clock::now() > until) return false;
      schedule();
    }
    return true;
  }

  hrtimer timer;
  atomic<std::uint32_t> ticks{0};
};

/// A timeline that nobody but its users advances; its interrupt is imaginary.
struct word {
  static const char* name(seqno_timeline*) { return "fork"; }
  static bool arm(seqno_timeline*) { return true; }
  static constexpr seqno_timeline_ops ops{name, name, arm, nullptr, nullptr, nullptr, nullptr};

  ref_ptr<seqno_timeline> timeline =
      make_seqno_timeline(ops, nullptr, make_seqno_buffer(1).value(), 0).value();
  ref_ptr<dma_fence> fence = make_seqno_fence(*timeline, 1).value();

  /// In the child: a new fence goes its whole way, and so does the one that was armed before.
  [[nodiscard]] bool works() {
    const ref_ptr<dma_fence> own = make_seqno_fence(*timeline, 2).value();
    own->enable_sw_signaling();
    seqno_timeline_advance(*timeline, 2);
    (void)seqno_timeline_process(*timeline);
    return own->test_signaled_flag() && fence->test_signaled_flag() && own->status() == 1;
  }
};

struct world {
  ticker pinned{hrtimer_mode::pinned};
  ticker serviced{hrtimer_mode::service};
  ticker from_callback{hrtimer_mode::service};
  mutex contended;
  spinlock lock;
  word device;

  /// Halted by `pinned` on whatever instruction.
  void allocate(run& r) {
    r.check(pinned.start(), "a pinned timer starts");
    void* blocks[64] = {};
    for (std::uint32_t i = 0; r.goes_on(); ++i) {
      std::free(blocks[i % 64]);
      blocks[i % 64] = std::malloc(3000 + i * 977 % 20'000);
    }
    for (void* block : blocks) std::free(block);
    (void)hrtimer_cancel(pinned.timer);
  }

  /// Callbacks run under RCU's own lock, and take the timers'.
  void call_back(run& r) {
    struct work {
      rcu_head rcu;
      world* all;
    };
    while (r.goes_on()) {
      auto* const w = static_cast<work*>(std::malloc(sizeof(work)));
      w->all = this;
      call_rcu(w->rcu, [](rcu_head* head) {
        work* const self = INTERLOCK_CONTAINER_OF(head, work, rcu);
        (void)hrtimer_start(self->all->from_callback.timer, deadline_after(period));
        std::free(self);
      });
    }
    rcu_barrier();
    (void)hrtimer_cancel(from_callback.timer);
  }

  void contend(run& r) {
    while (r.goes_on()) {
      const guard g{contended};
      dma_fence_cb cb;
      if (device.fence->add_callback(cb, [](dma_fence*, dma_fence_cb*) {})) {
        (void)device.fence->remove_callback(cb);
      }
    }
  }
};

struct counted {
  rcu_head rcu;
  atomic<int>* count;
};

/// 0, or what does not work.
int use_everything(world& all) {
  atomic<int> called{0};
  counted c{{}, &called};
  call_rcu(c.rcu, [](rcu_head* head) {
    INTERLOCK_CONTAINER_OF(head, counted, rcu)->count->fetch_add_relaxed(1);
  });
  rcu_barrier();
  if (called.load_relaxed() != 1) return 1;
  synchronize_rcu();
  if (!service_cpu()) return 2;
  if (!all.serviced.goes_on()) return 3;
  if (!all.device.works()) return 4;
  completion done;
  result<kthread> thread = kthread_run("child", [&] {
    const guard g{all.contended};
    done.complete();
  });
  if (!thread) return 5;
  done.wait();
  (void)thread->join();
  return 0;
}

void torment_fork_amid(run& r) {
  // TSan starts no threads in the child of a fork; ASan's allocator may be locked there.
  if (test::thread_sanitizer || test::address_sanitizer) return r.count();
  world all;
  r.check(all.serviced.start(), "a timer starts");
  std::vector<kthread> threads;
  threads.push_back(r.start("malloc", [&] { all.allocate(r); }));
  threads.push_back(r.start("rcu", [&] { all.call_back(r); }));
  for (int i = 0; i < 2; ++i) threads.push_back(r.start("mutex", [&] { all.contend(r); }));
  for (; r.goes_on(); r.count()) {
    // Owned by the forker, and waited for by others: it is the child's to unlock.
    all.contended.lock();
    const pid_t child = fork();
    all.contended.unlock();
    if (child == 0) {
      alarm(60);
      _exit(use_everything(all));
    }
    r.check(child > 0, "fork");
    int status = 0;
    waitpid(child, &status, 0);
    r.check(WIFEXITED(status), "the child ends");
    r.check(WEXITSTATUS(status) != 1, "RCU works in the child");
    r.check(WEXITSTATUS(status) != 2, "the service CPU starts in the child");
    r.check(WEXITSTATUS(status) != 3, "timers go on in the child");
    r.check(WEXITSTATUS(status) != 4, "fences work in the child");
    r.check(WEXITSTATUS(status) == 0, "mutexes work in the child");
  }
  for (kthread& t : threads) (void)t.join();
  (void)hrtimer_cancel(all.serviced.timer);
}
const torment fork_amid{"fork_amid", torment_fork_amid};

}  // namespace
}  // namespace interlock::torture
