#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# However the stages are tied, whoever reads and writes: the same bytes.
. "$(dirname "$0")/support/common.sh"
need zstd

make_file in 3000000
expect_status 0 compress in -Q --chunk-size 64KiB -o one.zst
for devices in 1 2 3; do
  for link in memory callback wait; do
    for provider in auto pread; do
      expect_status 0 compress in -f -Q --chunk-size 64KiB -d $devices --link $link --provider $provider -o other.zst
      cmp one.zst other.zst || fail "-d $devices --link $link --provider $provider differ"
    done
    expect_status 0 compress in -f -Q --chunk-size 64KiB -d $devices -q 1 --link $link -o other.zst
    cmp one.zst other.zst || fail "-d $devices -q 1 --link $link differ"
    interlock compress - -Q --chunk-size 64KiB -d $devices --link $link <in | zstd -q -d >back
    cmp back in || fail "-d $devices --link $link from standard input"
  done
done
expect_status 0 compress in -f -Q --chunk-size 64KiB --arm-all -o other.zst
cmp one.zst other.zst || fail '--arm-all differs'

# All in turn, side by side.
expect_status 0 compress in -f --chunk-size 64KiB --link all -o other.zst
cmp one.zst other.zst || fail '--link all differs'
for word in memory callback wait 'all armed'; do
  grep -q "links .*$word" out || fail "the table lacks a column for $word"
done
