// SPDX-License-Identifier: Apache-2.0
#include "service_threads.hpp"

#include <filesystem>
#include <fstream>
#include <string>
#include <system_error>

namespace interlock::cli {

namespace {

constexpr const char* name_prefix = "ilk-";

/// Voluntary switches of the thread of this folder if it is one of ours, else 0.
std::uint64_t sleeps_of(const std::filesystem::path& thread) {
  std::ifstream status{thread / "status"};
  std::string key;
  std::string value;
  while (status >> key && std::getline(status >> std::ws, value)) {
    if (key == "Name:" && !value.starts_with(name_prefix)) return 0;
    if (key == "voluntary_ctxt_switches:") return std::stoull(value);
  }
  return 0;
}

}  // namespace

std::uint64_t service_thread_sleeps() {
  std::uint64_t sum = 0;
  std::error_code code;
  for (const auto& thread : std::filesystem::directory_iterator{"/proc/self/task", code}) {
    sum += sleeps_of(thread.path());
  }
  return sum;
}

}  // namespace interlock::cli
