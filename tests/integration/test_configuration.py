# SPDX-License-Identifier: LGPL-2.1-or-later
"""What a container's configuration says is what it gets: users, user namespaces, host names, hooks, capabilities, long names."""

import json
import os
import signal

import pytest

import monoshim_testing as t
from monoshim_testing import refused

CAPABILITIES = ["CAP_KILL", "CAP_AUDIT_WRITE", "CAP_NET_BIND_SERVICE"]


def output_of(client, b, out, **opts):
    c = client.create("c1", b, Stdout=str(out), **opts)
    c.start()
    text = out.read_to_end()
    status, _ = c.wait()
    assert c.delete()[1] == status
    return status, text


def test_the_host_name(client, bundle, fifo):
    assert output_of(client, bundle("hostname"), fifo("out").open_reader()) == (0, b"monoshim-test\n")


@pytest.mark.parametrize("user, expected", [
    ({"uid": 0, "gid": 0}, b"0 0 0\n"), ({"uid": 1000, "gid": 0}, b"1000 0 0\n"), ({"uid": 10, "gid": 20}, b"10 20 20\n"),
    ({"uid": 10, "gid": 20, "additionalGids": [30, 40]}, b"10 20 20 30 40\n")])
def test_the_user(client, bundle, fifo, user, expected):
    b = bundle("sh", "-c", "echo $(id -u) $(id -g) $(id -G)", user=user)
    assert output_of(client, b, fifo("out").open_reader()) == (0, expected)


def test_a_prestart_hook_gets_the_state(client, bundle, directory):
    """The runtime's state of the container on its stdin, and it has run before the program does."""
    b = bundle("sleep", "1000")
    with open(b + "/config.json") as f:
        config = json.load(f)
    config["hooks"] = {"prestart": [{"path": "/bin/sh", "args": ["sh", "-c", "cat >%s/state" % directory]}]}
    with open(b + "/config.json", "w") as f:
        json.dump(config, f)
    c = client.create("c1", b)
    with open(directory + "/state") as f:
        state = json.load(f)
    assert state["id"] == "c1" and state["pid"] == c.pid and state["bundle"] == b
    c.end()


def test_a_hook_that_fails(client, bundle):
    """What it wrote is in the error, and nothing is left of the container."""
    b = bundle("sleep", "1000")
    with open(b + "/config.json") as f:
        config = json.load(f)
    config["hooks"] = {"prestart": [{"path": "/bin/sh", "args": ["sh", "-c", "echo this will not do >&2; exit 3"]}]}
    with open(b + "/config.json", "w") as f:
        json.dump(config, f)
    with refused("RuntimeFailed", "OCI runtime create failed: ", "hook", "this will not do"):
        client.create("c1", b)
    assert client.list() == {} and client.event_names() == []


@pytest.mark.parametrize("relay", [False, True])
def test_the_longest_names_there_are(client, fifo, directory, relay):
    """76 characters each for namespace, container and exec, with streams, a terminal and the sockets that go with it."""
    ns, id, exec_id = "n" * 76, "i" * 76, "e" * 76
    b = t.make_bundle(directory + "/b", ["sh", "-c", "echo up; exec sleep 1000"])
    out, exec_out = fifo("out").open_reader(), fifo("exec-out").open_reader()
    c = client.create(id, b, ns=ns, Stdout=str(out), Relay=relay)
    c.start()
    assert out.read_line() == b"up\n"
    e = c.exec(exec_id, "sh", "-c", "stty size; exit 3", Terminal=True, ConsoleSize=(50, 20), Stdout=str(exec_out))
    e.start()
    assert exec_out.read_to_end() == b"20 50\r\n"
    assert e.wait()[0] == 3
    e.delete()
    terminal = client.create("j" * 76, t.make_bundle(directory + "/b2", ["stty", "size"], terminal=True), ns=ns, Terminal=True,
                             Stdout=str(fifo("terminal")), ConsoleSize=(51, 21))
    terminal.end()
    c.end()


