# SPDX-License-Identifier: LGPL-2.1-or-later
"""Things that happen at once, or in the unexpected order."""

import contextlib
import os
import random
import signal
import statistics
import threading
import time

import pytest

import monoshim_testing as t
from monoshim_testing import FAKE_RUNTIME, MANAGER, PROCESS, ROOT_PATH, refused

N = 50 if t.SLOW and not t.INSTRUMENTED else 10


def in_threads(functions):
    """Runs them all at once; the first failure is raised."""
    failures = []

    def guarded(f):
        try:
            f()
        except BaseException as e:  # whatever it is, it is raised below
            failures.append(e)

    threads = [threading.Thread(target=guarded, args=(f,)) for f in functions]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(t.TIMEOUT * 3)
        assert not thread.is_alive(), "a client got stuck"
    if failures:
        raise failures[0]


# Exits that come early


def test_a_program_that_ends_at_once_starts_before_it_exits(client, bundle):
    """The exit is often seen before "runc start" has returned."""
    b = bundle("true")
    for i in range(N):
        c = client.create("c%d" % i, b)
        assert c.start() == c.pid
        assert c.wait()[0] == 0
        c.delete()
        assert c.event_names() == ["TaskCreate", "TaskStart", "TaskExit", "TaskDelete"]
    t.check_event_invariants(client.events())


@pytest.mark.parametrize("fault, status", [("die-before-return", 137), ("wait-exit", 6)])
def test_an_init_that_has_died_before_start_returns_starts_before_it_exits(fake, bundle, fault, status):
    client = fake.connect()
    b = bundle("exit", "6") if fault == "wait-exit" else bundle("sleep", "inf")
    fake.control.set("*", "start", fault, "sleep-after 0.02")
    for i in range(10):
        c = client.create("c%d" % i, b)
        pending = c.begin("Wait")
        assert c.start() == c.pid
        assert pending.result()[0] == status
        assert c.delete()[1] == status
        assert c.event_names() == ["TaskCreate", "TaskStart", "TaskExit", "TaskDelete"]
    t.check_event_invariants(client.events())


@pytest.mark.parametrize("direct", [False, True])
def test_an_init_that_dies_during_create_leaves_a_stopped_container(fake, bundle, direct):
    """T-9103: create returns, Wait answers, and the exit is told once."""
    client = fake.connect()
    fake.control.set("*", "create", "die-before-return", "sleep-after 0.05", *(["direct-child"] if direct else []))
    for i in range(5):
        c = client.create("c%d" % i, bundle("sleep", "inf"))
        assert c.pid > 0
        assert c.wait()[0] == 137
        assert c.status == "stopped"
        with refused("FailedPrecondition", exactly="cannot start a stopped process"):
            c.start()
        assert c.delete()[1] == 137
        assert c.event_names() == ["TaskCreate", "TaskExit", "TaskDelete"]
    t.check_event_invariants(client.events())


def test_runcs_init_killed_during_create(make_daemon, directory, bundle):
    """T-9103 with real runc: a wrapper kills the init before create returns."""
    wrapper = os.path.join(directory, "killing-runc")
    with open(wrapper, "w") as f:
        f.write("""#!/bin/sh
runc "$@" || exit
pid_file=
for a; do
        [ "$previous" = --pid-file ] && pid_file=$a
        previous=$a
done
case " $* " in *" create "*) kill -9 "$(cat "$pid_file")"; sleep 0.05;; esac
""")
    os.chmod(wrapper, 0o755)
    d = make_daemon(runtime=wrapper)
    client = d.connect()
    c = client.create("c1", bundle("sleep", "1000"))
    assert c.wait()[0] == 137
    assert c.status == "stopped"
    c.delete()
    assert c.event_names() == ["TaskCreate", "TaskExit", "TaskDelete"]


def test_a_kill_during_a_slow_start_comes_after_it(fake, bundle):
    client = fake.connect()
    c = client.create("c1", bundle("sleep", "inf"))
    fake.control.set("c1", "start", "sleep 0.5")
    start = c.begin("Start")
    kill = c.begin("Kill", "ub", 9, False)
    assert start.result() == (c.pid,)
    kill.result()
    c.wait()
    c.delete()
    assert c.event_names() == ["TaskCreate", "TaskStart", "TaskExit", "TaskDelete"]


