#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# `interlock check`: the table, the exit status, JUnit, and what is refused.
. "$(dirname "$0")/support/common.sh"

program=${INTERLOCK_MODEL_PROGRAM-}
[ -x "$program" ] || skip 'built without the model'

expect_status 1 check "$program" --filter 'counter.is*:counter.loses*:table.*' --junit out.xml
grep -q '^counter.is_atomic  *passed .* yes ' out || fail 'the table has no row of what passed'
grep -q '^counter.loses_an_update  *FAILED ' out || fail 'the table has no row of what failed'
grep -q '^  BUG: expectation failed at ' out || fail 'the first line of the failure is missing'
grep -q '^  BUG: data-race: ' out || fail 'the race is missing'
grep -q "^  interlock replay .* --only 'table.is_read_without_its_lock'" out || fail 'nothing says how to replay'
grep -q '^3 explorations, 2 failed$' out || fail 'no summary'
grep -q 'RUN' out && fail 'what the binary writes is shown without --verbose'
grep -q '<testsuite name="model_program" tests="3" failures="2"' out.xml || fail 'JUnit: the counts are wrong'
grep -q '<testcase classname="counter" name="is_atomic" time=' out.xml || fail 'JUnit: no case'
grep -q '<failure message="BUG: data-race' out.xml || fail 'JUnit: no failure'
if command -v python3 >/dev/null; then
  python3 -c 'import sys, xml.dom.minidom; xml.dom.minidom.parse(sys.argv[1])' out.xml || fail 'that is no XML'
fi
expect_only out.xml

expect_status 0 check "$program" --filter counter.is_atomic --executions 1
grep -q '^counter.is_atomic  *passed  *1  *no ' out || fail '--executions is not heard'
expect_status 1 check "$program" --filter counter.loses_an_update --verbose
grep -q '^interleaving:$' out || fail '--verbose shows no report'
grep -q 'reads A  program.cpp:' out || fail 'a step names neither its object nor its line'

expect_status 0 check "$program" --filter barrier.is_missing
expect_status 1 check "$program" --filter barrier.is_missing --memory tso
grep -q '^  BUG: abort() was called' out || fail '--memory tso finds no missing barrier'

expect_status 1 check "$program" --filter counter.is_atomic --junit /no/such/folder/out.xml
expect_error "cannot write '/no/such/folder/out.xml'"

# The first line of a race is the same in each process: the memory is named, not numbered.
for _ in 1 2 3; do
  expect_status 1 check "$program" --filter 'table.*'
  grep -qx '  BUG: data-race: write of 4 bytes at table by writer on cpu 1, read by main on cpu 0 before it' out || fail "the race is told as: $(grep data-race out)"
done
