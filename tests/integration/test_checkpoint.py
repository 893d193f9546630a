# SPDX-License-Identifier: LGPL-2.1-or-later
"""Checkpoint, and restoring from one: what is asked of the runtime, in which states, and, where there is a CRIU that works,
that a program goes on where it was."""

import functools
import os
import re
import shutil
import subprocess
import time

import pytest

import monoshim_testing as t
from monoshim_testing import refused


@pytest.fixture
def fake_running(fake, bundle):
    c = fake.connect().create("c1", bundle("sleep", "inf"))
    c.start()
    return c


def arguments(d, verb):
    """What the runtime was told, behind the verb."""
    argv = d.control.invocations(verb)[-1]["argv"]
    return argv[argv.index(verb) + 1:]


# What is asked of the runtime


@pytest.mark.parametrize("opts, flags", [
    ({}, ["--leave-running"]),
    ({"Exit": True}, []),
    ({"Exit": False, "OpenTcp": True}, ["--tcp-established", "--leave-running"]),
    ({"ExternalUnixSockets": True}, ["--ext-unix-sk", "--leave-running"]),
    ({"Terminal": True}, ["--shell-job", "--leave-running"]),
    ({"FileLocks": True}, ["--file-locks", "--leave-running"]),
    ({"EmptyNamespaces": ["network", "ipc"]}, ["--empty-ns", "network", "--empty-ns", "ipc", "--leave-running"]),
    ({"OpenTcp": True, "ExternalUnixSockets": True, "Terminal": True, "FileLocks": True, "Exit": True, "EmptyNamespaces": []},
     ["--tcp-established", "--ext-unix-sk", "--shell-job", "--file-locks"]),
])
def test_options_become_flags(fake, fake_running, directory, opts, flags):
    fake_running.checkpoint(directory + "/image", **opts)
    rest = [f for a in arguments(fake, "checkpoint") for f in ([a] if a.startswith("--") and "=" not in a else a.split("=", 1))]
    assert rest.pop() == "c1"
    for name, value in (("--image-path", directory + "/image"), ("--work-path", None)):
        i = rest.index(name)
        assert value is None or rest[i + 1] == value
        del rest[i:i + 2]
    assert sorted(rest) == sorted(flags)
    if opts.get("Exit"):
        assert fake_running.wait()[0] == 137


def test_the_work_directory(fake, fake_running, directory):
    """The client's, which stays; or one of ours, of which nothing stays."""
    os.mkdir(directory + "/work")
    fake_running.checkpoint(directory + "/image", WorkPath=directory + "/work")
    assert directory + "/work" in " ".join(arguments(fake, "checkpoint"))
    assert os.path.isdir(directory + "/work")
    fake_running.checkpoint(directory + "/image2")
    work = [a for a in " ".join(arguments(fake, "checkpoint")).replace("=", " ").split() if a.startswith(fake.root)]
    assert len(work) == 1 and not os.path.exists(work[0])


def test_the_parent_of_a_checkpoint(fake, fake_running, directory):
    fake_running.checkpoint(directory + "/first")
    fake_running.checkpoint(directory + "/second", ParentPath=directory + "/first")
    assert directory + "/first" in " ".join(arguments(fake, "checkpoint"))


@pytest.mark.parametrize("opts, text", [
    ({"Bogus": ("b", True)}, "Bogus"),
    ({"Exit": ("s", "yes")}, "Exit"),
    ({"OpenTcp": ("u", 1)}, "OpenTcp"),
    ({"EmptyNamespaces": ("s", "network")}, "EmptyNamespaces"),
    ({"WorkPath": ("b", True)}, "WorkPath"),
    ({"WorkPath": "relative/path"}, "WorkPath"),
    ({"ParentPath": "../image"}, "ParentPath"),
])
def test_wrong_options_are_named(fake, fake_running, directory, opts, text):
    with refused("InvalidArgument", text):
        fake_running.checkpoint(directory + "/image", **opts)
    assert fake.control.invocations("checkpoint") == []
    assert not os.path.exists(directory + "/image")


@pytest.mark.parametrize("path", ["", "image", "./image", "../image"])
def test_the_image_path_is_absolute(fake, fake_running, path):
    with refused("InvalidArgument", "image_path"):
        fake_running.checkpoint(path)
    assert fake.control.invocations("checkpoint") == []


def test_it_is_signalled(fake_running, directory):
    fake_running.checkpoint(directory + "/image")
    fake_running.client.sync()
    e = fake_running.events()[-1]
    assert (e.name, e.data) == ("TaskCheckpointed", {"checkpoint": directory + "/image"})
    assert fake_running.status == "running"


