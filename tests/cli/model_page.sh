#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# The page of a failure in headless Chromium: it is drawn in light and in dark, and goes from step to step by the keyboard.
. "$(dirname "$0")/support/common.sh"

program=${INTERLOCK_MODEL_PROGRAM-}
[ -x "$program" ] || skip 'built without the model'
browser=
for name in chromium chromium-browser google-chrome; do
  [ -n "$browser" ] || browser=$(command -v $name) || :
done
[ -n "$browser" ] || skip 'chromium is not installed'

expect_status 1 check "$program" --filter 'interrupt.*'
token=$(sed -n 's/^  interlock replay [^ ]* \([^ ]*\) --only.*/\1/p' out)
expect_status 1 replay "$program" "$token" --only 'dma line' --html page.html

# What it finds is written where --dump-dom shows it.
cat >script.html <<'END'
<script>
const key = k => dispatchEvent(new KeyboardEvent('keydown', { key: k }));
const on = () => [...document.querySelectorAll('.row')].findIndex(r => r.classList.contains('on'));
const found = [];
const rows = document.querySelectorAll('.row').length;
found.push('rows ' + (rows > 5), 'hardirq ' + !!document.querySelector('.row.hardirq'), 'arrows ' + !!document.querySelector('path.arrow'));
key('Home'); found.push('home ' + (on() === 0));
key('j'); key('ArrowDown'); found.push('down ' + (on() === 2));
key('k'); found.push('up ' + (on() === 1));
key('End'); found.push('end ' + (on() === rows - 1));
found.push('source ' + !!document.querySelector('#source .at'));
key('a'); found.push('all ' + (document.querySelectorAll('.row').length > rows));
found.push('scheme ' + (matchMedia('(prefers-color-scheme: dark)').matches ? 'dark' : 'light') + ' ' +
  getComputedStyle(document.body).backgroundColor);
document.body.append(Object.assign(document.createElement('p'), { id: 'found', textContent: found.join('; ') }));
</script>
END
cat script.html >>page.html

drawn() { # drawn <scheme> <background> <argument>...
  scheme=$1
  background=$2
  shift 2
  HOME=$work timeout 90 "$browser" --headless --no-sandbox --disable-gpu --user-data-dir="$work/profile" "$@" \
    --dump-dom "file://$work/page.html" >dom 2>err || skip "chromium does not run here: $(tail -n 1 err)"
  found=$(sed -n 's/.*<p id="found">\([^<]*\)<.*/\1/p' dom)
  for part in rows hardirq arrows home down up end source all; do
    case "; $found" in *"; $part true;"*) ;; *) fail "$scheme: $part: '$found'" ;; esac
  done
  case $found in *"scheme $scheme $background") ;; *) fail "not $scheme: '$found'" ;; esac
}
drawn light 'rgb(255, 255, 255)' --blink-settings=preferredColorScheme=1
drawn dark 'rgb(21, 24, 28)' --blink-settings=preferredColorScheme=0
