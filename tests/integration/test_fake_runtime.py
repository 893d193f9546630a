# SPDX-License-Identifier: LGPL-2.1-or-later
"""The fake runtime against runc: the same commands must end, answer and complain alike, or the other tests prove nothing."""

import json
import os
import re
import signal
import socket
import time

import pytest

import monoshim_testing as t

PID_FILE = "{directory}/pid"
CREATE = ("create", "--bundle", "{bundle}", "--pid-file", PID_FILE, "c1")
EXEC = ("exec", "--process", "{bundle}/process.json", "--detach", "--pid-file", "{directory}/exec.pid", "c1")

STORIES = {
    "a life": [CREATE, CREATE, ("state", "c1"), ("start", "c1"), ("start", "c1"), ("state", "c1"), ("delete", "c1"),
               ("kill", "c1", "KILL"), "dead", ("kill", "c1", "9"), ("kill", "--all", "c1", "9"), ("start", "c1"), ("state", "c1"),
               ("ps", "--format", "json", "c1"), ("pause", "c1"), ("resume", "c1"), ("delete", "c1"), ("delete", "c1")],
    "never started": [CREATE, ("kill", "c1", "9"), "dead", ("start", "c1"), ("delete", "c1")],
    "deleted in created": [CREATE, ("delete", "c1"), "dead", ("state", "c1")],
    "deleted by force": [CREATE, ("start", "c1"), ("delete", "--force", "c1"), "dead", ("delete", "--force", "c1")],
    "paused": [CREATE, ("start", "c1"), ("pause", "c1"), ("pause", "c1"), ("state", "c1"), ("start", "c1"), ("delete", "c1"),
               ("resume", "c1"), ("resume", "c1"), ("kill", "c1", "9"), "dead", ("delete", "c1")],
    "unknown": [("start", "c1"), ("kill", "c1", "9"), ("delete", "c1"), ("delete", "--force", "c1"), ("state", "c1"), ("ps", "c1"),
                ("pause", "c1"), ("resume", "c1")],
    "wrong": [("create", "--bundle", "/nowhere", "c1"), ("create", "--bundle", "{bundle}"), ("create", "--bogus", "c1"), ("frob",),
              CREATE, ("kill", "c1", "99"), ("kill", "c1", "FOO"), ("update", "--resources", "-", "c1"), ("delete", "c1")],
    "a stale pid file": [("touch", "{directory}/.pid"), CREATE],
    "executed": [CREATE, EXEC, ("start", "c1"), EXEC, ("pause", "c1"), EXEC, ("resume", "c1"), ("kill", "c1", "9"), "dead", EXEC,
                 ("delete", "c1"), EXEC],
    "executed wrongly": [CREATE, ("start", "c1"), ("exec", "--process", "/nowhere", "--detach", "c1"),
                         ("touch", "{directory}/.exec.pid"), EXEC, ("kill", "c1", "9"), "dead"],
    "checkpointed in vain": [("checkpoint", "--image-path", "{directory}/image", "c1"), CREATE,
                             ("checkpoint", "--image-path", "{directory}/image", "c1"), ("delete", "c1"),
                             ("restore", "--image-path", "{directory}/image", "--bundle", "/nowhere", "c1")],
}


def tell(story, runtime, directory, bundle):
    """Runs the commands; what each has answered, with pids and times made comparable."""
    answers = []
    log = os.path.join(directory, "log.json")
    output = os.path.join(directory, "output")
    for command in story:
        if command == "dead":
            with open(os.path.join(directory, "pid")) as f:
                pid = int(f.read())
            t.wait_for(lambda: not t.is_alive(pid), what="the end of the container")
            continue
        command = [a.format(directory=directory, bundle=bundle) for a in command]
        if command[0] == "touch":
            open(command[1], "w").close()
            continue
        for path in (log, output, os.path.join(directory, "exec.pid")):
            if os.path.exists(path):
                os.unlink(path)
        argv = [runtime, "--root", os.path.join(directory, "root"), "--log", log, "--log-format", "json"] + command
        pid = t.nursery().spawn(argv, {"PATH": os.environ["PATH"]}, output)
        code = t.nursery().wait(pid)
        with open(output) as f:
            text = f.read()
        text = "usage: " + text.splitlines()[-1] if text.startswith("Incorrect Usage") else text
        if command[0] == "state" and code == 0:
            text = json.loads(text)["status"]
        text = re.sub(r"\[\d+\]", "[PID]", text)
        records = []
        if os.path.exists(log):
            with open(log) as f:
                records = [(r["level"], r["msg"].strip()) for r in map(json.loads, f)]
            assert all(r[0] == "error" for r in records)
        answers.append((command[0], code, text.strip().replace(directory, "DIR"), str(records).replace(directory, "DIR")))
    return answers


