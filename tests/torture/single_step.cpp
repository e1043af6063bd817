// SPDX-License-Identifier: Apache-2.0

/// An interrupt on every instruction: the fast paths are single-stepped by the processor's trap
/// flag, and each trap raises a line of the CPU that is stepped, as a doorbell signal there would.
///
/// A trap with interrupts off, or in a softirq, raises a few times per pass only, each time at an
/// instruction that had no interrupt yet: else the serving, which has them off, would never end.
/// Passes go on until no such instruction is left. The functions and how many of their instructions
/// were interrupted are printed; INTERLOCK_STEPS=1 in the environment prints each instruction, as
/// symbol and offset.

#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <map>
#include <string>
#include <thread>
#include <vector>

#include <signal.h>
#include <ucontext.h>

#include "interlock/interrupt.hpp"
#include "interlock/irq_work.hpp"
#include "interlock/rcupdate.hpp"
#include "interlock/softirq.hpp"
#include "interlock/spinlock.hpp"
#include "interlock_platform/stack_trace.hpp"
#include "torture.hpp"

// A sanitizer's own code would be stepped too, and TSan runs no handler at once.
#if defined(__x86_64__) && !defined(__SANITIZE_THREAD__) && !defined(__SANITIZE_ADDRESS__)

namespace interlock::torture {
namespace {

constexpr greg_t trap_flag = 0x100;

/// Open-addressed, because the trap may not allocate.
class address_set {
 public:
  static constexpr std::size_t capacity = 1 << 15;

  void clear() { std::fill(std::begin(slots_), std::end(slots_), 0); }
  /// False if it was there.
  bool add(std::uintptr_t address) {
    std::size_t at = (address * 0x9e37'79b9'7f4a'7c15u) >> (64 - 15);
    while (slots_[at] != 0 && slots_[at] != address) at = (at + 1) % capacity;
    const bool added = slots_[at] == 0;
    slots_[at] = address;
    return added;
  }
  [[nodiscard]] std::vector<std::uintptr_t> sorted() const {
    std::vector<std::uintptr_t> all;
    for (const std::uintptr_t address : slots_) {
      if (address != 0) all.push_back(address);
    }
    std::sort(all.begin(), all.end());
    return all;
  }

 private:
  std::uintptr_t slots_[capacity] = {};
};

constexpr std::uint32_t fresh_max = 4;  ///< in a pass

/// One stepped thread at a time; the trap runs on it.
struct stepper {
  volatile bool active = false;
  void (*interrupt)() = nullptr;  ///< raises
  bool exact = false;             ///< the scenario does not raise the same thing itself
  std::uint32_t runs = 0;         ///< of the handler
  std::uint32_t runs_at_raise = 0;
  std::uint32_t raises = 0;
  std::uint32_t inside = 0;  ///< traps with interrupts off, or in a softirq, in this pass
  std::uint32_t fresh = 0;   ///< of these, at instructions that had no interrupt yet
  std::uint32_t wrong_runs = 0;

