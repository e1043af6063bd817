// SPDX-License-Identifier: Apache-2.0
#pragma once

/// A line: its state word, and the words that tell when its handlers have returned.
///
/// | bits  | name        | meaning                                                               |
/// |-------|-------------|-----------------------------------------------------------------------|
/// | 0     | pending     | raised; the handlers have not begun to serve it                       |
/// | 1     | queued      | the node is on a queue; that holds a reference. Set: whoever sets it   |
/// |       |             | posts the node                                                        |
/// | 2     | in progress | a CPU runs the handlers                                               |
/// | 3     | shut down   | there is no handler                                                   |
/// | 4     | unarmed     | the poller does not watch the descriptor: to be armed again           |
/// | 5     | cut off     | switched off for being spurious; counted in the depth                 |
/// | 6     | readable    | the poller found the descriptor readable; the run that takes this     |
/// |       |             | reads it. A raise by software does not                                |
/// | 8-15  | oneshot     | threaded halves that keep the line masked                             |
/// | 16-31 | depth       | disable_irq minus enable_irq                                          |
///
/// Invariants:
///   N1. Never queued and in progress at once, and only a runnable line (none of shut down,
///       oneshot, depth) becomes queued: so the handlers of a line do not run on two CPUs, nor
///       nested.
///   N2. Every change of the word goes through `change`, which queues the line if it has become
///       runnable and something is left to do (pending or unarmed): so no raise is lost, whatever
///       it meets.
///   N3. `started` is counted before a run looks at the word, `returned` when it touches the line
///       no more. Runs overlap only outside their handlers, in their first or last instructions; so
///       when `returned` has reached an earlier `started`, those handlers have returned.
/// Ordering:
///   raiser: what came before, pending [R1]     runner: takes pending [R2], handlers
///   The word's changes are read-modify-writes, so R2 acquires every R1 that it takes, merged or
///   not.
///
///   waiter (disable, synchronize, free)        runner
///   depth += 1, or unlink the action [U1]      started += 1                             [U3]
///   returned < started? wait         [U2]      disabled? leave. else walk the actions   [U4]
///   All seq_cst: either the waiter waits for the run, or the run sees what the waiter did.

#include "interlock/interrupt.hpp"
#include "interlock/kthread.hpp"
#include "interlock/list.hpp"
#include "irq/descriptor.hpp"

namespace interlock::inline INTERLOCK_PLATFORM {

/// One registered handler.
struct irq_action::control {
  irq_line& line;  ///< a reference is held
  irq_handler handler;
  irq_handler thread_half;
  void* cookie;
  void (*destroy)(void*);
  bool shared;
  bool oneshot;
  char name[32] = {};
  atomic<control*> next{nullptr};        ///< written under actions_lock
  atomic<std::uint32_t> half{0};         ///< bits `half_woken`, `half_running`
  atomic<std::uint32_t> thread_lost{0};  ///< a fork left it behind: the service CPU starts another
  kthread thread{};
};

inline constexpr std::uint32_t half_woken = 1u << 0;    ///< set by the line's runner
inline constexpr std::uint32_t half_running = 1u << 1;  ///< [thread]

struct irq_access {
  using control = irq_action::control;
  static irq_action make(control* c) noexcept {
    irq_action action;
    action.control_ = c;
    return action;
  }
};

struct irq_line {
  irq_line(const irq_line_options& options, std::uint32_t line_number) noexcept;

  rcu_head rcu;
  refcount references;
  atomic<std::uint32_t> state;
  atomic<std::uint32_t> started{0};
  atomic<std::uint32_t> returned{0};
  atomic<std::uint32_t> threads_active{0};  ///< threaded halves woken, and not back yet
  detail::cpu_node node;
  atomic<detail::cpu_descriptor*> target{nullptr};  ///< counted; null: the service CPU
  atomic<irq_access::control*> actions{nullptr};
  list_head all;  ///< of all lines
  const std::uint32_t number;
  int fd;
  const bool ack_fd;
  const irq_kind kind;
  char name[32];

  atomic<std::uint64_t> raised{0};
  // Written by the runner only.
  atomic<std::uint64_t> handled{0};
  atomic<std::uint64_t> spurious{0};
  atomic<std::uint64_t> thread_wakes{0};
  std::uint32_t window_runs = 0;  ///< see spurious.cpp
  std::uint32_t window_unhandled = 0;
  deadline last_unhandled{};
};

namespace detail::line_state {
inline constexpr std::uint32_t pending = 1u << 0;
inline constexpr std::uint32_t queued = 1u << 1;
inline constexpr std::uint32_t in_progress = 1u << 2;
inline constexpr std::uint32_t shut_down = 1u << 3;
inline constexpr std::uint32_t unarmed = 1u << 4;
inline constexpr std::uint32_t cut_off = 1u << 5;
inline constexpr std::uint32_t readable = 1u << 6;
inline constexpr std::uint32_t oneshot_one = 1u << 8;
inline constexpr std::uint32_t oneshot_mask = 0x0000'ff00u;
inline constexpr std::uint32_t depth_one = 1u << 16;
inline constexpr std::uint32_t depth_mask = 0xffff'0000u;
inline constexpr std::uint32_t masked = shut_down | oneshot_mask | depth_mask;
}  // namespace detail::line_state

namespace detail {

/// Posts a line that has just become queued. Context: any.
void post_line(irq_line& line) noexcept;

struct line_change {
  std::uint32_t before;
  std::uint32_t after;
};

/// N2. `next(before)` gives the new word; it may be called several times. Context: any.
/// Order: seq_cst [R1], [R2], [U1], [U4].
template <class F>
line_change change(irq_line& line, F next) noexcept {
  namespace bits = line_state;
  std::uint32_t before = line.state.load_relaxed();
  std::uint32_t after;
  do {
    after = next(before);
    constexpr std::uint32_t obstacles = bits::masked | bits::queued | bits::in_progress;
    if ((after & obstacles) == 0 && (after & (bits::pending | bits::unarmed)) != 0) {
      after |= bits::queued;
    }
  } while (!line.state.compare_exchange_seq_cst(before, after));
  if ((after & ~before & bits::queued) != 0) post_line(line);
  return {before, after};
}

// actions.cpp

/// Wakes the threaded half of `action`; on its own line, in progress. Context: any but NMI.
void wake_thread_half(irq_access::control& action) noexcept;
/// In the child of a fork: the threads of all its actions are gone, and perhaps one that
/// registered.
void reset_actions(irq_line& line) noexcept;
[[nodiscard]] bool start_lost_threads(irq_line& line) noexcept;
void actions_fork_child() noexcept;

/// Tells those who wait in synchronize_irq. Context: any but NMI.
void wake_line_waiters() noexcept;

// spurious.cpp

/// Accounts a run, and cuts the line off if nobody ever claims it.
void note_run(irq_line& line, bool claimed) noexcept;

}  // namespace detail

}  // namespace interlock::inline INTERLOCK_PLATFORM
