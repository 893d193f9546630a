# SPDX-License-Identifier: LGPL-2.1-or-later
"""Many containers at once: making them quickly, and keeping them from one scenario to the next."""

import collections
import os
import signal
import socket
import struct
import time

from jeepney import DBusAddress, MessageType, new_method_call

import monoshim_testing as t
from context import end_containers

IN_FLIGHT = 16
PATIENCE = 600  # seconds for one call, on a machine that is full


class Crowd:
    """A monoshimd with many containers that run and do nothing. runtime: "runc", or "fake" for the one of the tests, whose
    containers are bare processes, so that there may be ten thousand. keeps: a service manager keeps its descriptors. fifos:
    stdin, stdout and stderr of each are FIFOs, instead of /dev/null."""

    def __init__(self, context, runtime="runc", keeps=False, fifos=False):
        self.context = context
        self.fifos = fifos
        self.count = 0
        self.whole = True  # all of them run: nothing has failed half way
        self.pids = {}  # id -> pid of init
        directory = context.folder("d")
        # A socket that outlives the daemon, as systemd has it: who calls while it starts waits, and does not have to try.
        self.listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.listener.bind(os.path.join(directory, "listener"))
        self.listener.listen(64)
        self.daemon = t.Daemon(directory, runtime=t.FAKE_RUNTIME if runtime == "fake" else runtime, keeps=keeps,
                               sockets=[("bus", self.listener)], arguments=["--log-level=info"],
                               config={"IdleTimeoutSec": "infinity"},
                               environment={"FAKE_RUNTIME_CONTROL": "/nonexistent"} if runtime == "fake" else {})
        self.daemon.socket = self.listener.getsockname()
        self.program = "sleep inf" if runtime == "fake" else "sleep 100000"
        self.daemon.start()

    @property
    def pid(self):
        """The daemon's."""
        return self.daemon.pid

    def watchers(self):
        """The pids of those who watch."""
        return [self.daemon.pid]

    def connect(self):
        return self.daemon.connect(listen=False)

    def _all(self, begin, items):
        """Calls begin(item) for a pending call each, some at a time. Yields (item, result)."""
        flying = collections.deque()
        for item in items:
            flying.append((item, begin(item)))
            if len(flying) >= IN_FLIGHT:
                item, pending = flying.popleft()
                yield item, pending.result(PATIENCE)
        while flying:
            item, pending = flying.popleft()
            yield item, pending.result(PATIENCE)

    def grow(self, count):
        """Until 'count' containers run; fewer than there are: nothing happens. The client that asks for it goes away."""
        wanted = ["c%05d" % i for i in range(self.count, count)]
        if not wanted:
            return
        self.whole = False
        client = self.connect()
        paths = {}
        for id, (path, pid) in self._all(lambda id: self._begin_create(client, id), wanted):
            paths[id], self.pids[id] = path, pid
        for _ in self._all(lambda id: client.begin(paths[id], t.PROCESS, "Start"), wanted):
            pass
        self.count = count
        self.whole = True
        self.settle()

    def _begin_create(self, client, id):
        streams = {s: self.context.fifo() for s in ("Stdin", "Stdout", "Stderr")} if self.fifos else {}
        return client.begin_create(id, self.context.bundle(*self.program.split()), **streams)

    def shrink(self, count):
        """Ends the newest, until 'count' are left."""
        ids = ["c%05d" % i for i in range(count, self.count)]
        if not ids:
            return
        self.whole = False
        kill_all(self.pids[id] for id in ids)
        self.forget(ids)
        self.count = count
        self.whole = True
        self.settle()

    def forget(self, ids):
        """Deletes containers that end."""
        client = self.connect()
        for verb in ("Wait", "Delete"):
            for _ in self._all(lambda id: client.begin(t.container_path("default", id), t.PROCESS, verb), ids):
                pass
        for id in ids:
            del self.pids[id]

    def settle(self):
        """No client, and nothing to do any more: everything has been answered."""
        self.daemon.disconnect()
        time.sleep(0.5)

    def close(self):
        try:
            if self.daemon.pid is not None:
                if self.whole:
                    self.shrink(0)
                else:
                    end_containers(self.daemon)
                self.daemon.disconnect()
                self.daemon.stop()
        finally:
            self.listener.close()
            self.daemon.manager.forget()


class PeerCrowd:
    """The same with another peer, of which there is a process, or more, for each container."""

    def __init__(self, context, peer):
        self.context = context
        self.peer = peer
        self.count = 0
        self.whole = True
        peer.open(context.folder("d"))

    def watchers(self):
        common, each = self.peer.get_pids()
        return common + [pid for pids in each.values() for pid in pids]

    def grow(self, count):
        self.whole = False
        for i in range(self.count, count):
            self.peer.create("c%05d" % i, self.context.bundle())
            self.peer.start("c%05d" % i)
        self.count = max(count, self.count)
        self.whole = True
        time.sleep(0.5)

    def close(self):
        self.peer.close()


def kill_all(pids):
    for pid in pids:
        os.kill(pid, signal.SIGKILL)


def exchange(client, path, interface, member, signature="", *args):
    """One call by its bytes: (seconds until the answer is there, the answer). Reading a large answer as Python objects takes
    far longer than making it, so that is left to who needs it. The client must not listen to signals."""
    message = new_method_call(DBusAddress(path, t.BUS_NAME, interface), member, signature or None, args)
    data, _ = client._serialise(message, next(client.outgoing_serial))
    began = time.perf_counter()
    client.sock.sendall(data)
    answer = _receive(client.sock, 16)
    body, fields = struct.unpack_from("<I4xI" if answer[:1] == b"l" else ">I4xI", answer, 4)
    answer += _receive(client.sock, (fields + 7) // 8 * 8 + body)
    seconds = time.perf_counter() - began
    assert answer[1] == MessageType.method_return.value, answer[:500]
    return seconds, answer


def _receive(sock, size):
    data = bytearray()
    while len(data) < size:
        chunk = sock.recv(size - len(data))
        assert chunk, "monoshimd closed the connection"
        data += chunk
    return bytes(data)


def shared(context, runtime="runc"):
    """The crowd that several scenarios of one run look at, one after the other; made when the first asks for it."""
    crowds = context.__dict__.setdefault("crowds", {})
    if runtime in crowds and not crowds[runtime].whole:
        crowds.pop(runtime).close()
    if runtime not in crowds:
        crowds[runtime] = Crowd(context, runtime, keeps=True)
    return crowds[runtime]


def shared_peer(context, name):
    crowds = context.__dict__.setdefault("crowds", {})
    if name in crowds and not crowds[name].whole:
        crowds.pop(name).close()
    if name not in crowds:
        crowds[name] = PeerCrowd(context, type(context.peers[name])())
    return crowds[name]


def close_shared(context):
    crowds = context.__dict__.pop("crowds", {})
    for crowd in crowds.values():
        crowd.close()
