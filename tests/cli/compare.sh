#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# `--compare` takes turns with zstd and reports both.
. "$(dirname "$0")/support/common.sh"

make_file in 2000000
TMPDIR=$work
export TMPDIR
if [ ! -x /usr/bin/zstd ] && [ ! -x /usr/local/bin/zstd ]; then
  expect_status 1 compress in --compare
  expect_error '--compare needs the program zstd'
  exit 0
fi
expect_status 0 compress in --compare -d 2
for row in 'zstd -T2' '7 runs' 'time, median' 'least .. most' 'peak memory' 'output, bytes' "interlock's median"; do
  grep -qF -- "$row" out || fail "the report lacks '$row'"
done
expect_only in
