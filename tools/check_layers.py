#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Checks the rules of the source tree that a compiler does not.

  check_layers.py [ROOT]        checks the tree, one line per breach, exit status 1 if there is any
  check_layers.py --self-test   proves that each rule refuses a breach of it

Rules:
  layer    a file includes only its own layer and what stands to the left of it in layers.txt
  machine  a simulated machine (platforms/*/machine) includes base, itself and machine.h, which is C, and no more
  listed   every public header is in layers.txt, every entry of layers.txt exists, basenames are unique
  private  cli, examples, bench and conformance use public headers only; providers do not include each other
  os       operating system headers stand in platforms, providers, cli, tests, examples and bench only
  vendor   a vendor's header stands in its own provider; in bench it is the peer, in examples what a user has
  heavy    public headers and the core stay clear of <iostream>, <functional>, <thread>, <mutex> and their like;
           an adapter to such a header bears its name (stop_token.hpp)
  if       no preprocessor conditional in include/interlock and src, except those in preprocessor_allowlist.txt
  tls      no thread_local in the core: the platform owns what belongs to a thread
  syscall  no system call and no assembly in the core
  once     a header starts with #pragma once
  spdx     one licence line per file, at its top
"""

import os
import pathlib
import re
import sys
import tempfile

SPDX = "SPDX-License-Identifier: Apache-2.0"
TOP_FOLDERS = ("cli", "tests", "examples", "bench")
CODE_FOLDERS = ("include", "src", "platforms", "providers") + TOP_FOLDERS
CODE_SUFFIXES = (".hpp", ".h", ".cpp", ".c")
SCRIPT_SUFFIXES = (".cmake", ".py", ".sh")
SCRIPT_NAMES = ("CMakeLists.txt", "dev", "run")

OS_HEADERS = set(
    """aio.h alloca.h csignal dirent.h dlfcn.h elf.h err.h execinfo.h fcntl.h features.h glob.h grp.h link.h
    malloc.h mqueue.h netdb.h poll.h pthread.h pwd.h sched.h semaphore.h setjmp.h signal.h spawn.h strings.h
    syslog.h termios.h threads.h ucontext.h unistd.h utime.h""".split()
)
OS_FOLDERS = ("sys/", "linux/", "asm/", "asm-generic/", "bits/", "gnu/", "net/", "netinet/", "arpa/", "rdma/")
VENDOR_HEADERS = {
    "liburing.h": "uring",
    "liburing/": "uring",
    "vulkan/": "vulkan",
    "cuda": "cuda",
    "hip/": "hip",
    "level_zero/": "level_zero",
}
HEAVY_HEADERS = set(
    """barrier condition_variable fstream functional future iostream latch mutex regex semaphore shared_mutex
    sstream stop_token thread""".split()
)

INCLUDE = re.compile(r'^[ \t]*#[ \t]*include[ \t]*([<"])([^>"]+)[>"]', re.M)
CONDITIONAL = re.compile(r"^[ \t]*#[ \t]*(if|ifdef|ifndef|elif|elifdef|elifndef)\b", re.M)
OPENING_CONDITIONAL = re.compile(r"^[ \t]*#[ \t]*(if|ifdef|ifndef)\b", re.M)
# Comments, string literals and character literals; a digit separator does not open a character literal.
NOT_CODE = re.compile(
    r"""//[^\n]*|/\*.*?\*/|R"(?P<tag>[^()\s\\]*)\(.*?\)(?P=tag)"|"(?:\\.|[^"\\\n])*"|(?<![0-9A-Fa-f])'(?:\\.|[^'\\\n])+'""",
    re.S,
)
COMMENT = re.compile(r"//[^\n]*|/\*.*?\*/", re.S)


def blank(match):
    return "\n" * match.group(0).count("\n") or " "


def line_of(text, position):
    return text.count("\n", 0, position) + 1


