// SPDX-License-Identifier: Apache-2.0

/// The slow paths of `spinlock`: bounded spinning, parking, and reports of misuse. Where an atomic
/// section may not park, the spinning is not bounded.
///
/// The word is a three-state futex: 0, held, held|contended. Invariants beside those of the header:
///   I3. A thread parks on the word only while it holds a value with the contended bit.
///   I4. Whoever gets the lock after having parked stores it with the contended bit, because others
///       may be parked still; so no waiter is forgotten. The price is one needless unpark at the
///       end of each burst.
///   I5. The release is one exchange, and nothing of the lock is read after it: a waiter may
///       destroy the lock as soon as it has had it.
/// Ordering: [S1] every successful compare-and-swap acquires, [S2] the release's exchange releases.

#include "interlock/spinlock.hpp"

#include "interlock_platform/park.hpp"
#include "report/report_lines.hpp"
#include "sched/spin.hpp"

namespace interlock::inline INTERLOCK_PLATFORM {
namespace {

constexpr std::uint32_t backoff_max = 16;

/// "BUG: spinlock recursion on CPU#7, name/7", and the lock.
void describe(report_text& out, const char* what, const spinlock* lock,
              std::uint32_t owner) noexcept {
  out << "BUG: spinlock " << what << " on CPU#" << detail::reporter_cpu() << ", ";
  detail::put_self(out);
  out << "\n lock: 0x";
  out.hex(reinterpret_cast<std::uintptr_t>(lock)) << ", .owner: ";
  if (owner != 0) {
    out << owner << '\n';
  } else {
    out << "<none>/-1\n";
  }
  detail::put_atomic_places(out);
}

}  // namespace

std::uint32_t spinlock::enlisted_word() noexcept {
  platform::enlist();
  return (platform::this_task().id.load_relaxed() << id_shift) | locked_bit;
}

void spinlock::acquire_slow() noexcept {
  const std::uint32_t own = own_word();
  std::uint32_t seen = word_.load_relaxed();
  if ((seen & ~contended_bit) == own) {
    report_text text;
    describe(text, "recursion", this, seen >> id_shift);
    submit_fatal_report(report_kind::spinlock_misuse, text);
  }
  if constexpr (platform::atomic_may_park) {
    if (!acquire_spinning(own)) acquire_parking(own);
  } else {
    while (!acquire_spinning(own)) {
    }
  }
}

/// Tries for as long as a short critical section takes, asking less and less often.
bool spinlock::acquire_spinning(std::uint32_t own) noexcept {
  const std::uint32_t limit = detail::spin_limit();
  std::uint32_t pauses = 1;
  for (std::uint32_t spun = 0; spun < limit; spun += pauses) {
    std::uint32_t seen = word_.load_relaxed();
    if (seen == 0 && word_.compare_exchange_acquire(seen, own)) return true;  // [S1] with [S2]
    for (std::uint32_t i = 0; i < pauses; ++i) platform::cpu_relax();
    if (pauses < backoff_max) pauses *= 2;
  }
  return false;
}

void spinlock::acquire_parking(std::uint32_t own) noexcept {
  std::uint32_t seen = word_.load_relaxed();
  while (true) {
    if (seen == 0) {
      if (word_.compare_exchange_acquire(seen, own | contended_bit)) return;  // [S1] with [S2]; I4
      continue;
    }
    if ((seen & contended_bit) == 0) {
      if (!word_.compare_exchange_relaxed(seen, seen | contended_bit)) continue;
      seen |= contended_bit;
    }
    platform::park(word_, seen, no_deadline);  // I3
    seen = word_.load_relaxed();
  }
}

/// `seen` is what the release found: contended, or not what the owner stored. I5 holds here too.
void spinlock::release_slow(std::uint32_t seen) noexcept {
  if ((seen & contended_bit) != 0) platform::unpark(word_, 1);
  const std::uint32_t own = own_word();
  if ((seen & ~contended_bit) == own) return;
  // Taken before a fork, released in the child, where the task has another id.
  const std::uint32_t former = platform::this_task().former_id;
  if (former != 0 && (seen >> id_shift) == former) return;
  report_text text;
  describe(text, seen == 0 ? "already unlocked" : "wrong owner", this, seen >> id_shift);
  submit_report(report_kind::spinlock_misuse, text);
}

bool spinlock::held_by_current() const noexcept {
  const std::uint32_t id = word_.load_relaxed() >> id_shift;
  const task_words& self = platform::this_task();
  return id != 0 && (id == self.id.load_relaxed() || id == self.former_id);
}

void spinlock::assert_held(location where) const noexcept {
  if (held_by_current()) return;
  report_text text;
  detail::put_warning(text);
  text << where << " spinlock::assert_held\n";
  submit_report(report_kind::spinlock_misuse, text);
}

}  // namespace interlock::inline INTERLOCK_PLATFORM
