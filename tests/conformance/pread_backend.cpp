// SPDX-License-Identifier: Apache-2.0

/// The thread-based file device.

#include "backend.hpp"

#if defined(INTERLOCK_HAS_PREAD)

namespace {

const conformance::registered_backend pread{{"pread", &interlock::pread_provider(), "", {}, {}}};

}  // namespace

#endif
