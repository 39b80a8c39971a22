"""Every subcommand that --help names, nested ones too, keeps what scripts rely on."""

import json
import re
import shutil
import subprocess

import pytest

from integration.testbed.paths import HEARTH

# What each command that stands alone is given, and those that need a node.
ALONE = {
    ("task-id",): ["http://example.com/file"],
    ("completion",): ["bash"],
    ("man",): [],
    ("doctor",): ["--root-prefix", "{dir}"],
}
NEED_A_NODE = {
    ("preheat",): ["127.0.0.1:1/x:v1"],
    ("explain",): ["127.0.0.1:1/x:v1"],
    ("get",): ["http://127.0.0.1:1/f", "-o", "{dir}/f"],
    ("repair",): [],
    ("store", "ls"): [],
    ("store", "verify"): [],
    ("store", "rm"): ["sha256:" + "0" * 64],
}


def hearth(*argv):
    return subprocess.run([HEARTH, *argv], capture_output=True, text=True, timeout=60)


def subcommands(*path):
    """Paths of all subcommands below `path`, each with its parents."""
    text = hearth(*path, "--help").stdout
    section = re.search(r"^subcommands:\n((?:[ \t]+.*\n?)+)", text, re.MULTILINE | re.IGNORECASE)
    for name in re.findall(r"^  (\S+)", section[1], re.MULTILINE) if section else []:
        yield (*path, name)
        yield from subcommands(*path, name)


def keys(value):
    if isinstance(value, dict):
        yield from value
        for inner in value.values():
            yield from keys(inner)
    elif isinstance(value, list):
        for inner in value:
            yield from keys(inner)


def is_wrong_use(out):
    return out.returncode == 2 and out.stdout == "" and out.stderr.startswith("hearth: ")


def test_every_command_keeps_the_rules():
    found = list(subcommands())
    assert set(ALONE) | set(NEED_A_NODE) <= set(found), found
    for path in found:
        out = hearth(*path, "-h")
        assert out.returncode == 0 and "Example" in out.stdout, (path, out)
        assert is_wrong_use(hearth(*path, "--no-such-flag")), path
    for parent in {path[:-1] for path in found}:
        for tail in ([], ["-h"]):
            out = hearth(*parent, "frobnicate", *tail)
            assert is_wrong_use(out) and "frobnicate" in out.stderr, (parent, tail, out)


@pytest.mark.parametrize("path", ALONE, ids=" ".join)
def test_json_is_one_document_in_snake_case(path, tmp_path):
    argv = [word.format(dir=tmp_path) for word in ALONE[path]]
    out = hearth(*path, *argv, "--set", f"run={tmp_path}", "--output", "json")
    document = json.loads(out.stdout)
    assert isinstance(document, dict) and document
    assert [key for key in keys(document) if not re.fullmatch(r"[a-z][a-z0-9_]*", key)] == []


@pytest.mark.parametrize("path", NEED_A_NODE, ids=" ".join)
def test_without_a_node_says_what_to_do(path, tmp_path):
    argv = [word.format(dir=tmp_path) for word in NEED_A_NODE[path]]
    out = hearth(*path, *argv, "--set", f"run={tmp_path}", "--set", f"root={tmp_path}/root")
    assert out.returncode == 1 and out.stdout == "", out
    assert out.stderr.startswith("hearth: ") and "hearth node" in out.stderr, out.stderr


def test_bash_completes_nested_commands_and_options(tmp_path):
    script = tmp_path / "hearth.bash"
    script.write_text(hearth("completion", "bash").stdout)
    subprocess.run(["bash", "-n", script], check=True)

    def complete(*typed):
        words = " ".join(f"'{word}'" for word in ("hearth", *typed))
        code = f". {script}; COMP_WORDS=({words}); COMP_CWORD={len(typed)}; _hearth; echo ${{COMPREPLY[*]}}"
        return subprocess.run(["bash", "-c", code], capture_output=True, text=True, check=True).stdout.split()

    assert complete("expl") == ["explain"]
    assert complete("store", "ver") == ["verify"]
    assert complete("--quiet", "store", "verify", "--rep") == ["--repair"]
    assert complete("preheat", "--rep") == []


@pytest.mark.parametrize("shell", ["zsh", "fish"])
def test_completion_parses(shell, tmp_path):
    text = hearth("completion", shell).stdout
    assert "explain" in text and "verify" in text
    if not shutil.which(shell):
        pytest.skip(f"{shell} is not installed")
    script = tmp_path / "script"
    script.write_text(text)
    subprocess.run([shell, "-n", script], check=True)


def test_man_page_has_every_command_and_no_warning():
    page = hearth("man").stdout
    for path in subcommands():
        assert (".SS hearth " + " ".join(path)).replace("-", "\\-") in page, path
    if not shutil.which("groff"):
        pytest.skip("groff is not installed")
    out = subprocess.run(["groff", "-man", "-ww", "-z"], input=page, capture_output=True, text=True, check=True)
    assert out.stderr == ""
