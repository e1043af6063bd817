#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Tests tools/bench.py on programs that it starts and that measure nothing: what they print is given."""
import contextlib
import importlib.util
import io
import json
import os
import pathlib
import re
import tempfile
import unittest
import xml.etree.ElementTree

ROOT = pathlib.Path(__file__).resolve().parents[2]
SPEC = importlib.util.spec_from_file_location("bench", ROOT / "tools" / "bench.py")
bench = importlib.util.module_from_spec(SPEC)
SPEC.loader.exec_module(bench)

ROW = '[[row]]\nname = "op"\ngroup = "G"\ntitle = "the operation"\ngoals = ["<= 1.3 x floor", "< 1 x best"]\n'

# A program: lists its benchmarks, and answers with the entries of those that the filter names.
PROGRAM = """#!/usr/bin/python3
import json, re, sys
options = dict(a[2:].split("=", 1) for a in sys.argv[1:])
entries = json.loads({entries!r})
if "benchmark_list_tests" in options:
    print("\\n".join(dict.fromkeys(e["run_name"] for e in entries)))
    sys.exit(0)
assert options["benchmark_format"] == "json" and options["benchmark_enable_random_interleaving"] == "true"
assert options["benchmark_repetitions"] == {repetitions!r}, options
{extra}
print(json.dumps({{"context": {{}}, "benchmarks": [e for e in entries if re.search(options["benchmark_filter"], e["name"])]}}))
"""


def entries_of(name, times, **more):
    """As Google Benchmark writes them: an entry for each repetition, then aggregates."""
    entries = [{"name": name, "run_name": name, "run_type": "iteration", "repetition_index": i, "iterations": 10, "threads": 1,
                "real_time": t * 2, "cpu_time": t, "time_unit": "ns", **more} for i, t in enumerate(times)]
    return entries + [{"name": name + "_mean", "run_name": name, "run_type": "aggregate", "aggregate_name": "mean", "iterations": 1,
                       "threads": 1, "real_time": 9e9, "cpu_time": 9e9, "time_unit": "ns"}]


