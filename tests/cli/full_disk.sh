#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# A disk that is full is named, ends the run, and leaves nothing behind, as /dev/full plays it. full_tmpfs.sh has a real one.
. "$(dirname "$0")/support/common.sh"

make_file in 6000000
for provider in auto pread; do
  expect_status 1 compress in -Q --provider $provider -o /dev/full
  expect_error "cannot write '/dev/full': No space left on device"
done
timed_failure() {
  begin=$(now)
  expect_status 1 compress in -Q -o /dev/full
  took=$(($(now) - begin))
}
within_a_second '/dev/full' timed_failure
status=0
interlock compress in -Q -o - >/dev/full 2>err || status=$?
[ $status = 1 ] || fail "standard output on a full disk: exit status $status"
expect_error 'No space left on device'

# A limit on the size of files is another way to run out.
status=0
(ulimit -f 100 && interlock compress in -Q -o limited.zst) 2>err || status=$?
[ $status = 1 ] || fail "a limited file: exit status $status"
expect_error "cannot write 'limited.zst': File too large"
expect_only in
