// SPDX-License-Identifier: Apache-2.0
#include "table.hpp"

#include <fmt/core.h>

#include <algorithm>

#include "units.hpp"

namespace interlock::cli {

namespace {

struct row {
  const char* label;
  std::string (*format)(const run_counts& counts);
};

double seconds(const run_counts& counts) {
  return std::chrono::duration<double>(counts.elapsed).count();
}

std::string wakes(const wake_counts& counts) {
  if (counts.on_link == 0) return format_count(counts.all);
  return fmt::format("{} ({} on links)", format_count(counts.all), format_count(counts.on_link));
}

// Widths of rows are those of their longest cell; a label with leading spaces belongs to the one
// above.
constexpr row rows[] = {
    {"throughput",
     [](const run_counts& c) {
       return seconds(c) > 0 ? format_bytes(double(c.bytes_in) / seconds(c)) + "/s" : "-";
     }},
    {"time", [](const run_counts& c) { return fmt::format("{:.3f} s", seconds(c)); }},
    {"fences made", [](const run_counts& c) { return format_count(c.fences_made); }},
    {"fences armed", [](const run_counts& c) { return format_count(c.fences_armed); }},
    {"interrupts raised", [](const run_counts& c) { return format_count(c.interrupts); }},
    {"links in memory", [](const run_counts& c) { return format_count(c.memory_waits); }},
    {"links by callback", [](const run_counts& c) { return format_count(c.callback_waits); }},
    {"wakes of the submitter", [](const run_counts& c) { return wakes(c.submitter); }},
    {"         the devices", [](const run_counts& c) { return wakes(c.engines); }},
    {"         the file front ends", [](const run_counts& c) { return wakes(c.files); }},
    {"memory of the slots", [](const run_counts& c) { return format_bytes(double(c.pool_bytes)); }},
};

}  // namespace

std::string format_table(const std::vector<table_column>& columns, std::size_t peak_bytes) {
  std::size_t label_width = 0;
  for (const row& r : rows) label_width = std::max(label_width, std::string_view{r.label}.size());
  std::vector<std::size_t> widths;
  for (const table_column& column : columns) {
    std::size_t width = columns.size() > 1 ? column.title.size() : 0;
    for (const row& r : rows) width = std::max(width, r.format(column.counts).size());
    widths.push_back(width);
  }
  std::string text;
  if (columns.size() > 1) {
    text += fmt::format("  {:<{}}", "links", label_width);
    for (std::size_t i = 0; i < columns.size(); ++i) {
      text += fmt::format("  {:>{}}", columns[i].title, widths[i]);
    }
    text += '\n';
  }
  for (const row& r : rows) {
    text += fmt::format("  {:<{}}", r.label, label_width);
    for (std::size_t i = 0; i < columns.size(); ++i) {
      text += fmt::format("  {:>{}}", r.format(columns[i].counts), widths[i]);
    }
    text += '\n';
  }
  text += fmt::format("  {:<{}}  {:>{}}\n", "peak of the process", label_width,
                      format_bytes(double(peak_bytes)), widths.front());
  return text;
}

}  // namespace interlock::cli
