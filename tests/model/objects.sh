#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# objects.sh FILE...: the model platform's own objects. None is instrumented but visible.cpp's, and none holds a copy of an
# inline function: the linker might keep it for the instrumented objects, whose accesses the machine would then not see.
set -eu

command -v nm >/dev/null || exit 77
bad=0
for object; do
  symbols=$(nm -C "$object")
  case $object in
    *visible.cpp*) printf '%s\n' "$symbols" | grep -q '__tsan_atomic32' || { echo "$object: not instrumented"; bad=1; } ;;
    *) ! printf '%s\n' "$symbols" | grep '__tsan_' || { echo "$object: instrumented"; bad=1; } ;;
  esac
  ! printf '%s\n' "$symbols" | grep -E '^[0-9a-f]+ [WVu] ' || { echo "$object: holds copies of inline functions"; bad=1; }
done
exit $bad
