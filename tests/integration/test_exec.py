# SPDX-License-Identifier: LGPL-2.1-or-later
"""Processes exec'd into a container: their states, their events, what ends them, and what they survive."""

import contextlib
import json
import os
import select
import signal
import subprocess
import time

import pytest

import monoshim_testing as t
from monoshim_testing import refused


@pytest.fixture
def running(client, bundle):
    c = client.create("c1", bundle("sleep", "1000"))
    c.start()
    return c


@pytest.fixture
def fake_running(fake, bundle):
    c = fake.connect().create("c1", bundle("sleep", "inf"))
    c.start()
    return c


def exit_of(e):
    """The exec's TaskExit, of which there must be exactly one."""
    e.client.wait_event("TaskExit", e.container.id)
    t.wait_for(lambda: (e.client.drain(), e.events("TaskExit"))[1], what="TaskExit of %s" % e.id)
    e.client.sync()
    found = e.events("TaskExit")
    assert len(found) == 1, found
    return found[0]


# A life


def test_a_life_of_an_exec(daemon, client, running):
    """Added, started, exited: the object, its properties and the events agree; the container knows nothing of it."""
    client.forget_signals()
    e = running.exec("e1", "sh", "-c", "exit 6", Stdin="", Stdout="")
    assert e.path == t.exec_path("default", "c1", "e1")
    assert client.get_all(e.path, t.PROCESS) == {
        "Id": "e1", "Pid": 0, "Status": "created", "ExitStatus": 0, "ExitedAt": 0, "StartedAt": 0, "Stdin": "", "Stdout": "",
        "Stderr": "", "Terminal": False}
    before = t.now_usec()
    pid = e.start()
    status, exited_at = e.wait()
    assert (status, pid > 0) == (6, True)
    assert before <= exited_at <= t.now_usec()
    everything = client.get_all(e.path, t.PROCESS)
    assert before <= everything.pop("StartedAt") <= exited_at
    assert everything == {"Id": "e1", "Pid": pid, "Status": "stopped", "ExitStatus": 6, "ExitedAt": exited_at, "Stdin": "",
                          "Stdout": "", "Stderr": "", "Terminal": False}
    assert e.delete() == (pid, 6, exited_at)
    client.sync()

    assert [(x.name, x.data) for x in running.events()] == [
        ("TaskExecAdded", {"exec_id": "e1"}),
        ("TaskExecStarted", {"exec_id": "e1", "pid": pid}),
        ("TaskExit", {"id": "e1", "pid": pid, "exit_status": 6, "exited_at": exited_at})]
    assert [x for x in client.added()] and client.added()[0][0] == e.path
    assert set(client.added()[0][1][t.PROCESS]) == set(everything) | {"StartedAt"}
    assert (e.path, [i for i in dict(client.removed()).get(e.path, []) if i == t.PROCESS]) == (e.path, [t.PROCESS])
    assert client.changes(e.path, "Status")[-1] in ("stopped", None)
    assert running.status == "running"
    assert running.end()[1] == 137
    client.sync()
    complete, events = client.get_events()
    assert complete
    t.check_event_invariants(events)


def test_the_exit_code_of_a_signal_is_128_more(running):
    e = running.run("e1", "sleep", "1000")
    e.kill(signal.SIGTERM)
    assert e.wait()[0] == 128 + signal.SIGTERM
    assert exit_of(e).exit_status == 128 + signal.SIGTERM
    assert running.status == "running"


def test_every_exit_code_arrives(running):
    for code in (0, 1, 77, 127, 255):
        e = running.run("e%d" % code, "sh", "-c", "exit %d" % code)
        assert e.wait()[0] == code
        assert e.delete()[1] == code


def test_what_a_process_object_says_is_what_runs(running, fifo):
    """args, env, cwd and user of the JSON; a "terminal" in it does not count."""
    out = fifo("out").open_reader()
    spec = t.process_spec(["sh", "-c", "echo $WHO; pwd; id -u; tty"], env=["PATH=/bin", "WHO=me"], cwd="/tmp",
                          user={"uid": 33, "gid": 44}, terminal=True)
    e = running.exec("e1", spec=spec, Stdout=str(out))
    assert e.get("Terminal") is False
    assert e.get("Stdout") == str(out)
    e.start()
    assert out.read_to_end() == b"me\n/tmp\n33\nnot a tty\n"
    e.wait()


def test_streams_of_an_exec_are_its_own(client, bundle, fifo):
    """Also end-of-file: it comes when the exec has ended, though the container goes on."""
    c_out, inp, out, err = fifo("c-out").open_reader(), fifo("in"), fifo("out").open_reader(), fifo("err").open_reader()
    c = client.create("c1", bundle("sleep", "1000"), Stdout=str(c_out))
    c.start()
    e = c.run("e1", "sh", "-c", "cat; echo done >&2", Stdin=str(inp), Stdout=str(out), Stderr=str(err))
    inp.open_writer().write(b"there and back\n")
    e.close_io()
    inp.close()
    assert out.read_to_end() == b"there and back\n"
    assert err.read_to_end() == b"done\n"
    assert e.wait()[0] == 0
    assert c_out.quiet(0.1)


