#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# Without INPUT it takes the compiler's own cc1plus, and writes into the folder for temporary files, again and again.
. "$(dirname "$0")/support/common.sh"
need zstd

TMPDIR=$work
export TMPDIR
status=0
interlock compress >out 2>err || status=$?
if [ $status = 2 ] && grep -q 'there is no cc1plus on this machine' err; then
  skip 'there is no cc1plus'
fi
[ $status = 0 ] || fail "interlock compress: exit status $status"

# The first line says what became what.
input=$(sed -n '1s/ -> .*//p' out)
output=$(sed -n '1s/.* -> //p' out)
[ "$output" = "$work/interlock-cc1plus.zst" ] || [ "$output" = "$work/interlock-cc1.zst" ] ||
  fail "the output is '$output'"
case $input in
  /*/cc1plus | /*/cc1) ;;
  *) fail "the input is '$input'" ;;
esac
size=$(wc -c <"$input")
[ "$size" -ge 10000000 ] || fail "$input has $size bytes only"
name=${output##*/}
expect_content "$name" "$input"
expect_only "$name"
if command -v g++ >/dev/null; then
  own=$(g++ -print-prog-name=cc1plus)
  [ ! -r "$own" ] || [ "$(basename "$own")" = "$(basename "$input")" ] || fail "the input is '$input', not '$own'"
fi

# What an earlier run left is replaced: it is nobody's document.
echo old >"$name"
expect_status 0 compress
expect_content "$name" "$input"
expect_only "$name"

# An output that was named is one.
echo kept >mine
expect_status 1 compress -o mine
expect_error "'mine' exists already; -f replaces it"
[ "$(cat mine)" = kept ] || fail 'the file that existed has changed'
expect_only "$name" mine

# Without TMPDIR it is /tmp. A fault keeps the run from leaving something there.
rm -f "$name"
unset TMPDIR
expect_status 1 compress --inject error:device=write,chunk=0
expect_error "cannot write '/tmp/$name': Input/output error (injected)"
TMPDIR='' expect_status 1 compress --inject error:device=write,chunk=0
expect_error "cannot write '/tmp/$name': Input/output error (injected)"
expect_only mine
