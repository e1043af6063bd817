// SPDX-License-Identifier: Apache-2.0

/// Names and lines of addresses, by libdw.

#include <cxxabi.h>
#include <dwarf.h>
#include <elfutils/libdwfl.h>
#include <link.h>
#include <unistd.h>

#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <map>
#include <string_view>

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

Dwfl_Module* module_of(Dwarf_Addr address) noexcept {
  static Dwfl* const session = open_session();
  return session != nullptr ? dwfl_addrmodule(session, address) : nullptr;
}

const char* base_name(const char* path) noexcept {
  const char* const slash = std::strrchr(path, '/');
  return slash != nullptr ? slash + 1 : path;
}

void erase_all(std::string& text, std::string_view what) {
  for (std::size_t at = text.find(what); at != std::string::npos; at = text.find(what, at))
    text.erase(at, what.size());
}

/// Without arguments of functions and templates, return types, and the library's own namespaces.
std::string shortened(std::string name) {
  for (const std::string_view noise :
       {"(anonymous namespace)::", "interlock::simulated::", "[abi:cxx11]"})
    erase_all(name, noise);
  constexpr std::string_view call = "operator";
  std::string out;
  int nested = 0;
  for (std::size_t i = 0; i < name.size(); ++i) {
    const bool starts = i == 0 || (std::isalnum(static_cast<unsigned char>(name[i - 1])) == 0 &&
                                   name[i - 1] != '_');
    if (nested == 0 && starts && name.compare(i, call.size(), call) == 0) {
      out += call;
      i += call.size();
      if (name.compare(i, 2, "()") == 0) {
        out += "()";
        i += 2;
      }
      while (i < name.size() && std::strchr("<>=!+-*/%&|^~[]", name[i]) != nullptr)
        out += name[i++];
      if (i >= name.size()) break;
    }
    const char c = name[i];
    if (c == '(' || c == '<') {
      ++nested;
    } else if (c == ')' || c == '>') {
      if (nested > 0) --nested;
    } else if (nested == 0) {
      out += c;
    }
  }
  erase_all(out, " const");
  erase_all(out, "::operator()");
  if (const std::size_t space = out.rfind(' ');
      space != std::string::npos && out.find("operator ") == std::string::npos)
    out.erase(0, space + 1);
  return out.empty() ? name : out;
}

std::string demangled(const char* symbol) {
  if (symbol == nullptr) return {};
  char* const readable = abi::__cxa_demangle(symbol, nullptr, nullptr, nullptr);
  std::string name = readable != nullptr ? readable : symbol;
  std::free(readable);
  return name;
}

bool starts_with(const std::string& text, std::string_view with) {
  return text.compare(0, with.size(), with) == 0;
}

bool is_noise(const std::string& function, const std::string& file) {
  for (const std::string_view head : {"std::", "__gnu_cxx::", "__gthread", "__cxa_",
                                      "__cxxabiv1::", "testing::", "interlock_machine_", "__tsan_",
                                      "execute_native_thread_routine", "make_fcontext",
                                      "model::explore", "interlock::model::explore"})
    if (starts_with(function, head)) return true;
  return starts_with(file, "/usr/") ||
         file.find("/platforms/model/include/") != std::string::npos ||
         file.find("/interlock/model/") != std::string::npos ||
         file.find("/interlock/atomic.hpp") != std::string::npos;
}

std::string function_of(Dwarf_Die& die) {
  Dwarf_Attribute attribute;
  Dwarf_Attribute* const linkage = dwarf_attr_integrate(&die, DW_AT_linkage_name, &attribute);
  const char* const symbol = linkage != nullptr ? dwarf_formstring(linkage) : nullptr;
  return symbol != nullptr
             ? demangled(symbol)
             : std::string{dwarf_diename(&die) != nullptr ? dwarf_diename(&die) : "?"};
}

/// Compilers may be given a relative path.
std::string absolute(Dwarf_Die& cu, const char* path) {
  if (path[0] == '/') return path;
  Dwarf_Attribute attribute;
  const char* const folder = dwarf_formstring(dwarf_attr(&cu, DW_AT_comp_dir, &attribute));
  return folder != nullptr ? std::string{folder} + '/' + path : path;
}

