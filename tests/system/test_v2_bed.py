# SPDX-License-Identifier: LGPL-2.1-or-later
"""What only a kernel with cgroup v2 can show, with both runtimes and both cgroup drivers, in a bed that has one.

The daemons here are the tests' own, as in the integration tests: "system" containers are scopes of the bed's systemd.
"""

import json
import os
import signal
import time

import pytest

import cgroups
import monoshim_testing as t
from monoshim_testing import CONTAINER, refused

pytestmark = pytest.mark.skipif(not cgroups.IS_V2, reason="there is no cgroup v2 here")

MEMORY = 32 << 20
KINDS = [(r, s) for r in ("runc", "crun") for s in (False, True)]


@pytest.fixture(params=KINDS, ids=lambda kind: "%s-%s" % (kind[0], "systemd" if kind[1] else "cgroupfs"))
def create(request, client, bundle):
    """create(id, args..., resources={...}) makes a container with one runtime and one cgroup driver."""
    runtime, systemd = request.param

    def make(id, *args, resources=None, **kw):
        cgroup = "system.slice:mst:" + id if systemd else "/%s%s" % (t.CGROUP_PREFIX, id)
        opts = {k: kw.pop(k) for k in list(kw) if k[0].isupper()}
        b = bundle(*args, cgroup=cgroup, extra_linux=dict(cgroups.resources(**(resources or {})), cgroupsPath=cgroup), **kw)
        return client.create(id, b, Runtime=runtime, SystemdCgroup=systemd, **opts)

    make.runtime, make.systemd = runtime, systemd
    return make


def own_cgroup(c):
    """The container's cgroup as a whole: crun puts what systemd made for a container above the one that init is in."""
    path = cgroups.directory(c.pid)
    return os.path.dirname(path) if path.endswith(".scope/container") else path


def memory_events(c):
    return cgroups.flat(own_cgroup(c) + "/memory.events")


EAT = "tail /dev/zero"  # a line that has no end


@pytest.fixture(autouse=True)
def busybox_tail():
    """The tests' root file system has no tail."""
    path = os.path.join(t.rootfs(), "bin", "tail")
    if not os.path.lexists(path):
        os.symlink("busybox", path)


def limited():
    return {"memory": {"limit": MEMORY, "swap": MEMORY}}


# Where a container is


def test_limits_and_the_cgroup(client, create):
    c = create("c1", "sleep", "1000", resources=cgroups.LIMITS)
    c.start()
    assert cgroups.limits(c.pid) == cgroups.LIMITS_READ
    path = cgroups.directory(c.pid)
    group = c.get("ControlGroup", CONTAINER)
    assert (path + "/").startswith("/sys/fs/cgroup%s/" % group), (path, group)
    assert group.endswith("mst-c1.scope") or group.endswith("c1") or group.endswith("mst-c1.scope/container")
    assert client.manager("GetContainerByPID", "u", c.pid) == (c.path,)
    c.end()
    t.wait_for(lambda: not os.path.exists(path), what="the cgroup to go")


def test_list_pids(client, create, fifo):
    out = fifo("out").open_reader()
    c = create("c1", "sh", "-c", "sleep 1000 & sleep 1001 & echo ready; wait", Stdout=str(out))
    assert client.call(c.path, CONTAINER, "ListPids")[0] == [(c.pid, "")]
    c.start()
    out.read_line()
    pids = client.call(c.path, CONTAINER, "ListPids")[0]
    assert sorted(p for p, _ in pids) == sorted([c.pid] + t.children(c.pid))
    assert {exec_id for _, exec_id in pids} == {""}
    for pid, _ in pids:
        assert client.manager("GetContainerByPID", "u", pid) == (c.path,)
    c.end()


def test_kill_all_reaches_every_process(client, create, fifo):
    out = fifo("out").open_reader()
    c = create("c1", "sh", "-c", "sleep 1000 & sleep 1001 & echo ready; wait", pid_namespace="host", Stdout=str(out))
    c.start()
    out.read_line()
    children = t.children(c.pid)
    assert len(children) == 2
    c.kill(signal.SIGKILL, all=True)
    assert c.wait()[0] == 137
    t.wait_for(lambda: not any(t.is_alive(p) for p in children), what="the children to die")
    c.delete()


# Out of memory


def test_oom_of_a_child(client, create):
    c = create("c1", "sh", "-c", EAT + "; echo $?; sleep 1000", resources=limited())
    assert c.get("OOMKills", CONTAINER) == 0
    c.start()
    client.wait_event("TaskOOM", "c1")
    t.wait_for(lambda: c.get("OOMKills", CONTAINER) == 1, what="OOMKills")
    assert memory_events(c)["oom_kill"] == 1
    assert c.status == "running"
    assert client.changes(c.path, "OOMKills")[-1] == 1
    c.end()
    assert c.event_names() == ["TaskCreate", "TaskStart", "TaskOOM", "TaskExit", "TaskDelete"]


