#!/usr/bin/env python3
"""Keeps the rules of the house that a compiler does not: include directions, fences around heavy
libraries, sizes, dead files, forbidden words.

    cmake/tidy.py [ROOT]    prints every violation as PATH:LINE: what, exits 1 when there is one

Before it looks at the tree it proves on a small wrong tree that each of its rules still bites.
"""

import fnmatch
import os
import re
import subprocess
import sys
import tempfile

# Rows of the house, lowest first; a folder includes only lower rows.
ROWS = [["base"], ["net", "kv", "store"], ["oci"], ["p2p"], ["plugin", "manager"], ["sim"],
        ["config"], ["cmd"]]
ROW = {folder: row for row, folders in enumerate(ROWS) for folder in folders}
# store is of row 1 and may use kv beside it.
BESIDE = {("store", "kv")}
# Include root → its folder, where they differ.
ROOTS = {"sim": "integration/sim", "fleet": "integration/load/fleet"}
# The simulation is for one subcommand.
SIM_READERS = {"cmd/sim.cc"}
# Each folder has its own Options; only the program fills them from config's.
CONFIG_READERS = {"cmd"}

# Library header → the only files that may include it; a test may use what its subject uses.
FENCES = {
    "rocksdb/": ["kv/*"],
    "archive.h": ["plugin/tar_reader_test.cc"],
    "archive_entry.h": ["plugin/tar_reader_test.cc"],
    "boost/": ["net/http_server.cc", "net/http_session.*", "net/http_stream.h",
               "net/http_tunnel.*"],
    "curl/": ["net/http_client.cc", "net/curl_transfer.h", "net/curl_transfer.cc"],
    "grpcpp/": ["net/grpc.*", "net/grpc_test.cc", "net/grpc_tls.*",
                "net/grpc_tls_test.cc", "*_service.*", "*_service_test.cc", "*_client.*",
                "*_client_test.*", "plugin/containerd_call.*", "integration/load/*/*"],
    "nlohmann/": ["*.cc", "*_for_test.h"],
    "toml++/": ["*.cc"],
    "spdlog/": ["base/log.cc"],
    "CLI/": ["cmd/*.cc"],
    "prometheus/": ["base/metrics.cc", "base/metrics.h"],
    "yaml-cpp/": ["*.cc"],
}

MAX_COLUMNS = 100
MAX_LINES = {".h": 200, ".cc": 500}
MAX_TEST_LINES = 600  # a test is a table of cases more often than a story
CODE = (".h", ".cc")
COLUMNS_IN = (".h", ".cc", ".cmake", ".proto", "CMakeLists.txt")
TEXT = COLUMNS_IN + (".py", ".md", ".toml", ".sh", ".json", ".yaml", ".yml", ".service",
                     "Makefile", "run")

# Written in two parts, so that this file does not break its own rule.
FORBIDDEN = ["FIX" + "ME", "TO" + "DO", "/wo" + "rk/", "/tmp" + "/w/", "/tmp" + "/hub"]
FORBIDDEN_PATTERN = re.compile(
    "|".join(rf"\b{word}\b" if word.isalpha() else r"(?<![\w.])" + re.escape(word)
             for word in FORBIDDEN))
INCLUDE = re.compile(r'^\s*#\s*include\s*[<"]([^">]+)[">]')


