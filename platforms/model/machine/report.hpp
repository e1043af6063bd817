// SPDX-License-Identifier: Apache-2.0
#pragma once

/// What a failure looks like.

#include <cstddef>
#include <cstdint>
#include <string>

namespace interlock::machine {

/// "function (file:line)" for a return address.
void describe(std::uintptr_t address, char* buffer, std::size_t size) noexcept;

/// The report of the execution that has just failed; it was a replay, so that its steps are known. Host.
std::string failure_report();

/// What replays the last execution.
std::string token_of_last_execution();

}  // namespace interlock::machine
