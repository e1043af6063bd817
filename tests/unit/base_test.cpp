// SPDX-License-Identifier: Apache-2.0
#include <gtest/gtest.h>

#include <cstdlib>
#include <string>

#include "interlock/error.hpp"
#include "interlock/list.hpp"
#include "interlock/llist.hpp"
#include "interlock/options.hpp"
#include "interlock/refcount.hpp"
#include "interlock/result.hpp"

namespace interlock {
namespace {

struct item {
  int value = 0;
  list_head node{};
};

std::string values_of(list_head& head) {
  std::string all;
  for (list_head* n = head.next; n != &head; n = n->next) {
    all += std::to_string(INTERLOCK_CONTAINER_OF(n, item, node)->value);
  }
  return all;
}

TEST(list, keeps_order_and_unlinks) {
  list_head head;
  list_init(head);
  EXPECT_TRUE(list_empty(head));
  item a{1}, b{2}, c{3};
  list_add(a.node, head);
  list_add_tail(b.node, head);
  list_add(c.node, head);
  EXPECT_EQ(values_of(head), "312");
  list_del_init(a.node);
  EXPECT_EQ(values_of(head), "32");
  EXPECT_TRUE(list_empty(a.node));
  list_del_init(a.node);  // once more changes nothing
  EXPECT_EQ(values_of(head), "32");
}

TEST(list, moves_all_nodes) {
  list_head from, to;
  list_init(from);
  list_init(to);
  item a{1}, b{2};
  list_replace_init(from, to);
  EXPECT_TRUE(list_empty(to));
  list_add_tail(a.node, from);
  list_add_tail(b.node, from);
  list_replace_init(from, to);
  EXPECT_TRUE(list_empty(from));
  EXPECT_EQ(values_of(to), "12");
  list_del_init(b.node);
  list_del_init(a.node);
  EXPECT_TRUE(list_empty(to));
}

TEST(llist, takes_newest_first_and_tells_the_first_pusher) {
  llist_head head;
  llist_node a{}, b{}, c{};
  EXPECT_TRUE(head.push(a));
  EXPECT_FALSE(head.push(b));
  EXPECT_FALSE(head.push(c));
  llist_node* all = head.take_all();
  EXPECT_TRUE(head.empty());
  EXPECT_EQ(all, &c);
  all = llist_reverse(all);
  EXPECT_EQ(all, &a);
  EXPECT_EQ(all->next, &b);
  EXPECT_EQ(all->next->next, &c);
  EXPECT_EQ(c.next, nullptr);
  EXPECT_EQ(head.take_all(), nullptr);
  EXPECT_TRUE(head.push(a));
}

TEST(refcount, zero_is_final) {
  refcount r;
  r.get();
  EXPECT_FALSE(r.put());
  EXPECT_TRUE(r.get_unless_zero());
  EXPECT_FALSE(r.put());
  EXPECT_TRUE(r.put());
  EXPECT_FALSE(r.get_unless_zero());
  EXPECT_EQ(r.read(), 0u);
}

/// Neither brings the object back, nor lets it end a second time.
TEST(refcount, a_reference_to_what_has_ended_saturates) {
  refcount r;
  EXPECT_TRUE(r.put());
  r.get();
  EXPECT_EQ(r.read(), refcount::saturated);
  EXPECT_FALSE(r.put());

  refcount twice;
  EXPECT_TRUE(twice.put());
  EXPECT_FALSE(twice.put());
  EXPECT_EQ(twice.read(), refcount::saturated);
}

TEST(refcount, saturates_instead_of_wrapping) {
  refcount r;
  r.count.store_relaxed(refcount::limit);
  r.get();
  EXPECT_EQ(r.read(), refcount::saturated);
  EXPECT_TRUE(r.get_unless_zero());
  EXPECT_FALSE(r.put());
  EXPECT_GE(r.read(), refcount::limit);
  r.count.store_relaxed(0);
  EXPECT_FALSE(r.put()) << "a put too many is not the last put";
  EXPECT_GE(r.read(), refcount::limit) << "and leaks";
}

struct counted {
  int references = 0;
};
void intrusive_get(counted& c) { ++c.references; }
void intrusive_put(counted& c) { --c.references; }

TEST(ref_ptr, counts) {
  counted object;
  {
    ref_ptr<counted> a = ref_ptr<counted>::share(object);
    EXPECT_EQ(object.references, 1);
    ref_ptr<counted> b = a;
    EXPECT_EQ(object.references, 2);
    EXPECT_TRUE(a == b);
    ref_ptr<counted> c = std::move(b);
    EXPECT_EQ(object.references, 2);
    EXPECT_FALSE(b);  // NOLINT(bugprone-use-after-move): a moved-from pointer is null
    const ref_ptr<counted>& same = c;
    c = same;
    EXPECT_EQ(object.references, 2);
    counted* const raw = c.release();
    EXPECT_EQ(object.references, 2);
    c = ref_ptr<counted>::adopt(raw);
    c.reset();
    EXPECT_EQ(object.references, 1);
  }
  EXPECT_EQ(object.references, 0);
}

TEST(error, has_errno_values_and_names) {
  EXPECT_EQ(to_negative_errno(error::timed_out), -ETIMEDOUT);
  EXPECT_EQ(from_negative_errno(-EINTR), error::interrupted);
  EXPECT_STREQ(error_name(error::no_space_on_device), "ENOSPC");
  EXPECT_STREQ(error_name(static_cast<error>(4000)), "unknown");
  EXPECT_TRUE(make_error_code(error::interrupted) == std::errc::interrupted);
}

result<int> half_of(int number) {
  if (number % 2 != 0) return error::invalid_argument;
  return number / 2;
}

result<int> quarter_of(int number) {
  INTERLOCK_TRY(half_of(number));
  return half_of(number / 2);
}

TEST(result, holds_a_value_or_an_error) {
  EXPECT_EQ(quarter_of(8).value(), 2);
  EXPECT_EQ(quarter_of(7).error(), error::invalid_argument);
  EXPECT_EQ(quarter_of(6).error(), error::invalid_argument);
  EXPECT_EQ(half_of(3).value_or(7), 7);
  result<void> none;
  EXPECT_TRUE(none.has_value());
  EXPECT_EQ(to_negative_errno(none), 0);
  EXPECT_EQ(to_negative_errno(result<void>{error::timed_out}), -ETIMEDOUT);
}

/// Sets the options for a scope.
class options {
 public:
  explicit options(const char* value) { setenv("INTERLOCK_OPTIONS", value, 1); }
  options(const options&) = delete;
  options& operator=(const options&) = delete;
  ~options() { unsetenv("INTERLOCK_OPTIONS"); }
};

TEST(options, finds_keys_whole) {
  const options o{"xreport=1:report=log:size=12:bad=12x:empty="};
  char text[8];
  EXPECT_TRUE(option_text("report", text, sizeof text));
  EXPECT_STREQ(text, "log");
  EXPECT_FALSE(option_text("repor", text, sizeof text));
  EXPECT_FALSE(option_text("port", text, sizeof text));
  EXPECT_EQ(option_integer("size", 3), 12);
  EXPECT_EQ(option_integer("bad", 3), 3);
  EXPECT_EQ(option_integer("empty", 3), 3);
  EXPECT_EQ(option_integer("absent", 3), 3);
  char tiny[3];
  EXPECT_TRUE(option_text("report", tiny, sizeof tiny));
  EXPECT_STREQ(tiny, "lo");
}

TEST(options, absent_environment) {
  unsetenv("INTERLOCK_OPTIONS");
  EXPECT_EQ(option_integer("size", 3), 3);
}

}  // namespace
}  // namespace interlock