def test_an_init_killed_during_a_slow_start_exits_once(fake, bundle):
    client = fake.connect()
    for moment in ("sleep 0.3", "sleep-after 0.3"):
        c = client.create("c1", bundle("sleep", "inf"))
        fake.control.set("c1", "start", moment)
        start = c.begin("Start")
        t.wait_for(lambda: fake.control.invocations("start", "c1"))
        fake.control.forget()
        time.sleep(0.1)
        os.kill(c.pid, signal.SIGKILL)
        try:
            start.result()
        except t.DBusError as e:
            assert e.name in (t.ERROR + "RuntimeFailed", t.ERROR + "FailedPrecondition")
        assert c.wait()[0] == 137
        assert c.status == "stopped"
        c.delete()
    t.check_event_invariants(client.events())


def test_a_delete_during_a_slow_kill_waits_for_it(fake, bundle):
    client = fake.connect()
    c = client.create("c1", bundle("sleep", "inf"))
    c.start()
    fake.control.set("c1", "kill", "sleep 0.3")
    kill, delete = c.begin("Kill", "ub", 9, False), c.begin("Delete")
    kill.result()
    try:
        delete.result()
    except t.DBusError as e:
        # It may have come before the exit was seen.
        assert (e.name, e.message) == (t.ERROR + "FailedPrecondition", "cannot delete a running process")
        c.wait()
        c.delete()
    assert c.event_names() == ["TaskCreate", "TaskStart", "TaskExit", "TaskDelete"]


def test_of_two_deletes_at_once_one_succeeds_and_one_finds_nothing(fake, bundle):
    client, other = fake.connect(), fake.connect()
    for state in ("created", "stopped"):
        c = client.create("c1", bundle("sleep", "inf"))
        if state == "stopped":
            c.kill()
            c.wait()
        fake.control.set("c1", "delete", "sleep 0.1")
        answers = []
        for p in (c.begin("Delete"), c.on(other).begin("Delete"), c.begin("Delete")):
            try:
                answers.append(p.result()[1])
            except t.DBusError as e:
                answers.append(e.name)
        assert sorted(map(str, answers)) == ["137"] + [t.ERROR + "NotFound"] * 2
    t.check_event_invariants(client.events())
    assert client.event_names().count("TaskDelete") == 2


def test_of_two_creates_at_once_one_is_refused_at_once(fake, bundle):
    client, other = fake.connect(), fake.connect()
    b = bundle("sleep", "inf")
    fake.control.set("c1", "create", "sleep 1")
    first = client.begin_create("c1", b)
    t.wait_for(lambda: fake.control.invocations("create"))
    began = time.monotonic()
    with refused("AlreadyExists"):
        other.create("c1", b)
    assert time.monotonic() - began < 0.5 * t.SCALE
    # While the runtime works the container can neither be listed nor found.
    assert not first.done()
    assert other.list() == {}
    with refused("NotFound"):
        other.manager("GetContainer", "ss", "default", "c1")
    with refused("NotFound"):
        other.call(t.container_path("default", "c1"), PROCESS, "Start")
    path, pid = first.result()
    assert other.list() == {("default", "c1"): ("created", pid, path)}
    t.Container(client, "default", "c1", path, pid).delete()
    assert len(fake.control.invocations("create")) == 1


def test_create_right_after_delete_has_answered(client, bundle):
    """T-CYCLE"""
    b = bundle("true")
    for i in range(100 if t.SLOW and not t.INSTRUMENTED else 20):
        c = client.create("same", b)
        if i % 2:
            c.start()
            c.wait()
        c.delete()
    t.check_event_invariants(client.events())


def test_create_and_delete_of_one_id_a_thousand_times(fake, bundle):
    """T-CYCLE, quicker"""
    client = fake.connect()
    b = bundle("sleep", "inf")
    for _ in range(1000 if t.SLOW and not t.INSTRUMENTED else 50):
        path, pid = client.begin_create("same", b).result()
        client.call(path, PROCESS, "Delete")
    t.check_event_invariants(client.events())


