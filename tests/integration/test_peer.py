# SPDX-License-Identifier: LGPL-2.1-or-later
"""The peer-to-peer socket with the programs that people use: busctl and gdbus, with no bus in between."""

import contextlib
import os
import re
import socket
import stat

import pytest

import monoshim_testing as t
from monoshim_testing import CONTAINER, MANAGER, PROCESS, ROOT_PATH, refused

NAME = t.BUS_NAME


@pytest.fixture
def address(daemon):
    return "unix:path=" + daemon.socket


@pytest.fixture
def container(client, bundle):
    c = client.create("c1", bundle("sleep", "1000"))
    c.start()
    yield c


def busctl(address, *args, **kw):
    return t.run("busctl", "--address=" + address, "--no-pager", *args, **kw).stdout


def gdbus(address, verb, *args, **kw):
    return t.run("gdbus", verb, "--address", address, *args, **kw).stdout


def test_busctl_call(address, container):
    out = busctl(address, "call", NAME, ROOT_PATH, MANAGER, "ListContainers")
    assert out == 'a(sssuo) 1 "default" "c1" "running" %d "%s"\n' % (container.pid, container.path)
    assert busctl(address, "call", NAME, ROOT_PATH, MANAGER, "GetContainer", "ss", "default", "c1") == 'o "%s"\n' % container.path


def test_busctl_call_of_an_error(address, container):
    p = t.run("busctl", "--address=" + address, "call", NAME, container.path, PROCESS, "Start", check=False)
    assert p.returncode != 0
    assert "cannot start a running process" in p.stderr


def test_busctl_get_property(address, container):
    assert busctl(address, "get-property", NAME, container.path, PROCESS, "Status", "Pid") == 's "running"\nu %d\n' % container.pid
    assert busctl(address, "get-property", NAME, ROOT_PATH, MANAGER, "NContainers") == "u 1\n"


def test_busctl_tree(address, container):
    out = busctl(address, "tree", "--list", NAME)
    assert ROOT_PATH in out.split() and container.path in out.split()


def test_busctl_introspect(address, container):
    out = busctl(address, "introspect", NAME, container.path)
    for name in (".Start", ".Kill", ".Delete", ".Wait", ".OpenPidFD", ".Status", ".Labels", ".Exec", CONTAINER, PROCESS):
        assert re.search(r"^%s\s" % re.escape(name), out, re.M), name
    assert re.search(r"^\.Kill\s+method\s+ub\s+-", out, re.M)
    assert re.search(r"^\.Delete\s+method\s+-\s+uut", out, re.M)
    assert re.search(r"^\.Status\s+property\s+s\s+\"running\"\s+emits-change", out, re.M)
    assert re.search(r"^\.Id\s+property\s+s\s+\"c1\"\s+const", out, re.M)
    out = busctl(address, "introspect", NAME, ROOT_PATH)
    assert re.search(r"^\.CreateContainer\s+method\s+sssa\{sv\}\s+ou", out, re.M)
    assert re.search(r"^\.TaskExit\s+signal\s+tsssuut", out, re.M)
    assert re.search(r"^\.NContainers\s+property\s+u\s+1\s+-", out, re.M)


def test_argument_names_are_in_the_introspection(address, container):
    xml = busctl(address, "introspect", "--xml-interface", NAME, ROOT_PATH)
    for text in ('name="namespace"', 'name="id"', 'name="bundle"', 'name="options"', 'name="container"', 'name="pid"',
                 'name="sequence"', 'name="container_id"', 'name="exit_status"', 'name="exited_at"'):
        assert text in xml, text
    arguments = re.findall(r"<arg ([^>]*)/>", xml)
    ours = xml[xml.index('<interface name="org.monoshim1'):]
    for a in re.findall(r"<arg ([^>]*)/>", ours[:ours.index("</interface>")]):
        assert "name=" in a, a
    assert arguments
    xml = busctl(address, "introspect", "--xml-interface", NAME, container.path)
    for text in ('name="signal"', 'name="all"', 'name="width"', 'name="height"', 'name="exit_status"'):
        assert text in xml, text


def test_busctl_monitor_shows_signals(address, container):
    with t.Monitor("busctl", "--address=" + address, "--no-pager", "monitor") as m:
        m.read_until("Monitoring")
        container.kill()
        m.read_until("Member=TaskExit.*UINT32 137.*PropertiesChanged")


def test_gdbus_call(address, container):
    out = gdbus(address, "call", "--dest", NAME, "--object-path", ROOT_PATH, "--method", MANAGER + ".GetContainer", "default", "c1")
    assert out == "(objectpath '%s',)\n" % container.path
    out = gdbus(address, "call", "--dest", NAME, "--object-path", container.path, "--method", t.PROPERTIES + ".Get", PROCESS, "Status")
    assert out == "(<'running'>,)\n"


def test_gdbus_call_creates_a_container(address, client, bundle):
    b = bundle("true")
    out = gdbus(address, "call", "--dest", NAME, "--object-path", ROOT_PATH, "--method", MANAGER + ".CreateContainer", "default",
                "g1", b, "{'Labels': <{'a': 'b'}>}")
    assert re.match(r"\(objectpath '/org/monoshim1/container/default/g1', uint32 \d+\)", out)
    client.container("g1").delete()


def test_any_destination_is_accepted(daemon, client, container):
    for destination in (NAME, ":1.1", "org.example.other", None):
        assert client.call(container.path, "org.freedesktop.DBus.Peer", "Ping", destination=destination) == ()
        assert client.call(ROOT_PATH, MANAGER, "GetContainer", "ss", "default", "c1", destination=destination) == (container.path,)