/// Of a call that was inlined: where it stands.
void call_site(Dwarf_Die& cu, Dwarf_Die& die, place& caller) {
  Dwarf_Attribute attribute;
  Dwarf_Word file = 0;
  Dwarf_Word line = 0;
  if (dwarf_formudata(dwarf_attr(&die, DW_AT_call_file, &attribute), &file) != 0) return;
  if (dwarf_formudata(dwarf_attr(&die, DW_AT_call_line, &attribute), &line) != 0) return;
  Dwarf_Files* files = nullptr;
  std::size_t count = 0;
  if (dwarf_getsrcfiles(&cu, &files, &count) != 0 || file >= count) return;
  const char* const path = dwarf_filesrc(files, file, nullptr, nullptr);
  if (path != nullptr) caller.file = absolute(cu, path);
  caller.line = static_cast<int>(line);
}

/// The innermost function or inlined call at `pc`, with those around it behind it. Local classes have functions too, which
/// dwarf_getscopes does not look for.
bool find_scopes(Dwarf_Die& die, Dwarf_Addr pc, std::vector<Dwarf_Die>& inner_first) {
  Dwarf_Die child;
  if (dwarf_child(&die, &child) != 0) return false;
  do {
    const bool here = dwarf_haspc(&child, pc) > 0;
    switch (dwarf_tag(&child)) {
      case DW_TAG_subprogram:
      case DW_TAG_inlined_subroutine:
      case DW_TAG_lexical_block:
        // The abstract one may have local classes.
        if (here || dwarf_tag(&child) == DW_TAG_subprogram ||
            (dwarf_tag(&child) == DW_TAG_lexical_block && !dwarf_hasattr(&child, DW_AT_low_pc) &&
             !dwarf_hasattr(&child, DW_AT_ranges))) {
          if (find_scopes(child, pc, inner_first) || here) {
            if (here) inner_first.push_back(child);
            return true;
          }
        }
        break;
      case DW_TAG_namespace:
      case DW_TAG_structure_type:
      case DW_TAG_class_type:
      case DW_TAG_union_type:
        if (find_scopes(child, pc, inner_first)) return true;
        break;
      default: break;
    }
  } while (dwarf_siblingof(&child, &child) == 0);
  return false;
}

std::vector<place> find_places(std::uintptr_t address) {
  std::vector<place> found;
  const Dwarf_Addr in_call = address - 1;  // a return address lies behind the call
  Dwfl_Module* const module = module_of(in_call);
  if (module == nullptr) return found;
  place next;
  int line = 0;
  Dwarf_Addr bias = 0;
  Dwarf_Die* const cu = dwfl_module_addrdie(module, in_call, &bias);
  if (Dwfl_Line* const at = dwfl_module_getsrc(module, in_call); at != nullptr) {
    const char* const file = dwfl_lineinfo(at, nullptr, &line, nullptr, nullptr, nullptr);
    if (file != nullptr) next.file = cu != nullptr ? absolute(*cu, file) : file;
    next.line = line;
  }
  next.function = demangled(dwfl_module_addrname(module, in_call));
  std::vector<Dwarf_Die> scopes;
  if (cu != nullptr) find_scopes(*cu, in_call - bias, scopes);
  for (Dwarf_Die& scope : scopes) {
    if (dwarf_tag(&scope) != DW_TAG_inlined_subroutine) continue;
    place inlined = next;
    inlined.function = function_of(scope);
    found.push_back(inlined);
    call_site(*cu, scope, next);
  }
  found.push_back(next);
  const char* const module_name =
      dwfl_module_info(module, nullptr, nullptr, nullptr, nullptr, nullptr, nullptr, nullptr);
  const bool machine =
      module_name != nullptr && std::strstr(module_name, "libinterlock_machine") != nullptr;
  for (place& p : found) {
    p.library = p.function.find("interlock::simulated::") != std::string::npos &&
                p.function.find("{lambda(") == std::string::npos;
    p.function = shortened(p.function);
    p.hidden = machine || is_noise(p.function, p.file);
  }
  // Functions of unnamed namespaces have no full name in the debug information; what they are inlined in has.
  for (place& p : found) p.library = p.library || found.back().library;
  return found;
}

}  // namespace

