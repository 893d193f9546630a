# SPDX-License-Identifier: LGPL-2.1-or-later
"""Much of everything. The numbers are small in the ordinary run; MONOSHIM_TEST_LARGE=1 makes them what they are to be, and
prints figures (pytest -s)."""

import hashlib
import os
import select
import statistics
import threading
import time

import pytest

import monoshim_testing as t

OOM_KILLS = 1000 if t.LARGE else 12
EXECS = 10_000 if t.LARGE else 150
IN_FLIGHT = 32
STREAM_SIZE = 1 << 30 if t.LARGE else 1 << 25
FIRST_COMMANDS = 200 if t.LARGE else 20
SPEED_SECONDS = 10 if t.LARGE else 1
RUNNING = 1000 if t.LARGE else 150
CONTAINER_MAX_KIB = 4
EMPTY_MAX_KIB = 1536


WARM_UP = 20
BATCH = 16


def say(*what):
    if t.LARGE:
        print(*what, flush=True)


def test_out_of_memory_is_told_before_the_exit(client, bundle):
    """T-OOM: of every container that the kernel kills for memory, once each, and with the signal's status."""
    memory = {"resources": {"memory": {"limit": 16 << 20, "swap": 16 << 20}}}
    eat = "x=xxxxxxxxxxxxxxxx; while :; do x=$x$x; done"
    began = time.monotonic()
    for i in range(OOM_KILLS):
        c = client.create("c%d" % (i % 4), bundle("sh", "-c", eat, extra_linux=memory))
        c.start()
        assert c.wait(60 * t.SCALE)[0] == 137
        assert c.get("OOMKills", t.CONTAINER) == 1
        c.delete()
        names = client.event_names(c.id)
        assert names == ["TaskCreate", "TaskStart", "TaskOOM", "TaskExit", "TaskDelete"], (i, names)
        client.forget_signals()
    say("%d out-of-memory kills in %.1f s" % (OOM_KILLS, time.monotonic() - began))


