# SPDX-License-Identifier: LGPL-2.1-or-later
"""The number of a process that has ended is soon another's. In a pid namespace where there are few numbers and every next one
can be chosen, they are reused on purpose, by somebody who notices every signal.

The tests with a namespace of their own run in a pytest of their own, whose report is the outer test's."""

import os
import signal
import subprocess
import sys
import time

import pytest

import monoshim_testing as t
from monoshim_testing import Decoy, refused

INSIDE = os.environ.get("MONOSHIM_TEST_INSIDE_PIDNS") == "1"
PID_MAX = 1000  # the first 300 are not used again; runc takes a few dozen for its threads

# In the new namespace: fewer numbers, if the kernel counts them for each namespace (Linux 6.14), and an init that reaps.
INIT = """
import os, sys
try:
    with open("/proc/sys/kernel/pid_max", "w") as f:
        if os.environ["PID_MAX"]:
            f.write(os.environ["PID_MAX"])
except OSError as e:
    print("pid_max:", e)
child = os.fork()
if child == 0:
    os.execv(sys.argv[1], sys.argv[1:])
while True:
    pid, status = os.wait()
    if pid == child:
        sys.exit(os.waitstatus_to_exitcode(status))
"""


def pid_max_is_per_namespace():
    """Where it is not, the numbers of the whole machine would become few."""
    release = tuple(int(x) for x in os.uname().release.split("-")[0].split(".")[:2])
    return release >= (6, 14)


@pytest.mark.elsewhere(INSIDE)
def test_in_a_namespace_of_its_own():
    if subprocess.run(["unshare", "--pid", "--fork", "--mount-proc", "true"], capture_output=True).returncode != 0:
        pytest.skip("no pid namespace can be had")
    environment = {**os.environ, "MONOSHIM_TEST_INSIDE_PIDNS": "1", "PYTHONDONTWRITEBYTECODE": "1",
                   "PID_MAX": str(PID_MAX) if pid_max_is_per_namespace() else ""}
    p = subprocess.run(["unshare", "--pid", "--fork", "--kill-child", "--mount-proc", sys.executable, "-c", INIT, sys.executable,
                        "-m", "pytest", "-p", "no:cacheprovider", "-q", "--tb=short", os.path.abspath(__file__)],
                       env=environment, cwd=t.HERE, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
                       timeout=150 * t.SCALE)
    print(p.stdout)
    assert p.returncode == 0, p.stdout
    assert " passed" in p.stdout


inside = pytest.mark.elsewhere(not INSIDE)  # but in a pid namespace, by the test before


def reuse(pid):
    """A decoy with that very number."""
    t.wait_for(lambda: not os.path.exists("/proc/%d" % pid), what="the end of %d" % pid)
    time.sleep(2 / os.sysconf("SC_CLK_TCK"))  # start times count in these, and nothing but this tells the two apart
    for _ in range(20):
        try:
            with open("/proc/sys/kernel/ns_last_pid", "w") as f:
                f.write(str(pid - 1))
        except OSError:
            break  # then the numbers have to go round
        d = Decoy()
        if d.pid == pid:
            return d
        d.end()
    for _ in range(3 * PID_MAX):
        child = os.fork()
        if child == 0:
            os._exit(0)
        os.waitpid(child, 0)
        if child == pid - 1:
            d = Decoy()
            if d.pid == pid:
                return d
            d.end()
    pytest.skip("the number %d did not come again" % pid)


def exits_of(client, id, process=None):
    return [e for e in client.get_events()[1] if e.name == "TaskExit" and e.id == id and e.data["id"] == (process or id)]


def runtime_of(kind):
    return t.FAKE_RUNTIME if kind == "fake" else "runc"


@inside
@pytest.mark.parametrize("kind", ["fake", "runc"])
def test_who_has_the_number_of_a_dead_init_after_a_crash_is_not_adopted(make_daemon, bundle, kind):
    d = make_daemon(runtime=runtime_of(kind))
    client = d.connect()
    c = client.create("c1", bundle("sleep", "inf" if kind == "fake" else "1000"))
    pid = c.start()
    d.kill9()
    os.kill(pid, signal.SIGKILL)
    decoy = reuse(pid)
    d.start()
    client = d.connect()
    t.wait_for(lambda: "TaskDelete" in [e.name for e in client.get_events()[1]], what="the end of the dead container")
    assert client.list() == {}
    assert len(exits_of(client, "c1")) == 1
    with refused("NotFound"):
        client.manager("GetContainerByPID", "u", pid)
    d.restart()
    client = d.connect()
    assert client.list() == {} and len(exits_of(client, "c1")) == 1
    d.wait_idle()
    decoy.end()


