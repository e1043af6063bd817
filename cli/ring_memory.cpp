// SPDX-License-Identifier: Apache-2.0
#include "ring_memory.hpp"

#include <sys/mman.h>
#include <unistd.h>

#include <cerrno>

namespace interlock::cli {

namespace {

error last_error() noexcept { return static_cast<error>(errno); }

}  // namespace

result<void> ring_memory::open(std::size_t size) noexcept {
  const int fd = ::memfd_create("interlock-chunks", MFD_CLOEXEC);
  if (fd < 0) return last_error();
  error failure{};
  void* base = MAP_FAILED;
  if (::ftruncate(fd, static_cast<off_t>(size)) != 0) {
    failure = last_error();
  } else {
    base = ::mmap(nullptr, 2 * size, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (base == MAP_FAILED) failure = last_error();
  }
  for (std::size_t half = 0; half < 2 && failure == error{}; ++half) {
    std::byte* const to = static_cast<std::byte*>(base) + half * size;
    if (::mmap(to, size, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_FIXED, fd, 0) == MAP_FAILED) {
      failure = last_error();
    }
  }
  ::close(fd);
  if (failure == error{}) {
    base_ = static_cast<std::byte*>(base);
    size_ = size;
    return {};
  }
  if (base != MAP_FAILED) ::munmap(base, 2 * size);
  return failure;
}

ring_memory::~ring_memory() {
  if (base_ != nullptr) ::munmap(base_, 2 * size_);
}

}  // namespace interlock::cli
