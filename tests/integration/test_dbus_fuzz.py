# SPDX-License-Identifier: LGPL-2.1-or-later
"""Every method of every interface, as the live introspection tells of them, with hostile arguments of right and wrong types,
over the peer-to-peer socket and over a message bus. The daemon answers all the while, the containers live, and nothing is
left over.

MONOSHIM_TEST_SEED=N repeats a run; without it each run is another, and prints its seed."""

import contextlib
import json
import os
import random
import resource
import select
import socket
import time
import xml.etree.ElementTree as ElementTree

import pytest
from jeepney import DBusAddress, HeaderFields, MessageFlag, new_method_call

import monoshim_testing as t

N_CALLS = 200000 if t.LARGE else 3000  # on each kind of connection
BATCH = 100
HUGE = 127 * 1024 * 1024 if t.LARGE else 1024 * 1024
INTROSPECTABLE = "org.freedesktop.DBus.Introspectable"
PEER = "org.freedesktop.DBus.Peer"

NUMBERS = {"y": (0, 255), "n": (-2**15, 2**15 - 1), "q": (0, 2**16 - 1), "i": (-2**31, 2**31 - 1), "u": (0, 2**32 - 1),
           "x": (-2**63, 2**63 - 1), "t": (0, 2**64 - 1)}
INTERESTING = (0, 1, 2, 9, 15, 64, 65, 127, 128, 255, 256, 65535, 2**31 - 1, 2**31, 2**32 - 1, 2**63 - 1, 2**63, 2**64 - 1, -1)
STRINGS = ["", " ", ".", "..", "/", "//", "/..", "../../etc/passwd", "/proc/self/fd/0", "/dev/null", "/dev/full", "/proc/nonexistent/x",
           "/etc", "c1", "c2", "default", "default/c1", "C1", "c1\n", "c1 ", "-c1", "c1-", "c--1", ".c1", "_", "c1/../c2", "\x01", "\x7f",
           "%s%n%d", "$(true)", "`true`", "'", '"', "\\", "é", "\u202e", "\U0001f600", "c1\\x00", "%00", "file:///", "file:///..",
           "file:///dev/null", "file:x", "journal:", "journal:\x01", "journal:" + "x" * 100, "binary:///nonexistent?a=b&c",
           "binary:///bin/true?%zz", "binary:", "nats://x", "null", "true", "{}", "[]", '""', "[" * 50 + "]" * 50, "[" * 5000,
           '{"args":[],"cwd":"/"}', '{"args":["/bin/true"],"cwd":"/"}', '{"args":["\\u0000"]}', '{"args":{"a":1}}', '{"cwd":[]}',
           '{"memory":{"limit":-1}}', '{"memory":{"limit":1e400}}', '{"pids":null}', '{"a":1,"a":2}', "{", "\ufeff{}",
           t.MANAGER, t.PROCESS, t.CONTAINER, "org.freedesktop.DBus.Properties", "Status", "Labels", "Pid"]
# What may be made where it is not there yet: nothing on this machine but below the test's own folder.
MADE = ("RuntimeRoot", "Checkpoint", "CriuWorkPath", "WorkPath", "ParentPath")
UNMAKEABLE = ["", "relative", "../x", "/proc/nonexistent/x", "/proc/self/fd/0/x", "/dev/null/x", "\x01"]
OPTIONS = list(t.OPTION_SIGNATURES) + list(t.CHECKPOINT_SIGNATURES) + ["Namespace", "ContainerId", "Nonsense", ""]
BASIC = "ybnqiuxtdsog"


