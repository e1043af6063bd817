#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# How far it is: a bar on a terminal, which goes at the end; plain lines, one in ten seconds, where there is none.
. "$(dirname "$0")/support/common.sh"
need script stty

make_file in 2000000
cr=$(printf '\r')
escape=$(printf '\033')

# Without a terminal, in the background meanwhile: it takes 11 s.
(
  # shellcheck disable=SC2086
  timeout 90 ${INTERLOCK_LAUNCHER-} "$INTERLOCK" compress in -o plain.zst --chunk-size 64KiB --watchdog 60 \
    --inject stall:chunk=20,time=10500ms >plain.out 2>plain.err
) &
plain=$!

# A run with its standard error on a terminal of so many columns; leaves what that has seen in `seen`.
on_terminal() { # on_terminal <columns> <argument of interlock>...
  columns=$1
  shift
  script -qec "stty cols $columns && timeout 60 ${INTERLOCK_LAUNCHER-} '$INTERLOCK' compress in -f --chunk-size 64KiB $* >out" \
    seen.log >seen 2>script.err </dev/null || fail "on a terminal: exit status $?: $(head -n 3 seen)"
}
frames() { # one frame a line, without what clears the rest of the terminal's line
  tr '\r' '\n' <seen | sed -n "s/$escape\[K\$//p" | sed '/^$/d'
}

on_terminal 100 --inject stall:chunk=20,time=1s
frames >drawn
[ "$(wc -l <drawn)" -ge 5 ] || fail "$(wc -l <drawn) frames only in more than a second"
grep -qvE '^in  \[#*-*\]  [ 0-9]{2}[0-9] %(  .*)?$' drawn && fail "a frame is not a bar: $(grep -vE '^in  \[' drawn | head -n 1)"
grep -qE '^in  \[#+-+\]  +[1-9][0-9]* %  +[0-9.]+ %  [0-9.]+ [KMG]?i?B/s$' drawn || fail 'no frame says what was read, saved, and how fast'
# The percent never fall, the bar says the same as they do, and at the stall neither is 0 nor all.
awk -F '[][]' '{
  bar = $2; length_all = length(bar); full = gsub(/#/, "", bar); percent = $3 + 0
  if (percent < last) { print "percent fall: " last " " percent; exit 1 }
  last = percent
  if (length_all < 8 || full - 1 > percent * length_all / 100 || full + 1 < percent * length_all / 100 - 1) {
    print "the bar is " full " of " length_all " at " percent " %"; exit 1
  }
  if (percent > 0 && percent < 100) ++middle
} END { if (!middle) { print "never in the middle"; exit 1 } }' drawn >why || fail "$(cat why)"
# At the end the line is clear again.
tail -c 4 seen >end
printf '\r\033[K' | cmp -s - end || fail 'the line is not cleared at the end'
grep -q 'throughput' out || fail 'there is no table'

# A narrow terminal: no frame is as wide as it is.
on_terminal 24 --inject stall:chunk=20,time=300ms
frames | awk 'length >= 24 { exit 1 } END { exit NR == 0 }' || fail 'a frame does not fit into 24 columns'
# Quiet is quiet.
on_terminal 100 -Q --inject stall:chunk=20,time=300ms
[ ! -s seen ] || fail "-Q: $(head -n 1 seen)"

status=0
wait $plain || status=$?
[ $status = 0 ] || fail "without a terminal: exit status $status: $(cat plain.err)"
cp plain.err err
! grep -q "[$cr$escape]" plain.err || fail 'control characters, and no terminal'
lines=$(grep -cE '^in: [0-9.]+ [KM]?i?B of 1\.9 MiB  +[0-9.]+ %  [0-9.]+ [KMG]?i?B/s$' plain.err) || fail 'no line, in ten seconds'
[ "$lines" = 1 ] || fail "$lines lines in ten seconds"
[ "$(grep -vc '^in: ' plain.err)" = 0 ] || grep -q '^INFO: task' plain.err || fail "unexpected: $(grep -v '^in: ' plain.err | head -n 1)"
