// SPDX-License-Identifier: Apache-2.0

/// Torments of the life of threads: they begin, use everything once, and end, while others wake,
/// signal and stop them.

#include <thread>
#include <vector>

#include "interlock/completion.hpp"
#include "interlock/mutex.hpp"
#include "torture.hpp"

namespace interlock::torture {
namespace {

void torment_kthread_stop(run& r) {
  random dice = r.generator(0);
  while (r.goes_on()) {
    kthread t = r.start("stopped", [] {
      while (!kthread_should_stop()) {
        set_current_state(task_uninterruptible);
        if (!kthread_should_stop()) schedule();
        set_current_state_raw(task_running);
      }
      return 5;
    });
    for (std::uint32_t i = dice.below(3000); i != 0; --i) platform::cpu_relax();
    if (dice.one_in(2)) wake_up_process(t.get());
    r.check(t.stop() == 5, "a stopped thread returns its value");
    r.count();
  }
}
const torment kthread_stop{"kthread_stop", torment_kthread_stop};

void torment_thread_exit(run& r) {
  mutex m;
  wait_queue wq;
  std::uint64_t counter = 0;
  std::uint64_t begun = 0;
  while (r.goes_on()) {
    constexpr int batch = 4;
    ref_ptr<task> tasks[batch];
    completion ready;
    std::vector<std::thread> threads;
    for (ref_ptr<task>& slot : tasks) {
      threads.emplace_back([&] {
        slot = current_task_ref();
        ready.complete();
        (void)wait_event_interruptible(
            wq, [] { return false; }, deadline_after(ktime{20'000}));
        const guard g{m};
        ++counter;
      });
      ++begun;
    }
    for (int i = 0; i < batch; ++i) ready.wait();
    for (ref_ptr<task>& t : tasks) {
      wake_up_process(*t);
      send_signal(*t, task_signal::interrupt);
      wake_up_all(wq);
    }
    for (std::thread& t : threads) t.join();
    for (ref_ptr<task>& t : tasks) {
      r.check(state_of(*t) == task_state::dead, "the task of an ended thread is dead");
      r.check(!wake_up_process(*t), "nothing wakes the dead");
    }
    r.count(batch);
  }
  r.check(counter == begun, "every thread had its turn");
}
const torment thread_exit{"thread_exit", torment_thread_exit};

}  // namespace
}  // namespace interlock::torture
