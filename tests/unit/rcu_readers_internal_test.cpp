// SPDX-License-Identifier: Apache-2.0

/// The arithmetic on readers' words, at the ends of its ranges.

#include <gtest/gtest.h>

#include "rcu/readers.hpp"

namespace interlock::test {
namespace {

using detail::is_older_reader;
using detail::next_reader_word;
using detail::rcu_ready;

constexpr std::uint64_t word_of(std::uint64_t number) { return number << 16 | rcu_ready | 1; }
constexpr std::uint64_t numbers = std::uint64_t{1} << 46;

static_assert(next_reader_word(word_of(1)) == word_of(2));
static_assert(next_reader_word(word_of(numbers - 1)) == word_of(0));

TEST(rcu_word, an_older_reader_is_waited_for) {
  EXPECT_TRUE(is_older_reader(word_of(4), word_of(5)));
  EXPECT_TRUE(is_older_reader(word_of(1), word_of(numbers / 2)));
  EXPECT_TRUE(is_older_reader(word_of(4) & ~rcu_ready, word_of(5))) << "without membarrier";
  EXPECT_TRUE(is_older_reader(word_of(4) + 6, word_of(5))) << "nested";
}

TEST(rcu_word, an_idle_or_newer_one_is_not) {
  EXPECT_FALSE(is_older_reader(0, word_of(5)));
  EXPECT_FALSE(is_older_reader(word_of(4) - 1, word_of(5)));
  EXPECT_FALSE(is_older_reader(word_of(5), word_of(5)));
  EXPECT_FALSE(is_older_reader(word_of(6), word_of(5)));
}

TEST(rcu_word, numbers_are_cyclic) {
  EXPECT_TRUE(is_older_reader(word_of(numbers - 1), word_of(0)));
  EXPECT_FALSE(is_older_reader(word_of(0), word_of(numbers - 1)));
  EXPECT_TRUE(is_older_reader(word_of(numbers - 3), word_of(2)));
}

TEST(rcu_word, a_shared_one_is_waited_for_elsewhere) {
  EXPECT_FALSE(is_older_reader(detail::rcu_shared | 1, word_of(5)));
  EXPECT_FALSE(is_older_reader(detail::rcu_shared | std::uint64_t{1} << 62 | 3, word_of(5)));
}

}  // namespace
}  // namespace interlock::test
