// SPDX-License-Identifier: Apache-2.0

/// Switching between flows: the stack, what the C++ runtime keeps per thread, and the program's own thread_local variables.

#include "flow.hpp"

#include <cxxabi.h>
#include <link.h>
#include <sys/mman.h>

#include <array>
#include <cerrno>
#include <cstring>
#include <utility>

namespace interlock::machine {
namespace {

using namespace boost::context::detail;

constexpr std::size_t guard_size = 4096;

/// A block of thread_local variables, of this thread: the program's, and that of the C++ library (which passes on in one what
/// call_once shall call). Those of other shared objects are not switched.
struct storage_image {
  std::byte* block;
  std::size_t size;
  const std::byte* initial;
  std::size_t initial_size;
};
storage_image images[thread_storages];
unsigned image_count = 0;
std::size_t storage_size = 0;  ///< of all

flow* switched_from = nullptr;

thread_state* runtime_state() noexcept {
  return reinterpret_cast<thread_state*>(abi::__cxa_get_globals());
}

std::byte* map(std::size_t size) noexcept {
  void* const memory = mmap(nullptr, size, PROT_READ | PROT_WRITE,
                            MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
  return memory == MAP_FAILED ? nullptr : static_cast<std::byte*>(memory);
}

}  // namespace

thread_storage_range thread_storage[thread_storages];

void find_thread_storage() noexcept {
  (void)runtime_state();  // so that the library's block is there
  image_count = 0;
  storage_size = 0;
  dl_iterate_phdr(
      [](dl_phdr_info* info, std::size_t, void* visited) {
        // The program itself comes first.
        const bool first = !std::exchange(*static_cast<bool*>(visited), true);
        if (!first && std::strstr(info->dlpi_name, "/libstdc++.so") == nullptr) return 0;
        for (int i = 0; i < info->dlpi_phnum; ++i) {
          const ElfW(Phdr)& header = info->dlpi_phdr[i];
          if (header.p_type != PT_TLS || info->dlpi_tls_data == nullptr) continue;
          images[image_count++] = {
              static_cast<std::byte*>(info->dlpi_tls_data), header.p_memsz,
              reinterpret_cast<const std::byte*>(info->dlpi_addr + header.p_vaddr),
              header.p_filesz};
          thread_storage[image_count - 1] = {reinterpret_cast<std::uintptr_t>(info->dlpi_tls_data),
                                             header.p_memsz};
          storage_size += header.p_memsz;
        }
        return first ? 0 : 1;
      },
      std::array{false}.data());
}

std::size_t thread_storage_size() noexcept { return storage_size; }

void initialise_thread_storage(flow& f) noexcept {
  std::byte* at = f.storage;
  for (unsigned i = 0; i < image_count; ++i) {
    const storage_image& image = images[i];
    std::memcpy(at, image.initial, image.initial_size);
    std::memset(at + image.initial_size, 0, image.size - image.initial_size);
    at += image.size;
  }
}

bool prepare_flow(flow& f, void (*start)(transfer_t)) noexcept {
  if (f.stack == nullptr) {
    std::byte* const memory = map(guard_size + flow::stack_size);
    f.calls = reinterpret_cast<std::uintptr_t*>(map(flow::max_calls * sizeof(std::uintptr_t)));
    if (memory == nullptr || f.calls == nullptr) return false;
    mprotect(memory, guard_size, PROT_NONE);
    f.stack = memory + guard_size;
  }
  if (storage_size != 0 && f.storage == nullptr) {
    f.storage = map(storage_size);
    if (f.storage == nullptr) return false;
  }
  f.context = make_fcontext(f.stack + flow::stack_size, flow::stack_size, start);
  f.depth = 0;
  f.state = {};
  return true;
}

void switch_flow(flow& from, flow& to) noexcept {
  thread_state* const state = runtime_state();
  from.state.caught = state->caught;
  from.state.uncaught = state->uncaught;
  from.state.error = errno;
  std::size_t at = 0;
  for (unsigned i = 0; i < image_count; ++i) {
    std::memcpy(from.storage + at, images[i].block, images[i].size);
    std::memcpy(images[i].block, to.storage + at, images[i].size);
    at += images[i].size;
  }
  state->caught = to.state.caught;  // the copies hold it too, but not of a flow that begins
  state->uncaught = to.state.uncaught;
  switched_from = &from;
  const transfer_t came = jump_fcontext(to.context, nullptr);
  switched_from->context = came.fctx;
  errno = from.state.error;
}

void flow_begins(transfer_t came) noexcept { switched_from->context = came.fctx; }

}  // namespace interlock::machine
