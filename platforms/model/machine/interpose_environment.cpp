// SPDX-License-Identifier: Apache-2.0

/// The environment: an execution changes a copy of its own, which is gone with it (exploring puts `environ` back). Reading is
/// libc's, and sees the copy.

#include <errno.h>
#include <unistd.h>

#include <cstddef>
#include <cstdlib>
#include <cstring>

#include "interpose.hpp"
#include "machine.hpp"

using namespace interlock::machine;

namespace {

/// Its caller, which keeps what has been replaced: no leak of the program.
constexpr std::uintptr_t libc_made_it = 0;

/// "name=..." is a definition of that name.
bool defines(const char* entry, const char* name, std::size_t size) noexcept {
  return std::strncmp(entry, name, size) == 0 && entry[size] == '=';
}

bool is_name(const char* name) noexcept {
  return name != nullptr && *name != '\0' && std::strchr(name, '=') == nullptr;
}

/// The environment without `name`, and with `entry` unless that is null. False: no memory.
bool replace(const char* name, std::size_t size, char* entry) noexcept {
  std::size_t count = 0;
  for (char** e = environ; e != nullptr && *e != nullptr; ++e) ++count;
  auto** const list =
      static_cast<char**>(m.allocate((count + 2) * sizeof(char*), 16, libc_made_it));
  if (list == nullptr) {
    errno = ENOMEM;
    return false;
  }
  std::size_t kept = 0;
  for (std::size_t i = 0; i < count; ++i) {
    if (!defines(environ[i], name, size)) list[kept++] = environ[i];
  }
  if (entry != nullptr) list[kept++] = entry;
  list[kept] = nullptr;
  environ = list;
  return true;
}

}  // namespace

EXPORT int setenv(const char* name, const char* value, int overwrite) {
  if (!m.running) return REAL(setenv)(name, value, overwrite);
  if (!is_name(name)) {
    errno = EINVAL;
    return -1;
  }
  if (overwrite == 0 && std::getenv(name) != nullptr) return 0;
  const std::size_t size = std::strlen(name);
  const std::size_t value_size = std::strlen(value) + 1;
  auto* const entry = static_cast<char*>(m.allocate(size + 1 + value_size, 16, libc_made_it));
  if (entry == nullptr) {
    errno = ENOMEM;
    return -1;
  }
  std::memcpy(entry, name, size);
  entry[size] = '=';
  std::memcpy(entry + size + 1, value, value_size);
  return replace(name, size, entry) ? 0 : -1;
}

EXPORT int unsetenv(const char* name) {
  if (!m.running) return REAL(unsetenv)(name);
  if (!is_name(name)) {
    errno = EINVAL;
    return -1;
  }
  return replace(name, std::strlen(name), nullptr) ? 0 : -1;
}

EXPORT int putenv(char* entry) {
  if (!m.running) return REAL(putenv)(entry);
  const char* const end = std::strchr(entry, '=');
  if (end == nullptr) return unsetenv(entry);
  return replace(entry, static_cast<std::size_t>(end - entry), entry) ? 0 : -1;
}

EXPORT int clearenv() {
  if (!m.running) return REAL(clearenv)();
  environ = nullptr;
  return 0;
}
