// SPDX-License-Identifier: Apache-2.0

/// Grace periods: one leader at a time waits for the readers; the others share what it waited for.
///
/// `sequence` is even between grace periods and odd during one, so it counts each twice. A caller
/// needs a grace period that began after its call: from an even number the next one, from an odd
/// number the one after. So `snapshot = (sequence + 3) & ~1`, and it is reached when
/// `sequence >= snapshot`. 64 bits do not wrap.
///
/// Invariants: I1. Only the leader writes `sequence` and `rcu_reader_word`.
///             I2. A grace period that is given up puts `sequence` back to the number before it:
///                 nobody takes it for one that has passed. `rcu_reader_word` only goes forward, so
///                 that no reader from before the next grace period looks as if it came after.
/// Ordering: [G2], [G4], [G6] see rcupdate.hpp.
///   [Q1] the end of a grace period, released after the last reader was seen; [Q2] acquired by who
///        finds it over: all uses of the readers come before what the caller does next.
///   [Q3] the beginning, before the heavy barrier; [Q4] a snapshot, after a full barrier. A
///        snapshot that misses the beginning was taken before the heavy barrier, hence what its
///        caller did before is seen by every reader whom this grace period does not wait for.
///   [Q5] who shares reads `ended`, then sees somebody lead, then marks that value as waited for and
///        parks on it; [Q6] the leader stops leading, then changes `ended`, and wakes if the old
///        value was marked. All seq_cst: he who was seen to lead changes `ended` after it was read,
///        so either he finds the mark, or it comes too late and nobody parks. A mark is taken by one
///        change: who is awake and has not run yet costs the next leader no wake.
/// Contexts: snapshots and tests any; waiting in tasks only.

#include "rcu/grace_period.hpp"

#include "interlock/options.hpp"
#include "interlock_platform/park.hpp"
#include "rcu/readers.hpp"
#include "rcu/stall.hpp"
#include "sched/spin.hpp"

namespace interlock::inline INTERLOCK_PLATFORM::detail {
namespace {

using std::chrono::microseconds;
using std::chrono::milliseconds;

constexpr ktime nap_min = microseconds{20};
constexpr ktime nap_max = microseconds{640};
constexpr ktime share_nap = milliseconds{50};  // only where a wait may be given up
constexpr unsigned yields_max = 200;
constexpr std::uint32_t waited_for = 1;  // of `ended`

struct alignas(64) {
  atomic<std::uint64_t> number{0};
} constinit sequence;

struct alignas(64) {
  atomic<std::uint32_t> leading{0};  // 1: somebody leads
  atomic<std::uint32_t> ended{
      0};  // how often a leader has stopped, and bit 0: somebody parks on it
  atomic<std::uint32_t> nudged{0};   // the leader naps on it
  atomic<std::uint32_t> hurried{0};  // callers that wait quickly
} constinit shared;

bool expired(const grace_period_wait& how) noexcept {
  return how.give_up_at != nullptr &&
         platform::now().time_since_epoch().count() >= how.give_up_at->load_relaxed();
}

/// How the leader spends the time until a reader has left: first it spins, as long as it costs to
/// sleep and wake; then it yields, if somebody is in a hurry; then it naps, longer each time. The
/// readers never wake it: that would cost every one of them a test.
class reader_wait {
 public:
  reader_wait(const grace_period_wait& how, std::uint64_t target) noexcept
      : how_{how}, target_{target}, spins_left_{2 * spin_limit()} {}

  /// False to give up.
  bool step() noexcept {
    if (spin()) return true;
    if constexpr (platform::pauses_wait) {
      if (how_.give_up_at == nullptr) {
        platform::cpu_relax();
        return true;
      }
    }
    if (shared.hurried.load_relaxed() != 0 && yields_ < yields_max) {
      ++yields_;
      platform::yield();
      return true;
    }
    nap();
    return !expired(how_);
  }

 private:
  bool spin() noexcept {
    if (spins_left_ == 0) return false;
    const std::uint32_t now = burst_ < spins_left_ ? burst_ : spins_left_;
    for (std::uint32_t i = 0; i < now; ++i) platform::cpu_relax();
    spins_left_ -= now;
    if (burst_ < 32) burst_ *= 2;
    return true;
  }

  void nap() noexcept {
    const std::uint32_t seen = shared.nudged.load_seq_cst();
    const deadline now = platform::now();
    stall_.check(now, target_);
    platform::park(shared.nudged, seen, now + length_, platform::park_scope::process,
                   platform::deadline_kind::watchdog);
    if (shared.hurried.load_relaxed() == 0 && length_ < nap_max) length_ *= 2;
  }

