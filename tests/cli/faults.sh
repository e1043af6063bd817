#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# Injected faults: an error travels down its fences; a hang is named by the watchdog; what has nothing to do with it
# completes; nothing is left behind.
. "$(dirname "$0")/support/common.sh"
need zstd

make_file in 4000000
run="compress in --chunk-size 64KiB -d 2 -q 6 -o out.zst"

counts() { # "11 completed all the same, 7 failed with it, 0 were cancelled", as three words
  sed -n 's/.*fences under way: \([0-9]*\) completed.*, \([0-9]*\) failed with it, \([0-9]*\) were.*/\1 \2 \3/p' err
}

for link in memory callback; do
  # Of 6 chunks of 3 fences: one compress and the 6 writes that follow it fail, the 11 others do not care.
  # shellcheck disable=SC2086
  expect_status 1 $run --link $link --inject error:device=1,chunk=40
  expect_error 'chunk 40: device 1 failed to compress it: Input/output error (injected)'
  [ "$(counts)" = '11 7 0' ] || fail "--link $link: fences: $(counts)"
  expect_only in
done

# A second at most, from the very start.
timed_failure() {
  begin=$(now)
  # shellcheck disable=SC2086
  expect_status 1 $run --inject "$1"
  took=$(($(now) - begin))
}
within_a_second 'an injected error of a device' timed_failure error:device=1,chunk=1
within_a_second 'an injected error of a read' timed_failure error:device=read,chunk=1
within_a_second 'an injected error of a write' timed_failure error:device=write,chunk=1

# shellcheck disable=SC2086
{
  expect_status 1 $run --link wait --inject error:device=1,chunk=40
  expect_error 'chunk 40: device 1 failed to compress it: Input/output error (injected)'
  expect_status 1 $run --inject error:device=read,chunk=5
  expect_error "cannot read 'in' at byte 327680: Input/output error (injected)"
  expect_status 1 $run --inject error:device=write,chunk=5
  expect_error "cannot write 'out.zst': Input/output error (injected)"
}
expect_only in

for link in memory callback wait; do
  # shellcheck disable=SC2086
  expect_status 1 $run --link $link --inject hang:device=1,chunk=40 --watchdog 1
  expect_error 'chunk 40: a fence is overdue: driver=engine timeline=compress1'
  expect_error 'submitted'
  # The other device had work under way, and did it.
  # shellcheck disable=SC2046
  set -- $(counts)
  [ "${1-0}" -ge 6 ] || fail "--link $link: a hang kept back what has nothing to do with it: $(counts)"
  expect_only in
done
# shellcheck disable=SC2086
expect_status 1 $run --inject hang:device=read,chunk=3 --watchdog 1
expect_error 'timeline=read'
# shellcheck disable=SC2086
expect_status 1 $run --inject hang:device=write,chunk=3 --watchdog 1
expect_error 'timeline=write'
expect_only in

# shellcheck disable=SC2086
expect_status 0 $run --inject stall:device=0,chunk=4,time=200ms
expect_content out.zst in

# A fault that cannot come is refused.
expect_status 2 compress in --inject error:chunk=1000
expect_error 'there are chunks 0 to'
expect_status 2 compress in -d 2 --inject error:device=2
expect_error 'there are devices 0 to 1'
