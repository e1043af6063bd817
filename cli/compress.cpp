// SPDX-License-Identifier: Apache-2.0
#include "compress.hpp"

#include <sys/resource.h>

#include <cstdio>
#include <memory>

#include "compare.hpp"
#include "perfetto_trace.hpp"
#include "pipeline.hpp"
#include "progress.hpp"
#include "provider_choice.hpp"
#include "table.hpp"
#include "units.hpp"
#include "verify.hpp"

namespace interlock::cli {

namespace {

std::size_t peak_memory() noexcept {
  struct rusage usage {};
  ::getrusage(RUSAGE_SELF, &usage);
  return static_cast<std::size_t>(usage.ru_maxrss) * 1024;
}

/// The runs of one command; more than one with `--link all`.
class session {
 public:
  session(const compress_options& options, termination& signals)
      : options_{options}, signals_{signals} {}

  [[nodiscard]] maybe_failure run();
  /// The output has its name; what came later was cut short.
  [[nodiscard]] bool has_output() const noexcept { return !columns_.empty(); }

 private:
  [[nodiscard]] maybe_failure prepare();
  [[nodiscard]] maybe_failure run_once(link_style link, bool arm_all, const std::string& title);
  [[nodiscard]] maybe_failure check_fault() const;
  void report() const;
  [[nodiscard]] std::string display_title(const std::string& run) const;

  const compress_options& options_;
  termination& signals_;
  input_file input_;
  chunk_plan plan_{};
  file_provider files_;
  run_record record_;
  std::vector<table_column> columns_;
};

maybe_failure session::prepare() {
  if (auto problem = input_.open(options_.input)) return problem;
  if (input_.is_same_file(options_.output)) {
    return fail("'{}' is both input and output", options_.output);
  }
  if (auto problem = choose_file_provider(options_.provider, files_)) return problem;
  if (!files_.note.empty() && !options_.quiet) fmt::print(stderr, "interlock: {}\n", files_.note);

  const auto framing = options_.frames ? zstd_framing::frames : zstd_framing::sections;
  std::optional<std::size_t> chunk;
  if (options_.chunk_size != 0) chunk = options_.chunk_size;
  plan_ = make_chunk_plan(options_.level, framing, chunk, input_.size());
  return check_fault();
}

/// A fault that never comes would pass for a machine that survives it.
maybe_failure session::check_fault() const {
  if (!options_.parsed_fault || !input_.size()) return {};
  const std::uint64_t chunks = (*input_.size() + plan_.chunk - 1) / plan_.chunk;
  if (options_.parsed_fault->chunk < chunks) return {};
  return failure{fmt::format("--inject {}: there are chunks 0 to {}", options_.inject, chunks - 1),
                 exit_status::usage};
}

maybe_failure session::run_once(link_style link, bool arm_all, const std::string& title) {
  output_file output;
  // With several runs each replaces the one before it.
  const bool replace = options_.force || !columns_.empty();
  if (auto problem = output.open(options_.output, replace, input_.mode())) return problem;

  pipeline_options wanted;
  wanted.level = options_.level;
  wanted.plan = plan_;
  wanted.devices = options_.devices;
  wanted.depth = options_.queue_depth;
  wanted.link = link;
  wanted.arm_all = arm_all;
  wanted.files = files_.chosen;
  wanted.inject = options_.parsed_fault;
  wanted.watchdog = watchdog_of(options_, plan_.chunk);
  record_.tracks.clear();
  if (!options_.trace.empty()) wanted.record = &record_;

  termination::action at_signal{signals_, [&output] { output.discard(); }};
  pipeline work{input_, output, wanted};
  if (auto problem = work.open()) return problem;
  {
    at_signal.set_cancel([&work] { work.cancel(); });
    std::optional<progress_display> display;
    if (!options_.quiet) display.emplace(work.progress(), display_title(title), input_.size());
    auto problem = work.run();
    at_signal.set_cancel(nullptr);
    if (problem) return problem;
  }
  if (signals_.caught() != 0) return fail("interrupted");
  if (auto problem = output.commit()) return problem;
  columns_.push_back({title, work.counts()});
  return {};
}

maybe_failure session::run() {
  if (auto problem = prepare()) return problem;
  if (options_.compare) return compare_with_zstd(options_, input_, signals_);
  for (const link_style link : options_.links) {
    if (auto problem = run_once(link, options_.arm_all, name_of(link))) return problem;
  }
  // What it saves to leave fences alone is measured, not assumed.
  if (options_.links.size() > 1 && !options_.arm_all) {
    if (auto problem = run_once(link_style::memory, true, "memory, all armed")) return problem;
  }
  if (!options_.trace.empty()) {
    if (auto problem = write_perfetto_trace(record_, options_.trace)) return problem;
  }
  if (!options_.quiet) report();
  if (options_.verify) {
    if (auto problem = verify_output(options_.input, options_.output)) return problem;
    if (!options_.quiet) fmt::print("verified: decompressed, it is the input\n");
  }
  return {};
}

std::string session::display_title(const std::string& run) const {
  const std::string file = input_.name().substr(input_.name().rfind('/') + 1);
  return options_.links.size() > 1 ? file + ", " + run : file;
}

void session::report() const {
  const run_counts& last = columns_.back().counts;
  std::string text;
  if (const auto now = input_.size_now(); now && *now > *input_.size()) {
    text +=
        fmt::format("interlock: '{}' has grown meanwhile: the output holds its first {} bytes\n",
                    input_.name(), *input_.size());
  }
  const double share =
      last.bytes_in == 0 ? 0 : 100.0 * double(last.bytes_out) / double(last.bytes_in);
  text += fmt::format("{} -> {}\n", input_.name(),
                      options_.output == "-" ? "standard output" : options_.output);
  text += fmt::format("  {} -> {} bytes ({:.2f} %), level {}\n", format_count(last.bytes_in),
                      format_count(last.bytes_out), share, options_.level);
  text +=
      fmt::format("  {} chunk{} of {}, {} device{}, depth {}, files by {}{}\n\n", last.chunks,
                  last.chunks == 1 ? "" : "s", format_bytes(double(plan_.chunk)), options_.devices,
                  options_.devices == 1 ? "" : "s", options_.queue_depth, files_.chosen->name,
                  columns_.size() > 1 ? "" : fmt::format(", links by {}", columns_.front().title));
  text += format_table(columns_, peak_memory());
  if (!options_.trace.empty()) text += fmt::format("\ntrace: {}\n", options_.trace);
  // Standard output may be the stream itself.
  fmt::print(options_.output == "-" ? stderr : stdout, "{}", text);
}

}  // namespace

int compress(compress_options options, termination& signals) {
  auto problem = complete(options);
  bool has_output = false;
  if (!problem) {
    session work{options, signals};
    problem = work.run();
    has_output = work.has_output();
  }
  if (const int number = signals.caught(); number != 0) {
    fmt::print(stderr, "interlock: ended by signal {}: '{}' was {}\n", number, options.output,
               has_output ? "written before" : "not written");
    return exit_status::signal_base + number;
  }
  if (!problem) return exit_status::success;
  fmt::print(stderr, "interlock: {}\n", problem->message);
  return problem->status;
}

}  // namespace interlock::cli
