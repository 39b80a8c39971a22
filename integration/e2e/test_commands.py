"""Every subcommand of the binary keeps what scripts rely on: help, JSON, exit codes, errors that say what to do, signals."""

import dataclasses
import json
import os
import pathlib
import re
import shutil
import signal
import subprocess

import pytest

from integration.testbed import Testbed, small_image
from integration.testbed.paths import HEARTH
from integration.testbed.process import Process, wait_for
from integration.testbed.stalled import Stalled


@dataclasses.dataclass(frozen=True)
class Command:
    """What makes a subcommand a whole command line in `World`, and what may be asked of it."""

    words: str = ""
    asks: str = ""  # the daemon that it cannot do without: "node" or "manager"
    kind: str = ""  # "group" = wants a further subcommand, "daemon" = stays
    once: bool = False  # it finds nothing to do a second time
    product: bool = False  # prints what it is for, so --quiet does not silence it
    codes: tuple = (0,)
    names: str = "[a-z][a-z0-9_]*"  # of its JSON


GROUP = Command(kind="group")
DAEMON = Command(kind="daemon")

COMMANDS = {
    ("node",): DAEMON,
    ("node", "join"): Command("{grpc} --token-file {join_token} --set root={dir}/joined --set name=fourth", "manager", once=True),
    ("manager",): DAEMON,
    ("manager", "backup"): Command("{dir}/manager.backup", "manager"),
    ("manager", "restore"): Command("{manager_backup} --set root={dir}/restored", once=True),
    ("nodes",): GROUP,
    ("nodes", "ls"): Command("", "manager"),
    ("nodes", "show"): Command("first", "manager"),
    ("nodes", "cordon"): Command("first", "manager"),
    ("nodes", "drain"): Command("third --reason walk", "manager"),
    ("nodes", "uncordon"): Command("first", "manager"),
    ("nodes", "forget"): Command("second", "manager", once=True),
    ("jobs",): GROUP,
    ("jobs", "ls"): Command("", "manager"),
    ("jobs", "show"): Command("{ended_job}", "manager"),
    ("jobs", "watch"): Command("{ended_job}", "manager", codes=(1,)),
    ("jobs", "cancel"): Command("{waiting_job}", "manager", once=True),
    ("jobs", "retry"): Command("{failed_job}", "manager", once=True),
    ("prepull",): Command("-f {pull_job} --dry-run", "manager", names="[a-z][A-Za-z0-9]*"),
    ("tokens",): GROUP,
    ("tokens", "create"): Command("--name walk --scope job", "manager", product=True),
    ("tokens", "ls"): Command("", "manager"),
    ("tokens", "revoke"): Command("{token_id}", "manager", once=True),
    ("preheat",): Command("{ref}", "node"),
    ("explain",): Command("{ref}", "node"),
    ("get",): Command("{blob_url} -o {dir}/got", "node"),
    ("store",): GROUP,
    ("store", "ls"): Command("", "node"),
    ("store", "verify"): Command("", "node"),
    ("store", "gc"): Command("", "node"),
    ("store", "rm"): Command("{other_ref}", "node", once=True),
    ("task-id",): Command("http://example.com/file", product=True),
    ("sim",): Command("--nodes 3 --size 1MiB"),
    ("install",): Command("--dry-run"),
    ("uninstall",): Command("--dry-run", "node"),
    ("adopt",): Command("--dry-run", "node"),
    ("repair",): Command("--dry-run", "node"),
    ("doctor",): Command(codes=(0, 1)),
    ("completion",): Command("bash", product=True),
    ("man",): Command(product=True),
}
LEAVES = [path for path, command in COMMANDS.items() if command.kind == ""]
DAEMONS = [path for path, command in COMMANDS.items() if command.kind == "daemon"]
ASK = {whom: [path for path in LEAVES if COMMANDS[path].asks == whom] for whom in ("node", "manager")}
# What they do for real, where the table has a dry run.
IN_EARNEST = {("uninstall",): "", ("adopt",): "--restart false", ("repair",): ""}
# Longer than any test waits.
ENDLESS_SIM = "--nodes 20000 --size 1GiB --blobs 64"


def hearth(*argv, **kw):
    return subprocess.run([HEARTH, *argv], capture_output=True, text=True, timeout=60, **kw)


def subcommands(*path):
    """Paths of all subcommands below `path` that --help names, each with its parents."""
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


