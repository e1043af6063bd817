// SPDX-License-Identifier: Apache-2.0

/// The steps of an execution as they are shown: who, in which context, did what to which object, and where in the source.

#include <algorithm>
#include <cctype>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <map>
#include <set>
#include <string_view>

#include "machine.hpp"
#include "report.hpp"
#include "search.hpp"

namespace interlock::machine {

bool marks_kept = false;

namespace {

constexpr std::size_t most_marks = std::size_t{1} << 16;
constexpr std::uint32_t serving_softirq = 0x0000'0100u;
constexpr std::uint32_t hardirq_bits = 0x000f'0000u;
constexpr std::uint32_t nmi_bits = 0x00f0'0000u;
/// Of an execution that is too long, the last steps are told: the loop that does not end.
constexpr std::size_t most_of_the_endless = 2000;

std::uintptr_t raced_at = 0;
std::uintptr_t host_frame = 0;

bool on_host_stack(std::uintptr_t address) noexcept {
  constexpr std::uintptr_t near = std::uintptr_t{1} << 20;
  return address - host_frame < near;
}

pool<mark>& marks() {
  static pool<mark> kept{most_marks};
  return kept;
}

const char* name(op_kind kind) noexcept {
  switch (kind) {
    case op_kind::start: return "starts";
    case op_kind::read: return "reads";
    case op_kind::write: return "writes";
    case op_kind::rmw: return "modifies";
    case op_kind::park: return "sleeps unless changed:";
    case op_kind::wake: return "goes on, woken on";
    case op_kind::unpark: return "wakes who sleeps on";
    case op_kind::ring: return "raises";
    case op_kind::deliver: return "is let in";
    case op_kind::join: return "joined";
    case op_kind::exit: return "ends";
    case op_kind::lock: return "locks";
    case op_kind::unlock: return "unlocks";
    case op_kind::relax: return "spins";
    case op_kind::yield: return "yields";
    case op_kind::mask: return "is about to mask";
    case op_kind::resched: return "might sleep";
    case op_kind::drain: return "passes a full barrier";
    case op_kind::drain_all: return "passes a barrier on all CPUs";
  }
  return "?";
}

/// Null: not shown.
const char* name(interlock_machine_event what) noexcept {
  switch (what) {
    case interlock_machine_lock_acquired: return "holds";
    case interlock_machine_lock_release: return "gives back";
    case interlock_machine_rcu_enter: return "rcu_read_lock";
    case interlock_machine_rcu_exit: return "rcu_read_unlock";
    case interlock_machine_rcu_gp_begin: return "grace period begins";
    case interlock_machine_rcu_gp_end: return "grace period ends";
    case interlock_machine_rcu_queued: return "call_rcu";
    case interlock_machine_rcu_invoked: return "RCU callback";
    case interlock_machine_fence_init: return "makes fence";
    case interlock_machine_fence_enable: return "arms fence";
    case interlock_machine_fence_signaled: return "signals fence";
    case interlock_machine_fence_wait_start: return "waits for fence";
    case interlock_machine_fence_wait_end: return "has waited for fence";
    case interlock_machine_fence_destroy: return "ends fence";
    default: return nullptr;
  }
}

bool is_fence(interlock_machine_event what) noexcept {
  return what >= interlock_machine_fence_init && what <= interlock_machine_fence_destroy;
}
bool is_reader(interlock_machine_event what) noexcept {
  return what == interlock_machine_rcu_enter || what == interlock_machine_rcu_exit;
}

std::string what_is(std::uint64_t address) {
  char text[512];
  if (m.arena.contains(address)) {
    const heap::block* const b = m.arena.find(address);
    if (b == nullptr) return "of the heap, outside of all blocks";
    const std::string made = short_place(place_of(b->made_at));
    std::snprintf(text, sizeof text, "byte %zu of a block of %zu%s%s%s",
                  static_cast<std::size_t>(address - b->address), b->size,
                  made.empty() ? "" : ", allocated at ", made.c_str(),
                  b->freed_by != 0 ? ", freed" : "");
    return text;
  }
  for (unsigned i = 0; i < m.process_count; ++i) {
    const process& p = m.processes[i];
    if (p.stack.owns(address)) return std::string{"on the stack of "} + p.name;
  }
  if (on_host_stack(address)) return "on the stack of what explores";
  std::snprintf(text, sizeof text, "at 0x%llx", static_cast<unsigned long long>(address));
  return text;
}

/// Letters for objects that have no name: A to Z, then AA and so on.
class naming {
 public:
  explicit naming(std::vector<object_name>& objects) : objects_{objects} {}

