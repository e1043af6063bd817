#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# `interlock replay --gdb` stops where the execution fails; without gdb it says so.
. "$(dirname "$0")/support/common.sh"

program=${INTERLOCK_MODEL_PROGRAM-}
[ -x "$program" ] || skip 'built without the model'
expect_status 1 check "$program" --filter counter.loses_an_update
token=$(sed -n 's/^  interlock replay [^ ]* \([^ ]*\) --only.*/\1/p' out)

status=0
PATH=/nowhere "$INTERLOCK" replay "$program" "$token" --only counter.loses_an_update --gdb >out 2>err || status=$?
[ $status = 2 ] || fail "without gdb: exit status $status"
expect_error 'cannot run gdb: No such file or directory; without --gdb the execution is told as text'

command -v gdb >/dev/null || skip 'gdb is not installed'
[ -z "${INTERLOCK_LAUNCHER-}" ] || skip 'gdb is not run through a launcher'
interlock replay "$program" "$token" --only counter.loses_an_update --gdb </dev/null >out 2>err || :
grep -q '^Breakpoint 1, ' out || fail "gdb does not stop where it fails: $(tail -n 3 out)"