def test_exit_ends_the_container(fake, fake_running, directory):
    """First it is told of, then the exit; the runtime knows the container no more, and Delete works all the same."""
    fake_running.checkpoint(directory + "/image", Exit=True)
    assert fake_running.wait()[0] == 137
    assert fake_running.delete()[1] == 137
    fake_running.client.sync()
    assert fake_running.event_names() == ["TaskCreate", "TaskStart", "TaskCheckpointed", "TaskExit", "TaskDelete"]


def test_a_paused_container_stays_paused(fake, fake_running, directory):
    fake_running.pause()
    fake_running.checkpoint(directory + "/image")
    assert fake_running.status == "paused"
    fake_running.resume()


def dump_log(error):
    return re.search(r"path= (/\S+/criu-dump\.log)", error.message).group(1)


def test_a_failing_checkpoint_has_crius_words(fake, fake_running, directory):
    """The first line of the runtime's complaint, and the path of CRIU's own log, which is kept."""
    fake.control.set("c1", "checkpoint", "exit 1", "criu-log (00.012345) Error (criu/files.c:1): this cannot be dumped",
                     "log criu failed: type NOTIFY errno 0", "say criu failed: type NOTIFY errno 0")
    with refused("RuntimeFailed", "OCI runtime checkpoint failed: ", "criu failed: type NOTIFY errno 0") as caught:
        fake_running.checkpoint(directory + "/image")
    with open(dump_log(caught[0])) as f:
        assert "this cannot be dumped" in f.read()
    assert "\n" not in caught[0].message
    assert fake_running.status == "running"
    fake_running.client.sync()
    assert "TaskCheckpointed" not in fake_running.event_names()
    fake.control.clear()
    fake_running.checkpoint(directory + "/image")


@pytest.mark.parametrize("fault, name", [(["hang"], "DeadlineExceeded"), (["crash"], "RuntimeFailed"),
                                         (["exit 1", "log empty"], "RuntimeFailed")])
def test_a_runtime_that_fails_to_checkpoint(make_daemon, bundle, directory, fault, name):
    d = make_daemon(runtime=t.FAKE_RUNTIME, config={"RuntimeTimeoutSec": "%dms" % (400 * t.SCALE)})
    c = d.connect().create("c1", bundle("sleep", "inf"))
    c.start()
    d.control.set("c1", "checkpoint", *fault)
    with refused(name):
        c.checkpoint(directory + "/image")
    assert c.status == "running"


@pytest.mark.parametrize("exit", [False, True])
def test_the_init_dies_during_a_checkpoint(fake, fake_running, directory, exit):
    c = fake_running
    fake.control.set("c1", "checkpoint", "sleep-after 0.3")
    pending = c.begin_checkpoint(directory + "/image", Exit=exit)
    t.wait_for(lambda: fake.control.invocations("checkpoint"), what="runc checkpoint")
    if not exit:
        time.sleep(0.1)
        os.kill(c.pid, 9)
    try:
        pending.result()
    except t.DBusError as e:
        assert e.name == t.ERROR + "RuntimeFailed", e
    assert c.wait()[0] == 137
    c.delete()
    c.client.sync()
    t.check_event_invariants(c.client.get_events()[1])


# Streams that CRIU cannot dump


@pytest.mark.parametrize("kind", ["fifo-in", "fifo-out", "file", "relay-fifo", "relay-file", "null"])
def test_which_streams_can_be_dumped(fake, bundle, fifo, directory, kind):
    """A FIFO or file of the host's, without Relay, is refused before the runtime is asked, and the words say what to do."""
    f = fifo("f")
    opts = {"fifo-in": {"Stdin": str(f)}, "fifo-out": {"Stdout": str(f)}, "file": {"Stderr": "file://%s/log" % directory},
            "relay-fifo": {"Stdin": str(f), "Stdout": str(fifo("g")), "Relay": True},
            "relay-file": {"Stdout": "file://%s/log" % directory, "Relay": True}, "null": {}}[kind]
    c = fake.connect().create("c1", bundle("sleep", "inf"), **opts)
    c.start()
    if kind in ("relay-fifo", "relay-file", "null"):
        c.checkpoint(directory + "/image")
    else:
        with refused("FailedPrecondition", "Relay"):
            c.checkpoint(directory + "/image")
        assert fake.control.invocations("checkpoint") == []
        assert c.status == "running"


def test_the_journal_cannot_be_dumped(make_daemon, bundle, directory):
    j = t.JournalSocket(directory + "/run")
    d = make_daemon(runtime=t.FAKE_RUNTIME, wrapper=j.wrapper())
    c = d.connect().create("c1", bundle("sleep", "inf"), Stdout="journal:")
    c.start()
    with refused("FailedPrecondition", "Relay"):
        c.checkpoint(directory + "/image")
    c.end()
    j.close()


# Restoring


