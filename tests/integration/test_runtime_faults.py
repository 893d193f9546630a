# SPDX-License-Identifier: LGPL-2.1-or-later
"""A runtime that fails, crashes, hangs, lies and babbles."""

import os
import signal
import statistics
import subprocess
import time

import pytest

import monoshim_testing as t
from monoshim_testing import FAKE_RUNTIME, MANAGER, ROOT_PATH, refused


@pytest.fixture
def impatient(make_daemon):
    return make_daemon(runtime=FAKE_RUNTIME, config={"RuntimeTimeoutSec": "2"})


def nothing_of(d, client, id="c1"):
    """The id is free again, and nothing was told of it."""
    assert ("default", id) not in client.list()
    with refused("NotFound"):
        client.manager("GetContainer", "ss", "default", id)
    client.sync()
    assert client.event_names(id) == []
    t.wait_for(lambda: not [e for e in d.leftover_entries() if e.endswith("/" + id)], what="the end of what was left of " + id)


# Create


@pytest.mark.parametrize("lines", [
    ["exit 1"], ["exit-after 1"], ["crash"], ["crash-after"], ["exit 0"], ["pid missing"], ["pid garbage"], ["pid empty"],
    ["pid 0"], ["pid 1"], ["pid -1"], ["pid 2147483648"], ["pid 99999999999999999999"], ["pid 12 "], ["pid 0x10"],
    ["no-process"], ["no-process", "die-before-return"],
    ["exit 1", "log garbage"], ["exit 1", "log truncated"], ["exit 1", "log huge"], ["exit-after 1", "log none"],
    ["exit 1", "stderr 1000000", "stdout 1000000"],
], ids=" ".join)
def test_a_create_that_fails_in_any_way_leaves_nothing_and_can_be_repeated(fake, bundle, lines):
    client = fake.connect()
    b = bundle("sleep", "inf")
    for _ in range(2):
        fake.control.set("c1", "create", *lines)
        with refused("RuntimeFailed", "OCI runtime create failed: "):
            client.create("c1", b)
        nothing_of(fake, client)
    fake.wait_idle()
    fake.control.clear()
    c = client.create("c1", b)
    c.start()
    assert c.status == "running"
    c.end()
    t.check_event_invariants(client.events())


def test_a_failed_create_is_undone_with_delete_force(fake, bundle):
    client = fake.connect()
    fake.control.set("c1", "create", "exit-after 1")
    with refused("RuntimeFailed"):
        client.create("c1", bundle("sleep", "inf"))
    assert [r["argv"][1:] for r in fake.control.invocations("delete-force")] == [
        ["--root", fake.runtime_root + "/default", "--log-format", "json", "delete", "--force", "c1"]]


def test_the_error_comes_when_everything_is_undone(fake, bundle):
    client = fake.connect()
    fake.control.set("c1", "create", "exit-after 1")
    fake.control.set("c1", "delete-force", "sleep 0.5")
    with refused("RuntimeFailed"):
        client.create("c1", bundle("sleep", "inf"))
    assert fake.control.invocations("delete-force", phase="end"), "answered before it was undone"
    fake.control.clear()
    client.create("c1", bundle("sleep", "inf")).delete()


def test_an_undoing_that_fails_as_well_still_frees_the_id(fake, bundle):
    client = fake.connect()
    fake.control.set("c1", "create", "exit 1", "log first", "once")
    fake.control.set("c1", "delete-force", "exit 1", "log second", "once")
    with refused("RuntimeFailed", exactly="OCI runtime create failed: first"):
        client.create("c1", bundle("sleep", "inf"))
    client.create("c1", bundle("sleep", "inf")).delete()


@pytest.mark.parametrize("hanging", ["hang", "hang-child", "hang-after"])
def test_a_create_that_hangs_ends_at_the_deadline_with_its_whole_group(impatient, bundle, hanging):
    client = impatient.connect()
    impatient.control.set("c1", "create", hanging)
    began = time.monotonic()
    pending = client.begin_create("c1", bundle("sleep", "inf"))
    runtime = t.wait_for(lambda: impatient.control.invocations("create"))[0]["pid"]
    if hanging == "hang-child":
        t.wait_for(lambda: t.children(runtime), what="the runtime's child")
    group = [runtime] + t.children(runtime)
    with refused("DeadlineExceeded", "2"):
        pending.result()
    took = time.monotonic() - began
    assert 1.9 <= took < 2 + 3 * t.SCALE, took
    for pid in group:
        t.wait_for(lambda: not t.is_alive(pid), what="the end of the runtime's group")
    nothing_of(impatient, client)
    impatient.control.clear()
    client.create("c1", bundle("sleep", "inf")).delete()


