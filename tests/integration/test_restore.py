# SPDX-License-Identifier: LGPL-2.1-or-later
"""Coming back after SIGTERM, after SIGKILL, and to whatever stands in the state directory."""

import json
import os
import re
import random
import shutil
import signal
import subprocess
import time

import pytest

import monoshim_testing as t
from monoshim_testing import CONTAINER, FAKE_RUNTIME, MANAGER, PROCESS, ROOT_PATH, refused

HOWS = ["term", "kill9"]

pytestmark = pytest.mark.skipif(t.VALGRIND, reason="valgrind does not know pidfd_open(), without which nothing is taken back")


def names(events, id):
    return [e.name for e in events if e.id == id]


def events_after(client, id, after=0):
    return [e for e in client.get_events(after)[1] if e.id == id]


def dead_shim(client, id, pid, after):
    """What cleaning up after a dead container must have told: its exit, then its end, both 137, at one time."""
    t.wait_for(lambda: len(events_after(client, id, after)) >= 2, what="the events of the cleanup of " + id)
    x, d = events_after(client, id, after)
    assert (x.name, x.data["id"], x.pid, x.exit_status) == ("TaskExit", id, pid, 137)
    assert (d.name, d.data["id"], d.pid, d.exit_status, d.exited_at) == ("TaskDelete", id, pid, 137, x.exited_at)
    assert x.exited_at > 0
    assert ("default", id) not in client.list()


# Containers that live


@pytest.mark.parametrize("how", HOWS)
def test_a_running_container_is_taken_back_with_all_that_is_known_of_it(daemon, bundle, fifo, how):
    client = daemon.connect()
    out = fifo("out").open_reader()
    b = bundle("sh", "-c", "trap 'exit 42' TERM; echo up; while :; do usleep 10000; done")
    c = client.create("c1", b, Stdout=str(out), Labels={"k": "v"})
    c.start()
    out.read_line()
    before = {i: client.get_all(c.path, i) for i in (CONTAINER, PROCESS)}
    daemon.restart(how)
    client = daemon.connect()
    c = client.container("c1")
    assert {i: client.get_all(c.path, i) for i in (CONTAINER, PROCESS)} == before
    assert client.list() == {("default", "c1"): ("running", before[PROCESS]["Pid"], c.path)}
    assert client.manager("GetContainerByPID", "u", before[PROCESS]["Pid"]) == (c.path,)
    assert c.path in client.tree()
    c.kill(signal.SIGTERM)
    assert c.wait()[0] == 42, "the real exit code of a process that is not our child"
    assert c.delete()[1] == 42
    t.check_event_invariants(client.get_events()[1])


@pytest.mark.parametrize("how", HOWS)
def test_50_containers_survive_with_their_streams(daemon, bundle, fifo, how):
    n = 50 if t.SLOW else 10
    client = daemon.connect()
    made = []
    for i in range(n):
        out, inp = fifo("o%d" % i), fifo("i%d" % i)
        c = client.create("c%d" % i, bundle("sh", "-c", "while read l; do echo $l; [ $l = end ] && exit %d; done" % i),
                          ns="ns%d" % (i % 3), Stdin=str(inp), Stdout=str(out))
        c.start()
        inp.open_writer()
        out.open_reader()
        inp.write(b"before\n")
        assert out.read_line() == b"before\n"
        made.append((c, inp, out))
    before = client.list()
    began = time.monotonic()
    daemon.restart(how)
    if not t.INSTRUMENTED:
        assert time.monotonic() - began < 2
    client = daemon.connect()
    assert client.list() == before
    for i, (c, inp, out) in enumerate(made):
        inp.write(b"after\n")
        assert out.read_line() == b"after\n"
        inp.close()  # the daemon holds stdin again: no end-of-file
    assert client.list() == before
    for i, (c, inp, out) in enumerate(made):
        c = c.on(client)
        if i % 3 == 0:
            inp.open_writer()
            inp.write(b"end\n")
            status = i
        elif i % 3 == 1:
            c.process("CloseIO")
            status = 1  # what "read" answered at the end of file
        else:
            c.kill()
            status = 137
        got = c.wait()[0]
        assert got == status if i % 3 != 1 else got in (0, 1)
        out.read_to_end(5 * t.SCALE)
        c.delete()
    t.check_event_invariants(client.get_events()[1])


