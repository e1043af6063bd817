// SPDX-License-Identifier: Apache-2.0
#pragma once

/// What the core announces to its platform. Natively nobody listens: the functions are empty and
/// cost nothing. The model platform judges by these events and by nothing else of the core.

#include <cstdint>

#include "interlock_platform/platform.hpp"

namespace interlock::inline INTERLOCK_PLATFORM::platform::event {

/// How a lock is taken: what a holder keeps off its CPU, or that its waiters sleep.
namespace mode {
inline constexpr std::uint32_t plain = 0, bh = 1, irqsave = 2, sleeping = 3;
}

/// Interrupts of this CPU are off (on) from now on, or again. Those that pend are replayed after it.
inline void irqs_off() noexcept {}
inline void irqs_on() noexcept {}
/// Is, or would be, about to sleep.
inline void might_sleep() noexcept {}

/// `acquire` comes before the first attempt. Then follows `acquired`, or `abandoned` where the
/// attempt ends without the lock (a try_lock, a timeout, a signal). `release` comes before it.
inline void lock_acquire(const void* /*lock*/, std::uint32_t /*mode*/, bool /*try_*/) noexcept {}
inline void lock_acquired(const void* /*lock*/) noexcept {}
inline void lock_abandoned(const void* /*lock*/) noexcept {}
inline void lock_release(const void* /*lock*/) noexcept {}
/// `enter` after the count was raised, `exit` after it was lowered.
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

}  // namespace interlock::inline INTERLOCK_PLATFORM::platform::event
