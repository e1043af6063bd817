// SPDX-License-Identifier: Apache-2.0

/// The events of locks: what each thread holds, and what follows from it.
///
/// Rules, by classes (lock_class.hpp), whether or not somebody waits:
///   V1. Whoever waits for b with a held has put a before b; no cycle may come of it. Contexts are apart:
///       what a handler takes stands in no order with what it has interrupted; V2 and V3 see to that.
///       Locks of one class are in order one by one.
///   V2. A class that interrupts take and wait for is taken with interrupts off elsewhere; and so for
///       softirqs, and bottom halves.
///   V3. No way leads from such a class to one that is taken with interrupts (bottom halves) on.
/// An attempt waits for nobody: it is no end of an order, and no use by an interrupt.
///
/// Invariants:
///   I1. `depth` covers an entry before it has a class, and as long as it has one: a handler pushes and
///       pops above it, and finds what is below whole, or without a class.
///   I2. A thread's list is taken at its first event and given back after all other hooks of its end. A
///       dead thread has none, and is not looked at.
/// Ordering: [K1] whoever takes a list finds it as [K2] left it.
/// Source: Linux Documentation/locking/lockdep-design.rst.

#include <dlfcn.h>

#include <atomic>
#include <cstring>

#include "held_locks.hpp"
#include "interlock/barrier.hpp"
#include "interlock_platform/events.hpp"
#include "interlock_platform/lifecycle.hpp"
#include "interlock_platform/local.hpp"
#include "interlock_platform/stack_trace.hpp"

