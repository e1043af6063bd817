// SPDX-License-Identifier: Apache-2.0

/// Shared memory from the heap: what an execution maps is gone with it.

#include "interlock_platform/shared_memory.hpp"

#include <cstdint>
#include <cstdlib>
#include <cstring>

#include "interlock_platform/poller.hpp"
#include "model.hpp"

namespace interlock::inline INTERLOCK_PLATFORM::platform {
namespace {

/// Shared objects are laid out for cache lines. The block's own record stands before its memory.
constexpr std::size_t alignment = 64;
static_assert(sizeof(memory_block) <= alignment);

memory_block* make_block(std::size_t size) noexcept {
  void* const allocation = std::malloc(size + 2 * alignment);
  if (allocation == nullptr) return nullptr;
  const auto from = reinterpret_cast<std::uintptr_t>(allocation) + alignment;
  const std::uintptr_t skipped = (alignment - from % alignment) % alignment;
  void* const address = static_cast<unsigned char*>(allocation) + alignment + skipped;
  std::memset(address, 0, size);
  auto* const block =
      reinterpret_cast<memory_block*>(static_cast<unsigned char*>(address) - alignment);
  *block = {size, 0, address, allocation};
  return block;
}

memory_block& block_of(void* address) noexcept {
  return *reinterpret_cast<memory_block*>(static_cast<unsigned char*>(address) - alignment);
}

result<shared_mapping> map_shared(memory_block& block, std::size_t size) noexcept {
  const result<int> fd = open_descriptor(descriptor::kind::memory);
  if (!fd) return fd.error();
  find_descriptor(*fd, descriptor::kind::memory)->memory = &block;
  ++block.references;
  return shared_mapping{block.address, size, *fd};
}

}  // namespace

void drop_memory(memory_block& block) noexcept { std::free(block.allocation); }

result<shared_mapping> map_memory(std::size_t size, bool shareable, const char* /*name*/) noexcept {
  if (size == 0) return error::invalid_argument;
  if (size > PTRDIFF_MAX) return error::not_enough_memory;
  memory_block* const block = make_block(size);
  if (block == nullptr) return error::not_enough_memory;
  if (!shareable) return shared_mapping{block->address, size, -1};
  const result<shared_mapping> mapping = map_shared(*block, size);
  if (!mapping) drop_memory(*block);
  return mapping;
}

result<shared_mapping> map_memory_fd(int fd, std::size_t size) noexcept {
  if (size == 0 || size > PTRDIFF_MAX) return error::invalid_argument;
  if (!is_simulated(fd)) return error::operation_not_supported;
  const descriptor* const shared = find_descriptor(fd, descriptor::kind::memory);
  if (shared == nullptr) return error::bad_file_descriptor;
  if (shared->memory->size < size) return error::invalid_argument;
  return map_shared(*shared->memory, size);
}

void unmap_memory(shared_mapping& mapping) noexcept {
  if (mapping.fd >= 0) {
    close_fd(mapping.fd);
  } else if (mapping.address != nullptr) {
    drop_memory(block_of(mapping.address));
  }
  mapping = {};
}

}  // namespace interlock::inline INTERLOCK_PLATFORM::platform
