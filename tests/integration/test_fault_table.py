# SPDX-License-Identifier: LGPL-2.1-or-later
"""Every verb of the runtime, and everything that may go wrong with one: it hangs, crashes, says that it has done what it has
not, says nothing, babbles, lies. Whatever it does, the daemon answers, others are not disturbed, nothing is left over, and
nobody who has nothing to do with it is ever signalled."""

import contextlib
import os
import signal
import statistics
import time

import pytest

import monoshim_testing as t
from monoshim_testing import Decoy, FAKE_RUNTIME, MANAGER, ROOT_PATH

DEADLINE = 1 * max(1, t.SCALE / 2)
NOISE = 100_000_000 if t.LARGE else 2_000_000

# What the runtime does, and whether it can be anything but an error. In the order of the table, all of one verb at once.
HANGING = {
    "hangs": ["hang"],
    "hangs with a child": ["hang-child"],
    "hangs when all is done": ["hang-after"],
    "ignores SIGTERM": ["deaf", "hang"],
    "stops itself": ["stop"],
}
FAILING = {
    "crashes": ["crash"],
    "crashes when all is done": ["crash-after"],
    "says nothing": ["exit 1", "log none"],
    "logs garbage": ["exit 1", "log garbage"],
    "logs no end": ["exit 1", "log none", "log-bytes %d" % NOISE],
    "logs 4 MiB": ["exit 1", "log huge"],
    "babbles on stderr": ["exit 1", "log none", "stderr %d" % NOISE],
    "babbles on stdout": ["exit 1", "log none", "stdout %d" % NOISE],
    "fails, and leaves a child behind": ["exit 1", "linger 0.5"],
}
ODD = {
    "says that it has done it": ["exit 0"],
    "leaves a child behind": ["linger 0.5"],
    "prints garbage": ["exit 0", "print \x01{]garbage"],
    "babbles and works": ["stderr %d" % NOISE, "stdout %d" % NOISE],
}


@pytest.fixture
def decoy():
    d = Decoy()
    yield d
    d.end()


@pytest.fixture
def impatient(make_daemon):
    return make_daemon(runtime=FAKE_RUNTIME, config={"RuntimeTimeoutSec": "%dms" % (DEADLINE * 1000), "MaxRuntimeJobs": "32"})


# For each verb: what is there before, and the call that makes the runtime run it.

def running(client, id, b):
    c = client.create(id, b)
    c.start()
    return c


def of_running(member, signature="", *args, interface=t.PROCESS):
    def prepare(d, client, id, b):
        c = running(client, id, b)
        return lambda: c.begin(member, signature, *args, interface=interface)
    return prepare


def prepare_create(d, client, id, b):
    return lambda: client.begin_create(id, b)


def prepare_start(d, client, id, b):
    c = client.create(id, b)
    return lambda: c.begin("Start")


def prepare_state(d, client, id, b):
    """It is asked when a start has failed."""
    d.control.set(id, "start", "exit-after 1")
    return prepare_start(d, client, id, b)


def prepare_exec(d, client, id, b):
    c = running(client, id, b)
    e = c.exec("e", "sleep", "inf")
    return lambda: e.begin("Start")


def prepare_delete(d, client, id, b):
    c = running(client, id, b)
    c.kill()
    c.wait()
    return lambda: c.begin("Delete")


def prepare_delete_force(d, client, id, b):
    """It undoes a create that has failed."""
    d.control.set(id, "create", "exit-after 1")
    return prepare_create(d, client, id, b)


def prepare_resume(d, client, id, b):
    c = running(client, id, b)
    c.pause()
    return lambda: c.begin("Resume", interface=t.CONTAINER)


def image_of(d):
    path = os.path.join(d.directory, "image")
    os.makedirs(path, exist_ok=True)
    open(path + "/fake.img", "w").close()
    return path


def prepare_checkpoint(d, client, id, b):
    c = running(client, id, b)
    return lambda: c.begin_checkpoint(os.path.join(d.directory, "image-of-" + id))


