// SPDX-License-Identifier: Apache-2.0

/// Tasks of the machine.

#include "interlock_platform/thread.hpp"

#include <cstring>

#include "interlock_platform/machine.h"

namespace interlock::inline INTERLOCK_PLATFORM::platform {
namespace {

constexpr std::size_t name_size = 16;  // the kernel's TASK_COMM_LEN
constexpr char service_prefix[] = "ilk-";

}  // namespace

result<thread_handle> spawn(void (*entry)(void*), void* argument, const char* name) noexcept {
  char short_name[name_size] = {};
  std::strncpy(short_name, name, name_size - 1);
  const bool service = std::strncmp(name, service_prefix, sizeof service_prefix - 1) == 0;
  return thread_handle{interlock_machine_spawn(entry, argument, short_name, service)};
}

result<thread_handle> spawn_device(void (*entry)(void*), void* argument,
                                   const char* name) noexcept {
  char short_name[name_size] = {};
  std::strncpy(short_name, name, name_size - 1);
  return thread_handle{interlock_machine_spawn_device(entry, argument, short_name)};
}

void device_wait(const atomic<std::uint32_t>& word, std::uint32_t expected) noexcept {
  interlock_machine_device_wait(reinterpret_cast<const std::uint32_t*>(&word), expected);
}

void join(thread_handle thread) noexcept { interlock_machine_join(thread.value); }

void thread_name(char* buffer) noexcept {
  std::strncpy(buffer, interlock_machine_task_name(), name_size - 1);
  buffer[name_size - 1] = '\0';
}

}  // namespace interlock::inline INTERLOCK_PLATFORM::platform
