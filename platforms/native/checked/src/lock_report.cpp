// SPDX-License-Identifier: Apache-2.0

/// What the lock validator says, in the forms that the kernel's log parsers know. Nothing is held
/// here but what the thread itself has locked; classes keep what is read of them (G1 of lock_graph.hpp).

#include <cstring>

#include "held_locks.hpp"
#include "interlock_platform/events.hpp"
#include "interlock_platform/local.hpp"
#include "interlock_platform/stack_trace.hpp"
#include "interlock_platform/thread.hpp"

namespace interlock::inline INTERLOCK_PLATFORM::platform::validator {
namespace {

using finding = event::finding;

constinit atomic<void (*)(const finding&) noexcept> on_finding{nullptr};

/// Async-signal-safe, and never longer than its buffer.
class writer {
 public:
  writer& operator<<(const char* text) noexcept {
    if (text == nullptr) text = "?";
    return put(text, std::strlen(text));
  }
  writer& operator<<(std::uint64_t number) noexcept {
    char digits[20];
    std::size_t first = sizeof digits;
    do {
      digits[--first] = static_cast<char>('0' + number % 10);
      number /= 10;
    } while (number != 0);
    return put(digits + first, sizeof digits - first);
  }
  writer& operator<<(const void* address) noexcept {
    auto number = reinterpret_cast<std::uintptr_t>(address);
    char digits[16];
    std::size_t first = sizeof digits;
    do {
      digits[--first] = "0123456789abcdef"[number & 0xf];
      number >>= 4;
    } while (number != 0);
    return *this << "0x", put(digits + first, sizeof digits - first);
  }
  writer& operator<<(location where) noexcept {
    return *this << where.file << ":" << static_cast<std::uint64_t>(where.line);
  }
  [[nodiscard]] const char* text() const noexcept { return text_; }
  [[nodiscard]] std::size_t size() const noexcept { return size_; }

 private:
  writer& put(const char* text, std::size_t size) noexcept {
    const std::size_t room = sizeof text_ - 1 - size_;
    if (size > room) size = room;
    std::memcpy(text_ + size_, text, size);
    size_ += size;
    text_[size_] = '\0';
    return *this;
  }

