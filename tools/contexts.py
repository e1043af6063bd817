#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""docs/contexts.md: every public function by allowed context, made from the headers and checked.

  tools/contexts.py            prints the table
  tools/contexts.py --write    puts it into docs/contexts.md, between the two marks
  tools/contexts.py --check    fails if that file is stale, a public function states no context, or one
                               that may sleep has no entry in tests/unit/sleeping_functions_test.cpp

A function states its context in its own comment ("Context: any but NMI."), in the one of the
declaration that stands on the line before it, or in the head comment of its class or file.
Reads the headers through libclang (package python3-clang-14).
"""
import argparse
import pathlib
import re
import sys

import clang.cindex
from clang.cindex import AccessSpecifier, CursorKind

ROOT = pathlib.Path(__file__).resolve().parent.parent
HEADERS = ROOT / "include" / "interlock"
DOCUMENT = ROOT / "docs" / "contexts.md"
SLEEPING = ROOT / "tests" / "unit" / "sleeping_functions_test.cpp"
BEGIN = "<!-- made by tools/contexts.py from the headers: do not edit -->"
END = "<!-- end of the table -->"

# The wordings that headers may begin with, longest first: what each means for task, softirq,
# hardirq and NMI.
WORDINGS = {
    "any, NMI included": "yyyy",
    "any, NMI excepted": "yyy-",
    "any but NMI": "yyy-",
    "task, softirq, hardirq": "yyy-",
    "task or softirq": "yy--",
    "static initialisation or task": "y---",
    "the owning task": "y---",
    "any": "yyyy",
    "task": "y---",
}

FUNCTIONS = (CursorKind.FUNCTION_DECL, CursorKind.CXX_METHOD, CursorKind.FUNCTION_TEMPLATE)
SCOPES = (CursorKind.NAMESPACE, CursorKind.LINKAGE_SPEC, CursorKind.UNEXPOSED_DECL)
CLASSES = (CursorKind.CLASS_DECL, CursorKind.STRUCT_DECL, CursorKind.CLASS_TEMPLATE)
LABEL = r"(?:Requires|Order|Errors|Lifetime|Pre|Post|Unit|Source|Layout|Returns|Ordering|Invariants)"


def plain(comment):
    """The text of a comment without its slashes; each line keeps its own line."""
    return "\n".join(line.strip().lstrip("/<").strip() for line in (comment or "").split("\n"))


def context_of(comment):
    """What follows "Context:", up to the next label or a blank line; or None."""
    match = re.search(rf"Context:\s*(.*?)(?=\s{LABEL}:|\n\n|\Z)", plain(comment), re.S)
    return re.sub(r"\s+", " ", match.group(1)).strip() if match else None


def file_head(path):
    """The first comment of a header."""
    lines = []
    for line in path.read_text().split("\n"):
        if line.startswith("///"):
            lines.append(line)
        elif lines:
            break
    return "\n".join(lines)


class Reader:
    """Walks one header's declarations."""

    def __init__(self, path):
        self.path = path
        self.whole = context_of(file_head(path))
        self.functions = {}  # full name -> {context: None}, in order of appearance
        self.missing = []
        self.previous = (0, None)

    def walk(self, cursor, names, inherited):
        for child in cursor.get_children():
            if child.location.file is None or child.location.file.name != str(self.path):
                continue
            if child.kind in SCOPES:
                if child.spelling not in ("detail", "event"):
                    self.walk(child, names, inherited)
            elif child.kind in CLASSES and child.is_definition():
                if child.spelling != "guard" and self.public(child):
                    own = context_of(child.raw_comment) or inherited
                    self.walk(child, names + [child.spelling], own)
            elif child.kind in FUNCTIONS and self.public(child):
                self.function(child, names, inherited)

    @staticmethod
    def public(cursor):
        return cursor.access_specifier not in (AccessSpecifier.PRIVATE, AccessSpecifier.PROTECTED)

    def function(self, cursor, names, inherited):
        if cursor.spelling.startswith(("operator", "<deduction guide", "test_only_")):
            return
        if not names and cursor.semantic_parent.kind in CLASSES:
            return  # a definition outside its class
        if cursor.spelling.split("<")[0] in names:
            return  # a constructor template
        context = context_of(cursor.raw_comment)
        start, end = cursor.extent.start.line, cursor.extent.end.line
        if context is None and start == self.previous[0] + 1 and cursor.raw_comment is None:
            context = self.previous[1]
        context = context or inherited or self.whole
        if context and context.lower().startswith("as above"):
            context = self.previous[1] or context
        self.previous = (end, context)
        full = "::".join(names + [cursor.spelling])
        if context is None:
            if full not in self.functions:
                self.missing.append(f"{self.path.relative_to(ROOT)}:{start}: {full}: no context")
            return
        self.functions.setdefault(full, {})[context] = None


