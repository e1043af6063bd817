#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# The Perfetto trace, decoded by a reader that shares nothing with its writer.
. "$(dirname "$0")/support/common.sh"
need python3
checker=$(dirname "$0")/support/check_trace.py
case $checker in /*) ;; *) checker=$OLDPWD/$checker ;; esac

make_file in 2000000
for link in memory callback wait; do
  for provider in auto pread; do
    expect_status 0 compress in -f --chunk-size 64KiB -d 2 --link $link --provider $provider --trace trace
    python3 "$checker" trace 2 31 $link >said 2>&1 || fail "--link $link --provider $provider: $(tail -n 1 said)"
    cat said
  done
done
expect_status 1 compress in -f -Q --trace nowhere/trace
expect_error "cannot write the trace 'nowhere/trace': No such file or directory"
