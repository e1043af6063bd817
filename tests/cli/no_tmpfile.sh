#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# Where a file system knows no O_TMPFILE (overlays, FAT, NFS) the output has a hidden name until it is whole: it is there
# while the run lasts and at no time after, whatever the end.
. "$(dirname "$0")/support/common.sh"
need strace zstd ps
strace -f -o strace.log -e trace=none true 2>err || skip 'strace does not work here'

make_file in 2000000
chmod 640 in
mkdir disk
# The only call that opens the folder itself is the one with O_TMPFILE.
refused() { # refused <errno> <argument of interlock>...
  code=$1
  shift
  # shellcheck disable=SC2086
  without_leak_check timeout 90 strace -f -qq -o strace.log -P disk -e trace=openat -e inject=openat:error="$code" \
    ${INTERLOCK_LAUNCHER-} "$INTERLOCK" "$@"
}
expect_refusal() { # that the test has tested something
  grep -q 'O_TMPFILE.*INJECTED' strace.log || fail 'no call with O_TMPFILE was made and refused'
}
expect_in_disk() { # expect_in_disk <name>...
  for file in disk/* disk/.[!.]*; do
    [ -e "$file" ] || continue
    case " $* " in *" ${file#disk/} "*) ;; *) fail "'$file' was left behind" ;; esac
  done
}

for code in EOPNOTSUPP EISDIR EINVAL; do
  rm -f disk/out.zst
  refused $code compress in -Q -o disk/out.zst >out 2>err || fail "O_TMPFILE fails with $code: exit status $?"
  expect_refusal
  expect_content disk/out.zst in
  [ "$(stat -c %a disk/out.zst)" = 640 ] || fail 'the permissions of the output'
  expect_in_disk out.zst
done
# An output that is there, with and without -f.
echo kept >disk/kept.zst
status=0
refused EOPNOTSUPP compress in -Q -o disk/kept.zst >out 2>err || status=$?
[ "$status $(cat disk/kept.zst)" = '1 kept' ] || fail "an output that exists: status $status"
refused EOPNOTSUPP compress in -Q -f -o disk/kept.zst >out 2>err || fail "-f: exit status $?"
expect_refusal
expect_content disk/kept.zst in
expect_in_disk out.zst kept.zst
rm disk/*.zst

# Another error of the call is an error.
status=0
refused EACCES compress in -Q -o disk/out.zst >out 2>err || status=$?
[ $status = 1 ] || fail "O_TMPFILE fails with EACCES: exit status $status"
expect_error "cannot write 'disk/out.zst': Permission denied"
expect_in_disk

status=0
refused EOPNOTSUPP compress in -Q -o disk/out.zst --chunk-size 64KiB --inject error:chunk=5 >out 2>err || status=$?
[ $status = 1 ] || fail "an injected error: exit status $status"
expect_refusal
expect_error '(injected)'
expect_in_disk

# While it runs the hidden name is there. Signals go to the tool, not to strace.
start() { # start <argument of interlock>...: in the background; leaves $tracer and $tool
  # shellcheck disable=SC2086
  env --default-signal=INT,TERM ASAN_OPTIONS="${ASAN_OPTIONS-}:detect_leaks=0" strace -f -qq -o strace.log -P disk -e trace=openat \
    -e inject=openat:error=EOPNOTSUPP ${INTERLOCK_LAUNCHER-} "$INTERLOCK" "$@" >out 2>err &
  tracer=$!
  for _ in $(seq 100); do
    tool=$(ps -o pid= --ppid $tracer | tr -d ' ')
    # shellcheck disable=SC2144
    [ -z "$tool" ] || ! ls disk/.out.zst.unfinished-* >hidden.log 2>&1 || break
    sleep 0.1
  done
  [ "$(stat -c %a disk/.out.zst.unfinished-*)" = 640 ] || fail 'there is no hidden file, or all may read it'
  [ ! -e disk/out.zst ] || fail 'the final name is there too early'
}
for signal in TERM INT; do
  start compress in -Q -o disk/out.zst --chunk-size 64KiB --inject hang:chunk=5 --watchdog 9
  kill -s $signal "$tool"
  status=0
  wait $tracer || status=$?
  [ $status -gt 128 ] || fail "SIG$signal: exit status $status"
  expect_error 'ended by signal'
  expect_in_disk
done

# A run that cannot end in an orderly way: one chunk takes long, and two signals end it at once.
start compress in -Q -o disk/out.zst -l 22 -d 1 --chunk-size 64MiB
kill -s TERM "$tool"
sleep 0.02
kill -s TERM "$tool" 2>kill.log || :
status=0
wait $tracer || status=$?
[ $status -gt 128 ] || fail "two SIGTERMs: exit status $status"
expect_in_disk

# A file that appears meanwhile is not written over.
start compress in -Q -o disk/out.zst --chunk-size 64KiB --inject stall:chunk=5,time=1s
echo mine >disk/out.zst
status=0
wait $tracer || status=$?
[ "$status $(cat disk/out.zst)" = '1 mine' ] || fail "a file that appeared meanwhile: status $status"
expect_error "cannot write 'disk/out.zst': File exists"
expect_in_disk out.zst