def test_the_rollback_of_a_hanging_create_may_hang_as_well(impatient, bundle):
    client = impatient.connect()
    impatient.control.set("c1", "create", "hang-after")
    impatient.control.set("c1", "delete-force", "hang")
    with refused("DeadlineExceeded"):
        client.create("c1", bundle("sleep", "inf"), timeout=10 * t.SCALE + t.TIMEOUT)
    assert client.list() == {}
    impatient.control.clear()
    # Nobody could make the runtime forget the id: a create of it says so, as the runtime says it, or it works.
    try:
        client.create("c1", bundle("sleep", "inf")).delete()
    except t.DBusError as e:
        assert "already exists" in e.message
    for ns_id in ["c1"]:
        subprocess.run([FAKE_RUNTIME, "--root", impatient.runtime_root + "/default", "delete", "--force", ns_id], check=True)


def test_a_deadline_that_passed_leaves_no_cgroup_of_real_runc(make_daemon, directory, bundle):
    """The runtime is killed in the middle of its create: what it had made so far must not stay."""
    slow = os.path.join(directory, "slow-runc")
    with open(slow, "w") as f:
        f.write('#!/bin/sh\ncase " $* " in *" create "*) ;; *) exec runc "$@";; esac\nrunc "$@" || exit\nsleep 1000\n')
    os.chmod(slow, 0o755)
    d = make_daemon(runtime=slow, config={"RuntimeTimeoutSec": "1s"})
    client = d.connect()
    with refused("DeadlineExceeded"):
        client.create("c1", bundle("sleep", "1000"))
    nothing_of(d, client)
    d.wait_idle()


@pytest.mark.parametrize("member, verb", [("Start", "start"), ("Kill", "kill"), ("Delete", "delete")])
def test_other_verbs_have_the_deadline_too(impatient, bundle, member, verb):
    client = impatient.connect()
    c = client.create("c1", bundle("sleep", "inf"))
    impatient.control.set("c1", verb, "hang")
    with refused("DeadlineExceeded"):
        c.process(member, *(["ub", 9, False] if member == "Kill" else []))
    assert c.status == "created"
    impatient.control.clear()
    c.start()
    c.kill()
    c.wait()
    c.delete()
    t.check_event_invariants(client.events())


def test_no_deadline_when_it_is_set_to_0(make_daemon, bundle):
    d = make_daemon(runtime=FAKE_RUNTIME, config={"RuntimeTimeoutSec": "0"})
    client = d.connect()
    d.control.set("c1", "create", "sleep 3")
    client.create("c1", bundle("sleep", "inf")).delete()


def test_one_hanging_runtime_does_not_slow_the_others(impatient, bundle):
    impatient.configure(RuntimeTimeoutSec="60")
    client = impatient.connect()
    client.manager("Reload")
    b = bundle("sleep", "inf")

    def lives(n):
        took = []
        for i in range(n):
            began = time.monotonic()
            c = client.create("x%d" % i, b)
            c.start()
            c.kill()
            c.wait()
            c.delete()
            took.append(time.monotonic() - began)
        return statistics.median(took)

    lives(5)
    before = lives(20)
    impatient.control.set("hung", "create", "hang-child")
    stuck = client.begin_create("hung", b)
    runtime = t.wait_for(lambda: impatient.control.invocations("create", "hung"))[0]["pid"]
    after = lives(20)
    assert after <= 3 * before + 0.01, "median %.1f ms became %.1f ms" % (before * 1000, after * 1000)
    assert client.get(ROOT_PATH, MANAGER, "NJobs") == 1
    assert not stuck.done()
    os.killpg(runtime, signal.SIGKILL)
    with refused("RuntimeFailed"):
        stuck.result()
    assert client.get(ROOT_PATH, MANAGER, "NJobs") == 0


# The log


@pytest.mark.parametrize("kind", ["garbage", "empty", "none", "no-msg", "truncated"])
def test_a_log_without_an_error_yields_how_the_runtime_ended(fake, bundle, kind):
    """T-LOG-EMPTY, T-LOG-GARBAGE: never an empty text."""
    client = fake.connect()
    fake.control.set("c1", "create", "exit 3", "log " + kind)
    with refused("RuntimeFailed", "OCI runtime create failed: ", "did not terminate successfully: exit status 3"):
        client.create("c1", bundle("sleep", "inf"))


