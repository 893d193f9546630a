# SPDX-License-Identifier: LGPL-2.1-or-later
"""What can be done to a container that runs: pause and resume, update, kill all, figures, and what the kernel does for want
of memory."""

import json
import os
import signal
import time

import pytest

import monoshim_testing as t
from monoshim_testing import refused

MIB = 1 << 20
DEVICES = [{"allow": False, "access": "rwm"}]


@pytest.fixture
def fake_running(fake, bundle):
    c = fake.connect().create("c1", bundle("sleep", "inf"))
    c.start()
    return c


@pytest.fixture
def limited(client, bundle):
    """limited(args..., memory=BYTES, pids=N) runs a container with limits; its cgroup's path is in .cgroup."""
    count = [0]

    def make(*args, memory=None, pids=None, start=True, pid_namespace="private", **opts):
        count[0] += 1
        resources = {"devices": DEVICES}
        if memory:
            resources["memory"] = {"limit": memory}
        if pids:
            resources["pids"] = {"limit": pids}
        cgroup = "/%sl%d" % (t.CGROUP_PREFIX, count[0])
        c = client.create("l%d" % count[0], bundle(*args, cgroup=cgroup, pid_namespace=pid_namespace,
                                                   extra_linux={"resources": resources}), **opts)
        c.cgroup = cgroup
        if start:
            c.start()
        return c

    return make


def limit_of(c, controller, v1, v2):
    """What the kernel says of a limit."""
    for path in ("/sys/fs/cgroup/%s%s/%s" % (controller, c.cgroup, v1), "/sys/fs/cgroup%s/%s" % (c.cgroup, v2)):
        if os.path.exists(path):
            with open(path) as f:
                return f.read().strip()
    raise AssertionError("no %s" % v1)


def memory_limit(c):
    return int(limit_of(c, "memory", "memory.limit_in_bytes", "memory.max"))


def is_frozen(c):
    state = limit_of(c, "freezer", "freezer.state", "cgroup.freeze")
    return state in ("FROZEN", "1")


# Pause and resume


def test_pause_and_resume(client, limited, fifo):
    """The processes stand still and go on, the status and the signals say so."""
    out = fifo("out").open_reader()
    c = limited("sh", "-c", "while :; do echo x; sleep 0.02; done", Stdout=str(out))
    out.read_line()
    client.forget_signals()
    c.pause()
    assert c.status == "paused" and is_frozen(c)
    assert client.list()["default", c.id][0] == "paused"
    while out.read_available():  # what it had written before
        pass
    assert out.quiet(0.3)
    c.resume()
    assert c.status == "running" and not is_frozen(c)
    out.read_line()
    client.sync()
    assert c.event_names() == ["TaskPaused", "TaskResumed"]
    seen = [s for s in client.changes(c.path, "Status") if s]
    assert seen in (["pausing", "paused", "running"], ["paused", "running"])
    for _ in range(5):
        c.pause()
        c.resume()


def test_pausing_can_be_seen_while_the_runtime_is_slow(fake, fake_running):
    c, client = fake_running, fake_running.client
    e = c.run("e1", "sleep", "inf")
    client.forget_signals()
    fake.control.set("c1", "pause", "sleep 0.5")
    pending = c.begin("Pause", interface=t.CONTAINER)
    t.wait_for(lambda: c.status == "pausing", what="status pausing")
    assert e.status == "pausing"
    assert client.list()["default", "c1"][0] == "pausing"
    assert not pending.done()
    pending.result()
    assert c.status == "paused"
    client.sync()
    assert client.changes(c.path, "Status") == ["pausing", "paused"]
    assert c.event_names() == ["TaskPaused"]
    c.resume()


@pytest.mark.parametrize("verb, state, after", [("pause", "running", "running"), ("resume", "paused", "paused"),
                                                ("update", "running", "running")])
