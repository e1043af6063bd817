// SPDX-License-Identifier: Apache-2.0

/// Exploring: execution after execution, until the search ends, one fails, or the budget is spent.

#include <signal.h>
#include <time.h>

#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <string>

#include "../include/interlock_platform/machine.h"
#include "machine.hpp"
#include "report.hpp"
#include "search.hpp"

extern "C" char __libc_single_threaded;

namespace interlock::machine {
namespace {

constexpr std::uint64_t default_steps = 20'000;
constexpr std::uint64_t restarts_max = 64;
constexpr std::uint64_t clock_every = 64;  ///< executions between looks at the clock

std::uint64_t wall_clock() noexcept {
  timespec t;
  clock_gettime(CLOCK_MONOTONIC, &t);
  return static_cast<std::uint64_t>(t.tv_sec) * 1'000'000'000u +
         static_cast<std::uint64_t>(t.tv_nsec);
}

char* copy(const std::string& text) noexcept { return strdup(text.c_str()); }

struct exploration {
  const interlock_machine_options& options;
  void (*function)(void*);
  void* argument;
  interlock_machine_result& result;
  search& strategy;
  std::uint64_t began = wall_clock();
  std::uint64_t restarts = 0;
  std::uint64_t turns = 0;  ///< each has random numbers of its own

  [[nodiscard]] bool spent() const noexcept {
    if (options.executions != 0 && result.executions >= options.executions) return true;
    if (options.nanoseconds == 0 || result.executions % clock_every != 0) return false;
    return wall_clock() - began >= options.nanoseconds;
  }

  void run_one() {
    m.run(function, argument);
    if (m.failed == failure_kind::none && m.console_size != 0) m.failed = failure_kind::report;
    ++result.executions;
    result.steps += m.steps;
  }

  /// Runs executions of one method. False: one has failed.
  bool run(method how, std::uint64_t limit) {
    strategy.begin(how, options.seed + turns++, options.pct_depth);
    std::uint64_t count = 0;
    while (true) {
      if (!strategy.prepare()) {
        result.complete = how == method::enumerate || (how == method::exhaustive && !m.approximate);
        return true;
      }
      run_one();
      if (m.failed != failure_kind::none) return false;
      if (m.abandoned) {
        ++result.blocked;
      } else if (options.state != nullptr) {
        options.state(argument, options.state_context);
      }
      strategy.execution_ended(false);
      m.roll_back();
      if (result.executions == 1 && options.state == nullptr && changed_data()) return false;
      if (m.locations.exhausted()) {
        m.failed = failure_kind::limit;
        std::snprintf(m.failure_text, sizeof m.failure_text, "the test touches too much memory");
        return false;
      }
      if (m.learned && (how == method::exhaustive || how == method::enumerate)) {
        // An execution before this one may have passed by a point that is known now.
        m.learned = false;
        if (++restarts < restarts_max) {
          strategy.restart();
          continue;
        }
      }
      if (spent() || (limit != 0 && ++count >= limit)) return true;
    }
  }

  /// Writes that nobody announced: the next execution would not begin as this one did.
  static bool changed_data() {
    const void* const where = m.image.first_difference();
    if (where == nullptr) return false;
    char name[256];
    describe(reinterpret_cast<std::uintptr_t>(where) + 1, name, sizeof name);
    m.failed = failure_kind::limit;
    std::snprintf(m.failure_text, sizeof m.failure_text,
                  "BUG: %s was changed by code that is not instrumented, and is not put back for "
                  "the next execution. Compile that "
                  "code with the options of interlock::model, or keep it out of what is explored",
                  name);
    return true;
  }

  void report_failure() {
    const failure_kind kind = m.failed;
    const std::string token = token_of_last_execution();
    result.failed = true;
    result.token = copy(token);
    m.roll_back();
    if (kind == failure_kind::divergence || kind == failure_kind::limit) {
      result.text = copy(std::string{m.failure_text} + "\n");
      return;
    }
    // Again, now that it is known what is worth remembering.
    std::string list;
    for (const process_id p : strategy.choices) list.push_back(static_cast<char>(p));
    const std::uint32_t wanted =
        kind == failure_kind::data_race ? m.race_ordinal : m.watched_ordinal;
    const std::string first_text = m.failure_text;
    strategy.replay(reinterpret_cast<const process_id*>(list.data()), list.size());
    (void)strategy.prepare();
    m.watched_ordinal = wanted;
    m.run(function, argument);
    if (m.failed == failure_kind::none && m.console_size != 0) m.failed = failure_kind::report;
    std::string text;
    if (m.failed != kind || first_text != m.failure_text) {
      text =
          "WARNING: replayed, this execution does something else: the program depends on what the "
          "machine does not control\n" +
          first_text + "\n";
    }
    text += failure_report();
    result.text = copy(text);
    m.watched_ordinal = 0;
    m.roll_back();
  }
};

/// "<cpus><preemption><granularity><points>.<choices>": a process is a letter, followed by how many steps it takes if more than one.
constexpr char letters[] = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ";

bool decode(const char* token, std::string& list, std::string& why) {
  const char* at = std::strchr(token, '.');
  if (at == nullptr) {
    why = "not a replay token: it has no '.'";
    return false;
  }
  ++at;
  while (*at != '\0') {
    unsigned p;
    if (*at == '_') {
      char* end = nullptr;
      p = static_cast<unsigned>(std::strtoul(at + 1, &end, 10));
      at = end;
      if (*at == '_') ++at;
    } else {
      const char* const letter = std::strchr(letters, *at);
      if (letter == nullptr) {
        why = std::string{"not a replay token: '"} + *at + "' is no process";
        return false;
      }
      p = static_cast<unsigned>(letter - letters);
      ++at;
    }
    unsigned long count = 1;
    if (*at >= '0' && *at <= '9') {
      char* end = nullptr;
      count = std::strtoul(at, &end, 10);
      at = end;
    }
    if (p >= max_processes || count > 1'000'000) {
      why = "not a replay token: a number is too large";
      return false;
    }
    list.append(count, static_cast<char>(p));
  }
  return true;
}

}  // namespace

std::string token_of_last_execution() {
  std::string text;
  text += static_cast<char>('0' + m.user_cpus);
  text += "nvf"[static_cast<int>(m.model)];
  text += m.full_granularity ? 'F' : 'u';
  text += m.every_access ? 'A' : 's';
  if (m.tso) text += 't';
  text += '.';
  const auto& choices = m.strategy->choices;
  for (std::size_t i = 0; i < choices.size();) {
    std::size_t end = i;
    while (end < choices.size() && choices[end] == choices[i]) ++end;
    if (choices[i] < sizeof letters - 1) {
      text += letters[choices[i]];
    } else {
      text += '_' + std::to_string(choices[i]) + '_';
    }
    if (end - i > 1) text += std::to_string(end - i);
    i = end;
  }
  return text;
}

}  // namespace interlock::machine

