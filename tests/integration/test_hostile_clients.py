# SPDX-License-Identifier: LGPL-2.1-or-later
"""Clients that mean harm, or know no better: whatever they do, another client's calls are answered within a second, the
containers go on, and in the end the daemon has as little memory and as few descriptors as before."""

import contextlib
import resource
import select
import socket
import statistics
import struct
import threading
import time

import pytest
from jeepney import DBusAddress, new_method_call

import monoshim_testing as t

DRIVER = "org.freedesktop.DBus"
N_CONNECTIONS = 4000 if t.LARGE else 1000
N_RECONNECTS = 10000 if t.LARGE else 2000
FLOOD = 200000 if t.LARGE else 30000
HUGE = (63 if t.LARGE else 32) * 1024 * 1024  # a dictionary holds less than 64 MiB
SLACK_KIB = 4096 * t.SCALE
AUTHENTICATION = b"\0AUTH EXTERNAL\r\nDATA\r\nNEGOTIATE_UNIX_FD\r\nBEGIN\r\n"


def message(path, interface, member, signature=None, *args, serial=1):
    return new_method_call(DBusAddress(path, t.BUS_NAME, interface), member, signature, args).serialise(serial)


HELLO = message("/org/freedesktop/DBus", DRIVER, "Hello")
LIST = message(t.ROOT_PATH, t.MANAGER, "ListContainers", serial=2)


class Victim(threading.Thread):
    """A client that goes on calling, and measures how long it waits for each answer."""

    def __init__(self, path, **kw):
        super().__init__(daemon=True)
        self.client = t.Client(path, listen=False, **kw)
        self.times = []
        self.error = None
        self.stopping = threading.Event()

    def run(self):
        try:
            while not self.stopping.is_set():
                began = time.monotonic()
                self.client.call(t.container_path("default", "c1"), t.PROPERTIES, "Get", "ss", t.PROCESS, "Status")
                self.times.append(time.monotonic() - began)
                time.sleep(0.01)
        except BaseException as e:  # the test has to know
            self.error = e

    def stop(self):
        self.stopping.set()
        self.join()
        self.client.close()
        if self.error:
            raise self.error
        return statistics.median(self.times) * 1000, max(self.times) * 1000


class Scene:
    """A daemon with two containers, a victim, and the account at the end."""

    def __init__(self, daemon, client, path, record, **kw):
        self.daemon, self.client, self.path, self.kw, self.record = daemon, client, path, kw, record

    @contextlib.contextmanager
    def attacked(self):
        quiet = Victim(self.path, **self.kw)
        quiet.start()
        time.sleep(0.3)
        before = quiet.stop()
        self.client.sync()
        fds, memory = self.daemon.all_fds(), t.anonymous_kib(self.daemon.pid)
        victim = Victim(self.path, **self.kw)
        victim.start()
        try:
            yield
        finally:
            during = victim.stop()
        worst_memory = t.anonymous_kib(self.daemon.pid)
        t.wait_for(lambda: self.daemon.all_fds() <= fds, what="the end of the hostile connections")
        assert {k[1]: v[0] for k, v in self.client.list().items()} == {"c1": "running", "c2": "running"}
        t.wait_for(lambda: t.INSTRUMENTED or t.anonymous_kib(self.daemon.pid) <= memory + SLACK_KIB,
                   what="the daemon to give memory back: %d KiB before, %d KiB now" % (memory, t.anonymous_kib(self.daemon.pid)))
        print("\n%s: answers in %.1f ms (worst %.1f) before, %.1f ms (worst %.1f) meanwhile; %d KiB before, %d meanwhile, %d after"
              % ((self.record,) + before + during + (memory, worst_memory, t.anonymous_kib(self.daemon.pid))))
        # A sanitizer's memory of what was freed makes very large messages a matter of seconds.
        if not t.INSTRUMENTED:
            assert during[1] < 1000 * t.SCALE, "an answer took %d ms" % during[1]


