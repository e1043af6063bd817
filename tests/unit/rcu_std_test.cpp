// SPDX-License-Identifier: Apache-2.0

/// The C++26 names over the same RCU.

#include "interlock/rcu.hpp"

#include <mutex>

#include "rcu_test_support.hpp"
#include "support/rounds.hpp"

namespace interlock::test {
namespace {

using std_rcu::rcu_default_domain;
using std_rcu::rcu_obj_base;

struct plain_deleter_object;
static_assert(sizeof(rcu_obj_base<plain_deleter_object>) == sizeof(rcu_head),
              "an empty deleter takes no room, and T may be incomplete");
static_assert(std::is_trivially_copyable_v<rcu_head>);
static_assert(!std::is_copy_constructible_v<std_rcu::rcu_domain>);
static_assert(!std::is_default_constructible_v<std_rcu::rcu_domain>);

TEST(rcu_std, a_domain_is_a_lockable) {
  {
    const std::scoped_lock region{rcu_default_domain()};
    EXPECT_TRUE(rcu_read_lock_held());
    const std::unique_lock inner{rcu_default_domain(), std::try_to_lock};
    EXPECT_TRUE(inner.owns_lock());
  }
  EXPECT_FALSE(rcu_read_lock_held());
  EXPECT_EQ(&rcu_default_domain(), &rcu_default_domain());
}

TEST(rcu_std, synchronize_waits_for_regions) {
  held_reader reader;
  atomic<bool> left{false};
  kthread updater = start([&] {
    std_rcu::rcu_synchronize();
    EXPECT_TRUE(left.load_acquire());
  });
  left.store_release(true);
  reader.leave();
  updater.join();
}

TEST(rcu_std, retire_deletes_after_the_regions) {
  static int destroyed = 0;
  struct object : rcu_obj_base<object> {
    ~object() { ++destroyed; }
    int value = 0;
  };
  {
    held_reader reader;
    (new object)->retire();
    for (int i = 0; i < rounds(100); ++i) platform::yield();
    EXPECT_EQ(destroyed, 0);
  }
  std_rcu::rcu_barrier();
  EXPECT_EQ(destroyed, 1);
}

struct counting_object;
struct counting_deleter {
  int* count = nullptr;
  void operator()(counting_object*) const { ++*count; }
};
struct counting_object : rcu_obj_base<counting_object, counting_deleter> {};

TEST(rcu_std, retire_takes_a_deleter_with_state) {
  int count = 0;
  counting_object object;
  object.retire(counting_deleter{&count});
  std_rcu::rcu_barrier();
  EXPECT_EQ(count, 1);
}

TEST(rcu_std, the_base_need_not_be_first) {
  static int destroyed = 0;
  struct other {
    virtual ~other() { ++destroyed; }
    char room[40] = {};
  };
  struct object : other, rcu_obj_base<object> {};
  (new object)->retire();
  std_rcu::rcu_barrier();
  EXPECT_EQ(destroyed, 1);
}

TEST(rcu_std, foreign_objects_are_retired_too) {
  int deleted = 0;
  auto* const number = new int{1};
  ASSERT_TRUE(std_rcu::rcu_retire(number, [&deleted](const int* p) {
    ++deleted;
    delete p;
  }));
  std_rcu::rcu_barrier();
  EXPECT_EQ(deleted, 1);
  ASSERT_TRUE(std_rcu::rcu_retire(new int{2}));
  std_rcu::rcu_barrier();
}

}  // namespace
}  // namespace interlock::test