def test_oom_of_init_is_told_before_its_exit(client, create):
    c = create("c1", "sh", "-c", "exec " + EAT, resources=limited())
    c.start()
    assert c.wait()[0] == 137
    assert c.event_names() == ["TaskCreate", "TaskStart", "TaskOOM", "TaskExit"]
    assert c.get("OOMKills", CONTAINER) == 1
    c.delete()


def test_every_oom_kill_is_counted(client, create):
    """The kernel's own count is the reference; the signals may be fewer, since it may kill twice before anybody looks."""
    c = create("c1", "sh", "-c", "for i in 1 2 3 4 5; do %s; done; sleep 1000" % EAT, resources=limited())
    c.start()
    t.wait_for(lambda: c.get("OOMKills", CONTAINER) == 5, what="five kills")
    assert memory_events(c)["oom_kill"] == 5
    client.sync()
    assert 1 <= c.event_names().count("TaskOOM") <= 5
    assert c.end()[1] == 137


def test_hitting_the_limit_is_no_oom(client, create, fifo):
    """memory.events also counts reclaim at the limit ("max"): a cache that has to give way kills nobody."""
    out = fifo("out").open_reader()
    big = os.path.join(t.rootfs(), "big")
    with open(big, "wb") as f:
        f.truncate(2 * MEMORY)
    c = create("c1", "sh", "-c", "cat /big >/dev/null; echo done; sleep 1000", resources=limited(), Stdout=str(out))
    c.start()
    out.read_line()
    client.sync()
    os.unlink(big)
    assert memory_events(c)["oom_kill"] == 0
    assert c.get("OOMKills", CONTAINER) == 0
    assert "TaskOOM" not in c.event_names()
    c.end()


def test_oom_while_the_daemon_is_away_is_told_afterwards(daemon, client, create, fifo):
    go = fifo("go")
    c = create("c1", "sh", "-c", "read x; %s; sleep 1000" % EAT, resources=limited(), Stdin=str(go))
    c.start()
    go.open_writer()
    daemon.kill9()
    go.write(b"x\n")
    path = own_cgroup(c)
    t.wait_for(lambda: cgroups.flat(path + "/memory.events")["oom_kill"] == 1, what="the kernel to kill")
    daemon.start()
    client = daemon.connect()
    c = c.on(client)
    t.wait_for(lambda: c.get("OOMKills", CONTAINER) == 1, what="OOMKills")
    assert [e.name for e in client.get_events()[1]] == ["TaskCreate", "TaskStart", "TaskOOM"]
    c.end()


def test_an_oom_told_before_a_restart_is_not_told_again(daemon, client, create):
    c = create("c1", "sh", "-c", EAT + "; sleep 1000", resources=limited())
    c.start()
    client.wait_event("TaskOOM", "c1")
    t.wait_for(lambda: c.get("OOMKills", CONTAINER) == 1, what="OOMKills")
    daemon.restart()
    client = daemon.connect()
    c = c.on(client)
    assert c.get("OOMKills", CONTAINER) == 1
    assert c.end()[1] == 137
    assert [e.name for e in client.get_events()[1]] == ["TaskCreate", "TaskStart", "TaskOOM", "TaskExit", "TaskDelete"]


# Pause and resume


def frozen(c):
    """1 if the kernel says that the container, or what it is in, is frozen."""
    return cgroups.flat(cgroups.directory(c.pid) + "/cgroup.events")["frozen"]


def test_pause_and_resume(client, create, fifo):
    out = fifo("out").open_reader()
    c = create("c1", "sh", "-c", "while :; do echo x; sleep 0.05; done", Stdout=str(out))
    c.start()
    out.read_line()
    assert client.call(c.path, CONTAINER, "Pause") == ()
    assert c.status == "paused"
    assert frozen(c) == 1
    out.data = b""
    while out.unread():
        os.read(out.fd, 65536)
    time.sleep(0.3)
    assert out.unread() == 0
    assert client.call(c.path, CONTAINER, "Resume") == ()
    assert c.status == "running"
    assert frozen(c) == 0
    out.read_line()
    assert c.event_names() == ["TaskCreate", "TaskStart", "TaskPaused", "TaskResumed"]
    statuses = client.changes(c.path, "Status")
    assert statuses[-2:] == ["paused", "running"]
    c.end()


def test_a_paused_container_is_paused_after_a_restart_and_can_be_resumed(daemon, client, create):
    c = create("c1", "sleep", "1000")
    c.start()
    client.call(c.path, CONTAINER, "Pause")
    daemon.kill9()
    assert frozen(c) == 1
    daemon.start()
    client = daemon.connect()
    c = c.on(client)
    assert c.status == "paused"
    client.call(c.path, CONTAINER, "Resume")
    assert c.status == "running" and frozen(c) == 0
    c.end()


def test_what_somebody_else_thawed_meanwhile_is_running_after_a_restart(daemon, client, create):
    c = create("c1", "sleep", "1000")
    c.start()
    client.call(c.path, CONTAINER, "Pause")
    daemon.kill9()
    t.run(create.runtime, *(["--systemd-cgroup"] if create.systemd else []), "--root",
          os.path.join(daemon.runtime_root, "default"), "resume", "c1")
    daemon.start()
    c = c.on(daemon.connect())
    assert c.status == "running"
    c.end()