def test_what_was_written_while_the_daemon_was_away_is_kept(daemon, bundle, fifo):
    client = daemon.connect()
    out = fifo("out")
    c = client.create("c1", bundle("sh", "-c", "i=0; while [ $i -lt 30 ]; do echo $i; i=$((i+1)); usleep 20000; done; sleep 1000"),
                      Stdout=str(out))
    c.start()
    time.sleep(0.1)
    daemon.kill9()
    time.sleep(0.2)
    daemon.start()
    out.open_reader()
    assert [out.read_line() for _ in range(30)] == [b"%d\n" % i for i in range(30)]
    daemon.connect().container("c1").end()


@pytest.mark.parametrize("how", HOWS)
def test_a_created_container_is_taken_back_and_can_be_started(daemon, bundle, how):
    client = daemon.connect()
    client.create("c1", bundle("sh", "-c", "exit 8"))
    daemon.restart(how)
    client = daemon.connect()
    c = client.container("c1")
    assert c.status == "created"
    c.pid = c.get("Pid")
    assert c.start() == c.pid
    assert c.wait()[0] == 8
    c.delete()
    assert names(client.get_events()[1], "c1") == ["TaskCreate", "TaskStart", "TaskExit", "TaskDelete"]


def test_a_created_container_is_taken_back_and_can_be_deleted(daemon, bundle):
    client = daemon.connect()
    c = client.create("c1", bundle("sleep", "1000"))
    daemon.restart("kill9")
    client = daemon.connect()
    assert client.container("c1").delete()[:2] == (c.pid, 137)
    t.check_event_invariants(client.get_events()[1])


@pytest.mark.parametrize("how", HOWS)
def test_a_stopped_container_keeps_its_status(daemon, bundle, how):
    client = daemon.connect()
    c = client.create("c1", bundle("sh", "-c", "exit 9"))
    c.start()
    answer = c.wait()
    daemon.restart(how)
    client = daemon.connect()
    c2 = client.container("c1")
    assert c2.status == "stopped"
    assert c2.wait() == answer
    assert c2.delete() == (c.pid,) + answer
    t.check_event_invariants(client.get_events()[1])


def test_several_restarts_in_a_row(daemon, bundle):
    client = daemon.connect()
    c = client.create("c1", bundle("sleep", "1000"))
    c.start()
    for i in range(6):
        daemon.restart(HOWS[i % 2])
        assert daemon.connect().list() == {("default", "c1"): ("running", c.pid, c.path)}
    client = daemon.connect()
    client.container("c1").end()
    assert names(client.get_events()[1], "c1") == ["TaskCreate", "TaskStart", "TaskExit", "TaskDelete"]


def test_streams_keep_their_end_of_file_and_their_data_over_a_restart(daemon, bundle, fifo):
    client = daemon.connect()
    out = fifo("out")
    c = client.create("c1", bundle("sh", "-c", "echo unread; sleep 1000"), Stdout=str(out))
    c.start()
    time.sleep(0.2)
    daemon.restart("kill9")
    c = daemon.connect().container("c1")
    c.kill()
    c.wait()
    assert out.open_reader().read_to_end(10 * t.SCALE) == b"unread\n"
    c.delete()


def test_an_own_bundle_survives_and_goes_with_its_container(daemon):
    client = daemon.connect()
    c = client.create("c1", Spec=json.dumps(t.spec(["sleep", "1000"])))
    c.start()
    daemon.restart("kill9")
    c = daemon.connect().container("c1")
    assert os.path.exists(daemon.container_dir("c1") + "/config.json")
    c.end()
    assert not os.path.exists(daemon.container_dir("c1"))


def test_options_of_create_hold_after_a_restart(fake, bundle, directory):
    client = fake.connect()
    root = os.path.join(directory, "other")
    c = client.create("c1", bundle("sleep", "inf"), Runtime=FAKE_RUNTIME, RuntimeRoot=root, SystemdCgroup=True)
    c.start()
    fake.runtime = "no-such-runtime-as-default"
    fake.restart("kill9")
    fake.control.forget()
    daemon_client = fake.connect()
    daemon_client.container("c1").end()
    for r in fake.control.invocations():
        assert r["argv"][0] == FAKE_RUNTIME
        assert r["argv"][2] == root + "/default" and "--systemd-cgroup" in r["argv"]


