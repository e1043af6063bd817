// SPDX-License-Identifier: Apache-2.0
#pragma once

/// The page of memory that a test's processes share: its layout is the machine's.

#include "../platforms/model/machine/shared_exploration.hpp"

namespace interlock::cli {

using machine::shared_exploration;
using machine::shared_explorations;
using machine::shared_page_size;

}  // namespace interlock::cli