class Fuzzer:
    """Makes up calls."""

    def __init__(self, seed, files):
        self.random = random.Random(seed)
        self.files = files

    def one_in(self, n):
        return self.random.randrange(n) == 0

    def string(self):
        r = self.random
        kind = r.randrange(40)
        if kind == 0:
            return "x" * r.choice((75, 76, 77, 255, 4096, 65536))
        if kind == 1:
            return "/" + "a/" * r.randrange(3000)
        if kind == 2:
            return "".join(chr(r.choice((r.randrange(1, 128), r.randrange(0x80, 0xd800)))) for _ in range(r.randrange(30)))
        return r.choice(STRINGS)

    def path(self):
        r = self.random
        return r.choice((t.ROOT_PATH, t.container_path("default", "c1"), t.container_path("default", "c2"),
                         t.container_path("", ""), t.container_path("..", ".."), t.container_path("default", "none"),
                         t.exec_path("default", "c1", "e1"), t.exec_path("default", "c1", "none"), "/", "/org",
                         t.ROOT_PATH + "/container", t.ROOT_PATH + "/container/default", t.container_path("default", "c1") + "/x",
                         t.ROOT_PATH + "/container/default/c1_00", "/" + "/".join("x" * 10 for _ in range(r.randrange(1, 50)))))

    def signature(self, depth=0):
        """One complete type."""
        r = self.random
        kind = r.randrange(10 if depth < 4 else 5)
        if kind < 5:
            return r.choice(BASIC)
        if kind < 7:
            return "a" + self.signature(depth + 1)
        if kind < 8:
            return "v"
        if kind < 9:
            return "(" + "".join(self.signature(depth + 1) for _ in range(r.randrange(1, 4))) + ")"
        return "a{" + r.choice(BASIC) + self.signature(depth + 1) + "}"

    def split(self, signature):
        """The complete types in a signature."""
        found, at = [], 0
        while at < len(signature):
            end = at
            while signature[end] == "a":
                end += 1
            if signature[end] in "({":
                depth = 0
                while True:
                    depth += {"(": 1, "{": 1, ")": -1, "}": -1}.get(signature[end], 0)
                    if depth == 0:
                        break
                    end += 1
            found.append(signature[at:end + 1])
            at = end + 1
        return found

    def variant(self, depth=0):
        r = self.random
        if depth == 0 and self.one_in(30):  # as deep as a message may be, or nearly
            value = ("s", "deep")
            for _ in range(r.choice((10, 30, 50))):
                value = ("v", value)
            return value
        signature = self.signature(min(depth + 2, 4))
        return signature, self.value(signature, depth + 1)

    def options(self):
        """An a{sv} that is often nearly right."""
        r = self.random
        if self.one_in(60):
            return {"key%d" % i: ("u", i) for i in range(5000)}
        result = {}
        for _ in range(r.randrange(5)):
            key = r.choice(OPTIONS)
            known = {**t.OPTION_SIGNATURES, **t.CHECKPOINT_SIGNATURES, **t.SUBSCRIBE_SIGNATURES}.get(key)
            if key in ("Stdin", "Stdout", "Stderr") and self.one_in(3):
                result[key] = ("h", r.choice(self.files))
            elif key in MADE and not self.one_in(4):
                result[key] = ("s", r.choice(UNMAKEABLE))
            elif known and key not in MADE and not self.one_in(4):
                result[key] = (known, self.value(known))
            else:
                result[key] = self.variant()
                if key in MADE and result[key][0] == "s":
                    del result[key]
        return result

    def value(self, signature, depth=0):
        r = self.random
        s = signature
        if s == "a{sv}":
            return self.options()
        if s in NUMBERS:
            low, high = NUMBERS[s]
            fit = [n for n in INTERESTING if low <= n <= high]
            return r.choice(fit) if r.randrange(4) else r.randint(low, high)
        if s == "b":
            return bool(r.randrange(2))
        if s == "d":
            return r.choice((0.0, -0.0, 1e308, float("inf"), float("nan")))
        if s == "s":
            return self.string()
        if s == "o":
            return self.path()
        if s == "g":
            return r.choice(("", "s", "a{sv}", "(((i)))", "aaaas"))
        if s == "h":
            return r.choice(self.files)
        if s == "v":
            return self.variant(depth)
        if s[0] == "(":
            return tuple(self.value(m, depth + 1) for m in self.split(s[1:-1]))
        if s[1] == "{":
            key, member = self.split(s[2:-1])
            return {self.value(key, depth + 1): self.value(member, depth + 1) for _ in range(r.randrange(4))}
        return [self.value(s[1:], depth + 1) for _ in range(r.choice((0, 1, 3, 2000 if s[1:] in BASIC else 5)) if depth < 3 else 1)]

    def call(self, methods):
        """(path, interface, member, signature, arguments)"""
        r = self.random
        path, interface, member, signature = r.choice(methods)
        kind = r.randrange(20)
        if kind == 0:
            path = self.path()
        elif kind == 1:
            interface = r.choice(("org.monoshim1.Nothing", t.MANAGER, t.PROCESS, t.CONTAINER, "a.b"))
        elif kind == 2:
            member = r.choice(("Nothing", member + "x", "x" * 255))
        elif kind in (3, 4, 5):
            signature = "".join(self.signature() for _ in range(r.randrange(4)))
        arguments = [self.value(s) for s in self.split(signature)]
        if member == "Checkpoint" and arguments and isinstance(arguments[0], str):
            arguments[0] = r.choice(UNMAKEABLE)
        return path, interface, member, signature, arguments