def test_64_clients_each_with_a_life(daemon, bundle):
    n = 64 if t.SLOW else 16
    bundles = [bundle("sh", "-c", "exit 3") for _ in range(n)]  # each has a control group of its own
    watcher = daemon.connect()

    def life(i):
        client = t.Client(daemon.socket, listen=False)
        c = client.create("c%d" % i, bundles[i])
        pending = c.begin("Wait")
        c.start()
        assert pending.result(t.TIMEOUT * 3)[0] == 3
        assert c.delete()[1] == 3
        client.close()

    in_threads([lambda i=i: life(i) for i in range(n)])
    watcher.sync()
    t.check_event_invariants(watcher.events())
    assert watcher.event_names().count("TaskDelete") == n


def test_100_starts_at_once_take_little_longer_than_their_sum(fake, bundle):
    """T-PAR: starts of different containers do not wait for each other."""
    client = fake.connect()
    b = bundle("sleep", "inf")
    n = 100 if t.SLOW else 20
    containers = [client.create("c%d" % i, b) for i in range(n)]
    fake.control.set("*", "start", "sleep 0.1")
    began = time.monotonic()
    pending = [c.begin("Start") for c in containers]
    for p in pending:
        p.result()
    took = time.monotonic() - began
    # at least four at once
    assert took < (n * 0.1 / 4 * 2 + 1) * t.SCALE, took
    for c in containers:
        c.end()
    t.check_event_invariants(client.events())


# Clients that go away


def test_a_client_that_leaves_during_create_cancels_nothing(fake, bundle):
    fake.control.set("c1", "create", "sleep 0.5")
    gone = t.Client(fake.socket)
    gone.begin_create("c1", bundle("sleep", "inf"))
    t.wait_for(lambda: fake.control.invocations("create"))
    gone.close()
    client = fake.connect()
    t.wait_for(lambda: ("default", "c1") in client.list(), what="the container")
    c = client.container("c1")
    assert c.status == "created"
    c.start()
    c.end()


def test_clients_that_leave_while_they_wait_harm_nobody(fake, bundle):
    client = fake.connect()
    c = client.create("c1", bundle("sleep", "inf"))
    c.start()
    pending = c.begin("Wait")
    before = fake.all_fds()
    for _ in range(20):
        gone = t.Client(fake.socket)
        for _ in range(5):
            c.on(gone).begin("Wait")
        gone.close()
    t.wait_for(lambda: fake.all_fds() <= before, what="the end of their connections")
    c.kill()
    assert pending.result()[0] == 137
    c.delete()


def test_clients_killed_in_the_middle_of_a_message(fake, bundle):
    client = fake.connect()
    for size in (1, 15, 16, 17, 60, 100):
        gone = t.Client(fake.socket)
        message = t.new_method_call(t.DBusAddress(ROOT_PATH, t.BUS_NAME, MANAGER), "ListContainers")
        data, _ = gone._serialise(message, 77)
        gone.sock.sendall(data[:size])
        gone.close()
    client.sync()


# Events


def test_exactly_one_exit_and_no_exit_of_what_never_was(client, bundle):
    """T-ONE-EXIT, T-NOEXIT"""
    c = client.create("c1", bundle("true"))
    c.start()
    c.wait()
    c.delete()
    with refused("RuntimeFailed"):
        client.create("c2", bundle("/no/such/program"))
    client.drain(0.3)
    assert client.event_names("c1") == ["TaskCreate", "TaskStart", "TaskExit", "TaskDelete"]
    assert client.event_names("c2") == []


def test_all_clients_see_the_same_events_in_the_same_order(fake, bundle):
    clients = [fake.connect() for _ in range(4)]
    b = bundle("exit", "0")

    def lives(i):
        client = t.Client(fake.socket, listen=False)
        for k in range(5):
            c = client.create("c%d-%d" % (i, k), b)
            c.start()
            c.wait()
            c.delete()
        client.close()

    in_threads([lambda i=i: lives(i) for i in range(4)])
    seen = []
    for client in clients:
        client.sync()
        seen.append([e.key() for e in client.events()])
    assert len(seen[0]) == 80
    assert all(s == seen[0] for s in seen)
    t.check_event_invariants(clients[0].events())


