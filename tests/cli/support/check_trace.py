#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Decodes a Perfetto trace of `interlock compress` by itself and checks what ui.perfetto.dev relies on.

  check_trace.py TRACE DEVICES CHUNKS

Tracks: one per timeline and one for the submitter. Slices: begin and end balanced, time never goes back on a track, one per
job. Flows: each begins at one slice and ends at one or more later ones.
"""

import struct
import sys
from collections import defaultdict


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


def check(path, devices, chunks):
    with open(path, "rb") as file:
        packets = [value for number, value in fields(file.read()) if number == 1]
    names, slices, open_since, last = {}, defaultdict(int), {}, defaultdict(int)
    flows = defaultdict(list)
    first = True
    for packet in map(message, packets):
        assert packet[10] == [1], "a packet without its sequence"
        assert (packet[13] == [1]) == first, "the first packet clears the state of the sequence, no other does"
        first = False
        for descriptor in map(message, packet[60]):
            names[descriptor[1][0]] = descriptor[2][0].decode() if descriptor[2] else "process"
        for event in map(message, packet[11]):
            track, now, kind = event[11][0], packet[8][0], event[9][0]
            name = names[track]
            assert now >= last[track], f"time goes back on {name}"
            last[track] = now
            if kind == 2:
                assert track in open_since, f"an end without a begin on {name}"
                del open_since[track]
                continue
            assert kind == 1 and track not in open_since, f"slices overlap on {name}"
            open_since[track] = now
            slices[name] += 1
            annotations = {message(a)[10][0].decode(): message(a)[4][0] for a in event[4]}
            if event[22] == [b"job"]:
                assert {"chunk", "context", "seqno", "bytes"} <= annotations.keys(), "an annotation is missing"
            for flow in event[47] + event[48]:
                flows[flow].append((now, flow in event[48]))
    assert not open_since, f"slices without an end: {[names[t] for t in open_since]}"
    expected = {"process", "submitter", "read", "write"} | {f"compress{i}" for i in range(devices)}
    assert set(names.values()) == expected, f"tracks: {sorted(names.values())}"
    for stage in ("read", "write"):
        assert slices[stage] == chunks, f"{slices[stage]} slices of {stage}, {chunks} chunks"
    compressed = sum(count for name, count in slices.items() if name.startswith("compress"))
    assert compressed == chunks, f"{compressed} slices of compress, {chunks} chunks"
    # The fences of read and compress are followed by the next stage, those of write by the submitter if it slept.
    assert len(flows) >= 2 * chunks, f"{len(flows)} flows for {chunks} chunks"
    for flow, ends in flows.items():
        assert len(ends) >= 2, f"flow {flow:x} has one end only"
        assert sum(terminating for _, terminating in ends) == 1, f"flow {flow:x} does not end once"
    print(f"{len(packets)} packets, {len(names)} tracks, {sum(slices.values())} slices, {len(flows)} flows")


if __name__ == "__main__":
    check(sys.argv[1], int(sys.argv[2]), int(sys.argv[3]))
