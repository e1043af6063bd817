#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# `--compare` takes turns with `zstd -T<devices>`, seven times at least, and reports both: median and spread.
. "$(dirname "$0")/support/common.sh"

make_file in 2000000
mkdir tmp
TMPDIR=$work/tmp
export TMPDIR
if [ ! -x /usr/bin/zstd ] && [ ! -x /usr/local/bin/zstd ]; then
  expect_status 1 compress in --compare
  expect_error '--compare needs the program zstd'
  exit 0
fi
expect_status 0 compress in --compare -d 2
for row in 'zstd -T2' '7 runs' 'peak memory' 'output, bytes' "interlock's median"; do
  grep -qF -- "$row" out || fail "the report lacks '$row'"
done
expect_only in tmp
[ -z "$(ls -A tmp)" ] || fail "left behind: $(ls -A tmp)"

in_order() { # in_order <least> <median> <most> <whose>
  awk -v a="$1" -v b="$2" -v c="$3" 'BEGIN { exit !(0 < a && a <= b && b <= c) }' ||
    fail "$4: least $1, median $2, most $3"
}
medians=$(sed -n 's/^ *time, median  *\([0-9.]*\) s  *\([0-9.]*\) s$/\1 \2/p' out)
spreads=$(sed -n 's/^ *least \.\. most  *\([0-9.]*\) \.\. \([0-9.]*\) s  *\([0-9.]*\) \.\. \([0-9.]*\) s$/\1 \2 \3 \4/p' out)
# shellcheck disable=SC2086
set -- $medians $spreads
[ $# = 6 ] || fail "medians '$medians', spreads '$spreads'"
in_order "$3" "$1" "$4" interlock
in_order "$5" "$2" "$6" zstd

# What is really run: one round to warm up, and as many as it says, ours and theirs in turn.
need strace
strace -f -o strace.log -e trace=none true 2>strace.err || skip 'all but the sequence of runs: strace does not work here'
for runs in 7 9; do
  # shellcheck disable=SC2086
  without_leak_check timeout 200 strace -f -qq -s 200 -o strace.log -e trace=execve ${INTERLOCK_LAUNCHER-} "$INTERLOCK" \
    compress in --compare -d 2 --runs $runs >out 2>err || fail "under strace: exit status $?"
  grep -q "$runs runs of each" out || fail "--runs $runs: the report does not say so"
  sed -n -e 's/.*execve("\/proc\/self\/exe", .*\/ours\.zst.*/ours/p' \
    -e 's/.*execve("[^"]*zstd", .*"-T2".*\/theirs\.zst.*/theirs/p' strace.log >sequence
  i=0
  while [ $i -le $runs ]; do
    printf 'ours\ntheirs\n'
    i=$((i + 1))
  done >expected
  cmp -s sequence expected || fail "--runs $runs: the sequence was: $(tr '\n' ' ' <sequence)"
done