@pytest.mark.parametrize("fault", ["exit 1", "hang", "crash"])
def test_a_runtime_that_fails_leaves_the_state(make_daemon, bundle, verb, state, after, fault):
    """Said why, nothing signalled, and it can be tried again."""
    d = make_daemon(runtime=t.FAKE_RUNTIME, config={"RuntimeTimeoutSec": "%dms" % (400 * t.SCALE)})
    client = d.connect()
    c = client.create("c1", bundle("sleep", "inf"))
    c.start()
    if state == "paused":
        c.pause()
    client.sync()
    client.forget_signals()
    d.control.set("c1", verb, fault, *(["log not today", "say not today"] if fault == "exit 1" else []))
    call = {"pause": c.pause, "resume": c.resume, "update": lambda: c.update({})}[verb]
    texts = ["OCI runtime %s failed: " % verb, "not today"] if fault == "exit 1" else []
    with refused("DeadlineExceeded" if fault == "hang" else "RuntimeFailed", *texts):
        call()
    assert c.status == after
    client.sync()
    assert c.event_names() == []
    d.control.clear()
    call()
    if c.status == "paused":
        c.resume()


TABLE = {
    ("created", "pause"): "cannot pause task in created state",
    ("created", "resume"): "cannot resume task in created state",
    ("created", "update"): None,
    ("created", "checkpoint"): "cannot checkpoint a task in created state",
    ("running", "pause"): None,
    ("running", "resume"): "cannot resume a running process",
    ("running", "update"): None,
    ("paused", "start"): "cannot start a paused process",
    ("paused", "delete"): "cannot delete a paused process",
    ("paused", "pause"): "cannot pause a paused container",
    ("paused", "resume"): None,
    ("paused", "update"): None,
    ("stopped", "pause"): "cannot pause a stopped container",
    ("stopped", "resume"): "cannot resume a stopped container",
    ("stopped", "update"): "cannot update a stopped container",
    ("stopped", "checkpoint"): "cannot checkpoint a stopped container",
}


@pytest.mark.parametrize("state", ["created", "running", "paused", "stopped"])
def test_what_an_operation_does_in_a_state(fake, bundle, directory, state):
    """Each cell that is about these verbs, or about the state "paused"."""
    client = fake.connect()
    for number, (verb, text) in enumerate((v, text) for (s, v), text in TABLE.items() if s == state):
        c = client.create("c%d" % number, bundle("sleep", "inf"))
        calls = {"pause": c.pause, "resume": c.resume, "update": lambda: c.update({}), "start": c.start, "delete": c.delete,
                 "checkpoint": lambda: c.checkpoint(directory + "/image")}
        if state != "created":
            c.start()
        if state == "paused":
            c.pause()
        if state == "stopped":
            c.kill()
            c.wait()
        client.sync()
        client.forget_signals()
        fake.control.forget()
        if text is None:
            calls[verb]()
            assert [r["verb"] for r in fake.control.invocations()] == [verb]
        else:
            with refused("FailedPrecondition", exactly=text):
                calls[verb]()
            assert c.status == state
            client.sync()
            assert client.event_names() == []
            assert fake.control.invocations() == []
        if c.status == "paused":
            c.resume()


@pytest.mark.parametrize("member, signature, args", [
    ("Pause", "", ()), ("Resume", "", ()), ("ListPids", "", ()), ("Update", "s", ("{}",)), ("GetStats", "", ()),
    ("Checkpoint", "sa{sv}", ("/tmp", {})), ("Exec", "ssa{sv}", ("e1", "{}", {}))])
def test_a_deleted_container_is_not_found(fake, bundle, member, signature, args):
    c = fake.connect().create("c1", bundle("sleep", "inf"))
    c.delete()
    with refused("NotFound"):
        c.verb(member, signature, *args)


