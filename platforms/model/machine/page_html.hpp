// SPDX-License-Identifier: Apache-2.0
#pragma once

/// What shows a failure in a browser.

namespace interlock::machine {

inline constexpr char page_head[] =
    "<!doctype html>\n<html lang=\"en\">\n<meta charset=\"utf-8\">\n"
    "<meta name=\"viewport\" content=\"width=device-width\">\n";

inline constexpr char page_style[] = R"x(
<style>
:root { color-scheme: light dark; --back: #fff; --text: #1c2024; --dim: #62686f; --line: #d9dde2; --panel: #f5f6f8;
  --pick: #fff1b8; --fail: #c02626; --arrow: #7a4fd0; --lock: #1b7f5f; --reader: #2f6fd0; --other: #a06000;
  --task: #e3edfb; --softirq: #e2f3e6; --hardirq: #fce6d4; --nmi: #fbdcdc; }
@media (prefers-color-scheme: dark) { :root { --back: #15181c; --text: #e4e7ea; --dim: #9aa2ab; --line: #343a42;
  --panel: #1d2126; --pick: #51440f; --fail: #ff7b72; --arrow: #b79cf5; --lock: #4cc79c; --reader: #79aef7; --other: #e0a84f;
  --task: #22324a; --softirq: #1d3a28; --hardirq: #4a3018; --nmi: #4d2024; } }
* { box-sizing: border-box; }
body { margin: 0; height: 100vh; display: grid; grid-template: auto 1fr / minmax(0, 3fr) minmax(0, 2fr);
  background: var(--back); color: var(--text); font: 14px/1.45 system-ui, sans-serif; }
header { grid-column: 1 / 3; padding: 8px 14px; border-bottom: 1px solid var(--line); }
h1 { margin: 0; font-size: 16px; } h1 small { color: var(--dim); font-weight: normal; }
#what { color: var(--fail); font-weight: 600; }
#help { color: var(--dim); } kbd { border: 1px solid var(--line); border-radius: 3px; padding: 0 4px; background: var(--panel);
  font: 12px ui-monospace, monospace; }
#lanes { overflow: auto; position: relative; border-right: 1px solid var(--line); }
#side { overflow: auto; display: grid; grid-template-rows: auto minmax(0, 3fr) minmax(0, 2fr); }
#now { padding: 8px 12px; border-bottom: 1px solid var(--line); min-height: 76px; }
#now b { font-weight: 600; } #now .dim, .dim { color: var(--dim); }
pre { margin: 0; padding: 8px 0; overflow: auto; font: 12px/1.5 ui-monospace, monospace; tab-size: 4; }
#report { border-top: 1px solid var(--line); padding: 8px 12px; background: var(--panel); }
#source div { padding: 0 12px; white-space: pre; } #source i { font-style: normal; color: var(--dim); display: inline-block;
  width: 4.5ch; text-align: right; margin-right: 1.5ch; user-select: none; }
#source .at { background: var(--pick); }
.heads { position: sticky; top: 0; z-index: 3; background: var(--back); border-bottom: 1px solid var(--line); height: 26px; }
.heads span { position: absolute; top: 3px; font-weight: 600; }
.lane { position: absolute; width: 1px; background: var(--line); }
.row { position: absolute; height: 20px; border-radius: 3px; padding: 0 6px; font: 12px/20px ui-monospace, monospace;
  white-space: nowrap; overflow: hidden; text-overflow: ellipsis; cursor: pointer; border: 1px solid transparent; }
.task { background: var(--task); } .softirq { background: var(--softirq); } .hardirq { background: var(--hardirq); }
.nmi { background: var(--nmi); } .mark { background: none; border-color: var(--line); }
.number { position: absolute; left: 6px; width: 36px; text-align: right; color: var(--dim);
  font: 12px/20px ui-monospace, monospace; }
.row.on { background: var(--pick); border-color: var(--text); } .row.last { border-color: var(--fail); color: var(--fail); }
.later { opacity: .45; }
.same { text-decoration: underline 2px var(--other); }
svg { position: absolute; left: 0; top: 0; pointer-events: none; z-index: 2; }
.span { stroke-width: 4; stroke-linecap: round; } .arrow { fill: none; stroke: var(--arrow); stroke-width: 1.5; }
</style>
)x";

inline constexpr char page_body[] = R"x(
<header><h1 id="name"></h1><div id="what"></div>
<div id="help"><kbd>&darr;</kbd> <kbd>j</kbd> next &ensp; <kbd>&uarr;</kbd> <kbd>k</kbd> back &ensp; <kbd>Home</kbd>
<kbd>End</kbd> &ensp; <kbd>n</kbd> <kbd>p</kbd> the same object &ensp; <kbd>c</kbd> what caused it &ensp; <kbd>a</kbd> all steps
&ensp; <span id="replay"></span></div></header>
<main id="lanes" tabindex="0" aria-label="steps by CPU"></main>
<aside id="side"><div id="now" aria-live="polite"></div><pre id="source"></pre><pre id="report"></pre></aside>
)x";

