// SPDX-License-Identifier: Apache-2.0

/// Exploring: execution after execution, until the search ends, one fails, or the budget is spent.

#include <dlfcn.h>
#include <signal.h>
#include <time.h>
#include <unistd.h>

#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "../include/interlock_platform/machine.h"
#include "division.hpp"
#include "machine.hpp"
#include "report.hpp"
#include "search.hpp"
#include "settings.hpp"

extern "C" char __libc_single_threaded;

namespace interlock::machine {
namespace {

constexpr std::uint64_t default_steps = 20'000;
constexpr std::uint64_t restarts_max = 64;
constexpr std::uint64_t progress_every = 16;
// Facts; the others are granules.
constexpr std::uint64_t interrupts_are_used = UINT64_MAX;
constexpr std::uint64_t softirqs_are_used = UINT64_MAX - 1;
constexpr unsigned shorter_tries = 200;
constexpr std::uint64_t shorter_time = 2'000'000'000;

std::uint64_t wall_clock() noexcept {
  timespec t;
  clock_gettime(CLOCK_MONOTONIC, &t);
  return static_cast<std::uint64_t>(t.tv_sec) * 1'000'000'000u +
         static_cast<std::uint64_t>(t.tv_nsec);
}

std::string_view first_line_of(std::string_view text) { return text.substr(0, text.find('\n')); }

std::string program_path() {
  char path[4096];
  const ssize_t size = readlink("/proc/self/exe", path, sizeof path);
  return size > 0 ? std::string{path, static_cast<std::size_t>(size)} : "PROGRAM";
}

char* copy(const std::string& text) noexcept { return strdup(text.c_str()); }

struct exploration {
  const interlock_machine_options& options;
  void (*function)(void*);
  void* argument;
  interlock_machine_result& result;
  search& strategy;
  progress_line& progress;
  const share& shared;
  std::uint64_t began = begin_time(*shared.of);
  std::uint64_t restarts = 0;
  std::uint64_t turns = 0;  ///< each has random numbers of its own
  std::uint64_t told = 0;   ///< executions that the others know of
  std::uint64_t sampled_for =
      0;  ///< the samplers' part of the budget, once they have begun; 0: no limit
  bool sampling = false;
  division divided{};
  std::uint64_t shown_at = 0;  ///< the estimate of a divided search
  double searched = 0;
  std::size_t known_granules = 0;  ///< of `shared_granules`, by all processes
  std::size_t known_spins = 0;     ///< that another process tries
  bool of_an_execution = true;     ///< that failed

  /// Its time is that of the first process that got here.
  static std::uint64_t begin_time(shared_exploration& of) noexcept {
    std::uint64_t began = 0;
    const std::uint64_t now = wall_clock();
    return of.began.compare_exchange_strong(began, now) ? now : began;
  }

  /// The budget, or one of `parts` of its time. The others may be at it as well: their samples count.
  [[nodiscard]] bool spent(unsigned parts = 1) const noexcept {
    const std::uint64_t mine = result.executions - told;
    if (shared.of->ended.load(std::memory_order_relaxed) != 0) return true;
    if (!sampling && options.executions != 0 && result.executions >= options.executions)
      return true;
    if (sampling && sampled_for != 0 &&
        shared.of->sampled.load(std::memory_order_relaxed) + mine >= sampled_for)
      return true;
    return options.nanoseconds != 0 && wall_clock() - began >= options.nanoseconds / parts;
  }

  /// The samplers may run as many executions, they and those of other processes together.
  void begin_sampling(std::uint64_t limit) {
    tell_others();
    sampled_for = limit;
    sampling = true;
  }

  [[nodiscard]] interlock_machine_result result_of_all() const noexcept {
    interlock_machine_result all = result;
    if (!divided.is_on()) return all;
    const division::counts others = divided.of_others();
    all.executions += others.executions;
    all.blocked += others.blocked;
    all.steps += others.steps;
    return all;
  }

  void estimate() {
    if (!divided.is_on()) {
      searched = strategy.searched();
      return;
    }
    constexpr std::uint64_t period = 200'000'000;
    divided.tell_searched(strategy.searched());
    if (divided.self() != 0 || wall_clock() - shown_at < period) return;
    shown_at = wall_clock();
    searched = strategy.searched_by_all();
  }

