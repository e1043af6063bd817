#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# Without io_uring a thread reads and writes, and the tool says why.
. "$(dirname "$0")/support/common.sh"
need zstd

make_file in 1000000
INTERLOCK_OPTIONS=uring=0
export INTERLOCK_OPTIONS
expect_status 0 compress in --chunk-size 64KiB
expect_content in.zst in
expect_error 'no io_uring (switched off by INTERLOCK_OPTIONS=uring=0): a thread reads and writes instead'
grep -q 'files by pread' out || fail 'the report does not name pread'
expect_status 1 compress in -f --provider uring
expect_error 'provider uring is not available: switched off'
unset INTERLOCK_OPTIONS

# As a container forbids it.
need strace
strace -f -o strace.log -e trace=none true 2>err || skip 'all but a forbidden io_uring: strace does not work here'
forbidden() { # forbidden <errno> <argument>...
  code=$1
  shift
  # shellcheck disable=SC2086
  without_leak_check timeout 60 strace -f -qq -o strace.log -e trace=io_uring_setup -e inject=io_uring_setup:error="$code" \
    ${INTERLOCK_LAUNCHER-} "$INTERLOCK" "$@"
}
for code in EPERM ENOSYS; do
  forbidden "$code" compress in -f --chunk-size 64KiB >out 2>err || fail "io_uring_setup fails with $code: exit status $?"
  expect_content in.zst in
  expect_error 'a thread reads and writes instead'
  forbidden "$code" info >out 2>err || fail "info: exit status $?"
  grep -A1 -q 'io_uring  *no' out || fail 'info says that io_uring is there'
  grep -q 'instead: provider pread' out || fail 'info does not say what is used instead'
done
