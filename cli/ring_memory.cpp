// SPDX-License-Identifier: Apache-2.0
#include "ring_memory.hpp"

#include <sys/mman.h>

#include <cerrno>

namespace interlock::cli {

namespace {

error last_error() noexcept { return static_cast<error>(errno); }

}  // namespace

result<void> ring_memory::open(std::size_t size) noexcept {
  // Addresses for both halves, so that nothing else comes between them.
  void* const space =
      ::mmap(nullptr, 2 * size, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
  if (space == MAP_FAILED) return last_error();
  std::byte* const first = static_cast<std::byte*>(space);
  // Shared memory without a file: no limit on files is in the way. An old size of 0 makes mremap
  // map the same pages once more.
  if (::mmap(first, size, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS | MAP_FIXED, -1, 0) ==
          MAP_FAILED ||
      ::mremap(first, 0, size, MREMAP_MAYMOVE | MREMAP_FIXED, first + size) == MAP_FAILED) {
    const error why = last_error();
    ::munmap(space, 2 * size);
    return why;
  }
  base_ = first;
  size_ = size;
  return {};
}

ring_memory::~ring_memory() {
  if (base_ != nullptr) ::munmap(base_, 2 * size_);
}

}  // namespace interlock::cli
