// SPDX-License-Identifier: Apache-2.0

/// Leaks: blocks of an execution that nothing points to when it ends.
///
/// Roots are what outlives the execution: memory that is older (all of it that was overwritten stands in the undo log), the stacks and variables
/// of tasks that stay (the library's own), with the values of their POSIX keys, the words of CPUs, and the environment. Any aligned word that holds an address in a block is a pointer to it.
/// Source: the idea of a conservative scan: Boehm, Weiser, "Garbage collection in an uncooperative environment" (1988).

#include <unistd.h>

#include "machine.hpp"

namespace interlock::machine {
namespace {

class leak_search {
 public:
  explicit leak_search(heap& arena) noexcept : arena_{arena} { pending_.clear(); }

  void scan(const void* begin, std::size_t size) noexcept {
    constexpr std::uintptr_t alignment = alignof(std::uintptr_t);
    auto at = (reinterpret_cast<std::uintptr_t>(begin) + alignment - 1) & ~(alignment - 1);
    const std::uintptr_t end = reinterpret_cast<std::uintptr_t>(begin) + size;
    for (; at + alignment <= end; at += alignment)
      visit(*reinterpret_cast<const std::uintptr_t*>(at));
  }
  void visit(std::uintptr_t pointer) noexcept {
    if (!arena_.contains(pointer)) return;
    heap::block* const b = arena_.find(pointer);
    if (b == nullptr || b->freed_by != 0 || b->reached) return;
    b->reached = true;
    pending_.push(b);
  }
  void follow() noexcept {
    while (!pending_.empty()) {
      const heap::block* const b = pending_.back();
      pending_.resize_down(pending_.size() - 1);
      scan(reinterpret_cast<const void*>(b->address), b->size);
    }
  }

 private:
  heap& arena_;
  static pool<heap::block*> pending_;
};

pool<heap::block*> leak_search::pending_{std::size_t{1} << 20};

}  // namespace

void machine::find_leaks() noexcept {
  if (arena.live() == 0) return;
  leak_search search{arena};
  undo.each_place([&](const std::uint64_t* word) { search.visit(*word); });
  image.each_own([&](const void* memory, std::size_t size) { search.scan(memory, size); });
  search.visit(reinterpret_cast<std::uintptr_t>(environ));
  for (unsigned i = 0; i < cpu_count; ++i) {
    search.scan(words.of_cpu[i], words_size);
    search.scan(words.of_idle_task[i], words_size);
  }
  for (unsigned i = 0; i < process_count; ++i) {
    const process& p = processes[i];
    if (p.kind != process::role::task || p.ended || !p.alive) continue;
    const auto* const top = p.stack.stack + flow::stack_size;
    const auto* used = static_cast<const std::byte*>(p.stack.context);
    if (i ==
        self) {  // it runs: its registers lie on its stack by now, and its variables in their place
      used = static_cast<const std::byte*>(__builtin_frame_address(0));
      for (const thread_storage_range& r : thread_storage)
        search.scan(reinterpret_cast<const void*>(r.begin), r.size);
    }
    search.scan(words.of_task[i], words_size);
    search.scan(used, static_cast<std::size_t>(top - used));
    search.scan(p.stack.storage, thread_storage_size());
    search.visit(reinterpret_cast<std::uintptr_t>(p.stack.argument));
    const auto id = static_cast<process_id>(i);
    for (unsigned k = next_key(id, 0); k != no_key; k = next_key(id, k + 1))
      search.visit(reinterpret_cast<std::uintptr_t>(key_value(id, k)));
  }
  search.follow();
  const heap::block* first = nullptr;
  std::size_t blocks = 0;
  std::size_t bytes = 0;
  for (const heap::block& b : arena.blocks()) {
    if (b.freed_by != 0 || b.reached || !in_program(b.made_at)) continue;
    if (first == nullptr) first = &b;
    ++blocks;
    bytes += b.size;
  }
  if (first == nullptr) return;
  watched_ordinal = first->made_by;
  fail(failure_kind::memory,
       "BUG: memory leak: %zu bytes in %zu block%s that nothing points to when the execution ends; "
       "the first has %zu bytes",
       bytes, blocks, blocks == 1 ? "" : "s", first->size);
}

}  // namespace interlock::machine
