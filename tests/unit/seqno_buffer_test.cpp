// SPDX-License-Identifier: Apache-2.0

/// The memory of seqno cells.

#include "interlock/seqno_buffer.hpp"

#include "support/report_recorder.hpp"

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
