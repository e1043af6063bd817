// SPDX-License-Identifier: Apache-2.0

// A fence from device to device: see fence_device_to_device.md.

#include <fcntl.h>
#include <unistd.h>

#include <cstdio>
#include <cstdlib>
#include <cstring>

#include "interlock/device/provider.hpp"

using namespace interlock;

namespace {

char text[64];

std::int64_t compute(job&) { return std::snprintf(text, sizeof text, "made by a device\n"); }

// Runs on the file device, once the computing one is done: only then is the length known.
int take_length(job& self) {
  self.length = static_cast<std::size_t>(static_cast<job*>(self.cookie)->result);
  return 0;
}

const provider& file_provider() {
#if defined(INTERLOCK_HAS_URING)
  if (uring_provider().probe().available) return uring_provider();
#endif
  return pread_provider();
}

std::unique_ptr<device_queue> open_queue(const provider& from, const char* name) {
  device_queue_options options;
  options.name = name;
  auto queue = from.open(options);
  if (queue) return std::move(*queue);
  std::fprintf(stderr, "%s: %s\n", from.name, error_name(queue.error()));
  std::exit(EXIT_FAILURE);
}

}  // namespace

int main() {
  job make;  // jobs outlive the queues that run them
  make.kind = job_kind::execute;
  make.execute = &compute;
  job write;
  write.kind = job_kind::write;
  write.fd = STDOUT_FILENO;
  write.buffer = reinterpret_cast<std::byte*>(text);
  write.prepare = &take_length;
  write.cookie = &make;

  const auto computes = open_queue(engine_provider(), "compute");
  const auto writes = open_queue(file_provider(), "write");

  const auto made = computes->submit(make);
  if (!made) return EXIT_FAILURE;
  write.waits[0] = *made;  // the link: device to device, in memory
  const auto written = writes->submit(write);
  if (!written) return EXIT_FAILURE;

  (*written)->wait();  // the only wait of this thread
  const device_queue_statistics counted = writes->statistics();
  std::printf("wrote %lld bytes; waits in memory %llu, interrupts of the computing device %llu\n",
              static_cast<long long>(write.result),
              static_cast<unsigned long long>(counted.memory_waits),
              static_cast<unsigned long long>(computes->statistics().interrupts));
  const bool good = (*written)->status() == 1 && counted.memory_waits == 1 &&
                    computes->statistics().interrupts == 0;
  return good ? EXIT_SUCCESS : EXIT_FAILURE;
}
