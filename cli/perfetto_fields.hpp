// SPDX-License-Identifier: Apache-2.0
#pragma once

/// Numbers of the trace format, for those who write traces.

#include <cstdint>
#include <protozero/pbf_writer.hpp>

namespace interlock::cli::perfetto {

// Field numbers of perfetto's protos/perfetto/trace: trace.proto, trace_packet.proto, and, in
// track_event/, track_descriptor.proto, process_descriptor.proto, track_event.proto and
// debug_annotation.proto.
namespace trace {
inline constexpr protozero::pbf_tag_type packet = 1;
}
namespace packet {
inline constexpr protozero::pbf_tag_type timestamp = 8, sequence_id = 10, track_event = 11,
                                         sequence_flags = 13, track_descriptor = 60;
inline constexpr std::uint32_t incremental_state_cleared = 1;
}  // namespace packet
namespace descriptor {
inline constexpr protozero::pbf_tag_type uuid = 1, name = 2, process = 3, parent_uuid = 5,
                                         child_ordering = 11, sibling_order_rank = 12;
inline constexpr std::int32_t explicit_order = 3;
}  // namespace descriptor
namespace process {
inline constexpr protozero::pbf_tag_type pid = 1, name = 6;
}
namespace event {
inline constexpr protozero::pbf_tag_type annotations = 4, type = 9, track_uuid = 11,
                                         categories = 22, name = 23, flow_ids = 47,
                                         terminating_flow_ids = 48;
inline constexpr std::int32_t slice_begin = 1, slice_end = 2, instant = 3;
}  // namespace event
namespace annotation {
inline constexpr protozero::pbf_tag_type int_value = 4, string_value = 6, name = 10;
}

}  // namespace interlock::cli::perfetto