inline constexpr char page_script[] = R"x(
const el = id => document.getElementById(id);
const make = (tag, cls, text) => { const e = document.createElement(tag); if (cls) e.className = cls;
  if (text !== undefined) e.textContent = text; return e; };
const height = 24, top0 = 32, left0 = 52, indent = 22;
const spanNames = { lock: '--lock', reader: '--reader' };
let all = false, shown = [], current = 0, boxes = [];
el('name').append(data.name, ' ', make('small', '', data.token));
el('what').textContent = data.report.split('\n')[0];
el('report').textContent = data.report;
el('replay').textContent = 'replay ' + data.token;
const base = path => path.slice(path.lastIndexOf('/') + 1);
const isReader = r => r.kind.startsWith('rcu_read');
const said = r => r.flow + ': ' + r.kind + (r.object ? ' ' + r.object : '');

function layout() {
  const lanes = el('lanes'), keep = shown[current];
  lanes.textContent = ''; boxes = [];
  shown = data.rows.map((r, i) => i).filter(i => all || data.rows[i].matters);
  current = Math.max(0, keep === undefined ? shown.length - 1 : shown.findIndex(i => i >= keep));
  const used = [...new Set(shown.map(i => data.rows[i].cpu))].sort((a, b) => a - b);
  const deepest = used.map(c => Math.max(...shown.filter(i => data.rows[i].cpu === c).map(i => data.rows[i].depth)));
  const room = lanes.clientWidth - left0 - 12;
  const width = Math.max(230, Math.floor(room / used.length));
  const x = {}; used.forEach((c, n) => x[c] = left0 + n * width);
  const total = { w: left0 + used.length * width, h: top0 + shown.length * height + 24 };
  const heads = make('div', 'heads'); heads.style.width = total.w + 'px';
  used.forEach(c => { const h = make('span', '', data.lanes[c]); h.style.left = x[c] + 18 + 'px'; heads.append(h); });
  lanes.append(heads);
  used.forEach(c => { const l = make('div', 'lane'); l.style.cssText = `left:${x[c] - 6}px;top:26px;height:${total.h}px`; lanes.append(l); });
  const ns = 'http://www.w3.org/2000/svg', svg = document.createElementNS(ns, 'svg');
  svg.setAttribute('width', total.w); svg.setAttribute('height', total.h);
  svg.innerHTML = '<defs><marker id="tip" markerWidth="8" markerHeight="8" refX="7" refY="4" orient="auto">' +
    '<path d="M0,0 L8,4 L0,8 z" fill="var(--arrow)"/></marker></defs>';
  const where = {};
  shown.forEach((i, n) => {
    const r = data.rows[i], y = top0 + n * height, at = x[r.cpu] + 14 + r.depth * indent;
    const box = make('div', `row ${r.context}${r.mark ? ' mark' : ''}${i === data.rows.length - 1 ? ' last' : ''}`, said(r));
    box.style.cssText = `left:${at}px;top:${y}px;max-width:${width - 26 - r.depth * indent}px`;
    box.title = said(r) + (r.file ? '\n' + r.function + ' ' + base(r.file) + ':' + r.line : '') + '\n' + r.context;
    box.onclick = () => go(n);
    lanes.append(box); boxes.push(box);
    if (!r.mark) { const num = make('div', 'number', r.step); num.style.top = y + 'px'; lanes.append(num); }
    where[i] = { x: at, y: y + 10, n };
  });
  // What an interrupt has halted: a line along its steps, from the level below.
  const drawn = (x1, y1, x2, y2, colour, title, cls) => { const line = document.createElementNS(ns, 'line');
    line.setAttribute('x1', x1); line.setAttribute('y1', y1); line.setAttribute('x2', x2); line.setAttribute('y2', y2);
    line.setAttribute('class', cls); line.style.stroke = `var(${colour})`;
    const t = document.createElementNS(ns, 'title'); t.textContent = title; line.append(t); svg.append(line); };
  shown.forEach((i, n) => { const r = data.rows[i]; if (r.depth === 0) return;
    for (let d = 0; d < r.depth; ++d) { const at = x[r.cpu] + 20 + d * indent, y = top0 + n * height;
      drawn(at, y - 2, at, y + height - 2, '--dim', 'halted', ''); } });
  // Locks and readers, from the step that takes to the step that gives back.
  const open = {}; let slots = {};
  data.rows.forEach((r, i) => {
    if (!r.span) return;
    const key = r.cpu + ' ' + r.by + ' ' + r.key;
    if (r.span === 1) { if (!(key in open)) open[key] = i; return; }
    if (key in open) { span(open[key], i, r); delete open[key]; }
  });
  Object.values(open).forEach(i => span(i, data.rows.length - 1, data.rows[i]));
  function span(from, to, r) {
    const inside = shown.filter(i => i >= from && i <= to);
    if (!inside.length || !data.rows[from].matters) return;
    const slot = slots[r.cpu] = ((slots[r.cpu] || 0) + 1) % 3;
    const y1 = where[inside[0]].y - 8, y2 = where[inside[inside.length - 1]].y + 8, at = x[r.cpu] + 1 + slot * 5;
    drawn(at, y1, at, y2, isReader(r) ? spanNames.reader : spanNames.lock, isReader(r) ? 'RCU reader' : 'holds ' + r.object, 'span');
  }
  // What woke, raised or signalled what.
  shown.forEach(i => { const r = data.rows[i]; if (r.cause < 0 || !where[r.cause]) return;
    const a = where[r.cause], b = where[i], path = document.createElementNS(ns, 'path');
    const out = Math.max(30, Math.min(80, Math.abs(b.x - a.x) / 3));
    path.setAttribute('d', `M${a.x},${a.y} C${a.x - out},${a.y} ${b.x - out},${b.y} ${b.x - 2},${b.y}`);
    path.setAttribute('class', 'arrow'); path.setAttribute('marker-end', 'url(#tip)'); svg.append(path); });
  lanes.append(svg);
  go(current);
}