def files_of(root):
    """Relative paths of what belongs to the tree, sorted."""
    if os.path.exists(os.path.join(root, ".git")):
        listed = subprocess.run(
            ["git", "-C", root, "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
            check=True, capture_output=True, text=True).stdout
        found = [path for path in listed.split("\0") if path]
    else:
        found = []
        for folder, folders, names in os.walk(root):
            folders[:] = [f for f in folders if not f.startswith((".", "build"))]
            found += [os.path.relpath(os.path.join(folder, name), root) for name in names]
    return sorted(path for path in found if os.path.isfile(os.path.join(root, path)))


def read(root, path):
    with open(os.path.join(root, path), encoding="utf-8", errors="replace") as file:
        return file.read()


def root_of(path):
    """The name by which a file's folder is included."""
    for root, folder in ROOTS.items():
        if path.startswith(folder + "/"):
            return root
    return path.split("/")[0]


def folder_of(path):
    """The folder whose CMakeLists.txt names the file's DEPS."""
    return ROOTS.get(root_of(path), root_of(path))


def module_deps(text):
    """Names after DEPS in the folder's module(), without comments."""
    text = re.sub(r"#.*", "", text)
    module = re.search(r"\bmodule\((.*?)\)", text, re.S)
    if not module:
        return set()
    words = module.group(1).split()
    deps, inside = set(), False
    for word in words:
        if word.isupper() or "_LIBS" in word:
            inside = word == "DEPS"
        elif inside:
            deps.add(word)
    return deps


def check_include(path, number, header, deps):
    """Direction and fence of one include."""
    for fence, allowed in FENCES.items():
        inside = header.startswith(fence) if fence.endswith("/") else header == fence
        if inside and not any(fnmatch.fnmatch(path, pattern) for pattern in allowed):
            yield f"{path}:{number}: <{header}> may be included only by {', '.join(allowed)}"
    folder, other = root_of(path), header.split("/")[0]
    if folder not in ROW or other not in ROW or folder == other or "/" not in header:
        return
    if other == "sim" and path not in SIM_READERS:
        yield f"{path}:{number}: sim/ is only for {', '.join(sorted(SIM_READERS))}"
        return
    lower = ROW[other] < ROW[folder] or (folder, other) in BESIDE
    if not lower or (other == "config" and folder not in CONFIG_READERS):
        yield f"{path}:{number}: {folder}/ must not include {other}/ (direction)"
    elif other not in deps:
        yield f"{path}:{number}: {other}/ is not in the DEPS of {folder}/CMakeLists.txt"


def check_text(path, text):
    lines = text.split("\n")
    for number, line in enumerate(lines, 1):
        if path.endswith(COLUMNS_IN) and len(line) > MAX_COLUMNS:
            yield f"{path}:{number}: {len(line)} columns, at most {MAX_COLUMNS}"
        if path.endswith(TEXT):
            for word in FORBIDDEN_PATTERN.findall(line):
                yield f"{path}:{number}: forbidden word {word}"
    limit = MAX_LINES.get(os.path.splitext(path)[1])
    if limit and path.endswith("_test.cc"):
        limit = MAX_TEST_LINES
    if limit and len(lines) - 1 > limit:
        yield f"{path}:{limit + 1}: {len(lines) - 1} lines, at most {limit}"


def check_dead(texts):
    """Sources that no CMakeLists.txt of their folder names, headers that nobody includes."""
    included = set()
    for path, text in texts.items():
        if path.endswith(CODE):
            headers = [INCLUDE.match(line).group(1) for line in text.split("\n")
                       if INCLUDE.match(line)]
            included.update(headers)
            included.update(f"{ROOTS[root]}/{name}" for root, _, name in
                            (header.partition("/") for header in headers) if root in ROOTS)
    for path, text in texts.items():
        folder, name = os.path.split(path)
        lists = texts.get(os.path.join(folder, "CMakeLists.txt"), "")
        if path.endswith(".cc") and not path.endswith("_test.cc"):
            if name not in re.split(r"[\s()]+", re.sub(r"#.*", "", lists)) and not (
                    name.startswith("fuzz_") and f"fuzz_target({name[5:-3]} " in lists):
                yield f"{path}:1: dead: no SOURCES of {folder}/CMakeLists.txt names it"
        if path.endswith(".h") and path not in included and name not in included:
            yield f"{path}:1: dead: nobody includes it"


def check(root):
    texts = {path: read(root, path) for path in files_of(root) if path.endswith(TEXT)}
    if not any(path.endswith(".cc") for path in texts):
        return [f"{root}: no source found; wrong folder?"]
    problems = []
    for path, text in texts.items():
        problems += check_text(path, text)
        if not path.endswith(CODE):
            continue
        deps = module_deps(texts.get(folder_of(path) + "/CMakeLists.txt", ""))
        for number, line in enumerate(text.split("\n"), 1):
            match = INCLUDE.match(line)
            if match:
                problems += check_include(path, number, match.group(1), deps)
    return problems + list(check_dead(texts))


WRONG_TREE = {
    "base/CMakeLists.txt": "module(base\n  SOURCES a.cc  # dead.cc\n)\n",
    "base/a.h": "",
    "base/a.cc": '#include "base/a.h"\n#include "oci/o.h"\n',
    "base/dead.cc": "",
    "base/unused.h": "",
    "net/CMakeLists.txt": "module(net\n  SOURCES n.cc\n  DEPS base\n)\n",
    "net/n.h": "\n" * 201,
    "net/n.cc": '#include "net/n.h"\n#include "kv/k.h"\n#include <boost/asio.hpp>\n',
    "oci/CMakeLists.txt": "module(oci\n  SOURCES o.cc\n  DEPS base\n  LIBS net)\n",
    "oci/o.h": "#include <nlohmann/json.hpp>\n",
    "oci/o.cc": '#include "oci/o.h"\n#include "net/n.h"\n' + "\n" * 500,
    "kv/k.h": "// " + "x" * 98 + "\n// " + FORBIDDEN[0] + "\n// see " + FORBIDDEN[2] + "shared\n",
    "plugin/CMakeLists.txt": "module(plugin SOURCES p.cc DEPS base config)\n",
    "plugin/p.cc": '#include "config/c.h"\n#include <archive.h>\n',
    "config/c.h": "",
    "cmd/CMakeLists.txt": "module(cmd SOURCES other.cc sim.cc DEPS base sim)\n",
    "cmd/other.cc": '#include "sim/s.h"\n',
    "cmd/sim.cc": '#include "sim/s.h"\n',
    "integration/sim/CMakeLists.txt": "module(sim SOURCES s.cc DEPS base)\n",
    "integration/sim/s.h": "",
    "integration/sim/s.cc": '#include "sim/s.h"\n#include "config/c.h"\n',
}
WRONG_TREE_SAYS = """\
base/a.cc:2: base/ must not include oci/ (direction)
base/dead.cc:1: dead: no SOURCES of base/CMakeLists.txt names it
base/unused.h:1: dead: nobody includes it
cmd/other.cc:1: sim/ is only for cmd/sim.cc
integration/sim/s.cc:2: sim/ must not include config/ (direction)
kv/k.h:1: 101 columns, at most 100
kv/k.h:2: forbidden word {0}
kv/k.h:3: forbidden word {1}
net/n.cc:2: net/ must not include kv/ (direction)
net/n.cc:3: <boost/asio.hpp> may be included only by {2}
net/n.h:201: 201 lines, at most 200
oci/o.cc:2: net/ is not in the DEPS of oci/CMakeLists.txt
oci/o.cc:501: 502 lines, at most 500
oci/o.h:1: <nlohmann/json.hpp> may be included only by *.cc, *_for_test.h
plugin/p.cc:1: plugin/ must not include config/ (direction)
plugin/p.cc:2: <archive.h> may be included only by {3}
""".format(FORBIDDEN[0], FORBIDDEN[2], ", ".join(FENCES["boost/"]), ", ".join(FENCES["archive.h"]))


def self_test():
    with tempfile.TemporaryDirectory() as root:
        for path, text in WRONG_TREE.items():
            os.makedirs(os.path.dirname(os.path.join(root, path)), exist_ok=True)
            with open(os.path.join(root, path), "w", encoding="utf-8") as file:
                file.write(text)
        got = "".join(problem + "\n" for problem in sorted(check(root)))
    if got != WRONG_TREE_SAYS:
        print(f"tidy is broken: on its own wrong tree it says\n{got}where it should say\n"
              f"{WRONG_TREE_SAYS}", file=sys.stderr)
        return False
    return True


def main():
    default = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
    root = sys.argv[1] if len(sys.argv) > 1 else default
    if not self_test():
        return 2
    problems = check(root)
    for problem in problems:
        print(problem)
    if problems:
        print(f"tidy: {len(problems)} violations of the house's rules", file=sys.stderr)
    return 1 if problems else 0


if __name__ == "__main__":
    sys.exit(main())
