// SPDX-License-Identifier: Apache-2.0

/// The C face of the machine, for the model platform (machine.h).

#include <unistd.h>

#include <cstdio>
#include <cstdlib>
#include <cstring>

#include "../include/interlock_platform/machine.h"
#include "interpose.hpp"
#include "machine.hpp"
#include "report.hpp"

using namespace interlock::machine;

namespace {

void need_execution(const char* what) noexcept {
  if (m.running) return;
  std::fprintf(
      stderr,
      "interlock: %s outside of model::explore: only the function that is explored may wait\n",
      what);
  std::abort();
}

/// The task that an interrupt has halted, or the idle one.
unsigned char* task_words() noexcept {
  const process& p = m.me();
  if (p.kind == process::role::task) return m.words.of_task[m.self];
  const cpu& c = m.my_cpu();
  unsigned char* const idle = m.words.of_idle_task[p.cpu];
  if (c.current == no_process) return idle;
  const process& halted = m.processes[c.current];
  const bool sleeps = halted.pending.kind == op_kind::wake || halted.pending.kind == op_kind::join;
  const bool away = halted.ended || (sleeps && halted.preempt == 0);
  return away ? idle : m.words.of_task[c.current];
}

}  // namespace

void* interlock_machine_cpu_words() {
  return m.running ? m.words.of_cpu[m.me().cpu] : m.host_cpu_words;
}
void* interlock_machine_task_words() { return m.running ? task_words() : m.host_task_words; }
void interlock_machine_share_words(uint16_t of_cpu, uint16_t of_task) {
  m.shared_cpu_words = of_cpu;
  m.shared_task_words = of_task;
}
uint32_t interlock_machine_cpu() { return m.running ? m.me().cpu + 1u : 1; }
uint32_t interlock_machine_task() {
  if (!m.running) return 1;
  const unsigned char* const words = task_words();
  const std::ptrdiff_t at = words - m.words.of_task[0];
  if (at >= 0) return m.processes[static_cast<std::size_t>(at) / words_size].number;
  return 1000u + m.me().cpu;  // idle
}
const char* interlock_machine_task_name() { return m.running ? m.me().name : "host"; }
bool interlock_machine_in_execution() { return m.running; }
unsigned interlock_machine_cpus() { return m.running ? m.user_cpus : 1; }

uint64_t interlock_machine_spawn(void (*entry)(void*), void* argument, const char* name,
                                 bool service) {
  need_execution("a task is started");
  return m.spawn(entry, argument, name, service);
}
void interlock_machine_join(uint64_t task) {
  need_execution("a task is joined");
  m.join(task, CALLER);
}
uint64_t interlock_machine_spawn_device(void (*entry)(void*), void* argument, const char* name) {
  need_execution("a device is started");
  return m.spawn_device(entry, argument, name);
}
void interlock_machine_device_wait(const uint32_t* word, uint32_t expected) {
  need_execution("a device waits");
  m.device_wait(word, expected, CALLER);
}
void interlock_machine_at_task_exit(void (*hook)(void)) { m.task_exit = hook; }

int interlock_machine_park(const uint32_t* word, uint32_t expected, int64_t until, bool when_idle) {
  if (!m.running && *word != expected) return 1;
  need_execution("a task sleeps");
  return m.park(word, expected, until, when_idle, CALLER);
}
unsigned interlock_machine_unpark(const uint32_t* word, unsigned count) {
  return m.running ? m.unpark(word, count, CALLER) : 0;
}
void interlock_machine_relax() {
  if (m.running) m.relax(CALLER);
}
void interlock_machine_yield() {
  if (m.running) m.yield(CALLER);
}
int64_t interlock_machine_now() { return m.read_clock(); }
void interlock_machine_heavy_barrier() {
  if (m.running) m.heavy_barrier(CALLER);
}

bool interlock_machine_install(int bell, void (*entry)(void)) { return m.install(bell, entry); }
bool interlock_machine_ring(uint32_t cpu, int bell) {
  if (!m.running) return false;
  return m.ring(cpu, bell, CALLER);
}
void interlock_machine_hold(bool held) {
  if (m.running) m.hold(held);
}

