// SPDX-License-Identifier: Apache-2.0
#include "explorations.hpp"

#include <fcntl.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <chrono>
#include <cstdlib>
#include <cstring>
#include <fstream>
#include <iterator>
#include <memory>
#include <string_view>

#include "exploration_trace.hpp"
#include "json_line.hpp"
#include "shared_page.hpp"
#include "test_process.hpp"
#include "units.hpp"

namespace interlock::cli {

namespace {

using steady = std::chrono::steady_clock;
using std::chrono::milliseconds;

/// A test that has run so long is helped by processes that have nothing else to do.
constexpr milliseconds help_after{1000};
/// And one that searches exhaustively is given them, to divide the search among them, if it has run so long.
constexpr milliseconds divide_after{100};
constexpr milliseconds frame_time{200};
/// A search may begin, and then be divided, or end, and have no use for processes any more, at any time.
constexpr milliseconds look_time{200};

// --- what one process is told, and what it leaves ---

/// A page that processes share; null memory if it could not be made.
class shared_file {
 public:
  explicit shared_file(const std::string& path) {
    const int file = ::open(path.c_str(), O_RDWR | O_CREAT | O_CLOEXEC, 0600);
    if (file < 0) return;
    if (::ftruncate(file, shared_page_size) == 0) {
      void* const memory =
          ::mmap(nullptr, shared_page_size, PROT_READ | PROT_WRITE, MAP_SHARED, file, 0);
      if (memory != MAP_FAILED) memory_ = memory;
    }
    ::close(file);
  }
  ~shared_file() {
    if (memory_ != nullptr) ::munmap(memory_, shared_page_size);
  }
  shared_file(const shared_file&) = delete;
  shared_file& operator=(const shared_file&) = delete;
  [[nodiscard]] bool good() const noexcept { return memory_ != nullptr; }
  shared_exploration& operator[](std::size_t i) const noexcept {
    return static_cast<shared_exploration*>(memory_)[i];
  }

 private:
  void* memory_ = nullptr;
};

bool read_exploration(const std::string& line, exploration_result& result) {
  result = {};
  json_line fields;
  if (!read_json_line(line, fields)) return false;
  result.name = value_of(fields, "name");
  result.passed = value_of(fields, "passed") == "true";
  result.complete = value_of(fields, "complete") == "true";
  result.executions = std::strtoull(value_of(fields, "executions").c_str(), nullptr, 10);
  result.seconds = std::strtod(value_of(fields, "seconds").c_str(), nullptr);
  result.failure = value_of(fields, "failure");
  result.token = value_of(fields, "token");
  return !result.name.empty();
}

/// False: a line of it is damaged. A process that was killed may leave one.
bool read_log(const std::string& path, std::vector<exploration_result>& results) {
  std::ifstream lines{path};
  std::string line;
  while (std::getline(lines, line)) {
    exploration_result result;
    if (!read_exploration(line, result)) return false;
    results.push_back(std::move(result));
  }
  return true;
}

std::string contents(const std::string& path) {
  std::ifstream file{path, std::ios::binary};
  return {std::istreambuf_iterator<char>{file}, {}};
}

// --- the tests of a GoogleTest program ---

/// What --gtest_list_tests has said: "suite." on a line, its tests indented below. A comment may follow.
std::vector<std::string> read_tests(const std::string& path) {
  std::vector<std::string> tests;
  std::ifstream lines{path};
  std::string line;
  std::string suite;
  while (std::getline(lines, line)) {
    const bool indented = line.compare(0, 2, "  ") == 0;
    std::string word = line.substr(indented ? 2 : 0);
    word = word.substr(0, word.find("  #"));
    if (word.empty() || word.find(' ') != std::string::npos) {
      if (!indented) suite.clear();
    } else if (!indented) {
      suite = word.back() == '.' ? word : "";
    } else if (!suite.empty()) {
      tests.push_back(suite + word);
    }
  }
  return tests;
}

// --- sharing the tests out ---

/// A test, or all of the binary, and the processes that are at it: process 0, and those that help it.
struct unit {
  std::string test;  ///< empty: all
  std::string path;  ///< what its files begin with
  std::unique_ptr<shared_file> page;
  enum class phase { waits, runs, ends, done } at = phase::waits;
  int status = 0;  ///< of process 0
  struct process {
    std::size_t id;
    bool runs = true;
    int status = 0;
    bool killed = false;  ///< by us
  };
  std::vector<process> processes;
  steady::time_point help_at;
  steady::time_point divide_at;
  milliseconds help_again = help_after;
  std::vector<exploration_result> results;
  std::vector<bad_end> bad;
  unsigned told_by = 0;  ///< the process that has seen the first failure

