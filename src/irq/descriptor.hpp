// SPDX-License-Identifier: Apache-2.0
#pragma once

/// A CPU as the irq layer sees it, and how work gets onto it.
///
/// Invariants:
///   I1. A descriptor is on the list of CPUs from the moment its CPU can be interrupted until it is
///       taken offline (by its exit hook, or by the service CPU itself); memory is freed a grace
///       period after the last reference. A CPU has one at most, and none after that.
///   I2. Nobody touches `words` of another CPU outside the gate: they end with their thread.
///   I3. A node is on one queue at most; its owner sees to that by a flag of its own.
///   I4. `cpu_pending::work` is set when the queue is not empty and nobody serves it: it is set
///       after each push and cleared before the queue is taken. Whoever sets it rings (or serves);
///       so there is at most one doorbell outstanding per CPU.
/// Ordering, raiser against server (I4):
///   raiser                                   server
///   push node              [P1]              clear work              [P3]
///   set work               [P2]              take the queue          [P4]
///   ring if it was clear                     run the nodes
/// A push that comes after P4 sets work after P3 cleared it, and rings. One that comes before P4 is
/// taken. All are seq_cst read-modify-writes. P1 with P4 also carries what the raiser wrote before.
/// The gate, ringer against end:
///   ringer                                   take_cpu_offline()
///   gate += 1              [Q1]              gate |= closed          [Q3]
///   closed? -> leave, go elsewhere           wait until gate == closed [Q4]
///   ... words ..., ring                      hand the queue over, let the thread end
///   gate -= 1              [Q2]
/// Q1 and Q3 are read-modify-writes of one word, so one of them comes first: if Q1, then Q4 waits
/// for Q2; if Q3, then the ringer sees it.

#include "interlock/cpu.hpp"
#include "interlock/hrtimer.hpp"
#include "interlock/list.hpp"
#include "interlock/rcupdate.hpp"
#include "interlock/refcount.hpp"

namespace interlock::inline INTERLOCK_PLATFORM::detail {

struct cpu_descriptor {
  cpu_descriptor(std::uint32_t number, cpu_words& hot, bool service) noexcept;

  rcu_head rcu;
  refcount references;
  std::uint32_t id;       ///< changes in the child of a fork only
  const bool is_service;  ///< rung by the poller in place of a signal
  cpu_words* const words;
  atomic<std::uint32_t> gate{0};         ///< CPUs that ring it now; `gate_closed`
  atomic<std::uint32_t> ring_failed{0};  ///< the OS refused a ring: the service CPU repeats it
  llist_head nmi_queue;                  ///< cpu_nodes to be run by the NMI
  atomic<std::uint32_t> nmi_pending{0};  ///< an NMI is on its way
  rcu_pointer<cpu_descriptor> next;      ///< the list of CPUs
  atomic<std::uint32_t> serving{0};      ///< levels of serve() that it is in; see entry.cpp
  const hrtimer* running_timer =
      nullptr;  ///< whose function runs here; under the lock of all timers

  // Deferred softirqs: the timer posts the node, whose serving runs them. See softirq.cpp.
  hrtimer softirq_timer;
  cpu_node softirq_kick;
  atomic<std::uint32_t> softirq_kicked{0};  ///< the node is queued
};

inline constexpr std::uint32_t gate_closed = 1u << 31;

inline void get_cpu_descriptor(cpu_descriptor& cpu) noexcept { cpu.references.get(); }
/// Context: any but NMI.
void put_cpu_descriptor(cpu_descriptor& cpu) noexcept;

/// The caller's CPU, or null if it is not online. Context: any.
[[nodiscard]] inline cpu_descriptor* this_descriptor() noexcept {
  return static_cast<cpu_descriptor*>(platform::this_cpu().cpu);
}

/// Context: any, inside an RCU reader, which keeps the result valid. Null: not online.
[[nodiscard]] cpu_descriptor* find_cpu(cpu_id id) noexcept;
/// The first of all online CPUs; follow `next`. Context: any, inside an RCU reader.
[[nodiscard]] cpu_descriptor* first_cpu() noexcept;

/// Makes a descriptor for the calling CPU and puts it on the list, or finds that another task of
/// the CPU has. Error: no_such_process if the CPU was taken offline. Context: task.
[[nodiscard]] result<cpu_descriptor*> add_this_cpu(bool service) noexcept;

/// The calling CPU's last act, where no interrupt can reach it any more: it is rung no longer, and
/// what is queued on it goes elsewhere. Context: task, the doorbells held.
void take_cpu_offline() noexcept;

/// Holds off the end of `cpu`. False if that has begun. Context: any.
[[nodiscard]] bool enter_gate(cpu_descriptor& cpu) noexcept;
void leave_gate(cpu_descriptor& cpu) noexcept;

/// Queues `node` on `cpu` and interrupts it. False if the CPU is gone; then nothing has happened.
/// Pre: not the caller's own CPU. Context: any.
[[nodiscard]] bool post(cpu_descriptor& cpu, cpu_node& node) noexcept;
/// Queues it on the caller's CPU, online or not, and serves it at once if interrupts are on.
/// Context: any.
void post_here(cpu_node& node) noexcept;
/// Queues `node` as an NMI. False if the CPU is gone. Context: any.
[[nodiscard]] bool post_nmi(cpu_descriptor& cpu, cpu_node& node) noexcept;
/// Rings once more, both doorbells if `nmi`: for callers who get no answer. Context: any.
void ring_again(cpu_descriptor& cpu, bool nmi) noexcept;

/// In the child of a fork: lines and the timers' work leave `queue`, for they will be queued anew.
void drop_lines(llist_head& queue) noexcept;
/// line.cpp
[[nodiscard]] bool is_line(const cpu_node& node) noexcept;
/// hrtimer.cpp
[[nodiscard]] bool is_due_work(const cpu_node& node) noexcept;

// entry.cpp

/// Serves what is pending on this CPU, as far as its context allows. Context: any.
void replay() noexcept;
void doorbell_entry() noexcept;
/// Around a fork: nothing is served on any CPU that can be interrupted. Context: task.
void hold_interrupts_back() noexcept;
void let_interrupts_go() noexcept;
void nmi_entry() noexcept;
/// Runs `function(argument)` in hardirq context before it returns, also where interrupts are off or
/// in a handler. Context: any.
void run_as_interrupt(void (*function)(void*), void* argument) noexcept;
/// Runs `function(argument)` as an NMI would on this very CPU. Context: task.
void run_as_nmi(void (*function)(void*), void* argument) noexcept;

/// The context in which a handler is called, and in which it has to return.
struct handler_context {
  std::uint32_t count;
  std::uint32_t irqs_off;
};
[[nodiscard]] inline handler_context enter_handler() noexcept {
  return {preempt_count(), platform::this_cpu().irqs_off.load_relaxed()};
}
/// Reports a handler that left another context than it found, and puts that back.
void check_handler(handler_context before, const char* what, const char* name) noexcept;

// softirq.cpp

/// Pre: interrupts off, not in_interrupt(), a softirq is pending. Runs them with interrupts on.
void run_softirqs(cpu_words& cpu) noexcept;
void softirq_timer_init(cpu_descriptor& cpu) noexcept;
/// The CPU's last act: what is still pending has no other CPU to go to.
void run_last_softirqs(cpu_words& cpu) noexcept;

}  // namespace interlock::inline INTERLOCK_PLATFORM::detail