class World:
    """A machine with Hearth installed, a node and a containerd that run, and a manager that three nodes joined."""

    def __init__(self, bed):
        self.dir = bed.new_folder("d")
        self.registry = bed.registry(tls=True, host="registry.test")
        self.machine = bed.machine(self.registry)
        self.machine.write_node_config()
        self.machine.start_containerd()
        self.machine.sh("hearth install")
        self.machine.start_node()
        self.machine.restart_containerd()
        self.manager = bed.manager()
        for name in ("first", "second", "third"):
            self.manager.join(self.dir / name, name, self.manager.join_token())
        self.machine.env.update({k: v for k, v in self.manager.environment().items() if k.startswith("HEARTH_")})
        image = small_image(layers=2)
        self.names = {
            "dir": self.dir,
            "ref": self._push(image, "small"),
            "other_ref": self._push(small_image(layers=3, seed=9), "other"),
            "blob_url": f"https://{self.registry.address}/v2/test/small/blobs/{image.layers[0].digest}",
            "grpc": self.manager.grpc,
            "pull_job": self._pull_job(),
            "join_token": self.manager.join_token(),
            "manager_backup": self._manager_backup(),
            "waiting_job": self._job(),
            "ended_job": self._job(cancelled=True),
            "failed_job": self._job(cancelled=True),
            "token_id": self.manager.json("tokens", "create", "--name", "old", "--scope", "job")["id"],
        }
        for ref in (self.names["ref"], self.names["other_ref"]):
            self.machine.sh(f"env -u HEARTH_MANAGER hearth preheat {ref}")

    def _job(self, cancelled=False):
        """One that waits for a node that never comes."""
        body = {"type": "preheat", "args": {"type": "image", "url": "r.example/i:v", "nodes": ["first"]}}
        token = self.manager.admin_token
        number = json.loads(self.manager.request("POST", "/oapi/v1/jobs", token=token, body=body)[2])["id"]
        if cancelled:
            assert self.manager.request("POST", f"/oapi/v1/jobs/{number}/cancel", token=token)[0] == 200
        return number

    def _push(self, image, name):
        image.push(self.registry, f"test/{name}:v1", self.dir / name / "layout")
        return f"{self.registry.address}/test/{name}:v1"

    def _manager_backup(self):
        file = self.dir / "world.backup"
        self.manager.command("manager", "backup", file)
        return file

    def _pull_job(self):
        file = self.dir / "pull-job.yaml"
        file.write_text(
            "apiVersion: operations.kubeedge.io/v1alpha1\nkind: ImagePrePullJob\nmetadata: {name: walk}\n"
            "spec: {imagePrePullTemplate: {images: [test:v1], nodeNames: [first]}}\n"
        )
        return file

    def argv(self, path, *more, words=None):
        words = COMMANDS[path].words if words is None else words
        alone = ["env", "-u", "HEARTH_MANAGER"] if COMMANDS[path].asks == "node" else []
        return self.machine.argv(*alone, "hearth", *path, *words.format(**self.names).split(), *more)

    def run(self, path, *more, **kw):
        return subprocess.run(self.argv(path, *more, **kw), capture_output=True, text=True, timeout=120)


@pytest.fixture(scope="module")
def world():
    with Testbed() as bed:
        yield World(bed)


def test_the_table_has_every_command():
    """A new one gets a row in COMMANDS, and with it everything below."""
    found = set(subcommands())
    assert found == set(COMMANDS)
    script = hearth("completion", "bash").stdout
    assert {tuple(path.split()) for path in re.findall(r"^    'hearth ?([a-z -]*)'\) next=", script, re.M)} - {()} == found


@pytest.mark.parametrize("path", COMMANDS, ids=" ".join)
def test_help_has_an_example_and_wrong_use_is_2(path):
    out = hearth(*path, "-h")
    assert out.returncode == 0 and "Example" in out.stdout, out
    assert is_wrong_use(hearth(*path, "--no-such-flag"))


@pytest.mark.parametrize("path", [(), *(path for path, command in COMMANDS.items() if command.kind == "group")], ids=" ".join)
def test_an_unknown_subcommand_is_named(path):
    for tail in ([], ["-h"]):
        out = hearth(*path, "frobnicate", *tail)
        assert is_wrong_use(out) and "frobnicate" in out.stderr, (tail, out)


@pytest.mark.parametrize("path", LEAVES, ids=" ".join)
def test_json_is_one_document_in_snake_case(world, path):
    out = world.run(path, "--output", "json")
    assert out.returncode in COMMANDS[path].codes, out
    document = json.loads(out.stdout)
    assert isinstance(document, dict) and document
    assert [key for key in keys(document) if not re.fullmatch(COMMANDS[path].names, key)] == []


@pytest.mark.parametrize("path", [p for p in LEAVES if not COMMANDS[p].once and not COMMANDS[p].product], ids=" ".join)
def test_quiet_prints_nothing(world, path):
    out = world.run(path, "--quiet")
    assert out.returncode in COMMANDS[path].codes and out.stdout == "", out


