# SPDX-License-Identifier: LGPL-2.1-or-later
"""The daemon executes a newer version of itself in place, and nobody notices."""

import hashlib
import os
import resource
import signal
import threading
import time

import pytest

import monoshim_testing as t
from monoshim_testing import executions, reload


@pytest.fixture(params=["kept", "not-kept"])
def daemon(request, make_daemon, binary):
    """With and without a service manager that keeps descriptors: it has to make no difference here."""
    return make_daemon(program=binary.path, keeps=request.param == "kept")


def replace(daemon, binary):
    """To another inode with the same contents."""
    before = executions(daemon)
    binary.replace()
    reload(daemon)
    assert executions(daemon) == before + 1, daemon.log_tail()


def test_without_a_new_binary_it_stays(daemon, client):
    reload(daemon)
    assert executions(daemon) == 0
    client.sync()


def test_a_client_notices_nothing(daemon, client, binary, bundle):
    """T-REEXEC"""
    c = client.create("c1", bundle("sleep", "1000"), Labels={"a": "b"})
    c.start()
    for _ in range(3):
        replace(daemon, binary)
        assert c.get("Status") == "running" and c.get("Labels", t.CONTAINER) == {"a": "b"}
        c.run("e%d" % executions(daemon), "true").wait()
    c.kill()
    assert c.wait()[0] == 137
    c.delete()
    assert client.event_names("c1")[-2:] == ["TaskExit", "TaskDelete"]


def test_its_containers_stay_its_children(daemon, client, binary, bundle):
    """So their exits are seen as before, also on a kernel that tells nobody else."""
    c = client.create("c1", bundle("sh", "-c", 'trap "exit 42" TERM; while :; do sleep 0.05; done'))
    c.start()
    e = c.run("e1", "sleep", "1000")
    replace(daemon, binary)
    assert sorted(daemon.children()) == sorted([c.get("Pid"), e.get("Pid")])
    e.kill()
    assert e.wait()[0] == 137
    time.sleep(0.3)
    c.kill(signal.SIGTERM)
    assert c.wait()[0] == 42
    assert "is unknown" not in daemon.log_text()


def test_waits_go_on(daemon, client, binary, bundle):
    c = client.create("c1", bundle("sleep", "1000"))
    c.start()
    others = [daemon.connect() for _ in range(3)]
    waits = [x.container("c1").begin("Wait") for x in others for _ in range(2)]
    replace(daemon, binary)
    replace(daemon, binary)
    c.kill()
    for w in waits:
        assert w.result(10 * t.SCALE)[0] == 137


def test_terminals_and_streams_go_on(daemon, client, binary, bundle, fifo):
    out, inp = fifo("out").open_reader(), fifo("in")
    c = client.create("c1", bundle("cat", terminal=True), Terminal=True, Stdin=str(inp), Stdout=str(out))
    c.start()
    relayed = fifo("relayed").open_reader()
    script = "i=0; while [ $i -lt 3000 ]; do echo $i; i=$((i+1)); done"
    d = client.create("c2", bundle("sh", "-c", script), Stdout=str(relayed), Relay=True)
    d.start()
    inp.open_writer()
    for i in range(3):
        os.write(inp.fd, b"line %d\n" % i)
        assert out.read_line() == b"line %d\r\n" % i and out.read_line() == b"line %d\r\n" % i
        replace(daemon, binary)
    assert relayed.read_to_end() == b"".join(b"%d\n" % i for i in range(3000))
    inp.close()
    c.close_io()
    assert c.wait()[0] == 0


def test_what_is_stuck_is_not_lost(daemon, client, binary, bundle, fifo):
    """Bytes that were read from a terminal's FIFO and that the terminal does not take yet."""
    inp, out = fifo("in"), fifo("out").open_reader()
    c = client.create("c1", bundle("sh", "-c", "stty raw -echo; echo ready; sleep 1; head -c 60000 | sha256sum", terminal=True),
                      Terminal=True, Stdin=str(inp), Stdout=str(out))
    c.start()
    assert out.read_line().rstrip() == b"ready"
    inp.open_writer()
    data = os.urandom(60000).replace(b"\0", b"x")
    threading.Thread(target=os.write, args=(inp.fd, data)).start()
    time.sleep(0.3)
    replace(daemon, binary)
    assert out.read_line().split()[0] == hashlib.sha256(data).hexdigest().encode()
    c.wait()