  std::size_t size_ = 0;
  char text_[8000] = {};
};

constexpr const char* line_name[2] = {"HARDIRQ", "SOFTIRQ"};
constexpr const char* line_word[2] = {"hard", "soft"};

/// Naming an address opens files and allocates: not in a handler.
bool may_allocate() noexcept {
  return (this_cpu().interrupt_count.load_relaxed() &
          (context_bits::serving_softirq | context_bits::hardirq | context_bits::nmi)) == 0;
}

/// What stands at an address, without the distance if that is none.
void put_symbol(writer& out, std::uint64_t address) noexcept {
  char name[256];
  // One byte inside of it: a frame is the address behind what is meant.
  describe_address(reinterpret_cast<void*>(address + 1), may_allocate(), name, sizeof name);
  constexpr char at_its_begin[] = "+0x1";
  char* const distance = std::strstr(name, at_its_begin);
  const char behind = distance != nullptr ? distance[sizeof at_its_begin - 1] : 'x';
  if (behind == '\0' || behind == ' ') *distance = '\0';
  out << name;
}

void put_name(writer& out, class_index index) noexcept {
  const class_record& c = class_at(index);
  using kind = class_identity::kind;
  if (c.identity.is == kind::variable || (c.identity.is == kind::named && c.name == nullptr)) {
    return put_symbol(out, c.identity.code);
  }
  if (c.identity.is == kind::named) {
    out << c.name;
    return;
  }
  const char* const slash = std::strrchr(c.identity.file, '/');
  out << location{slash != nullptr ? slash + 1 : c.identity.file, c.identity.line};
  if (c.identity.part != nullptr) out << "->" << c.identity.part;
  if (c.version > 1) out << "#" << std::uint64_t{c.version};
}

/// "(name){+.+.}-{2:2}": hardirq, then softirq, of writers and of readers; what a waiter does, twice.
void put_class(writer& out, class_index index) noexcept {
  const std::uint32_t used = class_at(index).used.load_relaxed();
  out << "(";
  put_name(out, index);
  out << "){";
  for (unsigned line = 0; line < 2; ++line) {
    const bool in = (used & usage::in[line]) != 0;
    const bool on = (used & usage::on[line]) != 0;
    out << (in && on ? "?" : in ? "-" : on ? "+" : ".") << ".";
  }
  out << (class_at(index).sleeps.load_relaxed() != 0 ? "}-{3:3}" : "}-{2:2}");
}

void put_held(writer& out, const held_lock& h) noexcept {
  out << h.lock << " ";
  if (h.index != 0) {
    put_class(out, h.index);
  } else {
    out << "(no class)";
  }
  out << ", at: " << h.where << "\n";
}

void put_trace(writer& out, const trace& t, const char* indent) noexcept {
  out << indent << "at " << t.where << "\n";
  for (std::uint32_t i = 0; i < t.count; ++i) {
    char name[256];
    describe_address(t.frames[i], may_allocate(), name, sizeof name);
    out << indent << " " << name << "\n";
  }
}

/// "name/7", as the kernel's "comm/pid".
void put_self(writer& out) noexcept {
  char name[16] = {};
  thread_name(name);
  out << name << "/" << std::uint64_t{this_task().id.load_relaxed()};
}

/// "[HC1[1]:SC0[0]:HE0:SE1]": in which interrupt, and what is on.
void put_context(writer& out) noexcept {
  const std::uint32_t count = this_cpu().interrupt_count.load_relaxed();
  const bool hard = (count & (context_bits::hardirq | context_bits::nmi)) != 0;
  const bool soft = (count & context_bits::serving_softirq) != 0;
  const bool irqs_off = hard || this_cpu().irqs_off.load_relaxed() != 0;
  const bool bh_off = (count & context_bits::softirq) != 0;
  out << " [HC" << std::uint64_t{hard} << "[" << std::uint64_t{hard} << "]:SC"
      << std::uint64_t{soft} << "[" << std::uint64_t{soft} << "]:HE" << std::uint64_t{!irqs_off}
      << ":SE" << std::uint64_t{!bh_off} << "]";
}

void put_all_held(writer& out, const held_locks& held) noexcept {
  out << "\n";
  if (held.depth == 0) {
    out << "no locks held by ";
  } else {
    out << std::uint64_t{held.depth} << (held.depth == 1 ? " lock" : " locks") << " held by ";
  }
  put_self(out);
  out << (held.depth == 0 ? ".\n" : ":\n");
  for (std::uint32_t i = 0; i < held.depth; ++i) {
    out << " #" << std::uint64_t{i} << ": ";
    put_held(out, held.list[i]);
  }
}

/// With its address where one of a class is meant.
void put_lock_line(writer& out, const char* indent, class_index index,
                   const void* lock = nullptr) noexcept {
  out << indent << "lock(";
  put_name(out, index);
  if (lock != nullptr) out << " " << lock;
  out << ");\n";
}

constexpr char on_cpu0[] = "  ";
constexpr char on_cpu1[] = "                               ";
constexpr char two_cpus[] =
    "       CPU0                    CPU1\n"
    "       ----                    ----\n";
constexpr char deadlock[] = "\n *** DEADLOCK ***\n";

/// The lock that is held, for which another is wanted. It is the topmost one of its class.
const held_lock* find_held(const held_locks& held, class_index index) noexcept {
  for (std::uint32_t i = held.depth; i-- > 0;) {
    if (held.list[i].index == index) return &held.list[i];
  }
  return nullptr;
}

const held_lock* find_held(const held_locks& held, const void* lock) noexcept {
  for (std::uint32_t i = held.depth; i-- > 0;) {
    if (held.list[i].lock == lock) return &held.list[i];
  }
  return nullptr;
}

struct wanted_lock {
  const void* lock;
  location where;
};

void put_cycle(writer& out, const story& s, const held_locks& held,
               const wanted_lock& wanted) noexcept {
  out << "WARNING: possible circular locking dependency detected\n";
  put_self(out);
  out << " is trying to acquire lock:\n";
  put_held(out, {wanted.lock, s.wanted, 0, false, wanted.where});
  out << "\nbut task is already holding lock:\n";
  const bool in_class = s.is == story::kind::cycle_in_class;
  const held_lock* const h = in_class ? find_held(held, s.outer) : find_held(held, s.held);
  if (h != nullptr) put_held(out, *h);
  out << "\nwhich lock already depends on the new lock.\n";
  if (in_class) {
    out << "\nBoth are of one class; with the new one held, the way to the other began at "
        << s.way[0].at.where << "\n";
  } else {
    out << "\nthe existing dependency chain (in reverse order) is:\n";
    for (unsigned i = s.steps; i-- > 0;) {
      out << "\n-> #" << std::uint64_t{i} + 1 << " ";
      put_class(out, s.way[i].to);
      out << ":\n";
      put_trace(out, s.way[i].at, "       ");
    }
    if (s.cut) out << "\n(the chain is longer)\n";
    out << "\n-> #0 ";
    put_class(out, s.wanted);
    out << ":\n       at " << wanted.where << "\n";
  }
  out << "\nother info that might help us debug this:\n\n";
  const class_index before_held = s.steps > 0 ? s.way[s.steps - 1].from : s.wanted;
  if (s.steps > 1) {
    out << "Chain exists of:\n  ";
    put_name(out, s.wanted);
    for (unsigned i = 0; i < s.steps; ++i) {
      out << " --> ";
      put_name(out, s.way[i].to);
    }
    out << "\n\n";
  }
  out << " Possible unsafe locking scenario:\n\n" << two_cpus;
  put_lock_line(out, on_cpu0, s.held, s.outer);
  put_lock_line(out, on_cpu1, before_held, in_class ? wanted.lock : nullptr);
  put_lock_line(out, on_cpu1, s.held, s.outer);
  put_lock_line(out, on_cpu0, s.wanted, in_class ? wanted.lock : nullptr);
  out << deadlock;
}

void put_state(writer& out, const story& s, const wanted_lock& wanted) noexcept {
  const char* const name = line_name[s.line];
  out << "WARNING: inconsistent lock state\ninconsistent {";
  if (s.new_is_use) {
    out << name << "-ON-W} -> {IN-" << name << "-W} usage.\n";
  } else {
    out << "IN-" << name << "-W} -> {" << name << "-ON-W} usage.\n";
  }
  put_self(out);
  put_context(out);
  out << " takes:\n";
  put_held(out, {wanted.lock, s.safe, 0, false, wanted.where});
  if (s.new_is_use) {
    out << "{" << name << "-ON-W} state was registered at:\n";
    put_trace(out, s.unsafe_at, "  ");
  } else {
    out << "{IN-" << name << "-W} state was registered at:\n";
    put_trace(out, s.safe_at, "  ");
  }
  out << "\nother info that might help us debug this:\n"
         " Possible unsafe locking scenario:\n\n       CPU0\n       ----\n";
  put_lock_line(out, "  ", s.safe);
  out << "  <Interrupt>\n";
  put_lock_line(out, "    ", s.safe);
  out << deadlock;
}

void put_way(writer& out, const story& s) noexcept {
  out << "\nthe dependencies between the locks are:\n";
  for (unsigned i = 0; i < s.steps; ++i) {
    out << "\n-> ";
    put_class(out, s.way[i].from);
    out << " -> ";
    put_class(out, s.way[i].to);
    out << ":\n";
    put_trace(out, s.way[i].at, "       ");
  }
  if (s.cut) out << "\n(there are more)\n";
}

void put_interrupt_scenario(writer& out, const story& s) noexcept {
  out << "\nother info that might help us debug this:\n\n"
         " Possible interrupt unsafe locking scenario:\n\n"
      << two_cpus;
  put_lock_line(out, on_cpu0, s.unsafe);
  out << on_cpu1 << (s.line == 0 ? "local_irq_disable();\n" : "local_bh_disable();\n");
  put_lock_line(out, on_cpu1, s.safe);
  put_lock_line(out, on_cpu1, s.steps > 0 ? s.way[0].to : s.unsafe);
  out << "  <Interrupt>\n";
  put_lock_line(out, "    ", s.safe);
  out << deadlock;
}

void put_new_order(writer& out, const story& s, const held_locks& held,
                   const wanted_lock& wanted) noexcept {
  const char* const name = line_name[s.line];
  out << "WARNING: " << name << "-safe -> " << name << "-unsafe lock order detected\n";
  put_self(out);
  put_context(out);
  out << " is trying to acquire:\n";
  put_held(out, {wanted.lock, s.wanted, 0, false, wanted.where});
  out << "\nand this task is already holding:\n";
  if (const held_lock* const h = find_held(held, s.held)) put_held(out, *h);
  out << "which would create a new lock dependency:\n ";
  put_class(out, s.held);
  out << " -> ";
  put_class(out, s.wanted);
  out << "\n\nbut this new dependency connects a " << name << "-irq-safe lock:\n ";
  put_class(out, s.safe);
  out << "\n... which became " << name << "-irq-safe at:\n";
  put_trace(out, s.safe_at, "  ");
  out << "\nto a " << name << "-irq-unsafe lock:\n ";
  put_class(out, s.unsafe);
  out << "\n... which became " << name << "-irq-unsafe at:\n";
  put_trace(out, s.unsafe_at, "  ");
  put_way(out, s);
  put_interrupt_scenario(out, s);
}

void put_new_state(writer& out, const story& s, const wanted_lock& wanted) noexcept {
  const char* const name = line_name[s.line];
  out << "WARNING: possible irq lock inversion dependency detected\n";
  put_self(out);
  put_context(out);
  out << " just changed the state of lock:\n";
  put_held(out, {wanted.lock, s.new_is_use ? s.safe : s.unsafe, 0, false, wanted.where});
  if (s.new_is_use) {
    out << "but this lock took another, " << name << "-unsafe lock in the past:\n ";
    put_class(out, s.unsafe);
    out << "\n... which became " << name << "-irq-unsafe at:\n";
    put_trace(out, s.unsafe_at, "  ");
  } else {
    out << "but this lock was taken by another, " << name << "-safe lock in the past:\n ";
    put_class(out, s.safe);
    out << "\n... which became " << name << "-irq-safe at:\n";
    put_trace(out, s.safe_at, "  ");
  }
  out << "\nand " << line_word[s.line]
      << " interrupts could create inverse lock ordering between them.\n";
  put_way(out, s);
  put_interrupt_scenario(out, s);
}

void submit(finding::rule rule, const writer& text, void* caller) noexcept {
  const auto hook = on_finding.load_acquire();  // [F2] pairs with [F1]
  if (hook == nullptr) {
    console_write(text.text(), text.size());  // the library is being loaded
    return;
  }
  void* frames[32];
  const std::size_t count = capture_stack(frames, 32);
  std::size_t first = 0;
  while (first < count && frames[first] != caller) ++first;
  if (first == count) first = 0;
  hook({rule, text.text(), text.size(), frames + first, count - first});
}

}  // namespace

void tell(const story& s, const held_locks& held, const void* lock, location where,
          void* caller) noexcept {
  writer text;
  const wanted_lock wanted{lock, where};
  finding::rule rule = finding::rule::irq_state;
  switch (s.is) {
    case story::kind::none: return;
    case story::kind::cycle:
    case story::kind::cycle_in_class:
      rule = finding::rule::order;
      put_cycle(text, s, held, wanted);
      break;
    case story::kind::state: put_state(text, s, wanted); break;
    case story::kind::new_order: put_new_order(text, s, held, wanted); break;
    case story::kind::new_state: put_new_state(text, s, wanted); break;
  }
  put_all_held(text, held);
  text << "\nstack backtrace:\n";
  submit(rule, text, caller);
}

void tell_limit(const char* limit, void* caller) noexcept {
  writer text;
  text << "BUG: " << limit
       << " too low!\nturning off the locking correctness validator.\n"
          "Its tables have a fixed size: see the limits in docs/lock-validator.md.\n";
  submit(finding::rule::limit, text, caller);
}

}  // namespace interlock::inline INTERLOCK_PLATFORM::platform::validator

namespace interlock::inline INTERLOCK_PLATFORM::platform::event {

void set_finding_hook(void (*hook)(const finding&) noexcept) noexcept {
  validator::on_finding.store_release(hook);  // [F1] pairs with [F2]
}

}  // namespace interlock::inline INTERLOCK_PLATFORM::platform::event
