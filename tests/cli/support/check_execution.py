#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Decodes the Perfetto trace of a failing execution by itself and checks what ui.perfetto.dev relies on.

  check_execution.py TRACE EXPECTATION...

Always: a process, tracks below it, slices that nest, time that never goes back on a track, arrows that lead forward and end
once, one failure at the end. EXPECTATION, each of which has to hold:

  track=NAME             there is a track of that name
  slice=A>B>C            on a track of a CPU a slice C lies in a B that lies in an A (beginnings of names, as for the others)
  held=FLOW:A            a track of what FLOW holds has a slice A
  overlap=FLOW:A,B       FLOW holds A and B at once, and neither within the other
  instant=A              an instant of that name on a track of a CPU
  arrow=A>B              an arrow from A to B, of steps or instants
  failure=TEXT           the failure is named so
"""

import sys
from collections import defaultdict

from check_trace import (ANNOTATION_NAME, CATEGORIES, DEBUG_ANNOTATIONS, FLOW_IDS, NAME, PARENT_UUID, PROCESS,
                         PROCESS_NAME, SEQ_INCREMENTAL_STATE_CLEARED, SEQUENCE_FLAGS, TERMINATING_FLOW_IDS, TIMESTAMP,
                         TRACE_PACKET, TRACK_DESCRIPTOR, TRACK_EVENT, TRACK_NAME, TRACK_UUID, TRUSTED_PACKET_SEQUENCE_ID,
                         TYPE, TYPE_SLICE_BEGIN, TYPE_SLICE_END, UUID, fields, message)

TYPE_INSTANT = 3  # track_event/track_event.proto: TrackEvent.Type
STRING_VALUE = 6  # track_event/debug_annotation.proto: DebugAnnotation


class Event:
    def __init__(self, track, begin, event, outer):
        self.track, self.begin, self.end, self.outer = track, begin, None, outer
        self.name = event[NAME][0].decode()
        self.category = event[CATEGORIES][0].decode()
        self.is_instant = event[TYPE][0] == TYPE_INSTANT
        notes = [message(a) for a in event[DEBUG_ANNOTATIONS]]
        self.notes = {n[ANNOTATION_NAME][0].decode(): n for n in notes}
        self.flows, self.last_flows = event[FLOW_IDS], event[TERMINATING_FLOW_IDS]

    def __str__(self):
        return f"{self.track} '{self.name}'"

    def is_in(self, names):
        """The last of `names` begins its own name, the others those of slices around it, inner ones first."""
        if not self.name.startswith(names[-1]):
            return False
        outer = self.outer
        for name in reversed(names[:-1]):
            while outer and not outer.name.startswith(name):
                outer = outer.outer
            if not outer:
                return False
            outer = outer.outer
        return True


def read(path):
    with open(path, "rb") as file:
        packets = [message(value) for number, value in fields(file.read()) if number == TRACE_PACKET]
    names, parents, events, stacks, last = {}, {}, [], defaultdict(list), defaultdict(int)
    for at, packet in enumerate(packets):
        assert packet[TRUSTED_PACKET_SEQUENCE_ID] == [1], "a packet without its sequence"
        assert (packet[SEQUENCE_FLAGS] == [SEQ_INCREMENTAL_STATE_CLEARED]) == (at == 0), "the first packet clears the state"
        for track in map(message, packet[TRACK_DESCRIPTOR]):
            process = [message(p) for p in track[PROCESS]]
            uuid = track[UUID][0]
            assert uuid not in names, "a track is described twice"
            names[uuid] = "process" if process else track[TRACK_NAME][0].decode()
            parents[uuid] = track[PARENT_UUID]
            if process:
                print("process", process[0][PROCESS_NAME][0].decode())
        for event in map(message, packet[TRACK_EVENT]):
            uuid, now, kind = event[TRACK_UUID][0], packet[TIMESTAMP][0], event[TYPE][0]
            assert uuid in names, "an event of a track that is not described"
            assert now >= last[uuid], f"time goes back on {names[uuid]}"
            last[uuid] = now
            stack = stacks[uuid]
            if kind == TYPE_SLICE_END:
                assert stack, f"an end without a begin on {names[uuid]}"
                stack.pop().end = now
                continue
            assert kind in (TYPE_SLICE_BEGIN, TYPE_INSTANT), f"type {kind}"
            events.append(Event(names[uuid], now, event, stack[-1] if stack else None))
            if kind == TYPE_SLICE_BEGIN:
                stack.append(events[-1])
            else:
                events[-1].end = now
    assert not any(stacks.values()), "slices without an end"
    process = [uuid for uuid, name in names.items() if name == "process"]
    assert len(process) == 1 and all(parents[u] == process for u in names if u not in process), "a track of no process"
    assert all(e.end > e.begin for e in events if not e.is_instant), "an empty slice"
    return names, events


def arrows(events):
    along = defaultdict(list)
    for e in events:
        for flow in e.flows + e.last_flows:
            along[flow].append(e)
    for flow, chain in along.items():
        chain.sort(key=lambda e: e.begin)
        assert len(chain) > 1, f"an arrow from {chain[0]} to nowhere"
        ends = [e for e in chain if flow in e.last_flows]
        assert ends == chain[-1:], f"an arrow from {chain[0]} ends at {[str(e) for e in ends]}"
        yield from zip(chain, chain[1:])


def check(path, expectations):
    names, events = read(path)
    on_cpus = [e for e in events if e.track.startswith("CPU ")]
    steps = [e for e in on_cpus if "step" in e.notes]
    assert steps and all(e.outer for e in steps), "a step that no flow takes"
    led = list(arrows(events))
    failures = [e for e in events if e.track == "process"]
    assert len(failures) == 1 and failures[0].is_instant and failures[0].category == "failure", "no failure, or several"
    assert failures[0].begin >= max(e.begin for e in events), "something comes after the failure"
    assert any(STRING_VALUE in e.notes["source"] for e in steps if "source" in e.notes), "no step says where it stands"
    for wanted in expectations:
        kind, _, what = wanted.partition("=")
        if kind == "track":
            good = what in names.values()
        elif kind == "slice":
            good = any(e.is_in(what.split(">")) for e in on_cpus if not e.is_instant)
        elif kind == "held":
            flow, _, name = what.partition(":")
            good = any(e.track == f"{flow} holds" and e.name.startswith(name) for e in events)
        elif kind == "overlap":
            flow, _, both = what.partition(":")
            a, b = both.split(",")
            mine = [e for e in events if e.track == f"{flow} holds"]
            good = any(x.begin < y.begin < x.end < y.end for x in mine for y in mine
                       if x.name.startswith(a) and y.name.startswith(b))
        elif kind == "instant":
            good = any(e.is_instant and e.name.startswith(what) for e in on_cpus)
        elif kind == "arrow":
            a, b = what.split(">")
            good = any(x.name.startswith(a) and y.name.startswith(b) for x, y in led)
        else:
            good = kind == "failure" and failures[0].name.startswith(what)
        assert good, f"not there: {wanted}"
    print(f"{len(names)} tracks, {len(events)} events, {len(led)} arrows")


if __name__ == "__main__":
    check(sys.argv[1], sys.argv[2:])
