# SPDX-License-Identifier: LGPL-2.1-or-later
"""Calls of the C library that fail, one after the other, and a wall clock that jumps (tests/fault-preload.c)."""

import contextlib
import errno
import json
import mmap
import os
import struct
import threading
import time

import pytest

import monoshim_testing as t
from crash_testing import NS
from monoshim_testing import DBusError

PRELOAD = os.environ.get("FAULT_PRELOAD") or os.path.join(os.path.dirname(t.FAKE_RUNTIME), "fault-preload.so")

pytestmark = [pytest.mark.skipif(t.INSTRUMENTED, reason="instruments have a malloc() of their own"),
              pytest.mark.skipif(not os.path.exists(PRELOAD), reason="%s has not been built" % PRELOAD)]

OPEN, MAKE, READ, FD, MEMORY, CHILD, EVENT = (1 << i for i in range(7))
FAULTS = {
    "ENOSPC": (MAKE, errno.ENOSPC, 1),
    "EMFILE": (FD, errno.EMFILE, 1),
    "EIO": (OPEN | MAKE | READ, errno.EIO, 1),
    "EAGAIN": (CHILD | EVENT, errno.EAGAIN, 1),
    "ENOMEM": (MEMORY | EVENT, errno.ENOMEM, 1 if t.LARGE else 5),
}
POINTS_MAX = 20000
SOON = 3 * t.SCALE


class Faults:
    """The file that the daemon and we share."""

    LAYOUT = struct.Struct("=IIiIQQq32s")

    def __init__(self, path):
        with open(path, "wb") as f:
            f.write(bytes(4096))
        fd = os.open(path, os.O_RDWR)
        self.map = mmap.mmap(fd, 4096)
        os.close(fd)
        self.environment = {"LD_PRELOAD": PRELOAD, "MONOSHIM_FAULT_FILE": path, "GLIBC_TUNABLES": "glibc.malloc.tcache_count=0"}

    def arm(self, kinds, error, n, repeat=0):
        self.map[4:40] = struct.pack("=IiIQQq", kinds, error, 0, n, repeat, 0)
        self.map[0:4] = struct.pack("=I", 1)

    def disarm(self):
        """Whether it has fired, and where."""
        self.map[0:4] = struct.pack("=I", 0)
        fields = self.LAYOUT.unpack(self.map[:self.LAYOUT.size])
        return fields[7].rstrip(b"\0").decode() if fields[3] else None

    def set_clock(self, seconds):
        self.map[32:40] = struct.pack("=q", int(seconds * 1e6))


@pytest.fixture
def faults(directory):
    return Faults(directory + "/faults")


@pytest.fixture
def faulty(make_daemon, faults):
    d = make_daemon(runtime=t.FAKE_RUNTIME, environment=faults.environment)
    with open("/proc/%d/maps" % d.pid) as f:
        assert "fault-preload" in f.read()
    return d


SPEC = json.dumps(t.spec(["sleep", "inf"]))


