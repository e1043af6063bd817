// SPDX-License-Identifier: Apache-2.0
#pragma once

/// Interrupt lines and their handlers.
///
/// A line is one of two kinds behind the same face:
/// - asynchronous: bound to a CPU (a thread), which it halts between any two instructions, also
///   while that spins in `for (;;) ;`. The handler runs on the halted thread's stack.
/// - threaded: served by the service CPU, in hardirq context all the same; may be fed by a file
///   descriptor (eventfd, timerfd, a completion queue).
///
/// A handler runs in hardirq context with interrupts off. It MUST NOT sleep, take a mutex, allocate
/// (an asynchronous handler may have halted `malloc`), throw (of a callable this ends the process;
/// through the C edge it is undefined), or call what is not async-signal-safe.
/// It MAY take spinlocks that every task takes with `irqsave`, use RCU readers and call_rcu, wake
/// tasks, complete completions, signal fences, raise lines, softirqs and irq_work.
/// A line's handlers never run on two CPUs at once, nor nested in themselves.
/// Raising sets a pending bit first; raises before the handler starts merge into one run.
/// Source: Linux include/linux/interrupt.h, kernel/irq/manage.c (semantics).

#include <memory>
#include <new>
#include <type_traits>
#include <utility>

#include "interlock/cpu.hpp"
#include "interlock/refcount.hpp"
#include "interlock/result.hpp"
#include "interlock/task.hpp"

namespace interlock::inline INTERLOCK_PLATFORM {

enum class irq_kind { asynchronous, threaded };

/// A line. Opaque, counted: hold it by `ref_ptr<irq_line>`; each action holds it too. The last
/// reference is dropped in any context but NMI, and before the line's descriptor is closed.
struct irq_line;
/// Context: any but NMI.
INTERLOCK_API void intrusive_get(irq_line& line) noexcept;
/// Context: any but NMI; a task may wait, as in free_rcu, which the last put calls; so for handlers
/// of sigaction.
INTERLOCK_API void intrusive_put(irq_line& line) noexcept;

struct irq_line_options {
  const char* name = "irq";  ///< copied, 31 bytes are kept
  irq_kind kind = irq_kind::threaded;
  cpu_id target = cpu_id::none;  ///< asynchronous: which CPU; none: the caller's
  int fd = -1;                   ///< threaded: raised when readable; not owned; see ack_fd
  bool ack_fd = true;  ///< the service CPU reads 8 bytes of a readable `fd` before the handler
};

/// Makes a line. Context: task, may sleep.
/// Errors: not_enough_memory; invalid_argument (fd on an asynchronous line); no_such_process (the
///         target is not online); operation_not_permitted (the target blocks the doorbell signal);
///         those of `service_cpu`.
[[nodiscard]] INTERLOCK_API result<ref_ptr<irq_line>> make_irq_line(
    const irq_line_options& options) noexcept;

/// Raises it: its handlers will run at least once after this call, also if the line is disabled now
/// and enabled later, or has no handler yet. When its CPU ends, the line moves to the service CPU.
/// Context: any; async-signal-safe; a system call only if the target must be interrupted.
/// Order: what happened before it is visible in the handler.
INTERLOCK_API void raise_irq(irq_line& line) noexcept;

enum class irqreturn {
  none,         ///< not from this device: the next handler of a shared line is asked
  handled,      ///<
  wake_thread,  ///< handled so far; run the threaded half
};

/// The C edge. `cookie` is the one of the request.
using irq_handler = irqreturn (*)(irq_line& line, void* cookie);

struct irq_request_options {
  const char* name = "handler";  ///< for reports and the threaded half; copied, 31 bytes are kept
  bool shared = false;           ///< all handlers of a line must say so
  bool oneshot = false;          ///< the line stays masked until the threaded half has returned
};

/// A registered handler; frees the line when destroyed. Movable.
class INTERLOCK_API irq_action {
 public:
  irq_action() noexcept = default;
  irq_action(irq_action&& other) noexcept : control_{std::exchange(other.control_, nullptr)} {}
  /// Frees the present handler first. Where free() is refused, nothing changes.
  /// Context: task, may sleep.
  irq_action& operator=(irq_action&& other) noexcept;
  ~irq_action();

  /// Removes the handler and waits until neither it nor its threaded half runs.
  /// Context: task, may sleep; not from the handler itself nor its own threaded half (reported, and
  ///          refused). Another handler's half may, of the same line too.
  void free() noexcept;

