// SPDX-License-Identifier: Apache-2.0

/// A second, private copy of the library inside one process: linked statically, its symbols hidden.

#include "second_copy_static.hpp"

#include <cstdlib>

#include "interlock/interlock.hpp"
#include "interlock_platform/doorbell.hpp"

using namespace interlock;

namespace {

struct node {
  rcu_head rcu;
  atomic<int>* freed;
};

atomic<int> interrupts{0};

}  // namespace

extern "C" int second_copy_run() {
  const result<cpu_id> cpu = online_cpu();
  if (!cpu) return to_negative_errno(cpu.error());
  auto line = make_irq_line({.name = "second", .kind = irq_kind::asynchronous});
  if (!line) return to_negative_errno(line.error());
  completion handled;
  auto action = request_irq(**line, [&] {
    if (!in_hardirq()) std::abort();
    interrupts.fetch_add_relaxed(1);
    handled.complete();
    return irqreturn::handled;
  });
  if (!action) return to_negative_errno(action.error());
  auto raiser = kthread_run("second-raiser", [&] { raise_irq(**line); });
  if (!raiser) return to_negative_errno(raiser.error());
  handled.wait();
  raiser->join();

  atomic<int> freed{0};
  auto* n = static_cast<node*>(std::malloc(sizeof(node)));
  n->freed = &freed;
  call_rcu(n->rcu, [](rcu_head* head) {
    auto* dying = INTERLOCK_CONTAINER_OF(head, node, rcu);
    dying->freed->store_release(1);
    std::free(dying);
  });
  rcu_barrier();
  action->free();
  return freed.load_acquire() == 1 ? platform::doorbell_signal(platform::doorbell::interrupt)
                                   : -EPROTO;
}

extern "C" int second_copy_start_timer() {
  static hrtimer timer{[](hrtimer&) { return hrtimer_restart::norestart; }};
  return to_negative_errno(hrtimer_start(timer, deadline_after(std::chrono::hours{1})));
}

extern "C" int second_copy_interrupts() { return interrupts.load_relaxed(); }

/// A reader of this copy's domain, around `inside(argument)`.
extern "C" void second_copy_read(void (*inside)(void*), void* argument) {
  guard reader{rcu};
  inside(argument);
}

extern "C" void second_copy_shutdown() { shutdown(); }
