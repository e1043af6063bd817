#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Compiles every C++ block of the documentation, follows every relative link, and sees that the
examples are short.

  tools/check_docs.py COMPILER [FLAG...]    e.g. g++ -Iinclude -Iplatforms/native/include

A block that defines main() is a program of its own. Any other block marked `cpp` is compiled after
`#include <interlock/interlock.hpp>` and `using namespace interlock;`: at namespace scope, or, if
the info string says `cpp body`, inside a function. What includes interlock/model/ is compiled for
the model platform.

A block marked `diff` is one of tests/model/fixtures/, which are applied and explored.

Each program in examples/ has a page beside it, a row in examples/README.md, and a page's worth of
lines; and the wrapper that examples/wrap_cqe.cpp shows (from `// --- the wrapper` to the next
`// ---`) has less than 40.
"""
import pathlib
import re
import subprocess
import sys
import tempfile

ROOT = pathlib.Path(__file__).resolve().parent.parent
EXAMPLE_LINES = 120
WRAPPER_LINES = 39
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


def bad_examples():
    index = (ROOT / "examples/README.md").read_text()
    rows = re.findall(r"^\| \[(\w+)\]\((\w+)\.md\) \|", index, re.M)
    names = set()
    for source in sorted(ROOT.glob("examples/*.cpp")):
        name = source.stem
        names.add(name)
        where = f"examples/{source.name}"
        if not source.with_suffix(".md").exists():
            yield f"{where}: has no page {name}.md"
        if (name, name) not in rows:
            yield f"{where}: has no row in examples/README.md"
        lines = len(source.read_text().splitlines())
        if lines > EXAMPLE_LINES:
            yield f"{where}: {lines} lines; a page is {EXAMPLE_LINES}"
    for name, target in rows:
        if name not in names or target != name:
            yield f"examples/README.md: the row of {name} leads to {target}, and there is no such program"
    text = (ROOT / "examples/wrap_cqe.cpp").read_text()
    wrapper = re.search(r"^// --- the wrapper\b[^\n]*\n(.*?)^// --- ", text, re.S | re.M)
    lines = len(wrapper.group(1).strip().splitlines()) if wrapper else 0
    if not 0 < lines <= WRAPPER_LINES:
        yield f"examples/wrap_cqe.cpp: the wrapper has {lines} lines, not 1 to {WRAPPER_LINES}"


def untested_diffs(path):
    known = {d.read_text() for d in ROOT.glob("tests/model/fixtures/*/*.diff")}
    for block in re.findall(r"^```diff\n(.*?)^```$", path.read_text(), re.M | re.S):
        if block not in known:
            yield f"{path.relative_to(ROOT)}: a diff that is none of tests/model/fixtures: {block.splitlines()[:4]}"


def main():
    if len(sys.argv) < 2:
        sys.exit(__doc__)
    failures, count = list(bad_examples()), 0
    for path in documents():
        failures += dead_links(path)
        failures += untested_diffs(path)
        for line, info, code in blocks(path):
            count += 1
            with tempfile.NamedTemporaryFile("w", suffix=".cpp") as source:
                source.write(program(info, code, path, line))
                source.flush()
                flags = [f.replace("platforms/native/", "platforms/model/")
                         if "interlock/model/" in code else f for f in sys.argv[1:]]
                run = subprocess.run([*flags, "-std=c++20", "-fsyntax-only", "-Wall",
                                      "-Wextra", source.name], capture_output=True, text=True)
            if run.returncode or run.stderr:
                failures.append(f"{path.relative_to(ROOT)}:{line}: block fails:\n{run.stderr}")
    for failure in failures:
        print(failure)
    print(f"{count} blocks compiled, {len(failures)} failures")
    return 1 if failures or count == 0 else 0


if __name__ == "__main__":
    sys.exit(main())
