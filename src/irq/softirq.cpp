// SPDX-License-Identifier: Apache-2.0

/// Softirqs: vectors, their serving, and the deferral of a load that does not end.
///
/// Invariants:
///   S1. A vector's bit in `softirq_pending` is set by its own CPU only, and cleared before its
///       action runs: an action that raises itself runs again.
///   S2. Actions run with softirq_offset counted, so they do not nest on one CPU.
///   S3. Who sets a bit where actions may not run at once leaves it to one who will look: the end
///       of the interrupt, the loop that serves, local_bh_enable, or (interrupts off in a task)
///       local_irq_enable, to which the bit cpu_pending::softirq says so.
/// Ordering: [V1] publishes a vector's action, [V2] finds it. The rest stays on one CPU.
/// Contexts: raise from anywhere but NMI; serving enters with interrupts off and switches them on.

#include "interlock/softirq.hpp"

#include "context/restore.hpp"
#include "interlock/report.hpp"
#include "interlock_platform/park.hpp"
#include "irq/descriptor.hpp"

namespace interlock::inline INTERLOCK_PLATFORM {
namespace {

constexpr std::uint32_t vector_count = 32;
constexpr unsigned rounds_max = 10;
constexpr ktime duration_max = std::chrono::milliseconds{2};
constexpr ktime deferral = std::chrono::milliseconds{1};

struct vector {
  atomic<void (*)(void*)> action{nullptr};
  void* cookie = nullptr;
  const char* name = nullptr;
};

constinit vector vectors[vector_count];
constinit atomic<std::uint32_t> vectors_taken{0};

/// Counters in stripes, so that CPUs seldom share a line.
struct alignas(64) stripe {
  atomic<std::uint64_t> raised{0};
  atomic<std::uint64_t> served{0};
  atomic<std::uint64_t> deferred{0};
};
constexpr std::uint32_t stripe_count = 16;
constinit stripe stripes[stripe_count];

stripe& counters(const cpu_words& cpu) noexcept {
  return stripes[cpu.id.load_relaxed() % stripe_count];
}

void run_vector(std::uint32_t number) noexcept {
  vector& v = vectors[number];
  void (*const action)(void*) = v.action.load_acquire();  // [V2] pairs with [V1]
  if (action == nullptr) return;
  const std::uint32_t count = preempt_count();
  action(v.cookie);
  if (preempt_count() == count) [[likely]]
    return;
  report_text text;
  text << "huh, entered softirq " << number << ' ' << v.name << " with preempt_count ";
  text.hex(count) << ", exited with ";
  text.hex(preempt_count()) << "?\n";
  detail::restore_preempt_count(count);
  submit_report(report_kind::context_imbalance, text);
}

/// The rest is served when this CPU next looks, at the latest at the interrupt that is ordered
/// here. A CPU that is not online cannot be interrupted: it looks when it enables interrupts or
/// bottom halves, raises anything, or ends.
void defer(cpu_words& cpu) noexcept {
  counters(cpu).deferred.fetch_add_relaxed(1);
  detail::cpu_descriptor* const descriptor = detail::this_descriptor();
  if (descriptor == nullptr) return;
  detail::get_cpu_descriptor(*descriptor);  // the timer's
  if (hrtimer_try_to_cancel(descriptor->softirq_timer) == 1) {
    detail::put_cpu_descriptor(*descriptor);  // it had one already
  }
  if (!hrtimer_start(descriptor->softirq_timer, platform::now() + deferral)) {
    detail::put_cpu_descriptor(*descriptor);
  }
}

/// The node's serving is an interrupt, at whose end the softirqs run.
void kicked(detail::cpu_node& node, bool /*gone*/) noexcept {
  INTERLOCK_CONTAINER_OF(&node, detail::cpu_descriptor, softirq_kick)
      ->softirq_kicked.store_relaxed(0);
}

/// On the service CPU: interrupts the CPU whose load was deferred.
hrtimer_restart kick(hrtimer& timer) noexcept {
  auto& cpu = *INTERLOCK_CONTAINER_OF(&timer, detail::cpu_descriptor, softirq_timer);
  if (cpu.softirq_kicked.exchange_relaxed(1) == 0) {
    if (&cpu == detail::this_descriptor()) {
      detail::post_here(cpu.softirq_kick);
    } else if (!detail::post(cpu, cpu.softirq_kick)) {
      cpu.softirq_kicked.store_relaxed(0);  // it has ended, and served its rest
    }
  }
  detail::put_cpu_descriptor(cpu);
  return hrtimer_restart::norestart;
}

}  // namespace

namespace detail {

void softirq_timer_init(cpu_descriptor& cpu) noexcept {
  cpu.softirq_timer.func = kick;
  cpu.softirq_kick.run = kicked;
}

void run_softirqs(cpu_words& cpu) noexcept {
  cpu.interrupt_count.store_relaxed(cpu.interrupt_count.load_relaxed() + softirq_offset);
  platform::event::context_enter(softirq_offset);
  deadline limit{};
  for (unsigned round = 1;; ++round) {
    std::uint32_t raised = cpu.softirq_pending.exchange_relaxed(0);  // S1
    local_irq_enable();
    for (std::uint32_t number = 0; raised != 0; ++number, raised >>= 1) {
      if ((raised & 1) == 0) continue;
      run_vector(number);
      counters(cpu).served.fetch_add_relaxed(1);
    }
    local_irq_disable();
    if (cpu.softirq_pending.load_relaxed() == 0) break;
    // The clock is read only for those who need a second round.
    if (round == 1) limit = platform::now() + duration_max;
    if (round == rounds_max || platform::now() >= limit) {
      defer(cpu);
      break;
    }
  }
  platform::event::context_exit(softirq_offset);
  cpu.interrupt_count.store_relaxed(cpu.interrupt_count.load_relaxed() - softirq_offset);
}

void run_last_softirqs(cpu_words& cpu) noexcept {
  constexpr int passes_max = 10;
  for (int pass = 0; pass < passes_max && cpu.softirq_pending.load_relaxed() != 0; ++pass) {
    local_irq_disable();
    run_softirqs(cpu);
    local_irq_enable();
  }
  if (cpu.softirq_pending.load_relaxed() == 0) return;
  submit_report(report_kind::warning,
                "softirqs that raise themselves for ever end with their CPU\n");
}

}  // namespace detail

result<softirq> open_softirq(const char* name, void (*action)(void*), void* cookie) noexcept {
  std::uint32_t number = vectors_taken.load_relaxed();
  do {
    if (number == vector_count) return error::no_space_on_device;
  } while (!vectors_taken.compare_exchange_relaxed(number, number + 1));
  vector& v = vectors[number];
  v.cookie = cookie;
  v.name = name;
  v.action.store_release(action);  // [V1] pairs with [V2]
  return softirq{number};
}

void raise_softirq(softirq vector) noexcept {
  cpu_words& cpu = platform::this_cpu();
  if (cpu.id.load_relaxed() == 0) platform::enlist();  // the exit hook serves the rest
  const std::uint32_t bit = 1u << static_cast<std::uint32_t>(vector);
  cpu.softirq_pending.fetch_or_relaxed(bit);
  counters(cpu).raised.fetch_add_relaxed(1);
  barrier();
  // An interrupt that arrives from here on serves it at its end; the rest then finds nothing.
  if (!in_interrupt()) detail::replay();  // S3
}

softirq_statistics softirq_get_statistics() noexcept {
  softirq_statistics sum{};
  for (const stripe& s : stripes) {
    sum.raised += s.raised.load_relaxed();
    sum.served += s.served.load_relaxed();
    sum.deferred += s.deferred.load_relaxed();
  }
  return sum;
}

}  // namespace interlock::inline INTERLOCK_PLATFORM
