// SPDX-License-Identifier: Apache-2.0
#pragma once

/// Calling functions on other CPUs. Source: Linux kernel/smp.c (semantics).

#include "interlock/cpu.hpp"
#include "interlock/location.hpp"

namespace interlock::inline INTERLOCK_PLATFORM {

/// Runs `function(argument)` in hardirq context on `cpu` and waits for it.
/// Context: task, may sleep (interrupts are on: two CPUs that wait for each other with interrupts
///          off would deadlock). Spins briefly first. `function` MUST NOT throw.
/// Errors:  no_such_process (not online, or it ended before it ran the function);
///          operation_not_permitted (it blocks the doorbell; found when it does not answer).
[[nodiscard]] INTERLOCK_API result<void> smp_call_function_single(
    cpu_id cpu, void (*function)(void*), void* argument,
    location where = location::current()) noexcept;

/// Runs it on every online CPU, the caller's included, and waits. A CPU that ends meanwhile is
/// skipped. Context and errors: as above; with an error, all others have run it.
/// Context: task, may sleep.
[[nodiscard]] INTERLOCK_API result<void> on_each_cpu(void (*function)(void*), void* argument,
                                                     location where = location::current()) noexcept;

/// Runs `function(argument)` in NMI context on `cpu`, also if that has interrupts off, and waits.
/// Context: task, may sleep unless it is the caller's own CPU. Errors: as above. The function must
/// not lock anything.
[[nodiscard]] INTERLOCK_API result<void> nmi_call_function_single(
    cpu_id cpu, void (*function)(void*), void* argument,
    location where = location::current()) noexcept;

}  // namespace interlock::inline INTERLOCK_PLATFORM