  [[nodiscard]] std::string file(unsigned number, const char* kind) const {
    return path + '.' + std::to_string(number) + '.' + kind;
  }
  [[nodiscard]] std::size_t running() const {
    return static_cast<std::size_t>(
        std::count_if(processes.begin(), processes.end(), [](const process& p) { return p.runs; }));
  }
};

class scheduler {
 public:
  scheduler(const exploration_run& run, termination& signals, exploration_outcome& outcome)
      : run_{run}, signals_{signals}, outcome_{outcome}, processes_{signals, scratch_} {}

  maybe_failure go() {
    if (scratch_.path().empty()) {
      return fail("cannot make a temporary folder: {}", describe_error(static_cast<error>(errno)));
    }
    if (shares_) {
      if (maybe_failure wrong = list_tests()) return wrong;
    }
    if (units_.empty()) add_unit("");
    while (next_shown_ < units_.size()) {
      if (signals_.caught() != 0) return interrupted();
      if (maybe_failure wrong = start_some()) return wrong;
      draw();
      test_processes::end ended{};
      if (processes_.wait(time_to_wait(), ended)) {
        handle(ended);
      }
      show_finished();
    }
    erase();
    if (signals_.caught() != 0) return interrupted();
    return collect();
  }

 private:
  failure interrupted() {
    erase();
    return failure{"interrupted", exit_status::signal_base + signals_.caught()};
  }

  void add_unit(const std::string& test) {
    unit& u = units_.emplace_back();
    u.test = test;
    u.path = scratch_.path() + '/' + std::to_string(units_.size());
  }

  [[nodiscard]] std::vector<std::string> words(const std::string& filter, bool lists) const {
    std::vector<std::string> all{run_.binary};
    all.insert(all.end(), run_.arguments.begin(), run_.arguments.end());
    if (!filter.empty()) all.push_back("--gtest_filter=" + filter);
    if (lists) all.emplace_back("--gtest_list_tests");
    return all;
  }

  [[nodiscard]] std::vector<std::string> environment(const std::string& explore) const {
    std::vector<std::string> all;
    constexpr std::string_view ours = "INTERLOCK_EXPLORE";
    constexpr std::string_view progress = "INTERLOCK_EXPLORE_PROGRESS=";
    for (char** at = environ; *at != nullptr; ++at) {
      // Of these only the progress line is left to the caller, unless it is for us to draw.
      const std::string_view word{*at};
      const bool is_progress = word.substr(0, progress.size()) == progress;
      if (word.substr(0, ours.size()) != ours || (is_progress && !shares_)) all.emplace_back(word);
    }
    if (shares_) all.push_back(std::string{progress} + '0');
    all.push_back("INTERLOCK_EXPLORE=" + explore);
    return all;
  }

  /// A binary that is not of GoogleTest has none, and is run as a whole.
  maybe_failure list_tests() {
    const std::string log = scratch_.path() + "/list.log";
    test_command command{words(run_.filter, true), environment(""), scratch_.path() + "/list.out",
                         true};
    command.environment.emplace_back("INTERLOCK_EXPLORE_LIST=1");
    command.environment.push_back("INTERLOCK_EXPLORE_LOG=" + log);
    if (const int code = processes_.start(command, 0); code != 0) return cannot_run(code);
    test_processes::end ended{};
    (void)processes_.wait(milliseconds::max(), ended);
    if (signals_.caught() != 0) return interrupted();
    const bool explores = !contents(log).empty();
    if (explores || !WIFEXITED(ended.status) || WEXITSTATUS(ended.status) != 0) return {};
    for (const std::string& test : read_tests(command.output)) add_unit(test);
    return {};
  }

  failure cannot_run(int code) const {
    if (code == ECANCELED) return {"interrupted", exit_status::signal_base + signals_.caught()};
    return {fmt::format("cannot run {}: {}", run_.binary, describe_error(static_cast<error>(code))),
            exit_status::usage};
  }

  // --- starting ---

