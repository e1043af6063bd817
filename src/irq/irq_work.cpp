// SPDX-License-Identifier: Apache-2.0

/// irq_work: a node with a claim.
///
/// Bits of `flags`:
/// - pending (0): queued; its function has not started. Whoever sets it queues the node.
/// - busy (1): queued or running. Cleared after the function, unless it was queued again.
/// - waited (2): somebody parks on the word until busy is clear.
///
/// Ordering:
///   queue: what came before, claim [K1]      run: clear pending [K2], call, clear busy [K3]
///   sync: sees busy clear [K4]
/// A queue call that finds pending set is served by the run to come: K2 comes after its K1 in the
/// word's order, and acquires it. K3 with K4: after the sync the function's effects are visible.

#include "interlock/irq_work.hpp"

#include "interlock/list.hpp"
#include "interlock/might_sleep.hpp"
#include "interlock_platform/park.hpp"
#include "irq/service.hpp"

namespace interlock::inline INTERLOCK_PLATFORM {
namespace {

constexpr std::uint32_t pending_bit = 1u << 0;
constexpr std::uint32_t busy_bit = 1u << 1;
constexpr std::uint32_t waited_bit = 1u << 2;

bool claim(irq_work& work) noexcept {
  const std::uint32_t before =
      work.flags.fetch_or_acq_rel(pending_bit | busy_bit);  // [K1] with [K2]
  return (before & pending_bit) == 0;
}

/// The function has returned, and touches nothing any more. Nor does this, after the word is clear.
void finish(irq_work& work) noexcept {
  std::uint32_t seen = work.flags.load_relaxed();
  do {
    if ((seen & pending_bit) != 0) return;                  // queued again: busy stays
  } while (!work.flags.compare_exchange_release(seen, 0));  // [K3] pairs with [K4]
  if ((seen & waited_bit) != 0) platform::unpark(work.flags, platform::unpark_all);
}

}  // namespace

namespace detail {

void irq_work_run(cpu_node& node, bool gone) noexcept {
  irq_work& work = *INTERLOCK_CONTAINER_OF(&node, irq_work, node);
  if (gone) {
    post_to_service(node);
    return;
  }
  work.flags.fetch_and_acq_rel(~pending_bit);  // [K2] pairs with [K1]
  work.func(work);
  finish(work);
}

}  // namespace detail

bool irq_work_queue(irq_work& work) noexcept {
  if (!claim(work)) return false;
  detail::post_here(work.node);
  return true;
}

bool irq_work_queue_on(irq_work& work, cpu_id cpu) noexcept {
  if (!claim(work)) {
    detail::serve_orphans();
    return false;
  }
  if (cpu == smp_processor_id()) {
    detail::post_here(work.node);
    return true;
  }
  rcu_read_lock();
  detail::cpu_descriptor* const target = detail::find_cpu(cpu);
  const bool posted = target != nullptr && detail::post(*target, work.node);
  rcu_read_unlock();
  if (!posted) detail::post_to_service(work.node);
  return true;
}

void irq_work_sync(irq_work& work, location where) noexcept {
  might_sleep(where);
  std::uint32_t seen = work.flags.load_acquire();  // [K4] pairs with [K3]
  while ((seen & busy_bit) != 0) {
    // [K4] also where it fails: it may find busy clear.
    if ((seen & waited_bit) != 0 || work.flags.compare_exchange_acquire(seen, seen | waited_bit)) {
      detail::serve_orphans();
      platform::park(work.flags, seen | waited_bit, no_deadline);
      seen = work.flags.load_acquire();  // [K4] pairs with [K3]
    }
  }
}

}  // namespace interlock::inline INTERLOCK_PLATFORM
