// SPDX-License-Identifier: Apache-2.0

/// CPUs: how they come online, are found, are rung, and end.
///
/// See descriptor.hpp for invariants I1 to I4 and the orders P and Q.
/// Ordering: [C1] links a descriptor that is complete, [C2] finds it.

#include "interlock/cpu.hpp"

#include <cstdlib>
#include <new>

#include "interlock/spinlock.hpp"
#include "interlock/task.hpp"
#include "interlock_platform/doorbell.hpp"
#include "interlock_platform/lifecycle.hpp"
#include "interlock_platform/park.hpp"
#include "irq/descriptor.hpp"
#include "irq/lifecycle.hpp"
#include "irq/service.hpp"

namespace interlock::inline INTERLOCK_PLATFORM {
namespace detail {
namespace {

constinit rcu_pointer<cpu_descriptor> cpus;
constinit spinlock cpus_lock;  ///< writers of the list

/// The CPU's first descriptor stays: false if another task of it was faster.
bool link_cpu(cpu_descriptor& cpu) noexcept {
  guard g{irqsave, cpus_lock};
  if (cpu.words->cpu != nullptr) return false;
  cpu.words->cpu = &cpu;
  barrier();  // an interrupt finds the descriptor complete
  rcu_init_pointer(cpu.next, rcu_dereference_protected(cpus, true));
  rcu_assign_pointer(cpus, &cpu);  // [C1] pairs with [C2]
  return true;
}

void unlink_cpu(const cpu_descriptor& cpu) noexcept {
  guard g{irqsave, cpus_lock};
  rcu_pointer<cpu_descriptor>* link = &cpus;
  while (rcu_dereference_protected(*link, true) != &cpu) {
    link = &rcu_dereference_protected(*link, true)->next;
  }
  rcu_assign_pointer(*link, rcu_dereference_protected(cpu.next, true));
}

void close_gate(cpu_descriptor& cpu) noexcept {
  cpu.gate.fetch_or_seq_cst(gate_closed);                            // [Q3] pairs with [Q1]
  while (cpu.gate.load_acquire() != gate_closed) platform::yield();  // [Q4] pairs with [Q2]
}

/// The nodes that will not be served here any more.
void send_away(llist_head& queue) noexcept {
  llist_node* link = llist_reverse(queue.take_all());  // [P4] pairs with [P1]
  while (link != nullptr) {
    cpu_node& node = *INTERLOCK_CONTAINER_OF(link, cpu_node, link);
    link = link->next;  // before it goes: it may be queued elsewhere by then
    node.run(node, true);
  }
}

void ring(cpu_descriptor& cpu) noexcept {
  if (cpu.is_service) {
    wake_service();
    return;
  }
  if (platform::ring_doorbell(cpu.id, platform::doorbell::interrupt)) return;
  // No room in the queue of signals (RLIMIT_SIGPENDING); the thread is alive, the gate says so.
  cpu.ring_failed.store_relaxed(1);
  ring_again_later();
}

}  // namespace

cpu_descriptor::cpu_descriptor(std::uint32_t number, cpu_words& hot, bool service) noexcept
    : id{number}, is_service{service}, words{&hot}, softirq_timer{nullptr} {
  softirq_timer_init(*this);
}

/// By call_rcu: raise_irq may end here, which any signal handler may call, and free_rcu may free.
void put_cpu_descriptor(cpu_descriptor& cpu) noexcept {
  if (!cpu.references.put()) return;
  call_rcu(cpu.rcu,
           [](rcu_head* head) { std::free(INTERLOCK_CONTAINER_OF(head, cpu_descriptor, rcu)); });
}

cpu_descriptor* first_cpu() noexcept { return rcu_dereference(cpus); }  // [C2] pairs with [C1]

cpu_descriptor* find_cpu(cpu_id id) noexcept {
  cpu_descriptor* cpu = first_cpu();
  while (cpu != nullptr && cpu->id != static_cast<std::uint32_t>(id)) {
    cpu = rcu_dereference(cpu->next);  // [C2] pairs with [C1]
  }
  return cpu;
}

result<cpu_descriptor*> add_this_cpu(bool service) noexcept {
  platform::enlist();
  cpu_words& words = platform::this_cpu();
  if (words.offline.load_relaxed() != 0) return error::no_such_process;
  void* const memory = std::malloc(sizeof(cpu_descriptor));
  if (memory == nullptr) return error::not_enough_memory;
  (void)current_task();  // made here, in a task: handlers may ask for it, and may not allocate
  auto* const cpu = new (memory) cpu_descriptor{words.id.load_relaxed(), words, service};
  if (link_cpu(*cpu)) return cpu;
  std::free(memory);  // nobody has seen it
  return this_descriptor();
}

bool enter_gate(cpu_descriptor& cpu) noexcept {
  if ((cpu.gate.fetch_add_seq_cst(1) & gate_closed) == 0) return true;  // [Q1] pairs with [Q3]
  leave_gate(cpu);
  return false;
}

void leave_gate(cpu_descriptor& cpu) noexcept {
  cpu.gate.fetch_sub_release(1);  // [Q2] pairs with [Q4]
}

bool post(cpu_descriptor& cpu, cpu_node& node) noexcept {
  if (!enter_gate(cpu)) return false;
  cpu.words->queue.push(node.link);  // [P1] pairs with [P4]
  const std::uint32_t before =
      cpu.words->pending.fetch_or_seq_cst(cpu_pending::work);  // [P2] pairs with [P3]
  if ((before & cpu_pending::work) == 0) ring(cpu);
  leave_gate(cpu);
  return true;
}

void post_here(cpu_node& node) noexcept {
  cpu_words& cpu = platform::this_cpu();
  if (cpu.id.load_relaxed() == 0) platform::enlist();  // so that the exit hook will look
  cpu.queue.push(node.link);                           // [P1] pairs with [P4]
  cpu.pending.fetch_or_seq_cst(cpu_pending::work);     // [P2] pairs with [P3]
  replay();
}

bool post_nmi(cpu_descriptor& cpu, cpu_node& node) noexcept {
  if (!enter_gate(cpu)) return false;
  cpu.nmi_queue.push(node.link);                   // [P1] pairs with [P4]
  if (cpu.nmi_pending.exchange_seq_cst(1) == 0) {  // [P2] pairs with [P3]
    // A refused ring (RLIMIT_SIGPENDING) is repeated by the caller, who waits.
    (void)platform::ring_doorbell(cpu.id, platform::doorbell::nmi);
  }
  leave_gate(cpu);
  return true;
}

void ring_again(cpu_descriptor& cpu, bool nmi) noexcept {
  if (!enter_gate(cpu)) return;
  if (nmi) {
    (void)platform::ring_doorbell(cpu.id, platform::doorbell::nmi);
  } else {
    ring(cpu);
  }
  leave_gate(cpu);
}

/// A second time it sends away what has come since.
void take_cpu_offline() noexcept {
  cpu_words& words = platform::this_cpu();
  cpu_descriptor* const cpu = this_descriptor();
  words.offline.store_relaxed(1);
  if (cpu != nullptr) {
    close_gate(*cpu);
    unlink_cpu(*cpu);
    if (hrtimer_try_to_cancel(cpu->softirq_timer) == 1) put_cpu_descriptor(*cpu);
    send_away(cpu->nmi_queue);
  }
  platform::event::irqs_on();
  words.irqs_off.store_relaxed(0);                      // a thread may end with them off
  words.pending.fetch_and_seq_cst(~cpu_pending::work);  // [P3] pairs with [P2]
  send_away(words.queue);
  words.cpu = nullptr;  // no fork holds back what the last softirqs queue here
  barrier();
  run_last_softirqs(words);
  if (cpu != nullptr) put_cpu_descriptor(*cpu);
}

void drop_lines(llist_head& queue) noexcept {
  llist_node* link = llist_reverse(queue.take_all());
  while (link != nullptr) {
    cpu_node& node = *INTERLOCK_CONTAINER_OF(link, cpu_node, link);
    link = link->next;
    if (!is_line(node) && !is_due_work(node)) (void)queue.push(node.link);
  }
}

void cpus_fork_prepare() noexcept INTERLOCK_NO_THREAD_SAFETY_ANALYSIS { cpus_lock.lock(no_mask); }

void cpus_fork_parent() noexcept INTERLOCK_NO_THREAD_SAFETY_ANALYSIS { cpus_lock.unlock(no_mask); }

/// The other CPUs are gone. What they had not begun to serve leaves them. Their words, though those
/// of other threads, are still readable: the child has a copy.
void cpus_fork_child() noexcept INTERLOCK_NO_THREAD_SAFETY_ANALYSIS {
  cpus_lock.unlock(no_mask);
  cpu_descriptor* const own = this_descriptor();
  cpu_descriptor* cpu = rcu_access_pointer(cpus);
  rcu_assign_pointer(cpus, own);
  while (cpu != nullptr) {
    cpu_descriptor* const next = rcu_access_pointer(cpu->next);
    drop_lines(cpu->words->queue);
    if (cpu != own) {
      cpu->gate.store_relaxed(gate_closed);
      send_away(cpu->nmi_queue);
      send_away(cpu->words->queue);
      put_cpu_descriptor(*cpu);
    }
    cpu = next;
  }
  if (own == nullptr) return;
  own->gate.store_relaxed(0);
  own->id = platform::this_cpu().id.load_relaxed();
  rcu_init_pointer(own->next, nullptr);
  // Somebody may have been between push and bit.
  own->words->pending.fetch_or_relaxed(cpu_pending::work);
}

}  // namespace detail

result<cpu_id> online_cpu() noexcept {
  if (detail::this_descriptor() != nullptr) return smp_processor_id();
  INTERLOCK_TRY(platform::install_doorbell(platform::doorbell::interrupt, detail::doorbell_entry));
  const cpu_id self = smp_processor_id();
  if (platform::doorbell_is_blocked(static_cast<std::uint32_t>(self),
                                    platform::doorbell::interrupt)) {
    return error::operation_not_permitted;
  }
  INTERLOCK_TRY(detail::require_service());  // where interrupts go when this CPU ends
  INTERLOCK_TRY(detail::add_this_cpu(false));
  return self;
}

result<cpu_id> service_cpu() noexcept { return detail::require_service(); }

cpu_id smp_processor_id() noexcept {
  const cpu_words& cpu = platform::this_cpu();
  if (cpu.id.load_relaxed() == 0) [[unlikely]]
    platform::enlist();
  return cpu_id{cpu.id.load_relaxed()};
}

bool cpu_is_online(cpu_id cpu) noexcept {
  guard g{rcu};
  const detail::cpu_descriptor* const found = detail::find_cpu(cpu);
  return found != nullptr && (found->gate.load_relaxed() & detail::gate_closed) == 0;
}

}  // namespace interlock::inline INTERLOCK_PLATFORM