def test_killing_a_paused_container(client, limited):
    """T-PAUSE-KILL: the exit arrives, and it can be deleted."""
    c = limited("sleep", "1000")
    e = c.run("e1", "sleep", "1000")
    c.pause()
    c.kill()
    assert c.wait(timeout=15 * t.SCALE)[0] == 137
    assert e.wait()[0] == 137
    assert c.delete(timeout=15 * t.SCALE)[1] == 137
    client.sync()
    t.check_event_invariants(client.get_events()[1])


def test_a_paused_container_whose_init_is_killed_from_outside(client, limited):
    """T-PAUSE-KILL once more: whoever thaws it, the end is told of and nothing stays frozen."""
    c = limited("sleep", "1000")
    c.pause()
    os.kill(c.pid, signal.SIGKILL)
    time.sleep(0.1)
    if c.status == "paused":  # with cgroup v1 the kernel keeps it frozen, and the signal waits
        c.resume()
    assert c.wait(timeout=15 * t.SCALE)[0] == 137
    assert c.delete(timeout=15 * t.SCALE)[1] == 137


def test_an_exit_while_pause_is_under_way(fake, fake_running):
    """Whatever becomes of the pause, the exit comes after it, and the container is stopped and can be deleted."""
    c, client = fake_running, fake_running.client
    fake.control.set("c1", "pause", "sleep-after 0.3")
    pending = c.begin("Pause", interface=t.CONTAINER)
    t.wait_for(lambda: fake.control.invocations("pause"), what="runc pause")
    time.sleep(0.1)
    os.kill(c.pid, signal.SIGKILL)
    try:
        pending.result()
    except t.DBusError as e:
        assert e.name in (t.ERROR + "RuntimeFailed", t.ERROR + "FailedPrecondition"), e
    assert c.wait()[0] == 137
    assert c.status == "stopped"
    assert c.delete()[1] == 137
    client.sync()
    names = c.event_names()
    assert names[-2:] == ["TaskExit", "TaskDelete"] and names.count("TaskExit") == 1
    t.check_event_invariants(client.get_events()[1])


@pytest.mark.parametrize("how", ["kill9", "term"])
def test_a_paused_container_is_paused_after_a_restart(daemon, limited, how):
    c = limited("sleep", "1000")
    c.pause()
    daemon.restart(how)
    c = daemon.connect().container(c.id)
    assert c.status == "paused"
    with refused("FailedPrecondition", exactly="cannot pause a paused container"):
        c.pause()
    c.resume()
    assert c.status == "running"


def test_a_container_paused_and_resumed_behind_our_back(daemon, limited):
    """After a restart the status is what the cgroup says."""
    c = limited("sleep", "1000")
    daemon.stop()
    runc = ["runc", "--root", os.path.join(daemon.runtime_root, "default")]
    t.run(*runc, "pause", c.id)
    c = daemon.start().connect().container(c.id)
    assert c.status == "paused"
    daemon.stop()
    t.run(*runc, "resume", c.id)
    assert daemon.start().connect().container(c.id).status == "running"


# Update


def test_update_changes_the_limits(client, limited):
    c = limited("sleep", "1000", memory=32 * MIB, pids=50)
    assert memory_limit(c) == 32 * MIB
    c.update({"memory": {"limit": 64 * MIB}})
    assert memory_limit(c) == 64 * MIB
    assert limit_of(c, "pids", "pids.max", "pids.max") == "50"
    c.update({"pids": {"limit": 33}})
    assert limit_of(c, "pids", "pids.max", "pids.max") == "33"
    assert memory_limit(c) == 64 * MIB
    assert c.status == "running"


def test_update_of_a_container_that_was_not_started(limited):
    c = limited("sleep", "1000", memory=32 * MIB, start=False)
    c.update({"memory": {"limit": 48 * MIB}})
    assert memory_limit(c) == 48 * MIB


