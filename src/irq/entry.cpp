// SPDX-License-Identifier: Apache-2.0

/// Where interrupts enter a CPU, and where those that were held back are replayed.
///
/// Natively `doorbell_entry` runs in a signal handler that may itself be interrupted, on any
/// instruction, by the same or the other doorbell.
///
/// Invariants:
///   E1. Nodes run with irqs_off set and hardirq_offset counted, never nested in other nodes of the
///       same CPU: an entry that finds either returns at once and leaves `pending` as it is.
///   E2. Whoever makes a CPU interruptible again looks at `pending` after it has done so:
///       local_irq_enable (F1 to F3 in irqflags.hpp), the end of serve(), the end of an NMI.
///       So what an entry left is served as soon as it may be.
///   E3. serve() leaves irqs_off, the count, and the remembered places as it found them.
/// Ordering: P3 with P2 and P4 with P1, see descriptor.hpp. Everything else happens on one thread,
/// between which and its handlers compiler barriers suffice.
///
/// A fork holds interrupts back, because a handler may have halted malloc, and would then wait for
/// our locks on top of malloc's, which fork takes after ours:
///   serve()                                  hold_interrupts_back()
///   serving += 1           [G1]              held_back = 1             [G3]
///   full barrier                             full barrier
///   held_back? leave       [G2]              wait until serving == 0   [G4]
/// Either the forker waits for the handlers, or they do not begin. After the fork:
///   serve(), leaving                         let_interrupts_go()
///   pending says what is left  [G5]          held_back = 0             [G8]
///   full barrier                             full barrier
///   held_back? leave, else again [G6]        pending? ring             [G7]
/// Either the CPU sees that the fork is over, or it is rung.
///
/// An interrupt in serve() itself, by place:
///   before irqs_off = 1   the nested entry serves all; serve() then finds nothing and leaves
///   while irqs_off == 1   the nested entry returns (E1); the loop looks again after irqs_off = 0
///   after irqs_off = 0    the nested entry serves; the look that follows finds nothing
/// The nested entry of the last case adds a frame to the stack. Another one would have to arrive
/// before that has returned, and so on; each must be rung anew, which takes longer than the few
/// instructions that remain.

#include "context/restore.hpp"
#include "interlock/detail/context_hooks.hpp"
#include "interlock/irqflags.hpp"
#include "interlock/rcupdate.hpp"
#include "interlock/report.hpp"
#include "interlock/time.hpp"
#include "interlock_platform/park.hpp"
#include "irq/descriptor.hpp"
#include "irq/lifecycle.hpp"

