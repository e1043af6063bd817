// SPDX-License-Identifier: Apache-2.0
#include "machine_facts.hpp"

#include <fcntl.h>
#include <fmt/core.h>
#include <linux/membarrier.h>
#include <sched.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/rseq.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#include <cerrno>

#include "failure.hpp"
#include "interlock/interrupt.hpp"
#include "interlock/options.hpp"
#include "owned_fd.hpp"
#include "provider_choice.hpp"

namespace interlock::cli {

namespace {

using state = machine_fact::state;

std::string last_error_text() { return describe_error(static_cast<error>(errno)); }

std::string clock_detail() {
  constexpr int reads = 2000;
  const deadline begin = monotonic_clock::now();
  for (int i = 0; i < reads; ++i) (void)monotonic_clock::now();
  const auto cost = (monotonic_clock::now() - begin).count() / (reads + 1);
  ::timespec step{};
  ::clock_getres(CLOCK_MONOTONIC, &step);
  return fmt::format("CLOCK_MONOTONIC in steps of {} ns; a read takes {} ns", step.tv_nsec, cost);
}

machine_fact membarrier_fact() {
  machine_fact fact{
      "kernel", "membarrier", state::missing, {}, "readers of RCU pay a full barrier each"};
  if (option_integer("membarrier", 1) == 0) {
    fact.detail = "switched off by INTERLOCK_OPTIONS=membarrier=0";
    return fact;
  }
  const long commands = ::syscall(SYS_membarrier, MEMBARRIER_CMD_QUERY, 0, 0);
  if (commands < 0) {
    fact.detail = last_error_text();
    return fact;
  }
  struct command {
    long bit;
    const char* name;
  };
  constexpr command known[] = {
      {MEMBARRIER_CMD_GLOBAL, "global"},
      {MEMBARRIER_CMD_GLOBAL_EXPEDITED, "global-expedited"},
      {MEMBARRIER_CMD_PRIVATE_EXPEDITED, "private-expedited (used)"},
      {MEMBARRIER_CMD_PRIVATE_EXPEDITED_SYNC_CORE, "private-expedited-sync-core"},
      {MEMBARRIER_CMD_PRIVATE_EXPEDITED_RSEQ, "private-expedited-rseq"},
  };
  for (const command& c : known) {
    if ((commands & c.bit) != 0)
      fact.detail += fmt::format("{}{}", fact.detail.empty() ? "" : " ", c.name);
  }
  if ((commands & MEMBARRIER_CMD_PRIVATE_EXPEDITED) != 0) {
    fact.is = state::present;
    fact.instead.clear();
  } else {
    fact.detail = "without private-expedited (Linux 4.14): " + fact.detail;
  }
  return fact;
}

machine_fact rseq_fact() {
  if (__rseq_size != 0) {
    return {"kernel",
            "rseq",
            state::present,
            fmt::format("registered by the C library, {} bytes in each thread", __rseq_size),
            {}};
  }
  return {"kernel", "rseq", state::missing,
          "the C library has not registered it (kernel, or GLIBC_TUNABLES)",
          "sched_getcpu where a processor number is wanted"};
}

/// A thread in a short critical section may ask not to be preempted just now.
machine_fact slice_extension_fact() {
  constexpr int slice_extension = 79;  // PR_RSEQ_SLICE_EXTENSION, newer than our headers may be
  constexpr unsigned long get = 1;
  machine_fact fact{
      "kernel", "rseq time slice", state::missing, {}, "locks spin a bounded time, then sleep"};
  if (::prctl(slice_extension, get, 0, 0, 0) >= 0) {
    fact.is = state::present;
    fact.detail = "a holder of a lock may ask for a longer time slice";
    fact.instead.clear();
  } else if (errno == EINVAL) {
    fact.detail = "this kernel has no slice extension";
  } else {
    fact.detail = last_error_text();
  }
  return fact;
}

machine_fact seal_fact() {
  machine_fact fact{
      "kernel", "sealed memory files", state::missing, {}, "none: shared seqnos are not possible"};
  const owned_fd file{::memfd_create("interlock-probe", MFD_CLOEXEC | MFD_ALLOW_SEALING)};
  if (!file || ::ftruncate(file.get(), 4096) != 0 ||
      ::fcntl(file.get(), F_ADD_SEALS, F_SEAL_SHRINK | F_SEAL_GROW) != 0) {
    fact.detail = last_error_text();
    return fact;
  }
  fact.is = state::present;
  fact.detail = "seqnos can be shared with processes that are not trusted";
  fact.instead.clear();
  return fact;
}

std::string handled_signals() {
  std::string list;
  for (int number = SIGRTMIN; number <= SIGRTMAX; ++number) {
    struct sigaction now {};
    if (::sigaction(number, nullptr, &now) != 0 || (now.sa_flags & SA_SIGINFO) == 0) continue;
    list += fmt::format("{}{}", list.empty() ? "" : ", ", number);
  }
  return list;
}

/// Which signals the library takes is seen once it has taken them, for a line that interrupts us.
machine_fact signal_fact() {
  irq_line_options options;
  options.name = "probe";
  options.kind = irq_kind::asynchronous;
  const auto line = make_irq_line(options);
  if (!line) {
    return {"kernel", "signals", state::missing, describe_error(line.error()),
            "threaded interrupts only"};
  }
  const auto action = request_irq(**line, [] { return irqreturn::handled; });
  const std::string taken = handled_signals();
  return {
      "kernel",
      "signals",
      action ? state::present : state::missing,
      fmt::format(
          "{} taken for asynchronous interrupts, of {} to {}; options irq_signal and nmi_signal",
          taken.empty() ? "none" : taken, SIGRTMIN, SIGRTMAX),
      {}};
}

}  // namespace

void add_processor_facts(std::vector<machine_fact>& facts) {
  cpu_set_t allowed;
  CPU_ZERO(&allowed);
  (void)::sched_getaffinity(0, sizeof allowed, &allowed);
  facts.push_back({"processor",
                   "CPUs",
                   state::note,
                   fmt::format("{} may be used, {} are there", CPU_COUNT(&allowed),
                               ::sysconf(_SC_NPROCESSORS_CONF)),
                   {}});
  facts.push_back({"processor", "clock", state::note, clock_detail(), {}});
}

void add_kernel_facts(std::vector<machine_fact>& facts) {
  add_io_uring_facts(facts);
  facts.push_back(membarrier_fact());
  facts.push_back(rseq_fact());
  facts.push_back(slice_extension_fact());
  facts.push_back(seal_fact());
  facts.push_back(signal_fact());
}

void add_provider_facts(std::vector<machine_fact>& facts) {
  for (const provider* const each : built_in_providers()) {
    const provider_probe probe = probe_provider(*each);
    facts.push_back({"providers", each->name, probe.available ? state::present : state::missing,
                     fmt::format("{}{}{}", each->description, probe.detail[0] != '\0' ? ": " : "",
                                 probe.detail),
                     probe.available ? "" : "provider pread"});
  }
  bool uring_built = false;
  for (const provider* const each : built_in_providers())
    uring_built |= std::string{each->name} == "uring";
  if (!uring_built) {
    facts.push_back({"providers", "uring", state::missing, "this tool was built without liburing",
                     "provider pread"});
  }
}

}  // namespace interlock::cli
