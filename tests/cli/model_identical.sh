#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# A thousand replays of failures are identical: each failing test's token, 25 times in a process, in five processes whose addresses
# differ, says the same to the letter.
. "$(dirname "$0")/support/common.sh"

program=${INTERLOCK_MODEL_PROGRAM-}
[ -x "$program" ] || skip 'built without the model'

expect_status 1 check "$program" --filter '-counter.takes_long:counter.ends*:barrier.*'
cp out all
expect_status 1 check "$program" --filter 'barrier.*' --memory tso
cat out >>all
# <token> <test>: a test is named by --filter, else by --only.
sed -n "s/^  interlock replay [^ ]* \([^ ]*\) --only '[^']*' --filter '\([^']*\)'\$/\1 \2/p; s/^  interlock replay [^ ]* \([^ ]*\) --only '\([^']*\)'\$/\1 \2/p" all >failures
[ "$(wc -l <failures)" -ge 8 ] || fail "only $(wc -l <failures) tests fail"

replays=0
while read -r token test; do
  rm -f first
  for process in 1 2 3 4 5; do
    status=0
    # Another place for the stack too.
    PAD=$(head -c $((process * 700)) /dev/zero | tr '\0' x) INTERLOCK_EXPLORE="replay=$token" INTERLOCK_EXPLORE_LOG=log.$process \
      timeout 60 "$program" --gtest_filter="$test" --gtest_repeat=25 >said 2>err </dev/null || status=$?
    [ $status = 1 ] || fail "$test: exit status $status"
    # Left out: how long it took, and the number of the repetition.
    sed 's/ ([0-9]* ms.*)$//; s/ --only .*$//' said | awk '
      /^\[ RUN / { text = ""; on = 1 }
      on { text = text $0 "\n" }
      on && / executions, .* steps/ {
        on = 0
        if (n++ == 0) { printf "%s", text >"now"; first = text }
        if (text != first) { printf "%s", text >"other"; exit 1 }
      }
      END { print n >"count" }' || fail "$test: repetition $(cat count) differs: $(diff now other | head -n 6)"
    [ "$(cat count)" = 25 ] || fail "$test: $(cat count) repetitions"
    [ -e first ] || cp now first
    cmp -s first now || fail "$test: process $process differs: $(diff first now | head -n 6)"
    grep -q "^replay: interlock replay .* $token\$" now || fail "$test: another token: $(grep ^replay: now)"
    replays=$((replays + 25))
  done
  [ "$(grep -c . first)" -ge 8 ] || fail "$test: no report: $(cat first)"
done <failures
echo "$replays replays, all the same"
[ "$replays" -ge 1000 ] || fail "only $replays replays"
