// SPDX-License-Identifier: Apache-2.0
#pragma once

/// What a provider tells the conformance suites about itself: one `backend` per configuration.
///
/// The suites are compiled once. A backend says where queues come from, which features it promises
/// (suites of features that it does not promise are not run), which tests make no sense for it
/// (`unsupported`) and which ones it is known to fail (`expected_failures`). A device that is not
/// there is skipped; an expected failure that passes is a failure, so that the list stays true.

#include <iosfwd>
#include <string>
#include <vector>

#include "interlock/device/provider.hpp"

namespace conformance {

struct backend {
  std::string name;
  const interlock::provider* source = nullptr;
  std::string without;  ///< device_queue_options::without
  std::vector<std::string> unsupported;
  std::vector<std::string> expected_failures;

  [[nodiscard]] interlock::device_feature features() const noexcept { return source->features; }
};

void PrintTo(const backend& which, std::ostream* out);

/// All that were registered, in the order of their names.
std::vector<backend> backends();
/// Those that promise `feature`; `none`: all.
std::vector<backend> backends_with(interlock::device_feature feature);

/// One static object per configuration, in a file of the provider's own.
struct registered_backend {
  explicit registered_backend(backend which);
};

}  // namespace conformance