namespace interlock::inline INTERLOCK_PLATFORM::detail {
namespace {

constinit atomic<std::uint32_t> held_back{0};  ///< a fork is going on
/// A handler that waits for what the forker holds would never end.
constexpr ktime hold_patience = std::chrono::seconds{1};

/// Enters (leaves, with a difference that wraps) an interrupt context on this CPU.
void enter_context(cpu_words& cpu, std::uint32_t offset) noexcept {
  cpu.interrupt_count.store_relaxed(cpu.interrupt_count.load_relaxed() + offset);
  platform::event::context_enter(offset);
  barrier();
}

void leave_context(cpu_words& cpu, std::uint32_t offset) noexcept {
  barrier();
  cpu.interrupt_count.store_relaxed(cpu.interrupt_count.load_relaxed() - offset);
  platform::event::context_exit(offset);
}

/// Writes the mask as it is, without a look at what pends.
void set_irqs_off(cpu_words& cpu, std::uint32_t off) noexcept {
  if (off != 0) {
    platform::event::irqs_off();
  } else {
    platform::event::irqs_on();
  }
  cpu.irqs_off.store_relaxed(off);
}

void run_nodes(llist_node* link) noexcept {
  while (link != nullptr) {
    cpu_node& node = *INTERLOCK_CONTAINER_OF(link, cpu_node, link);
    link = link->next;  // before it runs: it may be queued again, or gone, by its end
    const handler_context context = enter_handler();
    node.run(node, false);
    check_handler(context, "interrupt", "");
  }
}

/// Pre: irqs_off is set.
void serve_hardirqs(cpu_words& cpu) noexcept {
  enter_context(cpu, hardirq_offset);
  do {
    cpu.pending.fetch_and_seq_cst(~cpu_pending::work);  // [P3] pairs with [P2]
    run_nodes(llist_reverse(cpu.queue.take_all()));     // [P4] pairs with [P1]
  } while ((cpu.pending.load_relaxed() & cpu_pending::work) != 0);
  leave_context(cpu, hardirq_offset);
}

/// Pre: irqs_off is set.
void serve_softirqs(cpu_words& cpu) noexcept {
  if ((cpu.pending.load_relaxed() & cpu_pending::softirq) != 0) {
    // Relaxed: set on this CPU only.
    cpu.pending.fetch_and_relaxed(~cpu_pending::softirq);
  }
  if (cpu.softirq_pending.load_relaxed() != 0 && !in_interrupt()) run_softirqs(cpu);
}

/// Something that may be served in this context.
bool is_due(const cpu_words& cpu) noexcept {
  const std::uint32_t pending = cpu.pending.load_relaxed();
  return (pending & cpu_pending::work) != 0 ||
         ((pending & cpu_pending::softirq) != 0 && !in_interrupt());
}

/// The next level of serve(). False while a fork holds interrupts back: what is pending stays so.
bool begin_serving(cpu_words& cpu, cpu_descriptor* descriptor) noexcept {
  if (descriptor == nullptr) return true;  // halts nothing: it serves what it has queued itself
  const std::uint32_t levels = descriptor->serving.load_relaxed();
  while (true) {
    descriptor->serving.store_relaxed(levels + 1);  // [G1] pairs with [G4]
    smp_mb();
    // The outermost level is waited for, and the inner ones with it.
    if (levels != 0 || held_back.load_relaxed() == 0) return true;  // [G2] pairs with [G3]
    descriptor->serving.store_release(levels);
    if (cpu.softirq_pending.load_relaxed() != 0) {
      cpu.pending.fetch_or_seq_cst(cpu_pending::softirq);  // [G5] pairs with [G7]
    }
    smp_mb();
    if (held_back.load_relaxed() != 0) return false;  // [G6] pairs with [G8]
  }
}

void end_serving(cpu_descriptor* descriptor) noexcept {
  if (descriptor == nullptr) return;
  descriptor->serving.store_release(descriptor->serving.load_relaxed() - 1);
}

/// Pre: interrupts on, not in hardirq.
void serve(cpu_words& cpu) noexcept {
  cpu_descriptor* const descriptor = this_descriptor();
  if (!begin_serving(cpu, descriptor)) return;
  task_words& task = platform::this_task();
  const location irqs_off_at = cpu.irqs_off_at;
  const location atomic_at = task.atomic_at;
  do {
    set_irqs_off(cpu, 1);
    barrier();
    cpu.irqs_off_at = location::current();
    if ((cpu.pending.load_relaxed() & cpu_pending::work) != 0) serve_hardirqs(cpu);
    serve_softirqs(cpu);
    cpu.irqs_off_at = irqs_off_at;
    task.atomic_at = atomic_at;
    barrier();
    set_irqs_off(cpu, 0);
    barrier();
  } while (is_due(cpu));
  end_serving(descriptor);
}

bool may_interrupt(const cpu_words& cpu) noexcept {
  return cpu.irqs_off.load_relaxed() == 0 && !in_hardirq();
}

[[gnu::constructor]] void install_hooks() noexcept {
  platform::add_lifecycle_hook(irq_hook);
  platform::add_lifecycle_hook(hold_back_hook);
  set_replay_hook(replay);
}

void run_nmi_nodes(cpu_descriptor& cpu) noexcept {
  do {
    cpu.nmi_pending.store_seq_cst(0);                    // [P3] pairs with [P2]
    run_nodes(llist_reverse(cpu.nmi_queue.take_all()));  // [P4] pairs with [P1]
  } while (cpu.nmi_pending.load_seq_cst() != 0);
}

/// What was held back by the NMI itself.
void after_nmi(cpu_words& cpu) noexcept {
  barrier();
  if (is_due(cpu) && may_interrupt(cpu)) serve(cpu);
}

}  // namespace

void doorbell_entry() noexcept {
  cpu_words& cpu = platform::this_cpu();
  if (may_interrupt(cpu) && is_due(cpu)) serve(cpu);
}

void hold_interrupts_back() noexcept {
  held_back.store_relaxed(1);  // [G3] pairs with [G2]
  smp_mb();
  const deadline until = platform::now() + hold_patience;
  guard g{rcu};
  for (cpu_descriptor* cpu = first_cpu(); cpu != nullptr; cpu = rcu_dereference(cpu->next)) {
    if (cpu == this_descriptor()) continue;
    while (cpu->serving.load_acquire() != 0 && platform::now() < until) {  // [G4] pairs with [G1]
      platform::yield();
    }
  }
}

void let_interrupts_go() noexcept {
  held_back.store_relaxed(0);  // [G8] pairs with [G6]
  smp_mb();
  {
    guard g{rcu};
    for (cpu_descriptor* cpu = first_cpu(); cpu != nullptr; cpu = rcu_dereference(cpu->next)) {
      if (cpu == this_descriptor() || !enter_gate(*cpu)) continue;
      const bool due = cpu->is_service || cpu->words->pending.load_relaxed() != 0;  // [G7], [G5]
      leave_gate(*cpu);
      if (due) ring_again(*cpu, false);
    }
  }
  if (is_due(platform::this_cpu())) replay();
}

void nmi_entry() noexcept {
  cpu_words& cpu = platform::this_cpu();
  cpu_descriptor* const descriptor = this_descriptor();
  if (descriptor == nullptr || in_nmi()) return;  // not for us, or the interrupted NMI looks again
  enter_context(cpu, nmi_offset + hardirq_offset);
  run_nmi_nodes(*descriptor);
  leave_context(cpu, nmi_offset + hardirq_offset);
  // A ring that came between the last look and the line above returned at once.
  if (descriptor->nmi_pending.load_seq_cst() != 0) {
    nmi_entry();
  } else {
    after_nmi(cpu);
  }
}

void run_as_interrupt(void (*function)(void*), void* argument) noexcept {
  if (in_hardirq()) {
    function(argument);
    return;
  }
  cpu_words& cpu = platform::this_cpu();
  const std::uint32_t irqs_off = cpu.irqs_off.load_relaxed();
  const location irqs_off_at = cpu.irqs_off_at;
  set_irqs_off(cpu, 1);
  barrier();
  if (irqs_off == 0) cpu.irqs_off_at = location::current();
  enter_context(cpu, hardirq_offset);
  const handler_context context = enter_handler();
  function(argument);
  check_handler(context, "interrupt", "");
  leave_context(cpu, hardirq_offset);
  cpu.irqs_off_at = irqs_off_at;
  barrier();
  set_irqs_off(cpu, irqs_off);
  barrier();
  replay();  // E2, and softirqs that the function raised
}

void run_as_nmi(void (*function)(void*), void* argument) noexcept {
  cpu_words& cpu = platform::this_cpu();
  enter_context(cpu, nmi_offset + hardirq_offset);
  function(argument);
  leave_context(cpu, nmi_offset + hardirq_offset);
  after_nmi(cpu);
}

void replay() noexcept {
  cpu_words& cpu = platform::this_cpu();
  if (may_interrupt(cpu)) {
    serve(cpu);
  } else if (cpu.softirq_pending.load_relaxed() != 0 && !in_interrupt()) {
    // Bottom halves were enabled with interrupts off: local_irq_enable must come back here.
    cpu.pending.fetch_or_relaxed(cpu_pending::softirq);
  }
}

void check_handler(handler_context before, const char* what, const char* name) noexcept {
  cpu_words& cpu = platform::this_cpu();
  const std::uint32_t count = preempt_count();
  const bool enabled = cpu.irqs_off.load_relaxed() != before.irqs_off;
  if (count == before.count && !enabled) [[likely]]
    return;
  restore_preempt_count(before.count);
  set_irqs_off(cpu, before.irqs_off);
  barrier();
  report_text text;
  text << what << " handler " << name << (enabled ? " enabled interrupts" : " is unbalanced");
  text << ": preempt_count 0x";
  text.hex(before.count) << " on entry, 0x";
  text.hex(count) << " on return\n";
  submit_report(report_kind::context_imbalance, text);
}

}  // namespace interlock::inline INTERLOCK_PLATFORM::detail
