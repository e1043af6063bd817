// SPDX-License-Identifier: Apache-2.0

/// The memory of seqno cells.

#include "interlock/seqno_buffer.hpp"

#include <filesystem>
#include <fstream>
#include <string>

#include "interlock/rcupdate.hpp"
#include "seqno_test_support.hpp"

namespace interlock::test {
namespace {

using seqno_buffer_test = report_test;

TEST_F(seqno_buffer_test, cells_begin_as_zero) {
  const auto buffer = make_seqno_buffer(3).value();
  EXPECT_EQ(seqno_buffer_cells(*buffer), 3u);
  EXPECT_EQ(seqno_buffer_fd(*buffer), -1);
  for (std::size_t i = 0; i < 3; ++i) {
    seqno_cell& cell = seqno_buffer_cell(*buffer, i);
    EXPECT_EQ(cell.value.load_relaxed(), 0u);
    EXPECT_EQ(cell.waiters.load_relaxed(), 0u);
    EXPECT_EQ(cell.doorbell.load_relaxed(), 0u);
    EXPECT_EQ(reinterpret_cast<std::uintptr_t>(&cell) % 64, 0u);
  }
}

TEST_F(seqno_buffer_test, refuses_sizes_that_make_no_sense) {
  EXPECT_EQ(make_seqno_buffer(0).error(), error::invalid_argument);
  EXPECT_EQ(make_seqno_buffer(SIZE_MAX / 32).error(), error::not_enough_memory);
  EXPECT_EQ(make_seqno_buffer(PTRDIFF_MAX / 64).error(), error::not_enough_memory);
}

TEST_F(seqno_buffer_test, an_imported_buffer_is_the_same_memory) {
  const auto made = make_seqno_buffer(2, true).value();
  ASSERT_GE(seqno_buffer_fd(*made), 0);
  auto imported = import_seqno_buffer(seqno_buffer_fd(*made), 2).value();
  EXPECT_NE(seqno_buffer_fd(*imported), seqno_buffer_fd(*made)) << "it has a descriptor of its own";
  seqno_buffer_cell(*made, 1).value.store_release(42);
  EXPECT_EQ(seqno_buffer_cell(*imported, 1).value.load_acquire(), 42u);
  imported.reset();
  seqno_buffer_cell(*made, 1).value.store_release(43);
}

constexpr const char* file_of_buffers = "memfd:interlock-seqno";

int mappings_of_buffers() {
  int count = 0;
  std::ifstream maps{"/proc/self/maps"};
  for (std::string text; std::getline(maps, text);) {
    count += text.find(file_of_buffers) != std::string::npos ? 1 : 0;
  }
  return count;
}

int descriptors_of_buffers() {
  int count = 0;
  for (const auto& fd : std::filesystem::directory_iterator{"/proc/self/fd"}) {
    std::error_code closed_meanwhile;
    const std::string file = std::filesystem::read_symlink(fd.path(), closed_meanwhile).string();
    count += file.find(file_of_buffers) != std::string::npos ? 1 : 0;
  }
  return count;
}

TEST_F(seqno_buffer_test, the_last_put_returns_mapping_and_descriptor) {
  rcu_barrier();  // those of other tests
  ASSERT_EQ(mappings_of_buffers(), 0);
  ASSERT_EQ(descriptors_of_buffers(), 0);
  auto made = make_seqno_buffer(2, true).value();
  auto second = made;
  auto imported = import_seqno_buffer(seqno_buffer_fd(*made), 2).value();
  EXPECT_EQ(mappings_of_buffers(), 2);
  EXPECT_EQ(descriptors_of_buffers(), 2);
  made.reset();
  rcu_barrier();
  EXPECT_EQ(mappings_of_buffers(), 2) << "somebody holds it";
  second.reset();
  rcu_barrier();
  EXPECT_EQ(mappings_of_buffers(), 1);
  EXPECT_EQ(descriptors_of_buffers(), 1);
  imported.reset();
  rcu_barrier();
  EXPECT_EQ(mappings_of_buffers(), 0);
  EXPECT_EQ(descriptors_of_buffers(), 0);
}

TEST_F(seqno_buffer_test, a_fence_keeps_the_memory_and_the_last_one_returns_it) {
  rcu_barrier();  // those of other tests
  mock_provider provider;
  auto timeline =
      make_seqno_timeline(mock_provider::ops, &provider, make_seqno_buffer(1, true).value(), 0)
          .value();
  ++provider.to_release;
  auto fence = fence_at(timeline, 1);
  timeline.reset();
  for (int i = 0; i < 3; ++i) rcu_barrier();
  EXPECT_EQ(mappings_of_buffers(), 1);
  fence.reset();
  for (int i = 0; i < 3; ++i) rcu_barrier();  // the fence's, the timeline's, the buffer's
  EXPECT_EQ(mappings_of_buffers(), 0);
  EXPECT_EQ(descriptors_of_buffers(), 0);
}

TEST_F(seqno_buffer_test, an_import_larger_than_the_file_is_refused) {
  const auto made = make_seqno_buffer(1, true).value();
  const int fd = seqno_buffer_fd(*made);
  EXPECT_EQ(import_seqno_buffer(fd, 2).error(), error::invalid_argument);
  EXPECT_EQ(import_seqno_buffer(fd, 0).error(), error::invalid_argument);
  EXPECT_EQ(import_seqno_buffer(fd, SIZE_MAX / 64).error(), error::invalid_argument);
  EXPECT_EQ(import_seqno_buffer(-1, 1).error(), error::bad_file_descriptor);
}

TEST_F(seqno_buffer_test, an_index_out_of_range_ends_the_program) {
  const auto buffer = make_seqno_buffer(1).value();
  EXPECT_DEATH(
      {
        set_report_action(report_action::log);
        (void)seqno_buffer_cell(*buffer, 1);
      },
      "kernel BUG at");
}

}  // namespace
}  // namespace interlock::test