@pytest.fixture
def files():
    """Descriptors of every kind that a client may come up with."""
    with contextlib.ExitStack() as stack:
        found = []

        def add(fd):
            found.append(fd)
            stack.callback(os.close, fd)

        add(os.open("/", os.O_RDONLY | os.O_DIRECTORY))
        add(os.open("/dev/null", os.O_PATH))
        add(os.open("/dev/null", os.O_RDWR))
        add(os.open("/dev/full", os.O_WRONLY))
        add(os.memfd_create("fuzz"))
        add(os.eventfd(0) if hasattr(os, "eventfd") else os.memfd_create("other"))
        for fd in os.pipe():
            add(fd)
        closed_r, closed_w = os.pipe()
        os.close(closed_w)
        add(closed_r)
        for s in socket.socketpair():
            add(s.detach())
        add(socket.socket(socket.AF_INET, socket.SOCK_STREAM).detach())
        epoll = select.epoll()
        stack.callback(epoll.close)
        found.append(epoll.fileno())
        yield found


def walk(client, path=t.ROOT_PATH):
    """Every method that the live introspection tells of, below a path."""
    found = []
    tree = ElementTree.fromstring(client.call(path, INTROSPECTABLE, "Introspect")[0])
    for interface in tree.findall("interface"):
        for method in interface.findall("method"):
            signature = "".join(a.get("type") for a in method.findall("arg") if a.get("direction", "in") == "in")
            found.append((path, interface.get("name"), method.get("name"), signature))
    for node in tree.findall("node"):
        found += walk(client, path.rstrip("/") + "/" + node.get("name"))
    return found