@pytest.mark.skipif(t.INSTRUMENTED, reason="measures time and memory")
def test_a_client_that_does_not_read_slows_nobody_and_costs_bounded_memory(fake, bundle):
    """T-SLOWSUB"""
    stalled = [fake.connect() for _ in range(3)]
    client = fake.connect(listen=False)
    b = bundle("sleep", "inf")
    padding = {"padding": "x" * 50_000}  # it is in InterfacesAdded

    def burst(n):
        began = time.monotonic()
        for _ in range(n):
            path, _ = client.begin_create("c", b, Labels=padding).result()
            client.call(path, PROCESS, "Delete")
            client.forget_signals()
        return (time.monotonic() - began) / n

    burst(20)
    before = burst(50)
    memory = t.anonymous_kib(fake.pid)
    n = 1000 if t.SLOW else 400
    after = burst(n)
    grown = t.anonymous_kib(fake.pid) - memory
    assert grown < 16 * 1024, "%d KiB more, of %d KiB signalled to each" % (grown, n * 50)
    assert after < 3 * before + 0.005, "%.1f ms became %.1f ms" % (before * 1000, after * 1000)
    client.sync()
    assert stalled


@pytest.mark.skipif(t.INSTRUMENTED, reason="measures time")
def test_the_state_is_told_at_once_during_a_slow_runtime(fake, bundle):
    """T-STATE-LATENCY: below 50 ms while create, start and kill are under way."""
    client = fake.connect()
    c = client.create("c1", bundle("sleep", "inf"))
    for verb in ("create", "start"):
        fake.control.set("*", verb, "sleep 2")
    pending = [client.begin_create("c2", bundle("sleep", "inf")), c.begin("Start")]
    t.wait_for(lambda: len(fake.control.invocations()) == 3)
    worst = 0
    for _ in range(100):
        for read in (lambda: c.status, client.list, lambda: client.manager("GetContainer", "ss", "default", "c1")):
            began = time.monotonic()
            read()
            worst = max(worst, time.monotonic() - began)
    assert not any(p.done() for p in pending)
    assert worst < 0.05, "%.0f ms" % (worst * 1000)
    for p in pending:
        p.result()
    fake.control.clear()


@pytest.mark.skipif(t.INSTRUMENTED, reason="measures time")
def test_an_exit_is_told_within_milliseconds(daemon, client, bundle):
    took = []
    for i in range(20):
        c = client.create("c1", bundle("sleep", "1000"))
        c.start()
        client.forget_signals()
        began = time.monotonic()
        os.kill(c.pid, signal.SIGKILL)
        client.wait_event("TaskExit", "c1")
        took.append(time.monotonic() - began)
        c.delete()
    assert statistics.median(took) < 0.01, took


# Stopping


def test_a_stop_during_operations_answers_each_once_and_loses_nothing(make_daemon, bundle):
    """T-STOP-RACE"""
    d = make_daemon(runtime=FAKE_RUNTIME)
    client = d.connect()
    b = bundle("sleep", "inf")
    d.control.set("*", "create", "sleep 0.2")
    pending = {"c%d" % i: client.begin_create("c%d" % i, b) for i in range(20)}
    t.wait_for(lambda: d.control.invocations("create"))
    os.kill(d.pid, signal.SIGTERM)
    answers = {}
    for id, p in pending.items():
        try:
            p.result()
            answers[id] = "created"
        except t.DBusError as e:
            assert e.name == t.ERROR + "Unavailable", e
            answers[id] = "refused"
    assert "created" in answers.values()
    assert d.wait() == 0
    d.control.clear()
    d.start()
    client = d.connect()
    assert sorted(id for _, id in client.list()) == sorted(id for id, a in answers.items() if a == "created")
    for id, a in answers.items():
        if a == "created":
            client.container(id).delete()
    t.check_event_invariants(client.get_events()[1])


def test_new_operations_are_refused_while_it_stops(make_daemon, bundle):
    d = make_daemon(runtime=FAKE_RUNTIME)
    client = d.connect()
    b = bundle("sleep", "inf")
    c = client.create("c1", b)
    d.control.set("c2", "create", "sleep 1")
    pending = client.begin_create("c2", b)
    t.wait_for(lambda: d.control.invocations("create", "c2"))
    waiting = c.begin("Wait")
    os.kill(d.pid, signal.SIGTERM)
    time.sleep(0.2)
    with refused("Unavailable"):
        client.create("c3", b)
    with refused("Unavailable"):
        c.start()
    assert pending.result()
    with refused("Unavailable"):
        waiting.result()
    assert d.wait() == 0
    d.start()
    client = d.connect()
    assert sorted(id for _, id in client.list()) == ["c1", "c2"]


