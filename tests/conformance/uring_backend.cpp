// SPDX-License-Identifier: Apache-2.0

/// The io_uring device: as it is here, and as on older kernels, with features masked off.

#include "backend.hpp"

#if defined(INTERLOCK_HAS_URING)

namespace {

using conformance::registered_backend;

const registered_backend all{{"uring", &interlock::uring_provider(), "", {}, {}}};
const registered_backend no_multishot{
    {"uring_no_multishot", &interlock::uring_provider(), "multishot", {}, {}}};
const registered_backend no_taskrun{
    {"uring_no_taskrun", &interlock::uring_provider(), "taskrun", {}, {}}};
const registered_backend minimal{
    {"uring_minimal", &interlock::uring_provider(), "multishot,taskrun", {}, {}}};

}  // namespace

#endif