class Suite(unittest.TestCase):
    def setUp(self):
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.folder = pathlib.Path(folder.name)
        self.rows(ROW)

    def rows(self, text):
        (self.folder / "rows.toml").write_text(text)

    def program(self, entries, name="bench_op", extra="", repetitions="9"):
        path = self.folder / name
        path.write_text(PROGRAM.format(entries=json.dumps(entries), extra=extra, repetitions=repetitions))
        path.chmod(0o755)

    def run_tool(self, *arguments):
        out, err = io.StringIO(), io.StringIO()
        with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
            code = bench.main(["--programs", str(self.folder), "--rows", str(self.folder / "rows.toml"), *arguments])
        return code, out.getvalue(), err.getvalue()

    def result(self, *arguments):
        path = self.folder / "out.json"
        code, out, err = self.run_tool("--json", str(path), *arguments)
        self.assertEqual(code, 0, out + err)
        return json.loads(path.read_text()), out

    def one_row(self, ours, peer, floor, row=ROW):
        self.rows(row)
        self.program(entries_of("op/interlock", ours) + entries_of("op/peer", peer) + entries_of("op/floor", floor))
        return self.result()[0]["rows"][0]

    # --- what is measured ---

    def test_medians_of_repetitions_without_aggregates(self):
        row = self.one_row([10, 10, 10, 90, 11, 9, 10, 10, 10], [20] * 9, [10] * 9)
        self.assertEqual(row["competitors"]["interlock"]["median"], 10)
        self.assertEqual(row["best"], "peer")
        self.assertEqual(row["ratio_best"], 0.5)
        self.assertEqual(row["ratio_floor"], 1)
        self.assertEqual(len(row["samples"]["interlock"]), 9)

    def test_time_units_become_nanoseconds(self):
        entries = entries_of("op/interlock", [1] * 9)
        for e in entries:
            e["time_unit"] = "us"
        self.program(entries)
        self.assertEqual(self.result()[0]["rows"][0]["competitors"]["interlock"]["median"], 1000)

    def test_how_it_was_measured_is_no_part_of_the_name(self):
        self.assertEqual(bench.split_name("op/peer/iterations:1/manual_time"), ("op", "peer"))
        self.assertEqual(bench.split_name("op/peer/gap:200/real_time/threads:8"), ("op/gap:200/threads:8", "peer"))
        self.assertIsNone(bench.split_name("op"))

    def test_arguments_are_a_part_of_the_row(self):
        self.rows(ROW.replace('"op"', '"op/gap:2/threads:8"'))
        self.program(entries_of("op/interlock/gap:2/real_time/threads:8", [5] * 9) + entries_of("op/interlock/gap:20/threads:8", [7] * 9) +
                     entries_of("op_more/interlock/gap:2/threads:8", [8] * 9) + entries_of("op/interlock/gap:2/threads:80", [9] * 9))
        rows = self.result()[0]["rows"]
        self.assertEqual(rows[0]["competitors"]["interlock"]["values"], [5] * 9)

    def test_counter_as_measure_and_higher_is_better(self):
        self.rows('[[row]]\nname = "op"\ngroup = "G"\ntitle = "t"\nmeasure = "rate"\nunit = "/s"\ngoals = [">= 1 x best"]\n')
        self.program(entries_of("op/interlock", [1] * 9, rate=3e6) + entries_of("op/slow", [1] * 9, rate=1e6) +
                     entries_of("op/fast", [1] * 9, rate=2e6))
        result, out = self.result()
        self.assertEqual(result["rows"][0]["best"], "fast")
        self.assertEqual(result["rows"][0]["ratio_best"], 1.5)
        self.assertIn("3.00 M/s", out)

    def test_variants_floors_and_those_beside_are_not_the_best_peer(self):
        self.rows(ROW + 'beside = {unfair = "it starves"}\n')
        self.program(entries_of("op/interlock", [10] * 9) + entries_of("op/interlock_other", [1] * 9) + entries_of("op/floor_other", [2] * 9) +
                     entries_of("op/unfair", [3] * 9) + entries_of("op/peer", [20] * 9) + entries_of("op/floor", [9] * 9))
        result, out = self.result()
        self.assertEqual(result["rows"][0]["best"], "peer")
        self.assertIn("not compared: unfair: it starves", out)
        self.assertIn("also: interlock_other 1.00 ns, floor_other 2.00 ns, unfair 3.00 ns", out)

    def test_a_peer_that_is_not_comparable_is_shown_only(self):
        self.rows(ROW.replace('"< 1 x best"', '"< 1 x best", "wait <= 9"') + 'comparable = ["wait <= 2 x interlock", "share >= 0.1"]\n')
        self.program(entries_of("op/interlock", [10] * 9, wait=5, share=0.01) + entries_of("op/floor", [9] * 9) +
                     entries_of("op/waits", [3] * 9, wait=11, share=1) + entries_of("op/starves", [4] * 9, wait=10, share=0.09) +
                     entries_of("op/unknown", [5] * 9) + entries_of("op/good", [20] * 9, wait=10, share=0.1))
        result, out = self.result()
        self.assertEqual(result["rows"][0]["best"], "good")
        self.assertEqual([g["verdict"] for g in result["rows"][0]["goals"]], ["met", "met", "met"])
        self.assertIn("not compared: waits, unknown: not wait <= 2 x interlock", out)
        self.assertIn("not compared: starves: not share >= 0.1", out)
        self.rows(ROW + 'comparable = ["wait: 3"]\n')
        self.assertIn("cannot read the goal `wait: 3`", self.run_tool()[2])
        self.rows(ROW + 'comparable = ["wait <= 2 x nobody"]\n')
        self.assertIn("names nobody, which does not compete", "".join(self.run_tool("--check")[1:]))

    def test_competitor_that_cannot_run_is_told(self):
        self.program(entries_of("op/interlock", [10] * 9) + entries_of("op/floor", [10] * 9) +
                     entries_of("op/peer", [1] * 9, error_occurred=True, error_message="no device here"))
        result, out = self.result()
        self.assertIsNone(result["rows"][0]["best"])
        self.assertIn("peer: no device here", out)
        self.assertEqual([g["verdict"] for g in result["rows"][0]["goals"]], ["met", "unknown"])

    def test_row_in_two_programs(self):
        self.program(entries_of("op/interlock", [10] * 9))
        self.program(entries_of("op/peer", [20] * 9), name="bench_other")
        self.assertEqual(self.result()[0]["rows"][0]["ratio_best"], 0.5)

    def test_rows_of_a_group_stand_together(self):
        self.rows(ROW + ROW.replace('"op"', '"b"').replace('"G"', '"H"') + ROW.replace('"op"', '"c"'))
        self.assertEqual([r["name"] for r in bench.read_rows(self.folder / "rows.toml")], ["op", "c", "b"])

    # --- the verdicts ---

    def verdicts(self, ours, peer, floor):
        return [g["verdict"] for g in self.one_row(ours, peer, floor)["goals"]]

    def test_met_and_missed(self):
        self.assertEqual(self.verdicts([10] * 9, [11] * 9, [8] * 9), ["met", "met"])
        self.assertEqual(self.verdicts([10] * 9, [9] * 9, [7] * 9), ["missed", "missed"])

    def test_too_wide_to_carry_the_claim(self):
        wide = [6, 7, 8, 9, 10, 11, 12, 13, 14]
        self.assertEqual(self.verdicts(wide, [11] * 9, [9] * 9), ["met?", "met?"])
        self.assertEqual(self.verdicts(wide, [9] * 9, [7] * 9), ["missed?", "missed?"])
        out = self.run_tool()[1]
        self.assertIn("too wide: the spread does not carry the claim marked with ?", out)

    def test_the_others_spread_counts_too(self):
        wide = [6, 7, 8, 9, 10, 11, 12, 13, 14]
        self.assertEqual(self.verdicts([9] * 9, wide, [20] * 9), ["met", "met?"])

    def test_narrow_rows_do_not_say_wide(self):
        self.one_row([10] * 9, [20] * 9, [10] * 9)
        self.assertNotIn("too wide", self.run_tool()[1].replace("the spread is too wide to say", ""))

    def test_single_outlier_does_not_widen(self):
        self.assertEqual(bench.summary([10] * 8 + [1000]), {"median": 10, "low": 10, "high": 10})

    def test_interval_of_the_median(self):
        # 2 to 8 of nine: 96.1 %; 3 to 7 would be 82 %. Below six not even the extremes reach 95 %.
        self.assertEqual([bench.interval_rank(n) for n in (1, 5, 6, 8, 9, 12, 20)], [0, 0, 0, 0, 1, 2, 5])

    def goal(self, text, **counters):
        row = {"measure": "cpu"}
        samples = {"interlock": [{"cpu": 10, "q99": 2e6, "peak": 90, "limit": 100}] * 9, "peer": [{"cpu": 30, "q99": 1}] * 9}
        return bench.judge_goal(text, row, samples, "peer")["verdict"]

    def test_goals(self):
        self.assertEqual(self.goal("<= 0.4 x peer"), "met")
        self.assertEqual(self.goal("<= 0.3 x best"), "missed")
        self.assertEqual(self.goal("q99 <= 2 ms"), "met")
        self.assertEqual(self.goal("q99 < 2 ms"), "missed")
        self.assertEqual(self.goal("q99 <= 1 s"), "met")
        self.assertEqual(self.goal("peak <= 1 x interlock:limit"), "met")
        self.assertEqual(self.goal("peak >= 1 x interlock:limit"), "missed")
        self.assertEqual(self.goal("peak >= 90"), "met")
        self.assertEqual(self.goal("nothing <= 1"), "unknown")
        self.assertEqual(self.goal("<= 1 x nobody"), "unknown")

    # --- what is written ---

    def test_table(self):
        self.rows(ROW + 'show = ["q99 ns", "switches"]\n')
        self.program(entries_of("op/interlock", [10] * 9, q99=3e6, switches=4) + entries_of("op/peer", [25] * 9, q99=7) +
                     entries_of("op/floor", [8] * 9))
        code, out, _ = self.run_tool()
        self.assertEqual(code, 0)
        self.assertRegex(out, r"the operation +10\.0 ns +25\.0 ns +peer +0\.40 +8\.00 ns +1\.25 +0 % +<= 1\.3 x floor: met; < 1 x best: met")
        self.assertIn("q99: interlock 3.00 ms, peer 7.00 ns", out)
        self.assertIn("switches: interlock 4.00", out)
        self.assertIn("goals: 2 met\n", out)

    def test_missed_goals_do_not_fail_the_run(self):
        self.program(entries_of("op/interlock", [10] * 9) + entries_of("op/peer", [1] * 9) + entries_of("op/floor", [1] * 9))
        code, out, _ = self.run_tool()
        self.assertEqual(code, 0)
        self.assertIn("<= 1.3 x floor: MISSED", out)

    def test_numbers(self):
        self.assertEqual(bench.show_value(0.98765, "ns"), "0.988 ns")
        self.assertEqual(bench.show_value(1234, "ns"), "1.23 us")
        self.assertEqual(bench.show_value(3 * 2**20, "bytes"), "3.00 MiB")
        self.assertEqual(bench.show_value(1500, "/s"), "1.50 k/s")
        self.assertEqual(bench.show_value(0, "ns"), "0 ns")

    def page(self, text=ROW):
        quantiles = {f"q{q}": 100.0 + q for q in (1, 25, 50, 75, 90, 99)}
        self.rows(text)
        self.program(entries_of("op/interlock", [9, 10, 11] * 3, **quantiles) + entries_of("op/peer", [500] * 9, **quantiles) +
                     entries_of("op/floor", [9] * 9))
        path = self.folder / "page.html"
        self.assertEqual(self.run_tool("--html", str(path))[0], 0)
        return path.read_text()

    def test_page(self):
        text = self.page()
        drawings = re.findall(r"<svg.*?</svg>", text, re.S)
        self.assertEqual(len(drawings), 2, "bars and a distribution")
        for drawing in drawings:
            xml.etree.ElementTree.fromstring(drawing)
        self.assertEqual(drawings[0].count('class="dot"'), 27)
        self.assertEqual(drawings[0].count('class="whisker"'), 3)
        self.assertIn("prefers-color-scheme: dark", text)
        self.assertNotRegex(text, r"https?://|<script|<link|@import|url\(", "it is self-contained")
        self.assertIn("&lt;= 1.3 x floor: <span class=\"met\">met</span>", text)

    def test_page_escapes(self):
        text = self.page(ROW.replace("the operation", "a < b & c"))
        self.assertIn("a &lt; b &amp; c", text)
        self.assertNotIn("a < b", text)

    def test_from_saved_judges_anew(self):
        result, _ = (self.program(entries_of("op/interlock", [10] * 9) + entries_of("op/peer", [20] * 9) + entries_of("op/floor", [10] * 9)),
                     self.result())[1]
        self.assertEqual(result["rows"][0]["goals"][0]["verdict"], "met")
        self.rows(ROW.replace("1.3 x floor", "0.5 x floor"))
        (self.folder / "bench_op").unlink()
        code, out, _ = self.run_tool("--from", str(self.folder / "out.json"), "--markdown", str(self.folder / "t.md"))
        self.assertEqual(code, 0)
        self.assertIn("<= 0.5 x floor: MISSED", out)
        self.assertIn("| the operation | 10.0 ns | `peer` 20.0 ns | 0.50 | 10.0 ns | 1.00 | 0 % |", (self.folder / "t.md").read_text())

    def test_markdown_in_place(self):
        self.program(entries_of("op/interlock", [10] * 9))
        doc = self.folder / "doc.md"
        doc.write_text("before\n\n<!-- bench: begin -->\n\nold\n\n<!-- bench: end -->\n\nafter\n")
        for _ in range(2):
            self.assertEqual(self.run_tool("--markdown", str(doc))[0], 0)
        text = doc.read_text()
        self.assertTrue(text.startswith("before\n\n<!-- bench: begin -->\n\n**G**\n"), text)
        self.assertTrue(text.endswith(".\n\n<!-- bench: end -->\n\nafter\n"), text)
        self.assertNotIn("old", text)
        self.assertEqual(text.count("the operation"), 1)

    def test_repetitions_and_filter_reach_the_program(self):
        self.rows(ROW + ROW.replace('"op"', '"other"'))
        self.program(entries_of("op/interlock", [1]) + entries_of("other/interlock", [1]), repetitions="3")
        result, _ = self.result("--repetitions", "3", "--filter", "oth")
        self.assertEqual([r["name"] for r in result["rows"]], ["other"])

    # --- what goes wrong ---

    def test_a_file_without_the_place_of_the_table_is_left_as_it_is(self):
        doc = self.folder / "doc.md"
        doc.write_text("mine\n")
        self.program(entries_of("op/interlock", [1] * 9), extra="sys.exit(3)")  # it is not run: that is noticed before
        code, _, err = self.run_tool("--markdown", str(doc))
        self.assertEqual(code, 2)
        self.assertIn("left as it is", err)
        self.assertEqual(doc.read_text(), "mine\n")

    def test_what_cannot_be_written_is_noticed_before_anything_runs(self):
        self.program(entries_of("op/interlock", [1] * 9), extra="sys.exit(3)")
        for arguments in (["--json", str(self.folder / "no" / "x")], ["--html", str(self.folder)], ["--min-time", "0"], ["--min-time", "-1"],
                          ["--from", "x", "--long"]):
            self.assertEqual(self.run_tool(*arguments)[0], 2, arguments)

    def test_what_was_measured_is_told_when_it_is_interrupted(self):
        self.rows(ROW + ROW.replace('"op"', '"other"'))
        self.program(entries_of("op/interlock", [10] * 9) + entries_of("other/interlock", [1] * 9))
        whole = bench.run_row

        def interrupted(row, *rest):
            if row["name"] == "other":
                raise KeyboardInterrupt
            whole(row, *rest)

        bench.run_row = interrupted
        self.addCleanup(setattr, bench, "run_row", whole)
        path = self.folder / "out.json"
        code, out, _ = self.run_tool("--json", str(path))
        self.assertEqual(code, 130)
        self.assertIn("the operation", out)
        self.assertEqual([r["name"] for r in json.loads(path.read_text())["rows"]], ["op"])

    def wrong(self, message, *arguments):
        code, out, err = self.run_tool(*arguments)
        self.assertEqual(code, 2, out + err)
        self.assertRegex(err, message)

    def test_wrong_rows(self):
        self.program(entries_of("op/interlock", [1]))
        for text, message in (
            (ROW.replace('group = "G"\n', ""), "`group` is missing"), (ROW + 'colour = "red"\n', "`colour` is not a key"),
            (ROW + ROW, "row op is there twice"), (ROW.replace("<= 1.3 x floor", "fast"), "cannot read the goal `fast`"),
            (ROW + 'unit = "furlong"\n', "unit `furlong` is none of"), ("", r"has no \[\[row\]\]"), ("[[", "rows.toml: "),
        ):
            self.rows(text)
            self.wrong(message, "--list")

    def test_wrong_arguments(self):
        self.program(entries_of("op/interlock", [1]))
        self.wrong("no row is named so", "--filter", "nothing")
        self.wrong(r"--filter \(", "--filter", "(")
        self.wrong("--repetitions is at least 1", "--repetitions", "0")
        self.wrong(r"unknown argument --benchmark_filter=x; .*follows a program's name", "--benchmark_filter=x")
        self.wrong("was not written by --json", "--from", str(self.folder / "rows.toml"))
        self.wrong("there are no benchmark programs", "--programs", "/nonexistent")

    def failing(self, extra):
        self.rows(ROW + "timeout = 1\n" + ROW.replace('"op"', '"fine"'))
        self.program(entries_of("op/interlock", [1]) + entries_of("fine/interlock", [1]),
                     extra="import os, time\nif 'op' in options['benchmark_filter']: " + extra)
        code, out, _ = self.run_tool()
        self.assertEqual(code, 1)
        self.assertIn("the operation", out, "the other row is shown")
        return out

    def test_program_that_fails(self):
        self.assertIn("FAILED op (bench_op): ended with 3: ", self.failing("sys.exit(3)"))

    def test_program_that_is_killed(self):
        self.assertIn("FAILED op (bench_op): ended with SIGABRT", self.failing("os.abort()"))

    def test_program_that_hangs(self):
        self.assertIn("FAILED op (bench_op): took longer than 1 s", self.failing("time.sleep(600)"))

    def test_program_that_writes_no_json(self):
        self.assertIn("FAILED op (bench_op): did not write JSON", self.failing("print('oh'); sys.exit(0)"))

    def test_row_without_program(self):
        self.rows(ROW + ROW.replace('"op"', '"lost"'))
        self.program(entries_of("op/interlock", [1]))
        code, out, _ = self.run_tool()
        self.assertEqual(code, 1)
        self.assertIn("FAILED lost: no program has it", out)

    def test_check(self):
        self.program(entries_of("op/interlock", [1]) + entries_of("op/floor", [1]) + entries_of("op/peer", [1]))
        self.assertEqual(self.run_tool("--check")[:2], (0, ""))
        self.rows(ROW.replace("1.3 x floor", "1.3 x nobody") + 'beside = {ghost = "why"}\n' + ROW.replace('"op"', '"lost"'))
        self.program(entries_of("op/interlock", [1]) + entries_of("op/floor", [1]) + entries_of("stray/peer", [1]))
        code, out, _ = self.run_tool("--check")
        self.assertEqual(code, 1)
        for problem in ("bench_op has benchmarks of stray, which is not in the table", "the goal `<= 1.3 x nobody` names nobody",
                        "`beside` names ghost", "lost: no program has benchmarks lost/"):
            self.assertIn(problem, out)
        self.program(entries_of("op/floor", [1]))
        self.rows(ROW)
        out = self.run_tool("--check")[1]
        self.assertIn("there is no op/interlock", out)
        self.assertIn("nothing to compare with", out)

    def test_the_table_of_rows_of_the_tree(self):
        rows = bench.read_rows(ROOT / "bench" / "rows.toml")
        self.assertGreater(len(rows), 10)
        for row in rows:
            self.assertTrue(row["title"] and row.get("note"), f"{row['name']} says how it is measured")


if __name__ == "__main__":
    os.environ.pop("INTERLOCK_BENCH_LONG", None)
    unittest.main()