MAPS = {
    "single": ([(0, 1000, 10)], [(0, 2000, 10)], 1000, 2000),
    "multiple": ([(0, 0x10000, 10), (10, 1000, 20)], [(0, 0x20000, 10), (10, 2000, 20)], 0x10000, 0x20000),
}


@pytest.mark.parametrize("maps", MAPS)
@pytest.mark.parametrize("kind", ["fifo", "relay", "file", "null"])
def test_user_namespaces(client, bundle, fifo, directory, maps, kind):
    """Streams that are the mapped root's: it can open them again; the exit code is that of Wait and of Delete."""
    uids, gids, io_uid, io_gid = MAPS[maps]
    keys = ("containerID", "hostID", "size")
    mappings = {k: [dict(zip(keys, m)) for m in v] for k, v in (("uidMappings", uids), ("gidMappings", gids))}
    linux = {"namespaces": [{"type": n} for n in ("mount", "ipc", "uts", "pid", "user")], **mappings}
    again = "echo again >/proc/self/fd/1 && " if kind in ("fifo", "relay") else ""
    b = bundle("sh", "-c", "%secho $(id -u); exit 7" % again, extra_linux=linux, noNewPrivileges=False)
    out = fifo("out").open_reader()
    opts = {"fifo": {"Stdout": str(out)}, "relay": {"Stdout": str(out), "Relay": True}, "null": {},
            "file": {"Stdout": "file://%s/log" % directory}}[kind]
    c = client.create("c1", b, IoUid=io_uid, IoGid=io_gid, **opts)
    c.start()
    assert c.wait()[0] == 7
    if kind in ("fifo", "relay"):
        assert out.read_to_end() == b"again\n0\n"
    assert c.delete()[1] == 7


@pytest.mark.parametrize("capable, expected", [(True, 143), (False, 1)])
def test_a_low_port(client, bundle, capable, expected):
    """Somebody other than root binds it only with the capability, and then runs until he is told to end."""
    names = CAPABILITIES if capable else []
    b = bundle("nc", "-l", "-p", "80", user={"uid": 1000, "gid": 1000},
               capabilities={k: names for k in ("bounding", "effective", "permitted", "inheritable", "ambient")},
               extra_linux={"namespaces": [{"type": n} for n in ("mount", "ipc", "uts", "pid", "network")]})
    c = client.create("c1", b)
    c.start()
    if capable:
        t.wait_for(lambda: listens(c.pid), what="the port")
        c.kill(signal.SIGTERM)  # as the init of its namespace it is not killed by what it does not handle
        if c.status == "running":
            c.kill()
            expected = 137
    assert c.wait()[0] in (expected, 137 if capable else expected)
    c.delete()


def listens(pid):
    found = []
    for name in ("tcp", "tcp6"):
        path = "/proc/%d/net/%s" % (pid, name)
        if os.path.exists(path):
            with open(path) as f:
                found += [line.split()[1:4] for line in f]
    return any(x[0].endswith(":0050") and x[2] == "0A" for x in found if len(x) == 3)


def test_killing_the_init_kills_its_children(client, bundle, fifo):
    """In a pid namespace of its own by the kernel's hand, and the runtime is not needed for it."""
    out = fifo("out").open_reader()
    c = client.create("c1", bundle("sh", "-c", "sleep 1000 & echo up; wait"), Stdout=str(out))
    c.start()
    out.read_line()
    child, = t.wait_for(lambda: set(c.pids()) - {c.pid}, what="the child")
    c.kill()
    assert c.wait()[0] == 137
    assert not t.is_alive(child)
    c.delete()


def test_deleted_by_the_runtime_behind_our_back(daemon, client, bundle):
    """The exit arrives; a kill finds nobody; Delete works."""
    c = client.create("c1", bundle("sleep", "1000"))
    c.start()
    t.run("runc", "--root", os.path.join(daemon.runtime_root, "default"), "delete", "--force", "c1")
    assert c.wait(2 * t.SCALE)[0] == 137
    with refused("NotFound"):
        c.kill()
    assert c.delete()[1] == 137
