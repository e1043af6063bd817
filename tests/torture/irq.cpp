// SPDX-License-Identifier: Apache-2.0

/// Torments of interrupts: raised, masked, freed and moved by all sides at once.

#include "interlock/hrtimer.hpp"
#include "interlock/interrupt.hpp"
#include "interlock/irq_work.hpp"
#include "interlock/list.hpp"
#include "interlock/rcupdate.hpp"
#include "interlock/smp.hpp"
#include "interlock/softirq.hpp"
#include "interlock/spinlock.hpp"
#include "torture.hpp"

namespace interlock::torture {
namespace {

ref_ptr<irq_line> line_on(run& r, cpu_id cpu) {
  result<ref_ptr<irq_line>> line =
      make_irq_line({.name = "torment", .kind = irq_kind::asynchronous, .target = cpu});
  r.check(line.has_value(), "a line is made");
  return std::move(line.value());
}

/// Data that a handler and tasks of two CPUs share, consistent under its lock only.
struct shared_pair {
  spinlock lock;
  std::uint64_t a = 0;
  std::uint64_t b = 0;

  void step(run& r) {
    r.check(a == b, "the pair is consistent under its lock");
    ++a;
    for (int i = 0; i < 20; ++i) platform::cpu_relax();
    ++b;
  }
};

/// irqsave in tasks, no_mask in the handler; raises that may never be lost.
void torment_irq_lock(run& r) {
  shared_pair pair;
  atomic<std::uint64_t> runs{0};
  atomic<std::uint32_t> up{0};
  ref_ptr<irq_line> line;
  kthread victim = r.start("victim", [&] {
    r.check(online_cpu().has_value(), "a CPU comes online");
    line = line_on(r, cpu_id::none);
    up.store_release(1);
    while (!kthread_should_stop()) {
      const guard g{irqsave, pair.lock};
      pair.step(r);
    }
  });
  while (up.load_acquire() == 0) schedule();
  result<irq_action> action = request_irq(*line, [&] {
    const guard g{no_mask, pair.lock};
    pair.step(r);
    runs.fetch_add_release(1);
    return irqreturn::handled;
  });
  r.check(action.has_value(), "a handler is registered");
  random dice = r.generator(0);
  while (r.goes_on()) {
    const std::uint64_t before = runs.load_acquire();
    raise_irq(*line);
    if (dice.one_in(2)) {
      const guard g{irqsave, pair.lock};
      pair.step(r);
    }
    while (runs.load_acquire() == before) schedule();  // a lost raise hangs here
    r.count();
  }
  action->free();
  (void)victim.stop();
}
const torment irq_lock{"irq_lock", torment_irq_lock};

/// disable, enable, free, affinity and the end of the CPU, under raises.
void torment_irq_line(run& r) {
  random dice = r.generator(1);
  while (r.goes_on()) {
    atomic<std::uint32_t> alive{1};
    atomic<std::uint32_t> runs{0};
    atomic<std::uint32_t> up{0};
    cpu_id id = cpu_id::none;
    kthread victim = r.start("victim", [&] {
      id = online_cpu().value_or(cpu_id::none);
      up.store_release(1);
      while (!kthread_should_stop()) platform::cpu_relax();
    });
    while (up.load_acquire() == 0) schedule();
    const ref_ptr<irq_line> line = line_on(r, id);
    kthread storm = r.start("storm", [&] {
      while (!kthread_should_stop()) raise_irq(*line);
    });
    const std::uint32_t ends_at = dice.below(8);
    for (std::uint32_t i = 0; i < 8; ++i) {
      alive.store_relaxed(1);
      result<irq_action> action = request_threaded_irq(
          *line,
          [&] {
            r.check(alive.load_relaxed() == 1, "no handler runs after its free");
            runs.fetch_add_relaxed(1);
            return runs.load_relaxed() % 4 == 0 ? irqreturn::wake_thread : irqreturn::handled;
          },
          [&] { r.check(alive.load_relaxed() == 1, "no half runs after its free"); },
          {.name = "both", .oneshot = dice.one_in(2)});
      r.check(action.has_value(), "a handler is registered");
      disable_irq(*line);
      const std::uint32_t still = runs.load_relaxed();
      for (int n = 0; n < 100; ++n) platform::cpu_relax();
      r.check(runs.load_relaxed() == still, "no handler runs while the line is disabled");
      enable_irq(*line);
      while (runs.load_relaxed() == still) schedule();
      if (dice.one_in(3)) (void)irq_set_affinity(*line, *online_cpu());
      if (i == ends_at) (void)victim.stop();
      action->free();
      alive.store_relaxed(0);
      r.count();
    }
    (void)storm.stop();
  }
}
const torment irq_line_life{"irq_line", torment_irq_line};

atomic<std::uint64_t> softirq_runs{0};

/// Softirqs and bottom halves: a task that disables them is never interrupted by one.
void torment_softirq(run& r) {
  static const result<softirq> vector = open_softirq(
      "torment", [](void*) { softirq_runs.fetch_add_relaxed(1); }, nullptr);
  r.check(vector.has_value() && online_cpu().has_value(), "a vector and a CPU");
  const ref_ptr<irq_line> line = line_on(r, cpu_id::none);
  result<irq_action> action = request_irq(*line, [] {
    raise_softirq(*vector);
    return irqreturn::handled;
  });
  kthread storm = r.start("storm", [&] {
    while (!kthread_should_stop()) raise_irq(*line);
  });
  random dice = r.generator(2);
  while (r.goes_on()) {
    local_bh_disable();
    const std::uint64_t before = softirq_runs.load_relaxed();
    for (std::uint32_t i = dice.below(200); i != 0; --i) platform::cpu_relax();
    r.check(softirq_runs.load_relaxed() == before, "bottom halves are held off");
    local_bh_enable();
    local_irq_disable();
    const std::uint64_t masked = softirq_runs.load_relaxed();
    if (dice.one_in(2)) raise_softirq(*vector);
    r.check(softirq_runs.load_relaxed() == masked, "interrupts are held off");
    local_irq_enable();
    r.check(preempt_count() == 0 && !irqs_disabled(), "the context is balanced");
    r.count();
  }
  (void)storm.stop();
  action->free();
}
const torment softirqs{"softirq", torment_softirq};

/// Calls, NMIs and irq_work between CPUs that come and go.
void torment_smp(run& r) {
  random dice = r.generator(3);
  static atomic<std::uint64_t> calls{0};
  const auto count = [](void*) { calls.fetch_add_relaxed(1); };
  irq_work work{[](irq_work&) { calls.fetch_add_relaxed(1); }};
  while (r.goes_on()) {
    atomic<std::uint32_t> up{0};
    cpu_id id = cpu_id::none;
    kthread victim = r.start("victim", [&] {
      id = online_cpu().value_or(cpu_id::none);
      up.store_release(1);
      while (!kthread_should_stop()) {
        local_irq_disable();
        platform::cpu_relax();
        local_irq_enable();
      }
    });
    while (up.load_acquire() == 0) schedule();
    const std::uint32_t ends_at = dice.below(20);
    for (std::uint32_t i = 0; i < 20; ++i) {
      const std::uint64_t before = calls.load_relaxed();
      const bool nmi = dice.one_in(2);
      const result<void> called = nmi ? nmi_call_function_single(id, count, nullptr)
                                      : smp_call_function_single(id, count, nullptr);
      if (called) r.check(calls.load_relaxed() > before, "a call that succeeded has run");
      (void)irq_work_queue_on(work, id);
      if (i == ends_at) (void)victim.stop();
      r.count();
    }
    irq_work_sync(work);
  }
}
const torment smp{"smp", torment_smp};

/// Timers started, cancelled and destroyed around their expiry.
void torment_hrtimer(run& r) {
  struct probe {
    explicit probe(hrtimer_mode mode) : timer{function, mode} {}
    static hrtimer_restart function(hrtimer& t) {
      probe& self = *INTERLOCK_CONTAINER_OF(&t, probe, timer);
      self.runs.fetch_add_relaxed(1);
      if (!self.periodic) return hrtimer_restart::norestart;
      hrtimer_forward(t, monotonic_clock::now(), ktime{20'000});
      return hrtimer_restart::restart;
    }
    hrtimer timer;
    atomic<std::uint32_t> runs{0};
    bool periodic = false;
  };
  random dice = r.generator(4);
  while (r.goes_on()) {
    probe p{dice.one_in(2) ? hrtimer_mode::pinned : hrtimer_mode::service};
    p.periodic = dice.one_in(2);
    r.check(hrtimer_start(p.timer, deadline_after(ktime{dice.below(60'000)})).has_value(),
            "a timer starts");
    for (std::uint32_t i = dice.below(2000); i != 0; --i) platform::cpu_relax();
    if (dice.one_in(3)) (void)hrtimer_start(p.timer, deadline_after(ktime{dice.below(60'000)}));
    (void)hrtimer_cancel(p.timer);
    const std::uint32_t runs = p.runs.load_relaxed();
    for (int i = 0; i < 100; ++i) platform::cpu_relax();
    r.check(p.runs.load_relaxed() == runs, "no function runs after its cancel");
    r.count();
  }
}
const torment hrtimers{"hrtimer", torment_hrtimer};

}  // namespace
}  // namespace interlock::torture
