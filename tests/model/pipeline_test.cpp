// SPDX-License-Identifier: Apache-2.0

/// The pipeline of `interlock compress`, from its own sources: 3 chunks, 2 devices that compress, 2 chunks under way, so that
/// results are written into memory that was used before. Files are memory, see pipeline_stand_ins.hpp.

#include "pipeline.hpp"

#include <cstring>
#include <string>

#include "model/library_support.hpp"
#include "model/pipeline_stand_ins.hpp"

namespace interlock::test {
namespace {

constexpr std::size_t chunk = 4;
constexpr char text[] = "aabbbcddda";  // 3 chunks, each of another length when it is squeezed

/// What the pipeline has to write.
std::string squeezed() {
  std::string all;
  std::byte before{};
  cli::zstd_trailer trailer;
  for (std::size_t at = 0; at < files.input_size; at += chunk) {
    std::byte piece[chunk + 1];
    const std::span input{reinterpret_cast<const std::byte*>(text) + at,
                          std::min(chunk, files.input_size - at)};
    all.append(reinterpret_cast<const char*>(piece), squeeze(input, before, piece));
    before = input.back();
    trailer.update(input);
  }
  const auto end = trailer.finish(cli::zstd_framing::sections);
  return all.append(reinterpret_cast<const char*>(end.data()), end.size());
}

cli::pipeline_options tied_by(cli::link_style link) {
  cli::pipeline_options o;
  o.plan = {cli::zstd_framing::sections, chunk, chunk};
  o.devices = 2;
  o.depth = 2;
  o.link = link;
  o.files = &memory_file_provider();
  o.watchdog = ktime::max();  // the machine lets deadlines pass whenever it likes
  return o;
}

/// Makes the pipeline, and calls `use(pipeline)`.
template <class F>
void with_pipeline(const cli::pipeline_options& options, F use,
                   std::size_t input_size = sizeof text - 1) {
  std::memcpy(files.input, text, input_size);
  files.input_size = input_size;
  files.output_size = 0;
  cli::input_file input;
  EXPECT_FALSE(input.open("input"));
  const cli::output_file output;
  cli::pipeline p{input, output, options};
  EXPECT_FALSE(p.open());
  use(p);
}

/// By two samplers: of what they have found here, each has missed one.
template <class F>
void passes_sampled(std::uint64_t executions, F program) {
  model::options o = user(some(executions));
  passes(model::explore(o, program));
  o.strategy = model::strategy::pos;
  passes(model::explore(o, program));
}

void expect_whole() {
  const std::string expected = squeezed();
  EXPECT_EQ(std::string(reinterpret_cast<const char*>(files.output), files.output_size), expected);
}

void compresses(cli::link_style link) {
  const model::expectations here;
  passes_sampled(1'500, [link] {
    with_pipeline(tied_by(link), [](cli::pipeline& p) {
      const auto problem = p.run();
      EXPECT_FALSE(problem) << problem->message;
      EXPECT_EQ(p.counts().chunks, 3u);
    });
    expect_whole();
  });
}

/// Of one chunk and one device, on a CPU that a task leaves only where it sleeps, it ends.
TEST(pipeline, takes_one_chunk_in_each_way) {
  const model::expectations here;
  model::options o = user(all(1));
  o.preemption = model::preemption::none;
  passes_all(model::explore(o, [] {
    cli::pipeline_options how = tied_by(cli::link_style::memory);
    how.devices = how.depth = 1;
    const auto run = [](cli::pipeline& p) {
      const auto problem = p.run();
      EXPECT_FALSE(problem) << problem->message;
      EXPECT_EQ(p.counts().chunks, 1u);
    };
    with_pipeline(how, run, chunk);
    expect_whole();
  }));
}

TEST(pipeline, is_tied_by_memory) { compresses(cli::link_style::memory); }
TEST(pipeline, is_tied_by_callbacks) { compresses(cli::link_style::callback); }
TEST(pipeline, is_tied_by_the_submitter) { compresses(cli::link_style::wait); }

/// All of it, or a failure; no fence is left in either case.
TEST(pipeline, is_cancelled) {
  const model::expectations here;
  passes_sampled(1'000, [] {
    bool whole = false;
    with_pipeline(tied_by(cli::link_style::memory), [&](cli::pipeline& p) {
      kthread other = start("cancel", [&p] { p.cancel(); });
      const auto problem = p.run();
      whole = !problem;
      EXPECT_TRUE(whole || problem->message == "interrupted") << problem->message;
      (void)other.join();
    });
    if (whole) expect_whole();
  });
}

TEST(pipeline, fails_with_its_device) {
  const model::expectations here;
  passes_sampled(1'000, [] {
    cli::pipeline_options o = tied_by(cli::link_style::memory);
    o.inject.emplace().chunk = 1;
    with_pipeline(o, [](cli::pipeline& p) {
      const auto problem = p.run();
      EXPECT_TRUE(problem);
      EXPECT_EQ(problem->message.find("chunk 1: device 1 failed to compress it"), 0u)
          << problem->message;
    });
  });
}

}  // namespace
}  // namespace interlock::test
