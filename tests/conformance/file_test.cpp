// SPDX-License-Identifier: Apache-2.0

/// File operations: whole transfers, the end of the file, errors, pipes.

#include <fcntl.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cstdlib>
#include <string>
#include <thread>

#include "device_test.hpp"

CONFORMANCE_SUITE(file_io, device_feature::file_io);

namespace conformance {
namespace {

class owned_fd {
 public:
  explicit owned_fd(int fd) : fd_{fd} { EXPECT_GE(fd, 0); }
  owned_fd(const owned_fd&) = delete;
  owned_fd& operator=(const owned_fd&) = delete;
  ~owned_fd() { close(); }
  void close() {
    if (fd_ >= 0) ::close(std::exchange(fd_, -1));
  }
  [[nodiscard]] int get() const { return fd_; }

 private:
  int fd_;
};

owned_fd temporary_file() {
  char name[] = "/tmp/interlock-conformance-XXXXXX";
  const int fd = ::mkostemp(name, O_CLOEXEC);
  ::unlink(name);
  return owned_fd{fd};
}

struct pipe_ends {
  explicit pipe_ends(int flags = 0) {
    int both[2] = {-1, -1};
    EXPECT_EQ(::pipe2(both, O_CLOEXEC | flags), 0);
    from = std::make_unique<owned_fd>(both[0]);
    to = std::make_unique<owned_fd>(both[1]);
  }
  std::unique_ptr<owned_fd> from, to;
};

job transfer(job_kind kind, int fd, void* buffer, std::size_t length, std::int64_t offset) {
  job work;
  work.kind = kind;
  work.fd = fd;
  work.buffer = static_cast<std::byte*>(buffer);
  work.length = length;
  work.offset = offset;
  return work;
}

std::string pattern(std::size_t size, unsigned seed) {
  std::string text(size, '\0');
  std::uint32_t state = seed * 2654435761u + 1;
  for (char& c : text) {
    state = state * 1664525u + 1013904223u;
    c = static_cast<char>(state >> 24);
  }
  return text;
}

/// Runs one job; its result.
std::int64_t run_one(device_queue& queue, job& work) {
  const auto fence = submit(queue, work);
  if (!fence || !fence->wait_until(patience())) return -9999;
  EXPECT_EQ(fence->status(), work.result < 0 ? work.result : 1);
  return work.result;
}

}  // namespace
}  // namespace conformance

CONFORMANCE(file_io, what_was_written_is_read_back) {
  auto queue = test.open();
  const owned_fd file = temporary_file();
  constexpr std::size_t blocks = 16, size = 100'003;
  std::array<std::string, blocks> text;
  std::array<job, blocks> writes;
  ref_ptr<dma_fence> last;
  for (std::size_t i = 0; i < blocks; ++i) {
    const std::size_t at = (i * 7) % blocks;  // in no order of offsets
    text[at] = pattern(size, static_cast<unsigned>(at));
    writes[i] = transfer(job_kind::write, file.get(), text[at].data(), size,
                         static_cast<std::int64_t>(at * size));
    last = submit(*queue, writes[i]);
  }
  job sync = transfer(job_kind::sync, file.get(), nullptr, 0, 0);
  EXPECT_EQ(run_one(*queue, sync), 0);
  for (const job& work : writes) EXPECT_EQ(work.result, static_cast<std::int64_t>(size));

  std::array<std::string, blocks> back;
  std::array<job, blocks> reads;
  for (std::size_t i = 0; i < blocks; ++i) {
    back[i].resize(size);
    reads[i] = transfer(job_kind::read, file.get(), back[i].data(), size,
                        static_cast<std::int64_t>(i * size));
    last = submit(*queue, reads[i]);
  }
  ASSERT_TRUE(last->wait_until(patience()));
  for (std::size_t i = 0; i < blocks; ++i) EXPECT_TRUE(back[i] == text[i]) << i;
}

CONFORMANCE(file_io, big_transfers_are_whole) {
  auto queue = test.open();
  const owned_fd file = temporary_file();
  std::string text = pattern(std::size_t{40} << 20, 3), back(text.size(), '\0');
  job write = transfer(job_kind::write, file.get(), text.data(), text.size(), 0);
  ASSERT_EQ(run_one(*queue, write), static_cast<std::int64_t>(text.size()));
  job read = transfer(job_kind::read, file.get(), back.data(), back.size(), 0);
  ASSERT_EQ(run_one(*queue, read), static_cast<std::int64_t>(text.size()));
  EXPECT_TRUE(back == text);
}

