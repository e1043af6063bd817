// SPDX-License-Identifier: Apache-2.0
#pragma once

/// `seqno_buffer`: counted memory that holds seqno words, which devices (and other processes)
/// write. It stays mapped as long as anything that waits on it lives.

#include <cstddef>
#include <cstdint>

#include "interlock/refcount.hpp"
#include "interlock/result.hpp"
#include "interlock/task.hpp"

namespace interlock::inline INTERLOCK_PLATFORM {

/// One word with its doorbell; one cache line, C layout, the same in every process.
///
/// Producer (a device):                     Sleeper (a CPU or a software device):
///   value = n, release         [Q1]          waiters += 1, seq_cst          [Q3]
///   full barrier               [Q2]          if (value passed) done
///   if (waiters) ring                        park on doorbell unless it changed
/// Either the producer sees the sleeper, or the sleeper sees the value. A producer that only writes
/// `value` (hardware, a foreign peer) rings nobody; then sleepers poll.
struct alignas(64) seqno_cell {
  atomic<std::uint64_t> value{0};     ///< the seqno; devices of 32 bits write the low half
  atomic<std::uint32_t> waiters{0};   ///< may be stale-high; never stale-low with one parked
  atomic<std::uint32_t> doorbell{0};  ///< changes at each ring; a futex shared between processes
};
static_assert(sizeof(seqno_cell) == 64);

/// Opaque, counted: hold it by `ref_ptr<seqno_buffer>`.
struct seqno_buffer;
/// Context: any but NMI; it is unmapped a grace period after the last reference.
INTERLOCK_API void intrusive_get(seqno_buffer& buffer) noexcept;
/// Context: any but NMI; a task may wait, as in call_rcu.
INTERLOCK_API void intrusive_put(seqno_buffer& buffer) noexcept;

/// Makes a buffer of `cells` zeroed cells. Shareable ones are memory files that can be passed to
/// another process (`seqno_buffer_fd`). Errors: not_enough_memory, too_many_files_open,
/// invalid_argument (0 cells). Context: task.
[[nodiscard]] INTERLOCK_API result<ref_ptr<seqno_buffer>> make_seqno_buffer(
    std::size_t cells, bool shareable = false) noexcept;

/// Maps a buffer that another process made; `fd` stays the caller's. Errors: invalid_argument (too
/// small, or the peer could still shrink it), bad_file_descriptor, not_enough_memory. Context:
/// task.
[[nodiscard]] INTERLOCK_API result<ref_ptr<seqno_buffer>> import_seqno_buffer(
    int fd, std::size_t cells) noexcept;

/// The file of a shareable buffer, owned by the buffer; -1 for a private one.
/// Context: any.
[[nodiscard]] INTERLOCK_API int seqno_buffer_fd(const seqno_buffer& buffer) noexcept;
/// Context: any.
[[nodiscard]] INTERLOCK_API std::size_t seqno_buffer_cells(const seqno_buffer& buffer) noexcept;
/// Pre: `index` below the number of cells (reported).
/// Context: any.
[[nodiscard]] INTERLOCK_API seqno_cell& seqno_buffer_cell(seqno_buffer& buffer,
                                                          std::size_t index) noexcept;

}  // namespace interlock::inline INTERLOCK_PLATFORM
