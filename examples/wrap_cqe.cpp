// SPDX-License-Identifier: Apache-2.0

/// Somebody else's completion as a fence: a CQE of an io_uring. See wrap_cqe.md.

#include <liburing.h>
#include <sys/eventfd.h>

#include <cstdio>
#include <cstring>

#include "interlock/fence_class.hpp"
#include "interlock/interrupt.hpp"

using namespace interlock;

// --- the wrapper: this is all that Interlock needs -----------------------------------------------

struct cqe_fence : fence_class<cqe_fence> {
  using fence_class::fence_class;
  const char* driver_name_of() const noexcept { return "io_uring"; }
  const char* timeline_name_of() const noexcept { return "ring"; }

  /// What goes into the SQE: a reference that belongs to the ring.
  static std::uint64_t to_user_data(ref_ptr<cqe_fence> fence) noexcept {
    return reinterpret_cast<std::uintptr_t>(fence.release());
  }

  /// What comes back in the CQE. Any context: a hardirq handler may call it.
  static void complete(const io_uring_cqe& cqe) noexcept {
    const auto fence = ref_ptr<cqe_fence>::adopt(reinterpret_cast<cqe_fence*>(cqe.user_data));
    if (cqe.res < 0) {
      fence->set_error(from_negative_errno(cqe.res));
    } else {
      fence->provider_code = static_cast<std::uint64_t>(cqe.res);
    }
    fence->signal();
  }
};

// --- using it ------------------------------------------------------------------------------------

/// Takes the completions that are there. False: there were none.
bool reap(io_uring& ring) {
  bool any = false;
  for (io_uring_cqe* cqe = nullptr; io_uring_peek_cqe(&ring, &cqe) == 0; any = true) {
    cqe_fence::complete(*cqe);
    io_uring_cqe_seen(&ring, cqe);
  }
  return any;
}

/// Submits what `prepare` writes and waits for it as for any other fence.
template <class F>
int run(io_uring& ring, std::uint64_t context, std::uint64_t seqno, F prepare) {
  auto made = make_fence<cqe_fence>(context, seqno);
  if (!made) return to_negative_errno(made.error());
  const ref_ptr<cqe_fence> fence = *made;
  io_uring_sqe* const sqe = io_uring_get_sqe(&ring);
  prepare(sqe);
  sqe->user_data = cqe_fence::to_user_data(fence);
  if (io_uring_submit(&ring) != 1) return -EIO;  // and the reference is lost with the ring
  fence->wait();
  return fence->status();
}

int main() {
  io_uring ring;
  const int notify = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
  if (io_uring_queue_init(8, &ring, 0) != 0 || io_uring_register_eventfd(&ring, notify) != 0) {
    std::puts("no io_uring here");
    return 77;  // skipped
  }
  // The ring's eventfd is an interrupt line; its handler reaps and signals in hardirq context.
  auto line = make_irq_line({.name = "io_uring", .fd = notify});
  if (!line) return 1;
  auto action = request_irq(**line, [&ring] {  //
    return reap(ring) ? irqreturn::handled : irqreturn::none;
  });
  if (!action) return 1;

  const std::uint64_t context = dma_fence_context_alloc();
  const int done = run(ring, context, 1, [](auto* sqe) { io_uring_prep_nop(sqe); });
  std::printf("a job that succeeds: status %d\n", done);
  char buffer[1];
  constexpr int no_such_file = -1;
  const int failed = run(ring, context, 2, [&](auto* sqe) {
    io_uring_prep_read(sqe, no_such_file, buffer, sizeof buffer, 0);
  });
  std::printf("a job that fails: status %d (%s)\n", failed, std::strerror(-failed));
  return done == 1 && failed == -EBADF ? 0 : 1;
}
