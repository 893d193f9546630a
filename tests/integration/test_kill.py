# SPDX-License-Identifier: LGPL-2.1-or-later
"""Kill of an init without the runtime: where it is done so, where not, and that nobody sees a difference."""

import os
import signal

import pytest

import monoshim_testing as t
from monoshim_testing import FAKE_RUNTIME, refused


@pytest.fixture
def named(make_daemon, directory):
    """A daemon whose runtime is the fake one under another name, or a script that executes it."""
    def make(name, script=False):
        path = os.path.join(directory, name)
        if script:
            with open(path, "w") as f:
                f.write('#!/bin/sh\nexec %s "$@"\n' % FAKE_RUNTIME)
            os.chmod(path, 0o755)
        else:
            os.symlink(FAKE_RUNTIME, path)
        return make_daemon(runtime=path)
    return make


def kills(d):
    return [r["argv"][r["argv"].index("kill"):] for verb in ("kill", "kill-all") for r in d.control.invocations(verb)]


@pytest.mark.parametrize("runtime", ["runc", "crun"])
def test_the_signal_is_sent_without_the_runtime(named, bundle, runtime):
    d = named(runtime)
    c = d.connect().create("c1", bundle("sleep", "inf"))
    c.start()
    d.control.set("c1", "kill", "exit 1", "log it was asked after all")
    c.kill(signal.SIGUSR1)
    assert c.wait()[0] == 128 + signal.SIGUSR1
    assert kills(d) == []
    assert c.event_names() == ["TaskCreate", "TaskStart", "TaskExit"]


def test_a_signal_may_be_handled(client, bundle, fifo):
    out = fifo("out").open_reader()
    c = client.create("c1", bundle("sh", "-c", 'trap "echo seen; exit 5" USR1; echo ready; while :; do sleep 0.01; done'),
                      Stdout=str(out))
    c.start()
    assert out.read_line() == b"ready\n"
    c.kill(signal.SIGUSR1)
    assert out.read_line() == b"seen\n"
    assert c.wait()[0] == 5


def test_of_one_that_has_ended_it_is_said_what_the_runtime_says(named, bundle):
    d = named("runc")
    c = d.connect().create("c1", bundle("sleep", "inf"))
    c.start()
    c.kill(signal.SIGKILL)
    c.wait()
    with refused("NotFound", exactly="process already finished: not found"):
        c.kill(signal.SIGKILL)
    assert kills(d) == [["kill", "c1", "9"]]


WITH_RUNTIME = {
    "all of a container": (dict(), dict(all=True), ["kill", "--all", "c1", "9"]),
    "a container that shares a pid namespace": (dict(pid_namespace="host"), dict(), ["kill", "c1", "9"]),
    "one that was only created": (dict(state="created"), dict(), ["kill", "c1", "9"]),
    "a paused one": (dict(state="paused"), dict(), ["kill", "c1", "9"]),
}


@pytest.mark.parametrize("case", WITH_RUNTIME)
def test_the_runtime_is_asked_for_what_it_does_beyond_a_signal(named, bundle, case):
    made, asked, argv = WITH_RUNTIME[case]
    d = named("runc")
    c = d.connect().create("c1", bundle("sleep", "inf", pid_namespace=made.get("pid_namespace", "private")))
    if made.get("state") != "created":
        c.start()
    if made.get("state") == "paused":
        c.pause()
    c.kill(signal.SIGKILL, **asked)
    assert kills(d)[:1] == [argv]  # what shares a pid namespace is killed once more, when its init has ended
    c.wait()


@pytest.mark.parametrize("name, script", [("other-runtime", False), ("runc-wrapped", False), ("runc", True)])
def test_a_runtime_that_may_do_otherwise_is_asked(named, bundle, name, script):
    d = named(name, script)
    c = d.connect().create("c1", bundle("sleep", "inf"))
    c.start()
    c.kill(signal.SIGTERM)
    assert c.wait()[0] == 128 + signal.SIGTERM
    assert kills(d) == [["kill", "c1", "15"]]


def test_a_signal_comes_behind_what_was_asked_before(named, bundle):
    """Also one that needs no runtime waits for its turn."""
    d = named("runc")
    client = d.connect()
    c = client.create("c1", bundle("sleep", "inf"))
    d.control.set("c1", "start", "sleep 0.3")
    start, kill = c.begin("Start"), c.begin("Kill", "ub", int(signal.SIGKILL), False)
    start.result()
    kill.result()
    assert c.wait()[0] == 137
    assert c.event_names() == ["TaskCreate", "TaskStart", "TaskExit"]


def test_one_that_somebody_else_has_frozen_is_killed_all_the_same(daemon, client, bundle):
    """In cgroup v1 a frozen process only dies when it is thawed, which the runtime does."""
    c = client.create("c1", bundle("sleep", "1000"))
    c.start()
    t.run("runc", "--root", os.path.join(daemon.runtime_root, "default"), "pause", "c1")
    c.kill(signal.SIGKILL)
    assert c.wait()[0] == 137
    c.delete()


@pytest.mark.parametrize("how", ["kill", "term"])
def test_one_that_was_taken_over_is_killed_by_its_pidfd(named, bundle, how):
    d = named("runc")
    c = d.connect().create("c1", bundle("sleep", "inf"))
    c.start()
    d.restart(how)
    c = d.connect().container("c1")
    c.kill(signal.SIGTERM)
    c.wait()
    assert kills(d) == []
    c.delete()
