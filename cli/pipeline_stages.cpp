// SPDX-License-Identifier: Apache-2.0
#include <algorithm>
#include <cerrno>

#include "interlock/task.hpp"
#include "pipeline.hpp"

namespace interlock::cli {

std::uint64_t pipeline::expected_bytes(std::uint64_t chunk) const noexcept {
  const std::uint64_t whole = options_.plan.chunk;
  if (!input_.size()) return whole;
  return std::min(whole, *input_.size() - chunk * whole);
}

void pipeline::prepare_slot(slot& s, std::uint64_t chunk) noexcept {
  s.owner = this;
  s.chunk = chunk;
  s.device = static_cast<unsigned>(chunk % options_.devices);
  s.shortened = false;
  const auto& fault = options_.inject;
  if (fault && fault->where == stage::compress && fault->chunk == chunk) {
    s.device = fault->device.value_or(s.device);
  }
  for (job& j : s.jobs) {
    j.cookie = &s;
    for (auto& wait : j.waits) wait.reset();
  }
  for (auto& fence : s.fences) fence.reset();

  job& read = s.at(stage::read);
  read.kind = job_kind::read;
  read.fd = input_.fd();
  read.buffer = content_.at(chunk % slot_count_ * options_.plan.chunk);
  read.length = expected_bytes(chunk);
  read.offset = input_.size() ? static_cast<std::int64_t>(chunk * options_.plan.chunk) : -1;

  job& compress = s.at(stage::compress);
  compress.kind = job_kind::execute;
  compress.execute = &compress_chunk;

  job& write = s.at(stage::write);
  write.kind = job_kind::write;
  write.fd = output_.fd();
  write.buffer = results_.get() + chunk % options_.depth * result_size_;
  write.prepare = &place_write;
}

device_queue& pipeline::queue_of(const slot& s, stage which) noexcept {
  if (which == stage::compress) return *engines_[s.device];
  return which == stage::read ? *read_queue_ : *write_queue_;
}

maybe_failure pipeline::inject_if_due(const slot& s, stage which) {
  const auto& fault = options_.inject;
  if (!fault || fault->where != which || fault->chunk != s.chunk) return {};
  device_queue& queue = queue_of(s, which);
  device_fault wanted;
  wanted.what = fault->what;
  wanted.index = queue.statistics().submitted;
  wanted.stall_time = fault->stall;
  if (auto done = queue.inject(wanted); !done) {
    return fail("cannot inject a fault: {}", describe_error(done.error()));
  }
  return {};
}

/// Submits one stage, tied to the one before it unless the submitting thread has waited for that.
maybe_failure pipeline::submit(slot& s, stage which) {
  if (auto problem = inject_if_due(s, which)) return problem;
  job& work = s.at(which);
  if (options_.link != link_style::wait && which != stage::read) {
    work.waits[0] = s.fence(which == stage::compress ? stage::read : stage::compress);
    // A write begins where the one before it ends: without that one there is no place for it.
    if (which == stage::write && s.chunk != 0) {
      work.waits[1] = slot_of(s.chunk - 1).fence(stage::write);
    }
  }
  if (options_.record != nullptr) {
    auto& follows = s.follows[static_cast<unsigned>(which)];
    follows.clear();
    for (const auto& wait : work.waits) {
      if (wait) follows.push_back(key_of(*wait));
    }
  }
  s.submitted = monotonic_clock::now();
  auto fence = queue_of(s, which).submit(work);
  if (!fence) {
    return fail("cannot submit chunk {} to a device: {}", s.chunk, describe_error(fence.error()));
  }
  if (options_.arm_all) (*fence)->enable_sw_signaling();
  s.fence(which) = std::move(*fence);
  if (options_.record != nullptr) {
    // With `link_style::wait` it is this thread that has waited for the stage before.
    std::vector<fence_key> follows;
    if (options_.link == link_style::wait && which != stage::read) {
      follows = {key_of(*s.fence(which == stage::compress ? stage::read : stage::compress))};
    }
    note_submitter(fmt::format("submit {}", s.chunk), s.chunk, s.submitted, monotonic_clock::now(),
                   std::move(follows));
  }
  return {};
}

/// Runs on an engine.
std::int64_t pipeline::compress_chunk(job& self) noexcept {
  slot& s = *static_cast<slot*>(self.cookie);
  pipeline& owner = *s.owner;
  const job& read = s.at(stage::read);
  const auto bytes = static_cast<std::uint64_t>(read.result);
  if (owner.input_.size() && bytes != owner.expected_bytes(s.chunk)) {
    s.shortened = true;
    return -EIO;
  }
  const std::uint64_t before = s.chunk * owner.options_.plan.chunk;
  const auto history =
      static_cast<std::size_t>(std::min<std::uint64_t>(owner.options_.plan.history, before));
  return owner.compressors_[s.device].compress({read.buffer, bytes}, history, s.chunk == 0,
                                               {s.at(stage::write).buffer, owner.result_size_},
                                               owner.stop_);
}

/// Runs on the write queue's device, in order of the chunks.
int pipeline::place_write(job& self) noexcept {
  slot& s = *static_cast<slot*>(self.cookie);
  pipeline& owner = *s.owner;
  self.length = static_cast<std::size_t>(s.at(stage::compress).result);
  self.offset = owner.output_.is_stream() ? -1 : static_cast<std::int64_t>(owner.write_offset_);
  owner.write_offset_ += self.length;
  const job& read = s.at(stage::read);
  if (owner.options_.plan.framing == zstd_framing::sections) {
    owner.trailer_.update({read.buffer, static_cast<std::size_t>(read.result)});
  }
  return 0;
}

}  // namespace interlock::cli
