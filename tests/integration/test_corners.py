# SPDX-License-Identifier: LGPL-2.1-or-later
"""Corners where two rare things meet: something hangs, or the daemon dies, while something else is under way."""

import contextlib
import json
import os
import shutil
import signal
import time

import pytest

import monoshim_testing as t
from monoshim_testing import refused

SOON = 3 * t.SCALE  # what is called prompt here; what goes wrong instead takes 10 s, or for ever


@pytest.fixture
def script(directory):
    """script("sleep 1000") makes a program of it and returns its path."""
    def make(text, name="program"):
        path = os.path.join(directory, name)
        with open(path, "w") as f:
            f.write("#!/bin/sh\n%s\n" % text)
        os.chmod(path, 0o755)
        return path

    return make


@pytest.fixture
def deaf_logger(script):
    """The URI of a logger that never says that it is ready."""
    return "binary://" + script("exec sleep 1000", "deaf-logger")


def running(fake, bundle, id="c1", **kw):
    c = fake.connect().create(id, bundle("sleep", "inf", **kw))
    c.start()
    return c


def loggers_of(fake):
    """The daemon's children are its loggers, when no runtime runs."""
    return [p for p in fake.children() if "sleep 1000" in t.command_line(p) or "deaf-logger" in t.command_line(p)]


def wait_invoked(fake, verb, id="c1"):
    return t.wait_for(lambda: fake.control.invocations(verb, id), what="the runtime's " + verb)


def wait_dead(pid):
    t.wait_for(lambda: not t.is_alive(pid), what="the end of %d" % pid)


def pid_file(fake, name, id="c1"):
    """The pid in it, as soon as it is complete."""
    def read():
        with contextlib.suppress(FileNotFoundError, ValueError):
            with open(os.path.join(fake.container_dir(id), name)) as f:
                return int(f.read())

    return t.wait_for(read, what=name)


def exec_state_path(fake, exec_id, id="c1"):
    return os.path.join(fake.container_dir(id), "exec", exec_id + ".state")


def told(client, id="c1"):
    """(event, process or "") of everything the daemon remembers of that container."""
    complete, events = client.get_events()
    assert complete
    return [(e.name, e.data.get("exec_id") or e.data.get("id", "")) for e in events if e.id == id]


def check_invariants(client):
    complete, events = client.get_events()
    assert complete
    t.check_event_invariants(events, allow_open=True)


def assert_deleted_with_its_exec(c):
    c.client.sync()
    assert told(c.client) == [("TaskCreate", ""), ("TaskExecAdded", "e1"), ("TaskExecStarted", "e1"), ("TaskExit", "e1"),
                              ("TaskExit", "c1"), ("TaskDelete", "c1")]
    t.check_event_invariants(c.client.events())


# What hangs does not hold up what could end it


def test_a_kill_overtakes_what_waits_for_a_hung_exec(make_daemon, bundle):
    """Pause waits for the start of an exec; a kill must not wait behind that pause."""
    fake = make_daemon(runtime=t.FAKE_RUNTIME, config={"RuntimeTimeoutSec": "60"})
    c = running(fake, bundle)
    e = c.exec("e1", "sleep", "inf")
    fake.control.set("c1", "exec", "hang")
    start = e.begin("Start")
    wait_invoked(fake, "exec")
    pause = c.begin("Pause", interface=t.CONTAINER)
    c.kill(timeout=SOON)
    assert c.wait(timeout=SOON)[0] == 137
    with refused("FailedPrecondition"):
        pause.result(SOON)
    with pytest.raises(t.DBusError):
        start.result(SOON)
    assert c.delete(timeout=SOON)[1] == 137
    assert told(c.client) == [("TaskCreate", ""), ("TaskStart", ""), ("TaskExecAdded", "e1"), ("TaskExit", "c1"),
                              ("TaskDelete", "c1")]


def test_an_execs_deaf_logger_does_not_hold_up_the_inits_exit(fake, bundle, deaf_logger):
    c = running(fake, bundle)
    e = c.exec("e1", "sleep", "inf", Stdout=deaf_logger)
    start = e.begin("Start")
    logger, = t.wait_for(lambda: loggers_of(fake), what="the logger")
    before = time.monotonic()
    os.kill(c.pid, signal.SIGKILL)
    assert c.wait(timeout=SOON)[0] == 137
    assert time.monotonic() - before < 2.5 * t.SCALE
    with refused("FailedPrecondition", "init process is not running"):
        start.result(SOON)
    assert fake.control.invocations("exec") == []
    wait_dead(logger)
    assert e.status == "created"
    c.delete()
    assert ("TaskExecStarted", "e1") not in told(c.client)