  int start(std::size_t index, unsigned number) {
    unit& u = units_[index];
    std::string explore = run_.explore;
    if (!u.test.empty()) explore += (explore.empty() ? "test=" : ",test=") + u.test;
    test_command command{words(u.test.empty() ? run_.filter : u.test, false), environment(explore),
                         "", false};
    command.environment.push_back("INTERLOCK_EXPLORE_LOG=" + u.file(number, "log"));
    if (!run_.html.empty())
      command.environment.push_back("INTERLOCK_EXPLORE_HTML=" + u.file(number, "html"));
    if (!run_.trace.empty())
      command.environment.push_back("INTERLOCK_EXPLORE_STEPS=" + u.file(number, "steps"));
    if (shares_) {
      if (u.page == nullptr) u.page = std::make_unique<shared_file>(u.path + ".share");
      if (!u.page->good()) return errno != 0 ? errno : EIO;
      command.environment.push_back(
          fmt::format("INTERLOCK_EXPLORE_SHARE={}:{}.share", number, u.path));
    }
    // Alone it may write where we do; of several each has its turn.
    if (!run_.output) {
      command.output = "/dev/null";
    } else if (shares_) {
      command.output = u.file(number, "out");
    }
    const int code = processes_.start(command, ids_.size());
    if (code != 0) return code;
    u.processes.push_back({ids_.size()});
    ids_.push_back({index, number});
    u.at = unit::phase::runs;
    if (number == 0) {
      u.help_at = steady::now() + u.help_again;
      u.divide_at = steady::now() + divide_after;
    }
    return 0;
  }

  maybe_failure start_some() {
    while (in_use() < most_) {
      std::size_t index = next_started_;
      unsigned number = 0;
      if (index == units_.size()) {
        index = wants_help();
        if (index == units_.size()) return {};
        if (shared_exploration* const search = divided(units_[index])) {
          search->granted.fetch_add(1);
          continue;
        }
        number = static_cast<unsigned>(units_[index].processes.size());
      }
      const int code = start(index, number);
      if (code != 0 && processes_.count() != 0 && code != ECANCELED) {
        most_ = processes_.count();  // the system gives no more
        return {};
      }
      if (code != 0) return cannot_run(code);
      if (number == 0) ++next_started_;
    }
    return {};
  }

  /// Null, or the exhaustive search that the test is at: processes that are granted to it, it starts itself.
  static shared_exploration* divided(const unit& u) {
    if (u.at != unit::phase::runs || u.page == nullptr) return nullptr;
    shared_exploration* const here = present(u);
    return here != nullptr && here->divides.load() != 0 ? here : nullptr;
  }

  [[nodiscard]] static std::size_t granted(const unit& u) {
    const shared_exploration* const search = divided(u);
    return search != nullptr ? search->granted.load() : 0;
  }

  /// Processes, with those that have been granted.
  [[nodiscard]] std::size_t in_use() const {
    std::size_t count = processes_.count();
    for (const unit& u : units_) count += granted(u);
    return count;
  }

  /// The test that has run long enough and has the fewest processes; the number of units if there is none.
  std::size_t wants_help() const {
    std::size_t found = units_.size();
    const steady::time_point now = steady::now();
    for (std::size_t i = 0; i < units_.size(); ++i) {
      const unit& u = units_[i];
      const auto count = [](const unit& some) { return some.running() + granted(some); };
      if (u.at != unit::phase::runs) continue;
      if (u.help_at > now && (u.divide_at > now || divided(u) == nullptr)) continue;
      if (found == units_.size() || count(u) < count(units_[found])) found = i;
    }
    return found;
  }

  [[nodiscard]] milliseconds time_to_wait() const {
    milliseconds time = milliseconds::max();
    if (draws_) time = frame_time;
    if (processes_.count() >= most_ || next_started_ < units_.size()) return time;
    const steady::time_point now = steady::now();
    for (const unit& u : units_) {
      if (u.at != unit::phase::runs) continue;
      for (const steady::time_point at : {u.help_at, u.divide_at}) {
        const auto left = std::chrono::ceil<milliseconds>(at - now);
        if (left.count() > 0) time = std::min(time, left);
      }
      time = std::min(time, look_time);
    }
    return time;
  }

  // --- ends ---

  void handle(const test_processes::end& ended) {
    const auto [index, number] = ids_[ended.id];
    unit& u = units_[index];
    unit::process& p = u.processes[number];
    p.runs = false;
    p.status = ended.status;
    if (number == 0) {
      u.at = unit::phase::ends;
      u.status = ended.status;
      // Those that help are of no more use, unless they have seen a failure, and tell it.
      for (unsigned k = 1; k < u.processes.size(); ++k) {
        if (!u.processes[k].runs || tells(u, k)) continue;
        u.processes[k].killed = true;
        processes_.kill(u.processes[k].id);
      }
    } else if (u.at == unit::phase::runs) {
      // It found nothing to do, as yet; nor will those that were started with it.
      const steady::time_point now = steady::now();
      if (u.help_at <= now) {
        u.help_again *= 2;
        u.help_at = now + u.help_again;
      }
    }
    if (u.at == unit::phase::ends && u.running() == 0) finish(u);
  }

