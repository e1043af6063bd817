// SPDX-License-Identifier: Apache-2.0
#pragma once

/// What a failure looks like.

#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "../include/interlock_platform/machine.h"

namespace interlock::machine {

// --- names and places (symbols.cpp) ---

/// "function (file:line)" for a return address.
void describe(std::uintptr_t address, char* buffer, std::size_t size) noexcept;

struct place {
  std::string function;  ///< short, without arguments
  std::string file;      ///< whole path
  int line = 0;
  bool hidden = false;   ///< of the machine, the C++ library, or what starts threads
  bool library = false;  ///< of Interlock
};

/// The return addresses of the current flow, innermost first, by the tables of the unwinder: with the place itself, which calls of instrumented
/// functions alone do not show, and with functions that are not instrumented. Returns how many.
unsigned unwind(std::uintptr_t* into, std::size_t most) noexcept;
/// Where a return address is: the innermost first, inlined callers behind it.
std::vector<place> places_of(std::uintptr_t address);
/// The innermost of the program, else of Interlock, else the innermost.
place place_of(std::uintptr_t address);
/// "file:line", with the last part of the path; empty if unknown.
std::string short_place(const place& where);
/// "name" or "name+8" of a static object; empty if there is none.
std::string static_object(std::uintptr_t address);
/// The text of a line, without the blanks around it; empty if it can not be read.
std::string source_line(const std::string& file, int line);

// --- what is announced, remembered while a failure is replayed ---

struct mark {
  interlock_machine_event what;
  std::uint32_t step;  ///< the number of steps before it
  std::uint8_t by;
  std::uint8_t cpu;
  std::uint64_t a, b;
  std::uintptr_t pc;
  std::uintptr_t callers[6];  ///< innermost first, 0 behind the last
};

extern bool marks_kept;
void keep_mark(interlock_machine_event what, std::uint64_t a, std::uint64_t b,
               std::uintptr_t pc) noexcept;
/// Begins, or ends, to keep marks; what was kept before is forgotten.
void marks_of_executions(bool kept);

// --- the steps that are shown ---

/// A step, or something announced between two.
struct row {
  std::uint32_t step;
  bool is_mark = false;
  bool matters = true;
  unsigned cpu = 0;
  unsigned depth = 0;     ///< interrupts that stand on the task
  bool replayed = false;  ///< of an interrupt, by the task that it stands on
  std::uint8_t by = 0;    ///< process
  std::string flow;       ///< name
  std::string context;    ///< "task", "softirq", "hardirq", "nmi", "device"
  std::string kind;
  enum class sort : std::uint8_t { step, lock, reader, rcu, fence, failure } what = sort::step;
  std::string object;
  place where;
  std::uint64_t key = 0;  ///< of the object; 0: none
  int cause = -1;         ///< the row that woke or raised this one
  enum class span : std::uint8_t { none, begin, end } spans = span::none;
};

struct object_name {
  std::string name;
  std::string what;
};

struct story {
  std::vector<row> rows;
  std::size_t before = 0;            ///< steps that are not among them
  std::vector<object_name> objects;  ///< of those that have no name of their own
};

/// "table+4", or what is known of memory without a name.
std::string describe_object(std::uintptr_t address);

/// "table+4", "heap+0x40", "stack(writer)+0x1f0": the same in each process, and without a blank. Empty for memory of which nothing is known.
std::string stable_name(std::uintptr_t address);
/// Puts such names in the place of addresses in what has failed: its text is the same in each process. Host, before the roll back.
void name_addresses();
/// Where the function that is explored was called from: what lies near it is on the stack of the host.
void host_stack_begins(std::uintptr_t frame) noexcept;

/// Of the memory of a data race; 0 if there was none.
std::uintptr_t race_address() noexcept;

/// Of the execution that has just run.
story tell();

/// What stands over the steps of a CPU: its number, or the name of the device that has this place.
std::string lane_name(unsigned cpu);

/// What has failed: what the program reported, else what the machine saw.
std::string_view headline() noexcept;

/// The report of the execution that has just failed; it was a replay, so that its steps are known. Host.
std::string failure_report();

/// INTERLOCK_EXPLORE_HTML: the page of the execution that has just failed.
void write_page(const std::string& name, const std::string& token, const std::string& text);

/// INTERLOCK_EXPLORE_STEPS: the same execution for programs, an object of JSON on each line: first what failed, then what is known of objects without
/// a name, then the steps.
void write_steps(const std::string& name, const std::string& token, const std::string& text);

/// What replays the last execution.
std::string token_of_last_execution();

}  // namespace interlock::machine