# Containers that died meanwhile


def test_what_died_while_the_daemon_was_away_is_cleaned_up_with_137(daemon, bundle):
    """T-DOWN"""
    client = daemon.connect()
    c = client.create("c1", bundle("sleep", "1000"))
    c.start()
    other = client.create("c2", bundle("sleep", "1000"))
    other.start()
    daemon.stop()
    os.kill(c.pid, signal.SIGKILL)
    t.wait_for(lambda: not t.read_stat(c.pid))
    daemon.start()
    client = daemon.connect()
    dead_shim(client, "c1", c.pid, 4)
    assert client.list() == {("default", "c2"): ("running", other.pid, other.path)}
    client.container("c2").end()
    t.check_event_invariants(client.get_events()[1])
    client.create("c1", bundle("true")).delete()


def test_what_died_in_created_while_the_daemon_was_away(fake, bundle):
    client = fake.connect()
    c = client.create("c1", bundle("sleep", "inf"))
    fake.kill9()
    os.kill(c.pid, signal.SIGKILL)
    t.wait_for(lambda: not t.read_stat(c.pid))
    fake.start()
    client = fake.connect()
    dead_shim(client, "c1", c.pid, 1)


def test_the_runtimes_command_for_what_is_dead(fake, bundle):
    client = fake.connect()
    c = client.create("c1", bundle("sleep", "inf"), SystemdCgroup=True)
    c.start()
    fake.kill9()
    os.kill(c.pid, signal.SIGKILL)
    fake.control.forget()
    fake.start()
    dead_shim(fake.connect(), "c1", c.pid, 2)
    assert [r["argv"][1:] for r in fake.control.invocations()] == [
        ["--root", fake.runtime_root + "/default", "--log-format", "json", "delete", "--force", "c1"]]


def test_a_cleanup_whose_runtime_fails_still_tells_the_end(fake, bundle):
    client = fake.connect()
    c = client.create("c1", bundle("sleep", "inf"))
    fake.kill9()
    os.kill(c.pid, signal.SIGKILL)
    fake.control.set("c1", "delete-force", "exit 1", "log no way")
    fake.start()
    dead_shim(fake.connect(), "c1", c.pid, 1)
    fake.control.clear()
    subprocess.run([FAKE_RUNTIME, "--root", fake.runtime_root + "/default", "delete", "--force", "c1"], check=True)


def test_the_exit_is_told_before_the_folder_goes_and_once_even_if_the_cleanup_is_interrupted(fake, bundle):
    client = fake.connect()
    c = client.create("c1", bundle("sleep", "inf"))
    c.start()
    for fault in ("hang", "hang-after"):
        fake.kill9()
        if t.is_alive(c.pid):
            os.kill(c.pid, signal.SIGKILL)
            t.wait_for(lambda: not t.read_stat(c.pid))
        fake.control.set("c1", "delete-force", fault)
        fake.control.forget()
        fake.start()
        t.wait_for(lambda: fake.control.invocations("delete-force"))
        time.sleep(0.1)
    fake.control.clear()
    fake.restart("kill9")
    client = fake.connect()
    dead_shim(client, "c1", c.pid, 2)
    t.check_event_invariants(client.get_events()[1])


def test_another_boot_id_means_that_everything_is_gone(fake, bundle):
    client = fake.connect()
    made = {id: client.create(id, bundle("sleep", "inf")) for id in ("created", "running", "stopped")}
    made["running"].start()
    made["stopped"].kill()
    made["stopped"].wait()
    last = client.get(ROOT_PATH, MANAGER, "LastSequence")
    fake.kill9()
    for id, c in made.items():
        state = fake.state_json(id)
        state["boot_id"] = "0123456789abcdef0123456789abcdef"
        fake.write_state_json(state, id)
    fake.start()
    client = fake.connect()
    dead_shim(client, "created", made["created"].pid, last)
    dead_shim(client, "running", made["running"].pid, last)
    # what had exited before keeps its status, and is told no second exit
    t.wait_for(lambda: events_after(client, "stopped", last))
    assert [(e.name, e.exit_status) for e in events_after(client, "stopped", last)] == [("TaskDelete", 137)]
    assert client.list() == {}
    t.check_event_invariants(client.get_events()[1])