 private:
  friend struct irq_access;
  struct control;
  control* control_ = nullptr;
};

/// Registers `handler`, and `thread_half` (may be null) which runs in a kthread of its own, with
/// interrupts on, when the handler returns wake_thread. `handler` null: thread half only, oneshot.
/// `destroy(cookie)`, if not null, runs after the last use, also if the request fails.
/// Errors: device_or_resource_busy (not shared), invalid_argument, not_enough_memory.
/// Context: task, may sleep.
[[nodiscard]] INTERLOCK_API result<irq_action> request_threaded_irq_raw(
    irq_line& line, irq_handler handler, irq_handler thread_half, void* cookie,
    void (*destroy)(void*), const irq_request_options& options) noexcept;

/// Registers `handler()` or `handler(irq_line&)`, returning irqreturn.
/// Context: task, may sleep.
template <class F>
[[nodiscard]] result<irq_action> request_irq(irq_line& line, F&& handler,
                                             const irq_request_options& options = {}) noexcept {
  using callable = std::decay_t<F>;
  auto* const copy = new (std::nothrow) callable(std::forward<F>(handler));
  if (copy == nullptr) return error::not_enough_memory;
  return request_threaded_irq_raw(
      line,
      [](irq_line& l, void* cookie) noexcept -> irqreturn {
        auto& f = *static_cast<callable*>(cookie);
        if constexpr (std::is_invocable_v<callable&, irq_line&>) {
          return f(l);
        } else {
          return f();
        }
      },
      nullptr, copy, [](void* cookie) { delete static_cast<callable*>(cookie); }, options);
}

/// The same with a threaded half.
/// Context: task, may sleep.
template <class F, class G>
[[nodiscard]] result<irq_action> request_threaded_irq(
    irq_line& line, F&& handler, G&& thread_half,
    const irq_request_options& options = {}) noexcept {
  struct both {
    std::decay_t<F> handler;
    std::decay_t<G> thread_half;
  };
  auto* const copy =
      new (std::nothrow) both{std::forward<F>(handler), std::forward<G>(thread_half)};
  if (copy == nullptr) return error::not_enough_memory;
  return request_threaded_irq_raw(
      line,
      [](irq_line& l, void* cookie) noexcept -> irqreturn {
        auto& f = static_cast<both*>(cookie)->handler;
        if constexpr (std::is_invocable_v<decltype(f), irq_line&>) {
          return f(l);
        } else {
          return f();
        }
      },
      [](irq_line&, void* cookie) noexcept {
        static_cast<both*>(cookie)->thread_half();
        return irqreturn::handled;
      },
      copy, [](void* cookie) { delete static_cast<both*>(cookie); }, options);
}

/// Holds the line off; nests. Waits until no handler runs; a raise meanwhile stays pending.
/// Context: task, may sleep.
INTERLOCK_API void disable_irq(irq_line& line, location where = location::current()) noexcept;
/// The same without waiting. Context: any, also the line's own handler.
INTERLOCK_API void disable_irq_nosync(irq_line& line) noexcept;
/// Undoes one disable; a pending raise is delivered. Unbalanced enables are reported. Context: any.
INTERLOCK_API void enable_irq(irq_line& line) noexcept;
/// Waits until handlers and threaded halves that run now have returned. Context: task, may sleep;
/// not from them (reported).
INTERLOCK_API void synchronize_irq(irq_line& line, location where = location::current()) noexcept;
/// Moves an asynchronous line to another CPU. Errors: as make_irq_line. Context: task.
[[nodiscard]] INTERLOCK_API result<void> irq_set_affinity(irq_line& line, cpu_id target) noexcept;

struct irq_statistics {
  std::uint64_t raised;    ///< raise_irq calls and readable descriptors
  std::uint64_t handled;   ///< runs that a handler claimed
  std::uint64_t spurious;  ///< runs that none claimed; a line that only has these is switched off
  std::uint64_t thread_wakes;
};
/// Context: any.
[[nodiscard]] INTERLOCK_API irq_statistics irq_get_statistics(const irq_line& line) noexcept;
/// Context: any.
[[nodiscard]] INTERLOCK_API const char* irq_line_name(const irq_line& line) noexcept;

}  // namespace interlock::inline INTERLOCK_PLATFORM
