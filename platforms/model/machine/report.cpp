// SPDX-License-Identifier: Apache-2.0

/// The text of a failure: what, where, how it came about, and how everyone stands.

#include "report.hpp"

#include <unwind.h>

#include <algorithm>
#include <cstdio>
#include <cstring>
#include <iterator>

#include "machine.hpp"
#include "search.hpp"

namespace interlock::machine {
namespace {

constexpr std::size_t most_rows = 120;
constexpr std::size_t widest_column = 60;

std::string described(const place& p) {
  if (p.function.empty()) return short_place(p);
  return p.file.empty() ? p.function : p.function + " (" + short_place(p) + ')';
}

/// Those that are not hidden.
std::vector<place> frames(const std::uintptr_t* stack, std::size_t depth) {
  std::vector<place> all;
  for (std::size_t i = 0; i < depth; ++i) {
    const std::vector<place> some = places_of(stack[i]);
    all.insert(all.end(), some.begin(), some.end());
  }
  std::vector<place> shown;
  for (const place& p : all) {
    // A return address is in what the frame behind it has inlined too.
    const bool again = !shown.empty() && shown.back().file == p.file &&
                       shown.back().line == p.line && shown.back().function == p.function;
    const bool known = !p.function.empty() || !p.file.empty();
    if (known && !p.hidden && !again) shown.push_back(p);
  }
  return shown;
}

/// With the text of the innermost line, which is where it happened.
void append_stack(std::string& text, const std::uintptr_t* stack, unsigned depth,
                  const char* indent, const std::string& head = {}) {
  constexpr std::size_t most = 16;
  const std::vector<place> shown = frames(stack, depth);
  if (!shown.empty()) text += head;
  for (std::size_t i = 0; i < shown.size() && i < most; ++i) {
    text += indent + described(shown[i]) + '\n';
    const std::string source = i == 0 ? source_line(shown[i].file, shown[i].line) : "";
    if (!source.empty()) text += std::string{indent} + "  > " + source + '\n';
  }
}

std::string describe_row(const row& r) {
  std::string text(r.depth * 2, ' ');
  text += r.flow;
  if (r.context == "softirq" || r.replayed) text += " (" + r.context + ')';
  text += ": " + r.kind;
  if (!r.object.empty()) text += ' ' + r.object;
  if (!r.where.function.empty() && !r.where.hidden) text += "  " + short_place(r.where);
  return text;
}

void append_steps(std::string& text, const story& told) {
  std::vector<const row*> shown;
  std::size_t left_out = 0;
  for (const row& r : told.rows) {
    if (r.matters) {
      shown.push_back(&r);
    } else if (!r.is_mark) {
      ++left_out;
    }
  }
  const std::size_t from = shown.size() > most_rows ? shown.size() - most_rows : 0;
  std::size_t widths[max_all_cpus] = {};
  for (std::size_t i = from; i < shown.size(); ++i) {
    const std::size_t width = std::min(describe_row(*shown[i]).size(), widest_column);
    widths[shown[i]->cpu] = std::max(widths[shown[i]->cpu], width);
  }
  text += "\ninterleaving:\n step  ";
  std::size_t columns[max_all_cpus] = {};
  std::size_t at = 0;
  std::string head;
  for (unsigned c = 0; c < m.cpu_count; ++c) {
    columns[c] = at;
    if (widths[c] == 0) continue;
    head.resize(at, ' ');
    head += lane_name(c);
    at += std::max<std::size_t>(widths[c], 6) + 2;
  }
  text += head + '\n';
  const std::size_t before = told.before + from;
  if (before != 0) text += "   ... (" + std::to_string(before) + " before)\n";
  for (std::size_t i = from; i < shown.size(); ++i) {
    const row& r = *shown[i];
    char number[16];
    std::snprintf(number, sizeof number, "%5u  ", r.step);
    text += r.is_mark ? std::string(7, ' ') : number;
    text += std::string(columns[r.cpu], ' ') + describe_row(r) + '\n';
  }
  if (left_out != 0)
    text += " (" + std::to_string(left_out) +
            " steps that nobody else could see, or inside of the library, are left out)\n";
  for (const object_name& o : told.objects) text += " " + o.name + ": " + o.what + '\n';
}

const char* state_of(const process& p) noexcept {
  if (p.ended) return "has ended";
  if (p.waits == wait_kind::parked) return "sleeps";
  if (p.waits == wait_kind::relaxed) return "spins";
  if (p.pending.kind == op_kind::lock) return "waits for the lock";
  if (p.pending.kind == op_kind::join) return "joins";
  if (p.pending.kind == op_kind::start) return "has not started";
  return "could go on";
}

/// The name that the steps have for an object; empty if none of them is on it.
std::string known_as(const story& told, std::uint64_t key) {
  for (const row& r : told.rows) {
    if (r.key == key && !r.object.empty()) return r.object;
  }
  return {};
}

/// Locks and readers that the process has not left.
void append_held(std::string& text, const story& told, unsigned process) {
  std::vector<const row*> open;
  for (const row& r : told.rows) {
    if (r.by != process || r.spans == row::span::none) continue;
    if (r.spans == row::span::begin) {
      open.push_back(&r);
      continue;
    }
    const auto same = std::find_if(open.rbegin(), open.rend(),
                                   [&r](const row* other) { return other->key == r.key; });
    if (same != open.rend()) open.erase(std::next(same).base());
  }
  for (const row* r : open) {
    const bool reader = r->kind == "rcu_read_lock";
    const std::string name = known_as(told, r->key);
    text += reader         ? "     is an RCU reader"
            : name.empty() ? "     holds a lock"
                           : "     holds " + name;
    const std::string since = r->where.hidden ? "" : short_place(r->where);
    text += since.empty() ? "\n" : ", since " + since + '\n';
  }
}

/// What it waits for, by the name that the steps have for it.
std::string awaited(const story& told, const process& p) {
  if (p.ended) return {};
  std::string name;
  if (p.pending.kind == op_kind::lock) {
    name = known_as(told, p.pending.what.address & 0x00ff'ffff'ffff'ffffu);
  } else if (p.waits == wait_kind::parked) {
    name = known_as(told, p.word);
    if (!name.empty()) name.insert(0, "on ");
  } else if (p.pending.kind == op_kind::join) {
    name = m.processes[(p.word - 1) % max_processes].name;
  }
  return name.empty() ? name : ' ' + name;
}

void append_processes(std::string& text, const story& told) {
  text += "\nflows:\n";
  for (unsigned i = 0; i < m.process_count; ++i) {
    const process& p = m.processes[i];
    if (p.kind == process::role::interrupt && !p.alive) continue;
    char head[96];
    std::snprintf(head, sizeof head, " %s %s: %s", p.name, standing{p}.text, state_of(p));
    text += head + awaited(told, p) + '\n';
    if (!p.ended) append_held(text, told, i);
    const bool somewhere = !p.ended && p.pending.kind != op_kind::start;
    if (!somewhere) continue;
    std::uintptr_t stack[12];
    unsigned count = 0;
    if (p.pending.pc != 0) stack[count++] = p.pending.pc;
    const std::uint32_t depth = std::min(p.stack.depth, flow::max_calls);
    for (std::uint32_t k = depth; k > 0 && count < 12; --k) stack[count++] = p.stack.calls[k - 1];
    append_stack(text, stack, count, "     ");
  }
}

}  // namespace

unsigned unwind(std::uintptr_t* into, std::size_t most) noexcept {
  struct frames_found {
    std::uintptr_t* into;
    std::size_t most;
    unsigned count;
  } found{into, most, 0};
  const bool running = m.running;
  m.running = false;  // what the unwinder calls is not the program's
  _Unwind_Backtrace(
      [](_Unwind_Context* context, void* argument) {
        auto& f = *static_cast<frames_found*>(argument);
        if (f.count == f.most) return _URC_END_OF_STACK;
        int is_interrupted = 0;  // by a signal: that is no return address
        const std::uintptr_t at = _Unwind_GetIPInfo(context, &is_interrupted);
        if (at == 0) return _URC_END_OF_STACK;
        f.into[f.count++] = at + static_cast<unsigned>(is_interrupted);
        return _URC_NO_REASON;
      },
      &found);
  m.running = running;
  return found.count;
}

std::string lane_name(unsigned cpu) {
  for (unsigned i = 0; i < m.process_count; ++i) {
    const process& p = m.processes[i];
    if (p.cpu == cpu && p.device != device_state::none) return "device " + std::string{p.name};
  }
  return "cpu " + std::to_string(cpu);
}

std::string_view headline() noexcept { return m.console_size != 0 ? m.console : m.failure_text; }

namespace {

/// The failure is nobody's alone.
bool all_stand_still() noexcept {
  const bool stuck = m.failed == failure_kind::deadlock || m.failed == failure_kind::livelock;
  return stuck && headline().find(": no flow can go on\n") != std::string_view::npos;
}

}  // namespace

std::string failure_report() {
  std::string text{headline()};
  if (!text.empty() && text.back() != '\n') text += '\n';
  if (const std::uintptr_t at = race_address(); at != 0)
    text += "object: " + describe_object(at) + '\n';
  if (m.failure_depth != 0 && !all_stand_still()) {
    const process& p = m.processes[m.self];
    append_stack(text, m.failure_stack, m.failure_depth, "   ",
                 "by " + std::string{p.name} + ' ' + standing{p}.text + ":\n");
  }
  if (m.watched_depth != 0 && m.watched_process != no_process) {
    text += "before it, by " + std::string{m.processes[m.watched_process].name} + ":\n";
    append_stack(text, m.watched_stack, m.watched_depth, "   ");
  }
  const story told = tell();
  append_steps(text, told);
  append_processes(text, told);
  return text;
}

}  // namespace interlock::machine
