// SPDX-License-Identifier: Apache-2.0

/// `interlock compress` against `zstd -T<N>`: whole processes on the same file.

#include <benchmark/benchmark.h>
#include <fcntl.h>
#include <spawn.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <string>
#include <vector>

#include "suite.hpp"

namespace {

constexpr std::size_t input_bytes = std::size_t{64} << 20;

/// xorshift64*: the input is the same in each run, on each machine.
class generator {
 public:
  std::uint64_t next() noexcept {
    state_ ^= state_ >> 12;
    state_ ^= state_ << 25;
    state_ ^= state_ >> 27;
    return state_ * 0x2545F4914F6CDD1Du;
  }
  std::size_t below(std::size_t n) noexcept { return (next() >> 11) % n; }
  /// Small numbers often, as words have it: about half of all come from the first of each 4th part.
  std::size_t skewed(std::size_t n) noexcept {
    std::size_t bound = n;
    while (bound > 16 && (next() >> 63) != 0) bound /= 4;
    return below(bound);
  }

 private:
  std::uint64_t state_ = 0x9E3779B97F4A7C15u;
};

/// Like the logs, records and tables of a server: lines of text, JSON, and rows of binary numbers
/// that change little, in stretches of 256 KiB.
class input {
 public:
  input() {
    for (std::string& word : words_) {
      const std::size_t length = 2 + random_.skewed(11);
      for (std::size_t i = 0; i < length; ++i) word += static_cast<char>('a' + random_.skewed(26));
    }
  }

  void append_stretch(std::string& out) {
    constexpr std::size_t stretch = 256 << 10;
    const std::size_t end = out.size() + stretch;
    const std::size_t kind = random_.below(4);
    while (out.size() < end) {
      if (kind == 0) {
        line(out);
      } else if (kind == 1) {
        record(out);
      } else if (kind == 2) {
        prose(out);
      } else {
        row(out);
      }
    }
    out.resize(end);
  }

 private:
  void number(std::string& out, std::size_t n) { out += std::to_string(n); }
  const std::string& word() { return words_[random_.skewed(words_.size())]; }
  void line(std::string& out) {
    time_ += random_.below(2000);
    number(out, time_);
    out += random_.below(20) == 0 ? " WARN  [" : " INFO  [";
    out += word();
    out += "] ";
    for (std::size_t i = 3 + random_.below(6); i > 0; --i) {
      out += word();
      out += ' ';
    }
    out += "id=";
    number(out, random_.next() >> 40);
    out += " took ";
    number(out, random_.skewed(5000));
    out += " us\n";
  }
  void record(std::string& out) {
    out += "{\"id\":";
    number(out, ++id_);
    out += ",\"name\":\"";
    out += word();
    out += ' ';
    out += word();
    out += "\",\"tags\":[\"";
    out += word();
    out += "\",\"";
    out += word();
    out += "\"],\"amount\":";
    number(out, random_.skewed(1'000'000));
    out += random_.below(3) == 0 ? ",\"active\":true}\n" : ",\"active\":false}\n";
  }
  void prose(std::string& out) {
    for (std::size_t i = 6 + random_.below(12); i > 0; --i) {
      out += word();
      out += i == 1 ? ". " : " ";
    }
  }
  void row(std::string& out) {
    time_ += random_.below(64);
    const std::array<std::uint64_t, 2> fields{time_, random_.next() >> (40 + random_.below(24))};
    std::array<char, sizeof fields> bytes;
    std::memcpy(bytes.data(), fields.data(), sizeof fields);
    out.append(bytes.data(), bytes.size());
  }

  generator random_;
  std::array<std::string, 6000> words_;
  std::uint64_t time_ = 1'700'000'000'000;
  std::uint64_t id_ = 0;
};

/// The folder of the input and the outputs, made at first use and removed at the end of the process.
class folder {
 public:
  folder() {
    const char* const parent = std::getenv("TMPDIR");
    path_ = std::string{parent != nullptr && *parent != '\0' ? parent : "/tmp"} +
            "/interlock-bench-XXXXXX";
    if (mkdtemp(path_.data()) == nullptr) path_.clear();
    if (!path_.empty() && !write_input()) {
      remove();
      path_.clear();
    }
  }
  folder(const folder&) = delete;
  folder& operator=(const folder&) = delete;
  ~folder() { remove(); }