@pytest.fixture
def image(directory):
    """What the fake runtime's checkpoint leaves."""
    path = directory + "/an-image"
    os.mkdir(path)
    with open(path + "/fake.img", "w") as f:
        f.write("c1\n")
    return path


def test_a_container_made_from_a_checkpoint(fake, bundle, image):
    """Nothing runs until Start, which restores it; the pid is known only then."""
    client = fake.connect()
    c = client.create("c1", bundle("sleep", "inf"), Checkpoint=image)
    assert c.pid == 0 and c.status == "created"
    assert fake.control.invocations() == []
    client.sync()
    assert [(e.name, e.data["checkpoint"], e.pid) for e in c.events()] == [("TaskCreate", image, 0)]
    assert client.list() == {("default", "c1"): ("created", 0, c.path)}
    pid = c.start()
    assert pid > 0 and c.get("Pid") == pid and c.status == "running"
    told = arguments(fake, "restore")
    assert told[-1] == "c1" and image in told and "--detach" in told
    client.sync()
    assert c.events()[-1].name == "TaskStart" and c.events()[-1].pid == pid
    assert client.manager("GetContainerByPID", "u", pid) == (c.path,)
    c.kill()
    assert c.wait()[0] == 137
    assert c.delete()[:2] == (pid, 137)
    client.sync()
    t.check_event_invariants(client.get_events()[1])


def test_what_can_be_done_to_it_before_it_is_started(fake, bundle, image):
    c = fake.connect().create("c1", bundle("sleep", "inf"), Checkpoint=image)
    for call, text in ((c.pause, "cannot pause task in created state"), (c.resume, "cannot resume task in created state"),
                       (lambda: c.checkpoint("/tmp/x"), "cannot checkpoint a task in created state"),
                       (lambda: c.exec("e1", "sleep", "inf"), "cannot exec in a created state")):
        with refused("FailedPrecondition", exactly=text):
            call()
    assert c.pids() == {}
    with refused("FailedPrecondition"):
        c.open_pidfd()
    pending = c.begin("Wait")
    c.delete()
    assert pending.result()[0] == 137
    assert not [r for r in fake.control.invocations() if r["verb"] == "restore"]
    c.client.sync()
    t.check_event_invariants(c.client.get_events()[1])


def test_a_restore_that_fails_can_be_repeated(fake, bundle, image):
    client = fake.connect()
    c = client.create("c1", bundle("sleep", "inf"), Checkpoint=image)
    fake.control.set("c1", "restore", "exit 1", "log criu failed: type RESTORE errno 2")
    for _ in range(2):
        with refused("RuntimeFailed", "OCI runtime restore failed: ", "criu failed: type RESTORE errno 2"):
            c.start()
        assert c.status == "created"
    fake.control.clear()
    c.start()
    client.sync()
    assert c.event_names() == ["TaskCreate", "TaskStart"]


def test_it_survives_a_restart_before_and_after_its_start(fake, bundle, image):
    fake.connect().create("c1", bundle("sleep", "inf"), Checkpoint=image)
    fake.restart("kill9")
    c = fake.connect().container("c1")
    assert c.status == "created" and c.get("Pid") == 0
    pid = c.start()
    fake.restart("kill9")
    c = fake.connect().container("c1")
    assert (c.status, c.get("Pid")) == ("running", pid)
    c.end()
    t.check_event_invariants(fake.clients[0].get_events()[1])


@pytest.mark.parametrize("path, names", [("relative", ["InvalidArgument"]), ("/no/such/image", ["NotFound", "InvalidArgument"]),
                                         ("/etc/passwd", ["InvalidArgument"])])
def test_a_checkpoint_that_is_none(fake, bundle, path, names):
    client = fake.connect()
    with pytest.raises(t.DBusError) as caught:
        client.create("c1", bundle("sleep", "inf"), Checkpoint=path)
    assert caught.value.name in [t.ERROR + n for n in names] and "Checkpoint" in caught.value.message, caught.value
    assert client.list() == {} and client.event_names() == []


def test_a_parent_checkpoint_is_not_supported(fake, bundle, image):
    """No runtime has ever restored that way."""
    client = fake.connect()
    for opts in ({"ParentCheckpoint": image}, {"Checkpoint": image, "ParentCheckpoint": image}):
        with refused("NotSupported", "ParentCheckpoint"):
            client.create("c1", bundle("sleep", "inf"), **opts)
    assert client.list() == {} and fake.control.invocations() == []


def test_the_work_directory_of_a_restore(fake, bundle, image, directory):
    c = fake.connect().create("c1", bundle("sleep", "inf"), Checkpoint=image, CriuWorkPath=directory + "/work")
    os.mkdir(directory + "/work")
    c.start()
    assert directory + "/work" in " ".join(arguments(fake, "restore"))
    with refused("InvalidArgument", "CriuWorkPath"):
        fake.clients[0].create("c2", bundle("sleep", "inf"), Checkpoint=image, CriuWorkPath="relative")