def test_the_limit_of_open_files_stays(make_daemon, binary, bundle, fifo):
    """The daemon's own is raised, that of what it starts is not."""
    daemon = make_daemon(program=binary.path, runtime=t.FAKE_RUNTIME, wrapper=["sh", "-c", 'ulimit -Sn 500; exec "$@"', "sh"])
    client = daemon.connect()
    most = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    for number in range(3):
        assert resource.prlimit(daemon.pid, resource.RLIMIT_NOFILE) == (most, most) and most > 500
        out = fifo("out%d" % number).open_reader()
        c = client.create("c%d" % number, bundle("run", "sh", "-c", "ulimit -n"), Stdout=str(out))
        c.start()
        assert out.read_to_end() == b"500\n"
        c.wait()
        replace(daemon, binary)


def test_no_descriptor_is_lost_or_left(daemon, client, binary, bundle):
    c = client.create("c1", bundle("sleep", "1000"))
    c.start()
    replace(daemon, binary)
    client.sync()
    before = daemon.fds()
    for _ in range(5):
        replace(daemon, binary)
    client.sync()
    assert daemon.fds() == before
    c.end()


@pytest.mark.parametrize("text", ["#!/bin/sh\nexit 1\n", "#!/nonexistent\n", "garbage", "#!/bin/sh\nsleep 60\n"],
                         ids=["fails", "no-interpreter", "no-program", "hangs"])
def test_a_binary_that_does_not_run_is_not_executed(daemon, client, binary, text):
    if "sleep" in text and t.SCALE > 1:
        pytest.skip("it takes the ten seconds that a version may take")
    binary.replace(text=text)
    t.begin_reload(daemon)
    assert daemon.manager.wait_for("READY=1", 20 * t.SCALE)
    assert executions(daemon) == 0 and "Not executing" in daemon.log_text()
    client.sync()
    replace(daemon, binary)


def test_with_a_bad_configuration_no_program_is_executed(daemon, client, binary, bundle):
    """It would not come up."""
    with open(daemon.config) as f:
        good = f.read()
    c = client.create("c1", bundle("sleep", "1000"))
    c.start()
    with open(daemon.config, "w") as f:
        f.write("[Manager]\nRuntimeTimeoutSec=soon\n")
    binary.replace()
    reload(daemon)
    assert executions(daemon) == 0 and "The configuration was not changed" in daemon.log_text()
    assert c.get("Status") == "running"
    with open(daemon.config, "w") as f:
        f.write(good)
    reload(daemon)
    assert executions(daemon) == 1
    c.end()


def given_a_create_that_hangs(make_daemon, binary, bundle, seconds):
    """For so long; its daemon, a client, and the call."""
    daemon = make_daemon(program=binary.path, runtime=t.FAKE_RUNTIME, config={"RuntimeTimeoutSec": "%ds" % seconds})
    client = daemon.connect()
    daemon.control.set("c1", "create", "hang")
    hanging = client.begin_create("c1", bundle("sleep", "1000"))
    t.wait_for(lambda: daemon.control.invocations("create"), what="the runtime")
    return daemon, client, hanging


def test_a_runtime_that_hangs_puts_it_off(make_daemon, binary, bundle):
    """Calls are held for a moment only, and it happens in the end."""
    daemon, client, hanging = given_a_create_that_hangs(make_daemon, binary, bundle, 6)
    binary.replace()
    t.begin_reload(daemon)
    time.sleep(0.5)
    daemon.control.clear()
    began = time.monotonic()
    daemon.connect().list()
    assert time.monotonic() - began < 3 * t.SCALE
    with t.refused("DeadlineExceeded"):
        hanging.result(20 * t.SCALE)
    assert daemon.manager.wait_for("READY=1", t.SCALE)
    t.wait_for(lambda: executions(daemon) == 1, timeout=20 * t.SCALE, what="the execution")
    client.sync()


