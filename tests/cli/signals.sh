#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# ^C and SIGTERM end a run within a second, whatever it is doing, with 128 + the signal's number, and leave nothing
# behind: no file, no process.
. "$(dirname "$0")/support/common.sh"
need env

make_file in 8000000
mkfifo never
sleep 60 >never & # a writer that writes nothing
writer=$!

# interrupt <signal> <status> <argument>...: one run, interrupted after a second; leaves what it took in $took.
# BEFORE: a command to run just before the signal. KEEP: files that may be there.
interrupt_once() {
  signal=$1
  wanted=$2
  shift 2
  # A shell without job control starts background jobs with SIGINT ignored, which the tool respects.
  # shellcheck disable=SC2086
  env --default-signal=INT,TERM ${INTERLOCK_LAUNCHER-} "$INTERLOCK" "$@" >out 2>err &
  tool=$!
  sleep "${SETTLE-1}"
  ${BEFORE-:}
  kill -0 $tool 2>kill.log || fail "interlock $*: had ended by itself"
  before=$(now)
  kill -s "$signal" $tool
  status=0
  wait $tool || status=$?
  took=$(($(now) - before))
  [ "$status" = "$wanted" ] || fail "interlock $*: SIG$signal: exit status $status, not $wanted"
  expect_error "ended by signal"
  # shellcheck disable=SC2086
  expect_only in never kill.log ${KEEP-}
}
interrupt() {
  what="SIG$1: interlock $(shift 2; echo "$*")"
  within_a_second "$what" interrupt_once "$@"
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

# --verify, when the output has its name already and stays. What is verified against is a pipe that says nothing by then.
cp in original
start_verifying() { # the input is taken away while the run stalls
  rm -f in
  mkfifo in
  for _ in 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17 18 19 20; do
    [ ! -e in.zst ] || break
    sleep 0.5
  done
  [ -e in.zst ] || fail '--verify: there is no output to verify'
}
verify_once() {
  rm -f in in.zst
  cp original in
  BEFORE=start_verifying SETTLE=0.5 KEEP='original in.zst' \
    interrupt_once "$1" "$2" compress in --verify --inject stall:time=1500ms
  [ -p in ] || fail '--verify: it had not begun'
  command -v zstd >/dev/null || return 0
  expect_content in.zst original
}
within_a_second 'SIGTERM: --verify' verify_once TERM 143
within_a_second 'SIGINT: --verify' verify_once INT 130
rm -f in in.zst
mv original in

# --compare: the program that runs just now ends too, and the folder of the outputs goes.
if [ -x /usr/bin/zstd ] || [ -x /usr/local/bin/zstd ]; then
  mkdir tmp
  TMPDIR=$work/tmp
  export TMPDIR
  # A folder of ours in which nobody else's processes work.
  # shellcheck disable=SC2009 # pgrep cannot look for a fixed string
  children() { ps -e -o pid=,ppid=,args= | grep -F -- "$work/tmp/interlock-" | grep -v grep || :; }
  compare_once() { # compare_once <signal> <status> <who runs> <argument>...
    signal=$1
    wanted=$2
    who=$3
    shift 3
    BEFORE="until_runs $who" SETTLE=0.1 KEEP=tmp interrupt_once "$signal" "$wanted" compress in -d 2 --compare "$@"
    [ -z "$(ls -A tmp)" ] || fail "--compare, $who runs: left behind: $(ls -A tmp)"
    left=$(children)
    [ -z "$left" ] || fail "--compare, $who runs: a child is left: $left"
  }
  until_runs() { # until_runs <output>: the program that writes this
    for _ in $(seq 400); do
      ! children | grep -qF "/$1.zst" || return 0
      sleep 0.05
    done
    fail "--compare: who writes $1.zst does not run"
  }
  need ps
  cat in in in in in in in in >long
  mv long in
  for who in ours theirs; do
    within_a_second "SIGTERM: --compare, $who runs" compare_once TERM 143 $who
    within_a_second "SIGINT: --compare, $who runs" compare_once INT 130 $who
    # A child that does not look up for a while.
    within_a_second "SIGTERM: --compare -l 19, $who runs" compare_once TERM 143 $who -l 19 --chunk-size 64MiB
  done
fi

# A reader that goes away.
status=0
{ interlock compress /dev/zero -Q -o - 2>err || echo $? >status; } | head -c 1000 >head.bin
status=$(cat status)
[ "$status" = 1 ] || fail "a broken pipe: exit status $status"
expect_error "cannot write 'standard output': Broken pipe"