class Walk:
    """One verb, again and again, with the next call failing each time."""

    def __init__(self, daemon, faults):
        self.daemon, self.faults = daemon, faults
        self.client = daemon.connect(listen=False)
        self.bystander = self.client.create("bystander", Spec=SPEC)
        self.bystander.start()
        self.fired_in = {}
        self.lost = 0
        self.last_error = None

    def reconnect(self):
        self.daemon.disconnect()
        self.client = t.wait_for(self.try_connect, what="a connection")

    def try_connect(self):
        status = t.nursery().status(self.daemon.pid)
        assert status is None, "the daemon has ended with %d" % os.waitstatus_to_exitcode(status)
        with contextlib.suppress(OSError, EOFError):
            return self.daemon.connect(listen=False)

    def attempt(self, call):
        """True, an error, or None where the connection was closed."""
        try:
            call()
            return True
        except DBusError as e:
            assert e.name.startswith(("org.monoshim1.Error.", "org.freedesktop.DBus.Error.NoMemory", "org.freedesktop.DBus.Error.Failed")), (e.name, str(e))
            assert e.message, e.name
            self.last_error = e
            return e
        except (OSError, EOFError):
            self.faults.disarm()
            self.lost += 1
            self.reconnect()
            return None

    def there(self, id):
        return (NS, id) in self.client.list()

    def nothing_of(self, id):
        return not [e for e in self.daemon.leftover_entries() if os.path.basename(e).strip(".").startswith(id)]

    def run(self, name, fault, prepare, act, check):
        """Until it fires no more."""
        kinds, error, step = FAULTS[fault]
        fired, n = 0, 1
        while n < POINTS_MAX:
            prepare(self)
            self.faults.arm(kinds, error, n)
            where = None
            try:
                answer = self.attempt(lambda: act(self))
                where = self.faults.disarm()
                assert t.nursery().status(self.daemon.pid) is None, "the daemon has died"
                check(self, answer)
                assert self.there("bystander")
            except BaseException as e:
                where = where or self.faults.disarm()
                raise AssertionError("%s %s, call %d, failed in %s: answer %r: %s: %s\n%s" % (
                    name, errno.errorcode[error], n, where, self.last_error, type(e).__name__, e, self.daemon.log_tail(25))) from e
            if where is None:
                break
            fired += 1
            self.fired_in[where] = self.fired_in.get(where, 0) + 1
            n += step
        assert fired > 0
        self.over(name, fault, fired)

    def over(self, name, fault, fired):
        print("%s %s: %d errors injected (%s), %d connections closed" % (
            name, fault, fired, ", ".join("%s %d" % i for i in sorted(self.fired_in.items())), self.lost))
        self.reconnect()
        assert self.client.list()[NS, "bystander"][0] == "running"
        for ns, id in self.client.list():
            c = self.client.container(id, ns)
            c.delete() if c.status == "created" else c.end()
        if fault != "ENOMEM":  # an event for which there is no memory is signalled, but may be missing in GetEvents
            t.check_event_invariants(self.client.get_events()[1])
        self.daemon.disconnect()
        self.daemon.wait_idle()


def gone_or_deleted(w, answer, id="c1"):
    """Not there, and nothing of it is; or there, and can be deleted."""
    if answer is True or w.there(id):
        c = w.client.container(id)
        c.delete() if c.status == "created" else c.end()
    t.wait_for(lambda: not w.there(id) and w.nothing_of(id), timeout=SOON, what="all of %s to go" % id)
    w.client.create(id, Spec=SPEC).delete()


@pytest.mark.parametrize("fault", FAULTS)
def test_create(faulty, faults, fault):
    Walk(faulty, faults).run("create", fault, lambda w: None, lambda w: w.client.create("c1", Spec=SPEC, timeout=SOON),
                             gone_or_deleted)


@pytest.mark.parametrize("fault", FAULTS)
def test_start_kill_and_delete(faulty, faults, fault):
    def prepare(w):
        w.c = w.client.create("c1", Spec=SPEC)

    def act(w):
        w.c.start(timeout=SOON)
        w.c.kill(timeout=SOON)
        w.c.wait(timeout=SOON)
        w.c.delete(timeout=SOON)
    Walk(faulty, faults).run("life", fault, prepare, act, lambda w, answer: gone_or_deleted(w, w.there("c1")))