def test_an_exec_can_be_attached_to_again(running, fifo):
    """The client goes away and opens the FIFOs anew; both lines come back."""
    inp, out = fifo("in"), fifo("out").open_reader()
    e = running.run("e1", "cat", Stdin=str(inp), Stdout=str(out))
    for line in (b"first\n", b"second\n"):
        inp.open_writer().write(line)
        assert out.read_line() == line
        inp.close()
        out.close()
        out.open_reader()
    assert e.status == "running"
    e.close_io()
    assert e.wait()[0] == 0


def test_close_io_between_exec_and_start_is_remembered(running, fifo):
    """T-STDIN"""
    inp, out = fifo("in"), fifo("out").open_reader()
    e = running.exec("e1", "cat", Stdin=str(inp), Stdout=str(out))
    inp.open_writer().write(b"early\n")
    e.close_io()
    e.close_io()
    inp.close()
    e.start()
    assert out.read_to_end() == b"early\n"
    assert e.wait()[0] == 0


def test_descriptors_can_be_passed_to_an_exec(running):
    r, w = os.pipe()
    e = running.exec("e1", "echo", "into your own pipe", Stdout=w)
    os.close(w)
    assert e.get("Stdout") == "fd"
    e.start()
    with os.fdopen(r, "rb") as f:
        assert f.read() == b"into your own pipe\n"
    e.wait()


def test_io_uid_of_an_exec(running, fifo):
    """T-IOUID for exec: the owner of the FIFOs is the one who was asked for."""
    out = fifo("out").open_reader()
    e = running.exec("e1", spec=t.process_spec(["sh", "-c", "echo again >/proc/self/fd/1"], user={"uid": 1234, "gid": 2345}),
                     Stdout=str(out), IoUid=1234, IoGid=2345)
    e.start()
    assert e.wait()[0] == 0
    assert (os.stat(str(out)).st_uid, os.stat(str(out)).st_gid) == (1234, 2345)
    assert out.read_to_end() == b"again\n"


def test_null_streams_of_an_exec_can_be_read_and_written(running):
    """T-NULL"""
    assert running.run("e1", "sh", "-c", "echo x && echo y >&2 && ! read line && exit 9").wait()[0] == 9


def test_arguments_of_20000_characters(running, fifo):
    out = fifo("out").open_reader()
    e = running.run("e1", "sh", "-c", "echo ${#0}", "a" * 20000, Stdout=str(out))
    assert out.read_to_end() == b"20000\n"
    assert e.wait()[0] == 0


def test_an_exec_that_ends_before_runc_exec_has_returned(fake, fake_running):
    """Its pid is real, its code too, and TaskExecStarted comes first."""
    for i in range(5):
        fake.control.set("c1", "exec", "once", "wait-exit", "sleep-after 0.1")
        e = fake_running.exec("e%d" % i, "exit", "%d" % (40 + i))
        pid = e.start()
        assert pid > 0
        assert e.wait()[0] == 40 + i
        assert [x.name for x in e.events()] == ["TaskExecAdded", "TaskExecStarted", "TaskExit"]
        assert e.events()[1].pid == e.events()[2].pid == pid
        assert e.delete()[:2] == (pid, 40 + i)


def test_an_exec_that_ends_before_its_pid_file_is_written(fake, fake_running):
    """It has been reaped by then, and nobody could know whose it was."""
    fake.control.set("c1", "exec", "pid-late 0.2")
    e = fake_running.exec("e1", "exit", "45")
    assert e.start() > 0
    assert e.wait()[0] == 45
    assert [x.name for x in e.events()] == ["TaskExecAdded", "TaskExecStarted", "TaskExit"]


def test_an_exec_killed_before_runc_exec_has_returned(fake, fake_running):
    fake.control.set("c1", "exec", "die-before-return")
    e = fake_running.exec("e1", "sleep", "inf")
    assert e.start() > 0
    assert e.wait()[0] == 137
    assert e.event_names() == ["TaskExecAdded", "TaskExecStarted", "TaskExit"]


def test_wait_before_start(running):
    e = running.exec("e1", "sh", "-c", "exit 3")
    pending = [e.begin("Wait"), e.begin("Wait")]
    running.client.sync()
    assert not any(p.done() for p in pending)
    e.start()
    answers = [p.result() for p in pending] + [e.wait(), e.wait()]
    assert {a[0] for a in answers} == {3} and len(set(answers)) == 1


def test_waiting_on_what_is_deleted(running):
    """An exec that was never started and is deleted: no error for who waits, and status 0, as for its Delete."""
    e = running.exec("e1", "true")
    pending = e.begin("Wait")
    assert e.delete() == (0, 0, 0)
    assert pending.result()[0] == 0
    with refused("NotFound"):
        e.wait()
    running.client.sync()
    assert e.event_names() == ["TaskExecAdded"]


def test_several_lives_of_one_exec_id(running):
    for code in (1, 2, 3):
        e = running.run("again", "sh", "-c", "exit %d" % code)
        assert e.wait()[0] == code
        with refused("AlreadyExists", "again"):
            running.exec("again", "true")
        assert e.delete()[1] == code
    assert running.event_names().count("TaskExit") == 3


# The table