def test_what_was_put_off_is_tried_at_once_when_asked_again(make_daemon, binary, bundle):
    """Whoever asks is waiting for an answer, and not for the next try."""
    daemon, client, hanging = given_a_create_that_hangs(make_daemon, binary, bundle, 3)
    binary.replace()
    t.begin_reload(daemon)
    with t.refused("DeadlineExceeded"):
        hanging.result(20 * t.SCALE)
    assert daemon.manager.wait_for("READY=1", 10 * t.SCALE)
    if executions(daemon) == 0:  # else the runtime ended just in time
        assert "trying again in" in daemon.log_text()
        began = time.monotonic()
        reload(daemon)
        assert executions(daemon) == 1 and time.monotonic() - began < 3 * t.SCALE
    client.sync()


def test_one_that_is_put_off_and_not_there_any_more_keeps_nobody_waiting(make_daemon, binary, bundle):
    daemon, client, hanging = given_a_create_that_hangs(make_daemon, binary, bundle, 3)
    os.link(binary.path, binary.path + ".old")
    binary.replace()
    t.begin_reload(daemon)
    with t.refused("DeadlineExceeded"):
        hanging.result(20 * t.SCALE)
    if executions(daemon) == 0:
        os.rename(binary.path + ".old", binary.path)
        reload(daemon)
        time.sleep(6)
        assert executions(daemon) == 0
    client.sync()


VANISHES = """#!/bin/sh
rm "$0"
"""


def test_after_a_failure_nothing_is_written_twice(make_daemon, binary, bundle, fifo):
    """What was under way was put aside for the next version, which did not come; and then there is a crash."""
    daemon = make_daemon(program=binary.path, keeps=True)
    client = daemon.connect()
    inp, out = fifo("in"), fifo("out").open_reader()
    script = "stty raw -echo; echo ready; sleep 2; head -c 60000 >/dev/null; echo done; exec cat"
    c = client.create("c1", bundle("sh", "-c", script, terminal=True), Terminal=True, Stdin=str(inp), Stdout=str(out))
    c.start()
    assert out.read_line().rstrip() == b"ready"
    inp.open_writer()
    threading.Thread(target=os.write, args=(inp.fd, b"x" * 60000)).start()
    time.sleep(0.3)
    binary.replace(text=VANISHES)
    reload(daemon)
    assert executions(daemon) == 1 and "going on as before" in daemon.log_text()
    assert out.read_line().rstrip() == b"done"
    binary.replace()
    daemon.kill9()
    daemon.start()
    os.write(inp.fd, b"the end\n")
    assert out.read_line().rstrip() == b"the end"
    c = daemon.connect().container("c1")
    c.kill()
    c.wait()


LOSES_ALL = """#!/bin/sh
[ "$1" = --version ] && exit
: >"/proc/self/fd/$MONOSHIMD_HANDOFF"
exec %s "$@"
"""


def test_what_cannot_be_read_keeps_no_client_waiting(daemon, client, binary, bundle):
    """Connections of which the next version knows nothing are closed, and not just nobody's."""
    c = client.create("c1", bundle("sleep", "1000"))
    c.start()
    wait = c.begin("Wait")
    binary.replace(text=LOSES_ALL % t.MONOSHIMD)
    reload(daemon)
    assert "Failed to read what the former version has handed over" in daemon.log_text()
    with pytest.raises((ConnectionError, EOFError)):
        wait.result(5 * t.SCALE)
    other = daemon.connect()
    assert other.container("c1").get("Status") == "running"
    other.container("c1").end()


