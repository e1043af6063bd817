#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# A disk that is really full, a small tmpfs in a mount namespace of ours: it is named, the run ends within a second,
# nothing is left, and the space is given back.
. "$(dirname "$0")/support/common.sh"
need unshare zstd

# Random, so that it does not fit whatever the tool is made of: programs built with a sanitizer compress very well.
head -c 6000000 /dev/urandom >in
head -c 300000 in >small
mkdir disk
mount='mount -t tmpfs -o size=1m tmpfs disk'
if [ "$(id -u)" = 0 ]; then unshare='unshare -m'; else unshare='unshare -rm'; fi
$unshare sh -c "$mount" 2>mount.log || skip "a tmpfs cannot be mounted here: $(head -n 1 mount.log)"

# In the namespace; 77 is for the mount only, so that a failure is no skip. begin and end of the failing run, in ms,
# go to stamps.
cat >on_disk.sh <<END
$mount || exit 77
uptime_ms() { awk '{ printf "%d ", \$1 * 1000 }' /proc/uptime >>stamps; }
rc=0
uptime_ms
timeout 60 \${INTERLOCK_LAUNCHER-} "\$INTERLOCK" compress in -o disk/in.zst --chunk-size 64KiB >out 2>err || rc=\$?
uptime_ms
[ \$rc = 1 ] || { echo "exit status \$rc" >why; exit 10; }
[ -z "\$(ls -A disk)" ] || { ls -A disk >why; exit 11; }
# What was deleted is given back: a file that fits is written.
timeout 60 \${INTERLOCK_LAUNCHER-} "\$INTERLOCK" compress small -Q -o disk/small.zst 2>small.err || { cat small.err >why; exit 12; }
cp disk/small.zst .
END
export INTERLOCK
fill_once() {
  : >stamps
  status=0
  $unshare sh on_disk.sh || status=$?
  case $status in
    0) ;;
    10) fail "a full disk: the run did not end with 1: $(cat why)" ;;
    11) fail "a full disk: left on it: $(cat why)" ;;
    12) fail "a full disk: the space was not given back: $(cat why)" ;;
    *) fail "a full disk: the script ended with $status" ;;
  esac
  expect_error "cannot write 'disk/in.zst': No space left on device"
  expect_content small.zst small
  # shellcheck disable=SC2046
  set -- $(cat stamps)
  took=$(($2 - $1))
}
within_a_second 'a full disk' fill_once
