"""StockMachine: a machine with images pulled the stock way, on which Hearth comes and goes."""

import itertools
import json
import shlex
import uuid
from concurrent.futures import ThreadPoolExecutor

from .clients import cri
from .image import pause_image, small_image
from .process import CommandFailed, run, wait_for

BUILT_IN = "/var/lib/containerd/io.containerd.content.v1.content/blobs/sha256"
BOOT_ID = "/proc/sys/kernel/random/boot_id"


class StockMachine:
    """Images are pulled the stock way; Hearth is installed and started, containerd not restarted.

    folder: where /var/lib is. pods: CRI can run some; their image is one of refs. install: its further flags.
    restart: containerd is started anew after those pulls, and pulls nothing.
    """

    def __init__(self, bed, version, image, names=("one", "two"), folder=None, pods=False, install="", restart=False):
        self.bed = bed
        self.pods = pods
        self.registry = bed.registry(tls=True, host="registry.test")
        sandbox = self.push(pause_image(), "pause") if pods else ""
        self.machine = bed.machine(self.registry, version=version, folder=folder, sandbox=sandbox)
        self.machine.write_node_config()
        self.machine.start_containerd()
        self._boots = itertools.count(1)
        self.refs = []
        for number, name in enumerate(names):
            # Of layers that they share and layers of their own.
            self.refs.append(self.new_image(name, 100 + number)[0] if number else self.push(image, name))
        self.refs += [sandbox] if pods else []
        for ref in self.refs:
            self.machine.sh(f"ctr -n k8s.io i pull {ref}")
        if restart:
            self.machine.restart_containerd()
        self.stock_config = self.machine.sh("containerd config dump").stdout
        self.machine.sh(f"hearth install {install}")
        self.machine.start_node()

    def push(self, image, name):
        image.push(self.registry, f"test/{name}:v1", self.bed.folder / f"layout-{name}")
        return f"{self.registry.address}/test/{name}:v1"

    def new_image(self, name, seed):
        """Pushed, and of layers of its own: (ref, image)."""
        image = small_image(layers=4, seed=seed)
        return self.push(image, name), image

    def adopt(self, *flags, **kw):
        return self._with_restart("adopt", *flags, **kw)

    def uninstall(self, *flags, **kw):
        return self._with_restart("uninstall", *flags, **kw)

    def _with_restart(self, command, *flags, check=True, first="true"):
        """containerd is stopped by the command (after what `first` does), and started by us: it is our child, not
        systemd's."""
        stop = f"{first}; kill {self.machine.containerd.pid}"
        argv = ["hearth", command, "--output", "json", "--restart", stop, *flags]
        with ThreadPoolExecutor(1) as pool:
            running = pool.submit(self.machine.sh, shlex.join(argv), check)
            before = self.machine.containerd
            wait_for(lambda: running.done() or not before.running(), 120, f"{command} to stop containerd")
            if not before.running():
                self.machine.start_containerd()
            result = running.result()
        return result.returncode, json.loads(result.stdout) if result.stdout else None

    def check_image(self, ref, snapshotter="hearth"):
        out = self.machine.sh(f"ctr -n k8s.io i check --snapshotter {snapshotter} name=={ref}").stdout
        return next((line for line in out.splitlines() if line.startswith(ref)), out)

    def run(self, ref, snapshotter="hearth"):
        return self.machine.sh(f"ctr -n k8s.io run --rm --snapshotter {snapshotter} {ref} probe /bin/echo hi").stdout

    def run_pod(self, ref):
        """A container of ref in a pod of CRI's, as kubelet makes it."""
        ran = self.cri("run", ref, "/bin/echo", "hi")
        assert ran["exit_code"] == 0, ran
        return ran["stdout"]

    def snapshots(self, snapshotter):
        """Names in namespace k8s.io."""
        lines = self.machine.sh(f"ctr -n k8s.io snapshots --snapshotter {snapshotter} ls").stdout.splitlines()[1:]
        return [line.split()[0] for line in lines if line.strip()]

    def socket(self):
        return self.machine.view.path("/run/containerd/containerd.sock")

    def cri(self, *words):
        return cri(self.socket(), *words)

    def listed(self):
        """References that CRI's ListImages names; none while it is still starting."""
        try:
            return {tag for image in self.cri("images") or [] for tag in image.get("repo_tags", [])}
        except CommandFailed as failed:
            if "not initialized yet" in str(failed):
                return set()
            raise

    def start_containerd_and_cri(self):
        """Returns when CRI has looked at every image, and remembers those that it could not read as not there."""
        log = self.machine.folder / "containerd.log"
        before = log.stat().st_size
        self.machine.start_containerd()
        wait_for(lambda: b"Start event monitor" in log.read_bytes()[before:], 60, "CRI's look at the images")

    def reboot(self, *order, clean=True, meanwhile=None):
        """Both daemons are stopped, /run is emptied, the boot id is another; they start in that order.

        Not clean: they are killed, as when the power fails. meanwhile: what that does to the disk.
        """
        for process in (self.machine.containerd, self.machine.node):
            process.stop() if clean else process.kill9()
        if meanwhile:
            meanwhile()
        self.machine.sh("find /run -mindepth 1 -xdev -delete", check=False)
        boot_id = self.bed.folder / f"boot-id-{next(self._boots)}"
        boot_id.write_text(f"{uuid.uuid4()}\n")
        run(self.machine.view.argv(["mount", "--bind", boot_id, BOOT_ID]))
        for start in order:
            start()
