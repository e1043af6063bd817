// SPDX-License-Identifier: Apache-2.0
#pragma once

/// What the rules of locks, RCU and fences say about what the core announces. Nothing here looks at the core's own state.
///
///   O1. A lock's order: who holds a while it waits for b has put a before b; no cycle may come of it, whether or not
///       somebody waits. That goes by classes (lock_class.hpp), as learned in this execution; locks of one class, or of two that may be one
///       declaration, are in order one by one.
///   O2. A class that a hardirq (softirq) takes is taken with interrupts (bottom halves) off elsewhere.
///   O3. A grace period does not end while a reader is inside that was inside when it began; nor does synchronize_rcu return,
///       or a callback run, while one is that was when it was called, or queued. A callback is queued once at a time.
///   O4. A fence is signalled once. Fences of one context are signalled in the order of their seqnos, but for those whose provider says, when it is
///       asked, that they are done: then those before them are done too, and will say so when they are asked.
///   O5. A task ends as it began: nothing locked, counted, masked, or read.
///   O6. A signalling section does not wait for fences, nor for a lock that is held while somebody waits for one. As with
///       O1, whether or not somebody waits.
/// Source: Linux Documentation/locking/lockdep-design.rst (O1, O2), RCU/Design/Requirements (O3), driver-api/dma-buf.rst (O4, O6).

#include <cstdint>

#include "clock.hpp"
#include "storage.hpp"

namespace interlock::machine {

class oracle {
 public:
  oracle() noexcept
      : locks_{1u << 12},
        edges_{1u << 14},
        fences_{1u << 12},
        contexts_{1u << 10},
        waits_{1u << 11} {}

  void begin_execution() noexcept;

  /// What makes a class. Two declarations are never one; one may be several, where translation units have a key each.
  struct lock_class {
    const void* key;
    const void* unit;
    const char* file;  ///< null: it was named
    int line;
    const char* part;  ///< of a larger primitive, or the name; may be null
  };
  void lock_made(std::uint64_t lock, const lock_class& by) noexcept;
  void lock_belongs_to(std::uint64_t lock, const lock_class& by) noexcept;
  void lock_acquire(std::uint64_t lock, bool sleeping, bool attempt, std::uintptr_t pc) noexcept;
  void lock_acquired(std::uint64_t lock) noexcept;
  void lock_release(std::uint64_t lock) noexcept;
  /// Memory is made anew: a lock that begins there is another one.
  void forget_locks(std::uint64_t begin, std::uint64_t size) noexcept;

  void reader_enters(process_id p) noexcept;
  void reader_leaves(process_id p) noexcept;
  void grace_period_begins() noexcept;
  void grace_period_ends() noexcept;
  /// A wait for those that are inside now: of a callback, by its head, or of a process.
  void callback_queued(std::uint64_t head) noexcept;
  void grace_wait_begins(std::uint64_t who) noexcept;
  void grace_wait_ends(std::uint64_t who, const char* what) noexcept;
  static constexpr std::uint64_t waiter(process_id p) noexcept { return p + 1u; }

  void signalling_begins() noexcept;
  void signalling_ends() noexcept;

  void fence_made(std::uint64_t fence, std::uint64_t context, std::uint64_t seqno) noexcept;
  void fence_answered(std::uint64_t fence) noexcept;
  void fence_signaled(std::uint64_t fence) noexcept;
  void fence_waited(std::uint64_t fence, bool begins, std::uintptr_t pc) noexcept;

  void task_ends(process_id p) noexcept;
  /// Who waits for which fence, for the report of a deadlock. Returns how much was written.
  std::size_t describe_waits(char* text, std::size_t size) const noexcept;

 private:
  static constexpr unsigned max_held = 48;  ///< as the kernel has it

  /// Of a lock, or of a class.
  struct lock_state {
    std::uint64_t lock;
    std::uintptr_t in_hardirq, with_irqs_on, in_softirq, with_bh_on;  ///< where first; 0: never
    std::uint32_t first_edge;
    std::uint32_t of;  ///< its class, or itself
    lock_class by;     ///< of a class
  };
  struct named;
  struct edge {
    std::uint32_t to;  ///< lock
    std::uint32_t next;
  };
  struct fence_state {
    std::uint64_t fence, context, seqno;
    bool signaled;
    bool answered;
    process_set waiters;
  };
  struct context_state {
    std::uint64_t context, last;
  };
  struct grace_wait {
    std::uint64_t who;
    std::uint32_t inside[max_processes];  ///< sections, as `inside_`
  };
  /// Stands for the signalling of any fence among the locks: whoever signals has it, whoever waits needs it.
  static constexpr std::uint64_t signalling = 1;

  std::uint32_t find_lock(std::uint64_t lock) noexcept;
  std::uint32_t find_class(const lock_class& by) noexcept;
  std::uint32_t add_lock(std::uint64_t lock) noexcept;
  [[nodiscard]] bool may_be_one(std::uint32_t a, std::uint32_t b) const noexcept;
  fence_state* find_fence(std::uint64_t fence) noexcept;
  [[nodiscard]] bool leads_to(std::uint32_t from, std::uint32_t to, unsigned depth) const noexcept;
  [[nodiscard]] grace_wait* find_wait(std::uint64_t who) noexcept;
  /// Somebody who was inside then and has not left since; `no_process` if all have.
  [[nodiscard]] process_id still_inside(const std::uint32_t* inside) const noexcept;
  void wait_for_signalling(std::uintptr_t pc) noexcept;
  void order_behind_held(std::uint32_t lock, std::uintptr_t pc) noexcept;
  void check_masks(std::uint32_t lock, bool attempt, std::uintptr_t pc) noexcept;

  pool<lock_state> locks_;
  pool<edge> edges_;
  pool<fence_state> fences_;
  pool<context_state> contexts_;
  pool<grace_wait> waits_;
  std::uint32_t held_[max_processes][max_held] = {};
  unsigned held_count_[max_processes] = {};
  std::uint32_t sections_[max_processes] = {};  ///< how many read-side sections have begun
  unsigned depth_[max_processes] = {};
  std::uint32_t inside_[max_processes] =
      {};  ///< the section in which the grace period found it; 0: none
};

}  // namespace interlock::machine
