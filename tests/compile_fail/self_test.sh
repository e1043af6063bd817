#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# The runner itself: it passes a good case and fails each kind of bad one.
set -eu

here=$(dirname "$0")
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
failures=0

expect() { # expect <exit status> <name>; the case is read from stdin
  cat >"$folder/$2.cpp"
  status=0
  sh "$here/run.sh" "$folder/$2.cpp" >"$folder/said" 2>&1 || status=$?
  if [ "$status" != "$1" ]; then
    echo "self-test: $2: exit status $status, expected $1"
    cat "$folder/said"
    failures=$((failures + 1))
  fi
}

expect 0 refused <<'END'
// expect: static assertion failed|static_assert failed
#if !defined(INTERLOCK_COMPILE_FAIL_CONTROL)
static_assert(sizeof(int) == 1);
#endif
END
expect 1 compiles <<'END'
// expect: anything
END
expect 1 other_reason <<'END'
// expect: no such words
#if !defined(INTERLOCK_COMPILE_FAIL_CONTROL)
static_assert(sizeof(int) == 1);
#endif
END
expect 1 control_broken <<'END'
// expect: unknown_name
unknown_name x;
END
expect 1 unexplained <<'END'
unknown_name x;
END
exit "$failures"