@pytest.mark.parametrize("fault", FAULTS)
def test_exec(faulty, faults, fault):
    number = [0]

    def prepare(w):
        number[0] += 1

    def act(w):
        e = w.bystander.on(w.client).exec("e%d" % number[0], "exit", "3", timeout=SOON)
        e.start(timeout=SOON)
        assert e.wait(timeout=SOON)[0] == 3
        e.delete(timeout=SOON)

    def check(w, answer):
        path = t.exec_path(NS, "bystander", "e%d" % number[0])
        b = w.bystander.on(w.client)
        if path in w.client.tree():
            e = b.known_exec("e%d" % number[0])
            if e.status == "created":
                e.start(timeout=SOON)
            assert e.wait(timeout=SOON)[0] == 3
            e.delete(timeout=SOON)
        number[0] += 1
        e = b.run("e%d" % number[0], "exit", "3")
        e.wait()
        e.delete()
        assert b.status == "running"
        left = os.listdir(faulty.container_dir("bystander") + "/exec")
        # What no memory could be found to name goes with its container; only a state would bring the process back.
        assert not [f for f in left if fault != "ENOMEM" or f.endswith(".state")], left
    Walk(faulty, faults).run("exec", fault, prepare, act, check)


# The wall clock

HOUR = 3600
YEARS = 10 * 365 * 86400


@pytest.mark.parametrize("step", [HOUR, -HOUR, YEARS, -YEARS])
def test_the_clock_jumps_while_things_go_on(make_daemon, faults, step):
    """Exits are told with their status, also those that came before the runtime had returned; and nothing waits for a clock."""
    d = make_daemon(runtime=t.FAKE_RUNTIME, environment=faults.environment, config={"RuntimeTimeoutSec": "20s"})
    client = d.connect()
    d.control.set("*", "exec", "wait-exit", "sleep-after 0.2")
    c = client.create("c1", Spec=SPEC)
    c.start()
    for i in range(3):
        e = c.exec("e%d" % i, "exit", "7")
        pending = e.begin("Start")
        t.wait_for(lambda: len(d.control.invocations("exec")) == i + 1)
        time.sleep(0.05)
        faults.set_clock(step if i % 2 == 0 else 0)
        pending.result(5 * t.SCALE)
        assert e.wait(5 * t.SCALE)[0] == 7, "an exit that came while the clock jumped"
        e.delete()
    c.kill()
    c.wait()
    began = time.monotonic()
    c.delete()
    assert time.monotonic() - began < 5 * t.SCALE
    busy = t.cpu_ticks(d.pid)
    time.sleep(0.5)
    assert t.cpu_ticks(d.pid) - busy <= 2, "busy after the jump"
    complete, events = client.get_events()
    t.check_event_invariants(events)
    assert complete and len([e for e in events if e.name == "TaskExit"]) == 4


def test_a_deadline_is_kept_whatever_the_clock_says(make_daemon, faults):
    d = make_daemon(runtime=t.FAKE_RUNTIME, environment=faults.environment, config={"RuntimeTimeoutSec": "1s"})
    client = d.connect()
    for step in (HOUR, -YEARS):
        d.control.set("c1", "create", "hang")
        began = time.monotonic()
        pending = client.begin_create("c1", Spec=SPEC)
        time.sleep(0.2)
        faults.set_clock(step)
        with t.refused("DeadlineExceeded"):
            pending.result(10 * t.SCALE)
        assert 0.9 <= time.monotonic() - began <= 5 * t.SCALE
        d.control.clear()


@pytest.mark.parametrize("step", [HOUR, -HOUR])
def test_output_is_waited_for_by_another_clock(make_daemon, faults, step, fifo):
    """What a process has written to its terminal reaches a slow reader before Delete answers, however the clock jumps."""
    d = make_daemon(environment=faults.environment)
    client = d.connect()
    out = fifo("out")
    text = t.spec(["sh", "-c", "i=0; while [ $i -lt 20000 ]; do echo 0123456789; i=$((i+1)); done"], terminal=True)
    c = client.create("c1", Spec=json.dumps(text), Terminal=True, Stdout=str(out))
    c.start()
    got = []

    def read():
        out.open_reader()
        time.sleep(1)
        got.append(out.read_to_end(30 * t.SCALE))
    reader = threading.Thread(target=read)
    reader.start()
    c.wait()
    faults.set_clock(step)
    c.delete()
    reader.join()
    assert got[0].count(b"0123456789") == 20000