def test_under_load_no_call_fails_and_no_event_is_lost(make_daemon, binary, bundle, message_bus):
    """Lives and execs without end on the bus and on the socket, and a reload now and then; a subscriber sees it all."""
    daemon = make_daemon(program=binary.path, bus=message_bus.address, keeps=True)
    rounds = 40 if t.LARGE else 6
    stop, failures, counts = threading.Event(), [], []

    def live(i):
        client = message_bus.connect() if i % 2 else daemon.connect()
        n = 0
        try:
            base = client.create("base%d" % i, bundle("sleep", "1000"))
            base.start()
            while not stop.is_set():
                c = client.create("c%d-%d" % (i, n), bundle("sh", "-c", "exit %d" % (n % 100)))
                w = c.begin("Wait")
                c.start()
                assert w.result(60 * t.SCALE)[0] == n % 100
                c.delete()
                e = base.run("e%d" % n, "sh", "-c", "exit %d" % (n % 50))
                assert e.wait(60 * t.SCALE)[0] == n % 50
                e.delete()
                n += 1
            base.end()
        except Exception as error:
            failures.append((i, n, repr(error)))
        counts.append(n)

    watcher = daemon.connect()
    subscription = watcher.subscribe()
    threads = [threading.Thread(target=live, args=(i,)) for i in range(4)]
    for thread in threads:
        thread.start()
    for _ in range(rounds):
        time.sleep(0.5)
        replace(daemon, binary)
    stop.set()
    for thread in threads:
        thread.join()
    assert not failures, (failures, daemon.log_tail())
    last = watcher.get_events()[1][-1].sequence
    seen = []
    while not seen or seen[-1] < last:
        record = subscription.record(10 * t.SCALE)
        assert "gap" not in record
        seen.append(record["sequence"])
    assert seen == list(range(1, last + 1))
    print("%d re-executions, %d lives and execs, %d events" % (rounds, sum(counts), len(seen)))


OTHER_KIND = """#!/usr/bin/python3
import json, os, sys
if sys.argv[1:] != ["--version"]:
    fd = int(os.environ["MONOSHIMD_HANDOFF"])
    handoff = json.loads(os.pread(fd, 1 << 24, 0))
    handoff%s["version"] += 1
    os.ftruncate(fd, 0)
    os.pwrite(fd, json.dumps(handoff).encode(), 0)
    os.lseek(fd, 0, 0)
os.execv("%s", sys.argv)
"""


@pytest.mark.parametrize("part", ["", '["front"]'], ids=["all", "front"])
def test_who_cannot_be_kept_is_told(daemon, client, binary, bundle, part):
    """By a version that does not understand what the one before it has written: connections are closed, for their clients
    would wait without end, and new ones can be made."""
    c = client.create("c1", bundle("sleep", "1000"))
    c.start()
    pending, pipe = c.begin("Wait"), client.subscribe()
    client.sync()
    binary.replace(text=OTHER_KIND % (part, t.MONOSHIMD))
    reload(daemon)
    with pytest.raises((ConnectionError, EOFError)):
        pending.result()
    other = daemon.connect()
    assert other.list()[("default", "c1")][0] == "running"
    if not part:
        pipe.read_to_end()
    c.on(other).kill()
    assert c.on(other).wait()[0] == 137
    c.on(other).delete()


def test_who_waits_goes_on_though_fewer_may_wait_now(daemon, client, binary, bundle):
    c = client.create("c1", bundle("sleep", "1000"))
    c.start()
    waits = [c.begin("Wait") for _ in range(5)]
    client.sync()
    daemon.configure(MaxCallsPerClient=2, MaxWaitersPerProcess=3)
    replace(daemon, binary)
    with t.refused("ResourceExhausted", "MaxCallsPerClient=2"):
        c.process("Wait")
    with t.refused("ResourceExhausted", "MaxWaitersPerProcess=3"):
        c.on(daemon.connect()).process("Wait")
    daemon.configure()
    client.manager("Reload")
    c.kill()
    assert [w.result()[0] for w in waits] == [137] * 5