CONFORMANCE(file_io, reads_stop_at_the_end) {
  auto queue = test.open();
  const owned_fd file = temporary_file();
  ASSERT_EQ(::write(file.get(), "0123456789", 10), 10);
  std::array<char, 64> buffer{};
  job across = transfer(job_kind::read, file.get(), buffer.data(), buffer.size(), 4);
  EXPECT_EQ(run_one(*queue, across), 6);
  EXPECT_EQ(std::string(buffer.data(), 6), "456789");
  job behind = transfer(job_kind::read, file.get(), buffer.data(), buffer.size(), 10);
  EXPECT_EQ(run_one(*queue, behind), 0);
  job nothing = transfer(job_kind::read, file.get(), buffer.data(), 0, 0);
  EXPECT_EQ(run_one(*queue, nothing), 0);
  job empty = transfer(job_kind::write, file.get(), buffer.data(), 0, 0);
  EXPECT_EQ(run_one(*queue, empty), 0);
}

CONFORMANCE(file_io, errors_are_the_system_s) {
  auto queue = test.open();
  char buffer[8192] = {};
  job closed = transfer(job_kind::read, -1, buffer, 8, 0);
  EXPECT_EQ(run_one(*queue, closed), to_negative_errno(error::bad_file_descriptor));
  const owned_fd read_only{::open("/dev/null", O_RDONLY | O_CLOEXEC)};
  job forbidden = transfer(job_kind::write, read_only.get(), buffer, 8, 0);
  EXPECT_EQ(run_one(*queue, forbidden), to_negative_errno(error::bad_file_descriptor));
  const owned_fd directory{::open("/tmp", O_RDONLY | O_DIRECTORY | O_CLOEXEC)};
  job folder = transfer(job_kind::read, directory.get(), buffer, 8, 0);
  EXPECT_EQ(run_one(*queue, folder), to_negative_errno(error::is_a_directory));
  const owned_fd full{::open("/dev/full", O_WRONLY | O_CLOEXEC)};
  for (const std::int64_t offset : {std::int64_t{0}, std::int64_t{-1}}) {
    job no_space = transfer(job_kind::write, full.get(), buffer, sizeof buffer, offset);
    EXPECT_EQ(run_one(*queue, no_space), to_negative_errno(error::no_space_on_device));
  }
  const pipe_ends pipe;
  job unseekable = transfer(job_kind::read, pipe.from->get(), buffer, 8, 4);
  EXPECT_EQ(run_one(*queue, unseekable), to_negative_errno(error::invalid_seek));
  job unsyncable = transfer(job_kind::sync, pipe.to->get(), nullptr, 0, 0);
  EXPECT_EQ(run_one(*queue, unsyncable), to_negative_errno(error::invalid_argument));
  EXPECT_EQ(queue->statistics().failed, 7u);
  EXPECT_EQ(queue->statistics().cancelled, 0u);
}

CONFORMANCE(file_io, prepare_takes_length_and_offset) {
  auto queue = test.open();
  const owned_fd file = temporary_file();
  static std::string text = "payload";
  job first = nop(), write = transfer(job_kind::write, file.get(), nullptr, 0, -1);
  write.waits[0] = submit(*queue, first);
  write.prepare = [](job& self) {
    self.buffer = reinterpret_cast<std::byte*>(text.data());
    self.length = text.size();
    self.offset = 3;
    return 0;
  };
  EXPECT_EQ(run_one(*queue, write), static_cast<std::int64_t>(text.size()));
  char back[16] = {};
  EXPECT_EQ(::pread(file.get(), back, sizeof back, 3), 7);
  EXPECT_STREQ(back, "payload");
}

// More than a pipe holds, in pieces that the reader does not ask for.
CONFORMANCE(file_io, a_pipe_is_read_and_written_in_order) {
  auto reader = test.open(test.options("reader"));
  auto writer = test.open(test.options("writer"));
  const pipe_ends pipe;
  constexpr std::size_t blocks = 10, size = 90'001, piece = 17'011;
  std::string sent = pattern(blocks * size, 5), received(blocks * size, '\0');
  std::array<job, blocks> writes;
  std::vector<job> reads(sent.size() / piece + 1);
  std::vector<ref_ptr<dma_fence>> fences;
  for (std::size_t i = 0; i < reads.size(); ++i) {
    const std::size_t length = std::min(piece, sent.size() - i * piece);
    reads[i] = transfer(job_kind::read, pipe.from->get(), &received[i * piece], length, -1);
    fences.push_back(submit(*reader, reads[i]));
  }
  for (std::size_t i = 0; i < blocks; ++i) {
    writes[i] = transfer(job_kind::write, pipe.to->get(), &sent[i * size], size, -1);
    fences.push_back(submit(*writer, writes[i]));
  }
  for (const auto& fence : fences) {
    ASSERT_TRUE(fence->wait_until(patience()));
    EXPECT_EQ(fence->status(), 1);
  }
  EXPECT_TRUE(sent == received);
  for (const job& work : writes) EXPECT_EQ(work.result, static_cast<std::int64_t>(size));
}