# Figures and limits


def test_statistics(client, create, fifo):
    out = fifo("out").open_reader()
    c = create("c1", "sh", "-c", "i=0; while [ $i -lt 3000 ]; do i=$((i+1)); done; echo done; sleep 1000",
               resources=cgroups.LIMITS, Stdout=str(out))
    c.start()
    out.read_line()
    s = t.plain(client.call(c.path, CONTAINER, "GetStats")[0])
    group = own_cgroup(c)
    usage = cgroups.flat(group + "/cpu.stat")
    assert 0 < s["CPUUsageUSec"] <= usage["usage_usec"]
    assert s["CPUUserUSec"] <= usage["user_usec"] and s["CPUSystemUSec"] <= usage["system_usec"]
    assert 0 < s["MemoryCurrent"] <= s["MemoryMax"] == 64 << 20
    assert s["MemoryCurrent"] <= s.get("MemoryPeak", 64 << 20)
    assert s["PidsCurrent"] == len(t.children(c.pid)) + 1
    assert s["PidsMax"] == 33
    assert s["OOMKills"] == 0
    signatures = {name: v[0] for name, v in client.call(c.path, CONTAINER, "GetStats")[0].items()}
    assert set(signatures.values()) == {"t"}
    assert set(signatures) <= {"CPUUsageUSec", "CPUUserUSec", "CPUSystemUSec", "MemoryCurrent", "MemoryPeak", "MemoryMax",
                               "PidsCurrent", "PidsMax", "IOReadBytes", "IOWriteBytes", "OOMKills"}
    c.kill()
    c.wait()
    with refused("FailedPrecondition"):
        client.call(c.path, CONTAINER, "GetStats")
    c.delete()


def test_update(client, create):
    c = create("c1", "sleep", "1000", resources=cgroups.LIMITS)
    c.start()
    update = {"memory": {"limit": 80 << 20, "swap": 80 << 20}, "pids": {"limit": 44}, "cpu": {"quota": 25000, "period": 100000}}
    assert client.call(c.path, CONTAINER, "Update", "s", json.dumps(update)) == ()
    assert cgroups.limits(c.pid) == {"memory": 80 << 20, "pids": 44, "cpu": (25000, 100000)}
    s = t.plain(client.call(c.path, CONTAINER, "GetStats")[0])
    assert (s["MemoryMax"], s["PidsMax"]) == (80 << 20, 44)
    with refused("InvalidArgument"):
        client.call(c.path, CONTAINER, "Update", "s", "{")
    assert cgroups.limits(c.pid)["pids"] == 44
    c.end()


def test_a_memory_limit_that_is_lowered_kills_and_is_told(client, create, fifo):
    """An update may itself be what runs a container out of memory."""
    go = fifo("go")
    c = create("c1", "sh", "-c", "read x; exec " + EAT, Stdin=str(go))
    c.start()
    go.open_writer()
    client.call(c.path, CONTAINER, "Update", "s", json.dumps(limited()))
    go.write(b"x\n")
    assert c.wait()[0] == 137
    assert c.event_names() == ["TaskCreate", "TaskStart", "TaskOOM", "TaskExit"]
    c.delete()


# Executed processes


def test_the_oom_of_an_executed_process_comes_before_its_exit(client, create):
    c = create("c1", "sleep", "1000", resources=limited())
    c.start()
    process = {"args": ["sh", "-c", "exec " + EAT], "cwd": "/", "env": ["PATH=/bin"]}
    path = client.call(c.path, CONTAINER, "Exec", "ssa{sv}", "e1", json.dumps(process), {})[0]
    client.call(path, t.PROCESS, "Start")
    assert client.call(path, t.PROCESS, "Wait")[0] == 137
    assert c.event_names() == ["TaskCreate", "TaskStart", "TaskExecAdded", "TaskExecStarted", "TaskOOM", "TaskExit"]
    client.call(path, t.PROCESS, "Delete")
    assert c.status == "running"
    c.end()


def test_an_executed_process_is_in_the_containers_cgroup(client, create):
    c = create("c1", "sleep", "1000", resources=cgroups.LIMITS)
    c.start()
    process = {"args": ["sleep", "1000"], "cwd": "/", "env": ["PATH=/bin"]}
    path = client.call(c.path, CONTAINER, "Exec", "ssa{sv}", "e1", json.dumps(process), {})[0]
    pid = client.call(path, t.PROCESS, "Start")[0]
    assert cgroups.limits(pid) == cgroups.LIMITS_READ
    assert own_cgroup(c) in cgroups.directory(pid)
    assert sorted(client.call(c.path, CONTAINER, "ListPids")[0]) == sorted([(c.pid, ""), (pid, "e1")])
    assert client.manager("GetContainerByPID", "u", pid) == (c.path,)
    c.end()
