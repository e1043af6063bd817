// SPDX-License-Identifier: Apache-2.0

/// Memory shared with a peer that is not trusted to keep it.

#include "interlock_platform/shared_memory.hpp"

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/resource.h>

#include <cstring>
#include <string>

#include "platform_test_support.hpp"

namespace interlock::test {
namespace {

using platform::shared_mapping;

int make_memfd(off_t size, int seals, unsigned flags = MFD_CLOEXEC | MFD_ALLOW_SEALING) {
  const int fd = memfd_create("peer", flags);
  EXPECT_EQ(ftruncate(fd, size), 0);
  EXPECT_TRUE(seals == 0 || fcntl(fd, F_ADD_SEALS, seals) == 0);
  return fd;
}

/// The error of mapping `fd`, which is closed; `error{}` if it could be mapped.
error error_of_mapping(int fd, std::size_t size) {
  auto mapped = platform::map_memory_fd(fd, size);
  if (fd >= 0) close(fd);
  if (!mapped) return mapped.error();
  platform::unmap_memory(*mapped);
  return error{};
}

TEST(platform_shared_memory, private_memory_is_zero_and_has_no_descriptor) {
  auto m = platform::map_memory(10'000, false, "unused");
  ASSERT_TRUE(m);
  EXPECT_EQ(m->fd, -1);
  EXPECT_EQ(m->size, 10'000u);
  const auto* const bytes = static_cast<const char*>(m->address);
  for (std::size_t i = 0; i < m->size; ++i) ASSERT_EQ(bytes[i], 0);
  platform::unmap_memory(*m);
  EXPECT_EQ(m->address, nullptr);
  EXPECT_EQ(m->size, 0u);
}

TEST(platform_shared_memory, shareable_memory_has_a_sealed_size_and_a_name) {
  auto m = platform::map_memory(10'000, true, "fences");
  ASSERT_TRUE(m);
  EXPECT_EQ(static_cast<const char*>(m->address)[9'999], 0);
  constexpr int size_seals = F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_SEAL;
  EXPECT_EQ(fcntl(m->fd, F_GET_SEALS) & size_seals, size_seals);
  EXPECT_NE(ftruncate(m->fd, 1), 0);
  EXPECT_NE(ftruncate(m->fd, 20'000), 0);
  EXPECT_EQ(fcntl(m->fd, F_GETFD) & FD_CLOEXEC, FD_CLOEXEC);
  char target[64] = {};
  const std::string link = "/proc/self/fd/" + std::to_string(m->fd);
  ASSERT_GT(readlink(link.c_str(), target, sizeof(target) - 1), 0);
  EXPECT_NE(std::strstr(target, "memfd:fences"), nullptr) << target;
  const int fd = m->fd;
  platform::unmap_memory(*m);
  EXPECT_EQ(fcntl(fd, F_GETFD), -1);
}

TEST(platform_shared_memory, a_long_name_is_cut) {
  auto m = platform::map_memory(1, true, std::string(1000, 'n').c_str());
  ASSERT_TRUE(m);
  platform::unmap_memory(*m);
}

TEST(platform_shared_memory, two_mappings_show_the_same_memory) {
  auto first = platform::map_memory(4096, true, "both");
  ASSERT_TRUE(first);
  auto second = platform::map_memory_fd(first->fd, 4096);
  ASSERT_TRUE(second);
  EXPECT_NE(second->fd, first->fd) << "it owns its own descriptor";
  EXPECT_EQ(fcntl(second->fd, F_GETFD) & FD_CLOEXEC, FD_CLOEXEC);
  std::memcpy(first->address, "hello", 6);
  platform::unmap_memory(*first);
  EXPECT_STREQ(static_cast<const char*>(second->address), "hello");
  platform::unmap_memory(*second);
}

TEST(platform_shared_memory, a_child_shares_it) {
  auto m = platform::map_memory(4096, true, "child");
  ASSERT_TRUE(m);
  status_of_child([&] { return std::strcpy(static_cast<char*>(m->address), "child") == nullptr; });
  EXPECT_STREQ(static_cast<const char*>(m->address), "child");
  platform::unmap_memory(*m);
}

TEST(platform_shared_memory, memory_that_a_peer_can_take_away_is_refused) {
  EXPECT_EQ(error_of_mapping(make_memfd(4096, F_SEAL_SHRINK), 4096), error{});
  EXPECT_EQ(error_of_mapping(make_memfd(4096, 0), 4096), error::invalid_argument);
  EXPECT_EQ(error_of_mapping(make_memfd(4096, F_SEAL_GROW), 4096), error::invalid_argument);
  EXPECT_EQ(error_of_mapping(make_memfd(4096, 0, MFD_CLOEXEC), 4096), error::invalid_argument);
  EXPECT_EQ(error_of_mapping(open("/proc/self/exe", O_RDONLY | O_CLOEXEC), 1),
            error::invalid_argument);
}

TEST(platform_shared_memory, memory_that_is_too_small_is_refused) {
  EXPECT_EQ(error_of_mapping(make_memfd(4096, F_SEAL_SHRINK), 4097), error::invalid_argument);
  EXPECT_EQ(error_of_mapping(make_memfd(4096, F_SEAL_SHRINK), 0), error::invalid_argument);
  EXPECT_EQ(error_of_mapping(make_memfd(4096, F_SEAL_SHRINK), SIZE_MAX), error::invalid_argument);
}

TEST(platform_shared_memory, memory_that_cannot_be_written_is_refused) {
  EXPECT_EQ(error_of_mapping(make_memfd(4096, F_SEAL_SHRINK | F_SEAL_WRITE), 4096),
            error::operation_not_permitted);
}

TEST(platform_shared_memory, errors_are_exact) {
  EXPECT_EQ(error_of_mapping(-1, 4096), error::bad_file_descriptor);
  for (const bool shareable : {false, true}) {
    EXPECT_EQ(platform::map_memory(0, shareable, "x").error(), error::invalid_argument);
    EXPECT_EQ(platform::map_memory(SIZE_MAX, shareable, "x").error(), error::not_enough_memory);
    EXPECT_EQ(platform::map_memory(SIZE_MAX / 4, shareable, "x").error(), error::not_enough_memory);
  }
}

TEST(platform_shared_memory, out_of_descriptors) {
  const int fd = make_memfd(4096, F_SEAL_SHRINK);
  rlimit before;
  getrlimit(RLIMIT_NOFILE, &before);
  const rlimit none{0, before.rlim_max};
  setrlimit(RLIMIT_NOFILE, &none);
  const auto made = platform::map_memory(4096, true, "x");
  const auto mapped = platform::map_memory_fd(fd, 4096);
  setrlimit(RLIMIT_NOFILE, &before);
  close(fd);
  EXPECT_EQ(made.error(), error::too_many_files_open);
  EXPECT_EQ(mapped.error(), error::too_many_files_open);
}

}  // namespace
}  // namespace interlock::test
