#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# ^C and SIGTERM end a run soon, whatever it is doing, with 128 + the signal's number, and leave nothing behind.
. "$(dirname "$0")/support/common.sh"
need env

make_file in 8000000
mkfifo never
sleep 60 >never & # a writer that writes nothing
writer=$!

interrupt() { # interrupt <signal> <status> <argument>...
  signal=$1
  wanted=$2
  shift 2
  # A shell without job control starts background jobs with SIGINT ignored, which the tool respects.
  # shellcheck disable=SC2086
  env --default-signal=INT,TERM ${INTERLOCK_LAUNCHER-} "$INTERLOCK" "$@" >out 2>err &
  tool=$!
  sleep 1
  kill -0 $tool 2>kill.log || fail "interlock $*: had ended by itself"
  before=$(date +%s)
  kill -s "$signal" $tool
  status=0
  wait $tool || status=$?
  [ "$status" = "$wanted" ] || fail "interlock $*: SIG$signal: exit status $status, not $wanted"
  # It takes a second at most; a busy machine gets more.
  [ $(($(date +%s) - before)) -le 5 ] || fail "interlock $*: SIG$signal: took too long"
  expect_error "ended by signal"
  expect_only in never kill.log
}

for link in memory callback wait; do
  interrupt INT 130 compress in --link $link --inject hang:chunk=20 --chunk-size 64KiB --watchdog 60
done
interrupt TERM 143 compress in --inject hang:device=read --watchdog 60
interrupt TERM 143 compress in --inject hang:device=write --watchdog 60
interrupt HUP 129 compress in --inject stall:time=60s --watchdog 60
for provider in auto pread; do
  interrupt INT 130 compress never --provider $provider -o never.zst
done
# Work that does not look up for a while.
interrupt TERM 143 compress /dev/zero -l 19 --chunk-size 64MiB -o zeros.zst
kill $writer
# Nobody writes: the tool does not get past opening it.
interrupt TERM 143 compress never -o never.zst

# A reader that goes away.
status=0
{ interlock compress /dev/zero -Q -o - 2>err || echo $? >status; } | head -c 1000 >head.bin
status=$(cat status)
[ "$status" = 1 ] || fail "a broken pipe: exit status $status"
expect_error "cannot write 'standard output': Broken pipe"
