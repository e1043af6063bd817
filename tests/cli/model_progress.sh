#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# How far `interlock check` is: a line on a terminal, which goes at the end, and nothing elsewhere.
. "$(dirname "$0")/support/common.sh"
need script stty

program=${INTERLOCK_MODEL_PROGRAM-}
[ -x "$program" ] || skip 'built without the model'
escape=$(printf '\033')

on_terminal() { # on_terminal <columns> <argument of check>...; leaves `seen` and `drawn`, one frame a line
  columns=$1
  shift
  script -qec "stty cols $columns && timeout 60 ${INTERLOCK_LAUNCHER-} '$INTERLOCK' check '$program' $* >out" \
    seen.log >seen 2>script.err </dev/null || fail "on a terminal: exit status $?: $(head -n 3 seen)"
  tr '\r' '\n' <seen | sed -n "s/$escape\[K//gp" | sed '/^$/d' >drawn
  tail -c 4 seen >end
  printf '\r\033[K' | cmp -s - end || fail 'the line is not cleared at the end'
}
long="--filter 'counter.takes_long:counter.is_atomic' --strategy exhaustive --executions 0 --time 2s"

on_terminal 120 -j 2 "$long"
[ "$(wc -l <drawn)" -ge 4 ] || fail "$(wc -l <drawn) frames only in two seconds"
grep -qvE '^[0-2] of 2: [0-9 ]+ executions, [0-9 ]+/s, depth [0-9]+: .*$' drawn && fail "a frame is wrong: $(head -n 1 drawn)"
grep -qE '^1 of 2: [1-9][0-9 ]* executions, [1-9][0-9 ]*/s, depth [1-9][0-9]+: counter.takes_long \(about [0-9.e-]+ % of the search\)$' drawn ||
  fail "no frame has all figures: $(tail -n 1 drawn)"
awk '{ sub(/^[0-9]* of [0-9]*: /, ""); sub(/ executions.*/, ""); gsub(/ /, ""); if ($0 + 0 < last) exit 1; last = $0 + 0 }' drawn ||
  fail 'the executions become fewer'
on_terminal 30 -j 2 "$long"
awk 'length >= 30 { exit 1 } END { exit NR == 0 }' drawn || fail 'a frame does not fit into 30 columns'
# One process tells it by itself, and what is left.
on_terminal 120 -j 1 "$long"
grep -qE '^counter.takes_long: [1-9][0-9]* executions, [1-9][0-9]*/s, depth [1-9][0-9]*, about [0-9.e-]+ % of the search, ([0-9]+ (s|min|h|days)|years) left$' drawn ||
  fail "no frame has an estimate: $(tail -n 1 drawn)"
# Samplers have no end that could be estimated.
on_terminal 120 -j 1 --filter counter.takes_long --strategy random --time 1s
grep -qE '^counter.takes_long: [0-9]+ executions, [0-9]+/s, depth [0-9]+$' drawn || fail 'no frame of the samplers'
! grep -q 'search' drawn || fail 'an estimate of what has no end'

# Off, and where there is no terminal.
INTERLOCK_EXPLORE_PROGRESS=0
export INTERLOCK_EXPLORE_PROGRESS
on_terminal_none() {
  for jobs in 1 2; do
    script -qec "timeout 60 ${INTERLOCK_LAUNCHER-} '$INTERLOCK' check '$program' -j $jobs $long >out" seen.log >seen 2>script.err </dev/null
    [ ! -s seen ] || fail "INTERLOCK_EXPLORE_PROGRESS=0, -j $jobs: $(head -n 1 seen)"
  done
}
on_terminal_none
unset INTERLOCK_EXPLORE_PROGRESS
for jobs in 1 2; do
  expect_status 0 check "$program" -j $jobs --filter counter.takes_long --time 1s
  [ ! -s err ] || fail "-j $jobs: no terminal, and: $(head -n 1 err)"
done

# The estimate, against a search that ends: never far off, and more as it goes on.
INTERLOCK_EXPLORE_PROGRESS=1 INTERLOCK_EXPLORE=strategy=exhaustive,executions=0,time=0 \
  timeout 90 "$program" --gtest_filter=counter.ends_in_a_while >out 2>seen || fail "it does not pass: $?"
total=$(sed -n 's/^\([0-9]*\) executions.*, complete$/\1/p' out)
tr '\r' '\n' <seen | sed -n "s/.*: \([0-9]*\) executions.* about \([0-9.e-]*\) %.*/\1 \2/p" >estimates
[ -s estimates ] || skip "the machine is too fast for an estimate: $total executions"
awk -v total="$total" '{ real = 100 * $1 / total; if ($2 < real / 4 || $2 > 4 * real) { print $0 " of " total; exit 1 } }
  NR == 1 { first = $2 } END { if (NR > 3 && $2 < 2 * first) { print "from " first " to " $2; exit 1 } }' estimates >why ||
  fail "an estimate is far off: $(cat why)"