  std::string of(std::uint64_t address) {
    const std::string known = static_object(address);
    if (!known.empty()) return known;
    const auto [at, fresh] = letters_.emplace(address, "");
    if (!fresh) return at->second;
    std::size_t n = objects_.size();
    std::string letter;
    do {
      letter.insert(letter.begin(), static_cast<char>('A' + n % 26));
      n /= 26;
    } while (n-- != 0);
    at->second = letter;
    objects_.push_back({letter, what_is(address)});
    return letter;
  }

 private:
  std::vector<object_name>& objects_;
  std::map<std::uint64_t, std::string> letters_;
};

/// Another process touches what this step touches, or the step is more than an access.
bool matters(search& s, std::size_t at, std::size_t from) {
  const event& e = s.events[at];
  switch (e.what.kind) {
    case op_kind::read:
    case op_kind::write:
    case op_kind::rmw:
    case op_kind::lock:
    case op_kind::unlock:
    case op_kind::unpark: break;
    case op_kind::mask:  // of note if something did come in
      while (++at < s.events.size()) {
        if (s.events[at].cpu == e.cpu) return s.events[at].by != e.by;
      }
      return false;
    default: return true;
  }
  for (std::size_t i = from; i < s.events.size(); ++i) {
    const event& other = s.events[i];
    if (other.by != e.by && dependent(other.what, e.what)) return true;
  }
  for (unsigned i = 0; i < m.process_count; ++i) {
    const process& p = m.processes[i];
    if (i != e.by && p.alive && !p.ended && dependent(p.pending, e.what)) return true;
  }
  return false;
}

/// What a mark is of, and whether more than one process has to do with it.
bool matters(const mark& of) {
  if (is_fence(of.what)) return true;
  pool<mark>& all = marks();
  for (std::size_t i = 0; i < all.size(); ++i) {
    const mark& other = all[i];
    if (is_reader(of.what)) {
      if (other.what == interlock_machine_rcu_gp_begin ||
          other.what == interlock_machine_rcu_queued)
        return true;
    } else if (other.by != of.by && other.a == of.a && name(other.what) != nullptr) {
      return true;
    }
  }
  if (is_reader(of.what)) return false;
  if (of.what != interlock_machine_lock_acquired && of.what != interlock_machine_lock_release)
    return true;
  for (const event& e : m.strategy->events) {
    if (e.by != of.by && e.what.what.size != 0 && e.what.what.address == of.a) return true;
  }
  for (unsigned i = 0; i < m.process_count; ++i) {
    const process& p = m.processes[i];
    if (i != of.by && p.alive && !p.ended && p.pending.what.address == of.a) return true;
  }
  return false;
}

place place_of_mark(const mark& k) {
  const place found = place_of(k.pc);
  if (!found.hidden && !found.library) return found;
  for (const std::uintptr_t pc : k.callers) {
    if (pc == 0) break;
    const place caller = place_of(pc);
    if (!caller.hidden && !caller.library) return caller;
  }
  return found;
}

class teller {
 public:
  story run() {
    search& s = *m.strategy;
    if (m.failed == failure_kind::endless && s.events.size() > most_of_the_endless)
      out_.before = s.events.size() - most_of_the_endless;
    find_own(s);
    std::size_t next_mark = 0;
    for (std::size_t i = 0; i <= s.events.size(); ++i) {
      while (next_mark < marks().size() && marks()[next_mark].step <= i) {
        const mark& k = marks()[next_mark++];
        follow(k);
        if (i >= out_.before) add(k);
      }
      if (i >= out_.before && i < s.events.size()) add(s, i);
    }
    add_failure(s);
    return std::move(out_);
  }

