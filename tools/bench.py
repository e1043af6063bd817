#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Runs the benchmark suite and prints one table: each operation by Interlock, by the best peer, and by the bare machine.

  ./dev bench                    all rows
  ./dev bench --filter REGEX     the rows whose name matches
  ./dev bench --list             the rows, their goals, and which programs have them; runs nothing
  ./dev bench --json FILE        writes everything that was measured, each repetition with it
  ./dev bench --html FILE        writes a page of its own with the plots
  ./dev bench --markdown FILE    writes the table, in FILE between the lines `<!-- bench: begin -->` and `<!-- bench: end -->`
                                 if it has them: docs/performance.md

Further options:
  --repetitions N   of each competitor, in random order within a row (9, or what the row says)
  --min-time S      seconds of one repetition (0.02, or what the row says)
  --long            the full length of rows that are cut short otherwise (a flood of 30 s)
  --from FILE       instead of running: what --json wrote before
  --programs DIR    where the programs are (build/bench/bench)
  --rows FILE       the table of rows (bench/rows.toml)
  --check           that the table and the programs agree, and that each row has its competitors; runs nothing

How to add a row: bench/README.md. A median is given with the interval that holds the true one with 95 % certainty (of
order statistics; the extremes, where the repetitions are too few). A goal is met or missed only if it is so for all of
both intervals; otherwise a question mark says that the spread is too wide to carry the claim.

