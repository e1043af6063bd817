// SPDX-License-Identifier: Apache-2.0

/// The list of backends.

#include "backend.hpp"

#include <algorithm>
#include <ostream>

namespace conformance {
namespace {

std::vector<backend>& list() {
  static std::vector<backend> all;
  return all;
}

}  // namespace

registered_backend::registered_backend(backend which) { list().push_back(std::move(which)); }

std::vector<backend> backends() { return backends_with(interlock::device_feature::none); }

std::vector<backend> backends_with(interlock::device_feature feature) {
  std::vector<backend> chosen;
  for (const backend& which : list()) {
    if (feature == interlock::device_feature::none || has(which.features(), feature)) {
      chosen.push_back(which);
    }
  }
  std::sort(chosen.begin(), chosen.end(),
            [](const backend& a, const backend& b) { return a.name < b.name; });
  return chosen;
}

void PrintTo(const backend& which, std::ostream* out) { *out << which.name; }

}  // namespace conformance