 private:
  void begin(row& r, process_id by, unsigned cpu) {
    const process& p = m.processes[by];
    r.by = by;
    r.cpu = cpu;
    r.flow = p.name;
    std::vector<process_id>& stack = stacks_[cpu];
    if (p.kind == process::role::task) {
      stack.clear();
    } else {
      while (!stack.empty() && stack.back() != by && on(stack, by)) stack.pop_back();
      if (!on(stack, by)) stack.push_back(by);
    }
    r.depth = static_cast<unsigned>(stack.size());
    const bool interrupt = p.kind == process::role::interrupt;
    const std::uint64_t serves = contexts_[by];
    r.context = p.device != device_state::none                           ? "device"
                : (serves & nmi_bits) != 0 || (interrupt && p.bell == 1) ? "nmi"
                : (serves & hardirq_bits) != 0                           ? "hardirq"
                : (serves & serving_softirq) != 0                        ? "softirq"
                : interrupt                                              ? "hardirq"
                                                                         : "task";
    // A handler that its task runs itself, when it lets interrupts in again, stands on it all the same.
    r.replayed = p.kind == process::role::task &&
                 (serves & (nmi_bits | hardirq_bits | serving_softirq)) != 0;
    if (r.replayed) ++r.depth;
  }
  static bool on(const std::vector<process_id>& stack, process_id p) {
    for (const process_id q : stack) {
      if (q == p) return true;
    }
    return false;
  }

  /// What the program itself touches, or somebody stands before.
  void find_own(search& s) {
    for (std::size_t i = 0; i < s.events.size(); ++i) {
      if (!place_of(s.events[i].what.pc).library) own_.insert(s.events[i].what.what.address);
    }
    for (unsigned i = 0; i < m.process_count; ++i) {
      if (m.processes[i].alive && !m.processes[i].ended)
        own_.insert(m.processes[i].pending.what.address);
    }
    // A failure of the library itself is told with all of its steps, as is one that was looked for there.
    all_ = m.full_granularity;
    bool outside = m.failure_depth == 0;
    for (unsigned i = 0; i < m.failure_depth && !outside; ++i) {
      const place found = place_of(m.failure_stack[i]);
      outside = !found.hidden && !found.library;
    }
    if (!outside && m.failed != failure_kind::deadlock && m.failed != failure_kind::livelock)
      all_ = m.failed != failure_kind::assertion || all_;
  }
  /// An access by the library to what is its own. The words of CPUs and tasks are, also where the program has inlined it.
  [[nodiscard]] bool is_inside(const event& e, const place& where) const {
    const bool access = e.what.kind == op_kind::read || e.what.kind == op_kind::write ||
                        e.what.kind == op_kind::rmw;
    const std::uint64_t address = e.what.what.address;
    const bool of_the_machine = address - reinterpret_cast<std::uintptr_t>(&m) < sizeof m;
    return !all_ && access && (of_the_machine || (where.library && own_.count(address) == 0));
  }

  /// Where it fails, if that is the doing of one flow.
  void add_failure(search& s) {
    if (m.failure_depth == 0 || m.failed == failure_kind::deadlock ||
        m.failed == failure_kind::livelock)
      return;
    row r;
    r.is_mark = true;
    r.step = static_cast<std::uint32_t>(s.events.size());
    begin(r, m.self, m.processes[m.self].cpu);
    r.kind = "fails";
    r.what = row::sort::failure;
    if (const std::uintptr_t at = race_address(); at != 0) {
      r.kind = "races on";
      r.object = names_.of(at);
      r.key = at;
    }
    for (unsigned i = 0; i < m.failure_depth; ++i) {
      const place found = place_of(m.failure_stack[i]);
      if (found.hidden) continue;
      if (r.where.file.empty() || (r.where.library && !found.library)) r.where = found;
      if (!found.library) break;
    }
    out_.rows.push_back(std::move(r));
  }