def test_the_daemon_stops_though_a_logger_is_deaf(fake, bundle, deaf_logger):
    """That logger is the daemon's own until the exec has begun: it ends with the daemon, and nobody else does. (The daemon
    gives what is under way ten seconds first.)"""
    c = running(fake, bundle)
    pid = c.pid
    c.exec("e1", "sleep", "inf", Stdout=deaf_logger).begin("Start")
    logger, = t.wait_for(lambda: loggers_of(fake), what="the logger")
    children = fake.children()
    assert pid in children
    fake.stop()
    wait_dead(logger)
    assert [p for p in children if t.is_alive(p)] == [pid]
    fake.start()
    c = fake.connect().container("c1")
    assert (c.status, c.get("Pid"), c.known_exec("e1").status) == ("running", pid, "created")


# An exit, and what comes with it


def test_exits_missed_by_a_dead_daemon_are_told_at_once(fake, bundle):
    """The init's exit was recorded, and waited for an exec that lived on. Both are gone when the daemon comes back."""
    c = running(fake, bundle)
    e = c.run("e1", "run", "sleep", "1000")
    e.pid = e.get("Pid")
    os.kill(c.pid, signal.SIGTERM)
    t.wait_for(lambda: fake.state_json("c1")["init"].get("exited"), what="the record of the exit")
    assert t.is_alive(e.pid)
    assert ("TaskExit", "c1") not in told(c.client)
    fake.kill9()
    os.kill(e.pid, signal.SIGKILL)
    wait_dead(e.pid)
    fake.start()
    c = fake.connect().container("c1")
    assert c.wait(timeout=SOON)[0] == 128 + signal.SIGTERM
    c.known_exec("e1").wait(timeout=SOON)
    assert told(c.client)[-2:] == [("TaskExit", "e1"), ("TaskExit", "c1")]
    assert c.known_exec("e1").status == c.status == "stopped"
    check_invariants(c.client)


@pytest.mark.parametrize("pid_namespace", ["private", "host"])
@pytest.mark.parametrize("fault", ["sleep-after 0.2", "sleep 0.2"])
def test_deleting_a_created_container_tells_its_execs_exit(fake, bundle, fault, pid_namespace):
    c = fake.connect().create("c1", bundle("sleep", "inf", pid_namespace=pid_namespace))
    e = c.run("e1", "run", "sleep", "1000")
    pid = e.get("Pid")
    fake.control.set("c1", "delete", fault)
    pending = c.begin("Delete")
    if pid_namespace == "private":  # the kernel does that; the fake runtime cannot be relied on to
        wait_dead(c.pid)
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
    assert pending.result(SOON)[1] == 137
    wait_dead(pid)
    assert_deleted_with_its_exec(c)


def test_an_exec_that_outlives_a_created_container_under_deletion(fake, bundle):
    """The init dies by itself, and the runtime has nothing to do: the exit of the exec is still told, and before the others."""
    c = fake.connect().create("c1", bundle("sleep", "inf"))
    pid = c.run("e1", "run", "sleep", "1000").get("Pid")
    fake.control.set("c1", "delete", "sleep 0.2", "exit 0")
    pending = c.begin("Delete")
    wait_invoked(fake, "delete")
    os.kill(c.pid, signal.SIGKILL)
    t.wait_for(lambda: fake.control.invocations("delete", "c1", "end"), what="the end of the runtime's delete")
    os.kill(pid, signal.SIGKILL)
    assert pending.result(SOON)[1] == 137
    assert_deleted_with_its_exec(c)
    shutil.rmtree(os.path.join(fake.runtime_root, "default/c1"))  # which that delete has left


def test_pids_asked_for_while_an_exit_is_under_way(fake, bundle):
    """There are none any more, and no runtime is asked what it may not know."""
    c = running(fake, bundle, pid_namespace="host")
    fake.control.set("c1", "kill-all", "sleep 0.3")
    fake.control.set("c1", "ps", "exit 1")
    os.kill(c.pid, signal.SIGKILL)
    wait_invoked(fake, "kill-all")
    pending = c.begin("ListPids", interface=t.CONTAINER)
    assert pending.result(SOON)[0] == []
    assert fake.control.invocations("ps") == []
    assert c.wait()[0] == 137


