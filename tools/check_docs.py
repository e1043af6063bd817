#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Compiles every C++ block of the documentation, and follows every relative link.

  tools/check_docs.py COMPILER [FLAG...]    e.g. g++ -Iinclude -Iplatforms/native/include

A block that defines main() is a program of its own. Any other block marked `cpp` is compiled after
`#include <interlock/interlock.hpp>` and `using namespace interlock;`: at namespace scope, or, if
the info string says `cpp body`, inside a function.
"""
import pathlib
import re
import subprocess
import sys
import tempfile

ROOT = pathlib.Path(__file__).resolve().parent.parent
PRELUDE = "#include <interlock/interlock.hpp>\nusing namespace interlock;\n"


def documents():
    for pattern in ("*.md", "docs/*.md", "examples/*.md", "platforms/*.md", "providers/*.md"):
        yield from sorted(ROOT.glob(pattern))


def blocks(path):
    """Yields (line, info, code) of fenced C++ blocks."""
    fence, info, start, lines = None, "", 0, []
    for number, line in enumerate(path.read_text().split("\n"), 1):
        match = re.match(r"\s*(```+)\s*(.*)$", line)
        if fence is None and match:
            fence, info, start, lines = match.group(1), match.group(2).strip(), number, []
        elif fence is not None and match and match.group(1) == fence and not match.group(2):
            if info.split() and info.split()[0] in ("cpp", "c++"):
                yield start, info, "\n".join(lines)
            fence = None
        elif fence is not None:
            lines.append(line)


def program(info, code, path, line):
    place = f'#line {line + 1} "{path.relative_to(ROOT)}"\n'
    if "body" in info.split():
        includes = "\n".join(l for l in code.split("\n") if l.startswith("#include"))
        rest = "\n".join("" if l.startswith("#include") else l for l in code.split("\n"))
        return (f"{PRELUDE}{includes}\n[[maybe_unused]] static void example() {{\n{place}{rest}\n}}\n")
    if re.search(r"\bint main\s*\(", code):
        return place + code
    return PRELUDE + place + code


def dead_links(path):
    text = re.sub(r"```.*?```", "", path.read_text(), flags=re.S)
    for target in re.findall(r"\[[^\]]*\]\(([^)#\s]+)", text):
        if not re.match(r"[a-z]+:", target) and not (path.parent / target).exists():
            yield f"{path.relative_to(ROOT)}: link to {target}, which is not there"


def main():
    if len(sys.argv) < 2:
        sys.exit(__doc__)
    failures, count = [], 0
    for path in documents():
        failures += dead_links(path)
        for line, info, code in blocks(path):
            count += 1
            with tempfile.NamedTemporaryFile("w", suffix=".cpp") as source:
                source.write(program(info, code, path, line))
                source.flush()
                run = subprocess.run([*sys.argv[1:], "-std=c++20", "-fsyntax-only", "-Wall",
                                      "-Wextra", source.name], capture_output=True, text=True)
            if run.returncode or run.stderr:
                failures.append(f"{path.relative_to(ROOT)}:{line}: block fails:\n{run.stderr}")
    for failure in failures:
        print(failure)
    print(f"{count} blocks compiled, {len(failures)} failures")
    return 1 if failures or count == 0 else 0


if __name__ == "__main__":
    sys.exit(main())