@inside
@pytest.mark.parametrize("kind", ["fake", "runc"])
def test_who_has_the_number_of_one_who_has_exited_is_not_signalled(make_daemon, bundle, kind):
    d = make_daemon(runtime=runtime_of(kind))
    client = d.connect()
    c = client.create("c1", bundle("sleep", "inf" if kind == "fake" else "1000"))
    pid = c.start()
    os.kill(pid, signal.SIGKILL)
    assert c.wait()[0] == 137
    decoy = reuse(pid)
    for all in (False, True):
        try:
            c.kill(signal.SIGUSR1, all=all)
            assert all
        except t.DBusError as e:
            assert e.name == t.ERROR + "NotFound", e
    assert c.pids() == {}
    with refused("NotFound"):
        c.open_pidfd()
    with refused("NotFound"):
        client.manager("GetContainerByPID", "u", pid)
    assert c.delete()[:2] == (pid, 137)
    client.sync()
    t.check_event_invariants(client.events())
    decoy.end()


@inside
@pytest.mark.parametrize("crash", [False, True])
@pytest.mark.parametrize("kind", ["fake", "runc"])
def test_who_has_the_number_of_an_exec_is_not_taken_for_it(make_daemon, bundle, kind, crash):
    d = make_daemon(runtime=runtime_of(kind))
    client = d.connect()
    forever = ("sleep", "inf") if kind == "fake" else ("sleep", "1000")
    c = client.create("c1", bundle(*forever))
    c.start()
    e = c.run("e", *forever)
    if crash:
        d.kill9()
    os.kill(e.pid, signal.SIGKILL)
    if not crash:
        assert e.wait()[0] == 137
    decoy = reuse(e.pid)
    if crash:
        d.start()
        client = d.connect()
        c = client.container("c1")
        e2 = c.known_exec("e")
        e2.pid, e = e.pid, e2
        e.wait()
    assert len(exits_of(client, "c1", "e")) == 1
    with refused("NotFound"):
        e.kill(signal.SIGUSR1)
    with refused("NotFound"):
        e.open_pidfd()
    assert decoy.pid not in c.pids()
    e.delete()
    c.end()
    decoy.end()


@inside
def test_numbers_that_go_round_are_not_taken_for_each_other(make_daemon, bundle):
    """Far more processes than numbers: each exit is told once, with its own status, and a decoy hears of none of it."""
    d = make_daemon(runtime=t.FAKE_RUNTIME)
    client = d.connect()
    decoy = Decoy()
    n = 1000 if t.LARGE else 150
    pids = []
    for i in range(n):
        c = client.create("c%d" % i, bundle("exit", str(i % 200)))
        pids.append(c.start())
        status = c.wait()[0]
        assert status == i % 200
        if i % 50 == 49:
            d.kill9()
            d.start()
            client = d.connect()
            c = client.container("c%d" % i)
            assert c.wait()[0] == status
        assert c.delete()[:2] == (pids[-1], status)
        if i % 10 == 9:
            assert len(exits_of(client, "c%d" % i)) == 1
        decoy.check()
    with open("/proc/sys/kernel/pid_max") as f:
        if int(f.read()) == PID_MAX:
            assert len(set(pids)) < n or max(pids) - min(pids) > PID_MAX / 2, "the numbers did not go round"
    decoy.end()


@inside
@pytest.mark.parametrize("kind", ["fake", "runc"])
def test_short_lives_with_few_numbers_side_by_side(make_daemon, bundle, kind):
    d = make_daemon(runtime=runtime_of(kind))
    client = d.connect()
    for round in range(12 if kind == "fake" else 3):
        ids = ["r%d-%d" % (round, i) for i in range(8)]
        codes = {id: (7 * round + i) % 100 for i, id in enumerate(ids)}
        args = {id: ("exit", str(codes[id])) if kind == "fake" else ("sh", "-c", "exit %d" % codes[id]) for id in ids}
        pending = {id: client.begin_create(id, bundle(*args[id])) for id in ids}
        made = {id: t.Container(client, "default", id, *p.result()) for id, p in pending.items()}
        starts = [c.begin("Start") for c in made.values()]
        for s in starts:
            s.result()
        for id, c in made.items():
            assert c.wait()[0] == codes[id]
            assert c.delete()[1] == codes[id]
    client.sync()
    t.check_event_invariants(client.events())
