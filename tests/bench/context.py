# SPDX-License-Identifier: LGPL-2.1-or-later
"""What a scenario is given: how much to do, with whom, and where."""

import contextlib
import itertools
import json
import os
import shutil
import subprocess
import sys
import tempfile

import machine
import monoshim_testing as t

LOAD = os.environ.get("BENCH_LOAD", "")
LEVELS = ("full", "quick", "smoke")


class Context:
    """level: one of LEVELS. peers: {name: Peer}, those that are there, in the order in which they are shown; missing:
    {name: reason}, the others."""

    def __init__(self, level, directory, peers, missing, repetitions=None):
        self.level = level
        self.directory = directory
        self.peers = peers
        self.missing = missing
        self.repetitions = repetitions or self.choose(12, 5, 1)
        self.warmup = self.choose(2, 1, 0)
        self._serial = itertools.count(1)

    def choose(self, full, quick, smoke):
        return {"full": full, "quick": quick, "smoke": smoke}[self.level]

    def say(self, *what):
        """Progress, for whoever waits."""
        print("  ", *what, file=sys.stderr, flush=True)

    def folder(self, name="f"):
        """A new empty folder with a short path."""
        path = os.path.join(self.directory, "%s%d" % (name, next(self._serial)))
        os.mkdir(path, 0o755)
        return path

    def bundle(self, *args, **kw):
        """A new bundle, with a cgroup of its own; the same busybox for all. 'args' defaults to a long sleep; keywords as
        monoshim_testing.make_bundle() has them. Two containers that live at once need two bundles."""
        return t.make_bundle(self.folder("b"), list(args) or ["sleep", "100000"], **kw)

    def fifo(self):
        path = os.path.join(self.folder("p"), "fifo")
        os.mkfifo(path, 0o600)
        return path

    @contextlib.contextmanager
    def opened(self, *names, **kw):
        """{name: peer}, started in folders of their own, and ended afterwards. All peers that are there, if none is named;
        those that are missing are left out."""
        peers = {n: p for n, p in self.peers.items() if n in names or not names}
        with contextlib.ExitStack() as stack:
            for peer in peers.values():
                stack.callback(peer.close)
                peer.open(self.folder("d"), **kw)
            yield peers

    @contextlib.contextmanager
    def daemon(self, **kw):
        """A monoshimd as it is installed, save for its directories; keywords as monoshim_testing.Daemon has them."""
        kw.setdefault("arguments", ["--log-level=info"])
        d = t.Daemon(self.folder("d"), **kw)
        try:
            yield d.start()
        finally:
            d.disconnect()
            if d.pid is not None:
                end_containers(d)
                d.stop()
            d.manager.forget()

    def load(self, *arguments):
        """Runs the load generator; returns what it says, a dictionary of lists of microseconds."""
        p = subprocess.run([LOAD] + [str(a) for a in arguments], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        if p.returncode != 0:
            raise RuntimeError("%s: exit status %d: %s" % (" ".join(p.args), p.returncode, p.stderr.strip()))
        return json.loads(p.stdout)


def end_containers(d):
    """Those that a daemon still has."""
    client = d.connect(listen=False)
    containers = [client.container(id, ns) for ns, id in client.list()]
    for c in containers:
        with contextlib.suppress(t.DBusError):
            c.kill()
    for c in containers:
        c.wait(120)
    for c in containers:
        c.delete(120)
    d.disconnect()


@contextlib.contextmanager
def scratch():
    """A directory with a short name, and whatever the tests' harness has made is removed with it. On tmpfs if there is
    one, as the state directories of monoshimd and of its peers are."""
    parent = next((p for p in ("/run", "/dev/shm") if machine.filesystem(p) == "tmpfs" and os.access(p, os.W_OK)), None)
    directory = tempfile.mkdtemp(prefix="msb.", dir=parent)
    os.chmod(directory, 0o755)
    try:
        yield directory
    finally:
        t.nursery().close()
        t.rootfs_remove()
        shutil.rmtree(directory, ignore_errors=True)