void interlock_machine_announce(enum interlock_machine_event event, uint64_t a, uint64_t b,
                                uint64_t c) {
  if (!m.running) return;
  if (marks_kept) keep_mark(event, a, b, CALLER);
  switch (event) {
    case interlock_machine_irqs_off: m.set_irqs_off(true, CALLER); break;
    case interlock_machine_irqs_on: m.set_irqs_off(false, CALLER); break;
    case interlock_machine_context_enter:
      m.context_enter(static_cast<std::uint32_t>(a), CALLER);
      break;
    case interlock_machine_context_exit:
      m.context_exit(static_cast<std::uint32_t>(a), CALLER);
      break;
    case interlock_machine_might_sleep: m.might_sleep(CALLER); break;
    case interlock_machine_lock_acquire: {
      constexpr std::uint64_t sleeping = 3;
      m.deny_device("takes a lock");
      m.rules.lock_acquire(a, b >> 1 == sleeping, (b & 1) != 0, CALLER);
      break;
    }
    case interlock_machine_lock_acquired: m.rules.lock_acquired(a); break;
    case interlock_machine_lock_release: m.rules.lock_release(a); break;
    case interlock_machine_rcu_enter: m.rules.reader_enters(m.self); break;
    case interlock_machine_rcu_exit: m.rules.reader_leaves(m.self); break;
    case interlock_machine_rcu_gp_begin: m.rules.grace_period_begins(); break;
    case interlock_machine_rcu_gp_end: m.rules.grace_period_ends(); break;
    case interlock_machine_rcu_wait_begin: m.rules.grace_wait_begins(oracle::waiter(m.self)); break;
    case interlock_machine_rcu_wait_end:
      m.rules.grace_wait_ends(oracle::waiter(m.self), "synchronize_rcu returns");
      break;
    case interlock_machine_rcu_queued: m.rules.callback_queued(a); break;
    case interlock_machine_rcu_invoked:
      m.rules.grace_wait_ends(a, "an RCU callback is invoked");
      break;
    case interlock_machine_signalling_begin: m.rules.signalling_begins(); break;
    case interlock_machine_signalling_end: m.rules.signalling_ends(); break;
    case interlock_machine_fence_init: m.rules.fence_made(a, b, c); break;
    case interlock_machine_fence_answered: m.rules.fence_answered(a); break;
    case interlock_machine_fence_signaled: m.rules.fence_signaled(a); break;
    case interlock_machine_fence_wait_start: m.rules.fence_waited(a, true, CALLER); break;
    case interlock_machine_fence_wait_end: m.rules.fence_waited(a, false, CALLER); break;
    default: break;
  }
}

void interlock_machine_lock_init(const void* lock, const void* key, const void* unit,
                                 const char* file, int line, const char* part) {
  if (m.running)
    m.rules.lock_made(reinterpret_cast<std::uintptr_t>(lock), {key, unit, file, line, part});
}
void interlock_machine_lock_class(const void* lock, const void* key, const char* name) {
  if (m.running)
    m.rules.lock_belongs_to(reinterpret_cast<std::uintptr_t>(lock),
                            {key, nullptr, nullptr, 0, name});
}

void interlock_machine_put_back(void* memory, size_t size) { m.image.add(memory, size); }

void interlock_machine_fail(const char* text) {
  if (m.running) m.fail(failure_kind::assertion, "%s", text);
  std::fprintf(stderr, "%s\n", text);
  std::abort();
}

void interlock_machine_console(const char* text, size_t size) {
  if (!m.running) {
    (void)!write(STDERR_FILENO, text, size);
    return;
  }
  const std::size_t room = sizeof m.console - 1 - m.console_size;
  if (size > room) size = room;
  std::memcpy(m.console + m.console_size, text, size);
  m.console_size += size;
  m.console[m.console_size] = '\0';
}

size_t interlock_machine_stack(void** frames, size_t capacity) {
  if (!m.running) return 0;
  const flow& f = m.me().stack;
  std::size_t count = 0;
  std::uint32_t depth = f.depth < flow::max_calls ? f.depth : flow::max_calls;
  while (depth > 0 && count < capacity) frames[count++] = reinterpret_cast<void*>(f.calls[--depth]);
  return count;
}
void interlock_machine_describe(const void* address, char* buffer, size_t size) {
  // The library that reads symbols allocates and locks: its own memory, not the program's.
  const bool running = m.running;
  m.running = false;
  describe(reinterpret_cast<std::uintptr_t>(address), buffer, size);
  m.running = running;
}
