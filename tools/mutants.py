#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Breaks one line of the library at a time, and sees whether the explorations of it notice.

  ./dev mutants              all mutants: builds the model tests that are concerned, runs them, prints a table
  ./dev mutants NAME...      those named, or given as files
  ./dev mutants --quick      those marked quick, as CI does
  ./dev mutants --native     instead: that the native unit tests pass on each, without which it does not count
  ./dev mutants --list       what each breaks
  ./dev mutants --oracle     instead: the breakages of tests/oracle, see below; NAME..., --quick, --list and --record too

Further options:
  --record      write what was found into the headers of the mutants
  --jobs N      compilers at once (INTERLOCK_JOBS, else all CPUs)
  --budget S    seconds that one test program may take on one mutant (240)
  --scratch D   the folder of the scratch copy (build/mutants), kept so that the next run builds little

A mutant is a file of tests/mutants: a header of `key: value` lines, an empty line, and a patch that takes out, puts
in, changes or moves one line of src or include. It is applied to a copy of the tree, never to the tree itself.

  breaks    what the line did         property  what holds no more
  class     order, context, recheck, wake, lifetime, grace, refcount, fence
  model     the model tests that are concerned, without `library_`        unit  the unit tests that are
  expect    found or missed           by    the exploration that finds it: run first, and alone if it does
  why       why it is missed          quick a part of --quick             native  passed: as --native found

A file of tests/oracle takes away a whole rule: of the library (synchronize_rcu is empty, interrupt masks are ignored),
and then each test that rests on it has to fail; or of the machine (a check is gone), and then the tests of that check have to.

  breaks    what is gone              side     library, or machine
  fails     program: filters, and so on with ` | ` between: each test that they name has to fail
  but       tests among them that need not                                quick  a part of --oracle --quick
  why       why those of `but` pass; without `fails`: why nothing finds it

With --record what passed is put into `but`, and `why` waits to be written.

Exit status: 0 if all is as recorded; 1 if a mutant that is recorded as found is missed, or the other way round, or
(--native) a unit test fails, or (--oracle) a test passes that has to fail; 2 for a mutant that does not apply or does not
compile, and for wrong arguments.
"""
import argparse
import fcntl
import json
import os
import pathlib
import re
import shutil
import signal
import subprocess
import sys
import time

ROOT = pathlib.Path(__file__).resolve().parent.parent
FOLDER = ROOT / "tests" / "mutants"
ORACLE = ROOT / "tests" / "oracle"
CLASSES = ("order", "context", "recheck", "wake", "lifetime", "grace", "refcount", "fence")
KEYS = ("breaks", "property", "class", "model", "unit", "expect", "by", "why", "quick", "native")
NEEDED = ("breaks", "property", "class", "model", "unit", "expect")
MINE = ("src/", "include/interlock/")
ORACLE_KEYS = ("breaks", "side", "fails", "but", "why", "quick")
ORACLE_NEEDED = ("breaks", "side")
SIDES = {"library": MINE, "machine": ("platforms/model/",)}


class Wrong(Exception):
    """A mutant or an argument that cannot be used."""


def say(text):
    print(f"mutants: {text}", file=sys.stderr, flush=True)


class Breakage:
    """A patch with a header."""

    def __init__(self, path, keys, needed):
        self.path = path
        self.name = path.stem
        self.keys = keys
        header, found, self.patch = path.read_text().partition("\n\n")
        self.header = {}
        for line in header.split("\n"):
            key, colon, value = line.partition(": ")
            if not colon or key not in keys or key in self.header:
                raise Wrong(f"{path.name}: the header line '{line}' is not one `key: value` of {', '.join(keys)}")
            self.header[key] = value.strip()
        missing = [key for key in needed if key not in self.header]
        if missing or not found:
            raise Wrong(f"{path.name}: the header lacks {', '.join(missing) or 'the empty line at its end'}")

    def __getitem__(self, key):
        return self.header.get(key, "")

    def write(self):
        lines = [f"{key}: {self.header[key]}" for key in self.keys if self.header.get(key)]
        self.path.write_text("\n".join(lines) + "\n\n" + self.patch)

    def apply(self):
        """The file's text with the mutant in it. Lines are found by what they say, not by their number."""
        path = ROOT / self.file
        text = path.read_text() if path.is_file() else ""
        for old, new in self.hunks:
            if ("\n" + text).count("\n" + old) != 1:
                raise Wrong(f"{self.path.name} does not apply to {self.file} any more: write it anew, or take it out")
            text = ("\n" + text).replace("\n" + old, "\n" + new)[1:]
        return text