class Tree:
    def __init__(self, root):
        self.root = pathlib.Path(root)
        self.breaches = []
        self.rank = {}
        self.headers = {}
        self.folders = {}
        self.allowed = {}
        self.read_layers()
        self.read_allowlist()

    def breach(self, rule, path, line, text):
        self.breaches.append(f"{path}:{line}: [{rule}] {text}")

    def settings(self, name):
        path = self.root / "tools" / name
        if not path.exists():
            return
        for number, line in enumerate(path.read_text().splitlines(), 1):
            if line.strip() and not line.startswith("#"):
                yield f"tools/{name}", number, line.split()

    def read_layers(self):
        for path, number, words in self.settings("layers.txt"):
            if words[0] == "order":
                for rank, names in enumerate(words[1:]):
                    for name in names.split("|"):
                        self.rank[name] = rank
            elif len(words) != 2 or words[1] not in self.rank:
                self.breach("listed", path, number, "expected: <header> <layer of the order>")
            elif words[0].endswith("/*"):
                self.folders[words[0][:-1]] = words[1]
            elif words[0] in self.headers:
                self.breach("listed", path, number, f"{words[0]} is listed twice")
            else:
                self.headers[words[0]] = (words[1], path, number)

    def read_allowlist(self):
        for path, number, words in self.settings("preprocessor_allowlist.txt"):
            if len(words) < 3 or not words[1].isdigit():
                self.breach("if", path, number, "expected: <file> <count> <reason>")
            elif not (self.root / words[0]).exists():
                self.breach("if", path, number, f"{words[0]} does not exist")
            else:
                self.allowed[words[0]] = (int(words[1]), path, number)

    def files(self):
        for folder, names, files in os.walk(self.root):
            here = pathlib.Path(folder)
            if here == self.root:
                names[:] = [n for n in names if n not in (".git", "build") and not n.startswith(".cache")]
            names[:] = sorted(n for n in names if n != "__pycache__")
            for name in sorted(files):
                yield (here / name).relative_to(self.root).as_posix()

    def public_layer(self, name):
        """The layer of include/interlock/<name>, or None."""
        if name == "interlock.hpp":
            return "umbrella"
        for key in (name, name.rsplit("/", 1)[-1]):
            if key in self.headers:
                return self.headers[key][0]
        for folder, layer in self.folders.items():
            if name.startswith(folder):
                return layer
        return None

    def layer(self, path):
        part = path.split("/")
        if path.startswith("include/interlock/"):
            return self.public_layer(path[len("include/interlock/"):])
        if part[0] == "platforms":
            return "platform"
        if part[0] == "src":
            return part[1] if len(part) > 2 else None
        if part[0] in ("providers",) + TOP_FOLDERS:
            return part[0]
        return None

    def resolve(self, path, name):
        """The file that an include of `name` in `path` means; None where it is outside of the tree."""
        here = path.rsplit("/", 1)[0]
        places = [here, "include", "src", "tests"]
        part = path.split("/")
        if part[0] in ("platforms", "providers"):
            places += ["/".join(part[:2] + [sub]) for sub in ("include", "src")]
        for parent in ("platforms", "providers"):
            if (self.root / parent).is_dir():
                places += [f"{parent}/{n}/include" for n in sorted(os.listdir(self.root / parent))]
        places += ["providers", "."]
        for place in places:
            candidate = os.path.normpath(f"{place}/{name}")
            if (self.root / candidate).is_file():
                return candidate
        if name.startswith("interlock_platform/"):
            return f"platforms/any/include/{name}"
        return None

    def check_include(self, path, line, name):
        part = path.split("/")
        core = part[0] == "src" or path.startswith("include/interlock/")
        target = self.resolve(path, name)
        if target is None:
            if name.startswith("interlock/"):
                self.breach("layer", path, line, f"{name} does not exist")
            if core and (name in OS_HEADERS or name.startswith(OS_FOLDERS)):
                self.breach("os", path, line, f"<{name}> belongs behind the platform contract")
            if core and name in HEAVY_HEADERS and path != f"include/interlock/{name}.hpp":
                self.breach("heavy", path, line, f"<{name}> is kept out of the core")
            for vendor, provider in VENDOR_HEADERS.items():
                if name.startswith(vendor) and part[:2] != ["providers", provider] and part[0] not in ("bench", "examples"):
                    self.breach("vendor", path, line, f"<{name}> belongs into providers/{provider}")
            return
        if part[0] == "platforms" and part[2] == "machine":
            own = target.startswith("/".join(part[:3]) + "/") or target.endswith("/interlock_platform/machine.h")
            if not own and self.layer(target) != "base":
                self.breach("machine", path, line, f"{name} is of what the machine judges")
        elif re.match(r"platforms/[^/]+/machine/", target) and not target.endswith("/shared_exploration.hpp"):
            self.breach("machine", path, line, f"{name} is within the machine, behind machine.h")
        mine, theirs = self.layer(path), self.layer(target)
        if mine in self.rank and theirs in self.rank:
            if self.rank[theirs] > self.rank[mine]:
                self.breach("layer", path, line, f"{mine} includes {name}, which is of {theirs}, to its right")
            elif self.rank[theirs] == self.rank[mine] and theirs != mine:
                self.breach("layer", path, line, f"{mine} includes {name}, which is of {theirs}, beside it")
        if part[0] in ("cli", "examples", "bench") or part[:2] == ["tests", "conformance"]:
            if target.startswith("src/") or "/src/" in target:
                self.breach("private", path, line, f"{name} is not public")
        if part[0] == "providers" and target.startswith("providers/"):
            if target.split("/")[1] != part[1]:
                self.breach("private", path, line, f"{name} is another provider's")

    def check_code(self, path, text):
        core = path.startswith(("src/", "include/interlock/"))
        uncommented = COMMENT.sub(blank, text)
        for match in INCLUDE.finditer(uncommented):
            self.check_include(path, line_of(uncommented, match.start()), match.group(2))
        if path.endswith((".hpp", ".h")):
            code = [line for line in uncommented.splitlines() if line.strip()]
            if not code or code[0].split() != ["#pragma", "once"]:
                self.breach("once", path, 1, "expected #pragma once before any other code")
        if not core:
            return
        code = NOT_CODE.sub(blank, text)
        allowed = self.allowed.get(path, (0, path, 1))[0]
        conditionals = list(OPENING_CONDITIONAL.finditer(code))
        if len(conditionals) > allowed:
            for match in list(CONDITIONAL.finditer(code))[allowed:]:
                self.breach("if", path, line_of(code, match.start()),
                            "a preprocessor conditional that preprocessor_allowlist.txt does not allow")
        elif len(conditionals) < allowed:
            _, where, number = self.allowed[path]
            self.breach("if", where, number, f"{path} holds {len(conditionals)} conditionals, not {allowed}")
        for match in re.finditer(r"\b(thread_local|__thread)\b", code):
            self.breach("tls", path, line_of(code, match.start()), f"{match.group(1)} belongs to the platform")
        for match in re.finditer(r"\b(syscall|vfork|fork|execv|ioctl|mmap|munmap|futex)\s*\(|\b(asm|__asm__|__asm)\b", code):
            self.breach("syscall", path, line_of(code, match.start()),
                        f"{match.group(0)} belongs behind the platform contract")

    def check_listed(self, paths):
        seen = {}
        public = set()
        for path in paths:
            if not path.startswith("include/interlock/") or not path.endswith((".hpp", ".h")):
                continue
            name = path[len("include/interlock/"):]
            base = name.rsplit("/", 1)[-1]
            public.update((name, base))
            if self.public_layer(name) is None:
                self.breach("listed", path, 1, "is not in tools/layers.txt")
            if base in seen:
                self.breach("listed", path, 1, f"has the basename of {seen[base]}")
            seen[base] = path
        for name, (_, where, number) in self.headers.items():
            if name not in public:
                self.breach("listed", where, number, f"{name} does not exist")

    def check_licence(self, path, text):
        name = path.rsplit("/", 1)[-1]
        if path.endswith(CODE_SUFFIXES):
            wanted = "// " + SPDX
        elif path.endswith(SCRIPT_SUFFIXES) or name in SCRIPT_NAMES:
            wanted = "# " + SPDX
        else:
            return
        lines = text.splitlines()
        at = 1 if lines and lines[0].startswith("#!") else 0
        if len(lines) <= at or lines[at] != wanted:
            self.breach("spdx", path, at + 1, f"expected: {wanted}")
        elif sum(line == wanted for line in lines) != 1:
            self.breach("spdx", path, at + 1, "more than one licence line")

    def check(self):
        paths = list(self.files())
        self.check_listed(paths)
        for path in paths:
            code = path.endswith(CODE_SUFFIXES) and path.split("/")[0] in CODE_FOLDERS
            name = path.rsplit("/", 1)[-1]
            if not (code or path.endswith(CODE_SUFFIXES + SCRIPT_SUFFIXES) or name in SCRIPT_NAMES):
                continue
            text = (self.root / path).read_text(errors="replace")
            self.check_licence(path, text)
            if code:
                self.check_code(path, text)
        return sorted(self.breaches)


