# SPDX-License-Identifier: Apache-2.0
# shellcheck shell=sh
# What the tests of the tool share; sourced first. Environment: INTERLOCK, the tool; INTERLOCK_LAUNCHER, words before it.
# Each test runs in a folder of its own, which goes at the end.
set -eu
LC_ALL=C
export LC_ALL
umask 022

: "${INTERLOCK:?is the path of the tool}"
case $INTERLOCK in /*) ;; *) INTERLOCK=$PWD/$INTERLOCK ;; esac

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
trap 'exit 1' HUP INT TERM
cd "$work"

fail() {
  echo "FAIL: $*"
  [ ! -s err ] || sed 's/^/  stderr: /' err
  exit 1
}
skip() {
  echo "SKIP: $*"
  exit 77
}
need() { # need <program>...
  for program in "$@"; do
    command -v "$program" >/dev/null || skip "$program is not installed"
  done
}

# The tool. Nothing here should take long: the limit is for what hangs.
interlock() {
  # shellcheck disable=SC2086 # words on purpose
  timeout -k 5 90 ${INTERLOCK_LAUNCHER-} "$INTERLOCK" "$@"
}

expect_status() { # expect_status <status> <argument of interlock>...; leaves out and err
  wanted=$1
  shift
  status=0
  interlock "$@" >out 2>err || status=$?
  [ "$status" = "$wanted" ] || fail "interlock $*: exit status $status, not $wanted"
}
expect_error() { # expect_error <text>: in what the last command said
  grep -qF -- "$1" err || fail "the message does not say '$1'"
}
expect_only() { # expect_only <file>...: nothing else is here, hidden files included
  for file in * .[!.]*; do
    [ -e "$file" ] || continue
    case " $* out err " in *" $file "*) ;; *) fail "'$file' was left behind" ;; esac
  done
}
expect_content() { # expect_content <file.zst> <original>
  zstd -q -d -c "$1" | cmp -s - "$2" || fail "$1 is not $2"
}

# For what runs under strace: LeakSanitizer cannot stop threads that are traced already. No more than that.
without_leak_check() {
  ASAN_OPTIONS="${ASAN_OPTIONS-}:detect_leaks=0" "$@"
}

now() { # in ms
  awk '{ printf "%d", $1 * 1000 }' /proc/uptime
}
# within_a_second <what> <command>...: the command leaves in $took the ms that count. The best of three runs does: the
# promise is the program's, and the machine may be busy. INTERLOCK_SECOND_MS: more, for what a sanitizer slows down.
within_a_second() {
  what=$1
  shift
  best=
  took=
  for _ in 1 2 3; do
    "$@"
    if [ -z "$best" ] || [ "$took" -lt "$best" ]; then best=$took; fi
    [ "$best" -gt "${INTERLOCK_SECOND_MS:-1000}" ] || break
  done
  echo "$what: $best ms"
  [ "$best" -le "${INTERLOCK_SECOND_MS:-1000}" ] || fail "$what: took $best ms"
}

number_of() { # number_of <label> [<file>]: the first number of that row of the table
  sed -n "s/^ *$1  *\([0-9][0-9 ]*[0-9]\|[0-9]\).*/\1/p" "${2-out}" | tr -d ' ' | head -n 1
}

# Content that compresses like programs do: about a third.
make_file() { # make_file <name> <bytes>
  cat "$INTERLOCK" "$INTERLOCK" "$INTERLOCK" "$INTERLOCK" "$INTERLOCK" "$INTERLOCK" | head -c "$2" >"$1"
  have=$(wc -c <"$1")
  if [ "$have" -lt "$2" ]; then
    head -c "$(($2 - have))" /dev/urandom | od -An -v -tx1 | head -c "$(($2 - have))" >>"$1"
  fi
}
