// SPDX-License-Identifier: Apache-2.0

/// malloc and its kin, and the block functions of <string.h>, for the whole process: in an execution the machine's, else libc's.

#include <dlfcn.h>
#include <errno.h>
#include <malloc.h>
#include <sys/mman.h>

#include <cstddef>
#include <cstdint>
#include <cstring>
#include <new>

#include "interpose.hpp"
#include "machine.hpp"

// libc's own entry points: to look them up by dlsym would call malloc.
extern "C" {
void* __libc_malloc(std::size_t);
void __libc_free(void*);
void* __libc_calloc(std::size_t, std::size_t);
void* __libc_realloc(void*, std::size_t);
void* __libc_memalign(std::size_t, std::size_t);
}

using namespace interlock::machine;

namespace {

constexpr std::size_t fundamental = 16;

void* allocate(std::size_t size, std::size_t alignment, std::uintptr_t pc) noexcept {
  void* const memory = m.allocate(size, alignment, pc);
  if (memory == nullptr) errno = ENOMEM;
  return memory;
}

void release(void* block, std::uintptr_t pc) noexcept {
  if (block == nullptr) return;
  const auto address = reinterpret_cast<std::uintptr_t>(block);
  if (m.arena.contains(address)) {
    // After the execution the arena is empty already: what outlives it is nobody's.
    if (m.running) m.release(block, pc);
    return;
  }
  // Older than the execution: the next one needs it too.
  if (!m.running || in_libc(pc)) __libc_free(block);
}

/// An allocation of the program, or of a library for it.
bool explored(std::uintptr_t pc) noexcept { return m.running && !in_libc(pc); }

}  // namespace

EXPORT void* malloc(std::size_t size) {
  return explored(CALLER) ? allocate(size, fundamental, CALLER) : __libc_malloc(size);
}
EXPORT void free(void* block) { release(block, CALLER); }
EXPORT void* calloc(std::size_t count, std::size_t size) {
  if (!explored(CALLER)) return __libc_calloc(count, size);
  std::size_t bytes;
  if (__builtin_mul_overflow(count, size, &bytes)) {
    errno = ENOMEM;
    return nullptr;
  }
  void* const memory = allocate(bytes, fundamental, CALLER);
  if (memory != nullptr) std::memset(memory, 0, bytes);
  return memory;
}
EXPORT void* realloc(void* block, std::size_t size) {
  const bool ours = m.arena.contains(reinterpret_cast<std::uintptr_t>(block));
  if (!ours && !explored(CALLER)) return __libc_realloc(block, size);
  const bool in_execution = explored(CALLER);
  if (block == nullptr)
    return in_execution ? allocate(size, fundamental, CALLER) : __libc_malloc(size);
  std::size_t old = 0;
  if (!ours) {
    old = malloc_usable_size(block);
  } else if (const heap::block* const b = m.arena.find(reinterpret_cast<std::uintptr_t>(block))) {
    old = b->size;
  }
  void* const memory = in_execution ? allocate(size, fundamental, CALLER) : __libc_malloc(size);
  if (memory == nullptr) return nullptr;
  std::memcpy(memory, block, old < size ? old : size);
  release(block, CALLER);
  return memory;
}
EXPORT void* memalign(std::size_t alignment, std::size_t size) {
  return explored(CALLER) ? allocate(size, alignment, CALLER) : __libc_memalign(alignment, size);
}
EXPORT void* aligned_alloc(std::size_t alignment, std::size_t size) {
  return explored(CALLER) ? allocate(size, alignment, CALLER) : __libc_memalign(alignment, size);
}
EXPORT int posix_memalign(void** memory, std::size_t alignment, std::size_t size) {
  void* const made =
      explored(CALLER) ? allocate(size, alignment, CALLER) : __libc_memalign(alignment, size);
  if (made == nullptr) return ENOMEM;
  *memory = made;
  return 0;
}

EXPORT int munmap(void* memory, std::size_t size) {
  const int result = REAL(munmap)(memory, size);
  if (m.running && result == 0) m.memory_goes(reinterpret_cast<std::uintptr_t>(memory), size);
  return result;
}

// By default these call malloc and free, but then it would be the C++ library that allocates.

namespace {

void* make(std::size_t size, std::size_t alignment, std::uintptr_t pc) {
  while (true) {
    void* const memory = m.running                 ? allocate(size, alignment, pc)
                         : alignment > fundamental ? __libc_memalign(alignment, size)
                                                   : __libc_malloc(size);
    if (memory != nullptr) return memory;
    const std::new_handler handler = std::get_new_handler();
    if (handler == nullptr) throw std::bad_alloc{};
    handler();
  }
}

}  // namespace

#define VISIBLE __attribute__((visibility("default")))

VISIBLE void* operator new(std::size_t size) { return make(size, fundamental, CALLER); }
VISIBLE void* operator new[](std::size_t size) { return make(size, fundamental, CALLER); }
VISIBLE void* operator new(std::size_t size, std::align_val_t alignment) {
  return make(size, static_cast<std::size_t>(alignment), CALLER);
}
VISIBLE void* operator new[](std::size_t size, std::align_val_t alignment) {
  return make(size, static_cast<std::size_t>(alignment), CALLER);
}
VISIBLE void* operator new(std::size_t size, const std::nothrow_t&) noexcept try {
  return make(size, fundamental, CALLER);
} catch (...) {
  return nullptr;
}
VISIBLE void* operator new[](std::size_t size, const std::nothrow_t&) noexcept try {
  return make(size, fundamental, CALLER);
} catch (...) {
  return nullptr;
}
VISIBLE void operator delete(void* block) noexcept { release(block, CALLER); }
VISIBLE void operator delete[](void* block) noexcept { release(block, CALLER); }
VISIBLE void operator delete(void* block, std::size_t) noexcept { release(block, CALLER); }
VISIBLE void operator delete[](void* block, std::size_t) noexcept { release(block, CALLER); }
VISIBLE void operator delete(void* block, std::align_val_t) noexcept { release(block, CALLER); }
VISIBLE void operator delete[](void* block, std::align_val_t) noexcept { release(block, CALLER); }
VISIBLE void operator delete(void* block, std::size_t, std::align_val_t) noexcept {
  release(block, CALLER);
}
VISIBLE void operator delete[](void* block, std::size_t, std::align_val_t) noexcept {
  release(block, CALLER);
}
