# SPDX-License-Identifier: LGPL-2.1-or-later
"""Lists of all containers: they are made in several turns of the loop, in which others are answered, and say all the same
how things stood at one moment, the one at which they are sent."""

import json
import os
import shutil
import time

import pytest
from jeepney import HeaderFields, MessageType

import monoshim_testing as t

N = 300  # several turns of each kind
PEER = "org.freedesktop.DBus.Peer"
LISTS = {"GetManagedObjects": t.OBJECT_MANAGER, "ListContainers": t.MANAGER}
every_list = pytest.mark.parametrize("member", LISTS)


def given_ended_containers(daemon, n):
    """As a former daemon has left them: to run as many would take long."""
    for i in range(n):
        directory = os.path.join(daemon.state, "default", "c%04d" % i)
        os.makedirs(directory, mode=0o700)
        state = {
            "version": 2, "boot_id": t.boot_id().replace("-", ""), "namespace": "default", "id": "c%04d" % i, "phase": "live",
            "bundle": daemon.directory, "runtime": t.FAKE_RUNTIME, "runtime_root": daemon.runtime_root + "/default",
            "created_at": 1, "labels": {"number": str(i), "äöü": "ß"},
            "init": {"state": "stopped", "pid": 4000000, "start_time": 1, "started_at": 2, "exited": True, "exit_status": i % 256,
                     "exited_at": 3, "stdin": {"kind": "null"}, "stdout": {"kind": "null"}, "stderr": {"kind": "null"}},
        }
        with open(os.path.join(directory, "state.json"), "w") as f:
            json.dump(state, f)
    for path in (daemon.state, os.path.join(daemon.state, "default")):
        os.chmod(path, 0o711)


@pytest.fixture
def many(make_daemon):
    d = make_daemon(runtime=t.FAKE_RUNTIME, start=False)
    given_ended_containers(d, N)
    yield d.start()
    # To delete them one by one would take long, too.
    if d.pid is not None:
        d.kill9()
    for i in range(N):
        shutil.rmtree(os.path.join(d.state, "default", "c%04d" % i))
    d.start()


class Together:
    """All that a client sends meanwhile goes out in one piece."""

    def __init__(self, client):
        self.client, self.sock, self.data = client, client.sock, b""

    def __enter__(self):
        self.client.sock = self

    def sendall(self, data):
        self.data += data

    def __exit__(self, *_):
        self.client.sock = self.sock
        self.sock.sendall(self.data)


def messages_until(client, *pending):
    """All messages in the order in which they come, until all of these calls have been answered."""
    deadline, waiting, found = time.monotonic() + t.TIMEOUT, {p.serial for p in pending}, []
    while waiting:
        m = client._receive(deadline)
        found.append(m)
        if m.header.message_type != MessageType.signal:
            assert m.header.message_type == MessageType.method_return, m
            waiting.remove(m.header.fields[HeaderFields.reply_serial])
    return found


def index_of_reply(messages, pending):
    return next(i for i, m in enumerate(messages) if m.header.fields.get(HeaderFields.reply_serial) == pending.serial)


def test_all_objects_with_all_their_properties(many, bundle):
    client = many.connect()
    c = client.create("running", bundle("sleep", "inf"), Labels={"a": "b"})
    c.start()
    e = c.run("e1", "sleep", "inf")
    objects = client.tree()
    assert len(objects) == N + 2
    for path in ([t.container_path("default", "c%04d" % i) for i in range(0, N, 97)] + [c.path, e.path]):
        of_us = {i for i in objects[path] if i.startswith("org.monoshim1.")}
        assert of_us == ({t.PROCESS} if path == e.path else {t.CONTAINER, t.PROCESS})
        for interface in of_us:
            assert t.plain(objects[path][interface]) == client.get_all(path, interface), (path, interface)
        assert set(objects[path]) - of_us == {"org.freedesktop.DBus." + i for i in ("Peer", "Introspectable", "Properties")}
    listed = client.list()
    assert len(listed) == N + 1
    client.container("running").end()
    assert c.path not in client.tree() and len(client.tree()) == N


@every_list
def test_others_are_answered_while_a_list_is_made(many, member):
    """Also on the same connection, where it can be seen by the order of what comes back."""
    client = many.connect(listen=False)
    with Together(client):
        listing = client.begin(t.ROOT_PATH, LISTS[member], member)
        ping = client.begin(t.ROOT_PATH, PEER, "Ping")
    messages = messages_until(client, listing, ping)
    assert index_of_reply(messages, ping) < index_of_reply(messages, listing)
    assert len(messages[index_of_reply(messages, listing)].body[0]) == N


@every_list
def test_a_list_comes_before_what_is_told_of_a_change(many, bundle, member):
    """Who has asked for a list takes what is told before its answer for old. So nothing is told in between: the list is ended
    first, however much of it is left."""
    client = many.connect()
    c = client.create("running", bundle("sleep", "inf"))
    c.start()
    client.drain(0.1)
    with Together(client):
        listing = client.begin(t.ROOT_PATH, LISTS[member], member)
        added = c.begin_exec("e1", "sleep", "inf")
    messages = messages_until(client, listing, added)
    place = index_of_reply(messages, listing)
    signals = [i for i, m in enumerate(messages) if m.header.message_type == MessageType.signal]
    assert signals and place < signals[0] < index_of_reply(messages, added)
    assert len(messages[place].body[0]) in ((N + 1, N + 2) if member == "GetManagedObjects" else (N + 1,))
    client = many.connect()
    client.container("running").end()


@every_list
def test_who_leaves_meanwhile_costs_nothing(many, member):
    before = many.all_fds()
    for _ in range(3):
        client = many.connect(listen=False)
        for _ in range(5):
            client.begin(t.ROOT_PATH, LISTS[member], member)
        client.close()
    many.clients.clear()
    t.wait_for(lambda: many.all_fds() <= before, what="the end of all connections")
    assert len(many.connect().list()) == N


def test_many_lists_at_once_are_all_right(many):
    clients = [many.connect(listen=False) for _ in range(20)]
    pending = [(c.begin(t.ROOT_PATH, LISTS[m], m)) for c in clients for m in LISTS]
    assert all(len(p.result()[0]) == N for p in pending)


def test_a_daemon_that_ends_ends_its_lists(many):
    client = many.connect(listen=False)
    pending = client.begin(t.ROOT_PATH, LISTS["GetManagedObjects"], "GetManagedObjects")
    os.kill(many.pid, 15)
    assert len(pending.result()[0]) == N
    many.wait()
