// SPDX-License-Identifier: Apache-2.0
#include "interlock/options.hpp"

#include <cstdlib>
#include <cstring>

namespace interlock {
namespace {

struct text_view {
  const char* data;
  std::size_t size;
};

text_view find_option(const char* key) noexcept {
  const char* cursor = std::getenv("INTERLOCK_OPTIONS");
  const std::size_t key_size = std::strlen(key);
  while (cursor != nullptr && *cursor != '\0') {
    const char* end = std::strchr(cursor, ':');
    const std::size_t size =
        end != nullptr ? static_cast<std::size_t>(end - cursor) : std::strlen(cursor);
    if (size > key_size && std::strncmp(cursor, key, key_size) == 0 && cursor[key_size] == '=') {
      return {cursor + key_size + 1, size - key_size - 1};
    }
    cursor = end != nullptr ? end + 1 : nullptr;
  }
  return {nullptr, 0};
}

}  // namespace

long option_integer(const char* key, long fallback) noexcept {
  const text_view value = find_option(key);
  if (value.data == nullptr || value.size == 0) return fallback;
  char* end = nullptr;
  const long number = std::strtol(value.data, &end, 10);
  return end == value.data + value.size ? number : fallback;
}

bool option_text(const char* key, char* buffer, std::size_t size) noexcept {
  const text_view value = find_option(key);
  if (value.data == nullptr || size == 0) return false;
  const std::size_t count = value.size < size ? value.size : size - 1;
  std::memcpy(buffer, value.data, count);
  buffer[count] = '\0';
  return true;
}

}  // namespace interlock