  static bool tells(const unit& u, unsigned process) {
    for (std::size_t i = 0; i < shared_explorations; ++i) {
      if ((*u.page)[i].ended.load() == 2 + process) return true;
    }
    return false;
  }

  void finish(unit& u) {
    u.at = unit::phase::done;
    const bool whole = read_log(u.file(0, "log"), u.results);
    if (!whole) damaged_ = true;
    for (std::size_t i = 0; u.page != nullptr && i < u.results.size() && i < shared_explorations;
         ++i)
      u.results[i].executions = std::max(u.results[i].executions, (*u.page)[i].executions.load());
    bool failed = false;
    for (const exploration_result& r : u.results) failed = failed || !r.passed;
    for (unsigned k = 1; k < u.processes.size(); ++k) {
      std::vector<exploration_result> some;
      (void)read_log(u.file(k, "log"), some);
      bool told = false;
      for (exploration_result& r : some) {
        if (r.passed) continue;
        told = true;
        if (!failed) u.told_by = k;
        failed = true;
        const auto same = std::find_if(u.results.begin(), u.results.end(),
                                       [&r](const auto& other) { return other.name == r.name; });
        if (same == u.results.end()) {
          u.results.push_back(std::move(r));
        } else if (same->passed) {
          r.executions = same->executions;
          r.seconds = same->seconds;
          *same = std::move(r);
        }
      }
      const int status = u.processes[k].status;
      const bool died = WIFSIGNALED(status) && !u.processes[k].killed;
      if (died || (tells(u, k) && !told)) u.bad.push_back(end_of(u, status));
    }
    const bool exit_is_explained = failed && WIFEXITED(u.status);
    if (u.status != 0 && !exit_is_explained) u.bad.push_back(end_of(u, u.status));
    for (exploration_result& r : u.results) {
      r.test = u.test;
      finished_executions_ += r.executions;
    }
    u.page.reset();
  }

  static bad_end end_of(const unit& u, int status) {
    return {u.test, WIFEXITED(status) ? WEXITSTATUS(status) : 0,
            WIFSIGNALED(status) ? WTERMSIG(status) : 0};
  }

  // --- what is shown ---

  /// What the binary has written, test by test.
  void show_finished() {
    while (next_shown_ < units_.size() && units_[next_shown_].at == unit::phase::done) {
      const unit& u = units_[next_shown_++];
      if (!run_.output || !shares_) continue;
      erase();
      std::string text = contents(u.file(0, "out"));
      if (u.told_by != 0) text += contents(u.file(u.told_by, "out"));
      std::fwrite(text.data(), 1, text.size(), stdout);
      std::fflush(stdout);
    }
  }

  static bool may_draw() {
    const char* const asked = std::getenv("INTERLOCK_EXPLORE_PROGRESS");
    const std::string_view wish{asked != nullptr ? asked : ""};
    return wish == "1" || (wish != "0" && ::isatty(STDERR_FILENO) == 1);
  }

  /// The exploration that a test is at; null: none, or all have ended.
  static shared_exploration* present(const unit& u) {
    shared_exploration* found = nullptr;
    for (std::size_t i = 0; i < shared_explorations && (*u.page)[i].began.load() != 0; ++i)
      found = &(*u.page)[i];
    return found;
  }

  void draw() {
    const steady::time_point now = steady::now();
    if (!draws_ || now - drawn_at_ < frame_time) return;
    drawn_at_ = now;
    std::uint64_t executions = finished_executions_;
    std::uint64_t depth = 0;
    std::size_t done = 0;
    std::string names;
    for (const unit& u : units_) {
      if (u.at == unit::phase::done) ++done;
      if (u.page == nullptr) continue;
      for (std::size_t i = 0; i < shared_explorations; ++i)
        executions += (*u.page)[i].executions.load();
      names += (names.empty() ? "" : ", ") + (u.test.empty() ? run_.binary : u.test);
      const shared_exploration* const here = present(u);
      if (here == nullptr) continue;
      depth = std::max(depth, here->depth.load());
      const double searched = static_cast<double>(here->searched.load()) / 1e6;
      if (searched > 0) names += fmt::format(" (about {:.2g} % of the search)", 100 * searched);
    }
    const double seconds = std::chrono::duration<double>(now - began_).count();
    std::string line = fmt::format(
        "{} of {}: {} executions, {}/s, depth {}: {}", done, units_.size(),
        format_count(executions),
        format_count(static_cast<std::uint64_t>(static_cast<double>(executions) / seconds)), depth,
        names);
    ::winsize size{};
    const bool known = ::ioctl(STDERR_FILENO, TIOCGWINSZ, &size) == 0 && size.ws_col > 1;
    const std::size_t width = known ? size.ws_col - 1u : 79;
    if (line.size() > width) line.resize(width);
    fmt::print(stderr, "\r{}\x1b[K", line);
    std::fflush(stderr);
    drawn_ = true;
  }

