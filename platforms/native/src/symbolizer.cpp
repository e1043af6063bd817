// SPDX-License-Identifier: Apache-2.0

/// Functions and lines by libdw, which is loaded when the first report needs it; the library works
/// without. Only debug information on this machine is read: a report must not wait for a network,
/// so libdw's standard search, which may ask debuginfod, is not used.
///
/// Invariant: I1. Everything here is guarded by `symbolizer_lock`.

#include "native.hpp"

#if __has_include(<elfutils/libdwfl.h>)

#include <dlfcn.h>
#include <elfutils/libdwfl.h>
#include <link.h>
#include <unistd.h>

#include <cstdio>
#include <cstdlib>
#include <cstring>

namespace interlock::inline INTERLOCK_PLATFORM::platform {
namespace {

/// The functions of libdw that we call, by the types of its header.
struct library {
  void* handle;
  decltype(&dwfl_begin) begin;
  decltype(&dwfl_end) end;
  decltype(&dwfl_report_begin) report_begin;
  decltype(&dwfl_report_end) report_end;
  decltype(&dwfl_linux_proc_report) linux_proc_report;
  decltype(&dwfl_addrmodule) addrmodule;
  decltype(&dwfl_module_addrinfo) module_addrinfo;
  decltype(&dwfl_module_getsrc) module_getsrc;
  decltype(&dwfl_module_nextcu) module_nextcu;
  decltype(&dwfl_lineinfo) lineinfo;
  decltype(&dwarf_haspc) haspc;
  decltype(&dwarf_getsrc_die) getsrc_die;
  decltype(&dwarf_linesrc) linesrc;
  decltype(&dwarf_lineno) lineno;
};

struct source_line {
  const char* file;  ///< null if it is not known
  int number;
};

constinit library libdw{};
constinit Dwfl_Callbacks callbacks{};
constinit Dwfl* session = nullptr;
constinit bool tried = false;
/// How many objects had been loaded and unloaded when the session last looked.
constinit unsigned long long seen_changes = 0;

template <class Function>
bool find(Function& function, const char* name) noexcept {
  function = reinterpret_cast<Function>(dlsym(libdw.handle, name));
  return function != nullptr;
}

bool find_all() noexcept {
  return find(callbacks.find_elf, "dwfl_linux_proc_find_elf") &&
         find(callbacks.find_debuginfo, "dwfl_build_id_find_debuginfo") &&
         find(libdw.begin, "dwfl_begin") && find(libdw.end, "dwfl_end") &&
         find(libdw.report_begin, "dwfl_report_begin") &&
         find(libdw.report_end, "dwfl_report_end") &&
         find(libdw.linux_proc_report, "dwfl_linux_proc_report") &&
         find(libdw.addrmodule, "dwfl_addrmodule") &&
         find(libdw.module_addrinfo, "dwfl_module_addrinfo") &&
         find(libdw.module_getsrc, "dwfl_module_getsrc") &&
         find(libdw.module_nextcu, "dwfl_module_nextcu") && find(libdw.lineinfo, "dwfl_lineinfo") &&
         find(libdw.haspc, "dwarf_haspc") && find(libdw.getsrc_die, "dwarf_getsrc_die") &&
         find(libdw.linesrc, "dwarf_linesrc") && find(libdw.lineno, "dwarf_lineno");
}

bool open_session() noexcept {
  if (tried) return session != nullptr;
  tried = true;
  libdw.handle = dlopen("libdw.so.1", RTLD_LAZY | RTLD_LOCAL);
  if (libdw.handle == nullptr) return false;
  if (find_all()) session = libdw.begin(&callbacks);
  return session != nullptr;
}

unsigned long long count_changes() noexcept {
  unsigned long long changes = 0;
  dl_iterate_phdr(
      [](dl_phdr_info* info, std::size_t, void* sum) {
        *static_cast<unsigned long long*>(sum) = info->dlpi_adds + info->dlpi_subs;
        return 1;
      },
      &changes);
  return changes;
}

/// Tells the session which objects are mapped, if that has changed.
bool refresh() noexcept {
  const unsigned long long changes = count_changes();
  if (changes == seen_changes) return true;
  libdw.report_begin(session);
  const int failed = libdw.linux_proc_report(session, getpid());
  if (libdw.report_end(session, nullptr, nullptr) != 0 || failed != 0) return false;
  seen_changes = changes;
  return true;
}

/// Looks into each compilation unit: clang writes no index by address, which libdw's own search
/// needs.
source_line find_line_by_units(Dwfl_Module* module, Dwarf_Addr address) noexcept {
  source_line found{nullptr, 0};
  Dwarf_Addr bias = 0;
  for (Dwarf_Die* unit = nullptr;
       (unit = libdw.module_nextcu(module, unit, &bias)) != nullptr && found.file == nullptr;) {
    if (libdw.haspc(unit, address - bias) != 1) continue;
    Dwarf_Line* const line = libdw.getsrc_die(unit, address - bias);
    if (line == nullptr || libdw.lineno(line, &found.number) != 0) continue;
    found.file = libdw.linesrc(line, nullptr, nullptr);
  }
  return found;
}

source_line find_line(Dwfl_Module* module, Dwarf_Addr address) noexcept {
  Dwfl_Line* const line = libdw.module_getsrc(module, address);
  if (line == nullptr) return find_line_by_units(module, address);
  source_line found{nullptr, 0};
  found.file = libdw.lineinfo(line, nullptr, &found.number, nullptr, nullptr, nullptr);
  return found;
}

using demangler = char* (*)(const char*, char*, std::size_t*, int*);

/// The readable name, to be freed, or null. Programs in C++ have the function; we do not link it.
char* demangle(const char* name) noexcept {
  const auto function = reinterpret_cast<demangler>(dlsym(RTLD_DEFAULT, "__cxa_demangle"));
  int status = 0;
  return function != nullptr ? function(name, nullptr, nullptr, &status) : nullptr;
}

const char* base_name(const char* path) noexcept {
  const char* const slash = std::strrchr(path, '/');
  return slash != nullptr ? slash + 1 : path;
}

}  // namespace

bool describe_by_debug_information(void* address, char* buffer, std::size_t size) noexcept {
  if (!open_session() || !refresh()) return false;
  const auto inside = reinterpret_cast<Dwarf_Addr>(address) - 1;
  Dwfl_Module* module = libdw.addrmodule(session, inside);
  if (dl_find_object object;
      module == nullptr && _dl_find_object(reinterpret_cast<void*>(inside), &object) == 0) {
    // Variables without a value in the file: libdw knows what is mapped of that.
    module = libdw.addrmodule(session, reinterpret_cast<Dwarf_Addr>(object.dlfo_map_start));
  }
  if (module == nullptr) return false;
  GElf_Off offset = 0;
  GElf_Sym symbol;
  const char* const name =
      libdw.module_addrinfo(module, inside, &offset, &symbol, nullptr, nullptr, nullptr);
  if (name == nullptr) return false;

  const source_line line = find_line(module, inside);
  char* const readable = demangle(name);
  const char* const shown = readable != nullptr ? readable : name;
  const unsigned long distance = offset + 1;
  if (line.file != nullptr) {
    std::snprintf(buffer, size, "%s+0x%lx (%s:%d)", shown, distance, base_name(line.file),
                  line.number);
  } else {
    std::snprintf(buffer, size, "%s+0x%lx", shown, distance);
  }
  std::free(readable);
  return true;
}

void close_symbolizer() noexcept {
  const private_guard guard{symbolizer_lock};
  if (session != nullptr) libdw.end(session);
  if (libdw.handle != nullptr) dlclose(libdw.handle);
  session = nullptr;
  libdw = {};
  tried = false;
}

}  // namespace interlock::inline INTERLOCK_PLATFORM::platform

#else

namespace interlock::inline INTERLOCK_PLATFORM::platform {

bool describe_by_debug_information(void*, char*, std::size_t) noexcept { return false; }

void close_symbolizer() noexcept {}

}  // namespace interlock::inline INTERLOCK_PLATFORM::platform

#endif
