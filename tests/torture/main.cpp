// SPDX-License-Identifier: Apache-2.0

/// Runs the torments one after another and prints how often each went round.

#include <cinttypes>
#include <cstdio>
#include <cstdlib>
#include <cstring>

#include "torture.hpp"

namespace interlock::torture {
namespace {

const torment* first_torment = nullptr;
atomic<const char*> current_name{nullptr};

constexpr ktime grace = std::chrono::seconds{60};  // for the end of a turn, on a busy machine

struct arguments {
  double seconds = 5;
  std::uint64_t seed = 1;
  const char* only = nullptr;
  bool list = false;
};

/// The value of `--name=value`, or null.
const char* value_of(const char* argument, const char* name) noexcept {
  const std::size_t size = std::strlen(name);
  return std::strncmp(argument, name, size) == 0 && argument[size] == '=' ? argument + size + 1
                                                                          : nullptr;
}

bool parse(int argc, char** argv, arguments& a) noexcept {
  for (int i = 1; i < argc; ++i) {
    if (const char* seconds = value_of(argv[i], "--seconds")) {
      a.seconds = std::strtod(seconds, nullptr);
    } else if (const char* seed = value_of(argv[i], "--seed")) {
      a.seed = std::strtoull(seed, nullptr, 10);
    } else if (const char* only = value_of(argv[i], "--only")) {
      a.only = only;
    } else if (std::strcmp(argv[i], "--list") == 0) {
      a.list = true;
    } else {
      std::fprintf(stderr, "usage: torture [--seconds=N] [--seed=N] [--only=NAME] [--list]\n");
      return false;
    }
  }
  return true;
}

bool is_chosen(const torment& t, const arguments& a) noexcept {
  return a.only == nullptr || std::strcmp(a.only, t.name) == 0;
}

/// A lost wake shows as a torment that does not end.
void watch(ktime turn) noexcept {
  const char* watched = nullptr;
  deadline until = no_deadline;
  while (!kthread_should_stop()) {
    const char* const name = current_name.load_acquire();
    if (name != watched) {
      watched = name;
      until = deadline_after(turn + grace);
    }
    if (name != nullptr && monotonic_clock::now() >= until) {
      std::fprintf(stderr, "torture: %s hangs\n", name);
      std::abort();
    }
    set_current_state(task_interruptible);
    if (!kthread_should_stop()) (void)schedule_timeout(std::chrono::milliseconds{100});
    set_current_state_raw(task_running);
  }
}

void take_turn(const torment& t, std::uint64_t seed, ktime turn) {
  current_name.store_release(t.name);
  run r{seed, deadline_after(turn)};
  t.function(r);
  std::printf("%-24s %12" PRIu64 " iterations\n", t.name, r.iterations());
  std::fflush(stdout);
  r.check(r.iterations() != 0, "a torment goes round");
  current_name.store_release(nullptr);
}

int run_all(const arguments& a) {
  int count = 0;
  for (const torment* t = first_torment; t != nullptr; t = t->next) count += is_chosen(*t, a);
  if (count == 0) {
    std::fprintf(stderr, "torture: no torment of that name\n");
    return 2;
  }
  const ktime turn{static_cast<std::int64_t>(a.seconds * 1e9 / count)};
  std::printf("torture: %d torments, seed %" PRIu64 "\n", count, a.seed);
  result<kthread> watchdog = kthread_run("watchdog", [turn] { watch(turn); });
  if (!watchdog) return 1;
  for (const torment* t = first_torment; t != nullptr; t = t->next) {
    if (is_chosen(*t, a)) take_turn(*t, a.seed, turn);
  }
  return 0;
}

}  // namespace

torment::torment(const char* its_name, void (*its_function)(run&)) noexcept
    : name{its_name}, function{its_function}, next{first_torment} {
  first_torment = this;
}

void run::check(bool condition, const char* what, location where) noexcept {
  if (condition) return;
  std::fprintf(stderr, "torture: %s: not true that %s (%s:%d), seed %" PRIu64 "\n",
               current_name.load_acquire(), what, where.file, where.line, seed_);
  std::fflush(stderr);
  std::_Exit(1);
}

}  // namespace interlock::torture

int main(int argc, char** argv) {
  using namespace interlock::torture;
  arguments a;
  if (!parse(argc, argv, a)) return 2;
  if (a.list) {
    for (const torment* t = first_torment; t != nullptr; t = t->next) std::puts(t->name);
    return 0;
  }
  return run_all(a);
}