def test_update_hands_the_very_text_to_the_runtime(fake, fake_running):
    text = '{ "memory": {"limit": 33554432}, "unified": {"x.y": "\\u00e4"}, "pids":{"limit":-1} }'
    fake_running.update(text)
    with open(os.path.join(fake.runtime_root, "default/c1/resources")) as f:
        handed = f.read()
    assert json.loads(handed) == json.loads(text)
    assert fake.control.invocations("update")[0]["argv"][-3:] == ["update", "--resources=-", "c1"]


@pytest.mark.parametrize("text", ["", "{", "memory", "[]", "1", "null", '"x"', '{"memory":}', "{} {}", "{\"a\":1"])
def test_a_malformed_update_is_refused_before_anything(fake, fake_running, text):
    with refused("InvalidArgument", "resources"):
        fake_running.update(text)
    assert fake.control.invocations("update") == []
    assert fake_running.status == "running"


def test_an_update_that_the_runtime_refuses(limited):
    c = limited("sleep", "1000", memory=32 * MIB)
    with refused("RuntimeFailed", "OCI runtime update failed: "):
        c.update({"memory": {"limit": 1}})  # less than it uses
    assert c.status == "running"


# Kill all


@pytest.mark.parametrize("namespace", ["host", "private"])
def test_kill_all_reaches_every_process(client, limited, fifo, namespace):
    """T-KILLALL with runc"""
    out = fifo("out").open_reader()
    c = limited("sh", "-c", "sleep 1000 & sleep 1000 & echo up; wait", pid_namespace=namespace, Stdout=str(out))
    out.read_line()
    e = c.run("e1", "sleep", "1000")
    pids = t.wait_for(lambda: (lambda p: len(p) == 4 and p)(c.pids()), what="four processes")
    c.kill(signal.SIGKILL, all=True)
    assert c.wait()[0] == 137
    assert e.wait()[0] == 137
    t.wait_for(lambda: not any(t.is_alive(p) for p in pids), what="the end of all")
    assert c.delete()[1] == 137


def test_kill_without_all_reaches_only_the_init(limited, fifo):
    out = fifo("out").open_reader()
    c = limited("sh", "-c", "trap 'echo init' USR1; (trap 'echo child' USR1; while :; do sleep 0.05; done) & echo up; "
                "while :; do sleep 0.05; done", Stdout=str(out))
    out.read_line()
    time.sleep(0.1)
    c.kill(signal.SIGUSR1)
    assert out.read_line() == b"init\n"
    assert out.quiet(0.3)
    c.kill(signal.SIGUSR1, all=True)
    assert {out.read_line(), out.read_line()} == {b"init\n", b"child\n"}


def test_a_fork_bomb_in_the_hosts_pid_namespace(daemon, client, limited):
    """T-FORKBOMB: when the init is killed all that it has bred goes with it, and nothing is left in the cgroup."""
    bomb = "(while :; do (sleep 0.1 &) ; done) & "
    c = limited("sh", "-c", bomb * 3 + "exec sleep 1000", pids=2000, pid_namespace="host")
    t.wait_for(lambda: len(c.pids()) > 30, what="the bomb")
    c.kill()
    assert c.wait(timeout=30 * t.SCALE)[0] == 137
    assert c.delete(timeout=30 * t.SCALE)[1] == 137
    t.wait_for(lambda: daemon.children() == [], what="the end of all children")
    assert not t.leftover_cgroups()


@pytest.mark.parametrize("program", [["exit", "3"], ["run", "sh", "-c", "sleep 0.3; exit 3"]], ids=["during-start", "later"])
def test_an_exit_that_is_known_but_not_told_survives_a_crash(fake, bundle, program):
    """The init's exit is told after the rest of the container has been killed; the daemon is killed in between."""
    c = fake.connect().create("c1", bundle(*program, pid_namespace="host"))
    fake.control.set("c1", "kill-all", "sleep 30")
    c.start()
    t.wait_for(lambda: fake.control.invocations("kill-all"), what="runc kill --all")
    fake.kill9()
    fake.control.clear()
    client = fake.start().connect()
    t.wait_for(lambda: client.get_events()[1][-1].name in ("TaskExit", "TaskDelete"), what="TaskExit")
    assert [e.exit_status for e in client.get_events()[1] if e.name == "TaskExit"] == [3]
    assert client.container("c1").delete()[1] == 3