def test_garbage_beside_an_error_does_not_hide_it(fake, bundle):
    client = fake.connect()
    c = client.create("c1", bundle("sleep", "inf"))
    with open(os.path.join(fake.container_dir("c1"), "log.json"), "ab") as f:
        f.write(b"{half a rec\n\xff\xfe\n")
    fake.control.set("c1", "start", "exit 1", "log the real cause")
    with refused("RuntimeFailed", exactly="OCI runtime start failed: the real cause"):
        c.start()
    fake.control.clear()
    c.delete()


def test_an_old_error_in_the_log_does_not_explain_a_new_failure(fake, bundle):
    """T-LOG-STALE"""
    client = fake.connect()
    c = client.create("c1", bundle("sleep", "inf"))
    fake.control.set("c1", "start", "exit 1", "log yesterday's trouble")
    with refused("RuntimeFailed", "yesterday's trouble"):
        c.start()
    fake.control.set("c1", "start", "exit 2", "log stale")
    with refused("RuntimeFailed", "exit status 2") as caught:
        c.start()
    assert "yesterday" not in caught[0].message
    fake.control.clear()
    c.delete()


def test_an_old_error_does_not_explain_a_new_containers_failure(fake, bundle):
    """T-LOG-STALE, across two lives of one id."""
    client = fake.connect()
    fake.control.set("c1", "create", "exit 1", "log first life")
    with refused("RuntimeFailed", "first life"):
        client.create("c1", bundle("sleep", "inf"))
    fake.control.set("c1", "create", "exit 2", "log stale")
    with refused("RuntimeFailed", "exit status 2") as caught:
        client.create("c1", bundle("sleep", "inf"))
    assert "first life" not in caught[0].message


def test_the_log_does_not_grow_with_failing_commands(fake, bundle):
    """T-LOGSIZE"""
    client = fake.connect()
    c = client.create("c1", bundle("sleep", "inf"))
    fake.control.set("c1", "start", "exit 1", "log " + "x" * 2000)
    for _ in range(200 if t.SLOW else 50):
        with refused("RuntimeFailed"):
            c.start()
    size = sum(os.path.getsize(os.path.join(fake.container_dir("c1"), n)) for n in os.listdir(fake.container_dir("c1"))
               if n.startswith("log"))
    assert size < 20000, "log.json has %d bytes" % size
    fake.control.clear()
    c.delete()


@pytest.mark.parametrize("verb", ["start", "kill", "delete"])
@pytest.mark.parametrize("code", [0, 1])
def test_100_mb_on_stderr_are_taken_without_harm(fake, bundle, verb, code):
    client = fake.connect()
    c = client.create("c1", bundle("sleep", "inf"))
    size = 100_000_000 if t.SLOW else 10_000_000
    before = t.anonymous_kib(fake.pid)
    fake.control.set("c1", verb, "stderr %d" % size, "once", *(["exit 1", "log empty"] if code else []))
    call = {"start": c.start, "kill": c.kill, "delete": c.delete}[verb]
    if code:
        with refused("RuntimeFailed") as caught:
            call(timeout=60 * t.SCALE)
        assert len(caught[0].message) < 100_000
    else:
        call(timeout=60 * t.SCALE)
    if not t.INSTRUMENTED:
        assert t.anonymous_kib(fake.pid) - before < 8192
    if code or verb != "delete":
        c.end()


# Pid files


def test_the_pid_of_a_foreign_process_is_refused_and_it_is_unharmed(fake, bundle):
    client = fake.connect()
    stranger = subprocess.Popen(["sleep", "1000"])
    try:
        for lines in (["pid %d" % stranger.pid], ["pid %d" % stranger.pid, "no-process"],
                      ["pid %d" % fake.pid], ["pid %d" % os.getpid()], ["pid 1"]):
            fake.control.set("c1", "create", *lines)
            with refused("RuntimeFailed", "OCI runtime create failed: "):
                client.create("c1", bundle("sleep", "inf"))
            nothing_of(fake, client)
            assert stranger.poll() is None
        fake.wait_idle()
    finally:
        stranger.kill()
        stranger.wait()


def test_the_pid_of_another_container_is_refused_and_it_is_unharmed(fake, bundle):
    client = fake.connect()
    a = client.create("a", bundle("sleep", "inf"))
    a.start()
    fake.control.set("b", "create", "pid %d" % a.pid)
    with refused("RuntimeFailed"):
        client.create("b", bundle("sleep", "inf"))
    nothing_of(fake, client, "b")
    assert a.status == "running" and t.is_alive(a.pid)
    a.end()
    t.check_event_invariants(client.events())


