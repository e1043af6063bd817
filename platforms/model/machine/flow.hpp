// SPDX-License-Identifier: Apache-2.0
#pragma once

/// Flows: stacks of their own, between which the machine switches.

#include <boost/context/detail/fcontext.hpp>
#include <cstddef>
#include <cstdint>

#include "clock.hpp"

namespace interlock::machine {

/// What libstdc++ keeps per thread while exceptions fly (Itanium C++ ABI, __cxa_eh_globals), and errno.
struct thread_state {
  void* caught = nullptr;
  unsigned int uncaught = 0;
  int error = 0;
};

struct flow {
  static constexpr std::size_t stack_size = std::size_t{256} << 10;
  static constexpr std::uint32_t max_calls = 4096;

  boost::context::detail::fcontext_t context = nullptr;
  std::byte* stack = nullptr;       ///< lowest byte, above a guard page
  std::uintptr_t* calls = nullptr;  ///< return addresses, as instrumented functions were entered
  std::uint32_t depth = 0;          ///< may exceed max_calls: then the innermost are not kept
  void (*entry)(void*) = nullptr;
  void* argument = nullptr;
  process_id process = no_process;
  bool running = false;
  thread_state state;
  std::byte* storage = nullptr;  ///< its thread_local variables, while another flow runs

  [[nodiscard]] bool owns(std::uintptr_t address) const noexcept {
    return address - reinterpret_cast<std::uintptr_t>(stack) < stack_size;
  }
};

/// Makes the stack on first use; false if there is no memory.
bool prepare_flow(flow& f, void (*start)(boost::context::detail::transfer_t)) noexcept;

/// Switches, and returns when somebody switches back. Pre: the current flow is `from`.
void switch_flow(flow& from, flow& to) noexcept;

/// The first thing that a new flow does, with what its start function was given.
void flow_begins(boost::context::detail::transfer_t came) noexcept;

/// Finds the thread_local variables of the program. Call once, on the thread that runs all flows.
void find_thread_storage() noexcept;
inline constexpr unsigned thread_storages = 2;
struct thread_storage_range {
  std::uintptr_t begin;
  std::size_t size;
};
extern thread_storage_range thread_storage[thread_storages];
/// Of the blocks in which each flow has its own variables, at the same addresses: they are nobody else's.
inline bool is_thread_storage(std::uintptr_t address) noexcept {
  for (const thread_storage_range& r : thread_storage) {
    if (address - r.begin < r.size) return true;
  }
  return false;
}
/// Of all of them together.
[[nodiscard]] std::size_t thread_storage_size() noexcept;
/// What a new task's variables begin with.
void initialise_thread_storage(flow& f) noexcept;
/// At the end of a thread of the program: its thread_local variables, and the values of its keys.
void run_thread_destructors() noexcept;
/// The first key from `from` on of which a process has a value; `no_key`: none.
inline constexpr unsigned no_key = ~0u;
[[nodiscard]] unsigned next_key(process_id p, unsigned from) noexcept;
[[nodiscard]] const void* key_value(process_id p, unsigned key) noexcept;

}  // namespace interlock::machine
