#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# Memory is bounded by the queue's depth: a file of 1 GiB takes no more than one of 32 MiB.
. "$(dirname "$0")/support/common.sh"

peak() { # peak <size>: in KiB, from the table
  truncate -s "$1" "in.$1"
  expect_status 0 compress "in.$1" -l 1 -d 2 -q 4 --chunk-size 1MiB -o "out.$1"
  sed -n 's/^ *peak of the process  *\([0-9.]*\) MiB.*/\1/p' out | awk '{ printf "%d", $1 * 1024 }'
}
small=$(peak 32M)
large=$(peak 1G)
echo "peak: $small KiB for 32 MiB, $large KiB for 1 GiB"
[ "$large" -le "$((small + 16 * 1024))" ] || fail "$large KiB for 1 GiB, $small KiB for 32 MiB"
# Slots: 4 chunks and 1 more for the history, and 4 results.
slots=$(sed -n 's/^ *memory of the slots  *\([0-9]*\).*MiB.*/\1/p' out)
[ "$slots" -le 10 ] || fail "the slots take $slots MiB"
