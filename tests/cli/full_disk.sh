#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# A disk that is full is named, ends the run, and leaves nothing behind: really full, and as /dev/full plays it.
. "$(dirname "$0")/support/common.sh"

make_file in 6000000
for provider in auto pread; do
  expect_status 1 compress in -Q --provider $provider -o /dev/full
  expect_error "cannot write '/dev/full': No space left on device"
done
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

# A file system of 1 MiB, in a mount namespace of ours.
mkdir disk
cat >on_disk.sh <<END
mount -t tmpfs -o size=1m tmpfs disk || exit 77
rc=0
timeout 60 \${INTERLOCK_LAUNCHER-} "\$INTERLOCK" compress in -o disk/in.zst --chunk-size 64KiB >out 2>err || rc=\$?
[ \$rc = 1 ] || exit 10
[ -z "\$(ls -A disk)" ] || exit 11
# What was deleted is given back: a file that fits is written.
head -c 300000 in >small
timeout 60 \${INTERLOCK_LAUNCHER-} "\$INTERLOCK" compress small -Q -o disk/small.zst 2>err || exit 12
END
export INTERLOCK
status=0
if [ "$(id -u)" = 0 ]; then
  unshare -m sh on_disk.sh 2>mount.log || status=$?
else
  unshare -rm sh on_disk.sh 2>mount.log || status=$?
fi
case $status in
  0) ;;
  10) fail 'a full disk: the exit status is not 1' ;;
  11) fail 'a full disk: something was left on it' ;;
  12) fail 'a full disk: the space was not given back' ;;
  *) skip "everything but a real full disk, which cannot be mounted here: $(head -n 1 mount.log)" ;;
esac
