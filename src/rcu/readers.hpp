// SPDX-License-Identifier: Apache-2.0
#pragma once

/// The readers' side of a grace period: who is on the list, who is still inside.

#include <cstddef>

#include "interlock/rcupdate.hpp"

namespace interlock::inline INTERLOCK_PLATFORM::detail {

/// Bits of the reader's word beyond those that rcupdate.hpp's fast path uses; see its table.
inline constexpr std::uint64_t rcu_shared = std::uint64_t{1} << 63;
inline constexpr unsigned rcu_shared_index_shift = 62;
inline constexpr std::uint64_t rcu_number_mask = ~(std::uint64_t{3} << 62) & ~rcu_word_mask;

/// The next grace period's number, in place, for `rcu_reader_word`.
[[nodiscard]] constexpr std::uint64_t next_reader_word(std::uint64_t word) noexcept {
  return ((word + (std::uint64_t{1} << rcu_sequence_shift)) & rcu_number_mask) | rcu_ready | 1;
}

/// True if a reader with `word` may have begun before the grace period `target` did, that is before
/// `rcu_reader_word` became `target`. Cyclic: a reader is never half the number range old.
[[nodiscard]] constexpr bool is_older_reader(std::uint64_t word, std::uint64_t target) noexcept {
  if ((word & rcu_nesting_mask) == 0 || (word & rcu_shared) != 0) return false;
  const std::uint64_t age = (word & rcu_number_mask) - (target & rcu_number_mask);
  return static_cast<std::int64_t>(age << 2) < 0;
}

/// For the leader of a grace period, after its heavy barrier: starts a pass over all readers.
void begin_scan() noexcept;

/// Goes on with the pass. True if nobody is left who entered before `target` was published; else it
/// stopped at such a reader, and the next call goes on there. Order: [G4].
[[nodiscard]] bool scan_readers(std::uint64_t target) noexcept;

/// A reader that holds up a grace period.
struct stalled_reader {
  std::uint32_t id;  ///< 0: one that is covered by a shared counter, and has no name
  std::uint32_t nesting;
  char name[16];
};

/// Lists up to `capacity` of them; captures the stack of the first, as far as it answers.
struct stalled_readers {
  static constexpr std::size_t capacity = 16;
  stalled_reader list[capacity];
  std::size_t count = 0;
  bool more = false;
  void* frames[32];
  std::size_t frame_count = 0;
};
void find_stalled_readers(std::uint64_t target, stalled_readers& found) noexcept;

/// Leaves all nested sections of the caller, and enters as many again.
[[nodiscard]] std::uint32_t leave_all_readers() noexcept;
void reenter_readers(std::uint32_t nesting) noexcept;

// Lifecycle; see lifecycle.hpp of the platform.
void readers_task_exit() noexcept;
void readers_fork_prepare() noexcept;
void readers_fork_parent() noexcept;
void readers_fork_child() noexcept;

}  // namespace interlock::inline INTERLOCK_PLATFORM::detail