  void erase() {
    if (drawn_) fmt::print(stderr, "\r\x1b[K");
    drawn_ = false;
  }

  // --- what came out ---

  maybe_failure collect() {
    const unit* first = nullptr;  // with a failure
    for (unit& u : units_) {
      for (const exploration_result& r : u.results) {
        if (!r.passed && first == nullptr) first = &u;
      }
      outcome_.bad_ends.insert(outcome_.bad_ends.end(), u.bad.begin(), u.bad.end());
    }
    // Whatever goes wrong with the files, what has been run is told.
    for (unit& u : units_)
      std::move(u.results.begin(), u.results.end(), std::back_inserter(outcome_.results));
    if (damaged_) return fail("the log of {} is damaged: is the disk full?", run_.binary);
    if (first != nullptr) return deliver(*first);
    return {};
  }

  maybe_failure deliver(const unit& u) {
    if (!run_.html.empty()) {
      const std::string page = contents(u.file(u.told_by, "html"));
      if (page.empty()) return {};  // what failed has no steps: the text says why
      std::ofstream file{run_.html, std::ios::binary};
      file << page;
      file.close();
      if (!file)
        return fail("cannot write '{}': {}", run_.html, describe_error(static_cast<error>(errno)));
      outcome_.written = true;
    }
    if (!run_.trace.empty()) {
      const std::string steps = u.file(u.told_by, "steps");
      if (::access(steps.c_str(), R_OK) != 0) return {};
      if (maybe_failure wrong = write_exploration_trace(steps, run_.trace)) return wrong;
      outcome_.written = true;
    }
    return {};
  }

  struct process_id {
    std::size_t unit;
    unsigned number;
  };

  const exploration_run& run_;
  termination& signals_;
  exploration_outcome& outcome_;
  const bool shares_ = run_.processes > 1;
  std::size_t most_ = run_.processes;
  scratch_folder scratch_;
  std::vector<unit> units_;
  std::vector<process_id> ids_;
  std::size_t next_started_ = 0;
  std::size_t next_shown_ = 0;
  bool damaged_ = false;
  std::uint64_t finished_executions_ = 0;
  const steady::time_point began_ = steady::now();
  const bool draws_ = shares_ && may_draw();
  steady::time_point drawn_at_ = began_;
  bool drawn_ = false;
  test_processes processes_;  // the first to go
};

/// As one word of a shell.
std::string quoted(const std::string& word) {
  std::string text = "'";
  for (const char c : word) text += c == '\'' ? std::string{"'\\''"} : std::string{c};
  return text + '\'';
}
std::string quoted_if_needed(const std::string& word) {
  constexpr const char* plain =
      "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_./-+=:,@%";
  return !word.empty() && word.find_first_not_of(plain) == std::string::npos ? word : quoted(word);
}

}  // namespace

maybe_failure run_explorations(const exploration_run& run, termination& signals,
                               exploration_outcome& outcome) {
  return scheduler{run, signals, outcome}.go();
}

std::string test_of(const std::string& exploration) {
  return exploration.substr(0, exploration.find('#'));
}

std::string describe_end(const bad_end& end) {
  if (end.signal == 0) return fmt::format("exit status {}", end.exit_status);
  return fmt::format("ended by signal {} ({})", end.signal, ::strsignal(end.signal));
}

std::string replay_command(const exploration_run& run, const exploration_result& result) {
  std::string text = fmt::format("interlock replay {} {} --only {}", quoted_if_needed(run.binary),
                                 result.token, quoted(result.name));
  // An exploration with a name of its own does not tell its test.
  if (!result.test.empty() && test_of(result.name) != result.test)
    text += " --filter " + quoted(result.test);
  if (!run.arguments.empty()) text += " --";
  for (const std::string& word : run.arguments) text += ' ' + quoted_if_needed(word);
  return text;
}

}  // namespace interlock::cli