  void follow(const mark& k) {
    if (k.what == interlock_machine_context_enter) contexts_[k.by] += k.a;
    if (k.what == interlock_machine_context_exit) contexts_[k.by] -= k.a;
  }
  void add(const mark& k) {
    const char* const said = name(k.what);
    if (said == nullptr) return;
    row r;
    r.is_mark = true;
    r.step = k.step;
    begin(r, k.by, k.cpu);
    r.kind = said;
    r.matters = matters(k);
    r.where = place_of_mark(k);
    if (r.matters && !is_reader(k.what) && k.what != interlock_machine_rcu_gp_begin &&
        k.what != interlock_machine_rcu_gp_end)
      r.object = names_.of(k.a);
    r.key = is_reader(k.what) ? 1 : k.a;
    r.what = is_fence(k.what)                           ? row::sort::fence
             : is_reader(k.what)                        ? row::sort::reader
             : k.what <= interlock_machine_lock_release ? row::sort::lock
                                                        : row::sort::rcu;
    switch (k.what) {
      case interlock_machine_lock_acquired:
      case interlock_machine_rcu_enter: r.spans = row::span::begin; break;
      case interlock_machine_lock_release:
      case interlock_machine_rcu_exit: r.spans = row::span::end; break;
      default: break;
    }
    const auto here = static_cast<int>(out_.rows.size());
    if (k.what == interlock_machine_fence_signaled) signaled_[k.a] = here;
    if (k.what == interlock_machine_fence_wait_end) {
      const auto at = signaled_.find(k.a);
      if (at != signaled_.end()) r.cause = at->second;
    }
    out_.rows.push_back(std::move(r));
  }

  void add(search& s, std::size_t i) {
    const event& e = s.events[i];
    row r;
    r.step = static_cast<std::uint32_t>(i);
    begin(r, e.by, e.cpu);
    r.kind = name(e.what.kind);
    r.where = place_of(e.what.pc);
    const bool looping = m.failed == failure_kind::endless;  // whoever sees it
    r.matters = (looping || matters(s, i, out_.before)) && !is_inside(e, r.where);
    const std::uint64_t address = e.what.what.address;
    const auto kind = static_cast<object>(address >> 56);
    const std::uint64_t plain = address & 0x00ff'ffff'ffff'ffffu;
    const auto here = static_cast<int>(out_.rows.size());
    switch (e.what.kind) {
      case op_kind::read:
      case op_kind::write:
      case op_kind::rmw:
      case op_kind::park:
      case op_kind::wake:
      case op_kind::unpark:
      case op_kind::lock:
      case op_kind::unlock:
        if (r.matters) r.object = names_.of(plain);
        r.key = plain;
        break;
      case op_kind::ring: r.object = "cpu " + std::to_string(plain >> granule_bits >> 4); break;
      case op_kind::join:
        r.object = m.processes[(plain >> granule_bits) % max_processes].name;
        break;
      default: break;
    }
    if (e.what.kind == op_kind::rmw && kind == object::lock) r.kind = "tries to lock";
    if (kind == object::lock) r.what = row::sort::lock;
    if (e.what.kind == op_kind::lock) r.spans = row::span::begin;
    if (e.what.kind == op_kind::unlock) r.spans = row::span::end;
    if (e.what.kind == op_kind::unpark || e.what.kind == op_kind::ring) last_[address] = here;
    if (e.what.kind == op_kind::wake || e.what.kind == op_kind::deliver) {
      const auto at = last_.find(address);
      if (at != last_.end()) r.cause = at->second;
    }
    out_.rows.push_back(std::move(r));
  }

