// SPDX-License-Identifier: Apache-2.0
#pragma once

/// What the core announces to its platform: here, to the lock validator (src/lock_validator.cpp), as far
/// as it concerns locks and masks. When each is announced stands in platforms/README.md.

#include <cstddef>
#include <cstdint>
#include <type_traits>

#include "interlock/annotate.hpp"
#include "interlock/location.hpp"
#include "interlock_platform/platform.hpp"

namespace interlock::inline INTERLOCK_PLATFORM::platform::event {

namespace mode {
inline constexpr std::uint32_t plain = 0, bh = 1, irqsave = 2, sleeping = 3;
}

inline void irqs_off() noexcept {}
INTERLOCK_API void irqs_on() noexcept;
inline void might_sleep() noexcept {}

/// Addresses that name a declaration, and who has compiled it. Internal: what the types behind `Here` are called
/// is a matter of each translation unit, so that two of them may call two declarations the same. For that reason
/// whatever comes between a declaration and lock_constructed is inlined always.
template <class Here>
static constinit char declaration_key = 0;
[[maybe_unused]] static constinit char unit_key = 0;

INTERLOCK_API void lock_constructed(const void* lock, const void* key, const void* unit,
                                    location where, const char* part) noexcept;
/// Nothing happens where the compiler initialises the lock.
template <class Here>
INTERLOCK_ALWAYS_INLINE constexpr void lock_init(const void* lock, location where,
                                                 const char* part) noexcept {
  if (!std::is_constant_evaluated()) {
    lock_constructed(lock, &declaration_key<Here>, &unit_key, where, part);
  }
}
INTERLOCK_API void lock_set_class(const void* lock, const void* key, const char* name) noexcept;
/// The lock counts as held from here on: who waits for it can be waited for.
INTERLOCK_API void lock_acquire(const void* lock, std::uint32_t mode, bool try_,
                                location where) noexcept;
inline void lock_acquired(const void* /*lock*/) noexcept {}
INTERLOCK_API void lock_release(const void* lock) noexcept;
inline void lock_abandoned(const void* lock) noexcept { lock_release(lock); }

inline void context_enter(std::uint32_t /*preempt_count_bits*/) noexcept {}
INTERLOCK_API void context_exit(std::uint32_t preempt_count_bits) noexcept;
inline void rcu_reader_enter() noexcept {}
inline void rcu_reader_exit() noexcept {}
inline void rcu_grace_period_begin(std::uint64_t /*sequence*/) noexcept {}
inline void rcu_grace_period_end(std::uint64_t /*sequence*/) noexcept {}
inline void rcu_wait_begin() noexcept {}
inline void rcu_wait_end() noexcept {}
inline void rcu_callback_queued(const void* /*head*/) noexcept {}
inline void rcu_callback_invoked(const void* /*head*/) noexcept {}
inline void rcu_dereference(const void* /*pointer*/) noexcept {}
inline void fence_init(const void* /*fence*/, std::uint64_t /*ctx*/,
                       std::uint64_t /*seq*/) noexcept {}
inline void fence_enable_signal(const void* /*fence*/) noexcept {}
inline void fence_answered(const void* /*fence*/) noexcept {}
inline void fence_signaled(const void* /*fence*/) noexcept {}
inline void fence_wait_start(const void* /*fence*/) noexcept {}
inline void fence_wait_end(const void* /*fence*/) noexcept {}
inline void fence_destroy(const void* /*fence*/) noexcept {}
inline void signalling_begin() noexcept {}
inline void signalling_end() noexcept {}

struct finding {
  enum class rule : std::uint32_t { order, irq_state, limit };
  rule breach;
  const char* text;
  std::size_t size;
  void* const* frames;
  std::size_t frame_count;
};
INTERLOCK_API void set_finding_hook(void (*hook)(const finding&) noexcept) noexcept;

}  // namespace interlock::inline INTERLOCK_PLATFORM::platform::event
