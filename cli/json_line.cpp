// SPDX-License-Identifier: Apache-2.0
#include "json_line.hpp"

#include <cstdlib>
#include <string_view>

namespace interlock::cli {

namespace {

/// A string at `at`, which is behind its first quote; `at` is left behind its last. False if it does not end.
bool read_string(std::string_view line, std::size_t& at, std::string& text) {
  while (at < line.size() && line[at] != '"') {
    if (line[at] == '\\' && at + 1 < line.size()) {
      ++at;
      if (line[at] == 'u' && at + 4 < line.size()) {
        text += static_cast<char>(
            std::strtoul(std::string{line.substr(at + 1, 4)}.c_str(), nullptr, 16));
        at += 5;
        continue;
      }
    }
    text += line[at++];
  }
  return at++ < line.size();
}

}  // namespace

bool read_json_line(const std::string& line, json_line& fields) {
  fields.clear();
  if (line.size() < 2 || line.front() != '{' || line.back() != '}') return false;
  for (std::size_t at = 1; at + 1 < line.size();) {
    std::string key;
    std::string value;
    if (line[at] != '"' || !read_string(line, ++at, key)) return false;
    if (at >= line.size() || line[at++] != ':') return false;
    if (line[at] == '"') {
      if (!read_string(line, ++at, value)) return false;
    } else {
      while (at < line.size() && line[at] != ',' && line[at] != '}') value += line[at++];
    }
    fields.emplace_back(std::move(key), std::move(value));
    if (at < line.size() && line[at] == ',') ++at;
  }
  return true;
}

const std::string& value_of(const json_line& fields, const char* key) {
  static const std::string none;
  for (const auto& [name, value] : fields) {
    if (name == key) return value;
  }
  return none;
}

}  // namespace interlock::cli
