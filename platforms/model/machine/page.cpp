// SPDX-License-Identifier: Apache-2.0

/// The page of a failure: one file without anything from elsewhere. The data is written here, what shows it stands in `page_html.hpp`.

#include <cerrno>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <set>
#include <string_view>

#include "machine.hpp"
#include "page_html.hpp"
#include "report.hpp"

namespace interlock::machine {
namespace {

constexpr std::size_t most_rows = 5'000;
constexpr std::size_t most_source = std::size_t{1} << 20;  ///< of one file

/// As JSON that may stand in a script element.
std::string quoted(std::string_view text) {
  std::string out = "\"";
  for (const char c : text) {
    if (c == '"' || c == '\\') out += '\\';
    if (static_cast<unsigned char>(c) < 0x20 || c == '<') {
      char escape[8];
      std::snprintf(escape, sizeof escape, "\\u%04x", static_cast<unsigned>(c));
      out += escape;
    } else {
      out += c;
    }
  }
  return out + '"';
}

std::string escaped(std::string_view text) {
  std::string out;
  for (const char c : text) {
    if (c == '<') {
      out += "&lt;";
    } else if (c == '&') {
      out += "&amp;";
    } else {
      out += c;
    }
  }
  return out;
}

std::string contents(const std::string& path) {
  std::string text;
  std::FILE* const file = std::fopen(path.c_str(), "re");
  if (file == nullptr) return text;
  char buffer[16384];
  while (text.size() < most_source) {
    const std::size_t got = std::fread(buffer, 1, sizeof buffer, file);
    if (got == 0) break;
    text.append(buffer, got);
  }
  std::fclose(file);
  return text;
}

bool is_placed(const row& r) { return !r.where.hidden && !r.where.file.empty(); }

const char* name(row::sort what) noexcept {
  switch (what) {
    case row::sort::step: return "step";
    case row::sort::lock: return "lock";
    case row::sort::reader: return "reader";
    case row::sort::rcu: return "rcu";
    case row::sort::fence: return "fence";
    case row::sort::failure: return "failure";
  }
  return "?";
}

std::string json_of(const row& r, int cause) {
  const bool placed = is_placed(r);
  return "{\"step\":" + std::to_string(r.step) + ",\"mark\":" + (r.is_mark ? "1" : "0") +
         ",\"matters\":" + (r.matters ? "1" : "0") + ",\"cpu\":" + std::to_string(r.cpu) +
         ",\"depth\":" + std::to_string(r.depth) + ",\"by\":" + std::to_string(r.by) +
         ",\"flow\":" + quoted(r.flow) + ",\"context\":" + quoted(r.context) +
         ",\"kind\":" + quoted(r.kind) + ",\"what\":\"" + name(r.what) +
         "\",\"object\":" + quoted(r.object) + ",\"key\":\"" + std::to_string(r.key) +
         "\",\"cause\":" + std::to_string(cause) +
         ",\"span\":" + std::to_string(static_cast<int>(r.spans)) +
         ",\"function\":" + quoted(placed ? r.where.function : "") +
         ",\"file\":" + quoted(placed ? r.where.file : "") +
         ",\"line\":" + std::to_string(placed ? r.where.line : 0) + "}";
}

std::string rows_of(const story& told, std::set<std::string>& files) {
  std::string text = "[";
  const std::size_t count = told.rows.size();
  const std::size_t from = count > most_rows ? count - most_rows : 0;
  for (std::size_t i = from; i < count; ++i) {
    const row& r = told.rows[i];
    if (i != from) text += ",\n";
    if (is_placed(r)) files.insert(r.where.file);
    text += json_of(r, r.cause >= static_cast<int>(from) ? r.cause - static_cast<int>(from) : -1);
  }
  return text + "]";
}

/// The file that `variable` names, if this is the first failure of the process: there is one file, and the first is what one looks at.
const char* wanted_file(const char* variable, bool& written) {
  const char* const path = std::getenv(variable);
  if (path == nullptr || *path == '\0' || written) return nullptr;
  written = true;
  return path;
}

void write_file(const char* variable, const char* path, const std::string& text) {
  std::FILE* const out = std::fopen(path, "we");
  const bool written =
      out != nullptr && std::fwrite(text.data(), 1, text.size(), out) == text.size();
  if ((out != nullptr && std::fclose(out) != 0) || !written)
    std::fprintf(stderr, "interlock: %s: %s: %s\n", variable, path, std::strerror(errno));
}

std::string lanes() {
  std::string text = "[";
  for (unsigned c = 0; c < m.cpu_count; ++c) text += (c == 0 ? "" : ",") + quoted(lane_name(c));
  return text + "]";
}

}  // namespace

void write_steps(const std::string& name, const std::string& token, const std::string& text) {
  constexpr const char* variable = "INTERLOCK_EXPLORE_STEPS";
  static bool written = false;
  const char* const path = wanted_file(variable, written);
  if (path == nullptr) return;
  const story told = tell();
  std::string lines = "{\"name\":" + quoted(name) + ",\"token\":" + quoted(token) +
                      ",\"failure\":" + quoted(text.substr(0, text.find('\n'))) +
                      ",\"report\":" + quoted(text) + "}\n";
  for (const object_name& o : told.objects)
    lines += "{\"object\":" + quoted(o.name) + ",\"is\":" + quoted(o.what) + "}\n";
  for (const row& r : told.rows) lines += json_of(r, r.cause) + '\n';
  write_file(variable, path, lines);
}

void write_page(const std::string& name, const std::string& token, const std::string& text) {
  constexpr const char* variable = "INTERLOCK_EXPLORE_HTML";
  static bool written = false;
  const char* const path = wanted_file(variable, written);
  if (path == nullptr) return;
  const story told = tell();
  std::set<std::string> files;
  std::string data = "{\"name\":" + quoted(name) + ",\"token\":" + quoted(token) +
                     ",\"report\":" + quoted(text) + ",\"lanes\":" + lanes() +
                     ",\"rows\":" + rows_of(told, files) + ",\n\"objects\":{";
  bool first = true;
  for (const object_name& o : told.objects) {
    data += (first ? "" : ",") + quoted(o.name) + ':' + quoted(o.what);
    first = false;
  }
  data += "},\n\"sources\":{";
  first = true;
  for (const std::string& file : files) {
    data += (first ? "" : ",\n") + quoted(file) + ':' + quoted(contents(file));
    first = false;
  }
  data += "}}";
  std::string page{page_head};
  page += "<title>" + escaped(name) + "</title>" + std::string{page_style};
  page += page_body;
  page += "<script>\nconst data = " + data + ";\n" + std::string{page_script} + "</script>\n";
  write_file(variable, path, page);
}

}  // namespace interlock::machine