def test_pids_asked_for_before_an_exit(fake, bundle):
    """They wait for something else, and the exit comes first."""
    c = running(fake, bundle)
    fake.control.set("c1", "pause", "sleep 0.3")
    fake.control.set("c1", "ps", "exit 1")
    pause = c.begin("Pause", interface=t.CONTAINER)
    wait_invoked(fake, "pause")
    pending = c.begin("ListPids", interface=t.CONTAINER)
    os.kill(c.pid, signal.SIGKILL)
    assert pending.result(SOON)[0] == []
    assert fake.control.invocations("ps") == []
    with contextlib.suppress(t.DBusError):  # the fake runtime says what it likes of a dead container
        pause.result(SOON)
    assert c.wait()[0] == 137


# The daemon dies in the middle


@pytest.mark.parametrize("how", ["term", "kill9"])
def test_the_pid_of_the_dead_belongs_to_nobody_after_a_restart(fake, bundle, how):
    """The number may be somebody else's by then."""
    c = running(fake, bundle)
    pid = c.pid
    assert c.client.manager("GetContainerByPID", "u", pid)[0] == c.path
    os.kill(pid, signal.SIGKILL)
    c.wait()
    for _ in range(2):
        with refused("NotFound"):
            c.client.manager("GetContainerByPID", "u", pid)
        fake.restart(how)
        c = fake.connect().container("c1")
        assert c.status == "stopped"


@pytest.mark.parametrize("dies", [False, True])
def test_the_daemon_dies_in_the_middle_of_an_execs_start(make_daemon, bundle, script, directory, dies):
    """The runtime had made the process already: it is the exec, and there is no second one. Real runc, which puts it into
    the container's cgroup, but which does not return the first time."""
    hang = os.path.join(directory, "hang")
    slow = script("""runc "$@" || exit
case " $* " in *" exec "*) rm '%s' && exec sleep 1000;; esac
exit 0""" % hang, "slow-runc")
    with open(hang, "w"):
        pass
    daemon = make_daemon(runtime=slow)
    c = daemon.connect().create("c1", bundle("sleep", "1000"))
    c.start()
    c.exec("e1", "sleep", "1000").begin("Start")
    pid = pid_file(daemon, "exec/e1.pid")
    t.wait_for(lambda: not os.path.exists(hang), what="runc to have done its work")
    daemon.kill9()
    if dies:
        os.kill(pid, signal.SIGKILL)
        wait_dead(pid)
    daemon.start()
    c = daemon.connect().container("c1")
    e = c.known_exec("e1")
    if dies:  # nobody has seen it: as if it had not been started
        assert (e.status, e.get("Pid")) == ("created", 0)
        assert told(c.client)[-1] == ("TaskExecAdded", "e1")
        pid = e.start()
    else:
        assert (e.status, e.get("Pid"), t.is_alive(pid)) == ("running", pid, True)
        with refused("FailedPrecondition"):
            e.start()
        assert set(c.pids()) == {c.get("Pid"), pid}
        assert c.client.manager("GetContainerByPID", "u", pid)[0] == c.path
    assert told(c.client)[-2:] == [("TaskExecAdded", "e1"), ("TaskExecStarted", "e1")]
    e.kill()
    assert e.wait(timeout=SOON)[0] == 137
    wait_dead(pid)
    e.delete()
    assert c.end()[1] == 137
    assert told(c.client)[2:] == [("TaskExecAdded", "e1"), ("TaskExecStarted", "e1"), ("TaskExit", "e1"), ("TaskExit", "c1"),
                                  ("TaskDelete", "c1")]
    check_invariants(c.client)


@pytest.mark.parametrize("verb", ["Start", "Delete"])
def test_the_daemon_dies_in_the_middle_of_a_restore(fake, bundle, directory, verb):
    """What was half restored is gone, and the restore can be begun again, or given up."""
    image = os.path.join(directory, "image")
    first = running(fake, bundle, "c0")
    first.checkpoint(image)
    first.end()
    c = first.client.create("c1", bundle("sleep", "inf"), Checkpoint=image)
    fake.control.set("c1", "restore", "hang-after", "once")
    c.begin("Start")
    pid = pid_file(fake, "init.pid")
    fake.restart("kill9")
    c = fake.connect().container("c1")
    assert (c.status, c.get("Pid")) == ("created", 0)
    if verb == "Start":
        second = c.start()
        assert (c.status, second != pid, t.is_alive(second)) == ("running", True, True)
        wait_dead(pid)
        assert c.end()[:2] == (second, 137)
        assert told(c.client) == [("TaskCreate", ""), ("TaskStart", ""), ("TaskExit", "c1"), ("TaskDelete", "c1")]
    else:
        c.delete()
        wait_dead(pid)
        assert c.client.list() == {}
        assert told(c.client)[-1] == ("TaskDelete", "c1")
    fake.wait_idle()


