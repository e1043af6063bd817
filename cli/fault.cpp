// SPDX-License-Identifier: Apache-2.0
#include "fault.hpp"

#include <charconv>
#include <string_view>

namespace interlock::cli {

namespace {

template <class Number>
bool parse_number(std::string_view text, Number& number) noexcept {
  const char* const end = text.data() + text.size();
  const auto [stopped, code] = std::from_chars(text.data(), end, number);
  return code == std::errc{} && stopped == end;
}

/// "500ms", "2s", or a bare number of milliseconds.
bool parse_time(std::string_view text, ktime& time) noexcept {
  std::uint32_t number = 0;
  std::uint32_t milliseconds = 1;
  if (text.ends_with("ms")) {
    text.remove_suffix(2);
  } else if (text.ends_with("s")) {
    text.remove_suffix(1);
    milliseconds = 1000;
  }
  if (!parse_number(text, number)) return false;
  time = std::chrono::milliseconds{std::uint64_t{number} * milliseconds};
  return true;
}

bool parse_action(std::string_view text, fault& parsed) noexcept {
  if (text == "error")
    parsed.what = device_fault::action::error;
  else if (text == "hang")
    parsed.what = device_fault::action::hang;
  else if (text == "stall")
    parsed.what = device_fault::action::stall;
  else
    return false;
  return true;
}

bool parse_device(std::string_view text, fault& parsed) noexcept {
  if (text == "read") {
    parsed.where = stage::read;
    return true;
  }
  if (text == "write") {
    parsed.where = stage::write;
    return true;
  }
  return parse_number(text, parsed.device.emplace());
}

bool parse_setting(std::string_view text, fault& parsed) noexcept {
  const std::size_t equals = text.find('=');
  if (equals == std::string_view::npos) return false;
  const std::string_view key = text.substr(0, equals);
  const std::string_view value = text.substr(equals + 1);
  if (key == "device") return parse_device(value, parsed);
  if (key == "chunk") return parse_number(value, parsed.chunk);
  if (key == "time") return parse_time(value, parsed.stall);
  return false;
}

}  // namespace

maybe_failure parse_fault(const std::string& text, fault& parsed) {
  parsed = {};
  parsed.stall = std::chrono::milliseconds{500};
  const std::string_view all = text;
  const std::size_t colon = all.find(':');
  bool valid = parse_action(all.substr(0, colon), parsed);
  std::string_view settings = colon == std::string_view::npos ? "" : all.substr(colon + 1);
  while (valid && !settings.empty()) {
    const std::size_t comma = settings.find(',');
    valid = parse_setting(settings.substr(0, comma), parsed);
    settings = comma == std::string_view::npos ? "" : settings.substr(comma + 1);
  }
  if (valid) return {};
  return failure{
      fmt::format(
          "--inject {}: expected error, hang or stall, then :device=N|read|write,chunk=N,time=MS",
          text),
      exit_status::usage};
}

}  // namespace interlock::cli