class Attack:
    """Sends calls by the hundred without waiting for each, and looks after the daemon after every hundred."""

    def __init__(self, daemon, connect, watch, seed, files):
        self.daemon, self.connect, self.watch = daemon, connect, watch
        self.fuzzer = Fuzzer(seed, files)
        self.client = None
        self.n_calls = 0
        self.worst = 0.0
        self.answers = {}

    def renew(self):
        if self.client:
            self.client.close()
        self.client = self.connect()

    def begin(self, path, interface, member, signature, arguments):
        m = new_method_call(DBusAddress(path, t.BUS_NAME, interface), member, signature or None, tuple(arguments))
        if self.fuzzer.one_in(10):
            m.header.flags |= MessageFlag.no_reply_expected
        if self.fuzzer.one_in(10):
            m.header.flags |= MessageFlag.allow_interactive_authorization
        serial = next(self.client.outgoing_serial)
        try:
            data, fds = self.client._serialise(m, serial)
        except (TypeError, ValueError, OverflowError, UnicodeEncodeError, RecursionError, KeyError, AttributeError):
            return  # the client's own library does not let it out
        self.client._awaited.add(serial)
        try:
            if fds:
                self.client._send_with_fds(data, fds)
            else:
                self.client.sock.sendall(data)
            self.n_calls += 1
        except (BrokenPipeError, ConnectionResetError):
            self.renew()

    def read(self):
        """Takes in what there is; descriptors among it are closed."""
        try:
            while self.client.selector.select(0):
                self.client.pump(t.TIMEOUT)
        except (ConnectionResetError, BrokenPipeError, EOFError):
            self.renew()
            return
        for message in self.client.replies.values():
            name = message.header.fields.get(HeaderFields.error_name, "answered")
            self.answers[name] = self.answers.get(name, 0) + 1
            for value in message.body:
                if hasattr(value, "close"):
                    value.close()
        self.client.replies.clear()
        self.client.signals.clear()

    def restore(self, bundles):
        """Those who are fair game may have been ended: there is always somebody to be attacked."""
        known = self.watch.list()
        for id, bundle in bundles.items():
            with contextlib.suppress(t.DBusError):
                if ("default", id) not in known:
                    self.watch.create(id, bundle)
                c = self.watch.container(id)
                if id == "c1" and c.status == "stopped":
                    c.delete()
                    self.watch.create(id, bundle)
                if id == "c1" and c.status == "created":
                    c.start()
                if id == "c1" and c.status == "paused":
                    c.resume()
                if id == "c1":
                    c.exec("e1", "true")

    def look(self):
        began = time.monotonic()
        self.watch.call(t.ROOT_PATH, PEER, "Ping")
        self.worst = max(self.worst, time.monotonic() - began)
        assert self.daemon.pid is not None and t.is_alive(self.daemon.pid), "the daemon has died:\n" + self.daemon.log_tail()

    def run(self, methods, n, bundles):
        deadline = time.monotonic() + 20 * t.SCALE if not t.LARGE else float("inf")
        self.renew()
        while self.n_calls < n and time.monotonic() < deadline:
            for _ in range(BATCH):
                self.begin(*self.fuzzer.call(methods))
                if self.fuzzer.one_in(10):
                    self.read()
            self.read()
            self.look()
            self.restore(bundles)
            if self.fuzzer.one_in(10):
                self.renew()  # what waits for an answer is given up
        self.client.close()


def is_harmless(method):
    """The long-lived containers are to outlive it all, so that nobody may end them; others are fair game."""
    path, _, member, _ = method
    return not (path.endswith("/keep") and member in ("Kill", "Delete", "Pause", "Checkpoint", "Update", "Start", "Exec"))


@pytest.mark.parametrize("kind", ["peer", "bus"])
@pytest.mark.parametrize("runtime", ["fake", "runc"])
def test_hostile_calls(kind, runtime, message_bus, make_daemon, bundle, files):
    resource.setrlimit(resource.RLIMIT_NOFILE, (resource.getrlimit(resource.RLIMIT_NOFILE)[1],) * 2)
    seed = int(os.environ.get("MONOSHIM_TEST_SEED", time.time_ns() % 10**9))
    print("MONOSHIM_TEST_SEED=%d" % seed)
    daemon = make_daemon(bus=message_bus.address, runtime=t.FAKE_RUNTIME if runtime == "fake" else "runc",
                         arguments=["--log-level=warning"])
    watch = daemon.connect(listen=False)
    keep = watch.create("keep", bundle("sleep", "10000"))
    keep.start()
    keep.exec("e1", "true")
    bundles = {id: bundle("sleep", "10000") for id in ("c1", "c2")}
    for id, b in bundles.items():
        watch.create(id, b)
    watch.container("c1").start()
    watch.container("c1").exec("e1", "true")
    methods = [m for m in walk(watch) if is_harmless(m)]
    assert {m[1] for m in methods} >= {t.MANAGER, t.CONTAINER, t.PROCESS, t.PROPERTIES, t.OBJECT_MANAGER}
    if runtime == "runc":  # most calls end before the runtime, and the few that do not take their time
        n = N_CALLS // 2
    else:
        n = N_CALLS

    connect = (lambda: t.Client(daemon.socket, listen=False)) if kind == "peer" else \
        (lambda: t.Client(message_bus.socket, is_bus=True, listen=False))
    attack = Attack(daemon, connect, watch, seed, files)
    attack.run(methods, n, bundles)

    print("%d hostile calls, 0 crashes, %d hangs over 1 s (worst %.0f ms); %s" %
          (attack.n_calls, attack.worst > 1 * t.SCALE, attack.worst * 1000,
           ", ".join("%d %s" % (count, name.rpartition(".")[2]) for name, count in
                     sorted(attack.answers.items(), key=lambda i: -i[1]))))
    assert attack.worst < 1 * t.SCALE
    assert attack.n_calls > n / 4
    assert watch.container("keep").status == "running"
    t.wait_for(lambda: not daemon.zombies(), what="the dead to be reaped")
    # What waits in a queue ends, whatever was paused is let go on, and what is left is ended by the fixture.
    t.wait_for(lambda: watch.get(t.ROOT_PATH, t.MANAGER, "NJobs") == 0, what="the runtime")
    for (ns, id), (status, _, _) in watch.list().items():
        if status == "paused":
            with contextlib.suppress(t.DBusError):  # somebody has killed it, and the runtime has let it go on for that
                watch.container(id, ns).resume()