# Random walk


class Walker:
    """Random operations on a few ids from several clients; the events must make sense whatever happens."""

    def __init__(self, d, seed, bundles):
        self.d, self.random, self.bundles = d, random.Random(seed), bundles
        self.clients = [d.connect(listen=False) for _ in range(3)]
        self.watcher = d.connect()
        self.pending = []
        self.ids = ["a", "b", "c", "d"]

    def step(self):
        id = self.random.choice(self.ids)
        client = self.random.choice(self.clients)
        path = t.container_path("default", id)
        verb = self.random.choice(["create", "create", "start", "start", "kill", "delete", "delete", "exit", "fault", "wait"])
        if verb == "create":
            self.pending.append(client.begin_create(id, self.random.choice(self.bundles)))
        elif verb == "start":
            self.pending.append(client.begin(path, PROCESS, "Start"))
        elif verb == "kill":
            self.pending.append(client.begin(path, PROCESS, "Kill", "ub", self.random.choice([9, 15, 10]), self.random.random() < 0.2))
        elif verb == "delete":
            self.pending.append(client.begin(path, PROCESS, "Delete"))
        elif verb == "wait":
            client.begin(path, PROCESS, "Wait")
        elif verb == "exit":
            with contextlib.suppress(t.DBusError, ProcessLookupError):
                pid = client.get(path, PROCESS, "Pid")
                if pid > 1 and (t.read_stat(pid) or (None, None))[1] == self.d.pid:
                    os.kill(pid, signal.SIGKILL)
        else:
            fault = self.random.choice(["sleep 0.01", "sleep-after 0.01", "exit 1", "exit-after 1", "die-before-return", "crash-after"])
            of = {"die-before-return": ["create", "start"]}.get(fault, ["create", "start", "kill", "delete"])
            self.d.control.set(id, self.random.choice(of), "once", fault)
        if self.random.random() < 0.5:
            time.sleep(self.random.random() * 0.01 * t.SCALE)
        for c in self.clients:
            c.drain()

    ALLOWED = {t.ERROR + e for e in ("NotFound", "AlreadyExists", "FailedPrecondition", "RuntimeFailed")}

    def finish(self):
        self.d.control.clear()
        for p in self.pending:
            try:
                p.result()
            except t.DBusError as e:
                assert e.name in self.ALLOWED, e
        client = self.clients[0]
        for (ns, id), _ in client.list().items():
            client.container(id, ns).end()
        self.watcher.sync()
        events = self.watcher.events()
        t.check_event_invariants(events)
        complete, kept = client.get_events()
        assert not complete or [e.key() for e in kept] == [e.key() for e in events]
        return events


@pytest.mark.parametrize("seed", range(6 if t.SLOW else 2))
def test_a_random_walk_keeps_the_events_in_order(fake, bundle, seed):
    bundles = [bundle("sleep", "inf"), bundle("exit", "3"), bundle("sleep", "0.01"), bundle("exit", "0", pid_namespace="host")]
    walker = Walker(fake, seed, bundles)
    for _ in range(300 if t.SLOW and not t.INSTRUMENTED else 100):
        walker.step()
    for _ in range(1000):  # a slow daemon may not have come as far as a start yet
        walker.watcher.sync()
        if "TaskStart" in {e.name for e in walker.watcher.events()}:
            break
        walker.step()
    events = walker.finish()
    assert {"TaskCreate", "TaskStart", "TaskExit", "TaskDelete"} <= {e.name for e in events}


def test_orphans_of_containers_are_reaped(daemon, client, bundle):
    """T-ZOMBIE: what a container in the host's pid namespace leaves to the subreaper."""
    c = client.create("c1", bundle("sh", "-c", "for i in 1 2 3 4 5 6 7 8 9 10; do (sleep 0.05 &) ; done; exec sleep 1000",
                                   pid_namespace="host"))
    c.start()
    t.wait_for(lambda: daemon.children() == [c.pid], what="the end of the orphans")
    c.kill()
    c.wait()
    c.delete()