def test_a_pid_file_left_by_a_crash_does_not_stop_the_next_create(fake, bundle):
    """runc refuses to write over .init.pid."""
    client = fake.connect()
    fake.control.set("c1", "create", "exit 1", "once")
    with refused("RuntimeFailed"):
        client.create("c1", bundle("sleep", "inf"))
    client.create("c1", bundle("sleep", "inf")).delete()


def test_create_reports_the_real_pid_of_a_direct_child(fake, bundle):
    """As with runc, the init is the runtime's child until the runtime ends."""
    client = fake.connect()
    fake.control.set("*", "create", "direct-child")
    c = client.create("c1", bundle("exit", "9"))
    c.start()
    assert c.wait()[0] == 9
    c.delete()


# The others


def test_a_failed_delete_can_be_repeated(fake, bundle):
    client = fake.connect()
    c = client.create("c1", bundle("exit", "5"))
    c.start()
    _, exited_at = c.wait()
    fake.control.set("c1", "delete", "exit 1", "log busy")
    for _ in range(3):
        with refused("RuntimeFailed", "busy"):
            c.delete()
        assert c.status == "stopped"
    assert c.event_names() == ["TaskCreate", "TaskStart", "TaskExit"]
    fake.control.clear()
    assert c.delete() == (c.pid, 5, exited_at)


def test_a_delete_of_what_the_runtime_has_forgotten_succeeds(fake, bundle):
    client = fake.connect()
    c = client.create("c1", bundle("sleep", "inf"))
    c.start()
    subprocess.run([FAKE_RUNTIME, "--root", fake.runtime_root + "/default", "delete", "--force", "c1"], check=True)
    c.wait()
    assert c.delete()[1] == 137


def test_a_failed_start_leaves_it_created_and_can_be_repeated(fake, bundle):
    client = fake.connect()
    c = client.create("c1", bundle("sleep", "inf"))
    for lines in (["exit 1", "log nope"], ["crash"], ["exit 255", "log none"]):
        fake.control.set("c1", "start", *lines)
        with refused("RuntimeFailed", "OCI runtime start failed: "):
            c.start()
        assert c.status == "created"
        client.sync()
        assert c.event_names() == ["TaskCreate"]
    fake.control.clear()
    assert c.start() == c.pid
    c.end()


def test_a_start_that_did_it_and_then_failed_ends_with_one_exit(fake, bundle):
    """The program runs although the runtime said no: whatever is made of it, the invariants hold and it can be got rid of."""
    client = fake.connect()
    c = client.create("c1", bundle("exit", "3"))
    fake.control.set("c1", "start", "exit-after 1", "wait-exit")
    try:
        c.start()
    except t.DBusError as e:
        assert e.name == t.ERROR + "RuntimeFailed"
    assert c.wait()[0] == 3
    assert c.delete()[1] == 3
    t.check_event_invariants(client.events())


def test_a_runtime_that_is_missing_fails_everything_with_a_clear_text(make_daemon, bundle, directory):
    link = os.path.join(directory, "runtime-link")
    os.symlink(FAKE_RUNTIME, link)
    d = make_daemon(runtime=link)
    client = d.connect()
    c = client.create("c1", bundle("sleep", "inf"))
    os.unlink(link)
    for call, op in ((c.start, "start"), (c.kill, "kill"), (c.delete, "delete")):
        with refused("RuntimeFailed", "OCI runtime %s failed: " % op, "no such file or directory"):
            call()
    with refused("RuntimeFailed", "OCI runtime create failed: ", "no such file or directory"):
        client.create("c2", bundle("sleep", "inf"))
    assert c.status == "created"
    os.symlink(FAKE_RUNTIME, link)
    c.delete()


# The pool


def concurrency(records):
    """The greatest number of invocations that ran at once."""
    running = most = 0
    for r in sorted(records, key=lambda r: (r["time"], r["phase"] == "begin")):
        running += 1 if r["phase"] == "begin" else -1
        most = max(most, running)
    return most


@pytest.mark.parametrize("limit", [1, 3])
def test_never_more_runtimes_at_once_than_configured(make_daemon, bundle, limit):
    d = make_daemon(runtime=FAKE_RUNTIME, config={"MaxRuntimeJobs": str(limit)})
    client = d.connect()
    d.control.set("*", "create", "sleep 0.05")
    b = bundle("sleep", "inf")
    pending = [client.begin_create("c%d" % i, b) for i in range(12)]
    t.wait_for(lambda: client.get(ROOT_PATH, MANAGER, "NJobs") == 12, what="all jobs queued or running", timeout=2 * t.SCALE)
    for p in pending:
        p.result()
    records = d.control.invocations("create", phase=None)
    assert len(records) == 24
    assert concurrency(records) == limit
    for i in range(12):
        client.container("c%d" % i).delete()


