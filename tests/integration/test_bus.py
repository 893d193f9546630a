# SPDX-License-Identifier: LGPL-2.1-or-later
"""On a message bus: the name, the same objects, the programs that people use, and a bus that goes away."""

import os
import re
import select
import time

import pytest

import monoshim_testing as t
from monoshim_testing import CONTAINER, FAKE_RUNTIME, MANAGER, PROCESS, ROOT_PATH

NAME = t.BUS_NAME


@pytest.fixture
def on_bus(message_bus, make_daemon):
    return make_daemon(bus=message_bus.address)


@pytest.fixture
def client(on_bus, message_bus):
    return message_bus.connect()


@pytest.fixture
def container(client, bundle):
    c = client.create("c1", bundle("sleep", "1000"))
    c.start()
    return c


def test_the_name_is_owned_when_ready_is_told(message_bus, make_daemon):
    assert not message_bus.has_owner()
    d = make_daemon(runtime=FAKE_RUNTIME, bus=message_bus.address)
    assert message_bus.has_owner()
    d.stop()
    assert not message_bus.has_owner()
    d.start()


def test_a_life_over_the_bus(client, bundle):
    c = client.create("c1", bundle("sh", "-c", "exit 4"), Labels={"a": "b"})
    pending = c.begin("Wait")
    c.start()
    status, exited_at = pending.result()
    assert status == 4
    assert c.delete() == (c.pid, 4, exited_at)
    client.sync()
    assert c.event_names() == ["TaskCreate", "TaskStart", "TaskExit", "TaskDelete"]
    assert client.changes(c.path, "Status") == ["running", "stopped"]
    assert [p for p, _ in client.added()] == [c.path] and [p for p, _ in client.removed()] == [c.path]


def test_bus_and_peers_see_the_same(on_bus, client, container):
    peer = on_bus.connect()
    assert peer.list() == client.list()
    peer.container("c1").kill()
    container.wait()
    client.sync()
    peer.sync()
    assert [e.key() for e in client.events()][-1] == [e.key() for e in peer.events()][-1]


def test_descriptors_over_the_bus(client, bundle):
    r, w = os.pipe()
    c = client.create("c1", bundle("echo", "hello"), Stdout=w)
    os.close(w)
    with c.process("OpenPidFD")[0].to_file("rb", 0) as pidfd:
        c.start()
        assert select.select([pidfd], [], [], t.TIMEOUT)[0]
    with os.fdopen(r, "rb") as f:
        assert f.read() == b"hello\n"
    c.wait()
    c.delete()


def test_busctl_on_the_bus(message_bus, container):
    b = ["busctl", "--address=" + message_bus.address, "--no-pager"]
    assert NAME in t.run(*b, "list").stdout
    assert container.path in t.run(*b, "tree", "--list", NAME).stdout.split()
    out = t.run(*b, "introspect", NAME, container.path).stdout
    assert re.search(r"^\.Kill\s+method\s+ub\s+-", out, re.M)
    out = t.run(*b, "call", NAME, ROOT_PATH, MANAGER, "ListContainers").stdout
    assert out == 'a(sssuo) 1 "default" "c1" "running" %d "%s"\n' % (container.pid, container.path)
    assert t.run(*b, "get-property", NAME, container.path, PROCESS, "Status").stdout == 's "running"\n'
    xml = t.run(*b, "introspect", "--xml-interface", NAME, container.path).stdout
    assert 'name="signal"' in xml


def test_busctl_monitor_on_the_bus(message_bus, container):
    with t.Monitor("busctl", "--address=" + message_bus.address, "--no-pager", "monitor", NAME) as m:
        m.read_until("Monitoring")
        container.kill()
        text = m.read_until("Member=TaskExit.*UINT32 137")
        assert 'STRING "c1"' in text


def test_gdbus_on_the_bus(message_bus, container):
    a = ["--address", message_bus.address]
    out = t.run("gdbus", "introspect", *a, "--dest", NAME, "--object-path", container.path).stdout
    assert "in  u signal" in out and "in  b all" in out and "out t exited_at" in out
    assert "interface " + CONTAINER in out and "readonly s Status = 'running'" in out
    out = t.run("gdbus", "introspect", *a, "--dest", NAME, "--object-path", ROOT_PATH).stdout
    assert "TaskExit(t sequence" in out.replace("\n", " ").replace("  ", " ")
    out = t.run("gdbus", "call", *a, "--dest", NAME, "--object-path", container.path, "--method", PROCESS + ".Start", check=False)
    assert out.returncode != 0
    assert "org.monoshim1.Error.FailedPrecondition" in out.stderr and "cannot start a running process" in out.stderr


def test_gdbus_monitor_on_the_bus(message_bus, container):
    with t.Monitor("gdbus", "monitor", "--address", message_bus.address, "--dest", NAME) as m:
        m.read_until("is owned by")
        container.kill()
        text = m.read_until(r"org\.monoshim1\.Manager\.TaskExit \(uint64 3, 'default', 'c1', 'c1', uint32 %d, uint32 137, "
                            r"uint64 \d+\)" % container.pid)
        assert "PropertiesChanged" in text


def test_without_a_bus_to_connect_to_it_does_not_start(make_daemon, directory):
    d = make_daemon(start=False, runtime=FAKE_RUNTIME, bus="unix:path=%s/no-bus" % directory)
    with pytest.raises(AssertionError, match="before READY=1"):
        d.start()


def test_a_name_that_is_taken_keeps_the_second_daemon_from_starting(message_bus, make_daemon):
    first = make_daemon(runtime=FAKE_RUNTIME, bus=message_bus.address)
    second = make_daemon(start=False, runtime=FAKE_RUNTIME, bus=message_bus.address)
    with pytest.raises(AssertionError, match="before READY=1"):
        second.start()
    assert message_bus.has_owner()
    first.connect().sync()


def test_containers_survive_when_the_bus_goes_away(message_bus, make_daemon, bundle, directory):
    """Whatever the daemon does about it (go on with its peers, or end and be started again), nothing is lost."""
    os.mkdir(directory + "/second")
    bus = t.MessageBus(directory + "/second")
    d = make_daemon(runtime=FAKE_RUNTIME, bus=bus.address)
    client = bus.connect()
    c = client.create("c1", bundle("sleep", "inf"))
    c.start()
    bus.stop()
    time.sleep(0.5)
    assert t.is_alive(c.pid)
    if t.nursery().status(d.pid) is not None:
        d.wait()
    else:
        d.stop()
    d.bus = "none"
    d.start()
    assert d.connect().list() == {("default", "c1"): ("running", c.pid, c.path)}


def test_a_waiting_bus_client_that_goes_away_harms_nobody(message_bus, client, container):
    gone = message_bus.connect()
    for _ in range(5):
        container.on(gone).begin("Wait")
    gone.close()
    message_bus.clients.remove(gone)
    pending = container.begin("Wait")
    container.kill()
    assert pending.result()[0] == 137
    container.delete()
