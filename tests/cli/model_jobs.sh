#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# `interlock check -j`: the same table from one process and from many, those that are idle help, and all end together.
. "$(dirname "$0")/support/common.sh"
need pgrep

program=${INTERLOCK_MODEL_PROGRAM-}
[ -x "$program" ] || skip 'built without the model'
TMPDIR=$work/scratch
mkdir "$TMPDIR"
export TMPDIR
left_behind() {
  [ -z "$(ls -A "$TMPDIR")" ] || fail "left behind: $(ls -A "$TMPDIR")"
}

# The order is that of the binary, whoever was first; what was found is the same.
rows() { # without times, and how soon it failed: another process may have been sooner
  sed -n '/^exploration/,/^$/{s/  *[0-9.]* s$//; s/\(FAILED\)  *[0-9 ]*[0-9]  /\1  /; p}' out
}
short='-counter.takes_long:counter.fails_far*:counter.ends*'
expect_status 1 check "$program" -j 1 --filter "$short"
rows >one
[ "$(wc -l <one)" -ge 7 ] || fail 'the table is too short'
for jobs in 2 7; do
  expect_status 1 check "$program" -j $jobs --filter "$short"
  rows >many
  cmp -s one many || fail "-j $jobs makes another table: $(diff one many | head -n 4)"
done
left_behind
# An exploration with a name of its own is replayed from its test.
token=$(sed -n "s/^  interlock replay [^ ]* \([^ ]*\) --only 'dma line' --filter 'interrupt.takes_the_lock_of_what_it_halts'\$/\1/p" out)
[ -n "$token" ] || fail 'the test of "dma line" is not named'
expect_status 1 replay "$program" "$token" --only 'dma line' --filter interrupt.takes_the_lock_of_what_it_halts
grep -q '^dma line: WARNING: inconsistent lock state$' out || fail 'it does not fail again'
expect_status 1 replay "$program" "$token" --only 'dma line'

# What each test writes stands together, in order.
expect_status 1 check "$program" -j 4 --filter "counter.is*:counter.loses*:locks.*" --verbose
sed -n 's/^\[ RUN      \] //p' out >ran
printf '%s\n' counter.is_atomic counter.loses_an_update locks.are_taken_in_two_orders | cmp -s - ran || fail "what they write is mixed: $(cat ran)"

# Without GoogleTest: as a whole, and not twice.
plain=$(dirname "$program")/model_plain
for jobs in 1 3; do
  expect_status 1 check "$plain" -j $jobs --verbose
  [ "$(grep -c '^both explored$' out)" = 1 ] || fail "-j $jobs: the program was not run once"
  grep -q '^exploration 1  *passed ' out || fail "-j $jobs: no row for the first"
  grep -q '^exploration 2  *FAILED ' out || fail "-j $jobs: no row for the second"
  grep -q '^2 explorations, 1 failed$' out || fail "-j $jobs: $(tail -n 1 out)"
  [ ! -s err ] || fail "-j $jobs: it was asked for what it does not know: $(cat err)"
done
left_behind

# The samplers of one test are shared out: the executions are those asked for, by all together, each some of their own.
expect_status 0 check "$program" -j 3 --filter counter.takes_long --strategy random --time 0 --executions 40000
count=$(sed -n 's/^counter.takes_long  *passed  *\([0-9 ]*[0-9]\)  no .*/\1/p' out | tr -d ' ')
if [ "${count:-0}" -lt 40000 ] || [ "$count" -gt 40100 ]; then fail "$count executions, not 40000"; fi
# What is found by one that helps is found.
expect_status 1 check "$program" -j 2 --filter counter.fails_far_from_its_first_execution --time 60s --executions 0
token=$(sed -n 's/^  interlock replay [^ ]* \([^ ]*\) --only.*/\1/p' out)
expect_status 1 replay "$program" "$token" --only counter.fails_far_from_its_first_execution
left_behind

# The processes that are at the long test: `wait_for <n>` leaves their numbers in $children.
start() {
  # A shell without job control starts background jobs with SIGINT ignored, which the tool respects.
  # shellcheck disable=SC2086
  env --default-signal=INT,TERM,HUP ${INTERLOCK_LAUNCHER-} "$INTERLOCK" check "$program" "$@" >out 2>err &
  check=$!
}
wait_for() {
  for _ in $(seq 300); do
    children=$(pgrep -P $check -f 'gtest_filter=counter.takes_long$' || :)
    [ "$(echo "$children" | wc -w)" != "$1" ] || return 0
    kill -0 $check 2>/dev/null || break
    sleep 0.1
  done
  kill $check
  fail "not $1 processes: $children"
}
finish() { # finish <status>
  status=0
  wait $check || status=$?
  [ $status = "$1" ] || fail "exit status $status, not $1"
  for child in $children; do
    for _ in $(seq 50); do
      # Nobody may wait for what a test has started, once that is gone.
      runs=$(sed -n 's/^State:[[:space:]]*\([^Z]\).*/\1/p' "/proc/$child/status" 2>/dev/null || :)
      [ -n "$runs" ] || break
      sleep 0.1
    done
    [ -z "$runs" ] || fail "process $child was left behind"
  done
  left_behind
}
# A signal to us ends all of them.
for signal in INT/130 TERM/143 HUP/129; do
  start -j 3 --filter counter.takes_long --time 0 --executions 0
  wait_for 3
  kill -"${signal%/*}" $check
  finish "${signal#*/}"
  expect_error 'interlock: interrupted'
done
# An exhaustive search is divided: its executions are those of one process.
for jobs in 1 2 3; do
  expect_status 0 check "$program" -j $jobs --filter counter.ends_in_a_while --strategy exhaustive --time 0 --executions 0
  grep -q '^counter.ends_in_a_while  *passed  *90 090  yes' out || fail "-j $jobs: $(cat out)"
done
# The processes that are at it: the one that we have started, and those that it has.
start_divided() {
  start -j 3 --filter counter.takes_long --strategy exhaustive --time 0 --executions 0
  for _ in $(seq 300); do
    first=$(pgrep -d, -P $check -f 'gtest_filter=counter.takes_long$' || :)
    children=
    [ -z "$first" ] || children=$(pgrep -P "$first" || :)
    [ "$(echo "$children" | wc -w)" != 2 ] || return 0
    sleep 0.1
  done
  kill $check
  fail "the search is not divided: $children"
}
start_divided
kill -TERM $check
finish 143
start_divided
kill -KILL "$(echo "$children" | head -n 1)"
finish 1
grep -q '^counter.takes_long  *FAILED  *[0-9 ]*  no ' out || fail "that one is gone is not told: $(cat out)"
grep -q 'one of the 3 processes that divide the search was ended by signal 9 (Killed): what it had still to run was not run' out ||
  fail "that one is gone is not told: $(cat out)"
# One that is killed is told; the tests beside it, and those that wait, go on.
start -j 2 --filter 'counter.takes_long:counter.is_atomic' --time 0 --executions 0 --junit out.xml
wait_for 2
first=$(echo "$children" | head -n 1)
kill -KILL "$first"
finish 1
grep -q '^counter.is_atomic  *passed' out || fail 'the test beside it has no row'
grep -q '^  ended by signal 9 (Killed): was memory short?' out || fail "it is not told: $(cat out)"
grep -q '^1 explorations, 0 failed; 1 process did not end well$' out || fail "$(tail -n 1 out)"
grep -q '<testcase classname="counter" name="takes_long"' out.xml || fail 'JUnit does not tell it'