def test_strings_as_large_as_they_may_be(fake, bundle):
    client = fake.connect()
    c = client.create("c1", bundle("sleep", "10000"))
    c.start()
    for path, interface, member, signature in walk(client):
        types = Fuzzer(0, []).split(signature)
        for i, wanted in enumerate(types):
            if wanted != "s":
                continue
            arguments = [{"s": "x", "u": 1, "t": 1, "b": True, "q": 1, "a{sv}": {}, "v": ("s", "x")}[w] for w in types]
            arguments[i] = "x" * HUGE
            began = time.monotonic()
            with contextlib.suppress(t.DBusError):
                client.call(path, interface, member, signature, *arguments)
            assert time.monotonic() - began < (1 if not t.LARGE else 10) * t.SCALE, (path, interface, member)
    assert c.status == "running"


class Often(dict):
    """Is written with each key as often as it has values."""

    def items(self):
        return [(key, value) for key, values in super().items() for value in values]


def test_a_key_very_many_times(fake, directory):
    """As far as D-Bus is concerned a dictionary may have a key more than once: the last one counts, and nothing leaks (what
    memory does, a sanitizer tells)."""
    client = fake.connect()
    before = fake.all_fds()
    r, w = os.pipe()
    other_r, other_w = os.pipe()
    mounts = [[("tmpfs", "tmpfs", "", ["size=%dk" % (64 + i)])] for i in range(50)]
    path, _ = client.call(t.ROOT_PATH, t.MANAGER, "CreateContainer", "sssa{sv}", "default", "c1", "", Often(
        Spec=[("s", "{"), ("s", json.dumps(t.spec(["sleep", "inf"])))],
        Labels=[("a{ss}", {"n": str(i)}) for i in range(50)],
        Rootfs=[("a(sssas)", m) for m in mounts],
        Stdin=[("h", other_r)] * 8 + [("s", "/nonexistent"), ("s", "")],
        Stdout=[("s", "/nonexistent")] * 8 + [("h", other_w)] * 8 + [("h", w)]))
    for fd in (w, other_r, other_w):
        os.close(fd)
    c = t.Container(client, "default", "c1", path, None)
    assert c.get("Labels", t.CONTAINER) == {"n": "49"}
    assert (c.get("Stdin"), c.get("Stdout")) == ("", "fd")
    assert client.wait_event("TaskCreate").rootfs == mounts[-1]
    assert len(t.leftover_mounts(fake.directory)) == 1
    c.start()
    client.call(path, t.CONTAINER, "Checkpoint", "sa{sv}", directory + "/image", Often(
        EmptyNamespaces=[("as", ["n%d" % i]) for i in range(50)],
        WorkPath=[("s", "%s/work%d" % (directory, i)) for i in range(50)]))
    argv = fake.control.invocations("checkpoint")[0]["argv"]
    assert [argv[i + 1] for i, a in enumerate(argv) if a == "--empty-ns"] == ["n49"]
    assert [argv[i + 1] for i, a in enumerate(argv) if a == "--work-path"] == [directory + "/work49"]
    c.end()
    assert select.select([r], [], [], t.TIMEOUT)[0] and os.read(r, 1) == b""  # nobody has the other end any more
    os.close(r)
    t.wait_for(lambda: fake.all_fds() <= before, what="its descriptors to be closed")
