// SPDX-License-Identifier: Apache-2.0

/// Switching between flows: the stack, what the C++ runtime keeps per thread, and the program's own thread_local variables.

#include "flow.hpp"

#include <cxxabi.h>
#include <link.h>
#include <sys/mman.h>

#include <cerrno>
#include <cstring>

namespace interlock::machine {
namespace {

using namespace boost::context::detail;

constexpr std::size_t guard_size = 4096;

/// The program's block of thread_local variables, of this thread. Those of shared objects are not switched.
struct storage_image {
  std::byte* block = nullptr;
  std::size_t size = 0;
  const std::byte* initial = nullptr;
  std::size_t initial_size = 0;
};
storage_image storage;

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

void find_thread_storage() noexcept {
  dl_iterate_phdr(
      [](dl_phdr_info* info, std::size_t, void*) {
        for (int i = 0; i < info->dlpi_phnum; ++i) {
          const ElfW(Phdr)& header = info->dlpi_phdr[i];
          if (header.p_type != PT_TLS) continue;
          storage.block = static_cast<std::byte*>(info->dlpi_tls_data);
          storage.size = storage.block != nullptr ? header.p_memsz : 0;
          storage.initial = reinterpret_cast<const std::byte*>(info->dlpi_addr + header.p_vaddr);
          storage.initial_size = header.p_filesz;
        }
        return 1;  // the program itself comes first
      },
      nullptr);
}

void initialise_thread_storage(flow& f) noexcept {
  if (storage.size == 0) return;
  std::memcpy(f.storage, storage.initial, storage.initial_size);
  std::memset(f.storage + storage.initial_size, 0, storage.size - storage.initial_size);
}

bool prepare_flow(flow& f, void (*start)(transfer_t)) noexcept {
  if (f.stack == nullptr) {
    std::byte* const memory = map(guard_size + flow::stack_size);
    f.calls = reinterpret_cast<std::uintptr_t*>(map(flow::max_calls * sizeof(std::uintptr_t)));
    if (memory == nullptr || f.calls == nullptr) return false;
    mprotect(memory, guard_size, PROT_NONE);
    f.stack = memory + guard_size;
  }
  if (storage.size != 0 && f.storage == nullptr) {
    f.storage = map(storage.size);
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
  state->caught = to.state.caught;
  state->uncaught = to.state.uncaught;
  if (storage.size != 0) {
    std::memcpy(from.storage, storage.block, storage.size);
    std::memcpy(storage.block, to.storage, storage.size);
  }
  switched_from = &from;
  const transfer_t came = jump_fcontext(to.context, nullptr);
  switched_from->context = came.fctx;
  errno = from.state.error;
}

void flow_begins(transfer_t came) noexcept { switched_from->context = came.fctx; }

}  // namespace interlock::machine
