// SPDX-License-Identifier: Apache-2.0

/// The text of a failure: what, where, how it came about, and how everyone stands.

#include "report.hpp"

#include <cstdio>
#include <cstring>

#include "machine.hpp"
#include "search.hpp"

namespace interlock::machine {
namespace {

constexpr std::size_t column = 44;
constexpr std::size_t most_steps = 120;

std::string place(std::uintptr_t pc) {
  if (pc == 0) return {};
  char text[512];
  describe(pc, text, sizeof text);
  return text;
}

const char* name(op_kind kind) noexcept {
  switch (kind) {
    case op_kind::start: return "starts";
    case op_kind::read: return "read";
    case op_kind::write: return "write";
    case op_kind::rmw: return "rmw";
    case op_kind::park: return "sleeps on";
    case op_kind::wake: return "wakes";
    case op_kind::unpark: return "wake of";
    case op_kind::ring: return "raise";
    case op_kind::deliver: return "interrupt";
    case op_kind::join: return "join";
    case op_kind::exit: return "ends";
    case op_kind::lock: return "lock";
    case op_kind::unlock: return "unlock";
    case op_kind::relax: return "spins";
    case op_kind::yield: return "yields";
    case op_kind::drain: return "barrier";
    case op_kind::drain_all: return "barrier on all cpus";
    case op_kind::resched: return "may sleep";
  }
  return "?";
}

std::string short_place(std::uintptr_t pc) {
  std::string text = place(pc);
  const std::size_t open = text.rfind('(');
  const std::size_t close = text.rfind(')');
  if (open != std::string::npos && close == text.size() - 1 &&
      text.find(':', open) != std::string::npos) {
    return text.substr(open + 1, close - open - 1);
  }
  return text;
}

std::string describe_step(const event& e) {
  const process& p = m.processes[e.by];
  std::string text = p.name;
  text += ": ";
  text += name(e.what.kind);
  switch (e.what.kind) {
    case op_kind::read:
    case op_kind::write:
    case op_kind::rmw:
    case op_kind::park: {
      char address[32];
      std::snprintf(address, sizeof address, " %06zx",
                    static_cast<std::size_t>(e.what.what.address & 0xffffff));
      text += address;
      break;
    }
    default: break;
  }
  if (e.what.pc != 0) text += ' ' + short_place(e.what.pc);
  return text;
}

void append_stack(std::string& text, const std::uintptr_t* stack, unsigned depth) {
  for (unsigned i = 0; i < depth; ++i) text += "   " + place(stack[i]) + '\n';
}

/// Another process touches what this step touches, or the step is more than an access.
bool matters(const search& s, std::size_t at) {
  const event& e = s.events[at];
  switch (e.what.kind) {
    case op_kind::read:
    case op_kind::write:
    case op_kind::rmw: break;
    default: return true;
  }
  for (std::size_t i = 0; i < s.events.size(); ++i) {
    const event& other = s.events[i];
    if (other.by != e.by && dependent(other.what, e.what)) return true;
  }
  return false;
}

void append_steps(std::string& text) {
  const search& s = *m.strategy;
  text += "\ninterleaving:\n step ";
  for (unsigned c = 0; c < m.cpu_count; ++c) {
    std::string head = "cpu " + std::to_string(c);
    head.resize(column, ' ');
    text += head;
  }
  text += '\n';
  std::size_t shown = 0;
  const std::size_t count = s.events.size();
  std::size_t from = 0;
  std::size_t left_out = 0;
  for (std::size_t i = count; i > 0; --i) {
    if (matters(s, i - 1) && ++shown == most_steps) {
      from = i - 1;
      break;
    }
  }
  if (from != 0) text += "  ... (" + std::to_string(from) + " steps before)\n";
  for (std::size_t i = from; i < count; ++i) {
    if (!matters(s, i)) {
      ++left_out;
      continue;
    }
    const event& e = s.events[i];
    char number[16];
    std::snprintf(number, sizeof number, "%5zu ", i);
    text += number;
    std::string line(e.cpu * column, ' ');
    line += describe_step(e);
    text += line + '\n';
  }
  if (left_out != 0)
    text += " (" + std::to_string(left_out) + " steps that nobody else could see are left out)\n";
}

void append_processes(std::string& text) {
  text += "\nflows:\n";
  for (unsigned i = 0; i < m.process_count; ++i) {
    const process& p = m.processes[i];
    const char* state = "ready";
    if (p.kind == process::role::interrupt && !p.alive) continue;
    if (p.ended) {
      state = "ended";
    } else if (p.waits == wait_kind::parked) {
      state = "sleeps";
    } else if (p.waits == wait_kind::relaxed) {
      state = "spins";
    } else if (p.pending.kind == op_kind::lock) {
      state = "waits for a lock";
    } else if (p.pending.kind == op_kind::join) {
      state = "joins";
    } else if (p.pending.kind == op_kind::start) {
      state = "not started";
    }
    char head[96];
    std::snprintf(head, sizeof head, " %s on cpu %u: %s", p.name, p.cpu, state);
    text += head;
    if (!p.ended && p.pending.pc != 0 && p.pending.kind != op_kind::start) {
      text += " at " + place(p.pending.pc);
    }
    text += '\n';
    if (p.ended || p.stack.depth == 0) continue;
    const std::uint32_t depth = p.stack.depth < flow::max_calls ? p.stack.depth : flow::max_calls;
    for (std::uint32_t k = depth; k > 0 && depth - k < 12; --k)
      text += "     " + place(p.stack.calls[k - 1]) + '\n';
  }
}

}  // namespace

std::string failure_report() {
  std::string text = m.failed == failure_kind::report ? m.console : m.failure_text;
  if (!text.empty() && text.back() != '\n') text += '\n';
  if (m.failure_depth != 0) {
    text += "by " + std::string{m.processes[m.self].name} + ":\n";
    append_stack(text, m.failure_stack, m.failure_depth);
  }
  if (m.watched_depth != 0 && m.watched_process != no_process) {
    text += "before it, by " + std::string{m.processes[m.watched_process].name} + ":\n";
    append_stack(text, m.watched_stack, m.watched_depth);
  }
  append_steps(text);
  append_processes(text);
  return text;
}

}  // namespace interlock::machine
