// SPDX-License-Identifier: Apache-2.0
#include "compress_options.hpp"

#include <sched.h>

#include <CLI/CLI.hpp>
#include <algorithm>
#include <cstdlib>

namespace interlock::cli {

namespace {

constexpr std::uint64_t chunk_size_max = std::uint64_t{1} << 30;
constexpr unsigned devices_max = 256;
constexpr unsigned queue_depth_max = 4096;

constexpr const char* examples = R"(Examples:
  interlock compress                      compress the C++ compiler of this machine
  interlock compress FILE                 make FILE.zst in this directory
  tar c DIR | interlock compress - | ssh HOST 'zstd -d | tar x'
  interlock compress --link all           tie the pipeline three ways, side by side
  interlock compress --compare            against zstd, taking turns
  interlock compress --trace run.perfetto-trace        open it in https://ui.perfetto.dev
  interlock compress --inject hang:device=1,chunk=40 --watchdog 2

Exit status: 0 done, 1 failed, 2 wrong usage, 128 + N ended by signal N (130 for ^C, 143 for SIGTERM).
)";

/// CPUs that this process may run on.
unsigned cpus() noexcept {
  cpu_set_t set;
  CPU_ZERO(&set);
  if (::sched_getaffinity(0, sizeof set, &set) != 0) return 2;
  return static_cast<unsigned>(std::max(1, CPU_COUNT(&set)));
}

std::string base_name(const std::string& path) {
  const std::size_t slash = path.rfind('/');
  return slash == std::string::npos ? path : path.substr(slash + 1);
}

/// The default input goes where its result is in nobody's way, and may be replaced the next time.
void choose_default_files(compress_options& options) {
  const bool named = !options.input.empty();
  if (!named) options.input = default_input();
  if (!options.output.empty()) return;
  if (options.input == "-") {
    options.output = "-";
  } else if (named) {
    options.output = base_name(options.input) + ".zst";
  } else {
    const char* const folder = std::getenv("TMPDIR");
    options.output = std::string{folder != nullptr && *folder != '\0' ? folder : "/tmp"} +
                     "/interlock-" + base_name(options.input) + ".zst";
    options.force = true;
  }
}

void add_compression_options(CLI::App& verb, compress_options& options) {
  const std::string group = "Compression";
  verb.add_option("-l,--level", options.level, "As zstd's (3)")
      ->check(CLI::Range(zstd_level_min(), zstd_level_max()))
      ->option_text("N")
      ->group(group);
  verb.add_option("--chunk-size", options.chunk_size,
                  "Bytes, or with suffix KiB or MiB (by level and size of the input)")
      ->transform(CLI::AsSizeValue(false))
      ->check(CLI::Range(std::uint64_t{1}, chunk_size_max))
      ->option_text("SIZE")
      ->group(group);
  verb.add_flag("--frames", options.frames,
                "Make each chunk a frame of its own, which decoders can work on apart")
      ->group(group);
  verb.add_flag("--verify", options.verify, "Decompress the output and compare it with the input")
      ->group(group);
}

void add_pipeline_options(CLI::App& verb, compress_options& options) {
  const std::string group = "Pipeline";
  verb.add_option("-d,--devices", options.devices, "Software devices that compress (one per CPU)")
      ->check(CLI::Range(1u, devices_max))
      ->option_text("N")
      ->group(group);
  verb.add_option("-q,--queue-depth", options.queue_depth,
                  "Chunks under way at a time, which bounds the memory (3 per device)")
      ->check(CLI::Range(1u, queue_depth_max))
      ->option_text("N")
      ->group(group);
  verb.add_option("--link", options.link,
                  "Who carries a chunk from stage to stage: the devices, by memory or by\n"
                  "callback; the submitting thread, by wait; or all of these in turn (memory)")
      ->check(CLI::IsMember({"memory", "callback", "wait", "all"}))
      ->option_text("memory|callback|wait|all")
      ->group(group);
  verb.add_option("--provider", options.provider,
                  "Who reads and writes (auto: uring if it is there)")
      ->check(CLI::IsMember({"auto", "uring", "pread"}))
      ->option_text("auto|uring|pread")
      ->group(group);
  verb.add_flag("--arm-all", options.arm_all,
                "Arm every fence, to measure what is saved by not doing so")
      ->group(group);
  verb.add_option("--watchdog", options.watchdog,
                  "After which a fence is overdue (10 and more, by level and chunk size)")
      ->check(CLI::PositiveNumber)
      ->option_text("SECONDS")
      ->group(group);
}

void add_measuring_options(CLI::App& verb, compress_options& options) {
  const std::string group = "Looking into it";
  verb.add_option("--trace", options.trace, "Write a Perfetto trace")
      ->option_text("FILE")
      ->group(group);
  verb.add_flag("--compare", options.compare,
                "Take turns with `zstd -T<devices>`: median and spread")
      ->group(group);
  verb.add_option("--runs", options.runs, "Runs of each for --compare, 7 or more (7)")
      ->check(CLI::Range(7u, 1000u))
      ->option_text("N")
      ->group(group);
  verb.add_option("--inject", options.inject,
                  "A fault, to see what becomes of it: error, hang or stall, then\n"
                  "[:device=N|read|write][,chunk=N][,time=MS]")
      ->option_text("FAULT")
      ->group(group);
}

}  // namespace