# --- the self-test -----------------------------------------------------------------------------------------------

HEAD = "// " + SPDX + "\n"
HEADER = HEAD + "#pragma once\n"
GOOD = {
    "tools/layers.txt": "order base platform context fence umbrella providers cli|tests|examples|bench\n"
    "list.hpp base\npreempt.hpp context\nfence.hpp fence\ndevice/* fence\nstop_token.hpp fence\n",
    "tools/preprocessor_allowlist.txt": "include/interlock/list.hpp 1 a reason\n",
    "include/interlock/list.hpp": HEADER + "#if defined(__clang__)\n#endif\n",
    "include/interlock/preempt.hpp": HEADER
    + '// thread_local and "syscall(" in a comment\n#include <cstdint>\n'
    + '#include "interlock/list.hpp"\n#include "interlock_platform/park.hpp"\n',
    "include/interlock/fence.hpp": HEADER + '#include "interlock/preempt.hpp"\n',
    "include/interlock/device/queue.hpp": HEADER + '#include "interlock/fence.hpp"\n',
    "include/interlock/stop_token.hpp": HEADER + "#include <stop_token>\n",
    "include/interlock/interlock.hpp": HEADER + '#include "interlock/fence.hpp"\n',
    "platforms/native/include/interlock_platform/park.hpp": HEADER + '#include "interlock/list.hpp"\n',
    "platforms/native/src/park.cpp": HEAD + '#include <pthread.h>\n#include "interlock_platform/park.hpp"\n'
    + "thread_local int x = 1'000;\n",
    "platforms/model/include/interlock_platform/machine.h": HEADER,
    "platforms/model/machine/flow.hpp": HEADER + '#include "interlock/list.hpp"\n',
    "platforms/model/machine/flow.cpp": HEAD + '#include "flow.hpp"\n#include "interlock_platform/machine.h"\n',
    "src/context/preempt.cpp": HEAD + '#include "interlock/preempt.hpp"\nconst char* s = "#if thread_local";\n',
    "src/fence/fence.cpp": HEAD + '#include "context/private.hpp"\nint n = 1\'000\'000;\n',
    "src/context/private.hpp": HEADER,
    "providers/engine/engine.cpp": HEAD + '#include <unistd.h>\n#include "interlock/fence.hpp"\n#include "queue.hpp"\n',
    "providers/engine/queue.hpp": HEADER,
    "providers/uring/uring.cpp": HEAD + "#include <liburing.h>\n",
    "cli/main.cpp": HEAD + "#include <fcntl.h>\n#include <thread>\n#include \"interlock/interlock.hpp\"\n",
    "tests/unit/fence_test.cpp": HEAD + '#include "context/private.hpp"\n',
    "CMakeLists.txt": "# " + SPDX + "\n",
    "dev": "#!/bin/sh\n# " + SPDX + "\n",
}
# (the rule that must refuse it, the file, its text)
BREACHES = [
    ("layer", "src/context/bad.cpp", HEAD + '#include "interlock/fence.hpp"\n'),
    ("layer", "src/context/bad.cpp", HEAD + '#include "../fence/inner.hpp"\n'),
    ("layer", "include/interlock/list.hpp", HEADER + '#if 1\n#endif\n#include "interlock/preempt.hpp"\n'),
    ("layer", "include/interlock/list.hpp", HEADER + '#if 1\n#endif\n#include "interlock_platform/park.hpp"\n'),
    ("layer", "platforms/native/src/bad.cpp", HEAD + '#include "interlock/preempt.hpp"\n'),
    ("layer", "src/fence/bad.cpp", HEAD + '#include "interlock/interlock.hpp"\n'),
    ("layer", "src/fence/bad.cpp", HEAD + '#  include <interlock/interlock.hpp>\n'),
    ("layer", "src/fence/bad.cpp", HEAD + '#include "interlock/absent.hpp"\n'),
    ("layer", "examples/bad.cpp", HEAD + '#include "../cli/verb.hpp"\n'),
    ("machine", "platforms/model/machine/bad.cpp", HEAD + '#include "interlock_platform/park.hpp"\n'),
    ("machine", "platforms/model/src/bad.cpp", HEAD + '#include "../machine/flow.hpp"\n'),
    ("listed", "include/interlock/new.hpp", HEADER),
    ("listed", "include/interlock/device/fence.hpp", HEADER),
    ("listed", "tools/layers.txt", GOOD["tools/layers.txt"] + "gone.hpp base\n"),
    ("listed", "tools/layers.txt", GOOD["tools/layers.txt"] + "list.hpp base\n"),
    ("listed", "tools/layers.txt", GOOD["tools/layers.txt"] + "other.hpp nowhere\n"),
    ("private", "cli/bad.cpp", HEAD + '#include "context/private.hpp"\n'),
    ("private", "bench/bad.cpp", HEAD + '#include "../src/context/private.hpp"\n'),
    ("private", "tests/conformance/bad.cpp", HEAD + '#include "context/private.hpp"\n'),
    ("private", "providers/pread/bad.cpp", HEAD + '#include "engine/queue.hpp"\n'),
    ("os", "src/context/bad.cpp", HEAD + "#include <unistd.h>\n"),
    ("os", "src/context/bad.cpp", HEAD + "#include <sys/mman.h>\n"),
    ("os", "include/interlock/fence.hpp", HEADER + "#include <linux/futex.h>\n"),
    ("vendor", "providers/engine/bad.cpp", HEAD + "#include <liburing.h>\n"),
    ("vendor", "src/fence/bad.cpp", HEAD + "#include <vulkan/vulkan.h>\n"),
    ("heavy", "include/interlock/fence.hpp", HEADER + "#include <functional>\n"),
    ("heavy", "include/interlock/fence.hpp", HEADER + "#include <stop_token>\n"),
    ("heavy", "src/fence/bad.cpp", HEAD + "#include <mutex>\n"),
    ("if", "src/fence/bad.cpp", HEAD + "#ifdef NDEBUG\n#endif\n"),
    ("if", "include/interlock/fence.hpp", HEADER + " # if 1\n#endif\n"),
    ("if", "include/interlock/list.hpp", HEADER + "#if 1\n#endif\n#if 2\n#endif\n"),
    ("if", "include/interlock/list.hpp", HEADER),
    ("if", "tools/preprocessor_allowlist.txt", "include/interlock/list.hpp 1\n"),
    ("if", "tools/preprocessor_allowlist.txt", "include/interlock/list.hpp 1 why\nsrc/gone.cpp 1 why\n"),
    ("tls", "src/fence/bad.cpp", HEAD + "static thread_local int x;\n"),
    ("tls", "include/interlock/fence.hpp", HEADER + "extern __thread int x;\n"),
    ("syscall", "src/fence/bad.cpp", HEAD + "long f() { return syscall(202); }\n"),
    ("syscall", "src/fence/bad.cpp", HEAD + 'void f() { asm volatile("pause"); }\n'),
    ("once", "src/context/private.hpp", HEAD + "struct x;\n#pragma once\n"),
    ("spdx", "src/fence/bad.cpp", "int x;\n"),
    ("spdx", "src/fence/bad.cpp", HEAD + HEAD),
    ("spdx", "tests/unit/bad.c", "int x;\n"),
    ("spdx", "cmake/bad.cmake", "set(x 1)\n"),
    ("spdx", "dev", "#!/bin/sh\necho\n"),
]
EXTRA = {"src/fence/inner.hpp": HEADER, "cli/verb.hpp": HEADER}


