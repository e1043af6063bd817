// SPDX-License-Identifier: Apache-2.0

/// The fence without waiting: signal, callbacks, arming, status, order, references.

#include "fence_test_support.hpp"
#include "interlock/rcupdate.hpp"
#include "interlock_platform/park.hpp"
#include "support/rounds.hpp"

namespace interlock::test {
namespace {

using dma_fence_test = report_test;

constexpr deadline at_ns(std::int64_t ns) { return deadline{ktime{ns}}; }

// --- signal --------------------------------------------------------------------------------------

TEST_F(dma_fence_test, starts_unsignalled_with_one_reference) {
  const auto fence = make_mock(7, 9);
  EXPECT_FALSE(fence->test_signaled_flag());
  EXPECT_FALSE(fence->is_signaled());
  EXPECT_EQ(fence->status(), 0);
  EXPECT_EQ(fence->context, 7u);
  EXPECT_EQ(fence->seqno, 9u);
  EXPECT_EQ(fence->refs.read(), 1u);
}

TEST_F(dma_fence_test, ops_without_a_name_end_the_process) {
  dma_fence_ops no_driver = mock_fence::ops;
  no_driver.get_driver_name = nullptr;
  EXPECT_DEATH((dma_fence{no_driver, 1, 1}), "kernel BUG at (.|\n)*get_driver_name == nullptr");
  dma_fence_ops no_timeline = mock_fence::ops;
  no_timeline.get_timeline_name = nullptr;
  EXPECT_DEATH((dma_fence{no_timeline, 1, 1}), "kernel BUG at (.|\n)*get_timeline_name == nullptr");
}

TEST_F(dma_fence_test, the_second_signal_is_refused) {
  const auto fence = make_mock();
  EXPECT_TRUE(fence->signal());
  EXPECT_TRUE(fence->test_signaled_flag());
  EXPECT_FALSE(fence->signal());
  EXPECT_FALSE(fence->signal_timestamp(at_ns(5)));
  EXPECT_EQ(fence->status(), 1);
}

TEST_F(dma_fence_test, the_second_signal_of_an_armed_fence_is_refused) {
  const auto fence = make_mock();
  fence->enable_sw_signaling();
  EXPECT_TRUE(fence->signal());
  EXPECT_FALSE(fence->signal());
}

TEST_F(dma_fence_test, signals_under_its_lock) {
  for (const bool armed : {false, true}) {
    const auto fence = make_mock();
    if (armed) fence->enable_sw_signaling();
    const guard g{irqsave, fence->lock};
    EXPECT_TRUE(fence->signal_locked());
    EXPECT_FALSE(fence->signal_locked());
  }
}

TEST_F(dma_fence_test, signals_at_a_time_under_its_lock) {
  const auto fence = make_mock();
  counting_callback cb;
  EXPECT_TRUE(cb.add_to(*fence));
  {
    const guard g{irqsave, fence->lock};
    EXPECT_TRUE(fence->signal_timestamp_locked(at_ns(5)));
    EXPECT_FALSE(fence->signal_timestamp_locked(at_ns(6)));
  }
  EXPECT_EQ(cb.runs.load_relaxed(), 1);
  EXPECT_EQ(fence->timestamp(), at_ns(5));
}

/// The unlocked ones would take the lock of an armed fence again, to signal it.
TEST_F(dma_fence_test, is_asked_under_its_lock) {
  for (const bool by_status : {false, true}) {
    const auto fence = make_mock();
    counting_callback cb;
    EXPECT_TRUE(cb.add_to(*fence));
    const auto ask = [&] {
      const guard g{irqsave, fence->lock};
      return by_status ? fence->status_locked() : static_cast<int>(fence->is_signaled_locked());
    };
    EXPECT_EQ(ask(), 0);
    EXPECT_EQ(cb.runs.load_relaxed(), 0);
    mock(fence).done.store_release(true);
    EXPECT_EQ(ask(), 1);
    EXPECT_EQ(cb.runs.load_relaxed(), 1);
    EXPECT_TRUE(fence->test_signaled_flag());
    EXPECT_EQ(ask(), 1);
  }
}

TEST_F(dma_fence_test, the_error_is_told_under_its_lock) {
  const auto fence = make_mock();
  fence->set_error(error::io_error);
  fence->signal();
  const guard g{irqsave, fence->lock};
  EXPECT_EQ(fence->status_locked(), -EIO);
}

TEST_F(dma_fence_test, matches_its_own_context) {
  const auto fence = make_mock(7, 9);
  EXPECT_TRUE(dma_fence_match_context(*fence, 7));
  EXPECT_FALSE(dma_fence_match_context(*fence, 9));
}

TEST_F(dma_fence_test, signal_without_waiter_takes_no_lock) {
  const auto fence = make_mock();
  const guard g{irqsave, fence->lock};  // would end in a report of recursion
  EXPECT_TRUE(fence->signal());
}

TEST_F(dma_fence_test, core_flags_of_the_constructor_are_ignored) {
  const auto fence = make_mock(1, 1, dma_fence_flag::signaled | dma_fence_flag::enable_signal);
  EXPECT_FALSE(fence->test_signaled_flag());
  fence->enable_sw_signaling();
  EXPECT_EQ(mock(fence).enabled.load_relaxed(), 1);
  fence->signal();
}

// --- callbacks -----------------------------------------------------------------------------------

TEST_F(dma_fence_test, callbacks_run_once_in_order_under_the_lock) {
  const auto fence = make_mock();
  std::vector<counting_callback*> order;
  order.reserve(3);
  counting_callback cbs[3];
  for (auto& cb : cbs) {
    cb.order = &order;
    EXPECT_TRUE(cb.add_to(*fence));
  }
  EXPECT_EQ(mock(fence).enabled.load_relaxed(), 1);
  fence->signal();
  fence->signal();
  ASSERT_EQ(order.size(), 3u);
  for (int i = 0; i < 3; ++i) {
    EXPECT_EQ(order[static_cast<std::size_t>(i)], &cbs[i]);
    EXPECT_EQ(cbs[i].runs.load_relaxed(), 1);
    EXPECT_TRUE(cbs[i].irqs_were_off);
    EXPECT_TRUE(cbs[i].lock_was_held);
    EXPECT_TRUE(cbs[i].was_unlinked);
    EXPECT_TRUE(cbs[i].saw_signaled);
  }
}

TEST_F(dma_fence_test, a_late_callback_is_refused_and_does_not_run) {
  const auto fence = make_mock();
  fence->signal();
  counting_callback cb;
  const auto added = cb.add_to(*fence);
  ASSERT_FALSE(added);
  EXPECT_EQ(added.error(), error::no_such_file_or_directory);
  EXPECT_TRUE(list_empty(cb.cb.node));
  EXPECT_FALSE(fence->remove_callback(cb.cb));
  EXPECT_EQ(cb.runs.load_relaxed(), 0);
  EXPECT_EQ(mock(fence).enabled.load_relaxed(), 0);
}

TEST_F(dma_fence_test, a_callback_without_function_is_refused) {
  const auto fence = make_mock();
  dma_fence_cb cb;
  const auto added = fence->add_callback(cb, nullptr);
  ASSERT_FALSE(added);
  EXPECT_EQ(added.error(), error::invalid_argument);
  EXPECT_TRUE(list_empty(cb.node));
  EXPECT_EQ(mock(fence).enabled.load_relaxed(), 0);
}

TEST_F(dma_fence_test, a_removed_callback_does_not_run) {
  const auto fence = make_mock();
  counting_callback first;
  counting_callback second;
  ASSERT_TRUE(first.add_to(*fence));
  ASSERT_TRUE(second.add_to(*fence));
  EXPECT_TRUE(fence->remove_callback(first.cb));
  EXPECT_FALSE(fence->remove_callback(first.cb));
  fence->signal();
  EXPECT_EQ(first.runs.load_relaxed(), 0);
  EXPECT_EQ(second.runs.load_relaxed(), 1);
  EXPECT_FALSE(fence->remove_callback(second.cb));
}

TEST_F(dma_fence_test, a_callback_may_free_itself_and_drop_references) {
  struct owned {
    dma_fence_cb cb;
    ref_ptr<dma_fence> other;
  };
  const auto fence = make_mock();
  auto* const mine = new owned{{}, make_mock()};
  ASSERT_TRUE(fence->add_callback(mine->cb, [](dma_fence*, dma_fence_cb* cb) {
    delete INTERLOCK_CONTAINER_OF(cb, owned, cb);
  }));
  fence->signal();
}

/// Under the lock that an addition takes.
TEST_F(dma_fence_test, a_callback_that_adds_one_to_its_own_fence_is_refused) {
  struct adding {
    dma_fence_cb cb;
    counting_callback late;
    bool added = true;
  } self;
  const auto fence = make_mock();
  ASSERT_TRUE(fence->add_callback(self.cb, [](dma_fence* f, dma_fence_cb* cb) {
    adding& mine = *INTERLOCK_CONTAINER_OF(cb, adding, cb);
    mine.added = mine.late.add_to(*f).has_value();
  }));
  fence->signal();
  EXPECT_FALSE(self.added);
  EXPECT_EQ(self.late.runs.load_relaxed(), 0);
}

TEST_F(dma_fence_test, a_callback_may_signal_other_fences) {
  struct chained {
    dma_fence_cb cb;
    dma_fence* next;
  };
  const auto first = make_mock(1, 1);
  const auto second = make_mock(2, 1);
  counting_callback at_end;
  ASSERT_TRUE(at_end.add_to(*second));
  chained link{{}, second.get()};
  ASSERT_TRUE(first->add_callback(link.cb, [](dma_fence*, dma_fence_cb* cb) {
    INTERLOCK_CONTAINER_OF(cb, chained, cb)->next->signal();
  }));
  first->signal();
  EXPECT_EQ(at_end.runs.load_relaxed(), 1);
}

// --- arming --------------------------------------------------------------------------------------

TEST_F(dma_fence_test, enable_signaling_is_called_once_under_the_lock) {
  const auto fence = make_mock();
  fence->enable_sw_signaling();
  fence->enable_sw_signaling();
  EXPECT_EQ(mock(fence).enabled.load_relaxed(), 1);
  EXPECT_TRUE(mock(fence).irqs_were_off);
  EXPECT_TRUE(mock(fence).lock_was_held);
  fence->signal();
  fence->enable_sw_signaling();
  EXPECT_EQ(mock(fence).enabled.load_relaxed(), 1);
}

TEST_F(dma_fence_test, is_signaled_never_arms) {
  const auto fence = make_mock();
  for (int i = 0; i < 3; ++i) EXPECT_FALSE(fence->is_signaled());
  EXPECT_EQ(mock(fence).peeked.load_relaxed(), 3);
  EXPECT_EQ(mock(fence).enabled.load_relaxed(), 0);
  EXPECT_FALSE(fence->test_signaled_flag());
}

TEST_F(dma_fence_test, a_peek_that_says_done_signals) {
  const auto fence = make_mock();
  counting_callback cb;
  ASSERT_TRUE(cb.add_to(*fence));
  mock(fence).done.store_release(true);
  EXPECT_FALSE(fence->test_signaled_flag());
  EXPECT_TRUE(fence->is_signaled());
  EXPECT_TRUE(fence->test_signaled_flag());
  EXPECT_EQ(cb.runs.load_relaxed(), 1);
}

TEST_F(dma_fence_test, a_refused_arming_signals_at_once) {
  const auto fence = make_mock();
  mock(fence).accepts.store_relaxed(false);
  mock(fence).error_on_enable.store_relaxed(ENODEV);
  counting_callback cb;
  const auto added = cb.add_to(*fence);
  ASSERT_FALSE(added);
  EXPECT_EQ(added.error(), error::no_such_file_or_directory);
  EXPECT_EQ(fence->status(), -ENODEV);
  EXPECT_EQ(cb.runs.load_relaxed(), 0);
}

TEST_F(dma_fence_test, a_fence_without_optional_ops_can_be_armed) {
  static constexpr dma_fence_ops bare{mock_fence::driver_name,
                                      mock_fence::timeline_name,
                                      nullptr,
                                      nullptr,
                                      nullptr,
                                      nullptr,
                                      nullptr};
  const auto fence = make_mock(1, 1, 0, bare);
  EXPECT_FALSE(fence->is_signaled());
  counting_callback cb;
  EXPECT_TRUE(cb.add_to(*fence));
  fence->set_deadline(no_deadline);
  fence->signal();
  EXPECT_EQ(cb.runs.load_relaxed(), 1);
}

// --- errors, status ------------------------------------------------------------------------------

TEST_F(dma_fence_test, the_error_is_the_status_of_a_signalled_fence) {
  const auto fence = make_mock();
  fence->set_error(error::io_error);
  fence->set_error(error::operation_canceled);  // until the signal it may be changed
  EXPECT_EQ(fence->status(), 0);
  fence->signal();
  EXPECT_EQ(fence->status(), -ECANCELED);
}

TEST_F(dma_fence_test, an_error_after_the_signal_is_reported_and_ignored) {
  const auto fence = make_mock();
  fence->signal();
  fence->set_error(error::io_error);
  EXPECT_TRUE(reports.took(report_kind::warning, "WARNING: "));
  EXPECT_EQ(fence->status(), 1);
}

TEST_F(dma_fence_test, an_error_that_is_no_errno_is_reported_and_ignored) {
  const auto fence = make_mock();
  fence->set_error(static_cast<error>(0));
  EXPECT_TRUE(reports.took(report_kind::warning, "WARNING: "));
  fence->set_error(static_cast<error>(4096));
  EXPECT_TRUE(reports.took(report_kind::warning, "WARNING: "));
  fence->set_error(static_cast<error>(4095));
  fence->signal();
  EXPECT_EQ(fence->status(), -4095);
}

TEST_F(dma_fence_test, status_asks_the_peek) {
  const auto fence = make_mock();
  mock(fence).done.store_release(true);
  EXPECT_EQ(fence->status(), 1);
}

// --- the timestamp -------------------------------------------------------------------------------

TEST_F(dma_fence_test, a_supplied_timestamp_is_kept) {
  const auto fence = make_mock();
  EXPECT_TRUE(fence->signal_timestamp(at_ns(123)));
  EXPECT_EQ(fence->timestamp(), at_ns(123));
}

TEST_F(dma_fence_test, an_armed_fence_is_stamped_at_the_signal) {
  const auto fence = make_mock();
  fence->enable_sw_signaling();
  const deadline before = monotonic_clock::now();
  fence->signal();
  const deadline after = monotonic_clock::now();
  EXPECT_GE(fence->timestamp(), before);
  EXPECT_LE(fence->timestamp(), after);
}

TEST_F(dma_fence_test, want_timestamp_stamps_an_unarmed_fence) {
  const auto fence = make_mock(1, 1, dma_fence_flag::want_timestamp);
  fence->signal();
  EXPECT_NE(fence->flags.load_relaxed() & dma_fence_flag::timestamp, 0u);
  EXPECT_LE(fence->timestamp(), monotonic_clock::now());
}

TEST_F(dma_fence_test, an_unarmed_fence_is_stamped_when_somebody_asks) {
  const auto fence = make_mock();
  fence->signal();
  EXPECT_EQ(fence->flags.load_relaxed() & dma_fence_flag::timestamp, 0u);
  const deadline first = fence->timestamp();
  EXPECT_EQ(fence->timestamp(), first);
}

TEST_F(dma_fence_test, the_timestamp_of_an_unsignalled_fence_is_reported) {
  const auto fence = make_mock();
  (void)fence->timestamp();
  EXPECT_TRUE(reports.took(report_kind::warning, "WARNING: "));
}

TEST_F(dma_fence_test, a_callback_may_read_the_timestamp) {
  const auto fence = make_mock();
  struct reader {
    dma_fence_cb cb;
    deadline seen;
  } r{{}, {}};
  ASSERT_TRUE(fence->add_callback(r.cb, [](dma_fence* f, dma_fence_cb* cb) {
    INTERLOCK_CONTAINER_OF(cb, reader, cb)->seen = f->timestamp();
  }));
  fence->signal();
  EXPECT_EQ(r.seen, fence->timestamp());
}

// --- names, deadline hints -----------------------------------------------------------------------

TEST_F(dma_fence_test, ops_are_detached_at_the_signal) {
  const auto fence = make_mock(3, 4);
  {
    const guard g{rcu};
    EXPECT_STREQ(fence->driver_name(), "mock");
    EXPECT_STREQ(fence->timeline_name(), "line");
  }
  fence->signal();
  EXPECT_EQ(rcu_access_pointer(fence->ops), nullptr);
  const guard g{rcu};
  EXPECT_STREQ(fence->driver_name(), "signaled-driver");
  EXPECT_STREQ(fence->timeline_name(), "signaled-timeline");
}

void release_and_free(dma_fence* fence) { dma_fence_free(*fence); }
int never_wait(dma_fence*, bool, std::int64_t) { return -ETIMEDOUT; }

TEST_F(dma_fence_test, ops_with_a_release_or_wait_op_are_kept) {
  dma_fence_ops with_release = mock_fence::ops;
  with_release.release = release_and_free;
  dma_fence_ops with_wait = mock_fence::ops;
  with_wait.wait = never_wait;
  for (const dma_fence_ops* ops : {&with_release, &with_wait}) {
    const auto fence = make_mock(1, 1, 0, *ops);
    fence->signal();
    EXPECT_EQ(rcu_access_pointer(fence->ops), ops);
  }
}

TEST_F(dma_fence_test, hints_reach_the_maker_until_the_signal) {
  const auto fence = make_mock();
  fence->set_deadline(no_deadline);
  fence->set_deadline(at_ns(1));
  EXPECT_EQ(mock(fence).hinted.load_relaxed(), 2);
  fence->signal();
  fence->set_deadline(at_ns(1));
  EXPECT_EQ(mock(fence).hinted.load_relaxed(), 2);
}

TEST_F(dma_fence_test, describes_itself) {
  const auto fence = make_mock(3, 4);
  char text[200];
  const std::size_t size = fence->describe(text, sizeof text);
  EXPECT_STREQ(text, "driver=mock timeline=line context=3 seqno=4 unsignaled");
  EXPECT_EQ(size, std::strlen(text));
  fence->set_error(error::io_error);
  fence->signal();
  fence->describe(text, sizeof text);
  EXPECT_STREQ(text,
               "driver=signaled-driver timeline=signaled-timeline context=3 seqno=4 signaled "
               "error=-5");
}

TEST_F(dma_fence_test, a_description_is_cut_to_fit) {
  const auto fence = make_mock();
  char text[8] = "xxxxxxx";
  EXPECT_EQ(fence->describe(text, 0), 0u);
  EXPECT_EQ(text[0], 'x');
  EXPECT_EQ(fence->describe(text, 1), 0u);
  EXPECT_STREQ(text, "");
  EXPECT_EQ(fence->describe(text, sizeof text), 7u);
  EXPECT_STREQ(text, "driver=");
}

// --- references, release -------------------------------------------------------------------------

int released = 0;

TEST_F(dma_fence_test, the_last_put_calls_the_release_op) {
  dma_fence_ops ops = mock_fence::ops;
  ops.release = [](dma_fence* fence) {
    ++released;
    dma_fence_free(*fence);
  };
  released = 0;
  auto fence = make_mock(1, 1, 0, ops);
  auto second = fence;
  fence->signal();
  fence.reset();
  EXPECT_EQ(released, 0);
  second.reset();
  EXPECT_EQ(released, 1);
}

TEST_F(dma_fence_test, the_last_put_with_callbacks_fails_the_fence_and_reports) {
  struct status_reader {
    dma_fence_cb cb;
    int status;
  } reader{{}, 0};
  auto fence = make_mock(5, 6);
  ASSERT_TRUE(fence->add_callback(reader.cb, [](dma_fence* f, dma_fence_cb* cb) {
    INTERLOCK_CONTAINER_OF(cb, status_reader, cb)->status = f->error_code.load_relaxed();
  }));
  fence.reset();
  EXPECT_TRUE(reports.took(report_kind::fence_misuse, "WARNING: "));
  EXPECT_NE(std::strstr(reports.text(), "driver=mock timeline=line context=5 seqno=6"), nullptr)
      << reports.text();
  EXPECT_EQ(reader.status, -EDEADLK);
}

TEST_F(dma_fence_test, the_last_put_without_callbacks_is_silent) {
  auto fence = make_mock();
  fence.reset();
  fence = make_mock();
  fence->enable_sw_signaling();
  fence.reset();
}

TEST_F(dma_fence_test, the_last_put_without_callbacks_is_reported_if_that_is_asked_for) {
  const auto drop_one_of_each = [] {
    setenv("INTERLOCK_OPTIONS", "report=log:fence_report_dropped=1", 1);
    set_report_handler(nullptr, nullptr);
    auto signalled = make_mock(7, 8);
    signalled->signal();
    signalled.reset();
    if (report_count() != 0) std::_Exit(2);
    make_mock(8, 9).reset();
    std::_Exit(report_count() == 1 ? 0 : 1);
  };
  EXPECT_EXIT(drop_one_of_each(), testing::ExitedWithCode(0),
              "dma_fence_release\nfence released before it was signalled: "
              "driver=mock timeline=line context=8 seqno=9 unsignaled\n");
}

TEST_F(dma_fence_test, a_removed_callback_is_not_missed_at_the_last_put) {
  auto fence = make_mock();
  counting_callback cb;
  ASSERT_TRUE(cb.add_to(*fence));
  EXPECT_TRUE(fence->remove_callback(cb.cb));
  fence.reset();
  EXPECT_EQ(cb.runs.load_relaxed(), 0);
}

TEST_F(dma_fence_test, get_rcu_finds_no_fence_whose_count_is_0) {
  auto fence = make_mock();
  dma_fence& raw = *fence;
  const guard g{rcu};
  EXPECT_EQ(dma_fence_get_rcu(raw), fence);
  fence.reset();
  EXPECT_EQ(dma_fence_get_rcu(raw), nullptr);
}

TEST_F(dma_fence_test, get_rcu_safe_takes_what_is_published) {
  rcu_pointer<dma_fence> shared;
  EXPECT_EQ(dma_fence_get_rcu_safe(shared), nullptr);
  const auto fence = make_mock();
  rcu_assign_pointer(shared, fence.get());
  EXPECT_EQ(dma_fence_get_rcu_safe(shared), fence);
  EXPECT_EQ(fence->refs.read(), 1u);
}

// --- contexts, order -----------------------------------------------------------------------------

TEST_F(dma_fence_test, contexts_are_fresh_and_consecutive) {
  const std::uint64_t first = dma_fence_context_alloc(3);
  EXPECT_GE(first, 1u);
  EXPECT_EQ(dma_fence_context_alloc(), first + 3);
  EXPECT_EQ(dma_fence_context_alloc(), first + 4);
}

static_assert(!dma_fence_seqno_is_later(0, 0, false));
static_assert(dma_fence_seqno_is_later(0x7fff'ffff, 0, false));
static_assert(!dma_fence_seqno_is_later(0x8000'0000, 0, false));
static_assert(!dma_fence_seqno_is_later(0, 0x8000'0000, false), "half way round: neither is later");
static_assert(dma_fence_seqno_is_later(0, 0xffff'ffff, false));
static_assert(!dma_fence_seqno_is_later(0xffff'ffff, 0, false));
static_assert(dma_fence_seqno_is_later(0x1'0000'0000, 0xffff'ffff, false), "only 32 bits count");
static_assert(dma_fence_seqno_is_later(0x8000'0000, 0, true));
static_assert(dma_fence_seqno_is_later(UINT64_MAX, 0, true));
static_assert(!dma_fence_seqno_is_later(0, UINT64_MAX, true));

TEST_F(dma_fence_test, later_compares_fences_of_one_context) {
  const auto one = make_mock(1, 1);
  const auto two = make_mock(1, 2);
  EXPECT_TRUE(dma_fence_is_later(*two, *one));
  EXPECT_FALSE(dma_fence_is_later(*one, *two));
  EXPECT_FALSE(dma_fence_is_later(*one, *one));
  EXPECT_TRUE(dma_fence_is_later_or_same(*one, *one));
  EXPECT_TRUE(dma_fence_is_later_or_same(*two, *one));
  EXPECT_FALSE(dma_fence_is_later_or_same(*one, *two));
  const auto wrapped = make_mock(1, 0x8000'0001u);
  EXPECT_FALSE(dma_fence_is_later(*wrapped, *one));
}

TEST_F(dma_fence_test, seqno64_compares_linearly) {
  const auto low = make_mock(1, 1, dma_fence_flag::seqno64);
  const auto high = make_mock(1, 0x8000'0001u, dma_fence_flag::seqno64);
  EXPECT_TRUE(dma_fence_is_later(*high, *low));
}

TEST_F(dma_fence_test, comparing_contexts_is_reported) {
  const auto one = make_mock(1, 1);
  const auto other = make_mock(2, 2);
  EXPECT_FALSE(dma_fence_is_later(*other, *one));
  EXPECT_TRUE(reports.took(report_kind::warning, "WARNING: "));
  EXPECT_EQ(dma_fence_later(*one, *other), nullptr);
  EXPECT_TRUE(reports.took(report_kind::warning, "WARNING: "));
}

TEST_F(dma_fence_test, later_is_null_once_the_later_one_is_signalled) {
  const auto one = make_mock(1, 1);
  const auto two = make_mock(1, 2);
  EXPECT_EQ(dma_fence_later(*one, *two), two.get());
  EXPECT_EQ(dma_fence_later(*two, *one), two.get());
  one->signal();
  EXPECT_EQ(dma_fence_later(*one, *two), two.get());
  two->signal();
  EXPECT_EQ(dma_fence_later(*one, *two), nullptr);
}

// --- made signalled ------------------------------------------------------------------------------

TEST_F(dma_fence_test, the_stub_is_signalled_and_shared) {
  const auto a = dma_fence_get_stub();
  const auto b = dma_fence_get_stub();
  EXPECT_EQ(a, b);
  EXPECT_EQ(a->status(), 1);
  EXPECT_EQ(a->context, 0u);
  EXPECT_EQ(a->timestamp(), at_ns(0));
  EXPECT_FALSE(a->signal());
  counting_callback cb;
  EXPECT_FALSE(cb.add_to(*a));
  EXPECT_TRUE(a->wait_until(expired_deadline));
}

TEST_F(dma_fence_test, a_private_stub_carries_its_time) {
  const auto fence = dma_fence_make_signaled(at_ns(77)).value();
  EXPECT_EQ(fence->status(), 1);
  EXPECT_EQ(fence->timestamp(), at_ns(77));
}

// --- races ---------------------------------------------------------------------------------------

/// Each round: one signals, one adds. Either the add says "late", or the callback runs, once.
TEST_F(dma_fence_test, no_callback_is_lost_between_signal_and_add) {
  constexpr int rounds = test::rounds(5000, 2);
  ref_ptr<dma_fence> fence;
  atomic<int> round{0};
  atomic<int> finished{0};
  kthread signaller = start("signaller", [&] {
    for (int r = 1; r <= rounds; ++r) {
      follow([&] { return round.load_acquire() >= r; });
      fence->signal();
      finished.store_release(r);
    }
  });
  for (int r = 1; r <= rounds; ++r) {
    fence = make_mock();
    counting_callback cb;
    round.store_release(r);
    if (r % 2 != 0) platform::cpu_relax();
    const bool added = cb.add_to(*fence).has_value();
    follow([&] { return finished.load_acquire() >= r; });
    ASSERT_EQ(cb.runs.load_acquire(), added ? 1 : 0);
    ASSERT_FALSE(fence->remove_callback(cb.cb));
  }
  signaller.join();
}

/// Each round: one signals, one removes. Either the removal says so, or the callback ran.
TEST_F(dma_fence_test, a_removed_callback_never_runs) {
  constexpr int rounds = test::rounds(5000, 2);
  ref_ptr<dma_fence> fence;
  atomic<int> round{0};
  atomic<int> finished{0};
  kthread signaller = start("signaller", [&] {
    for (int r = 1; r <= rounds; ++r) {
      follow([&] { return round.load_acquire() >= r; });
      fence->signal();
      finished.store_release(r);
    }
  });
  for (int r = 1; r <= rounds; ++r) {
    fence = make_mock();
    counting_callback cb;
    ASSERT_TRUE(cb.add_to(*fence));
    round.store_release(r);
    const bool removed = fence->remove_callback(cb.cb);
    const int ran = cb.runs.load_acquire();
    ASSERT_EQ(ran, removed ? 0 : 1);
    follow([&] { return finished.load_acquire() >= r; });
    ASSERT_EQ(cb.runs.load_acquire(), ran);
  }
  signaller.join();
}

/// Until somebody waits for the lock that the caller holds; the bit is that of spinlock.hpp.
void await_contention(spinlock& lock) {
  const auto& word = reinterpret_cast<const atomic<std::uint32_t>&>(lock);
  while ((word.load_relaxed() & 2) == 0) platform::yield();  // atomic context: no schedule()
}

/// The signal, which needs no lock, falls between the adder's look at the flag and its turn.
TEST_F(dma_fence_test, an_add_that_waited_for_the_lock_finds_the_signal) {
  const auto fence = make_mock();
  counting_callback cb;
  bool added = true;
  atomic<bool> locked{false};
  kthread adder = start("adder", [&] {
    follow([&] { return locked.load_acquire(); });
    added = cb.add_to(*fence).has_value();
  });
  {
    const guard g{no_mask, fence->lock};
    locked.store_release(true);
    await_contention(fence->lock);
    EXPECT_TRUE(fence->signal());
  }
  adder.join();
  EXPECT_FALSE(added);
  EXPECT_TRUE(list_empty(cb.cb.node));
  EXPECT_EQ(mock(fence).enabled.load_relaxed(), 0);
}

/// The same with an armed fence, whose callbacks have run by the adder's turn.
TEST_F(dma_fence_test, an_add_that_waited_while_the_callbacks_ran_is_refused) {
  const auto fence = make_mock();
  counting_callback first, late;
  ASSERT_TRUE(first.add_to(*fence));
  bool added = true;
  atomic<bool> locked{false};
  kthread adder = start("adder", [&] {
    follow([&] { return locked.load_acquire(); });
    added = late.add_to(*fence).has_value();
  });
  {
    const guard g{irqsave, fence->lock};
    locked.store_release(true);
    await_contention(fence->lock);
    EXPECT_TRUE(fence->signal_locked());
    EXPECT_EQ(first.runs.load_relaxed(), 1);
  }
  adder.join();
  EXPECT_FALSE(added);
  EXPECT_TRUE(list_empty(late.cb.node));
  EXPECT_EQ(late.runs.load_relaxed(), 0);
}

/// Two ask for the time of a fence that was signalled without the lock: both get the same.
TEST_F(dma_fence_test, one_timestamp_for_all_who_ask) {
  const auto fence = make_mock();
  fence->signal();
  atomic<bool> locked{false};
  atomic<int> asking{0};
  deadline seen[2];
  const auto ask = [&](deadline& mine) {
    follow([&] { return locked.load_acquire(); });
    asking.fetch_add_release(1);
    mine = fence->timestamp();
  };
  kthread one = start("one", [&] { ask(seen[0]); });
  kthread other = start("other", [&] { ask(seen[1]); });
  {
    const guard g{no_mask, fence->lock};
    locked.store_release(true);
    await_contention(fence->lock);  // one waits; the other soon will
    while (asking.load_acquire() < 2) platform::yield();
    for (int i = 0; i < test::rounds(100); ++i) platform::yield();
  }
  one.join();
  other.join();
  EXPECT_EQ(seen[0], seen[1]);
  EXPECT_EQ(fence->timestamp(), seen[0]);
}

}  // namespace
}  // namespace interlock::test