def test_a_recycled_pid_is_not_taken_for_the_container_and_not_harmed(fake, bundle):
    """T-PIDREUSE: the pid lives, but started at another time."""
    client = fake.connect()
    c = client.create("c1", bundle("sleep", "inf"))
    c.start()
    fake.kill9()
    os.kill(c.pid, signal.SIGKILL)
    t.wait_for(lambda: not t.read_stat(c.pid))
    stranger = subprocess.Popen(["sleep", "1000"])
    try:
        state = fake.state_json("c1")
        state["init"]["pid"] = stranger.pid
        fake.write_state_json(state, "c1")
        with open(os.path.join(fake.container_dir("c1"), "init.pid"), "w") as f:
            f.write(str(stranger.pid))
        fake.start()
        client = fake.connect()
        dead_shim(client, "c1", stranger.pid, 2)
        with refused("NotFound"):
            client.manager("GetContainerByPID", "u", stranger.pid)
        fake.wait_idle()
        assert stranger.poll() is None
    finally:
        stranger.kill()
        stranger.wait()


# What cannot be read


def corrupt(text):
    """name -> bytes, or None for no file at all."""
    state = json.loads(text)

    def changed(**kw):
        return json.dumps({**state, **kw}).encode()

    return {
        "missing": None,
        "empty": b"",
        "truncated": text.encode()[:len(text) // 2],
        "garbage": b"\x00\xff\xfe{{{",
        "array": b"[]",
        "null": b"null",
        "no-members": b"{}",
        "version-string": changed(version="1"),
        "init-null": changed(init=None),
        "init-list": changed(init=[1, 2]),
        "pid-string": changed(init={**state["init"], "pid": "1"}),
        "pid-huge": changed(init={**state["init"], "pid": 2**63}),
        "pid-negative": changed(init={**state["init"], "pid": -1}),
        "state-unknown": changed(init={**state["init"], "state": "frozen"}),
        "other-id": changed(id="c2"),
        "traversal-id": changed(id="../../c2"),
        "labels-list": changed(labels=["x"]),
        "deep": b'{"a":' * 50000,
        "huge": b'{"x":"' + b"y" * 20_000_000 + b'"}',
        "infinite-number": re.sub(rb'"version":[0-9]+', b'"version":1e999', text.encode()),
    }


def test_the_state_of_a_newer_monoshimd_is_left_to_it(fake, bundle):
    """After a downgrade: it is not damaged, and the container behind it is alive and stays so."""
    client = fake.connect()
    c = client.create("c1", bundle("sleep", "inf"))
    pid = c.start()
    fake.kill9()
    path = os.path.join(fake.container_dir("c1"), "state.json")
    with open(path) as f:
        old = f.read()
    with open(path, "w") as f:
        f.write(json.dumps({**json.loads(old), "version": 999999}))
    fake.start()
    client = fake.connect()
    assert client.list() == {}
    assert os.path.exists("/proc/%d" % pid)
    with refused("AlreadyExists"):
        client.create("c1", bundle("sleep", "inf"))
    assert fake.control.invocations("delete-force", "c1") == []
    fake.stop()
    with open(path, "w") as f:
        f.write(old)
    fake.start()
    fake.connect().container("c1").end()


@pytest.mark.parametrize("kind", list(corrupt('{"init":{}}')))
def test_a_state_file_that_cannot_be_used_harms_only_its_own(fake, bundle, kind):
    client = fake.connect()
    c = client.create("c1", bundle("sleep", "inf"))
    c.start()
    good = client.create("c2", bundle("sleep", "inf"))
    good.start()
    last = client.get(ROOT_PATH, MANAGER, "LastSequence")
    fake.kill9()
    path = os.path.join(fake.container_dir("c1"), "state.json")
    with open(path) as f:
        data = corrupt(f.read())[kind]
    os.unlink(path)
    if data is not None:
        with open(path, "wb") as f:
            f.write(data)
    fake.start()
    client = fake.connect()
    dead_shim(client, "c1", c.pid, last)
    t.wait_for(lambda: not t.is_alive(c.pid), what="the end of what could not be taken back")
    assert client.list() == {("default", "c2"): ("running", good.pid, good.path)}
    assert t.is_alive(good.pid)
    client.create("c1", bundle("sleep", "inf")).delete()


def test_a_state_file_that_is_no_file(fake, bundle, directory):
    """A FIFO, a directory, a symbolic link, a device: nothing blocks, nothing is followed."""
    secret = os.path.join(directory, "secret")
    with open(secret, "w") as f:
        f.write("{}")
    client = fake.connect()
    kinds = {"fifo": os.mkfifo, "dir": os.mkdir, "link": lambda p: os.symlink(secret, p),
             "zero": lambda p: os.symlink("/dev/zero", p)}
    made = {k: client.create(k, bundle("sleep", "inf")) for k in kinds}
    last = client.get(ROOT_PATH, MANAGER, "LastSequence")
    fake.kill9()
    for k, make in kinds.items():
        path = os.path.join(fake.container_dir(k), "state.json")
        os.unlink(path)
        make(path)
    fake.start()
    client = fake.connect()
    for k, c in made.items():
        dead_shim(client, k, c.pid, last)
    fake.wait_idle()
    assert open(secret).read() == "{}"


@pytest.mark.parametrize("content, pid", [(None, 0), ("", 0), ("garbage", 0), ("-1", 0), ("4294967295", 0), ("12 34", 0), ("77\n", None),
                                          ("4194000", 4194000)])
def test_the_pid_in_the_exit_of_a_container_without_state(fake, bundle, content, pid):
    """T-DEAD-PID: from init.pid, and 0 when that says nothing. Never 4294967295."""
    client = fake.connect()
    c = client.create("c1", bundle("sleep", "inf"))
    fake.kill9()
    folder = fake.container_dir("c1")
    os.unlink(folder + "/state.json")
    os.unlink(folder + "/init.pid")
    if content is not None:
        with open(folder + "/init.pid", "w") as f:
            f.write(content)
    with open(folder + "/log.json", "a"):
        pass  # something of ours
    fake.start()
    client = fake.connect()
    t.wait_for(lambda: len(events_after(client, "c1", 1)) == 2)
    told = {e.pid for e in events_after(client, "c1", 1)}
    assert told == {pid} if pid is not None else told <= {0, 77}
    t.wait_for(lambda: not t.is_alive(c.pid))


def test_a_hostile_state_file_removes_and_kills_nothing_foreign(fake, bundle, directory):
    decoy = os.path.join(directory, "decoy")
    os.mkdir(decoy)
    for n in ("config.json", "precious"):
        with open(os.path.join(decoy, n), "w") as f:
            f.write("{}")
    stranger = subprocess.Popen(["sleep", "1000"])
    try:
        client = fake.connect()
        c = client.create("c1", Spec=json.dumps(t.spec(["sleep", "inf"])))
        fake.kill9()
        state = fake.state_json("c1")
        state.update(bundle=decoy, owns_bundle=True)
        state["init"].update(pid=stranger.pid, start_time=1)
        fake.write_state_json(state, "c1")
        fake.start()
        client = fake.connect()
        t.wait_for(lambda: names(client.get_events()[1], "c1")[-1] == "TaskDelete")
        fake.wait_idle()
        assert sorted(os.listdir(decoy)) == ["config.json", "precious"]
        assert stranger.poll() is None
        assert not t.is_alive(c.pid)
    finally:
        stranger.kill()
        stranger.wait()


# Creates that never finished


@pytest.mark.parametrize("moment", ["sleep 10", "hang-after", "sleep-after 10"])
def test_a_create_that_was_interrupted_is_undone_silently(fake, bundle, moment):
    """T-CRASH-CREATE"""
    client = fake.connect()
    b = bundle("sleep", "inf")
    fake.control.set("c1", "create", moment)
    client.begin_create("c1", b)
    t.wait_for(lambda: fake.control.invocations("create"))
    time.sleep(0.1)
    fake.kill9()
    fake.control.clear()
    fake.control.forget()
    fake.start()
    client = fake.connect()
    assert client.list() == {}
    t.wait_for(lambda: fake.control.invocations("delete-force", phase="end"), what="delete --force")
    fake.wait_idle()
    assert client.get_events() == (True, [])
    c = client.create("c1", b)
    c.delete()
    t.check_event_invariants(client.get_events()[1])


def test_an_interrupted_create_with_a_spec_leaves_no_bundle(fake):
    client = fake.connect()
    fake.control.set("c1", "create", "hang")
    client.begin_create("c1", Spec=json.dumps(t.spec(["sleep", "inf"])))
    t.wait_for(lambda: fake.control.invocations("create"))
    assert os.path.exists(fake.container_dir("c1") + "/config.json")
    fake.kill9()
    fake.control.clear()
    fake.start()
    fake.wait_idle()
    assert not os.path.exists(fake.container_dir("c1"))


@pytest.mark.parametrize("runtime", ["fake", "runc"])
def test_sigkill_at_many_moments_of_create(make_daemon, bundle, runtime):
    """T-CRASH-CREATE: whenever the daemon is killed, the next one has either all of the container or nothing."""
    d = make_daemon(runtime=FAKE_RUNTIME if runtime == "fake" else "runc")
    b = bundle("sleep", "inf" if runtime == "fake" else "1000")
    top = 0.02 if runtime == "fake" else 0.06
    moments = 20 if t.SLOW and not t.INSTRUMENTED else 6
    survivors = 0
    for i in range(moments):
        client = d.connect()
        client.begin_create("c1", b)
        time.sleep(top * i / moments * t.SCALE)
        d.kill9()
        d.start()
        client = d.connect()
        t.wait_for(lambda: client.get(ROOT_PATH, MANAGER, "NJobs") == 0, what="the cleanup")
        if client.list():
            survivors += 1
            assert client.container("c1").status == "created"
            client.container("c1").end()
        d.wait_idle()
        client = d.connect()
        client.create("c1", b).delete()
    t.check_event_invariants(client.get_events()[1])


def test_sigkill_at_many_moments_of_a_life(make_daemon, bundle):
    """Whatever was under way: each event has one number, none is lost, and the container can be ended."""
    d = make_daemon(runtime=FAKE_RUNTIME)
    b = bundle("sleep", "0.05")
    generator = random.Random(7)
    for i in range(30 if t.SLOW and not t.INSTRUMENTED else 6):
        client = d.connect()
        id = "c%d" % i
        for p in ("Start", "Wait", "Delete"):
            if p == "Start":
                client.begin_create(id, b)
            client.begin(t.container_path("default", id), PROCESS, p)
        time.sleep(generator.random() * 0.08)
        d.kill9()
        d.start()
        client = d.connect()
        t.wait_for(lambda: client.get(ROOT_PATH, MANAGER, "NJobs") == 0)
        if client.list():
            client.container(id).end()
    complete, events = client.get_events()
    assert complete
    t.check_event_invariants(events)


# What is not ours


def test_foreign_things_in_the_state_directory_are_left_alone(fake, bundle, directory):
    client = fake.connect()
    c = client.create("c1", bundle("sleep", "inf"))
    c.start()
    fake.kill9()
    decoy = os.path.join(directory, "decoy")
    os.makedirs(decoy + "/c9/deep")
    for n in ("state.json", "init.pid", "config.json", "log.json"):
        with open(decoy + "/c9/" + n, "w") as f:
            f.write("{}")
    s = fake.state
    with open(s + "/a-file", "w") as f:
        f.write("mine")
    with open(s + "/default/a-file", "w") as f:
        f.write("mine")
    os.mkdir(s + "/default/foreign")
    with open(s + "/default/foreign/notes.txt", "w") as f:
        f.write("mine")
    os.makedirs(s + "/not a namespace/c1")
    with open(s + "/not a namespace/c1/state.json", "w") as f:
        f.write("{}")
    os.mkdir(s + "/default/bad id!")
    with open(s + "/default/bad id!/state.json", "w") as f:
        f.write("{}")
    os.symlink(decoy, s + "/linked-namespace")
    os.symlink(decoy + "/c9", s + "/default/linked")
    os.symlink(decoy + "/c9", s + "/default/.linked")
    os.symlink("/nowhere", s + "/default/dangling")
    os.mkdir(s + "/default/foreign-owner")
    with open(s + "/default/foreign-owner/state.json", "w") as f:
        f.write("{}")
    os.chown(s + "/default/foreign-owner", 12345, 12345)
    os.mkfifo(s + "/default/fifo")

    def tree(top):
        return sorted((os.path.join(p, n), os.lstat(os.path.join(p, n)).st_mode) for p, dirs, files in os.walk(top) for n in dirs + files)

    decoys = tree(decoy)
    fake.start()
    client = fake.connect()
    assert client.list() == {("default", "c1"): ("running", c.pid, c.path)}
    time.sleep(0.3)
    assert tree(decoy) == decoys
    for n in ("a-file", "default/a-file", "default/foreign/notes.txt", "not a namespace/c1/state.json",
              "default/bad id!/state.json", "linked-namespace", "default/linked", "default/dangling",
              "default/foreign-owner/state.json", "default/fifo"):
        assert os.path.lexists(s + "/" + n), n
    for n in ("a-file", "default/foreign", "not a namespace", "bad id!", "linked", "foreign-owner"):
        assert os.path.basename(n) in fake.log_text(), "no warning about " + n
    assert names(client.get_events()[1], "foreign") == []
    # and a create of such an id is refused rather than taking over what is there
    for id in ("foreign", "linked", "foreign-owner", "a-file"):
        with refused("AlreadyExists"):
            client.create(id, bundle("sleep", "inf"))
    assert tree(decoy) == decoys
    client.container("c1").end()
    fake.stop()
    shutil.rmtree(s)


def test_hidden_leftovers_are_removed(fake, bundle, directory):
    """T-LEFTOVER: half-deleted folders below state and root, and work directories of nobody."""
    client = fake.connect()
    client.create("c1", bundle("sleep", "inf")).delete()
    fake.stop()
    decoy = os.path.join(directory, "decoy")
    os.mkdir(decoy)
    with open(decoy + "/precious", "w") as f:
        f.write("x")
    for top in (fake.state, fake.root):
        os.makedirs(top + "/default/.c1/deep/er")
        with open(top + "/default/.c1/state.json", "w") as f:
            f.write("{}")
        os.symlink(decoy, top + "/default/.c1/deep/link")
        os.symlink("/etc", top + "/default/.c1/etc")
        os.makedirs(top + "/other/.x.1")
    os.makedirs(fake.root + "/default/orphaned-work")
    fake.start()
    client = fake.connect()
    t.wait_for(lambda: not fake.leftover_entries(), what="the end of the leftovers: %s" % fake.leftover_entries())
    assert os.listdir(decoy) == ["precious"]
    assert os.path.exists("/etc/passwd")
    client.create("c1", bundle("sleep", "inf")).delete()


def test_an_empty_folder_is_a_create_that_never_got_far(fake, bundle):
    client = fake.connect()
    client.create("c0", bundle("sleep", "inf")).delete()
    last = client.get(ROOT_PATH, MANAGER, "LastSequence")
    fake.stop()
    os.makedirs(fake.state + "/default/c1")
    fake.control.forget()
    fake.start()
    client = fake.connect()
    t.wait_for(lambda: not os.path.exists(fake.state + "/default/c1"), what="the end of the folder")
    assert client.get_events(last) == (True, [])
    assert {r["verb"] for r in fake.control.invocations()} <= {"delete-force"}
    client.create("c1", bundle("sleep", "inf")).delete()


def test_a_mount_below_a_leftover_is_not_emptied(fake, directory):
    """T-EBUSY's worse sister: whatever is mounted there is somebody's data."""
    fake.stop()
    data = os.path.join(directory, "data")
    os.mkdir(data)
    with open(data + "/precious", "w") as f:
        f.write("x")
    point = fake.state + "/default/.c1/rootfs"
    os.makedirs(point)
    t.run("mount", "--bind", data, point)
    try:
        fake.start()
        time.sleep(0.5)
        assert os.listdir(data) == ["precious"]
        fake.stop()
    finally:
        t.run("umount", point)
    assert os.listdir(data) == ["precious"]
    fake.start()
    fake.wait_idle()


def test_one_hanging_cleanup_holds_up_nobody(fake, bundle):
    """T-RESTORE-HUNG"""
    client = fake.connect()
    dead = client.create("dead", bundle("sleep", "inf"))
    good = [client.create("c%d" % i, bundle("sleep", "inf")) for i in range(5)]
    for c in good:
        c.start()
    fake.kill9()
    os.kill(dead.pid, signal.SIGKILL)
    t.wait_for(lambda: not t.read_stat(dead.pid))
    fake.control.set("dead", "delete-force", "hang")
    began = time.monotonic()
    fake.start()
    client = fake.connect()
    assert {k for k, v in client.list().items() if v[0] == "running"} == {("default", c.id) for c in good}
    assert time.monotonic() - began < 3 * t.SCALE
    client.container("c0").end()
    client.create("new", bundle("sleep", "inf")).delete()
    # the id of the one that is being cleaned up is still taken
    with refused("AlreadyExists"):
        client.create("dead", bundle("sleep", "inf"))
    hung = fake.control.invocations("delete-force", "dead")[0]["pid"]
    os.kill(hung, signal.SIGKILL)
    t.wait_for(lambda: names(client.get_events()[1], "dead")[-1] == "TaskDelete")
    fake.control.clear()
    subprocess.run([FAKE_RUNTIME, "--root", fake.runtime_root + "/default", "delete", "--force", "dead"], check=True)


def test_two_daemons_cannot_serve_one_state_directory(fake, make_daemon):
    second = make_daemon(start=False, runtime=FAKE_RUNTIME)
    second.state, second.root, second.runtime_root = fake.state, fake.root, fake.runtime_root
    with pytest.raises(AssertionError, match="before READY=1"):
        second.start()
    assert "state" in second.log_text()
    fake.connect().sync()


def test_a_socket_left_by_a_crash_is_taken_over(fake):
    fake.kill9()
    assert os.path.exists(fake.socket)
    fake.start()
    fake.connect().sync()


def test_a_torn_last_event_is_cut_off(fake, bundle):
    client = fake.connect()
    for i in range(3):
        client.create("c%d" % i, bundle("sleep", "inf")).delete()
    before = [e.key() for e in client.get_events()[1]]
    fake.kill9()
    folder = fake.state + "/.events"
    newest = os.path.join(folder, max(os.listdir(folder)))
    with open(newest, "ab") as f:
        f.write(b'{"sequence":10,"topic":"/tasks/cre')
    fake.start()
    client = fake.connect()
    assert [e.key() for e in client.get_events()[1]] == before
    client.create("c9", bundle("sleep", "inf")).delete()
    assert [e.sequence for e in client.get_events()[1]] == list(range(1, len(before) + 4))


def test_an_exit_that_was_seen_but_not_told_keeps_its_status(make_daemon, bundle):
    """The exit of the init is told after the rest of the container has been killed; a kill -9 in between loses nothing."""
    d = make_daemon(runtime=FAKE_RUNTIME)
    client = d.connect()
    c = client.create("c1", bundle("exit", "3", pid_namespace="host"))
    d.control.set("c1", "kill-all", "sleep 30")
    c.start()
    t.wait_for(lambda: d.control.invocations("kill-all", "c1"))
    d.kill9()
    d.control.clear()
    d.start()
    client = d.connect()
    t.wait_for(lambda: client.container("c1").status == "stopped")
    assert client.container("c1").wait()[0] == 3
    exits = [e for e in client.get_events()[1] if e.name == "TaskExit"]
    assert [e.exit_status for e in exits] == [3]
    client.container("c1").delete()


def test_a_create_that_was_killed_while_it_wrote_its_first_mark_is_undone(fake, bundle):
    fake.stop()
    folder = os.path.join(fake.state, "default", "c1")
    os.makedirs(folder)
    with open(os.path.join(folder, ".state.json.tmp"), "w") as f:
        f.write('{"version":')
    fake.start()
    client = fake.connect()
    t.wait_for(lambda: not os.path.exists(folder))
    assert client.get_events()[1] == []
    client.create("c1", bundle("sleep", "inf")).delete()