class Mutant(Breakage):
    """One line of the library."""

    def __init__(self, path):
        super().__init__(path, KEYS, NEEDED)
        if self["class"] not in CLASSES:
            raise Wrong(f"{path.name}: the class is one of {', '.join(CLASSES)}")
        if self["expect"] not in ("found", "missed") or (self["expect"] == "missed") != ("why" in self.header):
            raise Wrong(f"{path.name}: `expect` is found, or missed with a line `why`")
        self.file, self.hunks = parse_patch(path.name, self.patch, MINE)
        changed = [line[0] for line in self.patch.split("\n")[2:] if line[:1] in ("-", "+")]
        if changed.count("-") > 1 or changed.count("+") > 1:
            raise Wrong(f"{path.name}: a mutant takes out one line at most, and puts in one at most")


class Rule(Breakage):
    """A rule of the library, or a check of the machine, that is taken away."""

    def __init__(self, path):
        super().__init__(path, ORACLE_KEYS, ORACLE_NEEDED)
        if self["side"] not in SIDES:
            raise Wrong(f"{path.name}: the side is one of {', '.join(SIDES)}")
        self.programs = {}
        for part in self["fails"].split(" | ") if self["fails"] else ():
            program, colon, filters = part.partition(": ")
            if not colon:
                raise Wrong(f"{path.name}: '{part}' of `fails` is not one `program: filters`")
            self.programs["model_" + program] = filters.split()
        self.but = self["but"].split()
        if (bool(self.but) or not self.programs) != ("why" in self.header):
            raise Wrong(f"{path.name}: a line `why` comes with `but`, and with no `fails`")
        self.file, self.hunks = parse_patch(path.name, self.patch, SIDES[self["side"]])

    def filter_of(self, program):
        return ":".join(self.programs[program])


def parse_patch(name, patch, mine):
    """The file, and per hunk what stands there and what is to stand there."""
    lines = patch.rstrip("\n").split("\n")
    file = lines[1][len("+++ b/"):] if len(lines) > 1 and lines[1].startswith("+++ b/") else ""
    if not file.startswith(mine):
        raise Wrong(f"{name}: the patch is of no file of {' or '.join(mine)}")
    hunks = []
    for line in lines[2:]:
        if line.startswith("@@"):
            hunks.append(([], []))
            continue
        if not hunks or line[:1] not in (" ", "-", "+"):
            raise Wrong(f"{name}: '{line}' is no line of a unified diff")
        if line[0] in " -":
            hunks[-1][0].append(line[1:])
        if line[0] in " +":
            hunks[-1][1].append(line[1:])
    if not any(line[0] in "-+" for line in lines[2:]):
        raise Wrong(f"{name}: the patch changes nothing")
    return file, [("\n".join(old) + "\n", "\n".join(new) + "\n") for old, new in hunks]


def load(names, folder, kind):
    known = {path.stem: path for path in sorted(folder.glob("*.patch"))}
    chosen = []
    for name in names or known:
        stem = pathlib.Path(name).name.removesuffix(".patch")
        if stem not in known:
            raise Wrong(f"no file of {folder.relative_to(ROOT)} is named '{name}': see --list")
        chosen.append(kind(known[stem]))
    return chosen


