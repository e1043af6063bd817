// SPDX-License-Identifier: Apache-2.0
#pragma once

/// What the core announces to its platform. Natively nobody listens: the functions are empty and
/// cost nothing. The model platform judges by these events and by nothing else of the core, and the
/// lock validator (platforms/native/checked) listens to those of locks.

#include <cstddef>
#include <cstdint>

#include "interlock/annotate.hpp"
#include "interlock/location.hpp"
#include "interlock_platform/platform.hpp"

namespace interlock::inline INTERLOCK_PLATFORM::platform::event {

/// How a lock is taken: what a holder keeps off its CPU, or that its waiters sleep.
namespace mode {
inline constexpr std::uint32_t plain = 0, bh = 1, irqsave = 2, sleeping = 3;
}

/// Interrupts of this CPU are about to be off (on), or again. Those that pend are replayed after that.
inline void irqs_off() noexcept {}
inline void irqs_on() noexcept {}
/// Is, or would be, about to sleep.
inline void might_sleep() noexcept {}

/// A lock is made at run time, by the declaration `Here` at `where`; `part` names one inside of a larger
/// primitive, or is null. Not announced of locks that the compiler has initialised.
template <class Here>
INTERLOCK_ALWAYS_INLINE constexpr void lock_init(const void* /*lock*/, location /*where*/,
                                                 const char* /*part*/) noexcept {}
/// Its class is what stands at `key`, with static storage, called `name` (null: as `key` is).
inline void lock_set_class(const void* /*lock*/, const void* /*key*/,
                           const char* /*name*/) noexcept {}
/// `acquire` comes before the first attempt. Then follows `acquired`, or `abandoned` where the
/// attempt ends without the lock (a try_lock, a timeout, a signal). `release` comes before it.
inline void lock_acquire(const void* /*lock*/, std::uint32_t /*mode*/, bool /*try_*/,
                         location /*where*/) noexcept {}
inline void lock_acquired(const void* /*lock*/) noexcept {}
inline void lock_abandoned(const void* /*lock*/) noexcept {}
inline void lock_release(const void* /*lock*/) noexcept {}
/// Which comes first, this or the count, stands in platforms/README.md for each context.
inline void context_enter(std::uint32_t /*preempt_count_bits*/) noexcept {}
inline void context_exit(std::uint32_t /*preempt_count_bits*/) noexcept {}
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
/// Its provider was asked, and has said that it is done: it is signalled now, maybe before an earlier one that nobody has asked.
inline void fence_answered(const void* /*fence*/) noexcept {}
inline void fence_signaled(const void* /*fence*/) noexcept {}
inline void fence_wait_start(const void* /*fence*/) noexcept {}
inline void fence_wait_end(const void* /*fence*/) noexcept {}
inline void fence_destroy(const void* /*fence*/) noexcept {}
inline void signalling_begin() noexcept {}
inline void signalling_end() noexcept {}

/// What a platform that judges has found: the text of a report, and the stack of who did it.
struct finding {
  enum class rule : std::uint32_t { order, irq_state, limit };
  rule breach;
  const char* text;
  std::size_t size;
  void* const* frames;
  std::size_t frame_count;
};
/// Set once, when the library is loaded. Called in the context of an event, with nothing held that
/// the core could wait for.
inline void set_finding_hook(void (* /*hook*/)(const finding&) noexcept) noexcept {}

}  // namespace interlock::inline INTERLOCK_PLATFORM::platform::event