using namespace interlock::machine;

namespace {

void crashed(int signal) {
  if (m.running) {
    m.fail(failure_kind::memory, "BUG: %s",
           signal == SIGSEGV  ? "an access to memory that does not exist (SIGSEGV)"
           : signal == SIGBUS ? "an access that the memory refuses (SIGBUS)"
           : signal == SIGFPE ? "an arithmetic error (SIGFPE)"
                              : "an illegal instruction (SIGILL)");
  }
  ::signal(signal, SIG_DFL);
  raise(signal);
}

constexpr int crashes[] = {SIGSEGV, SIGBUS, SIGFPE, SIGILL};

/// The handlers of the program come back when it is over.
struct crash_handlers {
  crash_handlers() {
    static char stack[64 * 1024];
    stack_t own{};
    own.ss_sp = stack;
    own.ss_size = sizeof stack;
    sigaltstack(&own, &old_stack);
    struct sigaction action {};
    action.sa_handler = crashed;
    action.sa_flags = SA_ONSTACK | SA_NODEFER;
    for (int i = 0; i < 4; ++i) sigaction(crashes[i], &action, &old[i]);
  }
  ~crash_handlers() {
    for (int i = 0; i < 4; ++i) sigaction(crashes[i], &old[i], nullptr);
    sigaltstack(&old_stack, nullptr);
  }
  crash_handlers(const crash_handlers&) = delete;
  crash_handlers& operator=(const crash_handlers&) = delete;
  struct sigaction old[4];
  stack_t old_stack;
};

void refuse(interlock_machine_result& result, const char* why) {
  result.failed = true;
  result.text = strdup(why);
  result.token = strdup("");
}

}  // namespace

void interlock_machine_explore(const interlock_machine_options* options, void (*function)(void*),
                               void* argument, interlock_machine_result* result) {
  *result = {};
  if (m.running) {
    std::fprintf(stderr, "interlock: model::explore inside of model::explore\n");
    std::abort();
  }
  if (options->cpus == 0 || options->cpus > max_cpus)
    return refuse(*result, "option cpus: 1 to 8\n");
  static search strategy;
  m.strategy = &strategy;
  m.user_cpus = options->cpus;
  m.model = static_cast<preemption>(options->preemption);
  m.full_granularity = options->granularity != 0;
  m.every_access = options->points != 0;
  m.tso = options->memory != 0;
  m.max_steps = options->steps != 0 ? options->steps : default_steps;
  m.learned = m.approximate = false;
  m.watched_ordinal = 0;
  m.locations.forget_all();
  m.image.remember();
  // One OS thread runs everything, but the program has many: libstdc++ must not take its short cuts.
  const char single_threaded = __libc_single_threaded;
  __libc_single_threaded = 0;
  const crash_handlers handlers;
  exploration e{*options, function, argument, *result, strategy};
  bool passed = true;
  if (options->replay != nullptr) {
    std::string list;
    std::string why;
    if (!decode(options->replay, list, why)) {
      __libc_single_threaded = single_threaded;
      return refuse(*result, why.c_str());
    }
    strategy.replay(reinterpret_cast<const process_id*>(list.data()), list.size());
    (void)strategy.prepare();
    e.run_one();
    passed = m.failed == failure_kind::none;
    if (passed) m.roll_back();
  } else {
    switch (options->strategy) {
      case 1: passed = e.run(method::exhaustive, 0); break;
      case 2: passed = e.run(method::enumerate, 0); break;
      case 3: passed = e.run(method::random, 0); break;
      case 4: passed = e.run(method::pct, 0); break;
      case 5: passed = e.run(method::pos, 0); break;
      default: {
        // The portfolio: all of it if that ends soon, then the samplers in turn.
        constexpr std::uint64_t first = 20'000;
        constexpr std::uint64_t turn = 1'000;
        passed = e.run(method::exhaustive, first);
        constexpr method samplers[] = {method::pct, method::pos, method::random};
        for (unsigned i = 0; passed && !result->complete && !e.spent(); ++i)
          passed = e.run(samplers[i % 3], turn);
        break;
      }
    }
  }
  if (!passed) e.report_failure();
  __libc_single_threaded = single_threaded;
  result->nanoseconds = wall_clock() - e.began;
}

void interlock_machine_result_free(interlock_machine_result* result) {
  std::free(result->text);
  std::free(result->token);
  *result = {};
}
