// SPDX-License-Identifier: Apache-2.0

/// The software device, which is there on every machine.

#include "backend.hpp"

#if defined(INTERLOCK_HAS_ENGINE)

namespace {

// A queue of the engine is a thread and memory: it has no use for descriptors that could run out.
const conformance::registered_backend engine{
    {"engine", &interlock::engine_provider(), "", {"out_of_descriptors"}, {}}};

}  // namespace

#endif
