# SPDX-License-Identifier: LGPL-2.1-or-later
"""monoshimd becomes another program, again and again, while clients are at work: none of them notices."""

import os
import threading
import time

import pytest

import monoshim_testing as t

ROUNDS = 40 if t.LARGE else 6
CALLERS = 3


class Upgrade:
    """A daemon that runs from a file of its own, so that this can be replaced."""

    def __init__(self, binary, make_daemon, **kw):
        self.binary = binary
        self.daemon = make_daemon(program=binary.path, **kw)

    def begin(self):
        self.binary.replace()
        t.begin_reload(self.daemon)

    def end(self):
        """What is executed is another file then: the one that was installed."""
        installed = os.stat(self.binary.path).st_ino
        t.wait_for(lambda: os.stat("/proc/%d/exe" % self.daemon.pid).st_ino == installed, what="the new program to run")

    def now(self):
        self.begin()
        self.end()


class Caller(threading.Thread):
    """Calls without end on a connection of its own; whatever fails is kept for the test to see."""

    def __init__(self, connect, container):
        super().__init__(daemon=True)
        self.client, self.path = connect(), container.path
        self.n, self.failure, self.ending = 0, None, False

    def run(self):
        try:
            while not self.ending:
                assert self.client.list()[("default", "c1")][0] == "running"
                assert self.client.get(self.path, t.PROCESS, "Status") == "running"
                fd, = self.client.call(self.path, t.PROCESS, "OpenPidFD")
                fd.close()
                calls = [self.client.begin(self.path, t.CONTAINER, "GetStats") for _ in range(5)]
                for call in calls:
                    call.result()
                self.client.signals.clear()
                self.n += 1
        except BaseException as e:
            self.failure = e

    def end(self):
        self.ending = True
        self.join(t.TIMEOUT)
        assert not self.is_alive(), "a caller hangs"
        if self.failure:
            raise self.failure


@pytest.fixture
def upgrade(message_bus, binary, make_daemon):
    return Upgrade(binary, make_daemon, bus=message_bus.address)


def test_nobody_notices(upgrade, message_bus, bundle):
    daemon, pid = upgrade.daemon, upgrade.daemon.pid
    peer, bused = daemon.connect(), message_bus.connect()
    c = peer.create("c1", bundle("sleep", "inf"))
    c.start()
    pipe = peer.subscribe(0)
    name = peer.unique_name
    owner = bused.bus_call("GetNameOwner", "s", t.BUS_NAME)[0]

    waits = [who.begin(c.path, t.PROCESS, "Wait") for who in (peer, bused) for _ in range(5)]
    peer.sync(), bused.sync()
    half = daemon.connect()
    callers = [Caller(daemon.connect, c) for _ in range(CALLERS)] + [Caller(message_bus.connect, c) for _ in range(CALLERS)]
    for caller in callers:
        caller.start()

    for i in range(ROUNDS):
        # It exits in one program or in the other.
        e = bused.container("c1").run("e%u" % i, "sh", "-c", "exit %u" % i)
        upgrade.now()
        assert e.wait()[0] == i
        e.delete()
        assert daemon.pid == pid
        assert [w.result() for w in waits if w.done()] == []
        before = [caller.n for caller in callers]
        t.wait_for(lambda: all(c.failure or c.n > n for c, n in zip(callers, before)), what="everybody to be answered")

    for caller in callers:
        caller.end()
    assert bused.bus_call("GetNameOwner", "s", t.BUS_NAME)[0] == owner
    assert peer.bus_call("Hello")[0] == name
    half.sync()

    c.kill(9)
    assert [w.result()[0] for w in waits] == [137] * len(waits)
    c.delete()

    # Everything was signalled, once and in order, to each in his way.
    expected = [e.sequence for e in peer.get_events()[1]]
    assert expected == list(range(1, len(expected) + 1))
    for who in (peer, bused):
        who.sync()
    assert [e.sequence for e in peer.events()] == expected
    assert [e.sequence for e in bused.events()] == expected[1:] or [e.sequence for e in bused.events()] == expected
    assert [r["sequence"] for r in pipe.records(len(expected))] == expected
    assert pipe.quiet(0.1)


def test_new_clients_wait_meanwhile(upgrade):
    """The socket that one connects to is the same: who comes at the wrong moment waits for a moment."""
    failures, ending = [], threading.Event()

    def come_and_go():
        try:
            while not ending.is_set():
                c = t.Client(upgrade.daemon.socket, listen=False)
                c.list()
                c.close()
        except BaseException as e:
            failures.append(e)

    thread = threading.Thread(target=come_and_go, daemon=True)
    thread.start()
    for _ in range(ROUNDS):
        upgrade.now()
    ending.set()
    thread.join(t.TIMEOUT)
    assert not failures, failures
    assert not thread.is_alive()


def test_half_a_message(upgrade):
    """Who has sent half of a call in the moment of the re-execution has time for the rest; who takes too long is cut off, and
    nobody has to wait for him for ever."""
    slow, dead = upgrade.daemon.connect(), upgrade.daemon.connect()
    message = t.new_method_call(t.DBusAddress(t.ROOT_PATH, t.BUS_NAME, t.MANAGER), "ListContainers")
    serial = next(slow.outgoing_serial)
    data = message.serialise(serial)
    slow._awaited.add(serial)
    slow.sock.sendall(data[:40])
    dead.sock.sendall(message.serialise(99)[:40])
    slow._wait_until_read(), dead._wait_until_read()

    upgrade.begin()
    time.sleep(0.1)
    slow.sock.sendall(data[40:])
    assert t.Pending(slow, serial).result() == ([],)
    upgrade.end()
    slow.sync()
    with pytest.raises((ConnectionResetError, BrokenPipeError)):
        dead.sync()


def test_who_does_not_read_loses_nothing(upgrade, bundle):
    """What a client has not read yet, more than its socket usually takes, is what it would have been."""
    lazy, lives = upgrade.daemon.connect(listen=False), upgrade.daemon.connect(listen=False)
    pending = [lazy.begin(t.ROOT_PATH, "org.freedesktop.DBus.Introspectable", "Introspect") for _ in range(4000)]
    for i in range(3):
        c = lives.create("c%u" % i, bundle("true"))
        c.start()
        c.wait()
        upgrade.now()
        c.delete()
    texts, n_refused = set(), 0
    for p in pending:
        try:
            texts.add(p.result()[0])
        except t.DBusError as e:
            assert e.name == "org.monoshim1.Error.ResourceExhausted"
            n_refused += 1
    assert len(texts) == 1 and n_refused > 0
    lazy.sync()
    assert [e.sequence for e in lazy.events()] == list(range(1, 13))