# ListPids


def test_the_pids_in_each_state(limited):
    c = limited("sleep", "1000", start=False)
    assert c.pids() == {c.pid: ""}
    c.start()
    assert c.pids() == {c.pid: ""}
    c.pause()
    assert c.pids() == {c.pid: ""}
    c.resume()
    c.kill()
    c.wait()
    assert c.pids() == {}


def test_the_pids_by_a_runtime_that_hangs_or_lies(make_daemon, bundle):
    """Whoever is asked: no hang for ever, and never a crash; if it is the runtime, what it says wrongly is an error."""
    d = make_daemon(runtime=t.FAKE_RUNTIME, config={"RuntimeTimeoutSec": "%dms" % (400 * t.SCALE)})
    client = d.connect()
    c = client.create("c1", bundle("sleep", "inf"))
    c.start()
    assert set(c.pids()) == {c.pid}
    for fault in (["hang"], ["exit 1"], ["exit 0"], ["exit 0", "print {}"], ["exit 0", "print [1,"], ["exit 0", 'print ["x"]'],
                  ["exit 0", "print [-1, 1e99]"], ["crash"]):
        d.control.set("c1", "ps", *fault)
        try:
            assert set(c.pids()) == {c.pid}, fault
        except t.DBusError as e:
            assert e.name in (t.ERROR + "RuntimeFailed", t.ERROR + "DeadlineExceeded"), e
    d.control.clear()
    assert set(c.pids()) == {c.pid}


# Figures


def test_the_figures_of_a_container(client, limited):
    """All of known names and of type t (which stats() checks), and as the kernel has them."""
    c = limited("sh", "-c", "i=0; while [ $i -lt 30000 ]; do i=$((i+1)); done; exec sleep 1000", memory=64 * MIB, pids=44)
    t.wait_for(lambda: t.command_line(c.pid).startswith("sleep"), what="sleep")
    # The kernel takes those that are gone off the count when it comes to it.
    t.wait_for(lambda: c.stats()["PidsCurrent"] == 1, what="one process")
    s = c.stats()
    assert set(s) >= {"CPUUsageUSec", "CPUUserUSec", "CPUSystemUSec", "MemoryCurrent", "MemoryMax", "PidsCurrent", "PidsMax",
                      "OOMKills"}
    assert s["MemoryMax"] == 64 * MIB and s["PidsMax"] == 44
    assert s["PidsCurrent"] == 1
    assert 0 < s["MemoryCurrent"] <= s.get("MemoryPeak", 64 * MIB) <= 64 * MIB
    assert 1000 < s["CPUUsageUSec"] < 60_000_000
    assert s["CPUUserUSec"] + s["CPUSystemUSec"] <= s["CPUUsageUSec"] + 100_000
    assert s["OOMKills"] == 0
    e = c.run("e1", "sh", "-c", "i=0; while [ $i -lt 30000 ]; do i=$((i+1)); done")
    e.wait()
    later = c.stats()
    assert later["CPUUsageUSec"] > s["CPUUsageUSec"] + 1000
    c.run("e2", "sleep", "1000")
    t.wait_for(lambda: c.stats()["PidsCurrent"] == 2, what="two processes")


def test_the_figures_in_each_state(limited):
    c = limited("sleep", "1000", memory=64 * MIB, start=False)
    assert c.stats()["MemoryMax"] == 64 * MIB
    c.start()
    c.pause()
    assert c.stats()["MemoryMax"] == 64 * MIB
    c.resume()
    c.kill()
    c.wait()
    with refused("FailedPrecondition", "stopped"):
        c.stats()
    c.delete()
    with refused("NotFound"):
        c.stats()


