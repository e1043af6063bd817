// SPDX-License-Identifier: Apache-2.0
#include "compare.hpp"

#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstdio>
#include <cstdlib>

#include "child_process.hpp"
#include "units.hpp"

namespace interlock::cli {

namespace {

/// A folder for the outputs, removed with them.
class scratch_folder {
 public:
  scratch_folder() = default;
  scratch_folder(const scratch_folder&) = delete;
  scratch_folder& operator=(const scratch_folder&) = delete;
  ~scratch_folder() { remove(); }

  [[nodiscard]] maybe_failure open() {
    const char* const parent = std::getenv("TMPDIR");
    path_ =
        std::string{parent != nullptr && *parent != '\0' ? parent : "/tmp"} + "/interlock-XXXXXX";
    if (::mkdtemp(path_.data()) != nullptr) return {};
    const int code = errno;
    path_.clear();
    return fail("cannot make a folder for the outputs: {}",
                describe_error(static_cast<error>(code)));
  }
  [[nodiscard]] std::string file(const char* name) const { return path_ + '/' + name; }
  void remove() const noexcept {
    if (path_.empty()) return;
    for (const char* const name : {"/ours.zst", "/theirs.zst"}) ::unlink((path_ + name).c_str());
    ::rmdir(path_.c_str());
  }

 private:
  std::string path_;
};

struct contestant {
  std::string title;
  std::vector<std::string> words;
  std::string output;
  std::vector<child_usage> runs;

  /// Of a number of its runs: quantile 0, 0.5 or 1.
  [[nodiscard]] double of_runs(double child_usage::*number, double quantile) const {
    std::vector<double> sorted;
    for (const child_usage& run : runs) sorted.push_back(run.*number);
    std::sort(sorted.begin(), sorted.end());
    const double at = quantile * static_cast<double>(sorted.size() - 1);
    const auto low = static_cast<std::size_t>(at);
    const std::size_t high = std::min(low + 1, sorted.size() - 1);
    return sorted[low] + (at - static_cast<double>(low)) * (sorted[high] - sorted[low]);
  }
  [[nodiscard]] std::size_t peak() const {
    std::size_t most = 0;
    for (const child_usage& run : runs) most = std::max(most, run.peak_bytes);
    return most;
  }
  [[nodiscard]] std::uint64_t output_size() const {
    struct stat about {};
    return ::stat(output.c_str(), &about) == 0 ? static_cast<std::uint64_t>(about.st_size) : 0;
  }
};

contestant make_ours(const compress_options& options, std::string output) {
  std::vector<std::string> words{
      "/proc/self/exe", "compress", options.input, "-Q", "-f", "-o", output};
  const auto add = [&words](const char* name, auto value) {
    words.push_back(fmt::format("{}={}", name, value));
  };
  add("--level", options.level);
  add("--devices", options.devices);
  add("--queue-depth", options.queue_depth);
  if (options.chunk_size != 0) add("--chunk-size", options.chunk_size);
  add("--link", name_of(options.links.front()));
  add("--provider", options.provider);
  if (options.frames) words.push_back("--frames");
  if (options.arm_all) words.push_back("--arm-all");
  return {"interlock", std::move(words), std::move(output), {}};
}

contestant make_theirs(const compress_options& options, const char* zstd, std::string output) {
  std::vector<std::string> words{zstd, "-q", "-f", fmt::format("-T{}", options.devices)};
  if (options.level < 0) {
    words.push_back(fmt::format("--fast={}", -options.level));
  } else {
    if (options.level > 19) words.push_back("--ultra");
    words.push_back(fmt::format("-{}", options.level == 0 ? zstd_level_default : options.level));
  }
  for (const char* const word : {"-o", output.c_str(), "--"}) words.emplace_back(word);
  words.push_back(options.input);
  return {fmt::format("zstd -T{}", options.devices), std::move(words), std::move(output), {}};
}

const char* find_zstd() noexcept {
  for (const char* const path : {"/usr/bin/zstd", "/usr/local/bin/zstd", "/bin/zstd"}) {
    if (::access(path, X_OK) == 0) return path;
  }
  return nullptr;
}

std::string spread(const contestant& c, double child_usage::*number) {
  return fmt::format("{:.3f} .. {:.3f} s", c.of_runs(number, 0), c.of_runs(number, 1));
}

void report(const contestant& ours, const contestant& theirs, const compress_options& options,
            std::uint64_t bytes) {
  const auto line = [](const char* label, const std::string& a, const std::string& b) {
    return fmt::format("  {:<20}{:>22}{:>22}\n", label, a, b);
  };
  const auto time = &child_usage::seconds;
  const auto rate = [&](const contestant& c) {
    return format_bytes(static_cast<double>(bytes) / c.of_runs(time, 0.5)) + "/s";
  };
  const auto median = [](const contestant& c, double child_usage::*number) {
    return fmt::format("{:.3f} s", c.of_runs(number, 0.5));
  };
  std::string text = fmt::format("{}, level {}, {} runs of each, in turns, whole processes\n",
                                 options.input, options.level, options.runs);
  text += line("", ours.title, theirs.title);
  text += line("time, median", median(ours, time), median(theirs, time));
  text += line("      least .. most", spread(ours, time), spread(theirs, time));
  text += line("throughput, median", rate(ours), rate(theirs));
  text += line("CPU time, median", median(ours, &child_usage::cpu_seconds),
               median(theirs, &child_usage::cpu_seconds));
  text += line("peak memory", format_bytes(static_cast<double>(ours.peak())),
               format_bytes(static_cast<double>(theirs.peak())));
  text +=
      line("output, bytes", format_count(ours.output_size()), format_count(theirs.output_size()));
  const double share =
      static_cast<double>(ours.output_size()) / static_cast<double>(theirs.output_size());
  text += fmt::format("\n  interlock's median is {:.2f} of zstd's; its output is {:+.2f} %\n",
                      ours.of_runs(time, 0.5) / theirs.of_runs(time, 0.5), 100 * (share - 1));
  fmt::print("{}", text);
}

}  // namespace

maybe_failure compare_with_zstd(const compress_options& options, const input_file& input,
                                termination& signals) {
  const char* const zstd = find_zstd();
  if (zstd == nullptr)
    return fail("--compare needs the program zstd (Debian: apt-get install zstd)");
  if (!input.size()) return fail("--compare needs a file that can be read many times");
  scratch_folder folder;
  child_watch child;
  termination::action at_signal{signals, [&] {
                                  child.kill_now();
                                  folder.remove();
                                }};
  if (auto problem = folder.open()) return problem;

  contestant ours = make_ours(options, folder.file("ours.zst"));
  contestant theirs = make_theirs(options, zstd, folder.file("theirs.zst"));
  // Round 0 warms caches up, and is not counted.
  for (unsigned round = 0; round <= options.runs; ++round) {
    if (!options.quiet && ::isatty(STDERR_FILENO) != 0) {
      fmt::print(stderr, "\rround {} of {}\x1b[K", round, options.runs);
    }
    for (contestant* const next : {&ours, &theirs}) {
      child_usage usage;
      if (auto problem = run_child(next->words, signals, at_signal, child, usage)) return problem;
      if (round != 0) next->runs.push_back(usage);
    }
  }
  if (!options.quiet && ::isatty(STDERR_FILENO) != 0) fmt::print(stderr, "\r\x1b[K");
  report(ours, theirs, options, *input.size());
  return {};
}

}  // namespace interlock::cli