let fileShown = null;
function source(r) {
  const box = el('source');
  if (fileShown !== r.file) {
    box.textContent = ''; fileShown = r.file;
    (data.sources[r.file] || '').split('\n').forEach((line, n) => { const d = make('div'); d.append(make('i', '', n + 1), line || ' '); box.append(d); });
  }
  for (const old of box.querySelectorAll('.at')) old.classList.remove('at');
  const line = box.children[r.line - 1];
  if (line) { line.classList.add('at'); box.scrollTop = line.offsetTop - box.offsetTop - box.clientHeight / 2; }
}
function go(n) {
  current = Math.max(0, Math.min(shown.length - 1, n));
  const r = data.rows[shown[current]];
  if (!r) return;
  boxes.forEach((b, k) => { b.classList.toggle('on', k === current); b.classList.toggle('later', k > current);
    b.classList.toggle('same', k !== current && r.key !== '0' && data.rows[shown[k]].key === r.key); });
  const box = boxes[current], lanes = el('lanes');
  if (box.offsetTop < lanes.scrollTop + 60 || box.offsetTop > lanes.scrollTop + lanes.clientHeight - 60)
    lanes.scrollTop = box.offsetTop - lanes.clientHeight / 2;
  const now = el('now'); now.textContent = '';
  now.append(make('b', '', said(r)), make('div', 'dim', `${r.context} on ${data.lanes[r.cpu]}, ` + (r.mark ? 'after' : '') + ` step ${r.step}` +
    (data.objects[r.object] ? ` — ${r.object}: ${data.objects[r.object]}` : '')));
  if (r.file) now.append(make('div', 'dim', `${r.function}  ${r.file}:${r.line}`));
  if (r.file) source(r);
}
function same(by) { const key = data.rows[shown[current]].key;
  for (let n = current + by; n >= 0 && n < shown.length; n += by) if (key !== '0' && data.rows[shown[n]].key === key) return go(n); }
addEventListener('keydown', e => {
  if (e.ctrlKey || e.altKey || e.metaKey) return;
  const to = { ArrowDown: () => go(current + 1), j: () => go(current + 1), ArrowUp: () => go(current - 1), k: () => go(current - 1),
    Home: () => go(0), End: () => go(shown.length - 1), PageDown: () => go(current + 15), PageUp: () => go(current - 15),
    n: () => same(1), p: () => same(-1), a: () => { all = !all; layout(); },
    c: () => { const at = shown.indexOf(data.rows[shown[current]].cause); if (at >= 0) go(at); } }[e.key];
  if (to) { e.preventDefault(); to(); }
});
addEventListener('resize', layout);
layout();
)x";

}  // namespace interlock::machine
