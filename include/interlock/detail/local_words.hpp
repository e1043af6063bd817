// SPDX-License-Identifier: Apache-2.0
#pragma once

/// The hot words of the current CPU and of the current task: what inline fast paths touch.
///
/// The platform stores them and says which are current; the core gives them meaning. Natively one
/// task lives on one CPU, and both structs stand side by side in 128 bytes of static TLS. All words
/// start as zero, so that a thread that Interlock has never seen already has a valid state.
///
/// Ownership: a word is written by its own CPU (or task) only, handlers on that CPU included, which
/// therefore leave it as they found it or write it with a read-modify-write. Exceptions are marked
/// [remote]: other CPUs read or write them too.

#include <cstdint>

#include "interlock/atomic.hpp"
#include "interlock/llist.hpp"
#include "interlock/location.hpp"

namespace interlock {

/// How far the platform has come with a CPU or task.
enum class task_life : std::uint32_t {
  unknown = 0,   ///< never seen; `platform::enlist()` has not run
  enlisted = 1,  ///< known; the exit hooks will run
  dead = 2,      ///< the exit hooks have run; the thread is about to end
};

struct alignas(64) cpu_words {
  atomic<std::uint32_t> interrupt_count;  ///< softirq, hardirq and NMI bits of preempt_count
  atomic<std::uint32_t> irqs_off;         ///< nonzero: maskable interrupts are held back
  atomic<std::uint32_t> pending;          ///< [remote] cpu_pending bits: what a replay must serve
  atomic<std::uint32_t> softirq_pending;  ///< one bit per softirq vector
  atomic<std::uint32_t> need_resched;     ///< [remote] somebody asked this CPU to reschedule
  atomic<std::uint32_t> id;               ///< unique among live CPUs; 0: its task is not enlisted
  location irqs_off_at;                   ///< where interrupts were last switched off
  void* cpu;                              ///< the irq layer's descriptor, null until it needs one
  llist_head queue;  ///< [remote] interrupts to be served; here, so that no CPU needs memory
  atomic<std::uint32_t> offline;  ///< nonzero: it was taken offline for good
};

struct alignas(64) task_words {
  atomic<std::uint32_t> preempt_depth;  ///< preempt_disable nesting, bits 0-7 of preempt_count
  atomic<std::uint32_t> id;             ///< unique among live tasks, below 2^24; 0: not enlisted
  atomic<std::uint64_t> rcu;            ///< [remote] grace period << 16 | nesting, see rcupdate.hpp
  atomic<task_words*> rcu_next;         ///< [remote] link of the list of known readers
  location atomic_at;                   ///< where atomic context was last entered from preemptible
  atomic<void*> task;                   ///< the sched layer's `task`, null until it needs one
  atomic<std::uint32_t> life;           ///< a `task_life`
  std::uint32_t former_id;              ///< the id before the last fork: of locks held across it
  atomic<std::uint32_t> signalling_depth;  ///< inside a fence signalling section, see dma_fence.hpp
  atomic<std::uint16_t> rcu_unlisted;      ///< readers' sections before it was on their list
  atomic<std::uint16_t> mutexes;           ///< held, for the report at its end
};

static_assert(sizeof(cpu_words) == 64);
static_assert(sizeof(task_words) == 64);

/// Bits of `cpu_words::pending`.
namespace cpu_pending {
inline constexpr std::uint32_t work = 1u << 0;     ///< the CPU's queue of interrupts is not empty
inline constexpr std::uint32_t softirq = 1u << 1;  ///< softirqs were raised with interrupts off
}  // namespace cpu_pending

}  // namespace interlock
