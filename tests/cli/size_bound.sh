#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# The output is at most 1 % larger than what `zstd -T<devices>` makes of the same file at the same level.
. "$(dirname "$0")/support/common.sh"
need zstd g++

compare() { # compare <file> <level>
  expect_status 0 compress "$1" -f -Q -l "$2" -d 2 -o ours.zst
  zstd -q -f -T2 "-$2" "$1" -o theirs.zst
  ours=$(wc -c <ours.zst)
  theirs=$(wc -c <theirs.zst)
  echo "$(basename "$1") level $2: $ours bytes, zstd $theirs"
  [ "$((ours * 100))" -le "$((theirs * 101))" ] || fail "$1 at level $2: $ours bytes, zstd makes $theirs"
}

compiler=$(g++ -print-prog-name=cc1plus)
[ -r "$compiler" ] || skip 'there is no cc1plus'
for level in 1 3 6 9; do
  compare "$compiler" "$level"
done
# Text that comes again at a distance.
tar cf text.tar -C "${INTERLOCK_SOURCE:-/usr/include}" --exclude=build --exclude=.git . 2>tar.log || :
cat text.tar text.tar text.tar >long
for level in 1 3 9 15; do
  compare long "$level"
done
