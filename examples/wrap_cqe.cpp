// SPDX-License-Identifier: Apache-2.0

/// Somebody else's completion as a fence: a CQE of an io_uring. See wrap_cqe.md.

#include <linux/io_uring.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <atomic>
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

// --- the ring, as small as it gets ---------------------------------------------------------------

/// liburing would hide this; the example shall need no package.
class tiny_ring {
 public:
  bool open(int notify_fd) {
    io_uring_params p{};
    p.flags = IORING_SETUP_CQSIZE;
    p.cq_entries = 16;
    fd_ = static_cast<int>(syscall(SYS_io_uring_setup, 8, &p));
    if (fd_ < 0) return false;
    sq_ = map(p.sq_off.array + p.sq_entries * sizeof(unsigned), IORING_OFF_SQ_RING);
    cq_ = map(p.cq_off.cqes + p.cq_entries * sizeof(io_uring_cqe), IORING_OFF_CQ_RING);
    sqes_ =
        reinterpret_cast<io_uring_sqe*>(map(p.sq_entries * sizeof(io_uring_sqe), IORING_OFF_SQES));
    params_ = p;
    return sq_ != nullptr && cq_ != nullptr && sqes_ != nullptr &&
           syscall(SYS_io_uring_register, fd_, IORING_REGISTER_EVENTFD, &notify_fd, 1) == 0;
  }
  ~tiny_ring() {
    if (fd_ >= 0) close(fd_);
  }

  /// One job at a time is enough here, so slot 0 is always free.
  bool submit(const io_uring_sqe& job) {
    sqes_[0] = job;
    word(sq_, params_.sq_off.array + 4 * (tail_ & (params_.sq_entries - 1))) = 0;
    std::atomic_ref{word(sq_, params_.sq_off.tail)}.store(++tail_, std::memory_order_release);
    return syscall(SYS_io_uring_enter, fd_, 1, 0, 0, nullptr, 0) == 1;
  }

  template <class F>
  bool reap(F take) {
    unsigned& head = word(cq_, params_.cq_off.head);
    const unsigned end =
        std::atomic_ref{word(cq_, params_.cq_off.tail)}.load(std::memory_order_acquire);
    const bool any = head != end;
    auto* const cqes = reinterpret_cast<io_uring_cqe*>(cq_ + params_.cq_off.cqes);
    for (; head != end; std::atomic_ref{head}.store(head + 1, std::memory_order_release)) {
      take(cqes[head & (params_.cq_entries - 1)]);
    }
    return any;
  }

 private:
  std::byte* map(std::size_t size, std::uint64_t offset) const {
    void* const memory = mmap(nullptr, size, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_POPULATE, fd_,
                              static_cast<off_t>(offset));
    return memory == MAP_FAILED ? nullptr : static_cast<std::byte*>(memory);
  }
  static unsigned& word(std::byte* ring, std::size_t offset) {
    return *reinterpret_cast<unsigned*>(ring + offset);
  }

  int fd_ = -1;
  unsigned tail_ = 0;
  io_uring_params params_{};
  std::byte* sq_ = nullptr;
  std::byte* cq_ = nullptr;
  io_uring_sqe* sqes_ = nullptr;
};

// --- using it ------------------------------------------------------------------------------------

/// Submits `job` and waits for it as for any other fence.
int run(tiny_ring& ring, std::uint64_t context, std::uint64_t seqno, io_uring_sqe job) {
  auto made = make_fence<cqe_fence>(context, seqno);
  if (!made) return to_negative_errno(made.error());
  const ref_ptr<cqe_fence> fence = *made;
  job.user_data = cqe_fence::to_user_data(fence);
  if (!ring.submit(job)) return -EIO;  // and the reference is lost with the ring
  fence->wait();
  return fence->status();
}

int main() {
  const int notify = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
  tiny_ring ring;
  if (!ring.open(notify)) {
    std::puts("no io_uring here");
    return 0;
  }
  // The ring's eventfd is an interrupt line; its handler reaps and signals in hardirq context.
  auto line = make_irq_line({.name = "io_uring", .fd = notify});
  if (!line) return 1;
  auto action = request_irq(**line, [&ring] {
    return ring.reap(cqe_fence::complete) ? irqreturn::handled : irqreturn::none;
  });
  if (!action) return 1;

  const std::uint64_t context = dma_fence_context_alloc();
  io_uring_sqe job{};
  job.opcode = IORING_OP_NOP;
  std::printf("a job that succeeds: status %d\n", run(ring, context, 1, job));
  char buffer[1];
  job.opcode = IORING_OP_READ;
  job.fd = -1;  // no such file
  job.addr = reinterpret_cast<std::uintptr_t>(buffer);
  job.len = sizeof buffer;
  const int failed = run(ring, context, 2, job);
  std::printf("a job that fails: status %d (%s)\n", failed, std::strerror(-failed));
  return failed == -EBADF ? 0 : 1;
}
