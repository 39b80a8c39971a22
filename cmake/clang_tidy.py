#!/usr/bin/env python3
"""Runs clang-tidy (.clang-tidy) on sources, two at a time; needs build/compile_commands.json.

    cmake/clang_tidy.py BASE            what changed since BASE left our history, the work tree included;
                                        for a header, the sources that include it directly
    cmake/clang_tidy.py --all [PATH…]   every source, or those below the paths

Prints each finding once; exits 1 when there is one, 2 when it cannot look.
"""

import concurrent.futures
import json
import os
import re
import subprocess
import sys

ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
BUILD = os.path.join(ROOT, "build")
AT_ONCE = 2
# A test sets the environment before it has threads, and its speed is nobody's concern.
NOT_IN_TESTS = "-performance-*,-concurrency-mt-unsafe,-bugprone-string-constructor"
INCLUDE = re.compile(r'^\s*#\s*include\s*"([^"]+)"', re.M)
FINDING = re.compile(r"^[^ ]+:\d+:\d+: (?:error|warning): ")


class CannotLook(Exception):
    pass


def git(*words):
    done = subprocess.run(["git", "-C", ROOT, *words], capture_output=True, text=True)
    if done.returncode:
        raise CannotLook(f"git {' '.join(words)}: {done.stderr.strip()}")
    return done.stdout


def compiled():
    """Sources of ours that the build compiles, relative to ROOT."""
    try:
        with open(os.path.join(BUILD, "compile_commands.json"), encoding="utf-8") as file:
            commands = json.load(file)
    except OSError as error:
        raise CannotLook(f"{error}; run `make build` first") from error
    paths = (os.path.relpath(os.path.realpath(os.path.join(c["directory"], c["file"])), ROOT)
             for c in commands)
    return sorted({path for path in paths if not path.startswith(("..", "build"))})


def changed_since(base):
    try:
        fork = git("merge-base", base, "HEAD").strip()
    except CannotLook as error:
        raise CannotLook(f"{error}; name another with BASE=, or take all with ALL=1") from error
    tracked = git("diff", "--name-only", "--diff-filter=d", fork)
    untracked = git("ls-files", "--others", "--exclude-standard")
    return set((tracked + untracked).split("\n")) - {""}


def sources_of(changed, known):
    """The sources among `changed`, and those that include a header of it."""
    def touched(path):
        if path in changed:
            return True
        with open(os.path.join(ROOT, path), encoding="utf-8") as file:
            return any(header in changed for header in INCLUDE.findall(file.read()))
    return [path for path in known if touched(path)]


def look(path):
    """(findings with their notes, what went wrong)."""
    checks = [f"--checks={NOT_IN_TESTS}"] if path.endswith("_test.cc") else []
    done = subprocess.run(["clang-tidy", "-p", BUILD, "--quiet", *checks, path], cwd=ROOT,
                          capture_output=True, text=True)
    findings = []
    for line in done.stdout.splitlines(keepends=True):
        # Headers are reached through links below build/include/NAME/.
        line = re.sub(r"build/include/\w+/", "", line.replace(ROOT + "/", ""))
        if FINDING.match(line) or not findings:
            findings.append("")
        findings[-1] += line
    failed = done.returncode != 0 and not findings
    return findings, f"{path}: {done.stderr.strip()}\n" if failed else ""


def main(arguments):
    known = compiled()
    if arguments[:1] == ["--all"]:
        below = tuple(path.rstrip("/") + "/" for path in arguments[1:])
        paths = [p for p in known if not below or p.startswith(below) or p in arguments[1:]]
        if not paths:
            raise CannotLook(f"no compiled source at {' '.join(arguments[1:])}")
    elif len(arguments) == 1:
        paths = sources_of(changed_since(arguments[0]), known)
    else:
        raise CannotLook(__doc__.strip())
    seen, errors = set(), ""
    with concurrent.futures.ThreadPoolExecutor(AT_ONCE) as pool:
        for findings, error in pool.map(look, paths):
            errors += error
            for finding in findings:
                if finding not in seen:
                    seen.add(finding)
                    print(finding, end="", flush=True)
    if errors:
        raise CannotLook(errors)
    print(f"clang-tidy: {len(paths)} sources, {len(seen)} findings", file=sys.stderr)
    return 1 if seen else 0


if __name__ == "__main__":
    try:
        sys.exit(main(sys.argv[1:]))
    except CannotLook as why:
        print(f"clang-tidy: {why}", file=sys.stderr)
        sys.exit(2)