EXEC_OPERATIONS = {
    "start": ("Start", "", ()),
    "kill": ("Kill", "ub", (9, False)),
    "kill-all": ("Kill", "ub", (9, True)),
    "delete": ("Delete", "", ()),
    "close": ("CloseIO", "", ()),
    "resize": ("ResizePty", "qq", (80, 25)),
    "terminal": ("OpenTerminal", "", ()),
    "pidfd": ("OpenPidFD", "", ()),
}
OK = object()
EXEC_TABLE = {
    ("created", "start"): (OK, "running"),
    ("created", "kill"): ("FailedPrecondition", "process not created: failed precondition"),
    ("created", "kill-all"): ("InvalidArgument", None),
    ("created", "delete"): (OK, None),
    ("created", "close"): (OK, "created"),
    ("created", "resize"): ("FailedPrecondition", None),
    ("created", "terminal"): ("FailedPrecondition", None),
    ("created", "pidfd"): ("FailedPrecondition", None),
    ("running", "start"): ("FailedPrecondition", "cannot start a running process"),
    ("running", "kill"): (OK, "stopped"),
    ("running", "kill-all"): ("InvalidArgument", None),
    ("running", "delete"): ("FailedPrecondition", "cannot delete a running process"),
    ("running", "close"): (OK, "running"),
    ("running", "resize"): ("FailedPrecondition", None),
    ("running", "terminal"): ("FailedPrecondition", None),
    ("running", "pidfd"): (OK, "running"),
    ("stopped", "start"): ("FailedPrecondition", "cannot start a stopped process"),
    ("stopped", "kill"): ("NotFound", "process already finished: not found"),
    ("stopped", "kill-all"): ("InvalidArgument", None),
    ("stopped", "delete"): (OK, None),
    ("stopped", "close"): (OK, "stopped"),
    ("stopped", "pidfd"): ("NotFound", None),
    ("deleted", "start"): ("NotFound", None),
    ("deleted", "kill"): ("NotFound", None),
    ("deleted", "delete"): ("NotFound", None),
    ("deleted", "close"): ("NotFound", None),
    ("deleted", "resize"): ("NotFound", None),
    ("deleted", "terminal"): ("NotFound", None),
    ("deleted", "pidfd"): ("NotFound", None),
}


@pytest.mark.parametrize("state", ["created", "running", "stopped", "deleted"])
def test_what_an_operation_does_to_an_exec(fake, fake_running, state):
    """Every cell of the table; a refusal changes nothing and signals nothing, and runs nothing."""
    client = fake_running.client
    for number, (operation, (answer, more)) in enumerate((o, v) for (s, o), v in EXEC_TABLE.items() if s == state):
        e = fake_running.exec("e%d" % number, "sleep", "inf")
        if state != "created":
            e.start()
        if state in ("stopped", "deleted"):
            e.kill()
            e.wait()
        if state == "deleted":
            e.delete()
        client.sync()
        client.forget_signals()
        fake.control.forget()
        member, signature, args = EXEC_OPERATIONS[operation]
        if answer is OK:
            for value in e.process(member, signature, *args):
                if hasattr(value, "close"):
                    value.close()
            if more is None:
                with refused("NotFound"):
                    e.delete()
            else:
                t.wait_for(lambda: e.status == more, what="%s after %s" % (more, operation))
        else:
            with refused(answer, exactly=more):
                e.process(member, signature, *args)
            client.sync()
            assert client.event_names() == []
            if state != "deleted":
                assert e.status == state, operation
            assert fake.control.invocations() == []
    assert fake_running.status == "running"


@pytest.mark.parametrize("state, answer, text", [
    ("created", OK, None),
    ("running", OK, None),
    ("paused", "FailedPrecondition", "cannot exec in a paused state"),
    ("stopped", "FailedPrecondition", "cannot exec in a stopped state"),
    ("deleted", "NotFound", None)])
def test_in_which_states_of_the_container_an_exec_can_be_added(fake, bundle, state, answer, text):
    client = fake.connect()
    c = client.create("c1", bundle("sleep", "inf"))
    if state != "created":
        c.start()
    if state == "paused":
        c.pause()
    if state in ("stopped", "deleted"):
        c.kill()
        c.wait()
    if state == "deleted":
        c.delete()
    client.sync()
    if answer is OK:
        assert c.exec("e1", "sleep", "inf").status == "created"
        assert c.event_names()[-1] in ("TaskExecAdded", "TaskStart")
    else:
        with refused(answer, exactly=text):
            c.exec("e1", "sleep", "inf")
        assert "TaskExecAdded" not in c.event_names()
    if state == "paused":
        c.resume()


def test_an_exec_added_before_the_container_was_started(client, bundle):
    c = client.create("c1", bundle("sleep", "1000"))
    e = c.exec("e1", "sh", "-c", "exit 5")
    c.start()
    e.start()
    assert e.wait()[0] == 5


def test_an_exec_cannot_be_started_while_its_container_is_paused(running):
    """The runtime refuses, or the daemon before it; and after a resume it works."""
    e = running.exec("e1", "sh", "-c", "exit 8")
    running.pause()
    with pytest.raises(t.DBusError) as caught:
        e.start()
    assert caught.value.name in (t.ERROR + "RuntimeFailed", t.ERROR + "FailedPrecondition")
    assert "paused" in caught.value.message
    running.resume()
    client = running.client
    client.sync()
    assert e.event_names() == ["TaskExecAdded"]
    assert running.run("e2", "sh", "-c", "exit 8").wait()[0] == 8


