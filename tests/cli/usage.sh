#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# Help, version, and commands that are wrong: exit status 2 and a message that names what is wrong.
. "$(dirname "$0")/support/common.sh"

expect_status 0 --help
grep -q compress out || fail '--help does not name the verbs'
expect_status 0 --version
grep -qE '^interlock [0-9]+\.[0-9]+\.[0-9]+$' out || fail "--version says '$(cat out)'"
for verb in check compress info replay; do
  expect_status 0 $verb --help
  grep -q Examples out || fail "$verb --help has no examples"
done
awk 'length > 110 { exit 1 }' out || fail 'help has very long lines'

wrong() { # wrong <text> <argument>...
  text=$1
  shift
  expect_status 2 "$@"
  expect_error "$text"
  expect_only in
}
make_file in 1000
wrong 'a verb is wanted'
wrong "interlock: there is no verb 'frobnicate'; the verbs are check, compress, info and replay" frobnicate
wrong 'interlock: --level' compress in -l 99
wrong 'level' compress in -l high
wrong 'chunk-size' compress in --chunk-size 0
wrong 'chunk-size' compress in --chunk-size 3parsec
wrong 'devices' compress in -d 0
wrong 'queue-depth' compress in -q -1
wrong 'link' compress in --link telepathy
wrong 'provider' compress in --provider dma
wrong 'watchdog' compress in --watchdog -1
wrong 'inject' compress in --inject explode
wrong 'inject' compress in --inject error:when=now
wrong 'runs' compress in --compare --runs 3
wrong 'standard input' compress - --link all
wrong '--verify' compress in --verify -o -
