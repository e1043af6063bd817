// SPDX-License-Identifier: Apache-2.0

/// A DMA engine at work: two clients copy while a channel comes and goes. See dma_engine.md.

#include <cstdio>
#include <cstdlib>
#include <vector>

#include "dma_engine/driver.hpp"

namespace {

using namespace interlock;

constexpr unsigned rounds = 2000;
constexpr std::uint32_t bytes = 512;

struct counts {
  unsigned done = 0;
  unsigned refused = 0;  ///< there was no channel, or it went away
  unsigned wrong = 0;    ///< the fence told of a copy that is not there
};

/// Copies a block through each channel in turn, and compares when the fence says so.
counts copy_blocks(dma::engine& engine, unsigned seed) {
  counts seen;
  std::vector<std::byte> from(bytes);
  std::vector<std::byte> to(bytes);
  for (unsigned round = 0; round < rounds; ++round) {
    for (std::byte& b : from) b = static_cast<std::byte>(seed += 17);
    const auto fence = engine.copy(round % dma::engine::channels, {from.data(), to.data(), bytes});
    if (fence) (*fence)->wait();
    if (!fence || (*fence)->status() < 0) {
      ++seen.refused;
    } else {
      ++(from == to ? seen.done : seen.wrong);
    }
  }
  return seen;
}

}  // namespace

int main() {
  dma::engine engine;
  if (!engine.add_channel(0) || !engine.add_channel(1)) return EXIT_FAILURE;

  counts seen[2];
  atomic<unsigned> at_work{2};
  kthread clients[2];
  for (unsigned i = 0; i < 2; ++i) {
    clients[i] = kthread_run("client", [&, i] {
                   seen[i] = copy_blocks(engine, i);
                   at_work.fetch_sub_release(1);
                 }).value();
  }
  // Channel 1 is pulled out, and put in again, under their hands. Its interrupts halt this thread.
  unsigned pulled = 0;
  while (at_work.load_acquire() != 0) {
    pulled += engine.remove_channel(1) ? 1u : 0u;
    if (!engine.add_channel(1)) return EXIT_FAILURE;
    schedule();
  }
  for (kthread& client : clients) (void)client.join();

  const unsigned done = seen[0].done + seen[1].done;
  const unsigned refused = seen[0].refused + seen[1].refused;
  std::printf("%u copies asked for: %u done, %u refused, %u wrong; channel 1 was pulled %u times\n",
              2 * rounds, done, refused, seen[0].wrong + seen[1].wrong, pulled);
  const bool all_told = done + refused == 2 * rounds;
  return all_told && done >= rounds ? EXIT_SUCCESS : EXIT_FAILURE;
}
