// SPDX-License-Identifier: Apache-2.0

/// Names and lines of addresses, by libdw.

#include <cxxabi.h>
#include <elfutils/libdwfl.h>
#include <unistd.h>

#include <cstdio>
#include <cstdlib>
#include <cstring>

#include "report.hpp"

namespace interlock::machine {
namespace {

Dwfl* open_session() noexcept {
  static char* debuginfo_path = nullptr;
  static const Dwfl_Callbacks callbacks{dwfl_linux_proc_find_elf, dwfl_standard_find_debuginfo,
                                        nullptr, &debuginfo_path};
  Dwfl* const session = dwfl_begin(&callbacks);
  if (session == nullptr) return nullptr;
  if (dwfl_linux_proc_report(session, getpid()) != 0 ||
      dwfl_report_end(session, nullptr, nullptr) != 0) {
    dwfl_end(session);
    return nullptr;
  }
  return session;
}

const char* base_name(const char* path) noexcept {
  const char* const slash = std::strrchr(path, '/');
  return slash != nullptr ? slash + 1 : path;
}

}  // namespace

void describe(std::uintptr_t address, char* buffer, std::size_t size) noexcept {
  static Dwfl* const session = open_session();
  const Dwarf_Addr in_call = address - 1;  // a return address lies behind the call
  Dwfl_Module* const module = session != nullptr ? dwfl_addrmodule(session, in_call) : nullptr;
  const char* const symbol = module != nullptr ? dwfl_module_addrname(module, in_call) : nullptr;
  char* const readable =
      symbol != nullptr ? abi::__cxa_demangle(symbol, nullptr, nullptr, nullptr) : nullptr;
  int line = 0;
  Dwfl_Line* const found = module != nullptr ? dwfl_module_getsrc(module, in_call) : nullptr;
  const char* const file =
      found != nullptr ? dwfl_lineinfo(found, nullptr, &line, nullptr, nullptr, nullptr) : nullptr;
  const char* const name = readable != nullptr ? readable : symbol;
  if (name != nullptr && file != nullptr) {
    std::snprintf(buffer, size, "%s (%s:%d)", name, base_name(file), line);
  } else if (name != nullptr) {
    std::snprintf(buffer, size, "%s", name);
  } else {
    std::snprintf(buffer, size, "0x%zx", static_cast<std::size_t>(address));
  }
  std::free(readable);
}

}  // namespace interlock::machine