  [[nodiscard]] bool good() const { return !path_.empty(); }
  [[nodiscard]] std::string file(const char* name) const { return path_ + '/' + name; }

 private:
  /// In pieces, since what this process has resident counts for its children's peaks too.
  [[nodiscard]] bool write_input() const {
    std::FILE* const out = std::fopen(file("input").c_str(), "wb");
    if (out == nullptr) return false;
    input source;
    std::string piece;
    bool good = true;
    for (std::size_t done = 0; done < input_bytes && good; done += piece.size()) {
      piece.clear();
      source.append_stretch(piece);
      good = std::fwrite(piece.data(), 1, piece.size(), out) == piece.size();
    }
    return (std::fclose(out) == 0) && good;
  }
  void remove() const {
    if (path_.empty()) return;
    for (const char* const name : {"input", "output"}) unlink(file(name).c_str());
    rmdir(path_.c_str());
  }
  std::string path_;
};

const folder& files() {
  static const folder made;
  return made;
}

/// What `words` takes, from before its start until it has ended. False if it failed.
bool run(benchmark::State& state, std::vector<std::string> words) {
  std::vector<char*> arguments;
  for (std::string& word : words) arguments.push_back(word.data());
  arguments.push_back(nullptr);
  const std::int64_t begin = suite::clock_ns();
  pid_t child = -1;
  if (posix_spawn(&child, arguments[0], nullptr, nullptr, arguments.data(), environ) != 0)
    return false;
  int status = 0;
  rusage used{};
  while (wait4(child, &status, 0, &used) < 0 && errno == EINTR) {
  }
  const auto seconds = static_cast<double>(suite::clock_ns() - begin) * 1e-9;
  if (!WIFEXITED(status) || WEXITSTATUS(status) != 0) return false;
  struct stat output {};
  stat(files().file("output").c_str(), &output);
  const auto in_seconds = [](const timeval& t) {
    return static_cast<double>(t.tv_sec) + static_cast<double>(t.tv_usec) * 1e-6;
  };
  state.SetIterationTime(seconds);
  state.counters["throughput"] = static_cast<double>(input_bytes) / seconds;
  state.counters["cpu_used"] = (in_seconds(used.ru_utime) + in_seconds(used.ru_stime)) * 1e9;
  state.counters["peak"] = static_cast<double>(used.ru_maxrss) * 1024;
  state.counters["output"] = static_cast<double>(output.st_size);
  return true;
}

void compare(benchmark::State& state, const std::string& program, std::vector<std::string> words) {
  if (access(program.c_str(), X_OK) != 0) {
    state.SkipWithError((program + " is not there").c_str());
    return;
  }
  if (!files().good()) {
    state.SkipWithError("cannot write 64 MiB into $TMPDIR");
    return;
  }
  words.insert(words.begin(), program);
  for (auto _ : state) {
    if (!run(state, words)) state.SkipWithError((words[0] + " failed").c_str());
  }
}

std::string option(std::string name, std::int64_t value) { return name += std::to_string(value); }

/// The tool of the same build.
std::string tool() {
  std::array<char, 4096> path{};
  if (readlink("/proc/self/exe", path.data(), path.size() - 1) < 0) return {};
  std::string own{path.data()};
  own.resize(own.rfind('/'));
  return own + "/../bin/interlock";
}

void ours(benchmark::State& state) {
  compare(state, tool(),
          {"compress", files().file("input"), "-Q", "-f", "-o", files().file("output"),
           option("--level=", state.range(0)), option("--devices=", state.range(1))});
}

void theirs(benchmark::State& state) {
  compare(state, "/usr/bin/zstd",
          {"-q", "-f", option("-T", state.range(1)), option("-", state.range(0)), "-o",
           files().file("output"), "--", files().file("input")});
}

void arguments(benchmark::internal::Benchmark* b) {
  b->ArgNames({"level", "threads"})
      ->Args({1, 2})
      ->Args({3, 1})
      ->Args({3, 2})
      ->Args({9, 2})
      ->Iterations(1)
      ->UseManualTime();
}
BENCHMARK(ours)->Name("pipeline/interlock")->Apply(arguments);
BENCHMARK(theirs)->Name("pipeline/zstd")->Apply(arguments);

}  // namespace

BENCHMARK_MAIN();
