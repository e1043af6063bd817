#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# The table's counts are those of the system: wakes against strace and rusage, fences and interrupts against a run in
# which every fence is armed.
. "$(dirname "$0")/support/common.sh"
support=$(dirname "$0")/support
case $support in /*) ;; *) support=$OLDPWD/$support ;; esac
need python3 strace

make_file in 4000000
chunks=62
run="compress in -f --chunk-size 64KiB -d 2 -q 6"

between() { # between <what> <least> <value> <most>
  echo "$1: $3, in $2 to $4"
  [ "$2" -le "$3" ] || fail "$1: $3 is less than $2"
  [ "$3" -le "$4" ] || fail "$1: $3 is more than $4"
}

# Without a waiter that needs it nothing is armed and no interrupt is raised. The submitter waits for slots only: it is
# woken once a chunk and for the end of the stream at most. (That it is not woken for links, the devices' table shows: with
# --link wait it is, below.)
# shellcheck disable=SC2086
expect_status 0 $run
between 'fences made' $((3 * chunks + 1)) "$(number_of 'fences made')" $((3 * chunks + 1))
between 'fences armed' 0 "$(number_of 'fences armed')" 0
between 'interrupts' 0 "$(number_of 'interrupts raised')" 0
between 'wakes of the submitter' 0 "$(number_of 'wakes of the submitter')" $((chunks + 1))

# The same work with every fence armed: a measured run says what was saved.
# shellcheck disable=SC2086
expect_status 0 $run --arm-all
between 'fences made, all armed' $((3 * chunks + 1)) "$(number_of 'fences made')" $((3 * chunks + 1))
between 'fences armed, all armed' $chunks "$(number_of 'fences armed')" $((3 * chunks + 1))
between 'interrupts, all armed' $((3 * chunks)) "$(number_of 'interrupts raised')" $((3 * chunks + 1))

# The classical way: every link is a wait of the submitter.
# shellcheck disable=SC2086
expect_status 0 $run --link wait
between 'links, carried by the submitter' 0 \
  $(($(number_of 'links in memory') + $(number_of 'links by callback'))) 0
# One chunk at a time, and one that takes longer than any waiter spins: it sleeps for that one at least.
# shellcheck disable=SC2086
expect_status 0 ${run% -q 6} -q 1 --link wait --inject stall:device=0,chunk=6,time=1s
on_links=$(sed -n 's/^ *wakes of the submitter .*(\([0-9 ]*\) on links).*/\1/p' out | tr -d ' ')
between 'wakes of the submitter for links, --link wait' 1 "${on_links:-0}" $((3 * chunks))

# rusage: what was counted is part of what the process slept; the library's own threads and the display sleep too.
cat >measure.py <<'END'
import resource, subprocess, sys
subprocess.run(sys.argv[1:], check=True, stdout=open("out", "w"), stderr=open("err", "w"))
print(resource.getrusage(resource.RUSAGE_CHILDREN).ru_nvcsw)
END
for link in memory callback wait; do
  for provider in auto pread; do
    # shellcheck disable=SC2086
    slept=$(python3 measure.py ${INTERLOCK_LAUNCHER-} "$INTERLOCK" $run --link $link --provider $provider)
    counted=$(($(number_of 'wakes of the submitter') + $(number_of 'the devices') +
      $(number_of 'the file front ends')))
    between "--link $link --provider $provider: wakes counted, of the process's sleeps" 1 "$counted" "$slept"
  done
done

# The front ends of uring sleep in io_uring_enter. What the kernel knows of their sleeps is read while the last write
# stalls, which is when they have slept and sleep no more; what they sleep at their start, for locks, and after that
# moment is all that may differ.
front_end_sleeps() { # front_end_sleeps <process>
  for thread in "/proc/$1/task"/*; do
    ! grep -qxE 'read|write' "$thread/comm" 2>/dev/null ||
      sed -n 's/^voluntary_ctxt_switches:[^0-9]*//p' "$thread/status"
  done | awk '{ sum += $1 } END { print sum + 0 }'
}
INTERLOCK_OPTIONS='' interlock info >facts 2>&1
if grep -q '^  uring  *yes' facts; then
  for link in memory callback; do
    # shellcheck disable=SC2086
    ${INTERLOCK_LAUNCHER-} "$INTERLOCK" $run --link $link --provider uring \
      --inject stall:device=write,chunk=$((chunks - 1)),time=5s >out 2>err &
    tool=$!
    slept=0 same=0 looks=0
    while [ $same -lt 3 ] && [ $looks -lt 60 ]; do
      sleep 0.3
      looks=$((looks + 1))
      before=$slept
      slept=$(front_end_sleeps $tool)
      if [ "$slept" -gt 0 ] && [ "$slept" = "$before" ]; then same=$((same + 1)); else same=0; fi
    done
    [ $same = 3 ] || fail "--link $link: the front ends never rested"
    wait $tool || fail "--link $link, stalled: exit status $?"
    counted=$(number_of 'the file front ends')
    between "--link $link --provider uring: wakes of the file front ends" $((slept * 3 / 4 - 20)) "$counted" $((slept + 10))
  done
else
  echo 'no io_uring here: nothing said about its front ends'
fi

# strace: each thread's wakes from futexes. At its start and end, and for locks, a thread waits for others, uncounted. (It stops a thread at
# each call, which counts as a sleep: not for io_uring_enter.)
strace -f -o strace.log -e trace=none true 2>err || skip 'all but the comparison with strace, which does not work here'
providers=pread
! grep -q '^  uring  *yes' facts || providers='pread uring'
for link in memory callback wait; do
  for provider in $providers; do
    # shellcheck disable=SC2086
    without_leak_check timeout 120 strace -f --decode-pids=comm -qq -o strace.log -e trace=futex ${INTERLOCK_LAUNCHER-} "$INTERLOCK" \
      $run --link $link --provider "$provider" >out 2>err || fail "under strace: exit status $?"
    python3 "$support/count_wakes.py" strace.log >wakes
    seen() { awk -v names="$1" 'index(names, " " $1 " ") { sum += $2 } END { print sum + 0 }' wakes; }
    devices=$(seen ' compress0 compress1 ')
    files=$(seen ' read write ')
    submitter=$(seen ' main ')
    case ${INTERLOCK_SANITIZED-} in *thread*) continue ;; esac # its runtime makes the main thread's calls
    what="--link $link --provider $provider"
    between "$what: wakes of the devices" $((devices * 3 / 4 - 6)) "$(number_of 'the devices')" "$devices"
    [ "$provider" = uring ] ||
      between "$what: wakes of the file front ends" $((files * 3 / 4 - 6)) "$(number_of 'the file front ends')" "$files"
    between "$what: wakes of the submitter" $((submitter - 30)) "$(number_of 'wakes of the submitter')" "$submitter"
  done
done