  void tell_others() {
    const std::uint64_t all = result_of_all().executions;
    const std::uint64_t fresh = all - told;
    told = all;
    shared.of->executions.fetch_add(fresh, std::memory_order_relaxed);
    if (sampling) shared.of->sampled.fetch_add(fresh, std::memory_order_relaxed);
    if (shared.process != 0) return;
    shared.of->depth.store(strategy.choices.size(), std::memory_order_relaxed);
    shared.of->searched.store(static_cast<std::uint64_t>(searched * 1e6),
                              std::memory_order_relaxed);
  }

  void tell_progress() {
    estimate();
    if (divided.self() != 0) return;
    tell_others();
    progress.show(result_of_all(), strategy.choices.size(), searched, wall_clock());
  }

  void run_function() {
    m.run(function, argument);
    if (m.failed == failure_kind::none && m.console_size != 0) m.failed = failure_kind::report;
    if (m.failed != failure_kind::none) name_addresses();
  }

  void run_one() {
    run_function();
    ++result.executions;
    result.steps += m.steps;
    if (result.executions % progress_every == 0) tell_progress();
  }

  /// `turn` executions of each in turn, until the budget is spent. Each process begins with another. False: one has failed.
  bool run_in_turn(std::span<const method> samplers, std::uint64_t turn) {
    for (std::size_t i = shared.process; !spent(); ++i) {
      if (!run(samplers[i % samplers.size()], turn)) return false;
    }
    return true;
  }

  /// Runs executions of one method. False: one has failed.
  bool run(method how, std::uint64_t limit, unsigned parts = 1) {
    constexpr unsigned far = 32;  // from what another process draws
    const std::uint64_t seed = options.seed + (std::uint64_t{shared.process} << far) + turns++;
    strategy.begin(how, seed, options.pct_depth);
    m.notes_spins = how == method::exhaustive || how == method::enumerate;
    m.spins.clear();
    m.spin_choices.clear();
    const bool can_end = how == method::exhaustive || how == method::enumerate;
    const bool can_divide = can_end && shared.process == 0;
    if (can_divide) shared.of->divides.store(1);
    std::uint64_t count = 0;
    division::stop why;
    do {
      why = run_until_it_stops(how, limit, parts, count);
      if (divided.is_on()) why = end_division(why, count);
      if (why == division::stop::learned) {
        m.learned = false;
        strategy.restart();
      }
    } while (why == division::stop::learned);
    if (can_divide) shared.of->divides.store(0);
    if (why == division::stop::all_is_done) {
      const bool exact = how == method::enumerate || (how == method::exhaustive && !m.approximate);
      result.complete = exact && !some_spin_gives_up();
    }
    return why != division::stop::failed && why != division::stop::died;
  }

  division::stop run_until_it_stops(method how, std::uint64_t limit, unsigned parts,
                                    std::uint64_t& count) {
    using enum division::stop;
    const bool can_end = how == method::exhaustive || how == method::enumerate;
    while (true) {
      while (!strategy.prepare()) {
        if (!divided.is_on()) return all_is_done;
        if (!next_job()) return divided.stopped();
      }
      if (divided.is_on() && !divided.take_execution()) return budget_is_spent;
      run_one();
      if (divided.is_on()) divided.tell({result.executions, result.blocked, result.steps});
      if (m.failed != failure_kind::none) return failed;
      if (m.abandoned) {
        ++result.blocked;
      } else if (options.state != nullptr) {
        options.state(argument, options.state_context);
      }
      strategy.execution_ended(false);
      m.roll_back();
      if (result.executions == 1 && options.state == nullptr && divided.self() == 0 &&
          changed_data())
        return failed;
      if (m.locations.exhausted()) {
        m.failed = failure_kind::limit;
        std::snprintf(m.failure_text, sizeof m.failure_text, "the test touches too much memory");
        return failed;
      }
      if (m.learned && can_end) {
        // An execution before this one may have passed by a point that is known now.
        if (++restarts < restarts_max) return learned;
        m.learned = false;
        m.approximate = true;  // those before it were not run anew
      }
      if (spent(parts) || (limit != 0 && ++count >= limit)) return budget_is_spent;
      if (divided.is_on()) {
        if (divided.stopped() != goes_on) return divided.stopped();
        strategy.offer_jobs();
      }
      const bool looks = result.executions == 1 || result.executions % progress_every == 0;
      if (can_end && looks && divided.self() == 0) look_for_processes(how, limit, count);
    }
  }

