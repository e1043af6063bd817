#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Counts, in a log of `strace -f --decode-pids=comm`, how often each thread slept in a futex and was woken.

  count_wakes.py LOG     prints "name count" for each thread name; the first thread is called main
"""

import re
import sys
from collections import Counter

LINE = re.compile(r"^(\d+)<([^>]*)> (.*)$")


def count(path):
    wakes, waiting, first = Counter(), set(), None
    with open(path, errors="replace") as log:
        for line in log:
            match = LINE.match(line)
            if not match:
                continue
            thread, name, call = match.groups()
            first = first or thread
            if thread == first:
                name = "main"
            wakes.setdefault(name, 0)
            if call.startswith("futex(") and "FUTEX_WAIT" in call:
                if "<unfinished" in call:
                    waiting.add(thread)
                elif call.rstrip().endswith("= 0"):
                    wakes[name] += 1
            elif call.startswith("<... futex resumed>") and thread in waiting:
                waiting.discard(thread)
                if call.rstrip().endswith("= 0"):
                    wakes[name] += 1
    return wakes


for name, number in count(sys.argv[1]).items():
    print(name, number)