def prepare_restore(d, client, id, b):
    c = client.create(id, b, Checkpoint=image_of(d))
    return lambda: c.begin("Start")


VERBS = {
    "create": prepare_create,
    "start": prepare_start,
    "state": prepare_state,
    "exec": prepare_exec,
    "kill": of_running("Kill", "ub", int(signal.SIGUSR1), False),
    "kill-all": of_running("Kill", "ub", int(signal.SIGUSR1), True),
    "delete": prepare_delete,
    "delete-force": prepare_delete_force,
    "pause": of_running("Pause", interface=t.CONTAINER),
    "resume": prepare_resume,
    "update": of_running("Update", "s", '{"pids":{"limit":10}}', interface=t.CONTAINER),
    "checkpoint": prepare_checkpoint,
    "restore": prepare_restore,
    "ps": of_running("ListPids", interface=t.CONTAINER),
}


def median_latency(other, n=25):
    took = []
    for _ in range(n):
        began = time.monotonic()
        other.kill(signal.SIGCONT)
        took.append(time.monotonic() - began)
    return statistics.median(took)


def answers(client):
    began = time.monotonic()
    client.get(ROOT_PATH, MANAGER, "NContainers")
    assert time.monotonic() - began < 1 * t.SCALE


def outcome(pending, timeout):
    try:
        pending.result(timeout)
    except t.DBusError as e:
        assert len(e.message) < 100_000, "the message has %d bytes" % len(e.message)
        return e
    return None


def end_everything(d, client):
    """By the client's own means, and then what only the runtime knows, which it has said it had forgotten."""
    d.control.clear()
    for (ns, id), _ in client.list().items():
        c = client.container(id, ns)
        with contextlib.suppress(t.DBusError):
            c.resume()
        with contextlib.suppress(t.DBusError):
            c.kill()
        if c.get("Pid"):  # a checkpoint that was not restored has nobody to be waited for
            c.wait()
        c.delete()
    folder = d.runtime_root + "/default"
    for id in os.listdir(folder) if os.path.isdir(folder) else []:
        t.run(FAKE_RUNTIME, "--root", folder, "delete", "--force", id)
    with contextlib.suppress(OSError):
        os.rmdir(folder)
    client.sync()
    t.check_event_invariants(client.events())
    answers(client)


def prepare_all(d, client, b, verb, faults):
    calls = {}
    for number, (name, lines) in enumerate(faults.items()):
        id = "c%d" % number
        calls[name] = VERBS[verb](d, client, id, b)
        d.control.set(id, verb, *lines)
    return calls


@pytest.mark.parametrize("verb", VERBS)
def test_a_verb_that_hangs_ends_at_the_deadline_and_disturbs_nobody(impatient, bundle, decoy, verb):
    client, beside = impatient.connect(), impatient.connect(listen=False)
    b = bundle("sleep", "inf")
    other = running(client, "other", b).on(beside)
    median_latency(other, 5)
    before = median_latency(other)
    calls = prepare_all(impatient, client, b, verb, HANGING)
    began = time.monotonic()
    pending = {name: call() for name, call in calls.items()}
    t.wait_for(lambda: len({r["id"] for r in impatient.control.invocations(verb) if r["id"] != "other"}) == len(HANGING),
               what="all of them to run")
    groups = [r["pid"] for r in impatient.control.invocations(verb) if r["id"] != "other"]
    during = median_latency(other)
    answers(client)
    for name, p in pending.items():
        e = outcome(p, 6 * DEADLINE + t.TIMEOUT)
        if verb in ("state", "delete-force"):  # what is told is why they were needed
            assert e and e.name == t.ERROR + "RuntimeFailed", (name, e)
        else:
            assert e and e.name == t.ERROR + "DeadlineExceeded", (name, e)
    assert time.monotonic() - began >= DEADLINE * 0.9
    for pid in groups:
        t.wait_for(lambda: not t.is_alive(pid), what="the end of a runtime's group")
    if not t.INSTRUMENTED:
        assert during < 3 * before + 0.02, "median %.1f ms became %.1f ms" % (before * 1000, during * 1000)
    end_everything(impatient, client)


