// SPDX-License-Identifier: Apache-2.0

/// One word shared by two processes, as a timeline of fences. See shared_seqno.md.

#include <sys/wait.h>
#include <unistd.h>

#include <cstdio>
#include <cstring>

#include "interlock/seqno_fence.hpp"

using namespace interlock;

namespace {

const char* driver_name(seqno_timeline*) { return "shared_seqno"; }
const char* timeline_name(seqno_timeline*) { return "frames"; }

/// No arm op: this side cannot make the producer raise an interrupt, so armed fences are polled.
constexpr seqno_timeline_ops ops{driver_name, timeline_name, nullptr, nullptr,
                                 nullptr,     nullptr,       nullptr};

ref_ptr<seqno_timeline> timeline_on(ref_ptr<seqno_buffer> memory) {
  auto made = make_seqno_timeline(ops, nullptr, std::move(memory), 0);
  return made ? *made : ref_ptr<seqno_timeline>{};
}

/// The other process. It got a file descriptor, here by fork, else over a socket (SCM_RIGHTS).
int produce(int fd) {
  auto memory = import_seqno_buffer(fd, 1);
  if (!memory) return 1;
  const auto frames = timeline_on(*memory);
  if (frames == nullptr) return 1;
  for (std::uint64_t n = 1; n <= 3; ++n) {
    sleep_for(std::chrono::milliseconds{2});  // the work
    seqno_timeline_advance(*frames, n);       // one store; a wake only if somebody sleeps
  }
  return 0;  // frame 4 never comes: this process "dies"
}

int consume(seqno_timeline& frames, pid_t producer) {
  // In the word itself: no fence, no callback, no interrupt.
  if (seqno_wait_until(frames, 1, no_deadline) != seqno_wait_end::passed) return 1;
  std::puts("frame 1 is there");

  // As a fence, like any other.
  const auto third = make_seqno_fence(frames, 3);
  const auto fourth = make_seqno_fence(frames, 4);
  if (!third || !fourth) return 1;
  (*third)->wait();
  std::printf("frame 3 is there: status %d\n", (*third)->status());

  // A peer that dies tells nobody: whoever notices fails what it has left open.
  int status = 0;
  waitpid(producer, &status, 0);
  if (WEXITSTATUS(status) != 0) return 1;
  seqno_timeline_fail(frames, error::owner_dead);
  (*fourth)->wait();
  std::printf("frame 4 never comes: %s\n", std::strerror(-(*fourth)->status()));
  return (*fourth)->status() == -EOWNERDEAD ? 0 : 1;
}

}  // namespace

int main() {
  auto memory = make_seqno_buffer(1, true);  // sealed: no peer can shrink it under us
  if (!memory) return 1;
  std::fflush(nullptr);
  const pid_t producer = fork();
  if (producer == 0) _exit(produce(seqno_buffer_fd(**memory)));
  const auto frames = timeline_on(*memory);
  if (producer < 0 || frames == nullptr) return 1;
  return consume(*frames, producer);
}