Exit status: 0, also when goals are missed; 1 if a program failed or (--check) something does not agree; 2 for wrong
arguments or a wrong table of rows.
"""
import argparse
import html
import json
import math
import os
import pathlib
import platform
import re
import signal
import statistics
import subprocess
import sys
import time
import tomllib

ROOT = pathlib.Path(__file__).resolve().parent.parent
OURS = "interlock"
FLOOR = "floor"
TIME_UNITS = {"ns": 1.0, "us": 1e3, "ms": 1e6, "s": 1e9}
NUMBER_UNITS = {**TIME_UNITS, "KiB": 1024.0, "MiB": 1048576.0, "%": 1.0, "/s": 1.0, "": 1.0}
UNITS = ("ns", "/s", "bytes", "%", "")
ROW_KEYS = {
    "name", "group", "title", "measure", "unit", "better", "goals", "beside", "comparable", "show", "note", "repetitions", "min_time",
    "timeout",
}
NEEDED_KEYS = ("name", "group", "title", "goals")
# What Google Benchmark appends to a name of how it measures, and what is no part of the row.
HOW_MEASURED = re.compile(r"^(real_time|process_time|manual_time|iterations:\d+|repeats:\d+|min_time:[\d.]+)$")
# What it writes beside a program's own counters.
NOT_COUNTERS = {
    "name", "run_name", "run_type", "repetitions", "repetition_index", "threads", "iterations", "real_time", "cpu_time",
    "time_unit", "family_index", "per_family_instance_index", "error_occurred", "error_message", "label",
}
GOAL = re.compile(
    r"^(?:(?P<measure>[a-z_][\w.]*)\s+)?(?P<sign><=|>=|<|>)\s*(?P<number>\d+(?:\.\d+)?)\s*"
    r"(?:x\s+(?P<reference>[\w.]+)(?::(?P<counter>[\w.]+))?|(?P<unit>ns|us|ms|s|KiB|MiB|%|/s)?)$"
)
QUANTILE = re.compile(r"^q(\d+(?:\.\d+)?)$")


class Wrong(Exception):
    """Something that the user can mend; the text says what and how."""


# --- the table of rows ---


def read_rows(path):
    try:
        with open(path, "rb") as file:
            table = tomllib.load(file)
    except OSError as e:
        raise Wrong(f"{path}: {e.strerror}") from None
    except tomllib.TOMLDecodeError as e:
        raise Wrong(f"{path}: {e}") from None
    rows = table.get("row", [])
    if not isinstance(rows, list):
        raise Wrong(f"{path}: write [[row]], not [row]")
    seen = set()
    for row in rows:
        name = row.get("name", "without a name")
        for key in NEEDED_KEYS:
            if key not in row:
                raise Wrong(f"{path}: row {name}: `{key}` is missing")
        for key in ("goals", "comparable", "show"):
            if not isinstance(row.get(key, []), list):
                raise Wrong(f'{path}: row {name}: `{key}` is a list: ["..."]')
        unknown = sorted(set(row) - ROW_KEYS)
        if unknown:
            raise Wrong(f"{path}: row {name}: `{unknown[0]}` is not a key; there are {', '.join(sorted(ROW_KEYS))}")
        if name in seen:
            raise Wrong(f"{path}: row {name} is there twice")
        seen.add(name)
        row.setdefault("measure", "cpu")
        row.setdefault("unit", "ns")
        row.setdefault("better", "higher" if row["unit"] == "/s" else "lower")
        row.setdefault("beside", {})
        row.setdefault("comparable", [])
        row.setdefault("show", [])
        if row["unit"] not in UNITS:
            raise Wrong(f"{path}: row {name}: unit `{row['unit']}` is none of {', '.join(repr(u) for u in UNITS)}")
        if row["better"] not in ("lower", "higher"):
            raise Wrong(f"{path}: row {name}: better is `lower` or `higher`")
        for goal in row["goals"] + row["comparable"]:
            if not GOAL.match(goal):
                raise Wrong(f"{path}: row {name}: cannot read the goal `{goal}`; say for example `<= 1.3 x floor`, "
                            "`< 1 x best`, `q99 <= 1 ms`, `peak <= 1 x interlock:limit`")
    if not rows:
        raise Wrong(f"{path}: has no [[row]]")
    groups = list(dict.fromkeys(row["group"] for row in rows))  # each stands where its first row does
    return sorted(rows, key=lambda row: groups.index(row["group"]))


def split_name(name):
    """`row/competitor[/args]` to (row with its args, competitor); None if it is no name of the suite."""
    parts = [p for p in name.split("/") if not HOW_MEASURED.match(p)]
    if len(parts) < 2:
        return None
    return "/".join([parts[0]] + parts[2:]), parts[1]


# --- running ---


def find_programs(folder):
    programs = sorted(p for p in pathlib.Path(folder).glob("bench_*")
                      if os.access(p, os.X_OK) and p.is_file() and not p.name.startswith("bench_model_"))
    if not programs:
        raise Wrong(f"{folder}: there are no benchmark programs; ./dev bench builds them")
    return programs


def list_benchmarks(programs):
    """{row: {competitor: program}}, {program that failed: why}"""
    found, failed = {}, {}
    for program in programs:
        try:
            done = subprocess.run([str(program), "--benchmark_list_tests=true"], capture_output=True, text=True, timeout=60)
        except (OSError, subprocess.TimeoutExpired) as e:
            failed[program.name] = f"--benchmark_list_tests: {e}"
            continue
        if done.returncode != 0:
            failed[program.name] = f"--benchmark_list_tests ended with {done.returncode}: {done.stderr.strip()[-200:]}"
            continue
        for line in done.stdout.splitlines():
            name = split_name(line.strip())
            if name is not None:
                found.setdefault(name[0], {})[name[1]] = program
    return found, failed


def run_program(program, row, options):
    """The benchmarks of one row, in a process of its own; its JSON."""
    first, *arguments = row["name"].split("/")
    pattern = "^" + re.escape(first) + "/[^/]+" + "".join("/(.*/)?" + re.escape(a) for a in arguments) + "(/|$)"
    pattern = pattern.replace(r"\-", "-")  # POSIX regular expressions do not know that one
    repetitions = options.repetitions or row.get("repetitions", 9)
    command = [
        str(program), f"--benchmark_filter={pattern}", "--benchmark_format=json", f"--benchmark_repetitions={repetitions}",
        f"--benchmark_min_time={options.min_time or row.get('min_time', 0.02)}", "--benchmark_enable_random_interleaving=true",
    ]
    environment = dict(os.environ)
    if options.long:
        environment["INTERLOCK_BENCH_LONG"] = "1"
    limit = row.get("timeout", 120) * (10 if options.long else 1)
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment,
                          start_new_session=True) as child:
        try:
            out, err = child.communicate(timeout=limit)
        except BaseException as e:
            os.killpg(child.pid, signal.SIGKILL)
            child.communicate()
            if isinstance(e, subprocess.TimeoutExpired):
                raise RuntimeError(f"took longer than {limit} s") from None
            raise
    if child.returncode != 0:
        name = signal.Signals(-child.returncode).name if child.returncode < 0 else child.returncode
        raise RuntimeError(f"ended with {name}: {err.strip()[-300:]}")
    try:
        return json.loads(out[out.index("{"):])
    except ValueError:
        raise RuntimeError(f"did not write JSON: {out.strip()[:200]}") from None


def samples_of(report, row):
    """{competitor: [{cpu, real, counters}] or the text of an error}, of one row of a program's JSON."""
    found = {}
    for entry in report.get("benchmarks", []):
        name = split_name(entry.get("run_name", entry["name"]))
        if name is None or name[0] != row["name"] or entry.get("run_type", "iteration") != "iteration":
            continue
        if entry.get("error_occurred"):
            found[name[1]] = entry.get("error_message", "failed")
            continue
        if isinstance(found.get(name[1]), str):
            continue
        scale = TIME_UNITS[entry.get("time_unit", "ns")]
        sample = {k: v for k, v in entry.items() if k not in NOT_COUNTERS and isinstance(v, (int, float))}
        sample["cpu"] = entry["cpu_time"] * scale
        sample["real"] = entry["real_time"] * scale
        found.setdefault(name[1], []).append(sample)
    return found


def machine():
    model = ""
    try:
        for line in pathlib.Path("/proc/cpuinfo").read_text().splitlines():
            if line.startswith("model name"):
                model = line.split(":", 1)[1].strip()
                break
    except OSError:
        pass
    compiler = subprocess.run(["g++", "-dumpfullversion"], capture_output=True, text=True, check=False).stdout.strip()
    return {
        "cpu": model or platform.machine(), "cpus": os.cpu_count(), "kernel": f"{platform.system()} {platform.release()}",
        "compiler": f"gcc {compiler}", "load": round(os.getloadavg()[0], 2), "when": time.strftime("%Y-%m-%d %H:%M UTC", time.gmtime()),
    }


