# SPDX-License-Identifier: LGPL-2.1-or-later
"""What containers write: how quickly it comes out, and what that costs their watchers"""

import os
import select
import socket
import time

import measure
import proc

BLOCK_MIB = 16
PATIENCE = 60  # seconds without a byte
LINE = b"0123456789abcdef" * 63 + b"0123456789abcde\n"


def run(context):
    much, little = context.choose((256, 128), (64, 16), (16, 16))
    with context.opened() as peers:
        return [*compare(context, "", "to a reader", much, little, readers(context, peers)),
                *compare(context, "-file", "to a file", much // 2, little, files(context, peers)),
                *compare(context, "-terminal", "by a terminal", little // 2, little // 2, terminals(context, peers), lines=True)]


def compare(context, suffix, title, much, little, subjects, lines=False):
    """The throughput of each of 'subjects', which are {name: function(bundle, bytes) that runs such a container and returns
    its figures}, and the watchers' time. Those that copy to whoever reads write 'little' MiB, the others 'much'."""
    sizes = {n: max(much if n in ("runc", "monoshim") else little, BLOCK_MIB) for n in subjects}
    bundles = {mib: make_bundle(context, mib, terminal=lines) for mib in set(sizes.values())}

    def once(name):
        size = sizes[name] << 20
        if lines:  # a terminal makes two characters of each newline
            size += size // len(LINE)
        return subjects[name](bundles[sizes[name]], size)

    # What nobody copies is as fast as two processors that hand each other pages: that varies much, and is measured often.
    bare = {n: lambda n=n: once(n) for n in subjects if n in ("runc", "monoshim") and not lines}
    found = measure.interleave({n: lambda n=n: once(n) for n in subjects if n not in bare}, context.repetitions, context.warmup)
    found = {**measure.interleave(bare, context.choose(5, 4, 1) * context.repetitions, context.warmup), **found}
    written = ", ".join("%s %d MiB" % i for i in sizes.items())
    base = "runc" if "runc" in found else "monoshim"
    notes = {"": "bare runc: an anonymous pipe, read by us; monoshimd and the shims: a FIFO; conmon: its attach socket; relay: "
                 "monoshimd with the option Relay, for containers that are to be checkpointed.",
             "-file": "Until the container has ended. bare runc: the file is its stdout; monoshimd and containerd-shim-runc-v2: "
                      "file://; conmon: the driver k8s-file, which puts a time before each line.",
             "-terminal": "FIFOs, or conmon's attach socket, at the other end. Bare runc has nobody who would copy."}
    return [
        measure.result("stdout", "stdout" + suffix, "Throughput of stdout " + title, "MiB/s",
                       {n: f["speed"] for n, f in found.items()}, baseline=base, lower_is_better=False,
                       parameters={"written": written}, missing=context.missing, note=notes[suffix]),
        measure.result("stdout", "stdout-cpu" + suffix, "Processor time of the watchers for a GiB of stdout " + title, "ms",
                       {n: [s * 1024 / sizes[n] for s in f["cpu"]] for n, f in found.items() if n != "runc" and "cpu" in f},
                       baseline="monoshim", parameters={"written": written}, missing=context.missing),
    ]


def make_bundle(context, mib, terminal):
    script = "i=0; while [ $i -lt %d ]; do dd if=/block bs=64k 2>/dev/null; i=$((i+1)); done" % (mib // BLOCK_MIB)
    bundle = context.bundle("sh", "-c", script, own_rootfs=True, terminal=terminal)
    with open(os.path.join(bundle, "rootfs/block"), "wb") as f:
        for _ in range(BLOCK_MIB):
            f.write(LINE * 1024)
    return bundle


class Run:
    """One such container of one peer: start() it, and finish() when all its bytes have been seen."""

    def __init__(self, peer):
        self.peer = peer

    def start(self):
        self.pids = self.peer.get_pids()
        self.pids = self.pids[0] + self.pids[1]["c1"]
        self.before = proc.activity(self.pids).cpu
        self.peer.start("c1")

    def finish(self, size, seconds, over=False):
        """over: it has been waited for; then conmon is gone, and cannot be asked any more."""
        figures = {"speed": size / (1 << 20) / seconds}
        if not over or self.peer.name != "conmon":
            figures["cpu"] = (proc.activity(self.pids).cpu - self.before) * 1000
        if not over:
            assert self.peer.wait("c1") == 0
        self.peer.delete("c1")
        return figures


def read_all(fd, size, prefix=0):
    """Seconds from the first byte to the last. prefix: so many bytes of each packet do not count."""
    buffer = bytearray(1 << 16)
    seen, began = 0, None
    poll = select.poll()
    poll.register(fd, select.POLLIN)
    assert poll.poll(PATIENCE * 1000), "nothing has come"
    os.set_blocking(fd, True)
    while seen < size:
        n = os.readv(fd, [buffer])
        if began is None:
            began = time.perf_counter()  # the first are not counted as if they had taken no time: they are one of many
        assert n > prefix, "the end after %d bytes of %d" % (seen, size)
        seen += n - prefix
    assert seen == size, "%d bytes have come instead of %d" % (seen, size)
    return time.perf_counter() - began


def readers(context, peers):
    def by_pipe(peer):
        def one(bundle, size):
            r, w = os.pipe()
            try:
                peer.create("c1", bundle, stdout="/proc/%d/fd/%d" % (os.getpid(), w))
                os.close(w)
                run = Run(peer)
                run.start()
                return run.finish(size, read_all(r, size))
            finally:
                os.close(r)
        return one

    def by_fifo(peer, **kw):
        def one(bundle, size):
            path = context.fifo()
            fd = os.open(path, os.O_RDONLY | os.O_NONBLOCK)
            try:
                create(peer, bundle, path, **kw)
                run = Run(peer)
                run.start()
                return run.finish(size, read_all(fd, size))
            finally:
                os.close(fd)
        return one

    subjects = {}
    for name, peer in peers.items():
        subjects[name] = by_pipe(peer) if name == "runc" else by_socket(peer) if name == "conmon" else by_fifo(peer)
        if name == "monoshim":
            subjects["relay"] = by_fifo(peer, Relay=True)
    return subjects


def create(peer, bundle, stdout, **kw):
    """With what only some peers can do."""
    if peer.name == "monoshim":
        peer.containers["c1"] = peer.client.create("c1", bundle, Stdout=stdout, timeout=PATIENCE,
                                                   **{"Terminal" if k == "terminal" else k: v for k, v in kw.items()})
    else:
        peer.create("c1", bundle, stdout=stdout, **kw)


def by_socket(peer, **kw):
    def one(bundle, size):
        peer.create("c1", bundle, **kw)
        with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as s:
            s.connect(os.path.join(bundle, "attach"))
            run = Run(peer)
            run.start()
            return run.finish(size, read_all(s.fileno(), size, prefix=1))
    return one


def files(context, peers):
    def to_file(peer):
        def one(bundle, size):
            path = os.path.join(context.folder("p"), "out")
            open(path, "w").close()
            if peer.name == "conmon":
                peer.create("c1", bundle, log="k8s-file:" + path)
            else:
                peer.create("c1", bundle, stdout=path if peer.name == "runc" else "file://" + path)
            run = Run(peer)
            run.start()
            began = time.perf_counter()
            assert peer.wait("c1") == 0
            seconds = time.perf_counter() - began
            written = os.stat(path).st_size
            assert written == size or peer.name == "conmon" and written > size, "%d bytes instead of %d" % (written, size)
            os.unlink(path)
            return run.finish(size, seconds, over=True)
        return one

    return {n: to_file(p) for n, p in peers.items() if n not in ("shim",)}


def terminals(context, peers):
    def by_fifo(peer):
        def one(bundle, size):
            path = context.fifo()
            fd = os.open(path, os.O_RDONLY | os.O_NONBLOCK)
            try:
                create(peer, bundle, path, terminal=True)
                run = Run(peer)
                run.start()
                return run.finish(size, read_all(fd, size))
            finally:
                os.close(fd)
        return one

    return {n: by_socket(p, terminal=True) if n == "conmon" else by_fifo(p) for n, p in peers.items() if n != "runc"}
