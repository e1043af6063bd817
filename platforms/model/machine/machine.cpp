// SPDX-License-Identifier: Apache-2.0

/// Executions: processes, CPUs, and what they wait for.

#include "machine.hpp"

#include <csetjmp>
#include <cstdarg>
#include <cstdio>
#include <cstring>
#include <iterator>
#include <utility>

#include "report.hpp"
#include "search.hpp"

namespace interlock::machine {

machine m;

namespace {

constexpr std::uint32_t softirq_bits = 0x0000'ff00u;
constexpr std::uint32_t softirq_disable_bits = 0x0000'fe00u;
constexpr std::uint32_t softirq_serving_bit = 0x0000'0100u;
constexpr std::uint32_t hardirq_bits = 0x000f'0000u;
constexpr std::uint32_t nmi_bits = 0x00f0'0000u;
constexpr std::uint32_t preempt_bits = 0x0000'00ffu;
constexpr int nmi = 1;  ///< the bell
constexpr unsigned idle_rounds_max = 64;
constexpr std::int64_t idle_tick = 1'000'000;
constexpr unsigned longest_shift = 33;

constexpr std::size_t max_spins = 64;
constexpr std::size_t many = std::size_t{1} << 22;

op local_op(op_kind kind, std::uintptr_t pc) noexcept {
  return {kind, 0, false, false, pc, {0, 0, false}, {0, 0, false}};
}
op object_op(op_kind kind, object what, std::uint64_t which, std::uintptr_t pc) noexcept {
  return {kind, 0, false, false, pc, object_write(what, which), {0, 0, false}};
}
std::uint64_t interrupt_object(unsigned cpu, int bell) noexcept {
  return (std::uint64_t{cpu} << 4 | static_cast<std::uint64_t>(bell)) << granule_bits;
}
/// An interrupt does something else where the core holds back what it raises: it comes before or after a step that changes that.
op delivery(unsigned cpu, int bell) noexcept {
  op o = object_op(op_kind::deliver, object::interrupt, interrupt_object(cpu, bell), 0);
  if (bell != nmi) o.also = {object_address(object::mask, cpu << granule_bits), 1, false};
  return o;
}
op masking(unsigned cpu, std::uintptr_t pc) noexcept {
  return object_op(op_kind::mask, object::mask, cpu << granule_bits, pc);
}

}  // namespace

machine::machine() noexcept
    : touches{many},
      records{many},
      releases{std::size_t{1} << 18},
      shared_granules{many},
      spins{max_spins},
      spin_choices{std::size_t{1} << 22} {}

// --- processes and CPUs ---

process_id machine::new_process(process::role role, unsigned on) noexcept {
  if (process_count == max_processes) {
    fail(failure_kind::limit,
         "too many tasks and interrupt levels in one execution (%u are the limit): test fewer at a "
         "time",
         max_processes);
  }
  if (process_count == clock::width) clock::width *= 2;
  const auto id = static_cast<process_id>(process_count++);
  process& p = processes[id];
  static_cast<process_state&>(p) = {};
  p.each_clock([](clock& c) { c.clear(); });
  for (process::repeated& r : p.seen_values) r = {};
  p.stack.process = id;
  p.kind = role;
  p.cpu = static_cast<std::uint8_t>(on);
  p.seen.at[id] = 1;
  std::memset(words.of_task[id], 0, words_size);
  return id;
}

void machine::reset_cpu(unsigned id) noexcept {
  cpu& c = cpus[id];
  static_cast<cpu_state&>(c) = {};
  c.each_clock([](clock& of) { of.clear(); });
  std::memset(c.level, no_process, sizeof c.level);
  std::memset(words.of_cpu[id], 0, words_size);
  std::memset(words.of_idle_task[id], 0, words_size);
}

std::uint64_t machine::spawn(void (*entry)(void*), void* argument, const char* name,
                             bool service) noexcept {
  deny_device("starts a task");
  if (running) drain(0);  // the new task sees all that came before it
  unsigned on;
  if (service) {
    if (cpu_count == max_all_cpus) fail(failure_kind::limit, "too many service tasks and devices");
    on = cpu_count++;
    reset_cpu(on);
  } else {
    on = user_tasks++ % user_cpus;
  }
  const process_id id = new_process(process::role::task, on);
  process& p = processes[id];
  p.service = service;
  p.number = ++task_count;
  std::strncpy(p.name, name, sizeof p.name - 1);
  p.stack.entry = entry;
  p.stack.argument = argument;
  p.pending = local_op(op_kind::start, reinterpret_cast<std::uintptr_t>(entry) + 1);
  p.alive = true;
  if (!prepare_flow(p.stack, flow_main)) fail(failure_kind::limit, "no memory for a stack");
  initialise_thread_storage(p.stack);
  if (running) {
    process& parent = me();
    p.parent = self;
    publish(p.seen);
    p.before = parent.before;
  }
  return id + 1u;
}

bool machine::is_shared(unsigned cpu) const noexcept {
  if (entries[0] != nullptr || entries[1] != nullptr) return true;  // an interrupt may come yet
  unsigned found = 0;
  for (unsigned i = 0; i < process_count; ++i) {
    if (processes[i].cpu == cpu && ++found > 1) return true;
  }
  return false;
}

bool machine::may_be_replaced(const cpu& c) noexcept {
  if (c.current == no_process) return true;
  const process& t = processes[c.current];
  if (t.ended) return true;
  const bool atomic = t.preempt != 0 || c.irqs_off || c.interrupts != 0;
  switch (t.pending.kind) {
    case op_kind::wake:  // a contended spinlock sleeps with preemption off: it keeps its CPU
    case op_kind::join:
    case op_kind::yield: return !atomic;
    case op_kind::resched:
      if (model != preemption::none) return true;
      break;
    case op_kind::lock:  // of those that sleep
      return true;
    default: break;
  }
  return model == preemption::full && !atomic;
}

bool machine::deliverable(const cpu& c, const process& p) const noexcept {
  if (!c.pending[p.bell]) return false;
  if (p.level != 0 && !processes[c.level[p.bell][p.level - 1]].alive) return false;
  if (p.level + 1u < bell_levels) {
    const process_id above = c.level[p.bell][p.level + 1];
    if (above != no_process && processes[above].alive) return false;
  }
  return interruptible(c, p.bell);
}

bool machine::interruptible(const cpu& c, int bell) const noexcept {
  const process_id top = c.depth != 0 ? c.stack[c.depth - 1] : c.current;
  if (top != no_process && processes[top].held) return false;
  if (bell == nmi) return (c.interrupts & nmi_bits) == 0;
  if (full_granularity) return true;  // the core's entry looks at its own masks
  return !c.irqs_off && (c.interrupts & (hardirq_bits | nmi_bits)) == 0;
}

bool machine::shuts_out(process_id q) noexcept {
  const cpu& c = my_cpu();
  if (processes[q].kind == process::role::interrupt) return !interruptible(c, processes[q].bell);
  return me().kind == process::role::interrupt || !may_be_replaced(c);
}

bool machine::can_step(process& p) noexcept {
  cpu& c = cpus[p.cpu];
  const process_id id = p.stack.process;
  if (p.kind == process::role::buffer) return cpus[p.number].buffered != 0;
  if (c.buffered != 0 && (p.alive || p.kind == process::role::task) && drains(p.pending))
    return false;
  if (p.kind == process::role::interrupt) {
    if (!p.alive) return deliverable(c, p);
    if (c.depth == 0 || c.stack[c.depth - 1] != id) return false;
  } else {
    if (!p.alive || p.ended || c.depth != 0 || c.must_take != 0) return false;
    // A switch of tasks drains the store buffer (TSO).
    if (c.current != id && (c.buffered != 0 || !may_be_replaced(c))) return false;
  }
  switch (p.pending.kind) {
    case op_kind::wake:
      if (p.woken || p.timed_out) return true;
      if (p.until == for_ever || p.watchdog) return false;
      for (unsigned i = 0; i < process_count; ++i) {
        const process& other = processes[i];
        if (other.alive && !other.ended && other.pending.kind == op_kind::wake && !other.woken &&
            !other.watchdog && other.until < p.until) {
          approximate = true;  // who wakes that one makes this one's pass, and no step tells so
          return false;        // an earlier deadline passes first
        }
      }
      return true;
    case op_kind::drain_all:
      for (unsigned i = 0; i < cpu_count; ++i) {
        if (cpus[i].buffered != 0) return false;
      }
      return true;
    case op_kind::join: return processes[(p.word - 1) & (max_processes - 1)].ended;
    case op_kind::lock:
      return locations.at(granule_of(p.pending.what.address), stamp).holder == no_process;
    default: return p.waits != wait_kind::relaxed;
  }
}

bool machine::may_spin_on(process_id p) noexcept {
  if (p >= process_count || processes[p].waits != wait_kind::relaxed) return false;
  processes[p].waits = wait_kind::nothing;
  return can_step(processes[p]);
}

process_set machine::enabled() noexcept {
  constexpr auto one_of = [](op_kind kind) { return 1u << static_cast<unsigned>(kind); };
  constexpr unsigned may_have_to_wait = one_of(op_kind::wake) | one_of(op_kind::drain_all) |
                                        one_of(op_kind::join) | one_of(op_kind::lock);
  process_set set = 0;
  for (unsigned i = 0; i < process_count; ++i) {
    process& p = processes[i];
    bool can;
    if (p.ended) {
      can = false;
    } else if (const cpu& c = cpus[p.cpu]; c.current == i && p.alive && c.depth == 0 &&
                                           c.must_take == 0 && c.buffered == 0 &&
                                           (one_of(p.pending.kind) & may_have_to_wait) == 0) {
      can = p.waits != wait_kind::relaxed;  // a task that has its CPU: as `can_step` would say
    } else {
      can = can_step(p);
    }
    if (can) set |= just(static_cast<process_id>(i));
  }
  return set;
}

// --- choosing and switching ---

process* machine::next_to_time_out(bool watchdogs) noexcept {
  process* first = nullptr;
  for (unsigned i = 0; i < process_count; ++i) {
    process& p = processes[i];
    if (!p.alive || p.ended || p.pending.kind != op_kind::wake || p.woken || p.timed_out) continue;
    if (p.until == for_ever || (p.watchdog && !watchdogs)) continue;
    if (first == nullptr || p.until < first->until) first = &p;
  }
  return first;
}

bool machine::pass_deadline(bool watchdogs) noexcept {
  process* const first = next_to_time_out(watchdogs);
  if (first == nullptr) return false;
  first->timed_out = true;
  return true;
}

process_id machine::decide() noexcept {
  process_set set = enabled();
  while (set == 0) {
    if (const process_id p = strategy->replayed_next(); may_spin_on(p)) {
      set = just(p);
      break;
    }
    bool spinning = false;
    bool unfinished = false;
    for (unsigned i = 0; i < process_count; ++i) {
      process& p = processes[i];
      if (!p.alive || p.ended) continue;
      if (p.kind == process::role::interrupt || !p.service) unfinished = true;
      if (p.waits == wait_kind::relaxed) spinning = true;
    }
    if (!unfinished) {
      find_leaks();
      to_host();
    }
    // Those that spin may do so within bounds; only then a watchdog's deadline passes.
    // In a row, without anybody being woken or ending: so many, and for so long, since a wait that polls has many short ones.
    constexpr unsigned watchdogs_max = 16;
    constexpr std::int64_t watchdogs_time = 20'000'000;
    if (idle_watchdogs == 0) idle_since = now;
    if (spinning && ++idle_rounds <= idle_rounds_max) {
      // Who spins may look at the clock, and what it waits for may be far; but nobody's deadline is skipped.
      now += idle_tick << (idle_rounds < longest_shift ? idle_rounds : longest_shift);
      if (const process* const sleeper = next_to_time_out(true);
          sleeper != nullptr && sleeper->until <= now) {
        now = sleeper->until;
        ++idle_watchdogs;
        (void)pass_deadline(true);
      }
      for (unsigned i = 0; i < process_count; ++i) {
        if (processes[i].waits == wait_kind::relaxed) processes[i].waits = wait_kind::nothing;
      }
    } else if ((++idle_watchdogs > watchdogs_max && now - idle_since > watchdogs_time) ||
               !pass_deadline(true)) {
      report_deadlock();
    } else {
      idle_rounds = 0;
    }
    set = enabled();
  }
  const process_id next = strategy->choose(set);
  if (processes[next].kind != process::role::buffer) return next;
  flush(next);
  return decide();
}

void machine::become(process_id next) noexcept {
  process& to = processes[next];
  cpu& c = cpus[to.cpu];
  if (to.kind == process::role::interrupt) {
    if (!to.alive) {
      begin_interrupt(next);
      if (!prepare_flow(to.stack, flow_main)) std::abort();
      initialise_thread_storage(to.stack);
    }
  } else if (c.current != next) {
    if (model != preemption::full) {
      // No task of this CPU runs before the one before it has given way.
      if (c.current != no_process) c.preempt_side.join(processes[c.current].seen);
      if (c.current != no_process) ++processes[c.current].seen.at[c.current];
      to.seen.join(c.preempt_side);
    }
    c.current = next;
  }
  flow& from = running ? me().stack : host;
  self = next;
  running = true;
  if (&from != &to.stack) switch_flow(from, to.stack);
}

void machine::begin_interrupt(process_id id) noexcept {
  process& p = processes[id];
  cpu& c = cpus[p.cpu];
  p.alive = true;
  p.preempt = 0;
  p.library_count = 0;
  p.extends_step = false;
  c.stack[c.depth++] = id;
}

void machine::serve_interrupt(process& p) noexcept {
  cpu& c = cpus[p.cpu];
  const process_id id = p.stack.process;
  c.pending[p.bell] = false;
  if (c.must_take == p.bell + 1) c.must_take = 0;
  p.seen.join(c.raised[p.bell]);
  clock& side = p.bell == nmi ? c.nmi_side : c.irq_side;
  p.seen.join(side);
  entries[p.bell]();
  side.join(p.seen);
  c.handled.join(p.seen);
  ++p.seen.at[id];
  --c.depth;
  p.alive = false;
  p.pending = delivery(p.cpu, p.bell);
  p.spun_count = 0;
}

void machine::flow_main(boost::context::detail::transfer_t came) {
  flow_begins(came);
  process& p = m.me();
  m.commit();
  if (p.kind == process::role::interrupt) {
    m.serve_interrupt(p);
  } else {
    p.stack.entry(p.stack.argument);
    if (p.device == device_state::runs) p.device = device_state::ends;
    run_thread_destructors();
    m.rules.task_ends(m.self);
    if (m.task_exit != nullptr) m.task_exit();
    m.point(object_op(op_kind::exit, object::task, std::uint64_t{m.self} << granule_bits, 0));
    p.seen.join(m.my_cpu().handled);
    p.ended = true;
  }
  process_id next = m.decide();
  while (next == m.self) {  // the interrupt was raised again: its flow is at hand
    m.begin_interrupt(next);
    m.commit();
    m.serve_interrupt(p);
    next = m.decide();
  }
  m.become(next);
  std::abort();  // nobody switches to a flow that has ended
}

void machine::take_step() noexcept {
  process& p = me();
  if (++steps > max_steps) {
    fail(failure_kind::endless,
         "an execution of more than %llu steps: a loop that never ends, or a test that is too "
         "large (option `steps`)",
         static_cast<unsigned long long>(max_steps));
  }
  if (whole_primitives) {
    // An operation of the library goes on, unless it has to wait or gives way.
    const bool inside = p.is_in_library();
    const op_kind kind = p.pending.kind;
    const bool gives_way = kind == op_kind::yield || kind == op_kind::resched;
    if (inside && p.extends_step && !gives_way && can_step(p)) {
      // To a replay, which has not learned what is shared, the first step may be this.
      if (every_access) (void)strategy->passes(self);
      commit(true);
      return;
    }
    p.extends_step = inside;
  }
  const process_id next = decide();
  if (next != self) {
    become(next);
  } else if (cpus[p.cpu].current != next && p.kind == process::role::task) {
    cpus[p.cpu].current = next;
  }
  commit();
}

/// `extends`: as a part of its last step.
void machine::commit(bool extends) noexcept {
  process& p = me();
  const op& o = p.pending;
  if (extends) {
    strategy->extend(self, o);
  } else {
    strategy->step(self, o);
  }
  last = self;
  if (o.what.size == 0) return;
  const bool reads = o.kind == op_kind::read || o.kind == op_kind::rmw || o.kind == op_kind::park;
  if (reads && p.may_wait()) {
    if (p.spun_count < process::max_spun) {
      p.spun[p.spun_count++] = o.what;
    } else {
      p.spun_unknown = true;
    }
  }
  if (!o.what.writes || o.kind == op_kind::rmw) return;  // that may change nothing: see `changed`
  // What is locked is given back, and what is written may be what was there: see `unchanged`.
  const bool may_be_undone =
      o.kind == op_kind::write || o.kind == op_kind::lock || o.kind == op_kind::unlock;
  if (!may_be_undone) p.wrote = true;
  idle_rounds = 0;
  if (o.kind == op_kind::exit || o.kind == op_kind::deliver) idle_watchdogs = 0;
  wake_spinners(o.what);
}

void machine::changed(std::uintptr_t address, std::size_t size) noexcept {
  idle_rounds = 0;
  varies();
  wake_spinners({address, static_cast<std::uint32_t>(size), true});
}

void machine::wake_spinners(const footprint& f) noexcept {
  for (unsigned i = 0; i < process_count; ++i) {
    process& p = processes[i];
    if (i == self || (p.spun_count == 0 && !p.spun_unknown) || p.spun_changed) continue;
    bool touched = p.spun_unknown;
    for (unsigned k = 0; k < p.spun_count && !touched; ++k) {
      touched = overlap(f, p.spun[k]);
    }
    if (!touched) continue;
    p.spun_changed = true;
    if (p.waits == wait_kind::relaxed) p.waits = wait_kind::nothing;
  }
}

// --- waiting ---

void machine::note_overwritten(std::uintptr_t address, std::size_t size) noexcept {
  process& p = me();
  while (p.may_wait() && size != 0) {
    const std::size_t part = size < sizeof p.old[0].value ? size : sizeof p.old[0].value;
    overwrites_part(p, address, part);
    address += part;
    size -= part;
  }
}

void machine::overwrites_part(process& p, std::uintptr_t address, std::size_t size) noexcept {
  for (unsigned i = 0; i < p.old_count; ++i) {
    if (p.old[i].address == address && p.old[i].size == size) return;
  }
  if (p.old_count == process::max_overwritten) {
    p.wrote = true;
    return;
  }
  process::overwritten& o = p.old[p.old_count++];
  o = {address, 0, static_cast<std::uint8_t>(size)};
  std::memcpy(&o.value, reinterpret_cast<const void*>(address), size);
}

/// What is left in a frame that has ended is nobody's.
void machine::forget_overwritten(process& p, std::uintptr_t top) noexcept {
  for (unsigned i = 0; i < p.old_count;) {
    if (p.stack.owns(p.old[i].address) && p.old[i].address < top) {
      p.old[i] = p.old[--p.old_count];
    } else {
      ++i;
    }
  }
}

bool machine::unchanged(const process& p) const noexcept {
  if (p.wrote) return false;
  for (unsigned i = 0; i < p.old_count; ++i) {
    const process::overwritten& o = p.old[i];
    if (std::memcmp(&o.value, reinterpret_cast<const void*>(o.address), o.size) != 0) return false;
  }
  return true;
}

/// One place in a function is many, by its callers.
std::uintptr_t machine::with_callers(std::uintptr_t pc) noexcept {
  const flow& f = me().stack;
  for (unsigned i = 1; i <= 2 && i <= f.depth && f.depth <= flow::max_calls; ++i)
    pc = pc * 31 + f.calls[f.depth - i];
  return pc;
}

void machine::note_spin(std::uintptr_t pc) noexcept {
  if (!notes_spins) return;
  for (const spin& s : spins) {
    if (s.pc == pc) return;
  }
  const auto& choices = strategy->to_be_replayed();
  const std::size_t size = choices.size();
  if (spins.full() || !spin_choices.has_room(size)) {
    approximate = true;  // that place is not tried
    return;
  }
  spins.push({pc, spin_choices.size(), size});
  std::memcpy(spin_choices.take(size), choices.data(), size * sizeof(process_id));
}

/// True if the process is not to wait here: it is tried whether it gives up.
bool machine::try_spin(std::uintptr_t pc) noexcept {
  constexpr unsigned rounds_max = 1'000;
  if (spin_trial == trial::leads_there && strategy->replayed_all() && pc == tried_pc) {
    spin_trial = trial::spins;
    tried = self;
    tried_rounds = tried_steps = 0;
  }
  if (spin_trial != trial::spins || self != tried) return false;
  if (pc != tried_pc) {
    spin_trial = trial::gave_up;
    abandon();
  }
  if (++tried_rounds > rounds_max) abandon();
  now += idle_tick << (tried_rounds < longest_shift ? tried_rounds : longest_shift);
  tried_steps = 0;
  return true;
}

/// Who takes the next step of a trial.
process_id machine::next_of_trial(process_set set) noexcept {
  constexpr unsigned steps_max = 100;  // a round is not that long
  if (spin_trial != trial::spins) return no_process;
  if ((set & just(tried)) == 0 || ++tried_steps > steps_max) {
    spin_trial = trial::gave_up;
    abandon();
  }
  return tried;
}

/// Whether it keeps its CPU meanwhile, its next operation says.
void machine::will_wait(const op& next) noexcept {
  me().pending = next;
  strategy->waits();
}

void machine::relax(std::uintptr_t pc, op_kind kind) noexcept {
  process& p = me();
  // The second time at one place, without having changed or seen anything since: the next round would be the same.
  const bool again = p.watched && p.relax_pc == pc && unchanged(p);
  const std::uintptr_t place = with_callers(pc);
  const bool waits = again && !p.spun_changed && !try_spin(place);
  if (!again) p.patience = patience;
  p.tired = again;
  p.relax_pc = pc;
  p.watched = true;
  const bool varied = std::exchange(p.varied, false);
  p.wrote = false;
  p.old_count = 0;
  if (waits) {
    if (varied) approximate = true;  // another round would be the same for it, not for others
    note_spin(place);
    if (p.patience == 0) {
      will_wait(local_op(kind, pc));
      p.waits = wait_kind::relaxed;
    } else {
      --p.patience;
    }
    point(local_op(kind, pc));
    p.waits = wait_kind::nothing;
  }
  p.spun_count = 0;
  p.spun_unknown = false;
  p.spun_changed = false;
  for (process::repeated& r : p.seen_values) r.count = 0;
}

void machine::same_value(std::uintptr_t pc, std::uintptr_t address, std::uint64_t value) noexcept {
  constexpr unsigned same_max = 3;
  if (is_bookkeeping(address)) return;
  process& p = me();
  pc = with_callers(pc);
  for (process::repeated& r : p.seen_values) {
    if (r.pc != pc || r.address != address || r.value != value) continue;
    if (++r.count >= same_max) relax(pc);
    return;
  }
  p.seen_values[p.next_repeated++ % process::max_repeated] = {pc, address, value, 0};
}

void machine::yield(std::uintptr_t pc) noexcept {
  point(local_op(op_kind::yield, pc));
  relax(pc, op_kind::yield);  // its CPU is free meanwhile
}

void machine::might_sleep(std::uintptr_t pc) noexcept {
  if (model == preemption::voluntary) point(local_op(op_kind::resched, pc));
}

int machine::park(const std::uint32_t* word, std::uint32_t expected, std::int64_t until,
                  bool watchdog, std::uintptr_t pc) noexcept {
  process& p = me();
  const auto address = reinterpret_cast<std::uintptr_t>(word);
  // Also a handler that its task runs itself, when it has let interrupts in again.
  constexpr std::uint32_t serving = hardirq_bits | nmi_bits | softirq_serving_bit;
  if (p.kind == process::role::interrupt || (my_cpu().interrupts & serving) != 0) {
    fail(failure_kind::assertion, "BUG: scheduling while atomic: an interrupt handler sleeps");
  }
  deny_device("sleeps");
  op o = local_op(op_kind::park, pc);
  o.what = {address, sizeof *word, false};
  o.also = object_write(object::wait_queue, address);
  if (!is_bookkeeping(address)) check_heap(address, sizeof *word, false, pc);
  point(o);
  check_race(address, sizeof *word, false, true, false, pc);
  if (__atomic_load_n(word, __ATOMIC_SEQ_CST) != expected) return 1;
  if (until != for_ever) (void)read_clock();
  if (until <= now) return 2;
  p.woken = p.timed_out = false;
  p.word = address;
  p.until = until;
  p.watchdog = watchdog || (far != 0 && until - now >= far);
  p.waits = wait_kind::parked;
  p.park_order = ++parks;
  p.spun_count = 0;
  p.spun_unknown = p.spun_changed = false;
  const op wake = object_op(op_kind::wake, object::wait_queue, address, pc);
  will_wait(wake);
  point(wake);
  p.waits = wait_kind::nothing;
  const bool woken = p.woken;
  if (!woken && watchdog && __atomic_load_n(word, __ATOMIC_SEQ_CST) != expected) {
    fail(failure_kind::rule,
         "BUG: lost wake-up: %s sleeps on a word that has changed, and nobody wakes it but a "
         "watchdog",
         p.name);
  }
  if (!woken && until > now) {
    now = until;
    clock_moved();
  }
  p.word = 0;
  p.until = for_ever;
  return woken ? 0 : 2;
}

/// Who reads the clock sees which deadlines have passed: the two depend on each other, as accesses of plain memory do.
std::int64_t machine::read_clock() noexcept {
  if (!running) return now;
  meet_last_deadline();
  clock_read_at[self] = strategy->steps_taken();
  return now;
}

void machine::meet_last_deadline() noexcept {
  if (moved_clock != no_process && moved_clock != self)
    strategy->meets(clock_moved_at, moved_clock);
}

void machine::clock_moved() noexcept {
  for (unsigned i = 0; i < process_count; ++i) {
    const std::uint32_t at = std::exchange(clock_read_at[i], 0);
    if (at != 0 && i != self) strategy->meets(at - 1, static_cast<process_id>(i));
  }
  meet_last_deadline();
  moved_clock = self;
  clock_moved_at = strategy->steps_taken() - 1;
}

unsigned machine::unpark(const std::uint32_t* word, unsigned count, std::uintptr_t pc) noexcept {
  const auto address = reinterpret_cast<std::uintptr_t>(word);
  point(object_op(op_kind::unpark, object::wait_queue, address, pc));
  unsigned woken = 0;
  while (woken < count) {
    process* first = nullptr;
    for (unsigned i = 0; i < process_count; ++i) {
      process& p = processes[i];
      if (p.waits != wait_kind::parked || p.woken || p.timed_out || p.word != address) continue;
      if (first == nullptr || p.park_order < first->park_order) first = &p;
    }
    if (first == nullptr) break;
    first->woken = true;
    idle_watchdogs = 0;
    first->woken_by =
        strategy->steps_taken() - 1;  // this very step; used by the exhaustive search only
    ++woken;
  }
  return woken;
}

void machine::join(std::uint64_t task, std::uintptr_t pc) noexcept {
  deny_device("waits for a task");
  const auto id = static_cast<process_id>(task - 1);
  me().word = task;
  point(object_op(op_kind::join, object::task, std::uint64_t{id} << granule_bits, pc));
  me().seen.join(processes[id].seen);
}

void machine::lock(std::uint64_t which, std::uintptr_t pc) noexcept {
  const op o = object_op(op_kind::lock, object::lock, which, pc);
  point(o);
  locations.at(granule_of(o.what.address), stamp).holder = self;
  if (release_record* r = release_of(o.what.address, false)) {
    me().seen.join(r->published);
  }
}

bool machine::try_lock(std::uint64_t which, std::uintptr_t pc) noexcept {
  const op o = object_op(op_kind::rmw, object::lock, which, pc);
  point(o);
  location& l = locations.at(granule_of(o.what.address), stamp);
  if (l.holder != no_process) return false;
  l.holder = self;
  changed(o.what.address, 1);
  if (release_record* r = release_of(o.what.address, false)) {
    me().seen.join(r->published);
  }
  return true;
}

void machine::unlock(std::uint64_t which, std::uintptr_t pc) noexcept {
  const op o = object_op(op_kind::unlock, object::lock, which, pc);
  point(o);
  locations.at(granule_of(o.what.address), stamp).holder = no_process;
  release_record& r = *release_of(o.what.address, true);
  r.published.clear();
  publish(r.published);
  same_value(pc, o.what.address, 0);
}

// --- store buffers (TSO) ---
//
// Each CPU has a queue of stores; a process of its own writes the oldest to memory, at any time. The CPU's own loads look into it; its
// read-modify-writes, full barriers, and whatever enters the machine wait until it is empty. Source: Sewell et al., "x86-TSO" (2010).

bool machine::drains(const op& o) const noexcept {
  switch (o.kind) {
    case op_kind::start:
    case op_kind::read:
    case op_kind::deliver:
    case op_kind::mask:
    case op_kind::relax: return false;
    case op_kind::write: return o.plain || o.is_volatile || o.order == __ATOMIC_SEQ_CST;
    default: return true;
  }
}

bool machine::buffer_store(std::uintptr_t address, std::size_t size, std::uint64_t value, int order,
                           std::uintptr_t pc) noexcept {
  process& p = me();
  if (!tso || p.cpu >= max_cpus + 8 || order == __ATOMIC_SEQ_CST || is_bookkeeping(address))
    return false;
  if (my_cpu().buffered == cpu::max_buffered) drain(pc);
  cpu& c = my_cpu();
  if (c.buffer == no_process) {
    if (cpu_count == max_all_cpus) fail(failure_kind::limit, "too many CPUs");
    const unsigned place = cpu_count++;
    reset_cpu(place);
    const process_id id = new_process(process::role::buffer, place);
    processes[id].number = p.cpu;
    std::snprintf(processes[id].name, sizeof processes[id].name, "buffer/cpu%u", p.cpu & 15u);
    cpus[p.cpu].buffer = id;
  }
  check_heap(address, size, true, pc);
  if (is_shared(p.cpu)) {
    // The other flows of this CPU see it from now on. The reduction is not exact for such CPUs.
    approximate = true;
    point({op_kind::write,
           __ATOMIC_RELAXED,
           false,
           false,
           pc,
           {view_address(p.cpu, address), static_cast<std::uint32_t>(size), true},
           {0, 0, false}});
    if (my_cpu().buffered == cpu::max_buffered) drain(pc);
  }
  save_old(address, size);
  p.wrote = true;
  check_race(address, size, true, true, false, pc);
  buffered_store& s = stores[p.cpu][(c.first_buffered + c.buffered) % cpu::max_buffered];
  s.address = address;
  s.pc = pc;
  s.value = value;
  s.size = static_cast<std::uint8_t>(size);
  s.before = p.before;
  if (order == __ATOMIC_RELEASE || order == __ATOMIC_ACQ_REL) {
    s.published.clear();
    publish(s.published);
  } else {
    s.published = p.released;
  }
  s.fenced_by = p.locally_fenced ? self : no_process;
  if (p.locally_fenced) s.fenced = p.locally_released;
  process& b = processes[c.buffer];
  if (c.buffered++ == 0) {
    b.pending = local_op(op_kind::write, pc);
    b.pending.what = {address, static_cast<std::uint32_t>(size), true};
    b.pending.order = __ATOMIC_RELAXED;
  }
  return true;
}

void machine::flush(process_id buffer) noexcept {
  process& b = processes[buffer];
  cpu& c = cpus[b.number];
  const buffered_store& s = stores[b.number][c.first_buffered];
  const process_id caller = self;
  const bool was_running = running;
  flushes_for = caller;
  running = true;
  self = buffer;
  b.before.join(s.before);
  commit();
  std::memcpy(reinterpret_cast<void*>(s.address), &s.value, s.size);
  release_record& r = *release_of(s.address, true);
  r.published = s.published;
  r.fenced_by = s.fenced_by;
  r.fenced = s.fenced;
  c.first_buffered = (c.first_buffered + 1) % cpu::max_buffered;
  if (--c.buffered != 0) {
    const buffered_store& next = stores[b.number][c.first_buffered];
    b.pending.pc = next.pc;
    b.pending.what = {next.address, next.size, true};
  }
  self = caller;
  running = was_running;
  flushes_for = no_process;
}

bool machine::forward_load(std::uintptr_t address, std::size_t size, bool acquires,
                           std::uint64_t& value) noexcept {
  if (!tso || me().cpu >= max_cpus + 8) return false;
  const cpu& c = my_cpu();
  for (unsigned i = c.buffered; i > 0; --i) {
    const buffered_store& s = stores[me().cpu][(c.first_buffered + i - 1) % cpu::max_buffered];
    if (s.address != address || s.size != size) continue;
    value = s.value;
    take_fence(s.fenced_by, s.fenced);
    (acquires ? me().seen : me().acquired).join(s.published);
    return true;
  }
  return false;
}

bool machine::find_buffered(std::uintptr_t address, std::size_t size, bool also_whole) noexcept {
  if (me().cpu >= max_cpus + 8) return false;
  const cpu& c = my_cpu();
  for (unsigned i = 0; i < c.buffered; ++i) {
    const buffered_store& s = stores[me().cpu][(c.first_buffered + i) % cpu::max_buffered];
    if (s.address >= address + size || address >= s.address + s.size) continue;
    if (also_whole || s.address != address || s.size != size) return true;
  }
  return false;
}

void machine::leaves_frame(std::uintptr_t top, std::uintptr_t pc) noexcept {
  const cpu& c = my_cpu();
  for (unsigned i = 0; i < c.buffered; ++i) {
    const std::uintptr_t address =
        stores[me().cpu][(c.first_buffered + i) % cpu::max_buffered].address;
    if (me().stack.owns(address) && address < top) return drain(pc);
  }
}

void machine::drain(std::uintptr_t pc) noexcept {
  if (tso && my_cpu().buffered != 0) point(local_op(op_kind::drain, pc));
}

// --- interrupts ---

bool machine::install(int bell, void (*entry)()) noexcept {
  if (entries[bell] != nullptr && entries[bell] != entry) return false;
  entries[bell] = entry;
  if (running && !interrupts_seen) learned = true;  // what came before it was tracked less closely
  interrupts_seen = true;
  if (!running) host_entries[bell] = entry;
  return true;
}

bool machine::ring(unsigned number, int bell, std::uintptr_t pc) noexcept {
  if (number == 0 || number > cpu_count || entries[bell] == nullptr) return false;
  const unsigned target = number - 1;
  cpu& c = cpus[target];
  point(object_op(op_kind::ring, object::interrupt, interrupt_object(target, bell), pc));
  for (unsigned level = 0; level < bell_levels; ++level) {
    process_id& id = c.level[bell][level];
    if (id != no_process) continue;
    id = new_process(process::role::interrupt, target);
    process& p = processes[id];
    p.bell = static_cast<std::uint8_t>(bell);
    p.level = static_cast<std::uint8_t>(level);
    p.pending = delivery(target, bell);
    std::snprintf(p.name, sizeof p.name, "%s%u", bell == 0 ? "irq/cpu" : "nmi/cpu", target & 15u);
  }
  c.pending[bell] = true;
  publish(c.raised[bell]);
  if (target == me().cpu && me().kind == process::role::task) {
    for (const process_id id : c.level[bell]) {
      if (!deliverable(c, processes[id])) continue;
      c.must_take = static_cast<std::uint8_t>(bell + 1);
      point(local_op(op_kind::relax, pc));
      break;
    }
  }
  return true;
}

/// What lies between masks is reached with all that can come before it. `deferring`: an interrupt that comes there would leave
/// something to be done later.
void machine::before_mask(std::uintptr_t pc, bool deferring) noexcept {
  if (me().held || !is_shared(me().cpu)) return;
  point(deferring ? masking(me().cpu, pc) : local_op(op_kind::mask, pc));
}

void machine::set_irqs_off(bool off, std::uintptr_t pc) noexcept {
  cpu& c = my_cpu();
  if (c.irqs_off == off) return;
  const bool deferring = full_granularity && interrupts_seen;  // the core's entry looks at it
  if (off || deferring) before_mask(pc, deferring);
  c.irqs_off = off;
  if (off) {
    me().seen.join(c.irq_side);
  } else {
    c.irq_side.join(me().seen);
    ++me().seen.at[self];
  }
}

void machine::hold(bool held) noexcept {
  cpu& c = my_cpu();
  me().held = held;
  if (held) {
    me().seen.join(c.irq_side);
    me().seen.join(c.nmi_side);
  } else {
    c.irq_side.join(me().seen);
    c.nmi_side.join(me().seen);
    ++me().seen.at[self];
  }
}

void machine::context_enter(std::uint32_t bits, std::uintptr_t pc) noexcept {
  process& p = me();
  cpu& c = my_cpu();
  const bool outermost = p.preempt == 0 && c.interrupts == 0 && !c.irqs_off;
  const bool bh_off = (bits & softirq_disable_bits) != 0 && (c.interrupts & softirq_bits) == 0;
  const bool unpreemptible = (bits & preempt_bits) != 0 && model == preemption::full;
  if (bits == softirq_serving_bit && !softirqs_seen) softirqs_seen = learned = true;
  if (bh_off && softirqs_seen) {
    before_mask(pc, true);
  } else if (outermost && (bh_off || unpreemptible)) {
    before_mask(pc, false);
  }
  if ((bits & preempt_bits) != 0) {
    if (p.preempt++ == 0 && p.kind == process::role::task) p.seen.join(c.preempt_side);
    return;
  }
  if ((c.interrupts & softirq_bits) == 0 && (bits & softirq_bits) != 0) {
    p.seen.join(c.softirq_side);
  }
  c.interrupts += bits;
}

void machine::context_exit(std::uint32_t bits, std::uintptr_t pc) noexcept {
  process& p = me();
  cpu& c = my_cpu();
  const bool bh_on = (bits & softirq_bits) != 0 && (c.interrupts & softirq_bits) == bits;
  if (bh_on && softirqs_seen) before_mask(pc, true);
  if ((bits & preempt_bits) != 0) {
    if (p.preempt != 0 && --p.preempt == 0 && p.kind == process::role::task) {
      c.preempt_side.join(p.seen);
      ++p.seen.at[self];
    }
    return;
  }
  c.interrupts -= bits;
  if ((c.interrupts & softirq_bits) == 0 && (bits & softirq_bits) != 0) {
    c.softirq_side.join(p.seen);
    ++p.seen.at[self];
  }
}

// --- executions ---

void machine::run(void (*function)(void*), void* argument) noexcept {
  ++stamp;
  touches.clear();
  records.clear();
  releases.clear();
  touches.grow();  // index 0 is `no_index`
  records.grow();
  releases.grow();
  process_count = task_count = user_tasks = 0;
  cpu_count = user_cpus;
  for (unsigned i = 0; i < user_cpus; ++i) reset_cpu(i);
  moved_clock = no_process;
  std::memset(clock_read_at, 0, sizeof clock_read_at);
  rules.begin_execution();
  for (unsigned i = 0; i < bells; ++i) entries[i] = host_entries[i];
  accesses = parks = 0;
  abandoned = false;
  steps = 0;
  idle_rounds = idle_watchdogs = 0;
  now = 1'000'000'000;
  last = flushes_for = no_process;
  console_size = 0;
  failed = failure_kind::none;
  failure_size = 0;
  failure_depth = watched_depth = 0;
  if (host.storage == nullptr) prepare_flow(host, flow_main);
  spawn(function, argument, "main", false);
  if (setjmp(host_jump) == 0) become(decide());
  running = false;
}

void machine::to_host() noexcept {
  if (flushes_for != no_process) {
    self = flushes_for;
    flushes_for = no_process;
    running = processes[self].alive;  // at the very beginning nobody has run yet
  }
  if (!running) std::longjmp(host_jump, 1);
  running = false;
  switch_flow(me().stack, host);
  std::abort();
}

void machine::abandon() noexcept {
  abandoned = true;
  to_host();
}

unsigned machine::capture(std::uintptr_t* into, std::uintptr_t pc) noexcept {
  const flow& f = me().stack;
  unsigned count = 0;
  if (pc != 0) into[count++] = pc;
  for (std::uint32_t i = f.depth < flow::max_calls ? f.depth : flow::max_calls; i > 0 && count < 64;
       --i) {
    into[count++] = f.calls[i - 1];
  }
  return count;
}

void machine::fail(failure_kind kind, const char* format, ...) noexcept {
  failed = kind;
  va_list arguments;
  va_start(arguments, format);
  const int size = std::vsnprintf(failure_text, sizeof failure_text, format, arguments);
  va_end(arguments);
  failure_size = size < 0 ? 0 : static_cast<std::size_t>(size);
  failure_depth = running ? unwind(failure_stack, std::size(failure_stack)) : 0;
  to_host();
}

void machine::report_deadlock() noexcept {
  char text[4096];
  std::size_t used = 0;
  bool any_spins = false;
  for (unsigned i = 0; i < process_count; ++i) {
    if (processes[i].waits == wait_kind::relaxed) any_spins = true;
  }
  for (unsigned i = 0; i < process_count && used < sizeof text - 200; ++i) {
    const process& p = processes[i];
    if (!p.alive || p.ended || (p.service && p.waits == wait_kind::parked)) continue;
    const char* what = "can not run: another flow of its CPU does not give way";
    if (p.waits == wait_kind::relaxed) what = "spins, and nobody can change what it reads";
    if (p.waits == wait_kind::parked) what = "sleeps, and nobody can wake it";
    if (p.pending.kind == op_kind::join) what = "waits for a task that does not end";
    if (p.pending.kind == op_kind::lock) what = "waits for a lock that nobody will give back";
    used += static_cast<std::size_t>(std::snprintf(text + used, sizeof text - used, "  %s %s %s\n",
                                                   p.name, standing{p}.text, what));
  }
  used += rules.describe_waits(text + used, sizeof text - used);
  fail(any_spins ? failure_kind::livelock : failure_kind::deadlock, "%s: no flow can go on\n%s",
       any_spins ? "BUG: livelock" : "BUG: deadlock", text);
}

void machine::roll_back() noexcept {
  undo.roll_back();
  image.put_back();
  arena.reset();
}

}  // namespace interlock::machine