  // --- a divided search ---

  /// Starts those that are wanted and do not run yet.
  void look_for_processes(method how, std::uint64_t limit, std::uint64_t count) {
    if (divided.is_on()) divided.look_after_others();
    const std::uint64_t granted = shared.of->granted.load(std::memory_order_relaxed);
    const std::uint64_t wanted = std::min<std::uint64_t>(
        std::max<std::uint64_t>(options.processes, 1 + granted), division::max_processes_of_one);
    if (wanted <= (divided.is_on() ? divided.processes() : 1u)) return;
    if (!divided.is_on()) {
      std::uint64_t room = options.executions != 0 ? options.executions - result.executions : 0;
      if (limit != 0 && (room == 0 || limit - count < room)) room = limit - count;
      if (!divided.begin(room, how == method::exhaustive && m.whole_primitives)) return;
      strategy.divide(&divided);
      known_granules = m.shared_granules.size();
    }
    while (divided.processes() < wanted) {
      const int number = divided.start_process();
      if (number < 0) return;  // the system gives no more
      if (number == 0) continue;
      result = {};
      known_spins = m.spins.size();
      strategy.begin_without_job();
      return;
    }
  }

  /// False: there is none any more.
  bool next_job() {
    strategy.end_job();
    while (true) {
      division::job found{};
      switch (divided.take(found)) {
        case division::next::job: strategy.begin_job(found); return true;
        case division::next::none: return false;
        case division::next::none_yet: break;
      }
      if (divided.self() == 0) {
        divided.look_after_others();
        tell_progress();
      }
      divided.wait();
    }
  }

  /// Of all processes only the first returns. `count`: executions.
  division::stop end_division(division::stop why, std::uint64_t& count) {
    using enum division::stop;
    if (m.approximate) divided.not_exact();
    if (why == failed && m.failed != failure_kind::none) {
      const std::string line{m.failed == failure_kind::limit || m.failed == failure_kind::divergence
                                 ? std::string_view{m.failure_text}
                                 : first_line()};
      (void)divided.tell_failure(m.failed, line.c_str(), strategy.to_be_replayed().data(),
                                 strategy.to_be_replayed().size());
    } else if (why == learned) {
      for (std::size_t i = known_granules; i < m.shared_granules.size(); ++i)
        divided.tell_fact(m.shared_granules[i]);
      if (m.interrupts_seen) divided.tell_fact(interrupts_are_used);
      if (m.softirqs_seen) divided.tell_fact(softirqs_are_used);
      divided.stop_all(learned);
    } else {
      divided.stop_all(why);
    }
    if (divided.self() != 0) {
      if (divided.stopped() == all_is_done && some_spin_gives_up(known_spins)) divided.not_exact();
      divided.tell({result.executions, result.blocked, result.steps});
      divided.leave();
    }
    (void)divided.wait_for_others();
    const interlock_machine_result all = result_of_all();
    count += all.executions - result.executions;
    result.executions = all.executions;
    result.blocked = all.blocked;
    result.steps = all.steps;
    if (!divided.is_exact()) m.approximate = true;
    if (why != failed || m.failed == failure_kind::none) {
      const bool own = m.learned;
      why = divided.stopped();
      if (why == failed) take_over_failure();
      if (why == died) tell_of_the_dead();
      if (why == learned) learn_facts();
      if (why == learned && !own) ++restarts;
    }
    strategy.divide(nullptr);
    divided.forget();
    return why;
  }

  void learn_facts() {
    std::size_t count = 0;
    const std::uint64_t* const facts = divided.facts(count);
    if (facts == nullptr) return;  // those that were told too late are learned again
    for (std::size_t i = 0; i < count; ++i) {
      if (facts[i] == interrupts_are_used) {
        m.interrupts_seen = true;
      } else if (facts[i] == softirqs_are_used) {
        m.softirqs_seen = true;
      } else {
        m.learn_shared(facts[i]);
      }
    }
  }

