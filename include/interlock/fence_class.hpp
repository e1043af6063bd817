// SPDX-License-Identifier: Apache-2.0
#pragma once

/// `fence_class<Derived>`: a base that fills the ops table of a fence from member functions.
///
///   struct copy_fence : interlock::fence_class<copy_fence> {
///     using fence_class::fence_class;
///     const char* driver_name_of() const noexcept { return "copy"; }
///     const char* timeline_name_of() const noexcept { return "ring0"; }
///     bool enable_signaling() noexcept { ... }   // optional, as all below; public, none may throw
///     bool peek_signaled() noexcept { ... }
///     void deadline_hint(deadline) noexcept { ... }
///   };
///
/// Made by `make_fence<copy_fence>(context, seqno, ...)`; deleted after a grace period. Its ops are
/// never detached, because the destructor is code of the maker: the maker must outlive its fences
/// (call `rcu_barrier` before dlclose).

#include <new>
#include <type_traits>
#include <utility>

#include "interlock/dma_fence.hpp"

namespace interlock::inline INTERLOCK_PLATFORM {

template <class Derived>
class fence_class : public dma_fence {
 public:
  fence_class(std::uint64_t context_, std::uint64_t seqno_, std::uint32_t flags_ = 0) noexcept
      : dma_fence{table(), context_, seqno_, flags_} {}

 protected:
  ~fence_class() = default;

 private:
  static Derived& self(dma_fence* fence) noexcept { return *static_cast<Derived*>(fence); }

  static const dma_fence_ops& table() noexcept {
    static constexpr dma_fence_ops ops = make_table();
    return ops;
  }

  // Optional functions are found by name: one of another spelling would never be called.
  static constexpr dma_fence_ops make_table() noexcept {
    static_assert(
        !requires(Derived & d) { d.enable_signalling(); }, "spell it enable_signaling");
    static_assert(
        !requires(Derived & d) { d.signaled(); }, "the peek is called peek_signaled");
    dma_fence_ops ops{};
    ops.get_driver_name = [](dma_fence* f) -> const char* { return self(f).driver_name_of(); };
    ops.get_timeline_name = [](dma_fence* f) -> const char* { return self(f).timeline_name_of(); };
    if constexpr (requires(Derived & d) { d.enable_signaling(); }) {
      ops.enable_signaling = [](dma_fence* f) -> bool { return self(f).enable_signaling(); };
    }
    if constexpr (requires(Derived & d) { d.peek_signaled(); }) {
      ops.signaled = [](dma_fence* f) -> bool { return self(f).peek_signaled(); };
    }
    if constexpr (requires(Derived & d) { d.deadline_hint(deadline{}); }) {
      ops.set_deadline = [](dma_fence* f, std::int64_t ns) {
        self(f).deadline_hint(deadline{ktime{ns}});
      };
    }
    ops.release = [](dma_fence* f) {
      call_rcu(f->rcu, [](rcu_head* head) {
        delete static_cast<Derived*>(INTERLOCK_CONTAINER_OF(head, dma_fence, rcu));
      });
    };
    return ops;
  }
};

/// Allocates and constructs a fence; one reference. Errors: not_enough_memory. Context: task, and
/// not inside a signalling section (reported).
template <class F, class... Args>
requires std::is_base_of_v<fence_class<F>, F>
[[nodiscard]] result<ref_ptr<F>> make_fence(Args&&... args) noexcept {
  dma_fence_might_allocate();
  auto* const fence = new (std::nothrow) F(std::forward<Args>(args)...);
  if (fence == nullptr) return error::not_enough_memory;
  return ref_ptr<F>::adopt(fence);
}

}  // namespace interlock::inline INTERLOCK_PLATFORM