def test_very_many_execs(daemon, bundle):
    """32 at a time, each of them started, waited for and deleted: all exit codes are right, and nothing is left."""
    c = daemon.connect().create("c1", bundle("sleep", "1000"))
    c.start()
    before, failures, counter, lock = daemon.all_fds(), [], iter(range(EXECS)), threading.Lock()
    began = time.monotonic()

    def work():
        mine = daemon.connect(listen=False)
        container = mine.container("c1")
        while not failures:
            with lock:
                i = next(counter, None)
            if i is None:
                return
            try:
                args = ["true"] if i % 10 else ["sh", "-c", "exit %d" % (i // 10 % 200)]
                e = container.run("e%d" % i, *args, timeout=120 * t.SCALE)
                status = e.wait(120 * t.SCALE)[0]
                assert status == (0 if i % 10 else i // 10 % 200), (i, status)
                e.delete()
            except Exception as error:  # told by the main thread
                failures.append(error)

    threads = [threading.Thread(target=work) for _ in range(IN_FLIGHT)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not failures, failures
    say("%d execs, %d in flight: %.1f s" % (EXECS, IN_FLIGHT, time.monotonic() - began))
    c = daemon.connect().container("c1")  # who is told everything, and did not read meanwhile, has been cut off
    pid = c.get("Pid")
    assert c.pids() == {pid: ""}
    assert daemon.children() == [pid] and daemon.zombies() == []
    assert not os.listdir(os.path.join(daemon.container_dir("c1"), "exec"))
    daemon.disconnect()
    t.wait_for(lambda: daemon.all_fds() <= before, what="no descriptor more than before")
    client = daemon.connect()
    client.container("c1").end()
    if not t.LARGE:  # of more events not all are kept
        t.check_event_invariants(client.get_events()[1])


@pytest.mark.parametrize("terminal", [False, True], ids=["fifo", "terminal"])
def test_a_stream_of_bytes_is_exact(daemon, client, bundle, fifo, terminal):
    """By a terminal save for what its line discipline changes: each newline comes as carriage return and newline."""
    line = b"0123456789abcdef" * 63 + b"0123456789abcde\n"
    assert len(line) == 1024
    out = fifo("out").open_reader()
    block = "/bin/block"
    b = bundle("sh", "-c", "i=0; while [ $i -lt %d ]; do cat %s; i=$((i+1)); done" % (STREAM_SIZE >> 20, block),
               own_rootfs=True, terminal=terminal)
    with open(b + "/rootfs" + block, "wb") as f:
        f.write(line * 1024)
    c = client.create("c1", b, Stdout=str(out), Terminal=terminal)
    memory = t.anonymous_kib(daemon.pid)
    began = time.monotonic()
    c.start()
    size, digest = out.digest_to_end(60 * t.SCALE)
    seconds = time.monotonic() - began
    expected, shown = hashlib.sha256(), line.replace(b"\n", b"\r\n") if terminal else line
    for _ in range(STREAM_SIZE >> 20):
        expected.update(shown * 1024)
    assert (size, digest) == (len(shown) * (STREAM_SIZE >> 10), expected.hexdigest())
    assert c.wait()[0] == 0
    grown = t.anonymous_kib(daemon.pid) - memory
    say("%s: %.0f MiB/s, anonymous memory %+d KiB" % ("terminal" if terminal else "fifo", size / seconds / (1 << 20), grown))
    if not t.INSTRUMENTED:
        assert grown < 2048


def bytes_read(outs, seconds):
    """How much each has given in that time."""
    counts, end = [0] * len(outs), time.monotonic() + seconds
    by_fd = {o.fileno(): i for i, o in enumerate(outs)}
    while time.monotonic() < end:
        for fd in select.select(list(by_fd), [], [], 0.1)[0]:
            counts[by_fd[fd]] += len(os.read(fd, 65536))
    return counts


def test_a_stalled_terminal_does_not_slow_the_others(daemon, client, bundle, fifo):
    """T-BACKPRESSURE: nine of ten are read, with the tenth and without it; nobody's bytes pile up in the daemon."""
    outs = [fifo("out%d" % i).open_reader() for i in range(10)]
    containers = []
    for i, out in enumerate(outs):
        c = client.create("c%d" % i, bundle("yes", terminal=True), Terminal=True, Stdout=str(out))
        containers.append(c)
    for c in containers:
        c.start()
    bytes_read(outs, 0.5)
    memory, with_all, with_stalled = t.anonymous_kib(daemon.pid), [], []
    for _ in range(5 if t.LARGE else 1):
        with_all.append(sum(bytes_read(outs, SPEED_SECONDS)[1:]))
        with_stalled.append(sum(bytes_read(outs[1:], SPEED_SECONDS)))
    ratio = statistics.median(with_stalled) / statistics.median(with_all)
    grown = t.anonymous_kib(daemon.pid) - memory
    say("nine terminals with a stalled tenth: %.2f of their speed with a tenth that is read; memory %+d KiB" % (ratio, grown))
    assert min(bytes_read(outs[1:], SPEED_SECONDS)) > 0
    if t.LARGE:
        assert ratio >= 0.9
    if not t.INSTRUMENTED:
        assert grown < 2048
    for c in containers:
        c.kill()
    for c in containers:
        c.wait()
    bytes_read(outs, 0.5)
    for c in containers:
        c.delete(60 * t.SCALE)


@pytest.mark.parametrize("what", ["init", "exec"])
def test_the_size_of_the_terminal_is_there_first(client, bundle, fifo, what):
    """stty size as the first command, every time another size."""
    if what == "exec":
        c = client.create("c1", bundle("sleep", "1000"))
        c.start()
    for i in range(FIRST_COMMANDS):
        out = fifo("out%d" % i).open_reader()
        opts = {"Terminal": True, "Stdout": str(out), "ConsoleSize": (20 + i, 300 - i)}
        if what == "init":
            p = client.create("c1", bundle("stty", "size", terminal=True), **opts)
            p.start()
        else:
            p = c.run("e1", "stty", "size", **opts)
        assert out.read_to_end() == b"%d %d\r\n" % (300 - i, 20 + i), i
        assert p.wait()[0] == 0
        p.delete()
        out.close()
    say("%s: right %d times of %d" % (what, FIRST_COMMANDS, FIRST_COMMANDS))


def pss_kib(pid):
    """What it costs the machine: its own pages, and its share of those that others have as well."""
    with open("/proc/%d/smaps_rollup" % pid) as f:
        return next(int(line.split()[1]) for line in f if line.startswith("Pss:"))


def run_many(client, bundle, fifo, first, last):
    """Containers with long names and labels, some at a time, all of them running in the end."""
    for i in range(first, last, BATCH):
        ids = ["%064x" % (0xabcdef + k * 7919) for k in range(i, min(i + BATCH, last))]
        pending = []
        for id in ids:
            opts = {"Labels": {"io.kubernetes.pod.name": "pod-" + id[-8:], "app": "web"}}
            if fifo:
                opts.update((name, str(fifo(id + name))) for name in ("Stdin", "Stdout", "Stderr"))
            pending.append(client.begin_create(id, bundle, **opts))
        for p in pending:
            p.result()
        call_many([client.container(id) for id in ids], "Start")


def call_many(containers, member, *args):
    for p in [c.begin(member, *args) for c in containers]:
        p.result()


def end_many(client, n):
    all = [client.container(id, ns) for ns, id in client.list()]
    assert len(all) == n
    for i in range(0, n, BATCH):
        call_many(all[i:i + BATCH], "Kill", "ub", 9, False)
        call_many(all[i:i + BATCH], "Wait")
        call_many(all[i:i + BATCH], "Delete")


@pytest.mark.skipif(t.INSTRUMENTED, reason="a sanitizer or valgrind needs memory of its own")
@pytest.mark.parametrize("streams", ["null", "fifos"])
def test_what_a_running_container_costs(make_daemon, bundle, fifo, streams):
    """Memory of the daemon for each, be it that it has made them or that it has taken them back; with the store of
    descriptors that a service manager keeps for it. (The parts are in the unit test test-footprint.)"""
    d = make_daemon(runtime=t.FAKE_RUNTIME, keeps=True, arguments=["--log-level=warning"],
                    config={"MaxContainersPerNamespace": 2000})
    nothing = pss_kib(d.pid), t.anonymous_kib(d.pid)
    say("empty: PSS %d KiB, anonymous %d KiB" % nothing)
    assert nothing[0] <= EMPTY_MAX_KIB
    b = bundle("sleep", "inf")
    make_fifo = fifo if streams == "fifos" else None

    run_many(d.connect(listen=False), b, make_fifo, 0, WARM_UP)
    d.disconnect()
    before = pss_kib(d.pid), t.anonymous_kib(d.pid)
    run_many(d.connect(listen=False), b, make_fifo, WARM_UP, WARM_UP + RUNNING)
    d.disconnect()
    after = pss_kib(d.pid), t.anonymous_kib(d.pid)
    costs = {"made": ((after[0] - before[0]) / RUNNING, (after[1] - before[1]) / RUNNING)}

    d.restart("kill")
    n = WARM_UP + RUNNING
    costs["taken back"] = ((pss_kib(d.pid) - nothing[0]) / n, (t.anonymous_kib(d.pid) - nothing[1]) / n)
    end_many(d.connect(listen=False), n)
    for how, (pss, anonymous) in costs.items():
        print("%s, %s: PSS %.2f KiB, anonymous %.2f KiB for each of %d" % (streams, how, pss, anonymous, RUNNING))
    assert os.listdir("/proc/%d/task" % d.pid) == [str(d.pid)]
    # Of the PSS a part is what others share with it or do not, at the moment; the rest is the daemon's own doing.
    assert all(0 < anonymous <= CONTAINER_MAX_KIB for _, anonymous in costs.values()), costs