  /// What another process has seen is run here as well.
  void take_over_failure() {
    const division::failure f = divided.told_failure();
    const choice_list list{f.choices, f.choices + f.count};
    run_again(list);
    const bool is_here = m.failed != failure_kind::none;
    if (is_here && f.kind != failure_kind::limit && f.kind != failure_kind::divergence) return;
    // The token is that of what was run last.
    m.failed = is_here || f.kind == failure_kind::limit ? f.kind : failure_kind::divergence;
    const char* const told_there =
        m.failed == f.kind
            ? ""
            : "BUG: executions diverge: the same choices failed in another process, and do not "
              "fail "
              "here. The program depends on what the machine does not control. There: ";
    std::snprintf(m.failure_text, sizeof m.failure_text, "%s%s", told_there, f.text);
  }

  void tell_of_the_dead() {
    of_an_execution = false;
    m.failed = failure_kind::limit;
    const int number = divided.signal_of_the_dead();
    char how[64];
    std::snprintf(how, sizeof how, number != 0 ? "was ended by signal %d" : "has ended", number);
    std::snprintf(
        m.failure_text, sizeof m.failure_text,
        "BUG: one of the %u processes that divide the search %s%s%s%s: what it had still to run "
        "was not "
        "run. Was memory short? With fewer processes (-j, option `processes`) it takes less",
        divided.processes(), how, number != 0 ? " (" : "", number != 0 ? strsignal(number) : "",
        number != 0 ? ")" : "");
  }

