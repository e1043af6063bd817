#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# The Perfetto trace of a failing execution, decoded by a reader that shares nothing with its writer.
. "$(dirname "$0")/support/common.sh"
need python3

program=${INTERLOCK_MODEL_PROGRAM-}
[ -x "$program" ] || skip 'built without the model'
checker=$(dirname "$0")/support/check_execution.py
case $checker in /*) ;; *) checker=$OLDPWD/$checker ;; esac
PYTHONDONTWRITEBYTECODE=1
export PYTHONDONTWRITEBYTECODE

shows() { # shows <what of> <expectation>...
  what=$1
  shift
  python3 "$checker" trace "$@" >said 2>&1 || fail "$what: $(tail -n 1 said)"
  cat said
}

# A fence, readers, locks that do not nest, a softirq on a task.
expect_status 1 check "$program" --filter device.does_too_little --trace trace
shows 'check' 'track=CPU 0' 'track=CPU 1' 'track=main holds' 'track=device holds' \
  'slice=main>starts' 'slice=device>starts' 'slice=main>softirq' 'held=device:RCU reader' 'held=main:G' 'overlap=device:G,H' \
  'instant=makes fence' 'instant=signals fence' 'instant=fails' 'arrow=makes fence>waits for fence' \
  'arrow=signals fence>has waited for fence' 'arrow=wakes who sleeps on>goes on, woken on' 'failure=BUG: abort() was called'
# An interrupt on what it halts, by a replay.
expect_status 1 check "$program" --filter 'interrupt.*'
token=$(sed -n 's/^  interlock replay [^ ]* \([^ ]*\) --only.*/\1/p' out)
expect_status 1 replay "$program" "$token" --only 'dma line' --trace trace
shows 'replay' 'slice=main>irq/cpu0>is let in' 'arrow=raises cpu 0>is let in' 'instant=fails' 'failure=WARNING: inconsistent lock state'
grep -qF "process dma line $token" said || fail 'the process is not named after the exploration and its token'
# All stand still: nobody's step fails.
expect_status 1 check "$program" --filter 'locks.*' --trace trace
shows 'deadlock' 'held=main:first' 'held=thread1:second' 'failure=BUG: deadlock'
# Of several failures the first in the table.
expect_status 1 check "$program" --filter 'locks.*:table.*' --trace trace --html page.html
shows 'several' 'failure=BUG: deadlock'
grep -q '<title>locks.are_taken_in_two_orders</title>' page.html || fail 'the page is of another failure'
rm -f trace page.html
expect_status 0 check "$program" --filter counter.is_atomic --trace trace --html page.html
expect_only said
expect_status 1 check "$program" --filter 'locks.*' --trace nowhere/trace
expect_error "cannot write the trace 'nowhere/trace': No such file or directory"
expect_status 1 check "$program" --filter 'locks.*' --html nowhere/page
expect_error "cannot write 'nowhere/page': No such file or directory"
expect_only said
