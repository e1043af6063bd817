// SPDX-License-Identifier: Apache-2.0
#include "perfetto_trace.hpp"

#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstdio>
#include <cstring>
#include <map>
#include <memory>
#include <protozero/pbf_writer.hpp>
#include <utility>

#include "perfetto_fields.hpp"

namespace interlock::cli {

namespace {

using namespace perfetto;

constexpr std::uint32_t sequence = 1;
constexpr std::uint64_t process_uuid = 1;
constexpr std::uint64_t first_track_uuid = 2;

using key = std::pair<std::uint64_t, std::uint64_t>;

/// Global: the same fence gets the same number in traces of other processes that share it.
std::uint64_t flow_id(const fence_key& fence) noexcept {
  std::uint64_t hash = fence.context * 0x9e3779b97f4a7c15 + fence.seqno;
  hash = (hash ^ hash >> 30) * 0xbf58476d1ce4e5b9;
  hash = (hash ^ hash >> 27) * 0x94d049bb133111eb;
  return hash ^ hash >> 31;
}

class writer {
 public:
  explicit writer(const run_record& record) : record_{record} {}

  std::string write();

 private:
  void describe_process();
  void describe_track(std::size_t index);
  void place_spans();
  void write_track(std::size_t index);
  /// A span and where its slice lies.
  struct slice {
    const run_record::span* span;
    deadline begin;
    deadline end;
  };
  void begin_slice(std::uint64_t track, const slice& s);
  void end_slice(std::uint64_t track, deadline at);
  /// Adds a packet; `fill` writes what it is about.
  template <class Fill>
  void add_packet(Fill&& fill) {
    protozero::pbf_writer out{writer_, trace::packet};
    out.add_uint32(packet::sequence_id, sequence);
    if (std::exchange(first_, false)) {
      out.add_uint32(packet::sequence_flags, packet::incremental_state_cleared);
    }
    fill(out);
  }
  template <class Fill>
  void add_event(deadline at, Fill&& fill) {
    add_packet([&](protozero::pbf_writer& out) {
      out.add_uint64(packet::timestamp, static_cast<std::uint64_t>(at.time_since_epoch().count()));
      protozero::pbf_writer inner{out, packet::track_event};
      fill(inner);
    });
  }

  const run_record& record_;
  std::string whole_;
  protozero::pbf_writer writer_{whole_};
  bool first_ = true;
  std::vector<std::vector<slice>> slices_;  ///< by track
  /// The last slice that follows each fence: there its flow ends. The slice is a copy, told apart by
  /// its span. A flow is drawn only for fences that somebody followed.
  std::map<key, slice> last_;
};

void writer::describe_process() {
  add_packet([&](protozero::pbf_writer& out) {
    protozero::pbf_writer track{out, packet::track_descriptor};
    track.add_uint64(descriptor::uuid, process_uuid);
    {
      protozero::pbf_writer inner{track, descriptor::process};
      inner.add_int32(process::pid, ::getpid());
      inner.add_string(process::name, "interlock compress");
    }
    track.add_enum(descriptor::child_ordering, descriptor::explicit_order);
  });
}

void writer::describe_track(std::size_t index) {
  add_packet([&](protozero::pbf_writer& out) {
    protozero::pbf_writer track{out, packet::track_descriptor};
    track.add_uint64(descriptor::uuid, first_track_uuid + index);
    track.add_string(descriptor::name, record_.tracks[index].name);
    track.add_uint64(descriptor::parent_uuid, process_uuid);
    track.add_int32(descriptor::sibling_order_rank, static_cast<std::int32_t>(index));
  });
}

void add_number(protozero::pbf_writer& out, const char* name, std::int64_t value) {
  protozero::pbf_writer inner{out, event::annotations};
  inner.add_string(annotation::name, name);
  inner.add_int64(annotation::int_value, value);
}

void writer::begin_slice(std::uint64_t track, const slice& s) {
  const run_record::span& span = *s.span;
  add_event(s.begin, [&](protozero::pbf_writer& out) {
    out.add_enum(event::type, event::slice_begin);
    out.add_uint64(event::track_uuid, track);
    out.add_string(event::categories, span.makes.context != 0 ? "job" : "submitter");
    out.add_string(event::name, span.name);
    add_number(out, "chunk", static_cast<std::int64_t>(span.chunk));
    if (span.makes.context != 0) {
      add_number(out, "context", static_cast<std::int64_t>(span.makes.context));
      add_number(out, "seqno", static_cast<std::int64_t>(span.makes.seqno));
      add_number(out, span.bytes < 0 ? "error" : "bytes", span.bytes);
      if (last_.contains({span.makes.context, span.makes.seqno})) {
        out.add_fixed64(event::flow_ids, flow_id(span.makes));
      }
    }
    for (const fence_key& fence : span.follows) {
      const bool last = last_.at({fence.context, fence.seqno}).span == &span;
      out.add_fixed64(last ? event::terminating_flow_ids : event::flow_ids, flow_id(fence));
    }
  });
}

void writer::end_slice(std::uint64_t track, deadline at) {
  add_event(at, [&](protozero::pbf_writer& out) {
    out.add_enum(event::type, event::slice_end);
    out.add_uint64(event::track_uuid, track);
  });
}

void writer::place_spans() {
  for (const auto& track : record_.tracks) {
    auto& slices = slices_.emplace_back();
    deadline end = deadline::min();
    for (const run_record::span& span : track.spans) {
      // A device that works on several jobs at once completes them in order: a slice begins where
      // it became the oldest, since slices of a track must not overlap.
      const deadline begin = std::max(span.begin, end);
      end = std::max(span.end, begin);
      slices.push_back({&span, begin, end});
      for (const fence_key& fence : span.follows) {
        const auto [at, added] = last_.try_emplace({fence.context, fence.seqno}, slices.back());
        if (!added && at->second.begin <= begin) at->second = slices.back();
      }
    }
  }
}

void writer::write_track(std::size_t index) {
  const std::uint64_t uuid = first_track_uuid + index;
  for (const slice& s : slices_[index]) {
    begin_slice(uuid, s);
    end_slice(uuid, s.end);
  }
}

std::string writer::write() {
  place_spans();
  describe_process();
  for (std::size_t i = 0; i < record_.tracks.size(); ++i) describe_track(i);
  // Packets need no order among tracks.
  for (std::size_t i = 0; i < record_.tracks.size(); ++i) write_track(i);
  return std::move(whole_);
}

}  // namespace

maybe_failure write_perfetto_trace(const run_record& record, const std::string& path) {
  return write_trace_file(writer{record}.write(), path);
}

maybe_failure write_trace_file(const std::string& bytes, const std::string& path) {
  std::FILE* const file = std::fopen(path.c_str(), "wbe");
  bool written = file != nullptr;
  if (written) written = std::fwrite(bytes.data(), 1, bytes.size(), file) == bytes.size();
  const int code = errno;
  if (file != nullptr && std::fclose(file) != 0) written = false;
  if (written) return {};
  return fail("cannot write the trace '{}': {}", path, describe_error(static_cast<error>(code)));
}

}  // namespace interlock::cli