def test_a_running_exec_is_paused_with_its_container(running):
    e = running.run("e1", "sleep", "1000")
    running.pause()
    assert e.status == "paused"
    running.resume()
    assert e.status == "running"


# Refusals


@pytest.mark.parametrize("text", [
    "", "{", "nonsense", "[]", '"sleep"', "null", '{"args":["true"]', '{"args":["true"]} x', '{"args":"true"}', '{"args":[1]}',
    '{"args":["true"],"env":"PATH=/bin"}', '{"args":["true"],"env":[7]}'])
def test_a_malformed_process_is_refused_before_anything(fake, fake_running, text):
    client = fake_running.client
    client.sync()
    fake.control.forget()
    client.forget_signals()
    before = sorted(os.listdir(fake.container_dir("c1")))
    with refused("InvalidArgument", "process"):
        fake_running.exec("e1", spec=text)
    client.sync()
    assert client.signals == []
    assert fake.control.invocations() == []
    assert sorted(os.listdir(fake.container_dir("c1"))) == before
    fake_running.run("e1", "exit", "0").wait()


def test_a_process_of_more_than_16_mib_is_refused(fake_running):
    spec = t.process_spec(["sleep", "inf"])
    spec["x"] = "y" * (17 << 20)
    with pytest.raises((t.DBusError, OSError)) as caught:
        fake_running.exec("e1", spec=spec)
    if isinstance(caught.value, t.DBusError):
        assert caught.value.name in (t.ERROR + "InvalidArgument", "org.freedesktop.DBus.Error.LimitsExceeded")


def test_an_id_in_use_and_the_containers_own(running):
    e = running.exec("e1", "true")
    with refused("AlreadyExists", "id e1: already exists"):
        running.exec("e1", "true")
    with refused("AlreadyExists", "id c1: already exists"):
        running.exec("c1", "true")
    e.start()
    e.wait()
    with refused("AlreadyExists", "e1"):  # until it is deleted
        running.exec("e1", "true")
    running.client.sync()
    assert running.event_names().count("TaskExecAdded") == 1


@pytest.mark.parametrize("id", ["", ".", "..", "a/b", "-a", "a-", "a..b", "a b", "a\n", "ü", "a" * 77, "../../etc", "_"])
def test_a_bad_exec_id_is_refused(fake_running, id):
    with refused("InvalidArgument"):
        fake_running.exec(id, "sleep", "inf")


@pytest.mark.parametrize("id", ["init", "shim", "log", "x.pid", "state", "config.json", "init.pid", "a" * 76, "e.1_2-3"])
def test_an_exec_id_that_looks_like_a_file_of_ours(daemon, running, id):
    """T-EXECID: neither the container nor the other execs take harm, and its own code arrives."""
    first = running.run("first", "sleep", "1000")
    e = running.run(id, "sh", "-c", "exit 21")
    assert e.wait()[0] == 21
    other = running.exec(id + "x" if len(id) < 76 else "other", "sh", "-c", "exit 22")
    other.start()
    assert other.wait()[0] == 22
    assert e.delete()[1] == 21
    daemon.kill9()
    client = daemon.start().connect()
    c = client.container("c1")
    assert c.status == "running" and c.get("Pid") == running.pid
    assert c.known_exec("first").status == "running"
    first = first.on(client)
    first.kill()
    assert first.wait()[0] == 137
    assert c.end()[1] == 137


@pytest.mark.parametrize("opts, name, text", [
    ({"Bogus": ("s", "x")}, "InvalidArgument", "Bogus"),
    ({"Runtime": ("s", "runc")}, "InvalidArgument", "Runtime"),
    ({"Relay": ("b", True)}, "InvalidArgument", "Relay"),
    ({"Terminal": ("s", "yes")}, "InvalidArgument", "Terminal"),
    ({"IoUid": ("s", "0")}, "InvalidArgument", "IoUid"),
    ({"ConsoleSize": ("(uu)", (80, 25))}, "InvalidArgument", "ConsoleSize"),
    ({"Stdout": "relative"}, "InvalidArgument", "Stdout"),
    ({"Stdout": "gopher://x"}, "InvalidArgument", "unknown STDIO scheme gopher"),
    ({"Stdin": "file:///tmp/x"}, "InvalidArgument", "Stdin"),
    ({"Stderr": "/nowhere/at/all"}, "NotFound", ""),
])
def test_options_of_exec_are_checked(fake, fake_running, opts, name, text):
    client = fake_running.client
    client.sync()
    client.forget_signals()
    with refused(name, text):
        fake_running.exec("e1", "sleep", "inf", **opts)
    client.sync()
    assert client.signals == []
    assert fake_running.exec("e1", "sleep", "inf").status == "created"


def test_a_missing_process_is_not_found(running):
    ghost = running.known_exec("this-process-does-not-exist")
    for call in (ghost.start, ghost.wait, ghost.delete, ghost.kill, ghost.close_io):
        with refused("NotFound"):
            call()


# Failing starts


def test_a_program_that_does_not_exist(running):
    e = running.exec("e1", "none-such")
    with refused("RuntimeFailed", "OCI runtime exec failed: ", "none-such"):
        e.start()
    assert running.status == "running"
    running.client.sync()
    assert e.event_names() == ["TaskExecAdded"]
    assert running.run("e2", "sh", "-c", "exit 4").wait()[0] == 4
    e.delete()
    assert running.end()[1] == 137


