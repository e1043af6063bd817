// SPDX-License-Identifier: Apache-2.0
#pragma once

/// What this machine offers of that which Interlock can use, found out by trying.

#include <string>
#include <vector>

namespace interlock::cli {

struct machine_fact {
  enum class state { note, present, missing };

  std::string group;
  std::string name;
  state is = state::note;
  std::string detail;   ///< what is there, or why it is not
  std::string instead;  ///< what is used where it is missing
};

// machine_facts.cpp
void add_processor_facts(std::vector<machine_fact>& facts);
void add_kernel_facts(std::vector<machine_fact>& facts);
void add_provider_facts(std::vector<machine_fact>& facts);
// io_uring_facts.cpp
void add_io_uring_facts(std::vector<machine_fact>& facts);

}  // namespace interlock::cli