def test_figures_are_those_of_the_container_and_not_of_the_daemon(fake, fake_running):
    """A container that has no cgroup of its own has no figures that would be its own."""
    assert "MemoryCurrent" not in fake_running.stats() and "PidsCurrent" not in fake_running.stats()


# Out of memory


EATER = "dd if=/dev/zero of=/dev/null bs=200M count=1"


def test_an_init_killed_for_memory(client, limited):
    """T-OOM: each time TaskOOM, once, before the TaskExit with 137, and the property counts."""
    for _ in range(80 if t.LARGE else 8):
        c = limited(*EATER.split(), memory=16 * MIB)
        assert c.wait()[0] == 137
        assert c.get("OOMKills", t.CONTAINER) >= 1
        c.delete()
        client.sync()
        assert c.event_names() == ["TaskCreate", "TaskStart", "TaskOOM", "TaskExit", "TaskDelete"]


def test_a_child_killed_for_memory(client, limited):
    """The container lives on; TaskOOM does not wait for an exit, and the figures agree."""
    c = limited("sh", "-c", "%s; exec sleep 1000" % EATER, memory=16 * MIB)
    client.wait_event("TaskOOM", c.id)
    assert c.status == "running"
    t.wait_for(lambda: c.get("OOMKills", t.CONTAINER) == 1, what="OOMKills")
    client.sync()
    assert client.changes(c.path, "OOMKills")[-1] in (1, None)
    assert c.stats()["OOMKills"] == 1
    assert c.event_names().count("TaskOOM") == 1


def test_an_exec_killed_for_memory(client, limited):
    c = limited("sleep", "1000", memory=16 * MIB)
    e = c.run("e1", *EATER.split())
    assert e.wait()[0] == 137
    client.sync()
    names = c.event_names()
    assert names.index("TaskOOM") < names.index("TaskExit")
    assert c.status == "running"


def test_killed_for_memory_while_the_daemon_was_away(daemon, client, limited, fifo):
    inp = fifo("in")
    c = limited("sh", "-c", "read x; %s; echo; exec sleep 1000" % EATER, memory=16 * MIB, Stdin=str(inp))
    inp.open_writer()
    daemon.kill9()
    inp.write(b"go\n")
    t.wait_for(lambda: t.command_line(c.pid).startswith("sleep"), what="the kill")
    client = daemon.start().connect()
    t.wait_for(lambda: "TaskOOM" in [e.name for e in client.get_events()[1]], what="TaskOOM")
    c = client.container(c.id)
    assert c.get("OOMKills", t.CONTAINER) == 1
    daemon.restart("kill9")
    client = daemon.connect()
    time.sleep(0.1)
    assert [e.name for e in client.get_events()[1]].count("TaskOOM") == 1
    assert client.container(c.id).get("OOMKills", t.CONTAINER) == 1


def test_an_ordinary_end_is_no_want_of_memory(client, limited):
    c = limited("sh", "-c", "exit 137", memory=64 * MIB)
    assert c.wait()[0] == 137
    c.delete()
    client.sync()
    assert "TaskOOM" not in c.event_names()


# Many


def test_no_zombies_after_many_execs(daemon, client, limited):
    """T-ZOMBIE, T-FD: execs that leave orphans behind, and descriptors as before."""
    c = limited("sleep", "1000", pid_namespace="host")
    before = None
    for i in range(2000 if t.LARGE else 60):
        e = c.run("e1", "sh", "-c", "(sleep 0.01 &); exit 1")
        assert e.wait()[0] == 1
        e.delete()
        if i == 10:
            before = daemon.all_fds()
    t.wait_for(lambda: daemon.children() == [c.pid], what="the end of the orphans")
    assert daemon.zombies() == []
    assert daemon.all_fds() <= before