  story out_;
  naming names_{out_.objects};
  std::vector<process_id> stacks_[max_all_cpus];
  std::uint64_t contexts_[max_processes] = {};  ///< preempt_count, as announced
  std::set<std::uint64_t> own_;
  bool all_ = false;
  std::map<std::uint64_t, int> last_;
  std::map<std::uint64_t, int> signaled_;
};

}  // namespace

void keep_mark(interlock_machine_event what, std::uint64_t a, std::uint64_t b,
               std::uintptr_t pc) noexcept {
  if (marks().full()) return;
  mark& k = marks().grow();
  k = {what, m.strategy->steps_taken(), m.self, m.me().cpu, a, b, pc, {}};
  const flow& f = m.me().stack;
  std::uint32_t depth = f.depth < flow::max_calls ? f.depth : flow::max_calls;
  for (std::uintptr_t& caller : k.callers) {
    if (depth == 0) break;
    caller = f.calls[--depth];
  }
}

void marks_of_executions(bool kept) {
  if (kept) marks().clear();
  marks_kept = kept;
}

std::string describe_object(std::uintptr_t address) {
  const std::string known = static_object(address);
  return known.empty() ? what_is(address) : known;
}

void host_stack_begins(std::uintptr_t frame) noexcept { host_frame = frame; }

std::string stable_name(std::uintptr_t address) {
  std::string name = static_object(address);
  for (char& c : name) {
    if (c == ' ') c = '_';
  }
  if (!name.empty()) return name;
  char offset[32];
  const auto at = [&offset](std::uintptr_t bytes) {
    std::snprintf(offset, sizeof offset, "+0x%zx", static_cast<std::size_t>(bytes));
    return offset;
  };
  if (m.arena.contains(address)) return std::string{"heap"} + at(address - m.arena.begin());
  for (unsigned i = 0; i < m.process_count; ++i) {
    const process& p = m.processes[i];
    // Stacks grow down: what lies above is the same in each process.
    if (p.stack.owns(address))
      return std::string{"stack("} + p.name + ')' +
             at(reinterpret_cast<std::uintptr_t>(p.stack.stack) + flow::stack_size - address);
  }
  if (on_host_stack(address)) return std::string{"stack(host)"} + at(address - host_frame);
  return name;
}

namespace {

/// `text` holds `capacity` bytes, its terminator among them. Returns its new length.
std::size_t name_addresses_in(char* text, std::size_t capacity) {
  const std::string_view old{text};
  std::string out;
  for (std::size_t i = 0; i < old.size();) {
    const bool starts = old.compare(i, 2, "0x") == 0 &&
                        (i == 0 || std::isalnum(static_cast<unsigned char>(old[i - 1])) == 0);
    if (starts) {
      char* end = nullptr;
      const std::uintptr_t address = std::strtoull(text + i, &end, 16);
      const std::string name = stable_name(address);
      if (!name.empty()) {
        out += name;
        i = static_cast<std::size_t>(end - text);
        continue;
      }
    }
    out += old[i++];
  }
  const std::size_t size = std::min(out.size(), capacity - 1);
  std::memcpy(text, out.data(), size);
  text[size] = '\0';
  return size;
}

}  // namespace

void name_addresses() {
  if (m.failed == failure_kind::data_race) {
    const char* const at = std::strstr(m.failure_text, " at 0x");
    raced_at = at != nullptr ? std::strtoull(at + 4, nullptr, 16) : 0;
  }
  // An assertion's text is the program's own.
  if (m.failed != failure_kind::assertion)
    m.failure_size = name_addresses_in(m.failure_text, sizeof m.failure_text);
  if (m.console_size != 0) m.console_size = name_addresses_in(m.console, sizeof m.console);
}

std::uintptr_t race_address() noexcept {
  return m.failed == failure_kind::data_race ? raced_at : 0;
}

story tell() { return teller{}.run(); }

}  // namespace interlock::machine