# With CRIU


@functools.lru_cache(None)
def criu_directory():
    """Where there is a criu that works here, or why there is none."""
    folder = os.environ.get("MONOSHIM_CRIU_DIR") or os.path.dirname(shutil.which("criu") or "")
    if not folder:
        return None, "there is no criu in $PATH, and MONOSHIM_CRIU_DIR is not set"
    p = subprocess.run([os.path.join(folder, "criu"), "check"], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    return (folder, None) if p.returncode == 0 else (None, "criu check: " + " ".join(p.stdout.split())[:200])


@pytest.fixture
def criu(make_daemon):
    folder, reason = criu_directory()
    if folder is None:
        pytest.skip(reason)
    return make_daemon(environment={"PATH": folder + ":" + os.environ["PATH"]})


COUNTER = ["sh", "-c", "i=0; while :; do i=$((i+1)); echo $i; sleep 0.02; done"]


def count_on(out, last):
    """Reads numbers that follow 'last', one by one; returns the newest."""
    for _ in range(5):
        n = int(out.read_line())
        assert n == last + 1, "%d after %d" % (n, last)
        last = n
    return last


def test_a_program_goes_on_where_it_was(criu, bundle, fifo, directory):
    """Checkpointed with Exit, deleted, restored, again and again: its output has neither a gap nor a repetition."""
    client = criu.connect()
    out, last, b = fifo("out").open_reader(), 0, bundle(*COUNTER)
    c = client.create("c1", b, Stdout=str(out), Relay=True)
    for i in range(20 if t.LARGE else 3):
        c.start()
        last = count_on(out, last)
        image = "%s/image%d" % (directory, i)
        c.checkpoint(image, Exit=True, timeout=60 * t.SCALE)
        assert os.listdir(image)
        assert c.wait()[0] == 137
        assert c.delete()[1] == 137
        rest = out.read_to_end()
        for line in rest.split():
            assert int(line) == last + 1
            last += 1
        out.close()
        out.open_reader()
        c = client.create("c1", b, Stdout=str(out), Relay=True, Checkpoint=image)
    c.start()
    count_on(out, last)
    c.end()
    client.sync()
    t.check_event_invariants(client.get_events()[1])


def test_a_checkpoint_that_leaves_it_running(criu, bundle, fifo, directory):
    client = criu.connect()
    out = fifo("out").open_reader()
    c = client.create("c1", bundle(*COUNTER), Stdout=str(out), Relay=True)
    c.start()
    last = count_on(out, 0)
    c.checkpoint(directory + "/image", timeout=60 * t.SCALE)
    assert c.status == "running"
    count_on(out, last)
    assert "TaskExit" not in c.event_names()


def test_a_paused_container_stays_paused_with_criu(criu, bundle, directory):
    c = criu.connect().create("c1", bundle(*COUNTER))
    c.start()
    c.pause()
    c.checkpoint(directory + "/image", timeout=60 * t.SCALE)
    assert c.status == "paused"
    c.resume()
    assert c.status == "running"


def test_a_terminal_is_restored(criu, bundle, fifo, directory):
    client = criu.connect()
    out, b = fifo("out").open_reader(), bundle(*COUNTER, terminal=True)
    c = client.create("c1", b, Terminal=True, Stdout=str(out))
    c.start()
    out.read_until(lambda d: b"3\r\n" in d)
    c.checkpoint(directory + "/image", Exit=True, Terminal=True, timeout=60 * t.SCALE)
    c.wait()
    c.delete()
    out.read_to_end()
    out.close()
    out.open_reader()
    c = client.create("c1", b, Terminal=True, Stdout=str(out), Checkpoint=directory + "/image", ConsoleSize=(91, 19))
    c.start()
    out.read_until(lambda d: d.count(b"\r\n") > 3)
    c.end()


def test_crius_own_complaint(criu, bundle, directory, fifo):
    """A process with something that CRIU will not dump: a TCP connection is refused without OpenTcp, a FIFO passed as a
    descriptor always."""
    client = criu.connect()
    out = fifo("out").open_reader()
    with open(str(out), "wb", buffering=0) as w:
        c = client.create("c1", bundle(*COUNTER), Stdout=w)
    c.start()
    out.read_line()
    try:
        c.checkpoint(directory + "/image", timeout=60 * t.SCALE)
    except t.DBusError as e:
        assert e.name in (t.ERROR + "RuntimeFailed", t.ERROR + "FailedPrecondition"), e
        if e.name == t.ERROR + "RuntimeFailed":
            assert os.path.getsize(dump_log(e)) > 0
    assert c.status == "running"
    out.read_line()
