// SPDX-License-Identifier: Apache-2.0
#include "settings.hpp"

#include <fcntl.h>
#include <sys/mman.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cmath>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <iterator>
#include <string_view>
#include <vector>

#include "division.hpp"
#include "machine.hpp"

namespace interlock::machine {
namespace {

constexpr unsigned max_divided = division::max_processes_of_one;

const char* (*namer)() = nullptr;

/// In the order of `strategy_option`.
constexpr const char* strategies[] = {"portfolio", "exhaustive", "enumerate", "random",
                                      "pct",       "pos",        "urw",       "samplers"};
static_assert(std::size(strategies) == static_cast<unsigned>(strategy_option::samplers) + 1);
constexpr const char* memories[] = {"sc", "tso"};
constexpr const char* point_kinds[] = {"synchronisation", "every_access"};

bool number(const std::string& text, std::uint64_t& value) {
  if (text.empty() || text[0] < '0' || text[0] > '9') return false;
  char* end = nullptr;
  errno = 0;
  value = std::strtoull(text.c_str(), &end, 10);
  return *end == '\0' && errno == 0;
}

/// "10s", "300ms", "2m"; a number alone is seconds.
bool duration(const std::string& text, std::uint64_t& ns) {
  if (text.empty() || text[0] < '0' || text[0] > '9') return false;
  char* end = nullptr;
  double value = std::strtod(text.c_str(), &end);
  const std::string_view unit{end};
  if (unit == "ms") {
    value *= 1e-3;
  } else if (unit == "m") {
    value *= 60;
  } else if (!unit.empty() && unit != "s") {
    return false;
  }
  if (!std::isfinite(value) || value > 1e9) return false;
  ns = static_cast<std::uint64_t>(value * 1e9);
  return true;
}

template <std::size_t N>
bool choice(const char* const (&words)[N], const std::string& text, unsigned& value) {
  for (unsigned i = 0; i < N; ++i) {
    if (text == words[i]) {
      value = i;
      return true;
    }
  }
  return false;
}

template <std::size_t N>
std::string one_of(const char* const (&words)[N]) {
  std::string text;
  for (const char* word : words) text += (text.empty() ? "" : ", ") + std::string{word};
  return text;
}

/// Empty, or what would have been right.
std::string set(interlock_machine_options& o, const std::string& key, const std::string& value,
                std::string& token, std::string& only) {
  std::uint64_t n = 0;
  if (key == "executions") return number(value, o.executions) ? "" : "a number";
  if (key == "steps") return number(value, o.steps) ? "" : "a number";
  if (key == "seed") return number(value, o.seed) ? "" : "a number";
  if (key == "time") return duration(value, o.nanoseconds) ? "" : "a time, as 10s or 500ms";
  if (key == "far") return duration(value, o.far) ? "" : "a time, as 10s or 500ms";
  if (key == "strategy") return choice(strategies, value, o.strategy) ? "" : one_of(strategies);
  if (key == "preemption")
    return choice(preemption_names, value, o.preemption) ? "" : one_of(preemption_names);
  if (key == "granularity")
    return choice(granularity_names, value, o.granularity) ? "" : one_of(granularity_names);
  if (key == "memory") return choice(memories, value, o.memory) ? "" : one_of(memories);
  if (key == "points") return choice(point_kinds, value, o.points) ? "" : one_of(point_kinds);
  if (key == "cpus") {
    if (!number(value, n) || n == 0 || n > max_cpus) return "1 to 8";
    o.cpus = static_cast<unsigned>(n);
    return "";
  }
  if (key == "processes") {
    if (!number(value, n) || n == 0 || n > max_divided) return "1 to 64";
    o.processes = static_cast<unsigned>(n);
    return "";
  }
  if (key == "pct_depth") {
    if (!number(value, n) || n == 0 || n > 16) return "1 to 16";
    o.pct_depth = static_cast<unsigned>(n);
    return "";
  }
  if (key == "replay") {
    token = value;
    return "";
  }
  if (key == "test") return "";  // see name_of_exploration
  if (key == "only") {
    only = value;
    return "";
  }
  return "?";
}

std::string quoted(std::string_view text) {
  std::string out = "\"";
  for (const char c : text) {
    if (c == '"' || c == '\\') out += '\\';
    if (static_cast<unsigned char>(c) >= 0x20) {
      out += c;
    } else {
      char escape[8];
      std::snprintf(escape, sizeof escape, "\\u%04x", static_cast<unsigned>(c));
      out += escape;
    }
  }
  return out + '"';
}

/// The value of a key in INTERLOCK_EXPLORE; empty if it is not there.
std::string setting(std::string_view key) {
  const char* const text = std::getenv("INTERLOCK_EXPLORE");
  std::string_view left{text != nullptr ? text : ""};
  while (!left.empty()) {
    const std::string_view word = left.substr(0, left.find(','));
    left.remove_prefix(std::min(left.size(), word.size() + 1));
    if (word.size() > key.size() && word.substr(0, key.size()) == key && word[key.size()] == '=')
      return std::string{word.substr(key.size() + 1)};
  }
  return {};
}

struct use {
  std::string name;
  unsigned count;
};

}  // namespace

std::string name_of_exploration(const interlock_machine_options& options) {
  static unsigned explorations = 0;
  static std::vector<use> used;
  ++explorations;
  std::string name;
  if (options.name != nullptr) {
    name = options.name;
  } else if (const char* const found = namer != nullptr ? namer() : nullptr; found != nullptr) {
    name = found;
  }
  if (name.empty()) name = setting("test");
  if (name.empty()) return "exploration " + std::to_string(explorations);
  for (use& u : used) {
    if (u.name == name) return name + '#' + std::to_string(++u.count);
  }
  used.push_back({name, 1});
  return name;
}

std::string apply_environment(interlock_machine_options& options, const std::string& name,
                              std::string& kept, bool& skip) {
  skip = false;
  const char* const text = std::getenv("INTERLOCK_EXPLORE");
  if (text == nullptr) return {};
  std::string only;
  kept.clear();
  for (const char* at = text; *at != '\0';) {
    const char* const end =
        std::strchr(at, ',') != nullptr ? std::strchr(at, ',') : at + std::strlen(at);
    const std::string word{at, end};
    at = *end == ',' ? end + 1 : end;
    if (word.empty()) continue;
    const std::size_t equals = word.find('=');
    const std::string key = word.substr(0, equals);
    const std::string value = equals == std::string::npos ? "" : word.substr(equals + 1);
    const std::string wanted = set(options, key, value, kept, only);
    if (wanted.empty()) continue;
    if (wanted == "?") return "INTERLOCK_EXPLORE: there is no key '" + key + "'";
    return "INTERLOCK_EXPLORE: " + key + ": '" + value + "' is not " + wanted;
  }
  if (!kept.empty()) options.replay = kept.c_str();
  skip = !only.empty() && only != name;
  return {};
}

void write_log(const std::string& name, const interlock_machine_result& result) {
  const char* const path = std::getenv("INTERLOCK_EXPLORE_LOG");
  if (path == nullptr) return;
  std::string_view text = result.text != nullptr ? result.text : "";
  text = text.substr(0, text.find('\n'));
  char numbers[256];
  std::snprintf(
      numbers, sizeof numbers,
      ",\"passed\":%s,\"complete\":%s,\"executions\":%llu,\"blocked\":%llu,\"steps\":%llu,"
      "\"seconds\":%.6f,\"failure\":",
      result.failed ? "false" : "true", result.complete ? "true" : "false",
      static_cast<unsigned long long>(result.executions),
      static_cast<unsigned long long>(result.blocked),
      static_cast<unsigned long long>(result.steps), static_cast<double>(result.nanoseconds) / 1e9);
  const std::string line = "{\"name\":" + quoted(name) + numbers + quoted(text) +
                           ",\"token\":" + quoted(result.token != nullptr ? result.token : "") +
                           "}\n";
  const int file = open(path, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0666);
  if (file < 0 || write(file, line.data(), line.size()) != static_cast<ssize_t>(line.size())) {
    std::fprintf(stderr, "interlock: INTERLOCK_EXPLORE_LOG: %s: %s\n", path, std::strerror(errno));
  }
  if (file >= 0) close(file);
}

progress_line::progress_line(const std::string& name) : name_{name} {
  const char* const asked = std::getenv("INTERLOCK_EXPLORE_PROGRESS");
  const bool off = asked != nullptr && std::strcmp(asked, "0") == 0;
  const bool forced = asked != nullptr && std::strcmp(asked, "1") == 0;
  wanted_ = forced || (!off && isatty(STDERR_FILENO) == 1);
}

void end_if_only_listed(const std::string& name) {
  if (std::getenv("INTERLOCK_EXPLORE_LIST") == nullptr) return;
  write_log(name, {});
  ::_exit(0);
}

share share_of(unsigned ordinal) {
  static shared_exploration own;
  static shared_exploration* mapped = nullptr;
  const char* const told = std::getenv("INTERLOCK_EXPLORE_SHARE");
  char* path = nullptr;
  const auto process = told != nullptr ? static_cast<unsigned>(std::strtoul(told, &path, 10)) : 0u;
  if (told != nullptr && mapped == nullptr) {
    const int file = *path == ':' ? open(path + 1, O_RDWR | O_CLOEXEC) : -1;
    void* const memory =
        file < 0 ? MAP_FAILED
                 : mmap(nullptr, shared_page_size, PROT_READ | PROT_WRITE, MAP_SHARED, file, 0);
    if (file >= 0) close(file);
    if (memory == MAP_FAILED) {
      std::fprintf(stderr, "interlock: INTERLOCK_EXPLORE_SHARE: %s: %s\n", told,
                   std::strerror(errno));
      std::abort();
    }
    mapped = static_cast<shared_exploration*>(memory);
  }
  if (mapped != nullptr && ordinal < shared_explorations) return {mapped + ordinal, process};
  std::memset(static_cast<void*>(&own), 0, sizeof own);
  return {process == 0 ? &own : nullptr, process};
}

namespace {

/// "8 s", "35 min", "5 h", "40 days", "years"
std::string rough_time(double seconds) {
  char text[32];
  if (seconds < 120) {
    std::snprintf(text, sizeof text, "%.0f s", seconds);
  } else if (seconds < 7200) {
    std::snprintf(text, sizeof text, "%.0f min", seconds / 60);
  } else if (seconds < 48 * 3600) {
    std::snprintf(text, sizeof text, "%.0f h", seconds / 3600);
  } else if (seconds < 1000 * 86400.0) {
    std::snprintf(text, sizeof text, "%.0f days", seconds / 86400);
  } else {
    return "years";
  }
  return text;
}

}  // namespace

void progress_line::show(const interlock_machine_result& result, std::size_t depth, double searched,
                         std::uint64_t now) {
  constexpr std::uint64_t period = 200'000'000;
  if (!wanted_) return;
  if (began_ == 0) began_ = last_ = now;
  if (now - last_ < period) return;
  last_ = now;
  const double seconds = static_cast<double>(now - began_) / 1e9;
  std::fprintf(stderr, "\r\033[K%s: %llu executions, %.0f/s, depth %zu", name_.c_str(),
               static_cast<unsigned long long>(result.executions),
               static_cast<double>(result.executions) / seconds, depth);
  if (searched > 0) {
    std::fprintf(stderr, ", about %.2g %% of the search, %s left", 100 * searched,
                 rough_time(seconds * (1 - searched) / searched).c_str());
  }
  std::fflush(stderr);
  shown_ = true;
}

void progress_line::erase() {
  if (shown_) std::fputs("\r\033[K", stderr);
  shown_ = false;
}

}  // namespace interlock::machine

void interlock_machine_name_explorations(const char* (*name)(void)) {
  interlock::machine::namer = name;
}