void add_compress_options(CLI::App& verb, compress_options& options) {
  verb.add_option("INPUT", options.input,
                  "A file, or - for standard input (the compiler's own cc1plus)")
      ->option_text(" ");
  verb.add_option("-o,--output", options.output,
                  "A file, or - for standard output (the input's name and .zst, in this\n"
                  "directory; without INPUT, interlock-cc1plus.zst in $TMPDIR or /tmp,\n"
                  "which may be there already and is replaced)")
      ->option_text("FILE");
  verb.add_flag("-f,--force", options.force, "Replace the output; write to a terminal");
  verb.add_flag("-Q,--quiet", options.quiet, "Print errors only");
  add_compression_options(verb, options);
  add_pipeline_options(verb, options);
  add_measuring_options(verb, options);
  verb.footer(examples);
}

maybe_failure complete(compress_options& options) {
  choose_default_files(options);
  if (options.input.empty()) {
    return failure{"there is no cc1plus on this machine to compress; name a file",
                   exit_status::usage};
  }
  if (options.devices == 0) options.devices = std::min(cpus(), devices_max);
  if (options.queue_depth == 0) options.queue_depth = std::max(4u, 3 * options.devices);
  if (!zstd_has_sections()) options.frames = true;

  if (options.link == "all") {
    options.links = {link_style::memory, link_style::callback, link_style::wait};
  } else {
    options.links = {options.link == "memory"     ? link_style::memory
                     : options.link == "callback" ? link_style::callback
                                                  : link_style::wait};
  }
  if (!options.inject.empty()) {
    if (auto problem = parse_fault(options.inject, options.parsed_fault.emplace())) return problem;
    const auto device = options.parsed_fault->device;
    if (device && *device >= options.devices) {
      return failure{fmt::format("--inject {}: there are devices 0 to {}", options.inject,
                                 options.devices - 1),
                     exit_status::usage};
    }
  }
  const bool from_stream = options.input == "-";
  if (from_stream && (options.links.size() > 1 || options.compare || options.verify)) {
    return failure{
        "standard input can be read only once: --link all, --compare and --verify need a file",
        exit_status::usage};
  }
  if (options.verify && options.output == "-") {
    return failure{"--verify needs an output file", exit_status::usage};
  }
  return {};
}

ktime watchdog_of(const compress_options& options, std::size_t chunk) noexcept {
  using seconds = std::chrono::duration<double>;
  const double per_mib = options.level >= 13 ? 10 : 1;
  const double chosen = 10 + per_mib * static_cast<double>(chunk) / (1 << 20);
  return std::chrono::duration_cast<ktime>(
      seconds{options.watchdog > 0 ? std::min(options.watchdog, 1e8) : chosen});
}

}  // namespace interlock::cli