CONFORMANCE(file_io, a_pipe_s_end_is_the_end_of_the_file) {
  auto queue = test.open();
  pipe_ends pipe;
  char buffer[64] = {};
  job read = transfer(job_kind::read, pipe.from->get(), buffer, sizeof buffer, -1);
  const auto fence = submit(*queue, read);
  ASSERT_EQ(::write(pipe.to->get(), "abc", 3), 3);
  ASSERT_EQ(::write(pipe.to->get(), "def", 3), 3);
  pipe.to->close();
  ASSERT_TRUE(fence->wait_until(patience()));
  EXPECT_EQ(read.result, 6);
  EXPECT_STREQ(buffer, "abcdef");
}

CONFORMANCE(file_io, a_non_blocking_descriptor_is_waited_for) {
  auto queue = test.open();
  const pipe_ends pipe{O_NONBLOCK};
  char buffer[4] = {};
  job read = transfer(job_kind::read, pipe.from->get(), buffer, 4, -1);
  const auto fence = submit(*queue, read);
  for (int i = 0; i < 200; ++i) std::this_thread::yield();
  EXPECT_FALSE(fence->is_signaled());
  ASSERT_EQ(::write(pipe.to->get(), "ab", 2), 2);
  for (int i = 0; i < 200; ++i) std::this_thread::yield();
  ASSERT_EQ(::write(pipe.to->get(), "cd", 2), 2);
  ASSERT_TRUE(fence->wait_until(patience()));
  EXPECT_EQ(read.result, 4);
  EXPECT_EQ(std::string(buffer, 4), "abcd");
}

CONFORMANCE(file_io, a_broken_pipe_is_an_error) {
  auto queue = test.open();
  pipe_ends pipe;
  pipe.from->close();
  char buffer[16] = {};
  job write = transfer(job_kind::write, pipe.to->get(), buffer, sizeof buffer, -1);
  EXPECT_EQ(run_one(*queue, write), to_negative_errno(error::broken_pipe));
}

CONFORMANCE(file_io, cancel_all_ends_a_blocked_transfer) {
  auto queue = test.open();
  const pipe_ends empty, full{O_NONBLOCK};
  std::string much(std::size_t{1} << 20, 'x');
  job read = transfer(job_kind::read, empty.from->get(), much.data(), 8, -1);
  job write = transfer(job_kind::write, full.to->get(), much.data(), much.size(), -1);
  for (job* work : {&read, &write}) {
    const auto fence = submit(*queue, *work);
    for (int i = 0; i < 200; ++i) std::this_thread::yield();
    EXPECT_FALSE(fence->is_signaled());
    queue->cancel_all(error::interrupted);
    ASSERT_TRUE(fence->wait_until(patience()));
    EXPECT_EQ(work->result, to_negative_errno(error::interrupted));
  }
  // The device is as good as new.
  job after = nop();
  ASSERT_TRUE(submit(*queue, after)->wait_until(patience()));
  EXPECT_EQ(after.result, 0);
}

CONFORMANCE(file_io, closing_ends_a_blocked_transfer) {
  const pipe_ends pipe;
  char buffer[8];
  job read = transfer(job_kind::read, pipe.from->get(), buffer, sizeof buffer, -1);
  for (int delay = 0; delay < 100; delay += 20) {
    auto queue = test.open();
    const auto fence = submit(*queue, read);
    for (int i = 0; i < delay; ++i) std::this_thread::yield();
    queue.reset();
    EXPECT_EQ(fence->status(), to_negative_errno(error::operation_canceled));
  }
}

CONFORMANCE(file_io, many_transfers_at_once) {
  device_queue_options options = test.options();
  options.ring_size = 512;  // more than are in flight
  auto queue = test.open(options);
  const owned_fd file = temporary_file();
  constexpr std::size_t count = 500, size = 512;
  std::string text = pattern(count * size, 9), back(count * size, '\0');
  std::vector<job> jobs(count);
  for (const job_kind kind : {job_kind::write, job_kind::read}) {
    std::string& memory = kind == job_kind::write ? text : back;
    ref_ptr<dma_fence> last;
    for (std::size_t i = 0; i < count; ++i) {
      jobs[i] =
          transfer(kind, file.get(), &memory[i * size], size, static_cast<std::int64_t>(i * size));
      last = submit(*queue, jobs[i]);
    }
    ASSERT_TRUE(last->wait_until(patience()));
    for (const job& work : jobs) EXPECT_EQ(work.result, static_cast<std::int64_t>(size));
  }
  EXPECT_TRUE(text == back);
}
