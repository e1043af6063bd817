#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# Inputs and outputs that cannot be: the message names the file and the cause, and nothing is left behind.
. "$(dirname "$0")/support/common.sh"

expect_status 1 compress nothing
expect_error "cannot read 'nothing': No such file or directory"
mkdir folder
expect_status 1 compress folder
expect_error "cannot read 'folder': it is a directory"
expect_status 1 compress in -o x.zst
make_file in 2000000
expect_status 1 compress in -o folder
expect_error "cannot write 'folder': it is a directory"
expect_status 1 compress in -o nowhere/x.zst
expect_error "cannot write 'nowhere/x.zst': No such file or directory"
expect_status 1 compress in -f -o in
expect_error "'in' is both input and output"
ln -s in alias
expect_status 1 compress in -f -o alias
expect_error 'is both input and output'

printf kept >in.zst
expect_status 1 compress in
expect_error "'in.zst' exists already; -f replaces it"
[ "$(cat in.zst)" = kept ] || fail 'the file that existed has changed'
# A run that fails leaves what was there.
expect_status 1 compress in -f --inject error:chunk=1 --chunk-size 64KiB
[ "$(cat in.zst)" = kept ] || fail 'the file that existed has changed, in a run that failed'

# A file that becomes shorter while it is read, and one that grows.
cp in shrinks
(sleep 0.5; truncate -s 1000000 shrinks) &
expect_status 1 compress shrinks --chunk-size 64KiB -q 2 --inject stall:device=read,chunk=10,time=2500ms
wait
expect_error "'shrinks' became shorter while it was read"
cp in grows
(sleep 0.5; cat in >>grows) &
expect_status 0 compress grows --chunk-size 64KiB -q 2 --inject stall:device=read,chunk=10,time=2500ms
wait
grep -q "'grows' has grown meanwhile: the output holds its first 2000000 bytes" out || fail 'growth is not told'
expect_only in in.zst alias folder shrinks grows grows.zst

if [ "$(id -u)" != 0 ]; then
  chmod 000 in
  expect_status 1 compress in -f
  expect_error "cannot read 'in': Permission denied"
elif command -v setpriv >/dev/null; then
  chmod 755 .
  chmod 000 in
  status=0
  # shellcheck disable=SC2086
  setpriv --reuid 65534 --clear-groups ${INTERLOCK_LAUNCHER-} "$INTERLOCK" compress in -o - >out 2>err || status=$?
  if ! grep -q 'setpriv:' err; then
    [ $status = 1 ] || fail "an unreadable file: exit status $status"
    expect_error "cannot read 'in': Permission denied"
  fi
fi