  address_set interrupted;         ///< of all scenarios
  address_set interrupted_inside;  ///< of this one, by traps inside
};
stepper step;

void on_trap(int, siginfo_t*, void* context) {
  greg_t* const registers = static_cast<ucontext_t*>(context)->uc_mcontext.gregs;
  if (!step.active) {
    registers[REG_EFL] &= ~trap_flag;
    return;
  }
  const auto address = static_cast<std::uintptr_t>(registers[REG_RIP]);
  const bool held = irqs_disabled() || in_hardirq();
  if (held || in_serving_softirq()) {
    ++step.inside;
    if (step.fresh == fresh_max || !step.interrupted_inside.add(address)) return;
    ++step.fresh;
  }
  (void)step.interrupted.add(address);
  // Between "interrupts on" and the replay, the raise joins what is about to be replayed.
  const bool merges = platform::this_cpu().pending.load_relaxed() != 0;
  const std::uint32_t before = step.runs;
  step.runs_at_raise = before;
  ++step.raises;
  step.interrupt();
  if (!step.exact || merges) return;
  // Served at once, exactly once; or not at all while interrupts are off.
  if (step.runs != before + (held ? 0u : 1u)) ++step.wrong_runs;
}

[[gnu::noinline]] void begin_stepping() {
  step.active = true;
  asm volatile(
      "lea -128(%%rsp), %%rsp\n"  // below the red zone
      "pushfq\n"
      "orq $0x100, (%%rsp)\n"
      "popfq\n"
      "lea 128(%%rsp), %%rsp\n" ::
          : "memory", "cc");
}

void end_stepping() { step.active = false; }  // the next trap clears the flag

/// Whether a scenario has instructions with interrupts off, or in a softirq.
enum class masks { no, yes };

/// All passes of one scenario on the calling thread, whose CPU the interrupts are for.
template <class F>
void step_through(run& r, const char* name, bool exact, masks masking, F&& scenario) {
  constexpr std::uint32_t raises_least = 3;  // of the shortest scenario
  step.exact = exact;
  step.interrupted_inside.clear();
  do {
    step.inside = 0;
    step.fresh = 0;
    const std::uint32_t raises = step.raises;
    begin_stepping();
    scenario();
    end_stepping();
    r.check(step.raises - raises >= raises_least, "instructions are interrupted");
    r.check((step.inside != 0) == (masking == masks::yes), "masked instructions are met");
    r.check(step.wrong_runs == 0, name);
    r.check(step.runs != step.runs_at_raise, "the last raise was served");
    r.check(preempt_count() == 0 && !irqs_disabled(), "the context is balanced");
    r.check(!rcu_read_lock_held(), "no RCU reader is left open");
    r.check(platform::this_cpu().pending.load_relaxed() == 0, "nothing is left pending");
    r.check(platform::this_cpu().softirq_pending.load_relaxed() == 0, "no softirq is left");
    r.count();
  } while (step.fresh != 0);
}

spinlock handler_lock;  ///< taken by the handler, so by the scenario with irqsave
bool masked = false;    ///< the scenario says: no handler may run now
softirq vector{};

/// What the interrupt does: everything a handler may.
void handler_body() {
  if (masked) ++step.wrong_runs;
  const guard reader{rcu};
  const guard g{no_mask, handler_lock};
  if (!in_serving_softirq()) raise_softirq(vector);
  ++step.runs;
}

void fast_paths(run& r, irq_line& line) {
  step_through(r, "local_irq_save", true, masks::yes, [] {
    const irq_flags outer = local_irq_save();
    masked = true;
    const irq_flags inner = local_irq_save();
    local_irq_restore(inner);
    masked = false;
    local_irq_restore(outer);
  });
  step_through(r, "rcu_read_lock", true, masks::no, [] {
    const guard outer{rcu};
    const guard inner{rcu};
  });
  step_through(r, "spinlock irqsave", true, masks::yes, [] {
    const guard g{irqsave, handler_lock};
    masked = true;
    masked = false;
  });
  step_through(r, "spinlock mask_bh", true, masks::no, [] {
    static spinlock bh_lock;
    const guard g{mask_bh, bh_lock};
  });
  step_through(r, "preempt_disable", true, masks::no, [] { const guard g{no_preempt}; });
  step_through(r, "local_bh_disable", true, masks::no, [] {
    const guard g{mask_bh};
    raise_softirq(vector);
  });
  step_through(r, "raise_softirq", true, masks::yes, [] { raise_softirq(vector); });
  step_through(r, "raise_irq", false, masks::yes, [&] { raise_irq(line); });
  step_through(r, "raise_irq, masked", false, masks::yes, [&] {
    const guard g{irqsave};
    raise_irq(line);
  });
  step_through(r, "irq_work_queue", true, masks::yes, [] {
    static irq_work work{[](irq_work&) {}};
    (void)irq_work_queue(work);
  });
  step_through(r, "wake_up_process", true, masks::no,
               [] { (void)wake_up_process(current_task()); });
}

irq_work first_work{[](irq_work&) {
  const guard reader{rcu};
  ++step.runs;
}};

/// A thread that Interlock has never seen, from its first use on.
void first_uses(run& r) {
  step.interrupt = [] { (void)irq_work_queue(first_work); };
  for (int use = 0; use < 4; ++use) {
    std::thread fresh{[&r, use] {
      step_through(r, "first use", false, masks::no, [use] {
        static spinlock lock;
        switch (use) {
          case 0: (void)smp_processor_id(); break;
          case 1:
            rcu_read_lock();
            rcu_read_unlock();
            break;
          case 2:
            lock.lock(no_mask);
            lock.unlock(no_mask);
            break;
          default: local_irq_enable(); break;
        }
      });
    }};
    fresh.join();
  }
}

void print_steps() {
  std::map<std::string, int> functions;
  const std::vector<std::uintptr_t> addresses = step.interrupted.sorted();
  const bool list = std::getenv("INTERLOCK_STEPS") != nullptr;
  for (const std::uintptr_t address : addresses) {
    char text[512];
    platform::describe_address(reinterpret_cast<void*>(address), true, text, sizeof text);
    if (list) std::printf("%s\n", text);
    const std::string name{text};
    ++functions[name.substr(0, name.rfind('+'))];
  }
  for (const auto& [name, count] : functions) std::printf("%6d of %s\n", count, name.c_str());
  std::printf("single_step: %u interrupts on %zu instructions of %zu functions\n", step.raises,
              addresses.size(), functions.size());
}

void torment_single_step(run& r) {
  struct sigaction action {};
  struct sigaction before {};
  action.sa_sigaction = on_trap;
  action.sa_flags = SA_SIGINFO;
  r.check(sigaction(SIGTRAP, &action, &before) == 0, "SIGTRAP is ours");
  static const result<softirq> opened = open_softirq(
      "step", [](void*) {}, nullptr);
  r.check(opened.has_value(), "a vector is free");
  vector = *opened;
  result<ref_ptr<irq_line>> made = make_irq_line({.kind = irq_kind::asynchronous});
  r.check(made.has_value(), "a line is made");
  static irq_line* line;
  line = made->get();
  result<irq_action> handler = request_irq(*line, [] {
    handler_body();
    return irqreturn::handled;
  });
  r.check(handler.has_value(), "a handler is registered");
  do {
    step.interrupt = [] { raise_irq(*line); };
    fast_paths(r, *line);
    first_uses(r);
  } while (r.goes_on());
  print_steps();
  sigaction(SIGTRAP, &before, nullptr);
}
const torment single_step{"single_step", torment_single_step};

}  // namespace
}  // namespace interlock::torture

#endif