def test_queued_operations_are_served_first_come_first_served(make_daemon, bundle):
    d = make_daemon(runtime=FAKE_RUNTIME, config={"MaxRuntimeJobs": "1"})
    client = d.connect()
    d.control.set("*", "create", "sleep 0.02")
    b = bundle("sleep", "inf")
    order = ["c%d" % i for i in (5, 2, 9, 0, 7, 1, 8, 3, 6, 4)]
    pending = [client.begin_create(id, b) for id in order]
    for p in pending:
        p.result()
    assert [r["id"] for r in d.control.invocations("create")] == order
    for id in order:
        client.container(id).delete()


def test_operations_of_one_container_run_one_at_a_time_in_order(fake, bundle):
    client = fake.connect()
    c = client.create("c1", bundle("sleep", "inf"))
    for verb in ("start", "kill"):
        fake.control.set("c1", verb, "sleep 0.1")
    pending = [c.begin("Start"), c.begin("Kill", "ub", int(signal.SIGCONT), False), c.begin("Kill", "ub", 9, False)]
    for p in pending:
        p.result()
    c.wait()
    records = fake.control.invocations(id="c1", phase=None)[2:]
    assert [(r["verb"], r["phase"]) for r in records] == [
        ("start", "begin"), ("start", "end"), ("kill", "begin"), ("kill", "end"), ("kill", "begin"), ("kill", "end")]
    c.delete()


def test_operations_of_different_containers_run_side_by_side(fake, bundle):
    client = fake.connect()
    a, b = client.create("a", bundle("sleep", "inf")), client.create("b", bundle("sleep", "inf"))
    fake.control.set("*", "start", "sleep 0.5")
    began = time.monotonic()
    pending = [a.begin("Start"), b.begin("Start")]
    for p in pending:
        p.result()
    assert time.monotonic() - began < 0.9 * t.SCALE
    assert concurrency(fake.control.invocations("start", phase=None)) == 2
    a.end()
    b.end()


def test_exits_are_told_when_no_process_can_be_started(make_daemon, bundle):
    """T-NOFORK: the pids controller lets the daemon start nothing any more; exits arrive all the same."""
    top = "/sys/fs/cgroup/pids" if os.path.isdir("/sys/fs/cgroup/pids") else "/sys/fs/cgroup"
    cgroup = os.path.join(top, t.CGROUP_PREFIX + "nofork")
    d = make_daemon(runtime=FAKE_RUNTIME)
    client = d.connect()
    c = client.create("c1", bundle("sleep", "inf"))
    c.start()
    os.mkdir(cgroup)
    try:
        if not os.path.exists(cgroup + "/pids.max"):
            pytest.skip("no pids controller")
        with open(cgroup + "/cgroup.procs", "w") as f:
            f.write(str(d.pid))
        with open(cgroup + "/pids.max", "w") as f:
            f.write("1")
        with refused("ResourceExhausted"):
            client.create("c2", bundle("sleep", "inf"))
        os.kill(c.pid, signal.SIGKILL)
        assert c.wait()[0] == 137
        assert client.wait_event("TaskExit", "c1").exit_status == 137
        with pytest.raises(t.DBusError):
            c.delete()
        with open(cgroup + "/pids.max", "w") as f:
            f.write("max")
        assert c.delete()[1] == 137
        client.create("c2", bundle("sleep", "inf")).delete()
    finally:
        with open(top + "/cgroup.procs", "w") as f:
            f.write(str(d.pid))
        t.wait_for(lambda: not open(cgroup + "/cgroup.procs").read(), what="an empty cgroup")
        os.rmdir(cgroup)


def test_a_start_that_hangs_after_the_program_began_is_told_as_started(impatient, bundle):
    """A hook that hangs, say: the call fails, but what runs is not called created."""
    client = impatient.connect()
    c = client.create("c1", bundle("sleep", "inf"))
    impatient.control.set("c1", "start", "hang-after")
    with refused("DeadlineExceeded"):
        c.start()
    impatient.control.clear()
    assert c.status == "running"
    assert c.get("StartedAt") > 0
    c.end()
    t.check_event_invariants(client.events())
    assert client.event_names("c1") == ["TaskCreate", "TaskStart", "TaskExit", "TaskDelete"]