def self_test():
    failures = 0
    for rule, path, text in [(None, None, None)] + BREACHES:
        with tempfile.TemporaryDirectory() as folder:
            tree = {**GOOD, **EXTRA}
            if path:
                tree[path] = text
            for name, content in tree.items():
                file = pathlib.Path(folder, name)
                file.parent.mkdir(parents=True, exist_ok=True)
                file.write_text(content)
            found = Tree(folder).check()
        rules = {line.split("[")[1].split("]")[0] for line in found}
        if rules != ({rule} if rule else set()):
            failures += 1
            print(f"self-test: {path}: expected {rule or 'no breach'}, found {found}\n{text}")
    covered = {rule for rule, _, _ in BREACHES}
    stated = set(re.findall(r"^  ([a-z]+) {2,}", __doc__.split("Rules:")[1], re.M))
    if covered != stated:
        failures += 1
        print(f"self-test: rules without a breach, or the reverse: {sorted(covered ^ stated)}")
    print(f"self-test: {len(BREACHES)} breaches of {len(stated)} rules, {failures} failures")
    return 1 if failures else 0


def main(arguments):
    if arguments == ["--self-test"]:
        return self_test()
    root = arguments[0] if arguments else pathlib.Path(__file__).resolve().parent.parent
    breaches = Tree(root).check()
    for line in breaches:
        print(line)
    return 1 if breaches else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