@pytest.fixture
def scene(request, make_daemon, bundle):
    resource.setrlimit(resource.RLIMIT_NOFILE, (resource.getrlimit(resource.RLIMIT_NOFILE)[1],) * 2)
    daemon = make_daemon(arguments=["--log-level=warning"])
    client = daemon.connect(listen=False)
    for id in ("c1", "c2"):
        client.create(id, bundle("sleep", "10000")).start()
    return Scene(daemon, client, daemon.socket, request.node.name)


def connect(path, greet=True):
    s = socket.socket(socket.AF_UNIX)
    s.settimeout(t.TIMEOUT)
    s.connect(path)
    if greet:
        s.sendall(AUTHENTICATION + HELLO)
    return s


def hung_up(s):
    """Reads until the other side closes the connection."""
    with contextlib.suppress(ConnectionResetError, BrokenPipeError):
        while s.recv(1 << 16):
            pass
    s.close()


def send_all_that_goes(s, data, seconds):
    """Sends without ever reading; returns how many bytes went, and stops when the other side has had enough."""
    s.setblocking(False)
    deadline = time.monotonic() + seconds
    sent = 0
    view = memoryview(data)
    while sent < len(data) and time.monotonic() < deadline:
        try:
            sent += s.send(view[sent:sent + (1 << 18)])
        except BlockingIOError:
            select.select([], [s], [], 0.1)
        except (BrokenPipeError, ConnectionResetError):
            break
    return sent


def test_a_thousand_idle_connections(scene):
    with scene.attacked():
        clients = [connect(scene.path, greet=i % 2 == 0) for i in range(N_CONNECTIONS)]
        time.sleep(0.5)
        for s in clients:
            s.close()


def test_a_thousand_connections_that_call(scene):
    with scene.attacked():
        clients = [connect(scene.path) for _ in range(N_CONNECTIONS)]
        for s in clients:
            s.sendall(LIST * 5)
        for s in clients:
            s.close()


def test_one_that_never_reads_while_much_happens(scene):
    with scene.attacked():
        s = connect(scene.path)
        s.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        for i in range(20):
            e = scene.client.container("c1").exec("e%d" % i, "true")
            e.delete()
        s.close()


def test_one_that_floods_calls_without_reading(scene):
    with scene.attacked():
        s = connect(scene.path)
        send_all_that_goes(s, LIST * FLOOD, 5 * t.SCALE)
        s.close()


def test_one_that_asks_for_large_answers_without_reading(scene):
    calls = message(t.ROOT_PATH, t.OBJECT_MANAGER, "GetManagedObjects", serial=3) * 5000
    with scene.attacked():
        s = connect(scene.path)
        send_all_that_goes(s, calls, 5 * t.SCALE)
        s.close()


def test_waits_that_nobody_waits_for(scene):
    waits = message(t.container_path("default", "c1"), t.PROCESS, "Wait", serial=3) * 5000
    with scene.attacked():
        for _ in range(5):
            s = connect(scene.path)
            send_all_that_goes(s, waits, 5 * t.SCALE)
            s.close()


def garbage():
    bad_endian = b"B" + LIST[1:]
    bad_version = LIST[:3] + b"\2" + LIST[4:]
    bad_serial = LIST[:8] + b"\0\0\0\0" + LIST[12:]
    bad_type = LIST[:1] + b"\0" + LIST[2:]
    announced = LIST[:4] + struct.pack("<I", 128 * 1024 * 1024 - 512) + LIST[8:]
    too_large = LIST[:4] + struct.pack("<I", 0xffffffff) + LIST[8:]
    many_fields = LIST[:12] + struct.pack("<I", 64 * 1024 * 1024) + LIST[16:]
    bad_text = message(t.ROOT_PATH, t.MANAGER, "GetContainer", "ss", "default", "c1").replace(b"default", b"\xff\xfe\xc0ult\x80")
    bad_path = LIST.replace(b"/org/monoshim1", b"/org//onoshim1")
    bad_member = LIST.replace(b"ListContainers", b"List.Containrs")
    half = LIST[:-5]
    noise = bytes((i * 7919 >> 3) & 255 for i in range(5000))
    return [bad_endian, bad_version, bad_serial, bad_type, announced, too_large, many_fields, bad_text, bad_path, bad_member, half,
            noise, b"", b"\0" * 100, b"\r\n" * 1000]