@pytest.mark.parametrize("story", STORIES)
def test_the_fake_runtime_answers_as_runc_does(make_daemon, directory, story):
    told = []
    for runtime, args in (("runc", ["sleep", "1000"]), (t.FAKE_RUNTIME, ["sleep", "inf"])):
        d = os.path.join(directory, os.path.basename(runtime))
        os.mkdir(d)
        b = t.make_bundle(d + "/b", args)
        with open(b + "/process.json", "w") as f:
            json.dump(t.process_spec(args), f)
        told.append(tell(STORIES[story], runtime, d, b))
        pid = t.nursery().spawn([runtime, "--root", d + "/root", "delete", "--force", "c1"], {"PATH": os.environ["PATH"]}, d + "/end")
        t.nursery().wait(pid)
    assert told[1] == told[0]


def test_pid_and_start_of_a_fake_container(make_daemon, directory):
    b = t.make_bundle(directory + "/b", ["run", "/bin/sh", "-c", "echo $0 > %s/ran; exit 5" % directory])
    e = {"PATH": os.environ["PATH"], "FAKE_RUNTIME_CONTROL": directory + "/control"}
    control = t.Control(directory + "/control")
    base = [t.FAKE_RUNTIME, "--root", directory + "/root"]

    def call(*argv):
        return t.nursery().wait(t.nursery().spawn(base + list(argv), e, directory + "/output"))

    assert call("create", "--bundle", b, "--pid-file", directory + "/pid", "c1") == 0
    pid = int(open(directory + "/pid").read())
    assert t.read_stat(pid)[1] == t.nursery().pid
    time.sleep(0.05)
    assert not os.path.exists(directory + "/ran")
    control.set("c1", "start", "once", "exit 3", "log x")
    assert call("start", "c1") == 3
    control.set("*", "start", "wait-exit")
    assert call("start", "c1") == 0
    assert open(directory + "/ran").read() == "/bin/sh\n"
    assert not t.is_alive(pid)
    control.set("*", "delete", "crash")
    assert call("delete", "c1") == -signal.SIGSEGV
    control.clear()
    assert call("delete", "c1") == 0
    assert [(r["verb"], r["id"]) for r in control.invocations()] == [("create", "c1"), ("start", "c1"), ("start", "c1"),
                                                                     ("delete", "c1"), ("delete", "c1")]
    assert [r["exit"] for r in control.invocations(phase="end")] == [0, 3, 0, 0]
    assert os.listdir(directory + "/root") == []


@pytest.fixture
def by_hand(directory):
    """call(args...) runs the fake runtime and returns its exit code; call.spawn() does not wait."""
    environment = {"PATH": os.environ["PATH"], "FAKE_RUNTIME_CONTROL": directory + "/control"}

    def spawn(*argv):
        return t.nursery().spawn([t.FAKE_RUNTIME, "--root", directory + "/root"] + list(argv), environment, directory + "/output")

    def call(*argv):
        return t.nursery().wait(spawn(*argv))

    call.spawn = spawn
    call.control = t.Control(directory + "/control")
    yield call
    call.control.clear()
    for name in os.listdir(directory + "/root"):
        call("delete", "--force", name)


def pid_in(path):
    with open(path) as f:
        return int(f.read())


def executed(call, directory, name, *args):
    """Runs "exec" for an exec id; its exit code."""
    with open(directory + "/process.json", "w") as f:
        json.dump(t.process_spec(list(args)), f)
    return call("exec", "--process", directory + "/process.json", "--detach", "--pid-file", "%s/%s.pid" % (directory, name), "c1")