  const grace_period_wait& how_;
  std::uint64_t target_;
  std::uint32_t spins_left_;
  std::uint32_t burst_ = 1;
  unsigned yields_ = 0;
  ktime length_ = nap_min;
  stall_watch stall_;
};

/// Publishes the number that tells readers from now on from those before.
std::uint64_t advance_reader_word() noexcept {
  const std::uint64_t next = next_reader_word(rcu_reader_word.word.load_relaxed());
  rcu_reader_word.word.store_release(next);  // [G6] pairs with [G5]
  return next;
}

/// One grace period. Pre: the caller leads. False if it was given up.
bool run_grace_period(const grace_period_wait& how) noexcept {
  const std::uint64_t begun = sequence.number.load_relaxed() + 1;
  sequence.number.store_release(begun);  // [Q3] pairs with [Q4]
  platform::event::rcu_grace_period_begin(begun);
  const std::uint64_t target = advance_reader_word();
  platform::heavy_barrier();  // [G2] pairs with [G1]
  begin_scan();
  reader_wait wait{how, target};
  while (!scan_readers(target)) {  // [G4] pairs with [G3]
    if (!how.once && wait.step()) continue;
    sequence.number.store_release(begun - 1);  // I2
    return false;
  }
  platform::event::rcu_grace_period_end(begun);
  sequence.number.store_release(begun + 1);  // [Q1] pairs with [Q2]
  return true;
}

bool try_lead() noexcept {
  std::uint32_t free = 0;
  return shared.leading.load_relaxed() == 0 &&
         shared.leading.compare_exchange_seq_cst(free, 1);  // acquires the last leader's [Q6]
}

void stop_leading() noexcept {
  shared.leading.store_seq_cst(0);  // [Q6] and to the next leader
  std::uint32_t seen = shared.ended.load_relaxed();
  while (!shared.ended.compare_exchange_seq_cst(seen, (seen | waited_for) + 1)) {  // [Q6] with [Q5]
  }
  if ((seen & waited_for) != 0) platform::unpark(shared.ended, platform::unpark_all);
}

/// Waits until the leader has stopped, or for a while.
void share(std::uint64_t snapshot, const grace_period_wait& how) noexcept {
  for (std::uint32_t i = spin_limit(); i != 0; --i) {
    if (grace_period_reached(snapshot) || shared.leading.load_relaxed() == 0) return;
    platform::cpu_relax();
  }
  std::uint32_t seen = shared.ended.load_seq_cst();                                  // [Q5]
  if (grace_period_reached(snapshot) || shared.leading.load_seq_cst() == 0) return;  // [Q5]
  if ((seen & waited_for) == 0 && !shared.ended.compare_exchange_seq_cst(seen, seen | waited_for))
    return;  // [Q5] pairs with [Q6]; or another has marked it: the next round parks
  platform::park(shared.ended, seen | waited_for,
                 how.give_up_at == nullptr ? no_deadline : platform::now() + share_nap,
                 platform::park_scope::process, platform::deadline_kind::watchdog);
}

bool wait_leading_or_sharing(std::uint64_t snapshot, const grace_period_wait& how) noexcept {
  while (!grace_period_reached(snapshot)) {
    if (!try_lead()) {
      share(snapshot, how);
      if (expired(how)) return false;
      continue;
    }
    const bool passed = grace_period_reached(snapshot) || run_grace_period(how);
    stop_leading();
    if (!passed) return false;
  }
  return true;
}

}  // namespace

std::uint64_t grace_period_snapshot() noexcept {
  smp_mb();                                                         // [Q4] pairs with [Q3]
  return (sequence.number.load_acquire() + 3) & ~std::uint64_t{1};  // [Q4]
}

bool grace_period_reached(std::uint64_t snapshot) noexcept {
  return sequence.number.load_acquire() >= snapshot;  // [Q2] pairs with [Q1]
}

bool wait_for_grace_period(std::uint64_t snapshot, grace_period_wait how) noexcept {
  if (grace_period_reached(snapshot)) return true;
  if (how.quick) {
    shared.hurried.fetch_add_relaxed(1);
    if (shared.leading.load_relaxed() != 0) grace_period_nudge();
  }
  const bool passed = wait_leading_or_sharing(snapshot, how);
  if (how.quick) shared.hurried.fetch_sub_relaxed(1);
  return passed;
}

bool try_grace_period() noexcept {
  if (!try_lead()) return false;
  const bool passed = run_grace_period({.once = true});
  stop_leading();
  return passed;
}

void grace_period_nudge() noexcept {
  shared.nudged.fetch_add_seq_cst(1);  // the leader that naps on it sees the change or is woken
  platform::unpark(shared.nudged, platform::unpark_all);
}

/// Nobody leads in the child. A grace period that the parent was amid has not passed there.
void grace_period_fork_child() noexcept {
  const std::uint64_t number = sequence.number.load_relaxed();
  sequence.number.store_relaxed(number & ~std::uint64_t{1});  // I2
  shared.leading.store_relaxed(0);
  shared.hurried.store_relaxed(0);
}

std::uint64_t grace_periods_completed() noexcept { return sequence.number.load_relaxed() >> 1; }

}  // namespace interlock::inline INTERLOCK_PLATFORM::detail
