// SPDX-License-Identifier: Apache-2.0
#pragma once

/// What the core announces to its platform: here, to the machine, which judges by these events and
/// by nothing else of the core. When each is announced stands in platforms/README.md.

#include <cstddef>
#include <cstdint>
#include <type_traits>

#include "interlock/annotate.hpp"
#include "interlock/location.hpp"
#include "interlock_platform/machine.h"
#include "interlock_platform/platform.hpp"

namespace interlock::inline INTERLOCK_PLATFORM::platform::event {

/// How a lock is taken: what a holder keeps off its CPU, or that its waiters sleep.
namespace mode {
inline constexpr std::uint32_t plain = 0, bh = 1, irqsave = 2, sleeping = 3;
}

inline void announce(interlock_machine_event event, std::uint64_t a = 0) noexcept {
  interlock_machine_announce(event, a, 0, 0);
}
inline void announce(interlock_machine_event event, const void* object, std::uint64_t b = 0,
                     std::uint64_t c = 0) noexcept {
  interlock_machine_announce(event, reinterpret_cast<std::uintptr_t>(object), b, c);
}

inline void irqs_off() noexcept { announce(interlock_machine_irqs_off); }
inline void irqs_on() noexcept { announce(interlock_machine_irqs_on); }
inline void might_sleep() noexcept { announce(interlock_machine_might_sleep); }
/// Addresses that name a declaration, and who has compiled it. Internal.
template <class Here>
static constinit char declaration_key = 0;
[[maybe_unused]] static constinit char unit_key = 0;
/// A lock that the compiler initialises is a class by itself. That its memory is written anew is seen.
template <class Here>
INTERLOCK_ALWAYS_INLINE constexpr void lock_init(const void* lock, location where,
                                                 const char* part) noexcept {
  if (!std::is_constant_evaluated())
    interlock_machine_lock_init(lock, &declaration_key<Here>, &unit_key, where.file, where.line,
                                part);
}
inline void lock_set_class(const void* lock, const void* key, const char* name) noexcept {
  interlock_machine_lock_class(lock, key, name);
}
inline void lock_acquire(const void* lock, std::uint32_t mode, bool try_,
                         location /*where*/) noexcept {
  announce(interlock_machine_lock_acquire, lock, mode << 1 | (try_ ? 1u : 0u));
}
inline void lock_acquired(const void* lock) noexcept {
  announce(interlock_machine_lock_acquired, lock);
}
/// The machine has no use for it yet: it takes the next acquire of a flow for the end of this one.
inline void lock_abandoned(const void* /*lock*/) noexcept {}
inline void lock_release(const void* lock) noexcept {
  announce(interlock_machine_lock_release, lock);
}
inline void context_enter(std::uint32_t bits) noexcept {
  announce(interlock_machine_context_enter, bits);
}
inline void context_exit(std::uint32_t bits) noexcept {
  announce(interlock_machine_context_exit, bits);
}
inline void rcu_reader_enter() noexcept { announce(interlock_machine_rcu_enter); }
inline void rcu_reader_exit() noexcept { announce(interlock_machine_rcu_exit); }
inline void rcu_grace_period_begin(std::uint64_t sequence) noexcept {
  announce(interlock_machine_rcu_gp_begin, sequence);
}
inline void rcu_grace_period_end(std::uint64_t sequence) noexcept {
  announce(interlock_machine_rcu_gp_end, sequence);
}
inline void rcu_wait_begin() noexcept { announce(interlock_machine_rcu_wait_begin); }
inline void rcu_wait_end() noexcept { announce(interlock_machine_rcu_wait_end); }
inline void rcu_callback_queued(const void* head) noexcept {
  announce(interlock_machine_rcu_queued, head);
}
inline void rcu_callback_invoked(const void* head) noexcept {
  announce(interlock_machine_rcu_invoked, head);
}
inline void rcu_dereference(const void* pointer) noexcept {
  announce(interlock_machine_rcu_dereference, pointer);
}
inline void fence_init(const void* fence, std::uint64_t ctx, std::uint64_t seq) noexcept {
  announce(interlock_machine_fence_init, fence, ctx, seq);
}
inline void fence_enable_signal(const void* fence) noexcept {
  announce(interlock_machine_fence_enable, fence);
}
inline void fence_answered(const void* fence) noexcept {
  announce(interlock_machine_fence_answered, fence);
}
inline void fence_signaled(const void* fence) noexcept {
  announce(interlock_machine_fence_signaled, fence);
}
inline void fence_wait_start(const void* fence) noexcept {
  announce(interlock_machine_fence_wait_start, fence);
}
inline void fence_wait_end(const void* fence) noexcept {
  announce(interlock_machine_fence_wait_end, fence);
}
inline void fence_destroy(const void* fence) noexcept {
  announce(interlock_machine_fence_destroy, fence);
}
inline void signalling_begin() noexcept { announce(interlock_machine_signalling_begin); }
inline void signalling_end() noexcept { announce(interlock_machine_signalling_end); }

/// The machine reports by itself.
struct finding {
  enum class rule : std::uint32_t { order, irq_state, limit };
  rule breach;
  const char* text;
  std::size_t size;
  void* const* frames;
  std::size_t frame_count;
};
inline void set_finding_hook(void (* /*hook*/)(const finding&) noexcept) noexcept {}

}  // namespace interlock::inline INTERLOCK_PLATFORM::platform::event