@pytest.mark.parametrize("namespace, dies", [("private", True), ("host", False)])
def test_fake_execs(make_daemon, by_hand, directory, namespace, dies):
    """The pid file, the list of pids, faults for one exec id, and what becomes of them when the init is killed."""
    b = t.make_bundle(directory + "/b", ["sleep", "inf"], pid_namespace=namespace)
    assert by_hand("create", "--bundle", b, "--pid-file", directory + "/init.pid", "c1") == 0
    assert by_hand("start", "c1") == 0
    init = pid_in(directory + "/init.pid")
    assert executed(by_hand, directory, "e1", "sleep", "inf") == 0
    pid = pid_in(directory + "/e1.pid")
    assert t.is_alive(pid) and t.read_stat(pid)[1] == t.nursery().pid
    by_hand.control.set("c1:e2", "exec", "exit 9")
    assert executed(by_hand, directory, "e2", "sleep", "inf") == 9
    assert not os.path.exists(directory + "/e2.pid")
    assert executed(by_hand, directory, "x.pid", "exit", "0") == 0
    assert [r["exec_id"] for r in by_hand.control.invocations("exec")] == ["e1", "e2", "x.pid"]
    os.unlink(directory + "/output")
    assert by_hand("ps", "--format", "json", "c1") == 0
    with open(directory + "/output") as f:
        assert set(json.load(f)) == {init, pid}
    by_hand.control.set("c1", "ps", "exit 0", "print [1, 2")
    os.unlink(directory + "/output")
    assert by_hand("ps", "c1") == 0
    with open(directory + "/output") as f:
        assert f.read() == "[1, 2\n"
    assert by_hand("kill", "c1", "9") == 0
    t.wait_for(lambda: not t.is_alive(init), what="the end of the init")
    time.sleep(0.1)
    assert t.is_alive(pid) != dies
    assert by_hand("kill", "--all", "c1", "9") == 0
    t.wait_for(lambda: not t.is_alive(pid), what="the end of the exec")


@pytest.mark.parametrize("what, connections", [
    ("", [(True, 1)]), ("none", []), ("silent", [(False, 0)]), ("two", [(True, 2)]), ("no-tty", [(True, 1)]), ("no-name", None),
    ("late", [(False, 0), (True, 1)])])
def test_fake_terminals(make_daemon, by_hand, directory, what, connections):
    """What each word for the console socket sends: a name or none, and how many descriptors."""
    b = t.make_bundle(directory + "/b", ["run", "sh", "-c", "echo x; sleep 1000"], terminal=True)
    listening = socket.socket(socket.AF_UNIX)
    listening.bind(directory + "/console")
    listening.listen()
    listening.settimeout(0)
    if what:
        by_hand.control.set("c1", "create", "console " + what)
    assert by_hand("create", "--bundle", b, "--console-socket", directory + "/console", "c1") == 0
    seen = []
    while True:
        try:
            connection, _ = listening.accept()
        except BlockingIOError:
            break
        connection.settimeout(t.TIMEOUT)
        name, fds, _, _ = socket.recv_fds(connection, 4096, 4)
        seen.append((name.startswith(b"/dev/pts/"), len(fds)))
        if what in ("", "late") and fds:
            by_hand("start", "c1")
            assert t.Reader(os.dup(fds[0])).read_line() == b"x\r\n"
        assert all(os.isatty(fd) == (what != "no-tty") for fd in fds)
        for fd in fds:
            os.close(fd)
        connection.close()
    listening.close()
    assert connections is None or seen == connections


def test_fake_checkpoints(make_daemon, by_hand, directory):
    """--leave-running or not, CRIU's log, and back again as a running process with a new pid."""
    b = t.make_bundle(directory + "/b", ["sleep", "inf"])
    by_hand("create", "--bundle", b, "--pid-file", directory + "/pid", "c1")
    by_hand("start", "c1")
    pid = pid_in(directory + "/pid")
    image = ["--image-path", directory + "/image", "--work-path", directory + "/work"]
    by_hand.control.set("c1", "checkpoint", "once", "exit 1", "criu-log a line of its own")
    assert by_hand("checkpoint", *image, "--leave-running", "c1") == 1
    with open(directory + "/work/dump.log") as f:
        assert f.read() == "a line of its own\n"
    assert by_hand("checkpoint", *image, "--leave-running", "c1") == 0
    assert t.is_alive(pid)
    assert by_hand("checkpoint", *image, "c1") == 0
    t.wait_for(lambda: not t.is_alive(pid), what="the end of the init")
    assert os.listdir(directory + "/root") == []
    assert by_hand("restore", *image, "--detach", "--pid-file", directory + "/pid", "-no-subreaper", "--bundle", b, "c1") == 0
    assert t.is_alive(pid_in(directory + "/pid")) and pid_in(directory + "/pid") != pid