@pytest.mark.parametrize("path", [*LEAVES, *DAEMONS], ids=" ".join)
def test_a_bad_setting_is_2_and_named(world, path):
    words = None if path in LEAVES else ""
    table, known = ("api", "listen") if path[0] == "manager" and path != ("manager", "backup") else ("store", "min_free")
    out = world.run(path, "--set", f"{table}.colour=1", words=words)
    assert is_wrong_use(out) and f"{table}.colour" in out.stderr and known in out.stderr, out
    out = world.run(path, "--set", "log_level=loud", words=words)
    assert is_wrong_use(out) and "log_level" in out.stderr and "loud" in out.stderr, out
    file = world.dir / "bad.toml"
    file.write_text('log_levle = "info"\n')
    out = world.run(path, "--config", file, words=words)
    assert is_wrong_use(out) and "log_levle" in out.stderr and str(file) in out.stderr, out


@pytest.mark.parametrize("path", ASK["node"], ids=" ".join)
def test_without_a_node_says_what_to_do(world, path, tmp_path):
    out = world.run(path, "--set", f"run={tmp_path}", words=IN_EARNEST.get(path))
    assert out.returncode == 1 and out.stdout == "", out
    assert out.stderr.startswith("hearth: "), out.stderr
    assert str(tmp_path / "admin.sock") in out.stderr and 'start it with "hearth node"' in out.stderr, out.stderr


@pytest.mark.parametrize("path", ASK["manager"], ids=" ".join)
def test_without_a_manager_says_what_to_do(world, path):
    if path == ("node", "join"):
        words = COMMANDS[path].words.replace("{grpc}", "127.0.0.1:1")
        out = world.run(path, words=words)
    else:
        out = world.run(path, "--manager", "https://127.0.0.1:1")
    assert out.returncode == 1 and out.stdout == "", out
    assert out.stderr.startswith("hearth: ") and "127.0.0.1:1" in out.stderr, out.stderr
    assert "(does" in out.stderr, out.stderr


def test_doctor_does_not_wait_for_a_node_that_hangs(world, tmp_path):
    stalled = Stalled(tmp_path / "admin.sock")
    try:
        out = world.run(("doctor",), "--set", f"run={tmp_path}", "--output", "json")
    finally:
        stalled.close()
    assert out.returncode == 1, out
    (finding,) = [one for one in json.loads(out.stdout)["findings"] if one["check"] == "node"]
    assert finding["state"] == "fail" and finding["advice"]


def catches(pid, number):
    """Whether the process, past its start, does something of its own at this signal."""
    status = pathlib.Path(f"/proc/{pid}/status").read_text()
    return any(int(mask, 16) >> (number - 1) & 1 for mask in re.findall(r"^Sig(?:Cgt|Blk):\s*(\S+)", status, re.M))


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM], ids=["interrupt", "terminate"])
@pytest.mark.parametrize("path", [*ASK["node"], *ASK["manager"], ("sim",)], ids=" ".join)
def test_a_signal_ends_a_command_that_waits(world, path, number, tmp_path):
    stalled = Stalled(tmp_path / "admin.sock")
    words, more = IN_EARNEST.get(path, COMMANDS[path].words), []
    if path == ("sim",):
        words = ENDLESS_SIM
    elif path == ("node", "join"):
        words = words.replace("{grpc}", stalled.address)
    elif COMMANDS[path].asks == "manager":
        more = ["--manager", f"http://{stalled.address}"]
    else:
        more = ["--set", f"run={tmp_path}"]
    # Not nsenter's pid: it becomes the command.
    running = subprocess.Popen(world.argv(path, *more, words=words), stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                               text=True, preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL))  # fmt: skip
    try:
        wait_for(lambda: running.poll() is not None or catches(running.pid, number), 20, "the command's start")
        if COMMANDS[path].asks:
            wait_for(lambda: running.poll() is not None or stalled.asked, 20, "its question")
        assert running.poll() is None, running.communicate()
        running.send_signal(number)
        out, said = running.communicate(timeout=20)
    finally:
        running.kill()
        running.wait()
        stalled.close()
    assert (running.returncode, out) == (130, ""), said
    assert all(line.startswith("hearth: ") for line in said.splitlines()), said


def daemon_of(bed, path, registry):
    return bed.node(registry) if path == ("node",) else bed.manager()


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM], ids=["interrupt", "terminate"])
@pytest.mark.parametrize("path", DAEMONS, ids=" ".join)
def test_a_daemon_reloads_at_sighup_and_ends_at_a_signal(bed, registry, path, number):
    process = daemon_of(bed, path, registry).process  # whose ready line was one JSON document
    process.signal(signal.SIGHUP)
    wait_for(lambda: re.search(r"\breloaded\b", process.log.read_text()), 20, "the reload")
    assert process.running()
    process.signal(number)
    assert process.wait(10) == 0, process.log_tail()


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
    for path in COMMANDS:
        assert (".SS hearth " + " ".join(path)).replace("-", "\\-") in page, path
    if not shutil.which("groff"):
        pytest.skip("groff is not installed")
    out = subprocess.run(["groff", "-man", "-ww", "-z"], input=page, capture_output=True, text=True, check=True)
    assert out.stderr == ""
