#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# `interlock info` speaks of everything that it should, to people and to programs.
. "$(dirname "$0")/support/common.sh"

expect_status 0 info
for name in CPUs clock io_uring membarrier rseq 'time slice' 'sealed memory' signals engine pread zstd; do
  grep -q "^  .*$name" out || fail "nothing about $name"
done
# What is missing has a substitute.
awk '/ no   / { missing = 1; next } missing && /instead:/ { missing = 0 } missing && /^  [a-z]/ { exit 1 }' out ||
  fail 'something is missing and nothing is said to take its place'
INTERLOCK_OPTIONS=membarrier=0:uring=0 interlock info >out
grep -q 'membarrier  *no  *switched off' out || fail 'membarrier=0 is not told'
grep -q 'uring  *no  *.*switched off' out || fail 'uring=0 is not told'

expect_status 0 info --json
if command -v python3 >/dev/null; then
  python3 -c 'import json, sys; assert len(json.load(sys.stdin)["facts"]) > 8' <out || fail 'that is no JSON'
fi