def test_the_calls_to_a_bus_are_answered(daemon):
    client = daemon.connect(listen=False)
    assert re.match(r"^:\d+\.\d+$", client.unique_name)
    other = daemon.connect(listen=False)
    assert other.unique_name != client.unique_name
    rule = "type='signal',sender='org.monoshim1'"
    assert client.bus_call("AddMatch", "s", rule) == ()
    assert client.bus_call("RemoveMatch", "s", rule) == ()
    owner = client.bus_call("GetNameOwner", "s", NAME)[0]
    assert re.match(r"^:\d+\.\d+$", owner)
    with refused("org.freedesktop.DBus.Error.NameHasNoOwner"):
        client.bus_call("GetNameOwner", "s", "org.example.nobody")


@pytest.mark.parametrize("first", [b"BEGIN\r\n", b"NEGOTIATE_UNIX_FD\r\nBEGIN\r\n", b"AUTH EXTERNAL 30\r\nNEGOTIATE_UNIX_FD\r\nBEGIN\r\n"])
def test_a_first_call_that_comes_in_one_piece_with_the_authentication_is_answered(daemon, first):
    """Clients need not wait between BEGIN and their first call, and most do not."""
    message = t.new_method_call(t.DBusAddress("/org/freedesktop/DBus", "org.freedesktop.DBus", "org.freedesktop.DBus"), "Hello")
    s = socket.socket(socket.AF_UNIX)
    s.settimeout(3 * t.SCALE)
    s.connect(daemon.socket)
    if first.startswith(b"AUTH"):
        s.sendall(b"\0" + first + message.serialise(1))
    else:
        s.sendall(b"\0AUTH EXTERNAL 30\r\n")
        assert s.recv(100).startswith(b"OK ")
        s.sendall(first + message.serialise(1))
    answer = b""
    while b"NameAcquired" not in answer and b":1." not in answer:
        answer += s.recv(1000)
    s.close()


def test_become_monitor_is_answered_and_name_lost_follows(daemon):
    client = daemon.connect(listen=False)
    client.call("/org/freedesktop/DBus", "org.freedesktop.DBus.Monitoring", "BecomeMonitor", "asu", [], 0,
                destination="org.freedesktop.DBus")
    t.wait_for(lambda: client.drain() or [m for m in client._matching(None, "org.freedesktop.DBus", "NameLost")],
               what="NameLost")
    m = next(client._matching(None, "org.freedesktop.DBus", "NameLost"))
    assert m.body == (client.unique_name,)


def test_introspection_of_the_tree_from_its_root(address, container):
    out = gdbus(address, "call", "--dest", NAME, "--object-path", "/", "--method", "org.freedesktop.DBus.Introspectable.Introspect")
    assert '"org"' in out


def test_clients_come_and_go_without_a_trace(daemon):
    client = daemon.connect()
    before = daemon.all_fds()
    for _ in range(200 if t.SLOW else 50):
        c = t.Client(daemon.socket)
        c.call(ROOT_PATH, MANAGER, "ListContainers")
        c.close()
    client.sync()
    t.wait_for(lambda: daemon.all_fds() <= before, what="the end of their connections")


def test_the_socket_is_private_and_goes_with_the_daemon(daemon):
    st = os.lstat(daemon.socket)
    assert st.st_mode & 0o777 == 0o600 and st.st_uid == 0
    daemon.stop()
    with pytest.raises(OSError):
        socket.socket(socket.AF_UNIX).connect(daemon.socket)
    daemon.start()


def test_properties_get_all_over_every_object(client, container):
    for path, interfaces in client.tree().items():
        for interface, properties in interfaces.items():
            if interface.startswith("org.monoshim1"):
                now = client.get_all(path, interface)
                assert set(now) == set(properties)


def test_two_hundred_calls_in_flight_on_one_connection(client, container):
    pending = [client.begin(container.path, t.PROPERTIES, "Get", "ss", PROCESS, "Status") for _ in range(200)]
    assert all(p.result()[0] == ("s", "running") for p in pending)


def test_one_object_has_one_path(daemon, bundle):
    client = daemon.connect()
    c = client.create("c1", bundle("sleep", "1000"))
    for path in (t.ROOT_PATH + "/container/default/_63_31", t.ROOT_PATH + "/container/default/c1_00x"):
        with t.refused("NotFound"):
            client.call(path, t.PROCESS, "Start")
        with pytest.raises(t.DBusError):
            client.get(path, t.PROCESS, "Status")
    assert c.status == "created"
    c.delete()


def test_a_service_that_is_here_needs_no_start(daemon):
    client = daemon.connect()
    assert client.bus_call("StartServiceByName", "su", t.BUS_NAME, 0) == (2,)
    with pytest.raises(t.DBusError, match="ServiceUnknown"):
        client.bus_call("StartServiceByName", "su", "org.example.Other", 0)


def test_no_socket_can_be_reached_without_its_path(daemon, client, bundle, fifo):
    """CVE-2020-15257: an abstract socket is open to every container that shares our network namespace."""
    c = client.create("c1", bundle("cat", terminal=True), Terminal=True)
    c.start()
    inodes = set()
    for fd in os.listdir("/proc/%d/fd" % daemon.pid):
        with contextlib.suppress(FileNotFoundError):
            target = os.readlink("/proc/%d/fd/%s" % (daemon.pid, fd))
            if target.startswith("socket:["):
                inodes.add(target[8:-1])
    with open("/proc/net/unix") as f:
        ours = [line.split() for line in list(f)[1:] if line.split()[6] in inodes]
    names = [line[7] for line in ours if len(line) > 7]
    assert daemon.socket in names and not any(name.startswith("@") for name in names), names
    for path in {n for n in names if os.path.exists(n)}:
        assert stat.S_IMODE(os.stat(path).st_mode) == 0o600, path