@pytest.mark.parametrize("verb", VERBS)
def test_a_verb_that_fails_in_any_way_is_an_error_and_no_more(impatient, bundle, decoy, verb):
    impatient.configure(RuntimeTimeoutSec="60", MaxRuntimeJobs="4")
    client = impatient.connect()
    client.manager("Reload")
    b = bundle("sleep", "inf")
    calls = prepare_all(impatient, client, b, verb, FAILING)
    memory = t.anonymous_kib(impatient.pid)
    pending = {name: call() for name, call in calls.items()}
    for name, p in pending.items():
        e = outcome(p, 60 * t.SCALE)
        if verb == "kill" and "crashes when" in name and e is None:
            continue
        assert e and e.name == t.ERROR + "RuntimeFailed", (name, e)
        assert e.message.startswith("OCI runtime "), (name, e)
        answers(client)
    if not t.INSTRUMENTED:
        assert t.anonymous_kib(impatient.pid) - memory < 8192
    end_everything(impatient, client)


@pytest.mark.parametrize("verb", VERBS)
def test_a_verb_that_says_it_has_done_what_it_has_not_harms_nobody(impatient, bundle, decoy, verb):
    impatient.configure(RuntimeTimeoutSec="60", MaxRuntimeJobs="4")
    client = impatient.connect()
    client.manager("Reload")
    b = bundle("sleep", "inf")
    other = running(client, "other", b)
    calls = prepare_all(impatient, client, b, verb, ODD)
    pending = {name: call() for name, call in calls.items()}
    for name, p in pending.items():
        e = outcome(p, 60 * t.SCALE)
        assert e is None or e.name == t.ERROR + "RuntimeFailed", (name, e)
        if name == "leaves a child behind" and verb not in ("state", "delete-force"):
            assert e is None, e
        answers(client)
    assert other.status == "running"
    end_everything(impatient, client)
    t.wait_for(lambda: not impatient.children(), timeout=5 * t.SCALE, what="the end of who was left behind")


@pytest.mark.parametrize("verb", ["create", "exec", "restore"])
def test_lies_about_the_pid_are_not_believed(impatient, bundle, decoy, directory, verb):
    client = impatient.connect()
    b = bundle("sleep", "inf")
    other = running(client, "other", b)
    file = os.path.join(directory, "pid-file")
    with open(file, "w") as f:
        f.write(str(decoy.pid))
    second = running(client, "second", b)
    lies = ["pid %d" % decoy.pid, "pid %d" % impatient.pid, "pid %d" % other.pid, "pid %d" % os.getpid(), "pid 1", "pid 0",
            "pid -1", "pid -%d" % decoy.pid, "pid garbage", "pid empty", "pid missing", "pid 4194304", "pid 2147483648",
            "pid 99999999999999999999999", "pid fifo", "pid directory", "pid link " + file, "pid link /dev/zero",
            "pid link /proc/self/stat", "no-process"]
    for number, lie in enumerate(lies):
        id = "c%d" % number
        call = VERBS[verb](impatient, client, id, b)
        impatient.control.set(id, verb, lie)
        e = outcome(call(), t.TIMEOUT)
        assert e and e.name == t.ERROR + "RuntimeFailed", (lie, e)
        assert e.message.startswith("OCI runtime %s failed: " % verb), e
        answers(client)
        decoy.check()
    assert other.status == second.status == "running" and t.is_alive(other.pid)
    assert other.get("Pid") == other.pid
    # Those that nobody believed in have been started all the same: only the runtime knows of them.
    end_everything(impatient, client)
    assert client.event_names("other") == ["TaskCreate", "TaskStart", "TaskExit", "TaskDelete"]
