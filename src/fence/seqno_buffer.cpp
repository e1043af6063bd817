// SPDX-License-Identifier: Apache-2.0

/// Counted memory of seqno cells.
///
/// Invariants: I1. The mapping covers all cells as long as a reference lives; that a peer cannot
///                 shrink it is the platform's promise.
///             I2. What lies in the cells is anybody's: nothing here reads it.
/// Contexts:   the last reference may be dropped in a handler, so the memory goes through RCU.

#include "interlock/seqno_buffer.hpp"

#include <cstdlib>
#include <new>

#include "interlock/list.hpp"
#include "interlock/rcupdate.hpp"
#include "interlock_platform/shared_memory.hpp"

namespace interlock::inline INTERLOCK_PLATFORM {

struct seqno_buffer {
  refcount references;
  platform::shared_mapping mapping;
  std::size_t cells;
  rcu_head rcu;
};

namespace {

constexpr std::size_t cells_max = PTRDIFF_MAX / sizeof(seqno_cell);

result<ref_ptr<seqno_buffer>> with_mapping(result<platform::shared_mapping> mapping,
                                           std::size_t cells) noexcept {
  if (!mapping) return mapping.error();
  void* const memory = std::malloc(sizeof(seqno_buffer));
  if (memory == nullptr) {
    platform::unmap_memory(*mapping);
    return error::not_enough_memory;
  }
  return ref_ptr<seqno_buffer>::adopt(new (memory) seqno_buffer{{}, *mapping, cells, {}});
}

void free_buffer(rcu_head* head) noexcept {
  seqno_buffer* const buffer = INTERLOCK_CONTAINER_OF(head, seqno_buffer, rcu);
  platform::unmap_memory(buffer->mapping);
  std::free(buffer);
}

}  // namespace

void intrusive_get(seqno_buffer& buffer) noexcept { buffer.references.get(); }

void intrusive_put(seqno_buffer& buffer) noexcept {
  if (buffer.references.put()) call_rcu(buffer.rcu, free_buffer);
}

result<ref_ptr<seqno_buffer>> make_seqno_buffer(std::size_t cells, bool shareable) noexcept {
  if (cells == 0) return error::invalid_argument;
  if (cells > cells_max) return error::not_enough_memory;
  return with_mapping(
      platform::map_memory(cells * sizeof(seqno_cell), shareable, "interlock-seqno"), cells);
}

result<ref_ptr<seqno_buffer>> import_seqno_buffer(int fd, std::size_t cells) noexcept {
  if (cells == 0 || cells > cells_max) return error::invalid_argument;
  return with_mapping(platform::map_memory_fd(fd, cells * sizeof(seqno_cell)), cells);
}

int seqno_buffer_fd(const seqno_buffer& buffer) noexcept { return buffer.mapping.fd; }

std::size_t seqno_buffer_cells(const seqno_buffer& buffer) noexcept { return buffer.cells; }

seqno_cell& seqno_buffer_cell(seqno_buffer& buffer, std::size_t index) noexcept {
  INTERLOCK_BUG_ON(index >= buffer.cells);
  return static_cast<seqno_cell*>(buffer.mapping.address)[index];
}

}  // namespace interlock::inline INTERLOCK_PLATFORM
