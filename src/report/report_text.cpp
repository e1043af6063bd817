// SPDX-License-Identifier: Apache-2.0

/// Number formatting and cutting for `report_text`; all of it async-signal-safe.
///
/// Invariants: I1. text_[size_] is the terminator. I2. size_ + 1 <= capacity_. I3. A text that was
///             cut ends with the mark, and takes nothing more.

#include <cstring>

#include "interlock/report.hpp"

namespace interlock::inline INTERLOCK_PLATFORM {
namespace {

constexpr char cut_mark[] = "[cut]\n";
constexpr std::size_t cut_mark_size = sizeof cut_mark - 1;
constexpr std::size_t decimal_digits_max = 20;
constexpr std::size_t hex_digits_max = 16;

}  // namespace

void report_text::append(const char* text, std::size_t count) noexcept {
  const std::size_t limit = capacity_ - 1 - cut_mark_size;
  if (size_ > limit) return;  // I3
  if (count <= limit - size_) {
    std::memcpy(text_ + size_, text, count);
    size_ += count;
  } else {
    std::memcpy(text_ + size_, text, limit - size_);
    std::memcpy(text_ + limit, cut_mark, cut_mark_size);
    size_ = limit + cut_mark_size;
  }
  text_[size_] = '\0';
}

void report_text::append_number(std::uint64_t magnitude, bool negative) noexcept {
  char digits[decimal_digits_max + 1];
  std::size_t first = sizeof digits;
  do {
    digits[--first] = static_cast<char>('0' + magnitude % 10);
    magnitude /= 10;
  } while (magnitude != 0);
  if (negative) digits[--first] = '-';
  append(digits + first, sizeof digits - first);
}

report_text& report_text::operator<<(const char* text) noexcept {
  if (text == nullptr) text = "(null)";
  append(text, std::strlen(text));
  return *this;
}

report_text& report_text::operator<<(char c) noexcept {
  append(&c, 1);
  return *this;
}

report_text& report_text::operator<<(int number) noexcept { return *this << long{number}; }

report_text& report_text::operator<<(unsigned number) noexcept {
  append_number(number, false);
  return *this;
}

report_text& report_text::operator<<(long number) noexcept {
  const auto bits = static_cast<std::uint64_t>(number);
  append_number(number < 0 ? 0 - bits : bits, number < 0);
  return *this;
}

report_text& report_text::operator<<(unsigned long number) noexcept {
  append_number(number, false);
  return *this;
}

report_text& report_text::operator<<(location where) noexcept {
  return *this << (where.file != nullptr ? where.file : "?") << ':' << where.line;
}

report_text& report_text::hex(std::uint64_t number, unsigned min_digits) noexcept {
  char digits[hex_digits_max];
  std::size_t first = sizeof digits;
  const std::size_t wanted = min_digits < hex_digits_max ? min_digits : hex_digits_max;
  while (first != 0 && (number != 0 || sizeof digits - first < wanted)) {
    digits[--first] = "0123456789abcdef"[number & 0xf];
    number >>= 4;
  }
  append(digits + first, sizeof digits - first);
  return *this;
}

}  // namespace interlock::inline INTERLOCK_PLATFORM
