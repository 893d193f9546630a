# SPDX-License-Identifier: LGPL-2.1-or-later
"""The fake runtime against runc: the same commands must end, answer and complain alike, or the other tests prove nothing."""

import json
import os
import re
import signal
import time

import pytest

import monoshim_testing as t

PID_FILE = "{directory}/pid"
CREATE = ("create", "--bundle", "{bundle}", "--pid-file", PID_FILE, "c1")

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
        for path in (log, output):
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
        told.append(tell(STORIES[story], runtime, d, t.make_bundle(d + "/b", args)))
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
