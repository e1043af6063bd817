#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# Memory is bounded by the queue's depth: a file of 1 GiB takes no more than one of 32 MiB, and the table says what the
# kernel says.
. "$(dirname "$0")/support/common.sh"
need python3

[ -z "${INTERLOCK_SANITIZED-}" ] || skip 'the memory would be the sanitizer'"'"'s'

cat >measure.py <<'END'
import resource, subprocess, sys
code = subprocess.run(sys.argv[1:], stdout=open("out", "w"), stderr=open("err", "w")).returncode
print(resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss)
sys.exit(code)
END
peak() { # peak <size>: in KiB, from the kernel
  truncate -s "$1" "in.$1"
  # shellcheck disable=SC2086
  timeout 90 python3 measure.py ${INTERLOCK_LAUNCHER-} "$INTERLOCK" compress "in.$1" -l 1 -d 2 -q 4 --chunk-size 1MiB \
    -o "out.$1" || fail "$1: exit status $?"
}
near() { # near <what> <KiB of the kernel>: what the table says of the same run
  table=$(sed -n 's/^ *peak of the process  *\([0-9.]*\) MiB.*/\1/p' out | awk '{ printf "%d", $1 * 1024 }')
  echo "$1: $2 KiB, $table KiB by the table"
  # The table is printed before the end; a child may look as large as who started it.
  [ "${table:-0}" -ge $(($2 * 9 / 10 - 1024)) ] || fail "$1: the table says $table KiB, the kernel $2 KiB"
  [ "$table" -le $(($2 + 128)) ] || fail "$1: the table says $table KiB, the kernel $2 KiB"
}
small=$(peak 32M)
near '32 MiB' "$small"
large=$(peak 1G)
near '1 GiB' "$large"
[ "$large" -le "$((small + 16 * 1024))" ] || fail "$large KiB for 1 GiB, $small KiB for 32 MiB"
# Slots: 4 chunks and 1 more for the history, and 4 results.
slots=$(sed -n 's/^ *memory of the slots  *\([0-9]*\).*MiB.*/\1/p' out)
[ "$slots" -le 10 ] || fail "the slots take $slots MiB"