namespace interlock::inline INTERLOCK_PLATFORM::platform {
namespace validator {
namespace {

constexpr std::uint32_t threads_max = 2048;

constinit held_locks lists[threads_max] = {};
thread_local constinit held_locks* own_list [[gnu::tls_model("initial-exec")]] = nullptr;

bool is_dead() noexcept {
  return this_task().life.load_relaxed() == static_cast<std::uint32_t>(task_life::dead);
}

void give_list_back(held_locks& list) noexcept {
  list.depth = 0;
  list.owner.store_release(0);  // [K2] pairs with [K1]
}

[[gnu::noinline]] held_locks* take_list(void* caller) noexcept {
  if (is_dead()) return nullptr;
  enlist();
  const std::uint32_t id = this_task().id.load_relaxed();
  for (std::uint32_t i = 0; i < threads_max; ++i) {
    held_locks& list = lists[(id + i) % threads_max];
    std::uint32_t seen = 0;
    if (list.owner.load_relaxed() != 0 || !list.owner.compare_exchange_acquire(seen, id)) continue;
    held_locks* other = nullptr;  // [K1] above pairs with [K2]
    if (!std::atomic_ref{own_list}.compare_exchange_strong(other, &list,
                                                           std::memory_order_relaxed)) {
      give_list_back(list);  // a handler was first
    }
    return own_list;
  }
  reach_limit("MAX_LOCKDEP_THREADS");
  if (const char* const limit = take_limit()) tell_limit(limit, caller);
  return nullptr;
}

held_locks* list_of_thread(void* caller) noexcept {
  if (!is_on()) [[unlikely]]
    return nullptr;
  held_locks* const list = own_list;
  return list != nullptr ? list : take_list(caller);
}

/// What the caller of the event has on its stack.
trace trace_of(location where, void* caller) noexcept {
  void* frames[32];
  const std::size_t count = capture_stack(frames, 32);
  std::size_t first = 0;
  while (first < count && frames[first] != caller) ++first;
  if (first == count) first = 0;
  trace t{where, 0, {}};
  while (first < count && t.count < trace_frames) t.frames[t.count++] = frames[first++];
  return t;
}

// --- contexts ---

struct context {
  std::uint32_t interrupts;
  bool irqs_off;
};

context context_now() noexcept {
  const cpu_words& cpu = this_cpu();
  return {cpu.interrupt_count.load_relaxed(), cpu.irqs_off.load_relaxed() != 0};
}

std::uint32_t level_of(const context& c) noexcept {
  return ((c.interrupts & context_bits::serving_softirq) != 0 ? 1u : 0u) |
         ((c.interrupts & context_bits::hardirq) != 0 ? 2u : 0u) |
         ((c.interrupts & context_bits::nmi) != 0 ? 4u : 0u);
}

/// What a lock that is held here is exposed to.
std::uint32_t exposure(const context& c) noexcept {
  if (c.irqs_off || (c.interrupts & (context_bits::hardirq | context_bits::nmi)) != 0) return 0;
  return usage::irqs_on | ((c.interrupts & context_bits::softirq) == 0 ? usage::bh_on : 0u);
}

std::uint32_t usage_of(const context& c, bool attempt) noexcept {
  std::uint32_t bits = exposure(c);
  if (attempt) return bits;
  if ((c.interrupts & (context_bits::hardirq | context_bits::nmi)) != 0) {
    bits |= usage::in_hardirq;
  } else if ((c.interrupts & context_bits::serving_softirq) != 0) {
    bits |= usage::in_softirq;
  }
  return bits;
}

// --- classes ---

/// A hash of the callers: for what a template of the C++ library constructs, whose place says nothing.
[[gnu::noinline]] class_identity by_callers(class_identity identity, void* caller) noexcept {
  void* frames[16];
  const std::size_t count = capture_stack(frames, 16);
  std::size_t first = 0;
  while (first < count && frames[first] != caller) ++first;
  std::uint64_t hash = count;
  for (std::size_t i = first < count ? first : 0; i < count; ++i) {
    hash = (hash ^ reinterpret_cast<std::uintptr_t>(frames[i])) * 0x0000'0100'0000'01b3u;
  }
  identity.is = class_identity::kind::stack;
  identity.unit = nullptr;
  identity.code = hash;
  return identity;
}

bool is_of_cxx_library(const char* file) noexcept {
  return file != nullptr && std::strstr(file, "/c++/") != nullptr;
}

class_index found_or_made(const class_identity& identity, const char* name) noexcept {
  const class_index there = find_class(identity);
  return there != 0 || in_graph() ? there : make_class(identity, name);
}

/// A lock that was never announced is one that the compiler has initialised, if it lies in a module.
/// Anything else is memory of which nothing is known: its address may have another lock later.
[[gnu::noinline]] class_index class_of_variable(const void* lock) noexcept {
  dl_find_object module;
  if (_dl_find_object(const_cast<void*>(lock), &module) != 0) return 0;
  const class_identity identity{class_identity::kind::variable,
                                reinterpret_cast<std::uintptr_t>(lock),
                                nullptr,
                                nullptr,
                                0,
                                nullptr};
  const class_index made = found_or_made(identity, nullptr);
  if (made != 0) set_class_of(lock, made);
  return made;
}

// --- rules ---

void tell_if_any(const stories& found, const held_locks& held, const held_lock& lock,
                 void* caller) noexcept {
  for (const story& s : found)
    if (s.is != story::kind::none) tell(s, held, lock.lock, lock.where, caller);
  if (const char* const limit = take_limit()) tell_limit(limit, caller);
}

[[gnu::noinline]] void learn_usage(const held_lock& lock, std::uint32_t bits,
                                   const held_locks& held, void* caller) noexcept {
  if (in_graph()) return;
  stories found;
  add_usage(lock.index, bits, trace_of(lock.where, caller), found);
  tell_if_any(found, held, lock, caller);
}

/// A lock that is held already is the core's to report.
bool is_known(const held_lock& outer, const held_lock& inner) noexcept {
  if (outer.lock == inner.lock) return true;
  return outer.index == inner.index ? nesting_is_known(outer.lock, inner.lock)
                                    : order_is_known(outer.index, inner.index);
}

bool stands_lock_by_lock(const held_lock& outer, const held_lock& inner) noexcept {
  return outer.index != inner.index && may_be_one(outer.index, inner.index);
}

[[gnu::noinline]] void learn_order(const held_lock& outer, const held_lock& inner,
                                   const held_locks& held, void* caller) noexcept {
  if (in_graph()) return;
  stories found;
  if (outer.index != inner.index && !may_be_one(outer.index, inner.index)) {
    add_order(outer.index, inner.index, trace_of(inner.where, caller), found);
  } else {
    // Learned for each pair of locks, so it goes without a stack.
    add_nesting(outer.index, outer.lock, inner.lock, {inner.where, 0, {}}, found);
  }
  tell_if_any(found, held, inner, caller);
}

void check_usage(const held_lock& lock, std::uint32_t bits, const held_locks& held,
                 void* caller) noexcept {
  const class_record& c = class_at(lock.index);
  if (c.sleeps.load_relaxed() != 0) return;  // might_sleep sees to those
  if ((bits & ~c.used.load_relaxed()) != 0) [[unlikely]]
    learn_usage(lock, bits, held, caller);
}

void check_order(const held_lock& inner, const held_locks& held, void* caller) noexcept {
  for (std::uint32_t i = held.depth; i-- > 0;) {
    const held_lock& outer = held.list[i];
    if (outer.index == 0) continue;
    if (outer.context != inner.context) break;  // V1
    if (!is_known(outer, inner)) [[unlikely]]
      learn_order(outer, inner, held, caller);
    // It stands behind those below it already, if it is not lock by lock that it does.
    if (!outer.attempt && (i == 0 || !stands_lock_by_lock(held.list[i - 1], outer))) break;
  }
}

void push(held_locks& held, const held_lock& lock) noexcept {
  if (held.depth == held_max) return;  // less is found
  held_lock& entry = held.list[held.depth];
  entry.index = 0;
  barrier();
  ++held.depth;
  barrier();  // I1
  entry.lock = lock.lock;
  entry.context = lock.context;
  entry.attempt = lock.attempt;
  entry.where = lock.where;
  barrier();
  entry.index = lock.index;
}

void pop(held_locks& held, const void* lock) noexcept {
  for (std::uint32_t i = held.depth; i-- > 0;) {
    if (held.list[i].lock != lock) continue;
    for (; i + 1 < held.depth; ++i) held.list[i] = held.list[i + 1];
    held.list[i].index = 0;
    held.list[i].lock = nullptr;
    barrier();  // I1
    --held.depth;
    return;
  }
}

/// Something is about to be switched on: what is held now is exposed to it. `then`: the context as it will be.
void expose_held(const context& then, void* caller) noexcept {
  held_locks* const held = own_list;
  if (held == nullptr || held->depth == 0 || !is_on()) return;
  const std::uint32_t bits = exposure(then);
  if (bits == 0) return;
  for (std::uint32_t i = 0; i < held->depth; ++i) {
    const held_lock& h = held->list[i];
    if (h.index != 0) check_usage(h, bits, *held, caller);
  }
}

// --- ends ---

void task_exit() noexcept {
  held_locks* const list = own_list;
  own_list = nullptr;
  if (list != nullptr) give_list_back(*list);
}

/// Those who held the other lists are not here.
void fork_child() noexcept {
  for (held_locks& list : lists) {
    if (&list != own_list && list.owner.load_relaxed() != 0) give_list_back(list);
  }
  let_graph_go();
}

/// Below all others: their hooks take locks.
constinit lifecycle_hook hook{.order = hook_order::platform - 1,
                              .task_exit = task_exit,
                              .fork_prepare = hold_graph,
                              .fork_parent = let_graph_go,
                              .fork_child = fork_child};

[[gnu::constructor]] void install_hooks() noexcept { add_lifecycle_hook(hook); }

}  // namespace
}  // namespace validator

namespace event {

using namespace validator;

void lock_constructed(const void* lock, const void* key, const void* unit, location where,
                      const char* part) noexcept {
  if (!is_on()) return;
  void* const caller = __builtin_return_address(0);
  if (own_list != nullptr) pop(*own_list, lock);  // one that was here, and ended locked
  class_identity identity{class_identity::kind::declared,
                          reinterpret_cast<std::uintptr_t>(key),
                          unit,
                          where.file,
                          where.line,
                          part};
  class_index index = find_class(identity);
  if (index == 0) {
    if (is_of_cxx_library(where.file)) identity = by_callers(identity, caller);
    index = found_or_made(identity, nullptr);
  }
  set_class_of(lock, index);
  if (const char* const limit = take_limit()) tell_limit(limit, caller);
}

void lock_set_class(const void* lock, const void* key, const char* name) noexcept {
  if (!is_on()) return;
  const class_identity identity{class_identity::kind::named,
                                reinterpret_cast<std::uintptr_t>(key),
                                nullptr,
                                nullptr,
                                0,
                                nullptr};
  set_class_of(lock, found_or_made(identity, name));
  if (const char* const limit = take_limit()) {
    tell_limit(limit, __builtin_return_address(0));
  }
}

void lock_acquire(const void* lock, std::uint32_t mode, bool try_, location where) noexcept {
  void* const caller = __builtin_return_address(0);
  held_locks* const held = list_of_thread(caller);
  if (held == nullptr) return;
  const context now = context_now();
  held_lock entry{lock, class_of(lock), level_of(now), try_, where};
  if (entry.index == 0) entry.index = class_of_variable(lock);
  if (entry.index != 0) {
    if (mode == mode::sleeping) say_it_sleeps(entry.index);
    check_usage(entry, usage_of(now, try_), *held, caller);
    if (!try_) check_order(entry, *held, caller);
  }
  push(*held, entry);
}

void lock_release(const void* lock) noexcept {
  if (own_list != nullptr) pop(*own_list, lock);
}

// The words are written after these announcements.

void irqs_on() noexcept {
  context then = context_now();
  then.irqs_off = false;
  expose_held(then, __builtin_return_address(0));
}

void context_exit(std::uint32_t bits) noexcept {
  if (bits != context_bits::softirq_disabled) return;
  context then = context_now();
  then.interrupts -= bits;
  expose_held(then, __builtin_return_address(0));
}

}  // namespace event
}  // namespace interlock::inline INTERLOCK_PLATFORM::platform
