// SPDX-License-Identifier: Apache-2.0
#include "provider_choice.hpp"

#include <cstdio>
#include <cstring>

#include "interlock/options.hpp"

namespace interlock::cli {

std::span<const provider* const> built_in_providers() noexcept {
  static const provider* const all[] = {
    &engine_provider(),
#if INTERLOCK_HAS_URING
    &uring_provider(),
#endif
    &pread_provider(),
  };
  return all;
}

provider_probe probe_provider(const provider& which) noexcept {
  if (std::strcmp(which.name, "uring") == 0 && option_integer("uring", 1) == 0) {
    provider_probe off;
    off.reason = error::operation_not_supported;
    std::snprintf(off.detail, sizeof off.detail, "switched off by INTERLOCK_OPTIONS=uring=0");
    return off;
  }
  return which.probe();
}

namespace {

const provider* find_provider(const char* name) noexcept {
  for (const provider* const candidate : built_in_providers()) {
    if (std::strcmp(candidate->name, name) == 0) return candidate;
  }
  return nullptr;
}

}  // namespace

maybe_failure choose_file_provider(const std::string& name, file_provider& choice) {
  const bool automatic = name == "auto";
  const std::string wanted = automatic ? "uring" : name;
  const provider* const found = find_provider(wanted.c_str());
  std::string why;
  if (found == nullptr) {
    why = "this tool was built without it";
  } else if (const provider_probe probe = probe_provider(*found); !probe.available) {
    why = probe.detail;
  } else {
    choice = {found, {}};
    return {};
  }
  if (!automatic) return fail("provider {} is not available: {}", wanted, why);
  choice = {&pread_provider(),
            fmt::format("no io_uring ({}): a thread reads and writes instead", why)};
  return {};
}

}  // namespace interlock::cli
