// SPDX-License-Identifier: Apache-2.0
#pragma once

/// What the lock validator has learned: which lock is of which class, and in which orders classes are
/// taken. Fixed tables: a handler may be the first to take a lock, and must not allocate.
///
/// Invariants:
///   G1. A lock's class, and whether an order is known, are read without a lock: each is one word, whose
///       write publishes the class it names ([C1], [C2]). A class that is published keeps its identity.
///   G2. Everything else is guarded by `graph_lock`, which is taken with all signals blocked: a handler
///       that wanted it on the thread that has it would wait for itself. Whoever has it allocates
///       nothing, calls nothing of the core, and prints nothing.
///   G3. Two declarations are never one class, which would be a false alarm. One may become several, which
///       finds less: an inline constructor has a key in each translation unit that has inlined it. Those
///       classes are in order lock by lock, as one class is: their orders would be that class's own.
///   G4. The graph of classes has no cycle: an order that would close one is known, and not in the graph.

#include <cstddef>
#include <cstdint>

#include "interlock/location.hpp"
#include "native.hpp"

namespace interlock::inline INTERLOCK_PLATFORM::platform::validator {

/// 0: none.
using class_index = std::uint32_t;

inline constexpr unsigned class_bits = 13;
inline constexpr std::uint32_t classes_end = 1u << class_bits;
inline constexpr std::uint32_t orders_end = 1u << 15;
inline constexpr std::size_t trace_frames = 8;

/// Where something was done first. `where.file` is kept here: the module that had it may be gone.
struct trace {
  location where;
  std::uint32_t count;
  void* frames[trace_frames];
};

/// In which contexts the locks of a class were taken.
namespace usage {
inline constexpr std::uint32_t in_hardirq = 1u << 0, in_softirq = 1u << 1;  ///< and waited for
inline constexpr std::uint32_t irqs_on = 1u << 2, bh_on = 1u << 3;
inline constexpr unsigned count = 4;
inline constexpr std::uint32_t in[2] = {in_hardirq, in_softirq};
inline constexpr std::uint32_t on[2] = {irqs_on, bh_on};
}  // namespace usage

/// What makes a class.
struct class_identity {
  enum class kind : std::uint32_t {
    variable,  ///< one lock, initialised by the compiler: `code` is its address
    named,     ///< of lock_set_class: `code` is the key
    declared,  ///< by one declaration: `code` is its key, `unit` who has compiled it
    stack,     ///< what a template of the C++ library constructs: `code` is a hash of who called it
  };
  kind is;
  std::uint64_t code;
  const void* unit;  ///< of `declared`
  const char* file;  ///< of `declared` and `stack`
  int line;
  const char* part;  ///< may be null
};

struct class_record {
  class_identity identity;
  const char* name;       ///< of `named`, may be null
  std::uint32_t version;  ///< counts those of one declaration
  atomic<std::uint32_t> used;
  atomic<std::uint32_t> sleeps;
  trace used_at[usage::count];
  std::uint32_t first_out, first_in;
  bool nesting_reported;
  std::uint32_t search, by_order;  ///< of the search that came here last
};

struct order_record {
  class_index from, to;
  std::uint32_t next_out, next_in;
  trace at;  ///< of `to`, when `from` was held
};

/// A cycle, or a way from a class that interrupts take to one that they can halt; copied out, so that it
/// is told without the lock.
struct story {
  static constexpr unsigned steps_max = 12;
  struct step {
    class_index from, to;
    trace at;
  };
  enum class kind {
    none,
    cycle,           ///< steps: from `wanted` to `held`
    cycle_in_class,  ///< of single locks: with `wanted` held, the step was taken towards `outer`
    state,           ///< one class, in both states
    new_order,       ///< the order that is new joins `safe` and `unsafe`
    new_state,       ///< the state that is new makes an old order wrong
  };
  kind is = kind::none;
  unsigned line = 0;  ///< 0: hardirq, 1: softirq
  class_index held = 0, wanted = 0, safe = 0, unsafe = 0;
  bool new_is_use = false;  ///< of `state` and `new_state`: it is the interrupt that is new
  const void* outer = nullptr;
  unsigned steps = 0;
  bool cut = false;
  step way[steps_max];
  trace safe_at, unsafe_at;
};
/// What one use is told by: a cycle is the first, else one of hardirqs and one of softirqs.
using stories = story[2];

extern private_lock graph_lock;

/// Holds graph_lock, with all signals blocked.
class graph_guard {
 public:
  graph_guard() noexcept;
  ~graph_guard();
  graph_guard(const graph_guard&) = delete;
  graph_guard& operator=(const graph_guard&) = delete;

 private:
  unsigned long mask_;
};
/// True in a handler that has come although signals are blocked: ThreadSanitizer keeps them for a while, and
/// runs them at some later call. It must leave the graph alone.
[[nodiscard]] bool in_graph() noexcept;
/// The same over a fork.
void hold_graph() noexcept;
void let_graph_go() noexcept;

/// False once a limit was reached.
[[nodiscard]] bool is_on() noexcept;
/// Turns it off. Lock-free.
void reach_limit(const char* which) noexcept;
/// The limit that was reached, to be told by whoever takes it; null: none, or told.
[[nodiscard]] const char* take_limit() noexcept;

/// Pre: not 0.
[[nodiscard]] const class_record& class_at(class_index index) noexcept;
/// Its waiters sleep. Lock-free.
void say_it_sleeps(class_index index) noexcept;

/// The class of a lock, 0 if none is known. Lock-free.
[[nodiscard]] class_index class_of(const void* lock) noexcept;
/// Lock-free if nothing of the lock that was there before is known.
void set_class_of(const void* lock, class_index index) noexcept;
/// The class, 0 if there is none yet. Lock-free.
[[nodiscard]] class_index find_class(const class_identity& identity) noexcept;
/// Makes it, if another has not. 0: a limit is reached.
[[nodiscard]] class_index make_class(const class_identity& identity, const char* name) noexcept;

/// Two classes that could be one declaration (G3).
[[nodiscard]] bool may_be_one(class_index a, class_index b) noexcept;

/// Whether `from`, then `to`, needs no further look. Lock-free.
[[nodiscard]] bool order_is_known(class_index from, class_index to) noexcept;
/// Adds it, and says what is wrong with it.
void add_order(class_index from, class_index to, const trace& at, stories& found) noexcept;
/// As order_is_known, of two locks. May say no of one that is.
[[nodiscard]] bool nesting_is_known(const void* outer, const void* inner) noexcept;
/// Two locks of the one class, or of two that may be one.
void add_nesting(class_index index, const void* outer, const void* inner, const trace& at,
                 stories& found) noexcept;
/// Adds the states, and says what is wrong with them.
void add_usage(class_index index, std::uint32_t bits, const trace& at, stories& found) noexcept;

}  // namespace interlock::inline INTERLOCK_PLATFORM::platform::validator