# --- judging ---


def interval_rank(count):
    """How many of the sorted values to leave out at each end, so that the rest holds the median with 95 %."""
    rank, left = 0, 1.0
    for k in range(count // 2):
        left -= 2 * math.comb(count, k) / 2**count
        if left < 0.95:
            break
        rank = k
    return rank


def summary(values):
    """Median, and the interval that holds the true one."""
    values = sorted(values)
    rank = interval_rank(len(values))
    return {"median": statistics.median(values), "low": values[rank], "high": values[-1 - rank]}


def measured(samples, measure):
    values = [s[measure] for s in samples if measure in s]
    return summary(values) if values else None


HOLDS = {"<=": lambda a, b: a <= b, "<": lambda a, b: a < b, ">=": lambda a, b: a >= b, ">": lambda a, b: a > b}


def limit_of(m, row, samples, best=None):
    """What a goal, matched, asks for: median and interval; None if that was not measured."""
    number = float(m["number"])
    if m["reference"]:
        name = best if m["reference"] == "best" else m["reference"]
        other = measured(samples.get(name, []), m["counter"] or m["measure"] or row["measure"]) if name else None
        return other and {k: v * number for k, v in other.items()}
    limit = number * NUMBER_UNITS[m["unit"] or ""]
    return {"median": limit, "low": limit, "high": limit}


def judge_goal(goal, row, samples, best):
    """{text, verdict}: met, missed, met?, missed? or unknown."""
    m = GOAL.match(goal)
    ours = measured(samples.get(OURS, []), m["measure"] or row["measure"])
    other = limit_of(m, row, samples, best)
    if ours is None or other is None:
        return {"text": goal, "verdict": "unknown"}
    holds = HOLDS[m["sign"]]
    below = m["sign"].startswith("<")
    surely = holds(ours["high"], other["low"]) if below else holds(ours["low"], other["high"])
    maybe = holds(ours["low"], other["high"]) if below else holds(ours["high"], other["low"])
    likely = holds(ours["median"], other["median"])
    verdict = "met" if surely else "missed" if not maybe else "met?" if likely else "missed?"
    return {"text": goal, "verdict": verdict}


def not_comparable(row, samples, names):
    """{competitor: why}: those whose medians do not hold what `comparable` asks of a peer."""
    found = {}
    for condition in row["comparable"]:
        m = GOAL.match(condition)
        limit = limit_of(m, row, samples)
        for name in names:
            value = measured(samples[name], m["measure"] or row["measure"])
            if limit is None or value is None or not HOLDS[m["sign"]](value["median"], limit["median"]):
                found.setdefault(name, f"not {condition}")
    return found


def judge(row, samples):
    """What the table shows of a row."""
    errors = {n: s for n, s in samples.items() if isinstance(s, str)}
    samples = {n: s for n, s in samples.items() if not isinstance(s, str)}
    competitors = {}
    for name, values in samples.items():
        s = measured(values, row["measure"])
        if s is None:
            errors[name] = f"has no counter `{row['measure']}`"
            continue
        counters = sorted({k for v in values for k in v})
        competitors[name] = {**s, "values": [v[row["measure"]] for v in values if row["measure"] in v],
                             "counters": {c: measured(values, c) for c in counters}}
    peers = [n for n in competitors if not re.match(rf"({OURS}|{FLOOR})(_|$)", n)]
    beside = {**not_comparable(row, samples, peers), **row["beside"]}
    peers = [n for n in peers if n not in beside]
    pick = min if row["better"] == "lower" else max
    best = pick(peers, key=lambda n: competitors[n]["median"]) if peers else None
    ours = competitors.get(OURS)

    def ratio(name):
        if ours is None or name not in competitors or competitors[name]["median"] == 0:
            return None
        return ours["median"] / competitors[name]["median"]

    return {
        "name": row["name"], "group": row["group"], "title": row["title"], "unit": row["unit"], "better": row["better"],
        "measure": row["measure"], "competitors": competitors, "errors": errors, "best": best, "ratio_best": ratio(best),
        "ratio_floor": ratio(FLOOR), "beside": beside, "show": row["show"], "note": row.get("note", ""),
        "goals": [judge_goal(g, row, samples, best) for g in row["goals"]],
        "samples": samples,
    }


# --- numbers ---


def three(value):
    if value == 0:
        return "0"
    digits = max(0, 2 - math.floor(math.log10(abs(value))))
    return f"{value:.{digits}f}"


def show_value(value, unit):
    if unit == "ns":
        for name, scale in (("s", 1e9), ("ms", 1e6), ("us", 1e3)):
            if abs(value) >= scale:
                return f"{three(value / scale)} {name}"
        return f"{three(value)} ns"
    if unit == "/s":
        for name, scale in (("G", 1e9), ("M", 1e6), ("k", 1e3)):
            if abs(value) >= scale:
                return f"{three(value / scale)} {name}/s"
        return f"{three(value)} /s"
    if unit == "bytes":
        for name, scale in (("GiB", 2**30), ("MiB", 2**20), ("KiB", 2**10)):
            if abs(value) >= scale:
                return f"{three(value / scale)} {name}"
        return f"{three(value)} B"
    return f"{three(value)} {unit}".strip()


def show_ratio(value):
    if value is None:
        return "-"
    return f"{value:.2g}" if value < 0.01 else f"{value:.2f}" if value < 100 else f"{value:.0f}"


def spread(competitor):
    """Half the interval, as part of the median."""
    if competitor is None or competitor["median"] == 0:
        return None
    return (competitor["high"] - competitor["low"]) / 2 / abs(competitor["median"])


def show_spread(competitor):
    s = spread(competitor)
    return "-" if s is None else f"{100 * s:.0f} %" if s < 9.995 else ">999 %"


def show_goals(row):
    return "; ".join(f"{g['text']}: {g['verdict'].upper() if g['verdict'].startswith('missed') else g['verdict']}" for g in row["goals"]) or "shown"


def shown_counter(text):
    """An entry of `show`: `counter` or `counter unit`."""
    name, _, unit = text.partition(" ")
    return name, unit


# --- the table ---

HEAD = ("operation", "Interlock", "best peer", "", "ratio", "floor", "ratio", "spread", "goals")


def cells(row):
    competitors, unit = row["competitors"], row["unit"]

    def value(name):
        return show_value(competitors[name]["median"], unit) if name in competitors else "-"

    best = row["best"]
    return (row["title"], value(OURS), value(best) if best else "-", best or "", show_ratio(row["ratio_best"]), value(FLOOR),
            show_ratio(row["ratio_floor"]), show_spread(competitors.get(OURS)), show_goals(row))


def remarks(row):
    """The lines below a row: counters, what is shown beside, what failed."""
    competitors = row["competitors"]
    for text in row["show"]:
        name, unit = shown_counter(text)
        parts = []
        for who in [OURS, row["best"], FLOOR]:
            counter = competitors.get(who, {}).get("counters", {}).get(name) if who else None
            if counter is not None:
                parts.append(f"{who} {show_value(counter['median'], unit)}")
        if parts:
            yield f"{name}: " + ", ".join(parts)
    others = [n for n in competitors if n not in (OURS, FLOOR, row["best"])]
    if others:
        others.sort(key=lambda n: competitors[n]["median"], reverse=row["better"] == "higher")
        yield "also: " + ", ".join(f"{n} {show_value(competitors[n]['median'], row['unit'])}" for n in others)
    reasons = {}
    for n, reason in row["beside"].items():
        if n in competitors:
            reasons.setdefault(reason, []).append(n)
    for reason, names in reasons.items():
        yield f"not compared: {', '.join(names)}: {reason}"
    for n, error in row["errors"].items():
        yield f"{n}: {error}"


def wide(row):
    """Is there a claim that the spread does not carry?"""
    return any(g["verdict"].endswith("?") for g in row["goals"])


def verdict_counts(rows):
    counts = {}
    for row in rows:
        for goal in row["goals"]:
            counts[goal["verdict"]] = counts.get(goal["verdict"], 0) + 1
    return counts


def summary_line(rows):
    counts = verdict_counts(rows)
    parts = [f"{counts[k]} {words}" for k, words in (
        ("met", "met"), ("missed", "missed"), ("met?", "met by the median, the spread is too wide to say"),
        ("missed?", "missed by the median, the spread is too wide to say"), ("unknown", "could not be judged"),
    ) if counts.get(k)]
    return f"goals: {', '.join(parts) or 'none'}"


def print_table(result, out):
    rows = result["rows"]
    table = [(row, cells(row)) for row in rows]
    widths = [max([len(HEAD[i])] + [len(c[i]) for _, c in table]) for i in range(len(HEAD) - 1)]
    right = (1, 2, 4, 5, 6, 7)

    def line(parts):
        done = [p.rjust(w) if i in right else p.ljust(w) for i, (p, w) in enumerate(zip(parts, widths))]
        return ("  ".join(done) + "  " + parts[-1]).rstrip()

    group = None
    for row, parts in table:
        if row["group"] != group:
            group = row["group"]
            print(f"\n{group}\n{line(HEAD)}", file=out)
        print(line(parts), file=out)
        for remark in remarks(row):
            print(f"    {remark}", file=out)
        if wide(row):
            print("    too wide: the spread does not carry the claim marked with ?", file=out)
    m = result["machine"]
    print(f"\n{summary_line(rows)}", file=out)
    print(f"{m['cpu']}, {m['cpus']} CPUs, {m['kernel']}, {m['compiler']}, load {m['load']} at the start, {m['when']}; "
          f"{result['seconds']:.0f} s", file=out)
    for name, why in result.get("failures", {}).items():
        print(f"FAILED {name}: {why}", file=out)


def markdown(result):
    lines = []
    group = None
    for row in result["rows"]:
        if row["group"] != group:
            group = row["group"]
            lines += ["", f"**{group}**", "", "| operation | Interlock | best peer | ratio | floor | ratio | spread | goals |",
                      "|---|---|---|---|---|---|---|---|"]
        title, ours, best, name, ratio, floor, to_floor, spread_, goals = cells(row)
        peer = f"`{name}` {best}" if name else "-"
        lines.append(f"| {title} | {ours} | {peer} | {ratio} | {floor} | {to_floor} | {spread_} | {goals} |".replace("<", "&lt;"))
    m = result["machine"]
    lines += ["", f"{summary_line(result['rows'])}. {m['cpu']}, {m['cpus']} CPUs, {m['kernel']}, {m['compiler']}, load {m['load']} "
              f"at the start, {m['when']}.", ""]
    return "\n".join(lines).lstrip("\n")


BEGIN, END = "<!-- bench: begin -->\n", "<!-- bench: end -->"


def marked(path):
    """What stands before and behind the place of the table. A file without the two lines must be new or empty."""
    before = path.read_text() if path.exists() else ""
    if not before.strip():
        before = BEGIN + END + "\n"
    begin, end = before.find(BEGIN), before.find(END)
    if not 0 <= begin < end:
        raise Wrong(f"{path} has no lines `{BEGIN.strip()}` and `{END.strip()}`; it is left as it is")
    return before[: begin + len(BEGIN)], before[end:]


def put_markdown(path, text):
    """In place of what stands between the two lines."""
    path = pathlib.Path(path)
    head, tail = marked(path)
    path.write_text(head + "\n" + text.rstrip("\n") + "\n\n" + tail)


# --- the page ---

STYLE = """
:root { color-scheme: light dark; --page: #ffffff; --text: #1d2129; --soft: #5c6370; --line: #d5d9e0; --card: #f6f7f9;
  --ours: #1668b8; --peer: #9a6a12; --floor: #6b7280; --beside: #b9a27a; --good: #1a7f37; --bad: #c02626; --unsure: #9a5b00; }
@media (prefers-color-scheme: dark) { :root { --page: #14171c; --text: #e6e8ec; --soft: #a0a7b4; --line: #363c47; --card: #1c2027;
  --ours: #62a8ec; --peer: #dda84a; --floor: #9aa1ad; --beside: #80714f; --good: #5fcf80; --bad: #ff8078; --unsure: #f0b55a; } }
body { background: var(--page); color: var(--text); font: 15px/1.45 system-ui, sans-serif; margin: 0 auto; max-width: 72rem; padding: 1.5rem; }
h1 { font-size: 1.5rem; margin: 0 0 .3rem } h2 { font-size: 1.2rem; margin: 2rem 0 .6rem }
h3 { font-size: 1rem; margin: 0 0 .2rem } p { margin: .2rem 0; } .soft { color: var(--soft); font-size: .87rem }
.scroll { overflow-x: auto } table { border-collapse: collapse; font-size: .87rem; width: 100% }
th, td { border-bottom: 1px solid var(--line); padding: .25rem .5rem; text-align: left; vertical-align: top }
td.n, th.n { text-align: right; white-space: nowrap; font-variant-numeric: tabular-nums }
.met { color: var(--good) } .missed { color: var(--bad); font-weight: 600 } .unsure { color: var(--unsure) }
.cards { display: grid; gap: .9rem; grid-template-columns: repeat(auto-fill, minmax(min(30rem, 100%), 1fr)) }
.card { background: var(--card); border: 1px solid var(--line); border-radius: .4rem; padding: .7rem .8rem }
svg { display: block; width: 100%; height: auto; margin-top: .3rem } svg text { fill: var(--text); font: 12px system-ui, sans-serif }
svg .soft { fill: var(--soft) } svg .axis { stroke: var(--line) } svg .whisker { stroke: var(--text); stroke-width: 1.2 }
svg text.soft { font-size: 11px } svg .dot { fill: var(--text); opacity: .45 } .fill-ours { fill: var(--ours) } .fill-peer { fill: var(--peer) }
.fill-floor { fill: var(--floor) } .fill-beside { fill: var(--beside) } .line-ours { stroke: var(--ours) }
.line-peer { stroke: var(--peer) } .line-floor { stroke: var(--floor) } .line-beside { stroke: var(--beside) }
.curve { fill: none; stroke-width: 2 } .key i { display: inline-block; width: .8rem; height: .8rem; border-radius: .15rem;
  margin: 0 .3rem 0 .9rem; vertical-align: -1px }
"""


def kind(row, name):
    if re.match(rf"{OURS}(_|$)", name):
        return "ours"
    if re.match(rf"{FLOOR}(_|$)", name):
        return "floor"
    return "beside" if name in row["beside"] else "peer"


def in_order(row):
    """Interlock, then the peers from the best on, then the floors."""
    order = {"ours": 0, "peer": 1, "beside": 2, "floor": 3}
    sign = 1 if row["better"] == "lower" else -1
    return sorted(row["competitors"], key=lambda n: (order[kind(row, n)], n != OURS, sign * row["competitors"][n]["median"]))


def bars(row):
    """Bars from 0, with the interval as whisker and each repetition as a dot; logarithmic where one would hide the rest."""
    names = in_order(row)
    tops = [row["competitors"][n]["high"] for n in names]
    lows = [c["low"] for c in row["competitors"].values() if c["low"] > 0]
    top = max(tops, default=0)
    if top <= 0 or not lows:
        return ""
    logarithmic = top / min(lows) > 40
    base = 10 ** math.floor(math.log10(min(lows))) if logarithmic else 0
    left, width, right, high = 165, 235, 95, 22

    def x(value):
        if logarithmic:
            value = max(value, base)
            return left + width * (math.log10(value / base) / max(1e-9, math.log10(top / base)))
        return left + width * min(value, top) / top

    parts = []
    for i, name in enumerate(names):
        c = row["competitors"][name]
        y = 4 + i * high
        parts.append(f'<text x="{left - 6}" y="{y + 14}" text-anchor="end">{html.escape(name)}</text>')
        parts.append(f'<rect x="{left}" y="{y + 3}" width="{max(1.0, x(c["median"]) - left):.1f}" height="{high - 7}" rx="2" '
                     f'class="fill-{kind(row, name)}"><title>{html.escape(name)}: {show_value(c["median"], row["unit"])}, '
                     f'{show_value(c["low"], row["unit"])} to {show_value(c["high"], row["unit"])}</title></rect>')
        middle = y + 3 + (high - 7) / 2
        for v in c["values"]:
            if v <= top:
                parts.append(f'<circle cx="{x(v):.1f}" cy="{middle:.1f}" r="1.6" class="dot"/>')
        parts.append(f'<path d="M{x(c["low"]):.1f} {middle:.1f}H{x(c["high"]):.1f}M{x(c["low"]):.1f} {middle - 4:.1f}v8'
                     f'M{x(c["high"]):.1f} {middle - 4:.1f}v8" class="whisker"/>')
        parts.append(f'<text x="{left + width + 8}" y="{y + 14}">{show_value(c["median"], row["unit"])}</text>')
    height = 8 + len(names) * high
    if logarithmic:
        decade = base
        while decade <= top:
            parts.insert(0, f'<path d="M{x(decade):.1f} 2V{height - 2}" class="axis"/>')
            decade *= 10
        height += 14
        parts.append(f'<text x="{left}" y="{height - 3}" class="soft">logarithmic, from {show_value(base, row["unit"])}</text>')
    parts.append(f'<path d="M{left} 2V{8 + len(names) * high - 4}" class="axis"/>')
    return (f'<svg viewBox="0 0 {left + width + right} {height}" role="img" aria-label="{html.escape(row["title"])}">'
            + "".join(parts) + "</svg>")


def distribution(row):
    """Quantiles against time: the part of the operations that took longer, both logarithmic."""
    curves = []
    for name in in_order(row):
        points = []
        for counter, s in row["competitors"][name]["counters"].items():
            m = QUANTILE.match(counter)
            if m and float(m[1]) < 100 and s["median"] > 0:
                points.append((1 - float(m[1]) / 100, s["median"]))
        if len(points) >= 4:
            curves.append((name, sorted(points, reverse=True)))
    if not curves:
        return ""
    low = min(v for _, points in curves for _, v in points)
    high = max(v for _, points in curves for _, v in points)
    first, last = math.floor(math.log10(low)), max(math.ceil(math.log10(high)), math.floor(math.log10(low)) + 1)
    rarest = min(p for _, points in curves for p, _ in points)
    decades = max(1, math.ceil(-math.log10(rarest)))
    left, width, top, height, right = 52, 268, 8, 130, 175

    def x(v):
        return left + width * (math.log10(v) - first) / (last - first)

    def y(part):
        return top + height * (-math.log10(part)) / decades

    parts = []
    for e in range(first, last + 1):
        parts.append(f'<path d="M{x(10.0**e):.1f} {top}v{height}" class="axis"/><text x="{x(10.0**e):.1f}" y="{top + height + 15}" '
                     f'text-anchor="middle" class="soft">{show_value(10.0**e, row["unit"])}</text>')
    for e in range(decades + 1):
        text = "all" if e == 0 else f"{100 * 10.0**-e:g} %"
        parts.append(f'<path d="M{left} {y(10.0**-e):.1f}h{width}" class="axis"/><text x="{left - 5}" y="{y(10.0**-e) + 4:.1f}" '
                     f'text-anchor="end" class="soft">{text}</text>')
    for i, (name, points) in enumerate(curves):
        path = "M" + "L".join(f"{x(v):.1f} {y(p):.1f}" for p, v in points)
        dash = "" if name == OURS else f' stroke-dasharray="{[6, 2, 8, 4][i % 4]} {[2, 2, 3, 3][i % 4]}"'
        parts.append(f'<path d="{path}" class="curve line-{kind(row, name)}"{dash}><title>{html.escape(name)}</title></path>')
    for i, (name, _) in enumerate(curves):
        parts.append(f'<path d="M{left + width + 6} {top + 6 + 15 * i}h16" class="curve line-{kind(row, name)}"'
                     + ("" if name == OURS else f' stroke-dasharray="{[6, 2, 8, 4][i % 4]} {[2, 2, 3, 3][i % 4]}"')
                     + f'/><text x="{left + width + 26}" y="{top + 10 + 15 * i}">{html.escape(name)}</text>')
    full = max(top + height + 22, top + 15 * len(curves) + 8)
    return ('<p class="soft">How many took longer than that:</p>'
            f'<svg viewBox="0 0 {left + width + right} {full}" role="img" aria-label="distribution of {html.escape(row["title"])}">'
            + "".join(parts) + "</svg>")


def goals_html(row):
    classes = {"met": "met", "missed": "missed", "met?": "unsure", "missed?": "unsure", "unknown": "unsure"}
    words = {"met": "met", "missed": "missed", "met?": "met?", "missed?": "missed?", "unknown": "not judged"}
    return "<br>".join(f'{html.escape(g["text"])}: <span class="{classes[g["verdict"]]}">{words[g["verdict"]]}</span>' for g in row["goals"]) or "shown"


def page(result):
    m, rows = result["machine"], result["rows"]
    out = ["<!doctype html><html lang=\"en\"><head><meta charset=\"utf-8\"><meta name=\"viewport\" content=\"width=device-width\">",
           f"<title>Interlock: benchmarks</title><style>{STYLE}</style></head><body><h1>Interlock: benchmarks</h1>",
           f'<p class="soft">{html.escape(m["cpu"])}, {m["cpus"]} CPUs, {html.escape(m["kernel"])}, {html.escape(m["compiler"])}, load {m["load"]} at the '
           f'start, {html.escape(m["when"])}. Competitors of a row took turns in random order. Bars are medians, whiskers the interval that holds the true '
           'median with 95 % certainty, dots the repetitions. Only ratios within a row carry over to other machines.</p>',
           f"<p>{html.escape(summary_line(rows))}. A question mark: the spread is too wide to carry the claim.</p>",
           '<p class="key soft">' + "".join(f'<i style="background:var(--{k})"></i>{w}' for k, w in (
               ("ours", "Interlock"), ("peer", "peers"), ("beside", "peers shown, not compared"), ("floor", "floor: the bare machine"))) + "</p>",
           '<div class="scroll"><table><thead><tr><th>operation<th class="n">Interlock<th>best peer<th class="n"><th class="n">ratio'
           '<th class="n">floor<th class="n">ratio<th class="n">spread<th>goals</tr></thead><tbody>']
    group = None
    for row in rows:
        if row["group"] != group:
            group = row["group"]
            out.append(f'<tr><th colspan="9">{html.escape(group)}</th></tr>')
        title, ours, best, name, ratio, floor, to_floor, spread_, _ = cells(row)
        out.append(f'<tr><td>{html.escape(title)}<td class="n">{ours}<td>{html.escape(name)}<td class="n">{best}<td class="n">{ratio}'
                   f'<td class="n">{floor}<td class="n">{to_floor}<td class="n">{spread_}<td>{goals_html(row)}</tr>')
    out.append("</tbody></table></div>")
    group = None
    for row in rows:
        if row["group"] != group:
            out.append(("</div>" if group is not None else "") + f'<h2>{html.escape(row["group"])}</h2><div class="cards">')
            group = row["group"]
        notes = "".join(f'<p class="soft">{html.escape(r)}</p>' for r in remarks(row) if not r.startswith("also: "))
        out.append(f'<section class="card"><h3>{html.escape(row["title"])}</h3><p class="soft">{html.escape(row["note"])}</p>'
                   f'<p class="soft">{goals_html(row)}</p>{bars(row)}{distribution(row)}{notes}</section>')
    out.append("</div></body></html>\n" if rows else "</body></html>\n")
    return "\n".join(out)


# --- commands ---


def check(rows, found, failed):
    """What does not agree between the table and the programs."""
    problems = [f"{name}: {why}" for name, why in failed.items()]
    named = {row["name"] for row in rows}
    for name in sorted(set(found) - named):
        program = next(iter(found[name].values())).name
        problems.append(f"{program} has benchmarks of {name}, which is not in the table of rows")
    for row in rows:
        there = found.get(row["name"])
        if there is None:
            problems.append(f"{row['name']}: no program has benchmarks {row['name']}/...")
            continue
        if OURS not in there:
            problems.append(f"{row['name']}: there is no {row['name']}/{OURS}")
        if len(there) < 2:
            problems.append(f"{row['name']}: there is nothing to compare with")
        for name in row["beside"]:
            if name not in there:
                problems.append(f"{row['name']}: `beside` names {name}, which does not compete")
        for goal in row["goals"] + row["comparable"]:
            reference = GOAL.match(goal)["reference"]
            if reference not in (None, "best") and reference not in there:
                problems.append(f"{row['name']}: the goal `{goal}` names {reference}, which does not compete")
    return problems


def list_rows(rows, found, out):
    for row in rows:
        there = found.get(row["name"], {})
        programs = sorted({p.name for p in there.values()})
        print(f"{row['name']}: {row['title']} [{', '.join(programs) or 'no program has it'}]", file=out)
        print(f"    goals: {'; '.join(row['goals']) or 'shown'}", file=out)
        if there:
            print(f"    competitors: {', '.join(sorted(there))}", file=out)


def run_suite(rows, found, options):
    """What is measured when it is interrupted is told."""
    begin = time.monotonic()
    result = {"machine": machine(), "long": options.long, "rows": [], "failures": {}}
    try:
        for i, row in enumerate(rows):
            run_row(row, found.get(row["name"]), options, result)
            print(f"bench: {i + 1} of {len(rows)}, {row['name']}", file=sys.stderr)
    except KeyboardInterrupt:
        result["failures"]["interrupted"] = f"after {len(result['rows'])} of {len(rows)} rows"
        result["interrupted"] = True
    result["seconds"] = time.monotonic() - begin
    return result


def run_row(row, there, options, result):
    if there is None:
        result["failures"][row["name"]] = "no program has it"
        return
    started = time.monotonic()
    samples = {}
    for program in sorted(set(there.values())):
        try:
            samples.update(samples_of(run_program(program, row, options), row))
        except (RuntimeError, OSError) as e:
            result["failures"][f"{row['name']} ({program.name})"] = str(e)
    if samples:
        judged = judge(row, samples)
        judged["seconds"] = round(time.monotonic() - started, 1)
        result["rows"].append(judged)


def judged_again(saved, rows):
    """A saved result by the table of today: goals and titles may have changed, measurements have not."""
    by_name = {r["name"]: r for r in rows}
    _ = saved["machine"]["cpu"], saved["seconds"]
    again = []
    for old in saved["rows"]:
        if old["name"] in by_name:
            new = judge(by_name[old["name"]], {**old["samples"], **old["errors"]})
            new["seconds"] = old.get("seconds", 0)
            again.append(new)
    order = {r["name"]: i for i, r in enumerate(rows)}
    again.sort(key=lambda r: order[r["name"]])
    return {**saved, "rows": again}


def parse(arguments):
    parser = argparse.ArgumentParser(prog="./dev bench", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--filter", default="", metavar="REGEX")
    parser.add_argument("--list", action="store_true")
    parser.add_argument("--check", action="store_true")
    parser.add_argument("--json", metavar="FILE")
    parser.add_argument("--html", metavar="FILE")
    parser.add_argument("--markdown", metavar="FILE")
    parser.add_argument("--from", dest="saved", metavar="FILE")
    parser.add_argument("--repetitions", type=int, metavar="N")
    parser.add_argument("--min-time", type=float, metavar="S")
    parser.add_argument("--long", action="store_true")
    parser.add_argument("--programs", default=str(ROOT / "build" / "bench" / "bench"), metavar="DIR")
    parser.add_argument("--rows", default=str(ROOT / "bench" / "rows.toml"), metavar="FILE")
    options, unknown = parser.parse_known_args(arguments)
    if unknown:
        hint = ""
        if unknown[0].startswith("--benchmark"):
            hint = "; an option of Google Benchmark follows a program's name: ./dev bench '*' " + unknown[0]
        raise Wrong(f"unknown argument {unknown[0]}{hint}")
    if options.repetitions is not None and options.repetitions < 1:
        raise Wrong("--repetitions is at least 1")
    if options.min_time is not None and not 0 < options.min_time < math.inf:
        raise Wrong("--min-time is a number of seconds above 0")
    if options.saved and (options.list or options.check or options.long or options.repetitions or options.min_time):
        raise Wrong("--from runs nothing: --list, --check, --long, --repetitions and --min-time do not go with it")
    for path in filter(None, (options.json, options.html, options.markdown)):
        if pathlib.Path(path).is_dir() or not pathlib.Path(path).absolute().parent.is_dir():
            raise Wrong(f"{path}: is a folder, or its folder does not exist")
    if options.markdown:
        marked(pathlib.Path(options.markdown))  # before anything is measured
    try:
        re.compile(options.filter)
    except re.error as e:
        raise Wrong(f"--filter {options.filter}: {e}") from None
    return options


def main(arguments):
    try:
        options = parse(arguments)
        rows = [r for r in read_rows(options.rows) if re.search(options.filter, r["name"])]
        if not rows:
            raise Wrong(f"--filter {options.filter}: no row is named so; --list tells the names")
        if options.saved:
            try:
                result = judged_again(json.loads(pathlib.Path(options.saved).read_text()), rows)
            except OSError as e:
                raise Wrong(f"{options.saved}: {e.strerror}") from None
            except (ValueError, KeyError, TypeError):
                raise Wrong(f"{options.saved} was not written by --json") from None
        else:
            found, failed = list_benchmarks(find_programs(options.programs))
            if options.check:
                problems = check(rows, found if not options.filter else {r["name"]: found[r["name"]] for r in rows if r["name"] in found}, failed)
                for problem in problems:
                    print(problem)
                return 1 if problems else 0
            if options.list:
                for name, why in failed.items():
                    print(f"bench: {name}: {why}", file=sys.stderr)
                list_rows(rows, found, sys.stdout)
                return 0
            result = run_suite(rows, found, options)
            result["failures"].update(failed)
        print_table(result, sys.stdout)
        for path, write in ((options.json, lambda path: pathlib.Path(path).write_text(json.dumps(result, indent=1) + "\n")),
                            (options.html, lambda path: pathlib.Path(path).write_text(page(result))),
                            (options.markdown, lambda path: put_markdown(path, markdown(result)))):
            if path:
                try:
                    write(path)
                except OSError as e:
                    raise Wrong(f"{path}: {e.strerror}") from None
        if result.get("interrupted"):
            return 130
        return 1 if result.get("failures") else 0
    except Wrong as e:
        print(f"bench: {e}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("bench: stopped", file=sys.stderr)
        return 130


if __name__ == "__main__":
    signal.signal(signal.SIGPIPE, signal.SIG_DFL)
    sys.exit(main(sys.argv[1:]))