def test_garbage_before_and_after_the_authentication(scene):
    greetings = [b"", b"\0", b"\0AUTH EXTERNAL\r\n", AUTHENTICATION, AUTHENTICATION + HELLO]
    with scene.attacked():
        for rest in garbage():
            for greeting in greetings:
                s = connect(scene.path, greet=False)
                with contextlib.suppress(BrokenPipeError, ConnectionResetError):
                    s.sendall(greeting + rest)
                    s.sendall(LIST)
                    s.shutdown(socket.SHUT_WR)
                hung_up(s)


def test_headers_that_announce_what_never_comes(scene):
    announced = LIST[:4] + struct.pack("<I", 128 * 1024 * 1024 - 512) + LIST[8:]
    with scene.attacked():
        clients = []
        for _ in range(100):
            s = connect(scene.path)
            s.sendall(announced)
            clients.append(s)
        time.sleep(0.5)
        for s in clients:
            s.close()


def huge_call(size):
    """CreateContainer with a Spec that large, which is refused."""
    text = "x" * size
    return message(t.ROOT_PATH, t.MANAGER, "CreateContainer", "sssa{sv}", "default", "c3", "", {"Spec": ("s", text)})


def test_messages_as_large_as_they_may_be(scene):
    call = huge_call(HUGE)
    with scene.attacked():
        clients = [connect(scene.path) for _ in range(3)]
        for s in clients:
            send_all_that_goes(s, call, 20 * t.SCALE)
        for s in clients:
            s.close()


def test_connections_that_come_and_go(scene):
    with scene.attacked():
        for i in range(N_RECONNECTS):
            connect(scene.path, greet=i % 3 == 0).close()


def test_descriptors_with_every_message(scene):
    """Nearly as many as a message can have, for options that nobody knows."""
    files = [open("/dev/null") for _ in range(250)]
    with scene.attacked():
        c = t.Client(scene.path, listen=False)
        for _ in range(100):
            with t.refused("InvalidArgument", "Option0"):
                c.call(t.ROOT_PATH, t.MANAGER, "CreateContainer", "sssa{sv}", "default", "x", "/nonexistent",
                       {"Option%d" % i: ("h", f) for i, f in enumerate(files)})
        c.close()
    for f in files:
        f.close()


def test_a_byte_at_a_time(scene):
    with scene.attacked():
        clients = [connect(scene.path, greet=False) for _ in range(50)]
        for b in AUTHENTICATION + HELLO[:40]:
            for s in clients:
                s.send(bytes([b]))
            time.sleep(0.02)
        for s in clients:
            s.close()


def test_subscribers_that_never_read(scene):
    with scene.attacked():
        c = t.Client(scene.path, listen=False)
        readers = [c.subscribe() for _ in range(200)]
        for i in range(20):
            scene.client.container("c1").exec("s%d" % i, "true").delete()
        for r in readers:
            r.close()
        c.close()
        scene.client.container("c1").exec("last", "true").delete()  # those who have gone are noticed when there is news


def test_sockets_that_are_half_closed(scene):
    with scene.attacked():
        clients = []
        for i in range(300):
            s = connect(scene.path)
            s.sendall(LIST * 3)
            s.shutdown((socket.SHUT_WR, socket.SHUT_RD)[i % 2])
            clients.append(s)
        time.sleep(0.5)
        for s in clients:
            s.close()


def test_floods_on_the_message_bus(request, message_bus, make_daemon, bundle):
    """There the bus holds back what is not read, and tells us apart from those who flood."""
    daemon = make_daemon(bus=message_bus.address, arguments=["--log-level=warning"])
    client = daemon.connect(listen=False)
    for id in ("c1", "c2"):
        client.create(id, bundle("sleep", "10000")).start()
    scene = Scene(daemon, client, message_bus.socket, request.node.name, is_bus=True)
    with scene.attacked():
        for _ in range(3):
            c = message_bus.connect(listen=False)
            send_all_that_goes(c.sock, LIST * (FLOOD // 10), 3 * t.SCALE)
            c.close()
