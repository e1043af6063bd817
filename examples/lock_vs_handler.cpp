// SPDX-License-Identifier: Apache-2.0

/// The classic deadlock of a lock and an interrupt handler, shown in a child process that is
/// reported and ends, and what is right instead. See lock_vs_handler.md.

#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cstdio>
#include <cstring>

#include "interlock/interrupt.hpp"
#include "interlock/spinlock.hpp"

namespace {

using namespace interlock;

struct counted {
  spinlock lock;
  std::uint32_t value = 0;
};

/// A line of this thread whose handler counts under `data.lock`.
struct counter_device {
  explicit counter_device(counted& data)
      : line{make_irq_line({.name = "counter", .kind = irq_kind::asynchronous}).value()},
        action{request_irq(*line, [&data] {
                 const guard g{no_mask, data.lock};
                 ++data.value;
                 return irqreturn::handled;
               }).value()} {}
  ref_ptr<irq_line> line;
  irq_action action;
};

/// Wrong: the handler halts the task that holds the lock, and would wait for it for ever.
void wrong() {
  counted data;
  const counter_device device{data};
  const guard g{no_mask, data.lock};
  raise_irq(*device.line);
}

/// Right: the handler waits until the lock is free.
std::uint32_t right() {
  counted data;
  const counter_device device{data};
  {
    const guard g{irqsave, data.lock};
    raise_irq(*device.line);
    ++data.value;
  }
  const guard g{irqsave, data.lock};
  return data.value;
}

/// Not a lock: masking holds off this CPU's handlers, and nobody else.
bool other_cpus_go_on() {
  atomic<std::uint32_t> touched{0};
  const result<ref_ptr<irq_line>> line = make_irq_line({.name = "elsewhere"});
  if (!line) return false;
  const result<irq_action> action = request_irq(**line, [&] {
    touched.store_release(1);  // on the service CPU
    return irqreturn::handled;
  });
  if (!action) return false;
  const guard g{irqsave};
  raise_irq(**line);
  while (touched.load_acquire() == 0) platform::cpu_relax();  // although interrupts are off here
  return true;
}

/// Runs `wrong` in a child; what it said is written to `text`, how it ended is returned.
int watch_it_fail(char* text, std::size_t size) {
  int ends[2];
  if (pipe(ends) != 0) return -1;
  const pid_t child = fork();
  if (child == 0) {
    const struct rlimit no_core {};
    (void)setrlimit(RLIMIT_CORE, &no_core);
    dup2(ends[1], STDERR_FILENO);
    wrong();
    _exit(0);  // never reached
  }
  close(ends[1]);
  std::size_t count = 0;
  ssize_t n;
  while (count < size - 1 && (n = read(ends[0], text + count, size - 1 - count)) > 0) {
    count += static_cast<std::size_t>(n);
  }
  text[count] = '\0';
  close(ends[0]);
  int status = 0;
  waitpid(child, &status, 0);
  return WIFSIGNALED(status) ? WTERMSIG(status) : 0;
}

}  // namespace

int main() {
  static char text[16384];
  const int signal = watch_it_fail(text, sizeof text);
  const bool reported = std::strncmp(text, "BUG: spinlock recursion", 23) == 0;
  if (char* const line_end = std::strchr(text, '\n')) *line_end = '\0';
  std::printf("a lock without irqsave: %s\n", text);
  std::printf("  (the child was ended by signal %d)\n", signal);
  const std::uint32_t value = right();
  std::printf("the lock with irqsave: task and handler have both counted, %u\n", value);
  const bool others = other_cpus_go_on();
  std::printf("interrupts off here: another CPU %s\n",
              others ? "runs its handlers all the same" : "stands still");
  return reported && signal != 0 && value == 2 && others ? 0 : 1;
}