def row(path, name, context, problems):
    for wording, allowed in WORDINGS.items():
        if re.match(re.escape(wording) + r"\b", context, re.I):
            rest = context[len(wording):].lstrip(" ,.;:")
            sleeps = "no"
            if re.search(r"\bmay sleep\b", rest):
                sleeps = "yes"
            elif re.search(r"\ba task may wait\b", rest):
                sleeps = "a task may"
            elif re.search(r"\bsleeps?\b", re.sub(r"\bnever sleeps?\b|must not sleep", "", rest, flags=re.I)):
                problems.append(f"{path.relative_to(ROOT)}: {name}: say 'may sleep', 'a task may wait' or "
                                f"'never sleeps': {context!r}")
            rest = re.sub(r"\b(may sleep|a task may wait|never sleeps)\b[.,;:]*\s*", "", rest,
                          flags=re.I).strip()
            cells = " | ".join("yes" if a == "y" else "no" for a in allowed)
            return f"| `{name}` | {cells} | {sleeps} | {rest} |"
    problems.append(f"{path.relative_to(ROOT)}: {name}: wording not known: {context!r}")
    return None


def table():
    paths = [path for path in sorted(HEADERS.rglob("*.hpp"))
             # What explores is no part of what is explored: it has no contexts.
             if "detail" not in path.parts and "model" not in path.parts
             and path.name not in ("interlock.hpp", "fwd.hpp")]
    arguments = ["-std=c++20", f"-I{ROOT / 'include'}", f"-I{ROOT / 'platforms/native/include'}"]
    everything = "".join(f'#include "{path}"\n' for path in paths)
    unit = clang.cindex.Index.create().parse("all.cpp", arguments, [("all.cpp", everything)])
    problems = [str(d) for d in unit.diagnostics if d.severity >= clang.cindex.Diagnostic.Error]
    lines = []
    for path in paths:
        reader = Reader(path)
        reader.walk(unit.cursor, [], None)
        problems += reader.missing
        rows = [row(path, name, context, problems)
                for name, contexts in reader.functions.items() for context in contexts]
        if any(rows):
            lines += [f"### {path.relative_to(HEADERS).as_posix()}", "",
                      "| function | task | softirq | hardirq | NMI | sleeps | conditions |",
                      "|---|---|---|---|---|---|---|", *filter(None, rows), ""]
    return "\n".join(lines), problems


def untested_sleepers(text):
    """The functions of the table that may sleep, without an entry in the test."""
    tested = set(re.findall(r'^    \{"([\w:]+)",', SLEEPING.read_text(), re.M))
    sleepers = re.findall(r"^\| `([^`]+)` \|(?: \w+ \|){4} yes \|", text, re.M)
    return [f"{name}: may sleep, and has no entry in {SLEEPING.relative_to(ROOT)}"
            for name in sleepers if name not in tested]


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--write", action="store_true")
    parser.add_argument("--check", action="store_true")
    options = parser.parse_args()
    text, problems = table()
    if options.write or options.check:
        document = DOCUMENT.read_text()
        if BEGIN not in document or END not in document:
            sys.exit(f"{DOCUMENT.name}: the marks are missing")
        fresh = (document.split(BEGIN)[0] + BEGIN + "\n\n" + text + "\n" + END +
                 document.split(END)[1])
        if options.write:
            DOCUMENT.write_text(fresh)
        elif fresh != document:
            problems.append("docs/contexts.md is stale: run tools/contexts.py --write")
        problems += untested_sleepers(text) if options.check else []
    else:
        print(text)
    for problem in problems:
        print(problem, file=sys.stderr)
    return 1 if problems else 0


if __name__ == "__main__":
    sys.exit(main())
