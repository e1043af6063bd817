#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Decodes a Perfetto trace of `interlock compress` by itself and checks what ui.perfetto.dev relies on.

  check_trace.py TRACE DEVICES CHUNKS LINK

Tracks: one per timeline and one for the submitter. Slices: begin and end balanced, time never goes back on a track, one per
job. Flows: one per fence and no others, from the slice of the job that makes the fence to exactly the slices of those that
wait for it; those begin no earlier than it ends; the last of them in time ends the flow.
"""

import struct
import sys
from collections import Counter, defaultdict

# Field numbers, by message, as perfetto's repository has them under protos/perfetto/trace. Written down from there, not from
# the writer (cli/perfetto_trace.cpp).
TRACE_PACKET = 1  # trace.proto: Trace.packet
# trace_packet.proto: TracePacket
TIMESTAMP, TRUSTED_PACKET_SEQUENCE_ID, TRACK_EVENT, SEQUENCE_FLAGS, TRACK_DESCRIPTOR = 8, 10, 11, 13, 60
SEQ_INCREMENTAL_STATE_CLEARED = 1  # TracePacket.SequenceFlags
# track_event/track_descriptor.proto: TrackDescriptor
UUID, TRACK_NAME, PROCESS, PARENT_UUID = 1, 2, 3, 5
PID, PROCESS_NAME = 1, 6  # track_event/process_descriptor.proto: ProcessDescriptor
# track_event/track_event.proto: TrackEvent
DEBUG_ANNOTATIONS, TYPE, TRACK_UUID, CATEGORIES, NAME, FLOW_IDS, TERMINATING_FLOW_IDS = 4, 9, 11, 22, 23, 47, 48
TYPE_SLICE_BEGIN, TYPE_SLICE_END = 1, 2  # TrackEvent.Type
INT_VALUE, ANNOTATION_NAME = 4, 10  # track_event/debug_annotation.proto: DebugAnnotation


def varint(data, at):
    value = shift = 0
    while True:
        byte = data[at]
        at += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value, at
        shift += 7


def fields(data):
    """The (number, value) pairs of a message; bytes for what has a length."""
    at = 0
    while at < len(data):
        key, at = varint(data, at)
        kind = key & 7
        if kind == 0:
            value, at = varint(data, at)
        elif kind == 1:
            value, at = struct.unpack_from("<Q", data, at)[0], at + 8
        elif kind == 2:
            size, at = varint(data, at)
            value, at = data[at : at + size], at + size
            assert len(value) == size, "a message is cut off"
        else:
            raise AssertionError(f"wire type {kind}")
        yield key >> 3, value


def message(data):
    found = defaultdict(list)
    for number, value in fields(data):
        found[number].append(value)
    return found


class Slice:
    def __init__(self, track, event, begin):
        self.track, self.begin, self.end = track, begin, None
        self.name = event[NAME][0].decode()
        self.is_job = event[CATEGORIES] == [b"job"]
        notes = [message(a) for a in event[DEBUG_ANNOTATIONS]]
        self.notes = {n[ANNOTATION_NAME][0].decode(): n[INT_VALUE][0] for n in notes}
        self.flows = {f: False for f in event[FLOW_IDS]} | {f: True for f in event[TERMINATING_FLOW_IDS]}
        assert len(self.flows) == len(event[FLOW_IDS]) + len(event[TERMINATING_FLOW_IDS]), f"{self}: a flow comes twice"

    def __str__(self):
        return f"{self.track} '{self.name}'"

    def key(self):
        """By what the expectation names it."""
        stage = "compress" if self.track.startswith("compress") else self.track
        return (stage, self.name.split()[0] if stage == "submitter" else "job", self.notes["chunk"])


def read_slices(path):
    """All slices and the names of the tracks."""
    with open(path, "rb") as file:
        packets = [value for number, value in fields(file.read()) if number == TRACE_PACKET]
    names, parents, slices, is_open, last = {}, {}, [], {}, defaultdict(int)
    first = True
    for packet in map(message, packets):
        assert packet[TRUSTED_PACKET_SEQUENCE_ID] == [1], "a packet without its sequence"
        cleared = packet[SEQUENCE_FLAGS] == [SEQ_INCREMENTAL_STATE_CLEARED]
        assert cleared == first, "the first packet clears the state of the sequence, no other does"
        first = False
        for track in map(message, packet[TRACK_DESCRIPTOR]):
            process = [message(p) for p in track[PROCESS]]
            if process:
                assert process[0][PID][0] > 0 and process[0][PROCESS_NAME], "a process without number or name"
            names[track[UUID][0]] = "process" if process else track[TRACK_NAME][0].decode()
            parents[track[UUID][0]] = track[PARENT_UUID]
        for event in map(message, packet[TRACK_EVENT]):
            uuid, now, kind = event[TRACK_UUID][0], packet[TIMESTAMP][0], event[TYPE][0]
            name = names[uuid]
            assert now >= last[uuid], f"time goes back on {name}"
            last[uuid] = now
            if kind == TYPE_SLICE_END:
                assert uuid in is_open, f"an end without a begin on {name}"
                is_open.pop(uuid).end = now
            else:
                assert kind == TYPE_SLICE_BEGIN and uuid not in is_open, f"slices overlap on {name}"
                is_open[uuid] = Slice(name, event, now)
                slices.append(is_open[uuid])
    assert not is_open, f"slices without an end: {[str(s) for s in is_open.values()]}"
    process = [uuid for uuid, name in names.items() if name == "process"]
    assert all(parents[uuid] == process for uuid in names if uuid not in process), "a track that is not the process's"
    return slices, names


def expected_flows(chunks, link):
    """Who makes each fence, and the set of those that wait for it. The end of the stream counts as chunk `chunks`."""
    for c in range(chunks):
        if link == "wait":  # the submitter carries everything
            yield ("read", "job", c), {("submitter", "submit", c)}
            yield ("compress", "job", c), {("submitter", "submit", c)}
            yield ("write", "job", c), {("submitter", "retire", c)}
            continue
        yield ("read", "job", c), {("compress", "job", c)}
        yield ("compress", "job", c), {("write", "job", c)}
        after = {("write", "job", c + 1)} if c + 1 < chunks else set()
        yield ("write", "job", c), {("submitter", "retire", c)} | after
    yield ("write", "job", chunks), {("submitter", "retire", chunks)}


def check(path, devices, chunks, link):
    slices, names = read_slices(path)
    expected = {"process", "submitter", "read", "write"} | {f"compress{i}" for i in range(devices)}
    assert set(names.values()) == expected and len(names) == len(expected), f"tracks: {sorted(names.values())}"
    jobs = Counter(s.key() for s in slices if s.is_job)
    wanted = Counter((stage, "job", c) for stage in ("read", "compress", "write") for c in range(chunks))
    wanted["write", "job", chunks] += 1  # the end of the stream
    assert jobs == wanted, f"jobs missing {wanted - jobs}, too many {jobs - wanted}"
    for s in slices:
        assert not s.is_job or {"chunk", "context", "seqno", "bytes"} <= s.notes.keys(), f"{s}: an annotation is missing"

    ends = defaultdict(list)
    for s in slices:
        for flow in s.flows:
            ends[flow].append(s)
    found = {}
    for flow, along in ends.items():
        along.sort(key=lambda s: s.begin)
        maker, waiters = along[0], along[1:]
        assert maker.is_job and waiters, f"flow {flow:x}: from {maker} to {[str(s) for s in waiters]}"
        for waiter in waiters:
            assert waiter.begin >= maker.end, f"{waiter} begins {maker.end - waiter.begin} ns before the end of {maker}"
        terminating = [s for s in along if s.flows[flow]]
        assert terminating == [along[-1]], f"flow {flow:x} of {maker} ends at {[str(s) for s in terminating]}"
        assert maker.key() not in found, f"two flows from {maker}"
        found[maker.key()] = sorted(s.key() for s in waiters)
    for maker, waiters in expected_flows(chunks, link):
        assert maker in found, f"the fence of {maker} has no flow"
        got = found.pop(maker)
        assert got == sorted(waiters), f"the fence of {maker} flows to {got}, not to {sorted(waiters)}"
    assert not found, f"flows of no fence: {found}"
    print(f"{len(names)} tracks, {len(slices)} slices, {len(ends)} flows")


if __name__ == "__main__":
    check(sys.argv[1], int(sys.argv[2]), int(sys.argv[3]), sys.argv[4])
