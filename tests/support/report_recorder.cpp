// SPDX-License-Identifier: Apache-2.0
#include "support/report_recorder.hpp"

#include <cstring>

namespace interlock::test {

report_recorder::report_recorder() noexcept { set_report_handler(record_one, this); }

report_recorder::~report_recorder() { set_report_handler(nullptr, nullptr); }

/// One at a time: reports are serialised by the library.
void report_recorder::record_one(const report& what, void* cookie) noexcept {
  report_recorder& self = *static_cast<report_recorder*>(cookie);
  const std::size_t index = self.made_.load_relaxed();
  if (index == capacity) return;
  record& r = self.records_[index];
  r.kind = what.kind;
  const std::size_t size = what.size < sizeof r.text ? what.size : sizeof r.text - 1;
  std::memcpy(r.text, what.text, size);
  r.text[size] = '\0';
  self.made_.store_release(index + 1);  // the reader sees the record whole
}

std::size_t report_recorder::pending() const noexcept { return made_.load_acquire() - taken_; }

::testing::AssertionResult report_recorder::took(report_kind kind, const char* text) noexcept {
  if (pending() == 0) return ::testing::AssertionFailure() << "no report was made";
  const record& r = records_[taken_++];
  last_ = r.text;
  if (r.kind != kind || std::strstr(r.text, text) == nullptr) {
    return ::testing::AssertionFailure() << "report of kind " << static_cast<int>(r.kind) << ":\n"
                                         << r.text;
  }
  return ::testing::AssertionSuccess();
}

}  // namespace interlock::test