def test_an_exec_that_fails_twice(fake, fake_running):
    """T-EXEC-FAIL-TWICE: the daemon lives, who waits is answered in the end, and no exit is told of."""
    e = fake_running.exec("e1", "sleep", "inf")
    pending = e.begin("Wait")
    fake.control.set("c1", "exec", "exit 1", "log no way")
    with refused("RuntimeFailed", "OCI runtime exec failed: ", "no way"):
        e.start()
    with pytest.raises(t.DBusError) as caught:
        e.start()
    assert caught.value.name in (t.ERROR + "RuntimeFailed", t.ERROR + "FailedPrecondition")
    fake.control.clear()
    assert e.status in ("created", "stopped")
    e.delete()
    pending.result()
    e.client.sync()
    assert e.event_names() == ["TaskExecAdded"]
    assert fake_running.run("e1", "exit", "2").wait()[0] == 2


FAULTS = {
    "exit": (["exit 7", "log it is broken"], "RuntimeFailed", "OCI runtime exec failed: it is broken"),
    "crash": (["crash"], "RuntimeFailed", "signal"),
    "hang": (["hang"], "DeadlineExceeded", ""),
    "hang-child": (["hang-child"], "DeadlineExceeded", ""),
    "after": (["exit-after 1", "log too late"], "RuntimeFailed", "too late"),
    "hang-after": (["hang-after"], "DeadlineExceeded", ""),
    "lie": (["exit 0"], None, ""),
    "no-process": (["no-process"], None, ""),
    "pid-garbage": (["pid garbage"], None, "pid"),
    "pid-empty": (["pid empty"], None, "pid"),
    "pid-missing": (["pid missing"], None, "pid"),
    "pid-1": (["pid 1"], None, ""),
    "log-empty": (["exit 1", "log empty"], "RuntimeFailed", "OCI runtime exec failed: "),
    "log-garbage": (["exit 1", "log garbage"], "RuntimeFailed", "OCI runtime exec failed: "),
    "log-no-msg": (["exit 1", "log no-msg"], "RuntimeFailed", "OCI runtime exec failed: "),
    "log-stale": (["exit 1", "log stale"], "RuntimeFailed", "OCI runtime exec failed: "),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_a_runtime_that_fails_to_exec(make_daemon, bundle, fault):
    """T-LOG-EMPTY, T-LOG-GARBAGE, T-LOG-STALE for exec, and a runtime that lies: an error with words, no event of a start or
    an exit, the container unharmed, no process left behind, and the next exec works."""
    lines, name, text = FAULTS[fault]
    d = make_daemon(runtime=t.FAKE_RUNTIME, config={"RuntimeTimeoutSec": "%dms" % (500 * t.SCALE)})
    client = d.connect()
    c = client.create("c1", bundle("sleep", "inf"))
    c.start()
    if fault == "log-stale":
        d.control.set("c1", "exec", "once", "exit 1", "log the complaint of yesterday")
        with refused("RuntimeFailed", "yesterday"):
            c.exec("e0", "sleep", "inf").start()
    e = c.exec("e1", "sleep", "inf")
    d.control.set("c1:e1", "exec", *lines)
    with pytest.raises(t.DBusError) as caught:
        e.start()
    assert name is None or caught.value.name == t.ERROR + name, caught.value
    assert text in caught.value.message
    assert "yesterday" not in caught.value.message
    assert caught.value.message.rstrip() != "OCI runtime exec failed:", "no reason is given"
    d.control.clear()
    client.sync()
    assert e.event_names() == ["TaskExecAdded"]
    assert c.status == "running"
    if not fault.startswith("pid-"):  # a runtime that does not say what it has started is beyond help
        t.wait_for(lambda: [p for p in d.children() if p != c.pid] == [], what="the end of what was started")
    assert e.status in ("created", "stopped")
    e.delete()
    assert c.run("e2", "exit", "3").wait()[0] == 3
    for pid in d.children():
        if pid != c.pid:
            os.kill(pid, signal.SIGKILL)


@pytest.mark.skipif(not t.SLOW, reason="MONOSHIM_TEST_SLOW=0")
def test_many_failing_execs_leave_nothing(fake, fake_running, fifo):
    """T-LOGSIZE, T-FD-FAIL for exec: neither the logs nor the descriptors grow."""
    def size():
        return sum(os.path.getsize(os.path.join(base, f)) for base, _, files in os.walk(fake.container_dir("c1")) for f in files)

    out = fifo("out")
    fake.control.set("c1", "exec", "exit 1", "log " + "x" * 500)
    before = None
    for i in range(200):
        e = fake_running.exec("e1", "sleep", "inf", Stdin=str(out), Stdout=str(out))
        with refused("RuntimeFailed"):
            e.start()
        e.delete()
        if i == 10:
            before = (size(), fake.all_fds())
    assert size() <= before[0] + 1000
    assert fake.all_fds() <= before[1]


# The init ends


@pytest.mark.parametrize("namespace", ["private", "host"])
def test_killing_the_init_ends_its_execs_first(daemon, client, bundle, namespace):
    """T-ORD: of 30 execs each exits once, and all before the init."""
    c = client.create("c1", bundle("sleep", "1000", pid_namespace=namespace))
    c.start()
    execs = [c.exec("e%d" % i, "sleep", "1000") for i in range(30)]
    for pending in [e.begin("Start") for e in execs]:
        pending.result()
    waiting = [e.begin("Wait") for e in execs]
    os.kill(c.pid, signal.SIGKILL)
    assert c.wait()[0] == 137
    assert {w.result()[0] for w in waiting} == {137}
    client.sync()
    exits = [e.data["id"] for e in c.events("TaskExit")]
    assert sorted(exits[:-1]) == sorted(e.id for e in execs) and exits[-1] == "c1"
    assert {e.status for e in execs} == {"stopped"}
    with refused("FailedPrecondition", exactly="cannot exec in a stopped state"):
        c.exec("late", "true")
    c.delete()
    t.check_event_invariants(client.get_events()[1])


def test_execs_whose_exits_come_after_the_inits(fake, bundle):
    """T-ORD the other way round: the init is seen to end first, and is told of last."""
    client = fake.connect()
    c = client.create("c1", bundle("sleep", "inf", pid_namespace="host"))
    c.start()
    fake.control.set("c1", "kill-all", "sleep 0.3")
    execs = [c.run("e%d" % i, "run", "sleep", "1000") for i in range(5)]
    os.kill(c.pid, signal.SIGKILL)
    c.wait()
    client.sync()
    assert [e.data["id"] for e in c.events("TaskExit")][-1] == "c1"
    assert {e.wait()[0] for e in execs} == {137}
    c.delete()
    t.check_event_invariants(client.get_events()[1])


@pytest.mark.parametrize("when", ["before", "after"])
def test_the_init_dies_during_an_exec(fake, fake_running, when):
    """T-EXEC-AFTER-EXIT: the container stops, nothing runs in it any more, and no event is out of order."""
    c, client = fake_running, fake_running.client
    fake.control.set("c1", "exec", "sleep 0.4" if when == "before" else "sleep-after 0.4")
    e, other = c.exec("e1", "sleep", "inf"), c.exec("e2", "sleep", "inf")
    pending = e.begin("Start")
    t.wait_for(lambda: fake.control.invocations("exec"), what="the start of runc exec")
    time.sleep(0.1)
    os.kill(c.pid, signal.SIGKILL)
    try:
        pending.result()
        assert when == "after"
    except t.DBusError as error:
        assert error.name in (t.ERROR + "FailedPrecondition", t.ERROR + "RuntimeFailed"), error
        assert "exec" in error.message or "not running" in error.message
    assert c.wait()[0] == 137
    assert c.status == "stopped"
    with refused("FailedPrecondition"):
        other.start()
    assert other.status == "created" and other.get("Pid") == 0
    client.sync()
    assert "TaskExit" not in [x.name for x in other.events()]
    assert c.delete()[1] == 137
    t.check_event_invariants(client.get_events()[1])


def test_the_init_dies_while_execs_are_started(daemon, client, bundle):
    """The same with runc, at whatever moment: some are started, some refused, none is forgotten."""
    for delay in (0.0, 0.01, 0.03, 0.06, 0.1):
        c = client.create("c1", bundle("sleep", "1000"))
        c.start()
        execs = [c.exec("e%d" % i, "sleep", "1000") for i in range(6)]
        pending = [e.begin("Start") for e in execs]
        time.sleep(delay)
        os.kill(c.pid, signal.SIGKILL)
        started = 0
        for p in pending:
            with contextlib.suppress(t.DBusError):
                p.result()
                started += 1
        assert c.wait()[0] == 137
        client.sync()
        assert len(c.events("TaskExecStarted")) == started
        assert len(c.events("TaskExit")) == started + 1
        c.delete()
        client.sync()
        client.forget_signals()
    t.check_event_invariants(client.get_events()[1])


def test_deleting_the_container_removes_its_execs(client, running):
    e1, e2 = running.run("e1", "sleep", "1000"), running.exec("e2", "true")
    running.kill()
    running.wait()
    running.delete()
    client.sync()
    assert {p for p, _ in client.removed()} >= {e1.path, e2.path, running.path}
    for e in (e1, e2):
        with refused("NotFound"):
            e.wait()
    assert client.tree() == {} or not any("c1" in p for p in client.tree())


# Many


def test_500_execs_at_once(daemon, client, running):
    """All are answered, each has its own code, every event is in order, and nothing is left (T-ZOMBIE)."""
    n = 500 if t.SLOW and not t.INSTRUMENTED else 50
    execs = [running.exec("e%d" % i, "sh", "-c", "exit %d" % (i % 100)) for i in range(n)]
    waiting = [e.begin("Wait") for e in execs]
    starting = [e.begin("Start") for e in execs]
    pids = {p.result(timeout=120 * t.SCALE)[0] for p in starting}
    assert 0 not in pids
    assert [w.result(timeout=60 * t.SCALE)[0] for w in waiting] == [i % 100 for i in range(n)]
    t.wait_for(lambda: daemon.children() == [running.pid], what="the end of all children")
    client.sync()
    assert len(running.events("TaskExit")) == n
    for d in [e.begin("Delete") for e in execs]:
        assert d.result()[1] < 100
    t.check_event_invariants(client.get_events()[1], allow_open=True)


def test_too_many_execs_are_refused_and_harm_nothing(fake, fake_running):
    """A limit is met in the end; what was added before stays."""
    client, refusals, n = fake_running.client, 0, 4200
    for first in range(0, n, 100):
        for pending in [fake_running.begin_exec("e%d" % i, "sleep", "inf") for i in range(first, first + 100)]:
            try:
                pending.result()
            except t.DBusError as e:
                assert e.name == t.ERROR + "ResourceExhausted", e
                refusals += 1
        client.forget_signals()
    assert 0 < refusals < n
    assert fake_running.known_exec("e0").status == "created"
    fake_running.known_exec("e0").delete()
    fake_running.run("e0", "exit", "0").wait()


def test_execs_and_the_init_do_not_wait_for_each_other(fake, fake_running):
    """While one exec hangs in its runtime, others are started, and the container is killed."""
    fake.control.set("c1:e1", "exec", "hang")
    stuck = fake_running.exec("e1", "sleep", "inf").begin("Start")
    t.wait_for(lambda: fake.control.invocations("exec"), what="the start of runc exec")
    began = time.monotonic()
    assert fake_running.run("e2", "exit", "0").wait()[0] == 0
    fake_running.kill(signal.SIGTERM)
    assert time.monotonic() - began < 2 * t.SCALE
    assert not stuck.done()
    fake.control.clear()
    for r in fake.control.invocations("exec"):
        if r["exec_id"] == "e1":
            os.kill(r["pid"], signal.SIGKILL)
    with pytest.raises(t.DBusError):
        stuck.result()
    fake_running.wait()


# Kill, OpenPidFD, ListPids, GetContainerByPID


def test_a_signal_reaches_the_exec_and_nobody_else(running, fifo):
    out = fifo("out").open_reader()
    e = running.run("e1", "sh", "-c", "trap 'echo usr1; exit 5' USR1; echo ready; while :; do sleep 0.05; done", Stdout=str(out))
    assert out.read_line() == b"ready\n"
    e.kill(signal.SIGUSR1)
    assert out.read_line() == b"usr1\n"
    assert e.wait()[0] == 5
    assert running.status == "running"


@pytest.mark.parametrize("sig", [65, 1000, 2 ** 32 - 1])
def test_a_number_that_is_no_signal(running, sig):
    e = running.run("e1", "sleep", "1000")
    with refused("InvalidArgument"):
        e.process("Kill", "ub", sig, False)
    assert e.status == "running"


def test_a_pidfd_of_an_exec(running):
    e = running.exec("e1", "sleep", "1000")
    with refused("FailedPrecondition"):
        e.open_pidfd()
    pid = e.start()
    fd = e.open_pidfd()
    with open("/proc/self/fdinfo/%d" % fd) as f:
        assert "Pid:\t%d\n" % pid in f.read()
    assert not select.select([fd], [], [], 0)[0]
    signal.pidfd_send_signal(fd, signal.SIGKILL)
    assert select.select([fd], [], [], t.TIMEOUT)[0]
    os.close(fd)
    assert e.wait()[0] == 137
    with refused("NotFound"):
        e.open_pidfd()


def test_the_pids_of_a_container_and_who_they_are(client, running):
    """The exec id beside the pid of each exec, the empty string beside the init's."""
    e = running.run("e1", "sh", "-c", "sleep 1000 & wait")
    assert running.pids()[running.pid] == ""
    pids = t.wait_for(lambda: (lambda p: len(p) == 3 and p)(running.pids()), what="three processes")
    assert pids[e.pid] == "e1"
    child, = set(pids) - {running.pid, e.pid}
    assert pids[child] in ("", "e1") and t.read_stat(child)[1] == e.pid
    for pid in pids:
        assert client.manager("GetContainerByPID", "u", pid) == (running.path,)
    e.kill()
    e.wait()
    assert e.pid not in running.pids()


# Restarts


@pytest.mark.parametrize("how", ["kill9", "term"])
def test_an_exec_survives_a_restart_and_its_code_is_real(make_daemon, bundle, fifo, how):
    d = make_daemon()
    client = d.connect()
    c = client.create("c1", bundle("sleep", "1000"))
    c.start()
    inp, out = fifo("in"), fifo("out").open_reader()
    e = c.run("e1", "sh", "-c", "read x; echo got $x; exit 43", Stdin=str(inp), Stdout=str(out))
    inp.open_writer()
    before = client.get_all(e.path, t.PROCESS)
    d.stop() if how == "term" else d.kill9()
    client = d.start().connect()
    e = e.on(client)
    assert client.get_all(e.path, t.PROCESS) == before
    assert e.path in client.tree()
    pending = e.begin("Wait")
    inp.write(b"it\n")
    assert out.read_to_end() == b"got it\n"
    status, exited_at = pending.result()
    assert status == (43 if has_exit_info() else 137)
    assert client.wait_event("TaskExit", "c1").data["id"] == "e1"
    assert e.delete() == (before["Pid"], status, exited_at)
    client.container("c1").end()
    t.check_event_invariants(client.get_events()[1])


def has_exit_info():
    """PIDFD_INFO_EXIT is of Linux 6.15."""
    return tuple(int(n) for n in os.uname().release.split("-")[0].split(".")[:2]) >= (6, 15)


def test_an_exec_that_ended_while_the_daemon_was_away(daemon, client, running, fifo):
    """Told of exactly once, with a code, before its init's exit."""
    inp = fifo("in")
    e = running.run("e1", "sh", "-c", "read x; exit 44", Stdin=str(inp))
    pid = e.pid
    inp.open_writer()
    daemon.kill9()
    inp.write(b"x\n")
    t.wait_for(lambda: t.read_stat(pid) is None, what="the end of the exec")
    client = daemon.start().connect()
    e = e.on(client)
    assert e.status == "stopped"
    assert e.wait()[0] in (44, 137)
    assert client.container("c1").status == "running"
    exits = [x for x in client.get_events()[1] if x.name == "TaskExit"]
    assert [(x.data["id"], x.pid) for x in exits] == [("e1", pid)]
    client.container("c1").end()
    t.check_event_invariants(client.get_events()[1])


def recycle(pid):
    """A new process that has this pid; None if others were always quicker."""
    for _ in range(200):
        with open("/proc/sys/kernel/ns_last_pid", "w") as f:
            f.write(str(pid - 1))
        p = subprocess.Popen(["sleep", "1000"])
        if p.pid == pid:
            return p
        p.kill()
        p.wait()
    return None


def test_a_pid_that_was_used_again_while_the_daemon_was_away(daemon, running):
    """T-PIDREUSE: whoever has the number now is neither taken for the exec nor sent its signals."""
    e = running.run("e1", "sleep", "1000")
    pid = e.pid
    daemon.kill9()
    os.kill(pid, signal.SIGKILL)
    t.wait_for(lambda: t.read_stat(pid) is None, what="the end of the exec")
    innocent = recycle(pid)
    if innocent is None:
        pytest.skip("the pid could not be had again")
    try:
        client = daemon.start().connect()
        e = e.on(client)
        assert e.status == "stopped" and e.wait()[0] == 137
        with refused("NotFound"):
            e.kill()
        with refused("NotFound"):
            client.manager("GetContainerByPID", "u", pid)
        client.container("c1").end()
        assert innocent.poll() is None
    finally:
        innocent.kill()
        innocent.wait()


def test_the_init_and_its_execs_ended_while_the_daemon_was_away(daemon, client, running):
    """Nobody can know their status any more: told as killed, the execs before their init, and cleaned up."""
    pid = running.pid
    for i in range(3):
        running.run("e%d" % i, "sleep", "1000")
    daemon.kill9()
    os.kill(pid, signal.SIGKILL)
    t.wait_for(lambda: t.read_stat(pid) is None, what="the end of the init")
    client = daemon.start().connect()
    t.wait_for(lambda: client.get_events()[1][-1].name == "TaskDelete", what="the clean-up")
    assert client.list() == {}
    exits = [(x.data["id"], x.exit_status) for x in client.get_events()[1] if x.name == "TaskExit"]
    assert sorted(exits[:3]) == [("e0", 137), ("e1", 137), ("e2", 137)] and exits[3:] == [("c1", 137)]
    t.check_event_invariants(client.get_events()[1])


def test_an_exec_that_was_only_registered_survives_a_restart(daemon, client, running, fifo):
    """And can then be started, with everything it was registered with."""
    out = fifo("out").open_reader()
    e = running.exec("e1", spec=t.process_spec(["sh", "-c", "echo $A; exit 17"], env=["PATH=/bin", "A=b"]), Stdout=str(out))
    daemon.kill9()
    client = daemon.start().connect()
    e = e.on(client)
    assert (e.status, e.get("Pid"), e.get("Stdout")) == ("created", 0, str(out))
    e.start()
    assert out.read_to_end() == b"b\n"
    assert e.wait()[0] == 17
    client.container("c1").end()
    t.check_event_invariants(client.get_events()[1])


def test_the_daemon_is_killed_during_an_exec(fake, fake_running):
    """No half a thing is left: the exec runs and is known, or it does not run."""
    for moment in ("sleep 5", "sleep-after 5"):
        fake.control.set("c1", "exec", moment)
        c = fake.clients[0].container("c1")
        e = c.exec("e1", "sleep", "inf")
        e.begin("Start")
        t.wait_for(lambda: fake.control.invocations("exec"), what="runc exec")
        time.sleep(0.1)
        fake.control.forget()
        fake.control.clear()
        fake.kill9()
        c = fake.start().connect().container("c1")
        assert c.status == "running"
        e = c.known_exec("e1")
        with contextlib.suppress(t.DBusError):
            if e.status == "running":
                assert t.is_alive(e.get("Pid"))
                e.kill()
                e.wait()
        with contextlib.suppress(t.DBusError):
            e.delete()
        assert c.run("e1", "exit", "9").wait()[0] == 9
        c.known_exec("e1").delete()


def test_secrets_of_an_exec_are_for_root_only(daemon, running):
    """The process object may hold passwords in its environment."""
    running.exec("e1", spec=t.process_spec(["true"], env=["SECRET=swordfish"]))
    for base, dirs, files in os.walk(daemon.state):
        for name in files:
            path = os.path.join(base, name)
            with open(path, errors="replace") as f:
                if "swordfish" in f.read():
                    assert os.stat(path).st_mode & 0o077 == 0, path
    assert "swordfish" not in daemon.log_text()
    assert "swordfish" not in json.dumps([e.data for e in running.client.get_events()[1]])
