#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# `interlock replay`: a token from `check` fails again in the same way; others are refused or said to be out of date.
. "$(dirname "$0")/support/common.sh"

program=${INTERLOCK_MODEL_PROGRAM-}
[ -x "$program" ] || skip 'built without the model'

expect_status 1 check "$program" --filter counter.loses_an_update
token=$(sed -n 's/^  interlock replay [^ ]* \([^ ]*\) --only.*/\1/p' out)
[ -n "$token" ] || fail 'check gives no token'
expect_status 1 replay "$program" "$token" --only counter.loses_an_update --html page.html
grep -q '^counter.loses_an_update: BUG: expectation failed at ' out || fail 'the failure is not named'
grep -q '^interleaving:$' out || fail 'no report'
grep -q '^1 executions' out || fail 'more than that execution was run'
[ -s page.html ] || fail '--html writes nothing'
grep -qE '(src|href)="?(https?:)?//' page.html && fail 'the page needs something from elsewhere'
for part in '<!doctype html>' prefers-color-scheme 'loses_an_update' 'n.store(n.load() + 1)'; do
  grep -qF -- "$part" page.html || fail "the page has no '$part'"
done
rm page.html

# Two locks in two orders: who holds and who waits for what.
expect_status 1 check "$program" --filter 'locks.*' --verbose
grep -q '^BUG: deadlock' out || fail 'no deadlock'
grep -q 'waits for the lock second' out || fail 'what is waited for is not named'
grep -q 'holds first, since program.cpp:' out || fail 'what is held is not named'

# A name with a dot need not be a test's.
expect_status 1 check "$program" --filter 'named.*'
token=$(sed -n "s/^  interlock replay [^ ]* \\([^ ]*\\) --only 'ring.v2'.*/\\1/p" out)
expect_status 1 replay "$program" "$token" --only ring.v2
grep -q '^ring.v2: BUG: abort() was called$' out || fail 'a name with a dot is taken for that of a test'
grep -q '^   operator() (program.cpp:[0-9]*)$' out || fail 'it is not told where it stands'
grep -A1 '^   operator() (program.cpp:' out | grep -q '> std::abort();' || fail 'the innermost line is not that of the call'

expect_status 0 replay "$program" 2fusc.a --only counter.is_atomic
grep -q 'passed' out || fail 'what does not fail is not said to pass'
expect_status 0 replay "$program" 1fusc.a --only counter.is_atomic
expect_error "number of CPUs than the options say: the token's, 1, is used"
expect_status 1 replay "$program" 2fusc.zz --only counter.is_atomic
grep -q 'the replay diverges at step' out || fail 'a token of another program is not told'
for bad in nonsense 9fusc.a 2xusc.a '2fusc.a-b'; do
  expect_status 2 replay "$program" "$bad" --only counter.is_atomic
  expect_error 'not a replay token'
done
expect_status 2 replay "$program" 2fusc.a --only no.such
expect_error "named 'no.such'"
expect_only out