  /// Some loop that was taken to wait until what it reads changes would have ended without.
  bool some_spin_gives_up(std::size_t from = 0) {
    m.notes_spins = false;
    bool found = false;
    for (std::size_t i = from; i < m.spins.size() && !found; ++i) {
      const spin& s = m.spins[i];
      m.tried_pc = s.pc;
      m.spin_trial = machine::trial::leads_there;
      strategy.replay(&m.spin_choices[s.begin], s.size);
      (void)strategy.prepare();
      m.run(function, argument);
      found = m.spin_trial != machine::trial::spins || m.failed != failure_kind::none;
      m.spin_trial = machine::trial::none;
      m.failed = failure_kind::none;
      m.roll_back();
    }
    return found;
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

  // --- a failure ---

  using choice_list = std::vector<process_id>;

  /// Runs these choices; behind their end the lowest process that can go on is chosen. The caller rolls back.
  void run_again(const choice_list& list) {
    strategy.replay(list.data(), list.size());
    (void)strategy.prepare();
    run_function();
  }
  [[nodiscard]] choice_list last_choices() const {
    const auto& list = strategy.to_be_replayed();
    return {list.data(), list.data() + list.size()};
  }
  static std::string_view first_line() { return first_line_of(headline()); }
  static std::size_t switches(const choice_list& list) {
    std::size_t count = 0;
    for (std::size_t i = 1; i < list.size(); ++i) count += list[i] != list[i - 1] ? 1u : 0u;
    return count;
  }

  /// Fewer switches, then fewer steps, for the same first line: a switch at a time is put off or taken back, as long as that helps.
  choice_list shorten(choice_list best) {
    const failure_kind kind = m.failed;
    const std::string line{first_line()};
    const std::uint64_t until = wall_clock() + shorter_time;
    unsigned tries = 0;
    const auto better = [&](const choice_list& candidate) {
      if (++tries > shorter_tries || wall_clock() > until) return false;
      run_again(candidate);
      const bool same = m.failed == kind && first_line() == line;
      choice_list done = last_choices();
      m.roll_back();
      if (!same) return false;
      const std::size_t now = switches(done);
      const std::size_t before = switches(best);
      if (now > before || (now == before && done.size() >= best.size())) return false;
      best = std::move(done);
      return true;
    };
    for (std::size_t part = 0; part < 8; ++part) {
      if (better(
              {best.begin(), best.begin() + static_cast<std::ptrdiff_t>(best.size() * part / 8)}))
        break;
    }
    for (bool again = true; again && tries < shorter_tries;) {
      again = false;
      // [a, b) by one process, [b, c) by others, [c, d) by the first again: its two parts are brought together.
      for (std::size_t b = best.size(); b > 1 && !again && tries < shorter_tries; --b) {
        if (b >= best.size() || best[b] == best[b - 1]) continue;
        const process_id p = best[b - 1];
        std::size_t c = b;
        while (c < best.size() && best[c] != p) ++c;
        if (c == best.size()) continue;
        std::size_t d = c;
        while (d < best.size() && best[d] == p) ++d;
        std::size_t a = b;
        while (a > 0 && best[a - 1] == p) --a;
        choice_list sooner = best;
        std::rotate(sooner.begin() + static_cast<std::ptrdiff_t>(b),
                    sooner.begin() + static_cast<std::ptrdiff_t>(c),
                    sooner.begin() + static_cast<std::ptrdiff_t>(d));
        choice_list later = best;
        std::rotate(later.begin() + static_cast<std::ptrdiff_t>(a),
                    later.begin() + static_cast<std::ptrdiff_t>(b),
                    later.begin() + static_cast<std::ptrdiff_t>(c));
        again = better(sooner) || better(later);
      }
    }
    return best;
  }

  void report_failure(const std::string& name, const std::string& note) {
    progress.erase();
    const failure_kind kind = m.failed;
    std::string token = token_of_last_execution();
    result.failed = true;
    if (kind == failure_kind::divergence || kind == failure_kind::limit) {
      result.token = copy(of_an_execution ? token : "");
      result.text = copy(std::string{m.failure_text} + '\n' + note);
      m.roll_back();
      return;
    }
    choice_list list = last_choices();
    const std::string first_text{headline()};
    std::uint32_t watched = m.watched_ordinal;
    std::uint32_t race = m.race_ordinal;
    m.roll_back();
    if (options.replay == nullptr) {
      m.failed = kind;
      list = shorten(std::move(list));
      m.watched_ordinal = 0;
      run_again(list);  // for its token, and the numbers of its accesses
      token = token_of_last_execution();
      watched = m.watched_ordinal;
      race = m.race_ordinal;
      m.roll_back();
    }
    result.token = copy(token);
    // Again, now that it is known what is worth remembering.
    m.watched_ordinal = kind == failure_kind::data_race ? race : watched;
    marks_of_executions(true);
    run_again(list);
    marks_of_executions(false);
    std::string text;
    if (m.failed != kind || first_line_of(first_text) != first_line()) {
      text = first_text +
             "\nWARNING: replayed, this execution does something else: the program depends on what "
             "the "
             "machine does not control\n";
    }
    text += failure_report();
    if (!note.empty()) text += '\n' + note;
    result.command =
        copy("interlock replay " + program_path() + ' ' + token + " --only '" + name + "'");
    result.text = copy(text);
    write_page(name, token, text);
    write_steps(name, token, text);
    m.watched_ordinal = 0;
    m.roll_back();
  }
};

/// "<cpus><preemption><granularity><points><memory>.<choices>": a process is a letter, followed by how many steps it takes if more than one.
constexpr char letters[] = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ";

constexpr char preemption_letters[] = "nvf";
constexpr char granularity_letters[] = "lFu";

/// The options come from the token; `note` names those that it changes.
bool decode(const char* token, interlock_machine_options& options, std::string& list,
            std::string& note, std::string& why) {
  const char* const model = std::strlen(token) > 5 && token[5] == '.'
                                ? std::strchr(preemption_letters, token[1])
                                : nullptr;
  if (model == nullptr || token[0] < '1' || token[0] > '8' ||
      std::strchr(granularity_letters, token[2]) == nullptr ||
      (token[3] != 'A' && token[3] != 's') || (token[4] != 't' && token[4] != 'c')) {
    why =
        "not a replay token: it does not begin with CPUs, preemption, granularity, points, memory "
        "and "
        "a '.'";
    return false;
  }
  const auto take = [&note](const char* what, unsigned& option, unsigned value, std::string told) {
    if (option == value) return;
    option = value;
    note += std::string{"note: of another "} + what + " than the options say: the token's, " +
            std::move(told) + ", is used\n";
  };
  const auto cpus = static_cast<unsigned>(token[0] - '0');
  const auto preempt = static_cast<unsigned>(model - preemption_letters);
  take("number of CPUs", options.cpus, cpus, std::to_string(cpus));
  take("preemption", options.preemption, preempt, preemption_names[preempt]);
  const auto granularity =
      static_cast<unsigned>(std::strchr(granularity_letters, token[2]) - granularity_letters);
  take("granularity", options.granularity, granularity, granularity_names[granularity]);
  take("choice of points", options.points, token[3] == 'A' ? 1u : 0u,
       token[3] == 'A' ? "every access" : "synchronisation");
  take("memory model", options.memory, token[4] == 't' ? 1u : 0u, token[4] == 't' ? "TSO" : "SC");
  const char* at = token + 6;
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
  text += preemption_letters[static_cast<int>(m.model)];
  text += m.whole_primitives ? 'u' : m.full_granularity ? 'F' : 'l';
  text += m.every_access ? 'A' : 's';
  text += m.tso ? 't' : 'c';
  text += '.';
  const auto& choices = m.strategy->to_be_replayed();
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

void crashed(int signal, siginfo_t* info, void* /*context*/) {
  if (m.running) {
    // It was not written, and can not be put back.
    const auto address = reinterpret_cast<std::uintptr_t>(info->si_addr);
    if (signal == SIGSEGV || signal == SIGBUS)
      m.undo.forget(granule_of(address) << granule_bits, 1u << granule_bits);
    m.fail(failure_kind::memory, "BUG: %s",
           signal == SIGSEGV  ? "an access to memory that does not exist (SIGSEGV)"
           : signal == SIGBUS ? "an access that the memory refuses (SIGBUS)"
           : signal == SIGFPE ? "an arithmetic error (SIGFPE)"
                              : "an illegal instruction (SIGILL)");
  }
  ::signal(signal, SIG_DFL);
  raise(signal);
}

/// What a token holds beside the options.
struct choice_tokens {
  std::string list;
  std::string note;
};

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
    action.sa_sigaction = crashed;
    action.sa_flags = SA_ONSTACK | SA_NODEFER | SA_SIGINFO;
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

namespace {

/// The first process is at it. Before that its time has not begun.
bool wants_help(const share& shared) noexcept {
  return shared.of != nullptr && shared.of->began.load() != 0 && shared.of->ended.load() == 0;
}

/// Runs all of it. Pre: the options are good.
void explore(const interlock_machine_options& options, const choice_tokens& replayed,
             const std::string& name, const share& shared, void (*function)(void*), void* argument,
             interlock_machine_result& result) {
  static search strategy;
  m.strategy = &strategy;
  strategy.forget();
  m.user_cpus = options.cpus;
  m.model = static_cast<preemption>(options.preemption);
  m.full_granularity = options.granularity == 1;
  m.whole_primitives = options.granularity == 2;
  m.every_access = options.points != 0;
  m.tso = options.memory != 0;
  m.max_steps = options.steps != 0 ? options.steps : default_steps;
  m.far = static_cast<std::int64_t>(options.far);
  m.learned = m.approximate = false;
  m.interrupts_seen = m.host_entries[0] != nullptr || m.host_entries[1] != nullptr;
  m.softirqs_seen = false;
  m.watched_ordinal = 0;
  m.locations.forget_all();
  m.shared_granules.clear();
  [[maybe_unused]] static const bool once = (m.image.add(&environ, sizeof environ), true);
  m.image.remember();
  // One OS thread runs everything, but the program has many: libstdc++ must not take its short cuts.
  const char single_threaded = __libc_single_threaded;
  __libc_single_threaded = 0;
  find_thread_storage();
  const crash_handlers handlers;
  progress_line progress{name};
  exploration e{options, function, argument, result, strategy, progress, shared};
  const bool helps = shared.process != 0;
  bool passed = true;
  if (options.replay != nullptr) {
    // It had a limit of its own.
    m.max_steps = std::max<std::uint64_t>(m.max_steps, replayed.list.size() + default_steps);
    strategy.replay(reinterpret_cast<const process_id*>(replayed.list.data()),
                    replayed.list.size());
    (void)strategy.prepare();
    e.run_one();
    passed = m.failed == failure_kind::none;
    if (passed) m.roll_back();
    if (passed) std::fputs(replayed.note.c_str(), stderr);
  } else {
    const auto sample = [&](method how) {
      e.begin_sampling(options.executions);
      if (!helps || !e.spent()) passed = e.run(how, 0);
    };
    switch (static_cast<strategy_option>(options.strategy)) {
      case strategy_option::exhaustive:
        if (!helps) passed = e.run(method::exhaustive, 0);
        break;
      case strategy_option::enumerate:
        if (!helps) passed = e.run(method::enumerate, 0);
        break;
      case strategy_option::random: sample(method::random); break;
      case strategy_option::pct: sample(method::pct); break;
      case strategy_option::pos: sample(method::pos); break;
      case strategy_option::urw: sample(method::urw); break;
      case strategy_option::samplers: {
        // What one of them seldom meets another may meet at once.
        constexpr method samplers[] = {method::pct, method::pct, method::pos, method::pct,
                                       method::urw, method::pct, method::pct, method::random};
        constexpr std::uint64_t turns = 12;
        const std::uint64_t turn = options.executions != 0 ? options.executions / turns + 1 : 1'000;
        e.begin_sampling(options.executions);
        passed = e.run_in_turn(samplers, turn);
        break;
      }
      case strategy_option::portfolio:
      default: {
        // The portfolio: all of it if that ends soon, then the samplers in turn.
        constexpr std::uint64_t most = 20'000;
        constexpr unsigned parts = 2;  // of the budget: one is the samplers'
        const std::uint64_t half = options.executions / parts;
        const std::uint64_t first = half != 0 && half < most ? half : most;
        constexpr std::uint64_t turn = 1'000;
        if (!helps) passed = e.run(method::exhaustive, first, parts);
        if (!passed || result.complete) break;
        if (options.executions != 0 && options.executions <= first) break;
        e.begin_sampling(options.executions != 0 ? options.executions - first : 0);
        constexpr method samplers[] = {method::pct, method::pos, method::urw, method::random};
        passed = e.run_in_turn(samplers, turn);
        break;
      }
    }
  }
  progress.erase();
  e.tell_others();
  // Of several processes that see it fail one tells. Those that help do not end it for the others otherwise.
  std::uint64_t ended = 0;
  if (!passed) {
    if (shared.of->ended.compare_exchange_strong(ended, 2 + shared.process)) {
      e.report_failure(name, replayed.note);
    } else {
      m.roll_back();
    }
  } else if (!helps) {
    (void)shared.of->ended.compare_exchange_strong(ended, 1);
  }
  __libc_single_threaded = single_threaded;
  result.nanoseconds = wall_clock() - e.began;
}

}  // namespace

void interlock_machine_explore(const interlock_machine_options* asked, void (*function)(void*),
                               void* argument, interlock_machine_result* result) {
  *result = {};
  if (m.running) {
    std::fprintf(stderr, "interlock: model::explore inside of model::explore\n");
    std::abort();
  }
  host_stack_begins(reinterpret_cast<std::uintptr_t>(__builtin_frame_address(0)));
  static unsigned explorations = 0;
  interlock_machine_options options = *asked;
  const std::string name = name_of_exploration(options);
  end_if_only_listed(name);
  const share shared = share_of(explorations++);
  std::string token;
  bool skip = false;
  const std::string wrong = apply_environment(options, name, token, skip);
  choice_tokens replayed;
  std::string why;
  // Its interceptors would take what the machine has to see.
  static const bool sanitized = dlsym(RTLD_DEFAULT, "__sanitizer_set_report_path") != nullptr;
  if (sanitized) {
    refuse(*result,
           "the runtime of a sanitizer is linked in: the compile options of interlock::model "
           "(-fsanitize=thread) are for compiling alone, so compile and link in two steps\n");
  } else if (!wrong.empty()) {
    refuse(*result, (wrong + '\n').c_str());
  } else if (skip || (shared.process != 0 && !wants_help(shared))) {
    return;
  } else if (options.cpus == 0 || options.cpus > max_cpus) {
    refuse(*result, "option cpus: 1 to 8\n");
  } else if (options.processes > division::max_processes_of_one) {
    refuse(*result, "option processes: 1 to 64\n");
  } else if (options.replay != nullptr &&
             !decode(options.replay, options, replayed.list, replayed.note, why)) {
    refuse(*result, (why + '\n').c_str());
  } else {
    explore(options, replayed, name, shared, function, argument, *result);
  }
  write_log(name, *result);
}

void interlock_machine_result_free(interlock_machine_result* result) {
  std::free(result->text);
  std::free(result->token);
  std::free(result->command);
  *result = {};
}
