#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# run.sh SOURCE: the source must not compile, for the reason that its `// expect: REGEX` line states (grep -E on
# what the compiler says); with INTERLOCK_COMPILE_FAIL_CONTROL defined it must compile, so that no typing error
# passes for a refusal. A line `// compiler: clang` asks for clang and its thread safety analysis; exit 77 where
# there is none. Environment: CXX, CLANGXX, INCLUDES.
set -eu

source=$1
expect=$(sed -n 's|^// expect: ||p' "$source")
if [ "$(printf '%s\n' "$expect" | grep -c .)" != 1 ]; then
  echo "$source: wants exactly one line '// expect: REGEX'"
  exit 1
fi

compiler=$CXX
flags='-std=c++20 -Wall -Wextra -Werror -fsyntax-only'
if grep -q '^// compiler: clang$' "$source"; then
  compiler=$CLANGXX
  flags="$flags -Wthread-safety"
  case $compiler in
    '' | *NOTFOUND)
      echo 'clang is not installed'
      exit 77
      ;;
  esac
fi

# shellcheck disable=SC2086 # words on purpose
if ! said=$($compiler $flags $INCLUDES -DINTERLOCK_COMPILE_FAIL_CONTROL "$source" 2>&1); then
  printf '%s\n%s\n' "$source: the control does not compile:" "$said"
  exit 1
fi
# shellcheck disable=SC2086
if said=$($compiler $flags $INCLUDES "$source" 2>&1); then
  echo "$source: compiles, and must not"
  exit 1
fi
if ! printf '%s\n' "$said" | grep -Eq -e "$expect"; then
  printf '%s\n%s\n' "$source: does not compile, but not because of: $expect" "$said"
  exit 1
fi
