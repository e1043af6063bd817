#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# `zstd -d` gives every input back, bit for bit, and finds its checksum right.
. "$(dirname "$0")/support/common.sh"
need zstd

for size in 0 1 4095 65535 65536 65537 196608 1000000; do
  make_file in "$size"
  for framing in '' --frames; do
    # shellcheck disable=SC2086
    expect_status 0 compress in -f -Q --chunk-size 64KiB $framing --verify
    expect_content in.zst in
    zstd -q -t in.zst || fail "zstd -t refuses $size bytes $framing"
  done
done

# Content that does not compress, and content that is all the same.
head -c 3000000 /dev/urandom >in
expect_status 0 compress in -f -Q
expect_content in.zst in
head -c 30000000 /dev/zero >in
expect_status 0 compress in -f -Q -q 1
expect_content in.zst in

# A history that looks like a dictionary to zstd: it begins with the magic number.
{
  head -c 8192 /dev/urandom
  for _ in 1 2 3 4 5 6 7 8; do
    printf '\067\244\060\354'
    head -c 4092 /dev/urandom
  done
} >in
expect_status 0 compress in -f -Q --chunk-size 4KiB
expect_content in.zst in

make_file in 5000000
for level in -7 1 2 5 9 13 19 22; do
  expect_status 0 compress in -f -Q -l "$level"
  expect_content in.zst in
done

# Streams, whose size nobody knows; one that comes in drops.
interlock compress - -Q <in >in.zst
expect_content in.zst in
# shellcheck disable=SC2002 # a pipe is what is wanted
cat in | interlock compress -Q - -o - | zstd -q -d >back
cmp -s back in || fail 'a pipe'
head -c 300000 in >small
(for at in 0 1 2 3 4 5; do dd if=small bs=50000 skip=$at count=1 2>dd.log; sleep 0.05; done) |
  interlock compress -Q - --chunk-size 64KiB | zstd -q -d | cmp -s - small || fail 'a slow pipe'
printf '' | interlock compress - -Q | zstd -q -d | cmp -s - /dev/null || fail 'an empty pipe'
mkfifo fifo
cat in >fifo &
interlock compress fifo -Q -o - | zstd -q -d | cmp -s - in || fail 'a named pipe'
wait
# Standard input that stands in the middle of a file goes on from there.
{ dd bs=1000 count=1 of=head.bin 2>dd.log; interlock compress - -Q -o rest.zst; } <in
zstd -q -d -c rest.zst | cat head.bin - | cmp -s - in || fail 'the rest of a file'

# Files that say they are empty, and are not.
if [ -r /proc/self/maps ]; then
  expect_status 0 compress /proc/version -Q -o proc.zst
  zstd -q -d -c proc.zst | cmp -s - /proc/version || fail '/proc/version'
fi

# Permissions follow the input's.
chmod 640 in
expect_status 0 compress in -f -Q
[ "$(stat -c %a in.zst)" = 640 ] || fail 'the permissions of the output'
