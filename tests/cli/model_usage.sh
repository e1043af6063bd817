#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# `interlock check` and `replay` asked for what makes no sense: exit status 2, what is wrong, and the way out. Without the model too.
. "$(dirname "$0")/support/common.sh"

wrong() { # wrong <text> <argument>...
  text=$1
  shift
  expect_status 2 "$@"
  expect_error "$text"
  [ ! -s out ] || fail "interlock $*: that belongs to standard error: $(head -n 1 out)"
  expect_only out
}
true_program=/bin/true
wrong 'BINARY is required' check
wrong no-such-binary check no-such-binary
for time in soon 10h -3s 1e99 10ss; do
  wrong "--time: '$time' is not a time: write 10s, 500ms or 2m, or 0 for no limit" check "$true_program" --time="$time"
done
for option in seed executions steps; do
  for value in many -1 1.5 99999999999999999999999; do
    wrong "--$option: '$value' is not a number from 0 to 18446744073709551615" check "$true_program" --$option="$value"
  done
done
wrong '--jobs' check "$true_program" -j 0
wrong '--jobs' check "$true_program" -j many
wrong strategy check "$true_program" --strategy luck
wrong cpus check "$true_program" --cpus 9
# Nothing ran: that is no success, and no failure of a test.
wrong "$true_program ran no exploration: is it a program that is linked to interlock::model" check "$true_program"
wrong "$true_program ran no exploration: is it a program that is linked to interlock::model" check "$true_program" -j 1
wrong 'ran no exploration (exit status 1; --verbose shows what it says)' check /bin/false
echo 'no program' >text
chmod 600 text
expect_status 2 check ./text
expect_error 'cannot run ./text: Permission denied'
rm text
# A process that dies is a failure, even if nothing had been explored.
printf '#!/bin/sh\nkill -SEGV $$\n' >dies
chmod 700 dies
expect_status 1 check dies
grep -q '^  ended by signal 11 (Segmentation fault)$' out || fail "it is not said how it ended: $(cat out)"
rm dies

# What is easily forgotten of a replay.
wrong 'a test binary and a token are wanted: the line ' replay
expect_error ' at the end of a report, or '
wrong 'the test binary is wanted before the token 2fusc.ab2: the line ' replay 2fusc.ab2
wrong 'the test binary is wanted before the token 2fusc.ab2' replay 2fusc.ab2 --only ring.wraps
wrong "a token is wanted behind $true_program" replay "$true_program"
wrong "there is no file 'no-such-binary'" replay no-such-binary 2fusc.a
wrong 'has a comma' replay "$true_program" 2fusc.a,b
wrong "ran no exploration named 'ring.wraps'" replay "$true_program" 2fusc.a --only ring.wraps

program=${INTERLOCK_MODEL_PROGRAM-}
[ -x "$program" ] || exit 0
wrong "no test with one matches --filter 'nothing.matches'; \`$program --gtest_list_tests\` lists them" check "$program" --filter nothing.matches
wrong "no test with one matches --filter 'nothing.matches'" check "$program" -j 1 --filter nothing.matches