class Scratch:
    """A copy of the tree in which mutants are built. What is the same keeps its time, so that little is built."""

    def __init__(self, folder, jobs):
        self.tree = folder / "tree"
        self.build = self.tree / "build" / "dev"
        self.pristine = folder / "pristine"
        self.jobs = jobs
        self.broken = None
        self.lock = None

    def sync(self):
        self.tree.mkdir(parents=True, exist_ok=True)
        self.lock = open(self.tree.parent / "lock", "w", encoding="utf-8")  # held until the end
        try:
            fcntl.flock(self.lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            raise Wrong(f"another run uses {self.tree.parent}: wait for it, or take another --scratch") from None
        wanted = set()
        for top in sorted(ROOT.iterdir()):
            if top.name in ("build", ".git"):
                continue
            for path in [top] if top.is_file() else [p for p in top.rglob("*") if p.is_file()]:
                relative = path.relative_to(ROOT)
                wanted.add(relative)
                copy = self.tree / relative
                if copy.exists() and copy.read_bytes() == path.read_bytes():
                    continue
                copy.parent.mkdir(parents=True, exist_ok=True)
                shutil.copyfile(path, copy)
                shutil.copymode(path, copy)
        for path in [p for p in self.tree.rglob("*") if p.is_file()]:
            relative = path.relative_to(self.tree)
            if relative.parts[0] != "build" and relative not in wanted:
                path.unlink()

    def configure(self):
        run(["cmake", "--preset", "dev", "-DINTERLOCK_WERROR=OFF"], self.tree, "configuring the scratch copy")

    def make(self, targets):
        run(["cmake", "--build", str(self.build), "--parallel", str(self.jobs), "--target", *targets], self.tree,
            "building " + ", ".join(targets))

    def keep(self, programs):
        """The programs without a mutant, to see that a test which fails with one passes without."""
        self.pristine.mkdir(exist_ok=True)
        for program in programs:
            shutil.copy2(self.build / "tests" / program, self.pristine / program)

    def break_with(self, mutant):
        path = self.tree / mutant.file
        path.write_text(mutant.apply())
        self.broken = mutant.file

    def mend(self):
        if self.broken is not None:
            shutil.copyfile(ROOT / self.broken, self.tree / self.broken)
            self.broken = None


def run(command, folder, what):
    with subprocess.Popen(command, cwd=folder, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
                          errors="replace", start_new_session=True) as child:
        try:
            output, _ = child.communicate()
        except BaseException:
            os.killpg(child.pid, signal.SIGKILL)  # compilers too
            raise
    if child.returncode != 0:
        raise Wrong(f"{what} failed:\n{output[-4000:]}")


def run_tests(program, filters, budget, scratch, log=None, options=("--gtest_fail_fast",)):
    """Runs a GoogleTest program up to its first failure: 'passed', 'failed' or 'budget', the test, what it wrote."""
    environment = dict(os.environ, INTERLOCK_EXPLORE_PROGRESS="0")
    for key in [k for k in environment if k.startswith("INTERLOCK_EXPLORE") and not k.endswith("_PROGRESS")]:
        del environment[key]
    if log is not None:
        log.unlink(missing_ok=True)
        environment["INTERLOCK_EXPLORE_LOG"] = str(log)
    command = [str(program), *options, "--gtest_brief=0", f"--gtest_filter={filters}"]
    with subprocess.Popen(command, cwd=scratch, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
                          text=True, errors="replace", start_new_session=True) as child:
        try:
            output, _ = child.communicate(timeout=budget)
            end = "passed" if child.returncode == 0 else "failed"
        except subprocess.TimeoutExpired:
            os.killpg(child.pid, signal.SIGKILL)
            output, _ = child.communicate()
            end = "budget"
        except BaseException:
            os.killpg(child.pid, signal.SIGKILL)
            raise
    started = re.findall(r"^\[ RUN      \] (\S+)", output, re.M)
    failed = re.findall(r"^\[  FAILED  \] (\S+)", output, re.M)  # those after it are skipped
    if not started and end == "passed":
        raise Wrong(f"{program.name} has no test that {filters} names")
    return end, (failed or started[-1:] or [""])[0], output


class Explorer:
    """Looks for mutants with the model tests."""

    def __init__(self, scratch, budget):
        self.scratch = scratch
        self.budget = budget
        self.sound = {}

    def passes_unbroken(self, program, test):
        if test not in self.sound:
            end, _, output = run_tests(self.scratch.pristine / program, test, self.budget, self.scratch.build)
            self.sound[test] = end == "passed"
            if end != "passed":
                say(f"{test} fails without a mutant too, so it finds none:\n{output[-2000:]}")
        return self.sound[test]

    def look(self, mutant):
        """(result, test, executions, first line of the report)"""
        turns = [(program_of(word), "*" + (f"-{mutant['by']}" if mutant["by"] else ""))
                 for word in mutant["model"].split()]
        if mutant["by"]:
            turns.insert(0, (program_of(mutant["by"].split(".")[0]), mutant["by"]))
        log = self.scratch.build / "mutant.log"
        remark = ""
        for program, filters in turns:
            end, test, output = run_tests(self.scratch.build / "tests" / program, filters, self.budget,
                                          self.scratch.build, log)
            if end == "budget":
                remark = f"{test} was not over after {self.budget} s"
            if end != "failed":
                continue
            told = None
            for line in log.read_text().splitlines() if log.exists() else ():
                entry = json.loads(line)
                if not entry["passed"] and re.sub(r"#\d+$", "", entry["name"]) == test:
                    told = entry
            if told is None:  # not by the machine: an assertion of the host, or the program died
                remark = f"{test} failed without a report of the machine: {output.strip().splitlines()[-1]}"
                continue
            if self.passes_unbroken(program, test):
                return "found", test, told["executions"], told["failure"]
        return "missed", "", 0, remark


def program_of(word):
    return "model_" + (word if word.startswith("library_") else "library_" + word)


def explore(mutants, scratch, arguments):
    programs = sorted({program_of(word) for m in mutants for word in m["model"].split()})
    scratch.make(programs)
    scratch.keep(programs)
    explorer = Explorer(scratch, arguments.budget)
    wrong = broken = 0
    results = {"found": 0, "missed": 0}
    for mutant in mutants:
        began = time.monotonic()
        try:
            scratch.break_with(mutant)
            scratch.make(sorted({program_of(word) for word in mutant["model"].split()}))
            built = time.monotonic()
            result, test, executions, line = explorer.look(mutant)
        except Wrong as error:
            say(f"{mutant.name}: {error}")
            broken += 1
            continue
        finally:
            scratch.mend()
        results[result] += 1
        now = time.monotonic()
        count = f"{executions} executions" if result == "found" else ""
        print(f"{result:7}{mutant.name:34}{mutant['class']:9}{count:>17}  {now - built:5.1f} s (built in "
              f"{built - began:.0f} s)  {test}", flush=True)
        if line:
            print(f"       {line}", flush=True)
        if result == "missed" and mutant["why"]:
            print(f"       {mutant['why']}", flush=True)
        if arguments.record:
            mutant.header["expect"] = result
            mutant.header["by"] = test
            if result == "found":
                mutant.header.pop("why", None)
            else:
                mutant.header.setdefault("why", "not looked into")
            mutant.write()
        elif result != mutant["expect"]:
            wrong += 1
            say(f"{mutant.name} is recorded as {mutant['expect']}: " +
                ("something has become blind to it" if result == "missed" else "record it: --record"))
    print(f"{results['found']} found, {results['missed']} missed, of {len(mutants)}")
    return 2 if broken else 1 if wrong else 0


def outcomes(program, filters, budget, scratch):
    """By test: True if it passes. One that kills its program, or is not over in time, fails; the rest is run then."""
    known = {}
    while True:
        left = filters + ("-" + ":".join(known) if known else "")
        end, _, output = run_tests(program, left, budget, scratch, options=())
        started = re.findall(r"^\[ RUN      \] (\S+)", output, re.M)
        passed = set(re.findall(r"^\[       OK \] (\S+)", output, re.M))
        known.update({test: test in passed for test in started})
        if end == "passed" or re.search(r"^\[==========\] .* ran\.", output, re.M):
            return known


def prove(rules, scratch, arguments):
    """That each test which rests on a rule fails without it."""
    scratch.make(sorted({program for rule in rules for program in rule.programs}))
    tests = scratch.build / "tests"
    wanted = {(program, one) for rule in rules for program in rule.programs for one in rule.programs[program]}
    for program in sorted({program for program, _ in wanted}):  # what fails as it is shows nothing
        filters = ":".join(sorted(one for p, one in wanted if p == program))
        failing = [test for test, passes in outcomes(tests / program, filters, arguments.budget, scratch.build).items()
                   if not passes]
        if failing:
            raise Wrong(f"{', '.join(failing)} of {program} fails without a breakage too: see ./dev test")
    wrong = broken = 0
    count = 0
    for rule in rules:
        began = time.monotonic()
        try:
            if not rule.programs:
                print(f"{'missed':9}{rule.name:38}{rule['side']:9}{rule['why']}", flush=True)
                continue
            scratch.break_with(rule)
            scratch.make(sorted(rule.programs))
            built = time.monotonic()
            passes = {}
            for program in rule.programs:
                passes.update(outcomes(tests / program, rule.filter_of(program), arguments.budget, scratch.build))
        except Wrong as error:
            say(f"{rule.name}: {error}")
            broken += 1
            continue
        finally:
            scratch.mend()
        still = sorted(test for test, passed in passes.items() if passed)
        unexpected = [test for test in still if test not in rule.but]
        found = len(passes) - len(still)
        count += found
        now = time.monotonic()
        verdict = "PASSES" if unexpected else "fails"
        print(f"{verdict:9}{rule.name:38}{rule['side']:9}{found:3} of {len(passes):3} tests  {now - built:5.1f} s (built in "
              f"{built - began:.0f} s)", flush=True)
        for test in rule.but:
            if test not in still:
                say(f"{rule.name}: {test} fails by now: take it out of `but`")
                unexpected.append(test)
        for test in (t for t in unexpected if t in still):
            print(f"         {test} passes without the rule", flush=True)
        if arguments.record and unexpected:
            rule.header["but"] = " ".join(still)
            if still:
                rule.header.setdefault("why", "not looked into")
            else:
                rule.header.pop("but"), rule.header.pop("why", None)
            rule.write()
        elif unexpected:
            wrong += 1
    print(f"{len(rules)} rules, {count} failures of tests")
    return 2 if broken else 1 if wrong else 0


def check_native(mutants, scratch, arguments):
    """The unit tests of the area, without the model."""
    killed = broken = 0
    for mutant in mutants:
        programs = ["unit_" + word for word in mutant["unit"].split()]
        try:
            scratch.break_with(mutant)
            scratch.make(programs)
            verdict = "passed"
            for program in programs:
                end, test, output = run_tests(scratch.build / "tests" / program, "*", arguments.budget, scratch.build)
                if end == "passed":
                    continue
                # Once more, alone: a test of times may fail on a machine that is busy.
                again, _, output = run_tests(scratch.build / "tests" / program, test, arguments.budget, scratch.build)
                if again != "passed":
                    verdict = f"{end}: {program} {test}"
                    break
        except Wrong as error:
            say(f"{mutant.name}: {error}")
            broken += 1
            continue
        finally:
            scratch.mend()
        print(f"{mutant.name:34}{verdict}", flush=True)
        if verdict != "passed":
            killed += 1
        if arguments.record:
            mutant.header["native"] = verdict
            mutant.write()
    print(f"the unit tests pass on {len(mutants) - killed - broken} of {len(mutants)}; on the others they find it, so "
          "that these do not count")
    return 2 if broken else 1 if killed else 0


def main():
    parser = argparse.ArgumentParser(prog="./dev mutants", usage=argparse.SUPPRESS, add_help=False)
    parser.add_argument("names", nargs="*")
    parser.add_argument("-h", "--help", action="store_true")
    for flag in ("--quick", "--native", "--list", "--record", "--oracle"):
        parser.add_argument(flag, action="store_true")
    parser.add_argument("--jobs", type=int, default=int(os.environ.get("INTERLOCK_JOBS", 0)) or os.cpu_count())
    parser.add_argument("--budget", type=float, default=240)
    parser.add_argument("--scratch", type=pathlib.Path, default=ROOT / "build" / "mutants")
    arguments = parser.parse_args()
    if arguments.help:
        print(__doc__.strip())
        return 0
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # a break mends the copy too
    try:
        mutants = load(arguments.names, *((ORACLE, Rule) if arguments.oracle else (FOLDER, Mutant)))
        if arguments.quick:
            mutants = [m for m in mutants if m["quick"] == "yes"]
        for mutant in mutants:  # before anything is built
            mutant.apply()
        if arguments.list:
            for mutant in mutants:
                print(f"{mutant.name:34}{mutant['side'] or mutant['class']:9}{mutant['expect']:8}{mutant['breaks']}")
            return 0
        # A file that was mended is built once; headers, on which all depends, last.
        mutants.sort(key=lambda m: (m.file.startswith("include"), m.file, m.name))
        scratch = Scratch(arguments.scratch.resolve(), arguments.jobs)
        scratch.sync()
        scratch.configure()
        act = prove if arguments.oracle else check_native if arguments.native else explore
        return act(mutants, scratch, arguments)
    except Wrong as error:
        say(str(error))
        return 2
    except KeyboardInterrupt:
        say("interrupted; the tree was not touched")
        return 130


if __name__ == "__main__":
    sys.exit(main())