std::vector<place> places_of(std::uintptr_t address) {
  static std::map<std::uintptr_t, std::vector<place>> known;
  if (address == 0) return {};
  const auto at = known.find(address);
  if (at != known.end()) return at->second;
  return known.emplace(address, find_places(address)).first->second;
}

place place_of(std::uintptr_t address) {
  const std::vector<place> all = places_of(address);
  for (const place& p : all) {
    if (!p.hidden && !p.library) return p;
  }
  for (const place& p : all) {
    if (!p.hidden) return p;
  }
  return all.empty() ? place{} : all.front();
}

std::string short_place(const place& where) {
  if (where.file.empty()) return where.function;
  return std::string{base_name(where.file.c_str())} + ':' + std::to_string(where.line);
}

namespace {

/// Where a loaded object begins that has `address` in its memory; 0: none has. Its zeroed data lie behind what is mapped of its file, and are not
/// of its module for that.
std::uintptr_t start_of_object(std::uintptr_t address) {
  struct search {
    std::uintptr_t address;
    std::uintptr_t found;
  } wanted{address, 0};
  dl_iterate_phdr(
      [](dl_phdr_info* object, std::size_t, void* argument) {
        auto& w = *static_cast<search*>(argument);
        std::uintptr_t first = 0;
        bool inside = false;
        for (unsigned i = 0; i < object->dlpi_phnum; ++i) {
          const auto& segment = object->dlpi_phdr[i];
          if (segment.p_type != PT_LOAD) continue;
          const std::uintptr_t begin = object->dlpi_addr + segment.p_vaddr;
          if (first == 0 || begin < first) first = begin;
          inside = inside || w.address - begin < segment.p_memsz;
        }
        if (inside) w.found = first;
        return inside ? 1 : 0;
      },
      &wanted);
  return wanted.found;
}

}  // namespace

std::string static_object(std::uintptr_t address) {
  Dwfl_Module* module = module_of(address);
  if (module == nullptr) {
    const std::uintptr_t start = start_of_object(address);
    if (start != 0) module = module_of(start);
  }
  if (module == nullptr) return {};
  GElf_Off offset = 0;
  GElf_Sym symbol;
  const char* const name =
      dwfl_module_addrinfo(module, address, &offset, &symbol, nullptr, nullptr, nullptr);
  if (name == nullptr || offset >= (symbol.st_size != 0 ? symbol.st_size : 1)) return {};
  std::string text = shortened(demangled(name));
  if (offset != 0) text += '+' + std::to_string(offset);
  return text;
}

std::string source_line(const std::string& file, int line) {
  std::string text;
  std::FILE* const source = line > 0 ? std::fopen(file.c_str(), "re") : nullptr;
  if (source == nullptr) return text;
  char* buffer = nullptr;
  std::size_t capacity = 0;
  for (int at = 0; at < line; ++at) {
    if (getline(&buffer, &capacity, source) < 0) break;
    if (at + 1 == line) text = buffer;
  }
  std::free(buffer);
  std::fclose(source);
  const std::size_t begin = text.find_first_not_of(" \t");
  const std::size_t end = text.find_last_not_of(" \t\r\n");
  return begin == std::string::npos ? "" : text.substr(begin, end - begin + 1);
}

void describe(std::uintptr_t address, char* buffer, std::size_t size) noexcept {
  const place where = place_of(address);
  if (where.function.empty()) {
    std::snprintf(buffer, size, "0x%zx", static_cast<std::size_t>(address));
  } else if (where.file.empty()) {
    std::snprintf(buffer, size, "%s", where.function.c_str());
  } else {
    std::snprintf(buffer, size, "%s (%s:%d)", where.function.c_str(), base_name(where.file.c_str()),
                  where.line);
  }
}

}  // namespace interlock::machine