# Damage


def damage(path, kind, directory):
    with open(path) as f:
        state = json.load(f)
    if kind == "paused and exited":
        state.update(state="paused", exited=True)
    elif kind == "another namespace":
        state["namespace"] = "other"
    elif kind == "another boot":
        state["boot_id"] = "0" * 31 + "1"
    elif kind == "another id":
        state["id"] = "e2"
    elif kind == "unknown state":
        state["state"] = "dancing"
    elif kind == "init's state":
        state["state"] = "created-from-checkpoint"
    elif kind == "future version":
        state["version"] = 1000
    elif kind == "no boot id":
        del state["boot_id"]
    elif kind == "pid of another":
        state["pid"] = 1
    if kind == "a symlink":
        shutil.move(path, directory + "/elsewhere")
        os.symlink(directory + "/elsewhere", path)
    elif kind == "a folder":
        os.unlink(path)
        os.makedirs(path + "/inside")
    elif kind == "a fifo":
        os.unlink(path)
        os.mkfifo(path)
    else:
        with open(path, "w") as f:
            f.write({"garbage": "\0\377{[", "empty": "", "a list": "[]", "half": json.dumps(state)[:80]}.get(
                kind, json.dumps(state)))


@pytest.mark.parametrize("kind", [
    "paused and exited", "another namespace", "another boot", "another id", "unknown state", "init's state", "future version",
    "no boot id", "pid of another", "a symlink", "a folder", "a fifo", "garbage", "empty", "a list", "half"])
def test_the_damaged_state_of_an_exec_harms_nobody(fake, bundle, directory, kind):
    c = running(fake, bundle)
    pid = c.pid
    c.run("e1", "sleep", "inf")
    good = c.run("e2", "sleep", "inf").pid
    assert running(fake, bundle, "c2").pid
    fake.kill9()
    damage(exec_state_path(fake, "e1"), kind, directory)
    fake.start()
    client = fake.connect()
    assert {id: row[0] for (_, id), row in client.list().items()} == {"c1": "running", "c2": "running"}
    c = client.container("c1")
    assert c.get("Pid") == pid
    e2 = c.known_exec("e2")
    assert (e2.status, e2.get("Pid")) == ("running", good)
    if kind == "pid of another":  # believed as far as that: something ran, and has ended
        assert c.known_exec("e1").wait(timeout=SOON)[0] == 137
        assert t.is_alive(1)
    else:
        with refused("NotFound"):
            c.known_exec("e1").process("Wait")
    assert c.run("e3", "exit", "3").wait()[0] == 3
    e2.kill()
    assert e2.wait()[0] == 137
    assert c.end()[1] == 137
    client.container("c2").end()
    fake.wait_idle()


# Streams


@pytest.mark.parametrize("uris", [("journal:x", "file"), ("file", "journal:x"), ("journal:x", ""), ("journal:x", "journal:y")])
def test_a_relay_beside_the_journal_ends_with_its_container(make_daemon, bundle, directory, uris):
    """Its pumps wait for the last writer; the daemon itself must not be one."""
    journal = t.JournalSocket(os.path.join(directory, "run"))
    fake = make_daemon(runtime=t.FAKE_RUNTIME, wrapper=journal.wrapper())
    stdout, stderr = ["file://%s/%s" % (directory, name) if uri == "file" else uri for uri, name in zip(uris, "oe")]
    c = fake.connect().create("c1", bundle("run", "sh", "-c", "echo one; echo two >&2; exec sleep 1000"), Relay=True,
                              Stdout=stdout, Stderr=stderr)
    c.start()
    wanted = {x for uri, x in zip(uris, (b"one", b"two")) if uri.startswith("journal:")}
    t.wait_for(lambda: wanted <= set(journal.messages("c1")), what="the lines in the journal")
    c.kill()
    assert c.wait(timeout=SOON)[0] == 137
    c.delete(timeout=SOON)
    for uri, name, text in zip(uris, "oe", (b"one\n", b"two\n")):
        if uri == "file":
            with open("%s/%s" % (directory, name), "rb") as f:
                assert f.read() == text
    assert set(journal.messages("c1")) == wanted
    journal.close()
