# SPDX-License-Identifier: LGPL-2.1-or-later
"""What survives a crash of the daemon where a service manager keeps its descriptors: terminals, holds, relays, loggers,
and the exit codes of those that end while nobody looks."""

import hashlib
import os
import select
import signal
import socket
import stat
import threading
import time

import pytest

import monoshim_testing as t

TRAP = 'trap "exit 42" TERM; echo ready; while :; do sleep 1000 & wait $!; done'


@pytest.fixture
def daemon(make_daemon):
    return make_daemon(keeps=True)


def crash(daemon, meanwhile=lambda: None):
    """kill -9, and another one; returns a client of it."""
    daemon.kill9()
    meanwhile()
    daemon.start()
    return daemon.connect()


def is_gone(pid):
    return t.read_stat(pid) is None


def names(client):
    return [e.name for e in client.get_events()[1]]


# Exits


@pytest.mark.parametrize("times", [1, 3])
def test_an_exit_while_nobody_looks_has_its_real_code(daemon, client, bundle, fifo, times):
    out = fifo("out").open_reader()
    c = client.create("c1", bundle("sh", "-c", TRAP), Stdout=str(out))
    c.start()
    assert out.read_line() == b"ready\n"
    pid = c.pid

    def end():
        os.kill(pid, signal.SIGTERM)
        t.wait_for(lambda: is_gone(pid), what="the end of the container")

    for _ in range(times - 1):
        client = crash(daemon)
    client = crash(daemon, end)
    c = client.container("c1")
    assert c.wait()[0] == 42
    assert c.get("Status") == "stopped" and c.get("ExitStatus") == 42
    assert [e.name for e in client.get_events()[1]] == ["TaskCreate", "TaskStart", "TaskExit"]
    assert client.get_events()[1][-1].data["exit_status"] == 42
    assert c.delete()[1] == 42


def test_an_exec_that_ends_while_nobody_looks_has_its_real_code(daemon, client, bundle, fifo):
    out = fifo("out").open_reader()
    c = client.create("c1", bundle("sleep", "1000"))
    c.start()
    e = c.run("e1", "sh", "-c", TRAP, Stdout=str(out))
    assert out.read_line() == b"ready\n"
    pid = e.get("Pid")

    def end():
        os.kill(pid, signal.SIGTERM)
        t.wait_for(lambda: is_gone(pid), what="the end of the exec")

    client = crash(daemon, end)
    e = client.container("c1").known_exec("e1")
    assert e.wait()[0] == 42
    e.delete()
    assert client.container("c1").get("Status") == "running"


def test_a_whole_container_ends_while_nobody_looks(daemon, client, bundle):
    """The exec first, with the signal that came with the init's end."""
    c = client.create("c1", bundle("sleep", "1000"))
    c.start()
    e = c.run("e1", "sleep", "1000")
    pids = [c.pid, e.get("Pid")]

    def end():
        os.kill(pids[0], signal.SIGKILL)
        t.wait_for(lambda: all(is_gone(p) for p in pids), what="the end of both")

    client = crash(daemon, end)
    c = client.container("c1")
    assert c.wait()[0] == 137
    t.wait_for(lambda: names(client).count("TaskExit") == 2, what="both exits")
    exits = [(x.data["id"], x.data["exit_status"]) for x in client.get_events()[1] if x.name == "TaskExit"]
    assert exits == [("e1", 137), ("c1", 137)]


def test_an_exit_that_was_reaped_and_not_written_is_not_lost(daemon, client, bundle, fifo):
    """At the same moment as the daemon, 20 times: whoever of the two sees it."""
    for i in range(20):
        out, inp = fifo("out%d" % i).open_reader(), fifo("in%d" % i)
        c = client.create("c1", bundle("sh", "-c", "echo x; read x; exit %d" % (50 + i)), Stdout=str(out), Stdin=str(inp))
        c.start()
        out.read_line()
        inp.open_writer()
        os.write(inp.fd, b"go\n")
        time.sleep(0.0002 * i)
        client = crash(daemon)
        c = client.container("c1")
        assert c.wait()[0] == 50 + i
        c.delete()


def test_an_orderly_restart_keeps_as_much(daemon, client, bundle, fifo):
    """As "systemctl restart": whoever ends meanwhile has its real code, and the terminal goes on."""
    out, inp = fifo("out").open_reader(), fifo("in")
    c = client.create("c1", bundle("cat", terminal=True), Terminal=True, Stdin=str(inp), Stdout=str(out))
    c.start()
    ready = fifo("ready").open_reader()
    d = client.create("c2", bundle("sh", "-c", TRAP), Stdout=str(ready))
    d.start()
    assert ready.read_line() == b"ready\n"
    inp.open_writer()
    pid = d.pid
    daemon.stop()
    os.kill(pid, signal.SIGTERM)
    t.wait_for(lambda: is_gone(pid), what="the end of the container")
    daemon.start()
    client = daemon.connect()
    assert client.container("c2").wait()[0] == 42
    assert client.container("c2").get("Status") == "stopped"
    os.write(inp.fd, b"hello\n")
    assert out.read_line() == b"hello\r\n"


# Terminals


@pytest.mark.parametrize("kind", ["init", "exec"])
def test_a_terminal_with_fifos_goes_on(daemon, client, bundle, fifo, kind):
    out, inp = fifo("out").open_reader(), fifo("in")
    if kind == "init":
        p = c = client.create("c1", bundle("cat", terminal=True), Terminal=True, Stdin=str(inp), Stdout=str(out))
        c.start()
    else:
        c = client.create("c1", bundle("sleep", "1000"))
        c.start()
        p = c.run("e1", "cat", Terminal=True, Stdin=str(inp), Stdout=str(out))
    inp.open_writer()
    for i in range(4):
        os.write(inp.fd, b"line %d\n" % i)
        assert out.read_line() == b"line %d\r\n" % i and out.read_line() == b"line %d\r\n" % i
        client = crash(daemon)
        p = client.container("c1") if kind == "init" else client.container("c1").known_exec("e1")
    p.resize(90, 24)
    assert p.open_terminal().fd >= 0
    inp.close()
    p.close_io()
    assert p.wait()[0] == 0
    assert out.read_to_end() == b""


def test_a_terminal_that_a_client_has_goes_on(daemon, client, bundle):
    c = client.create("c1", bundle("cat", terminal=True), Terminal=True)
    c.start()
    client = crash(daemon)
    c = client.container("c1")
    master = c.open_terminal()
    os.write(master.fileno(), b"hello\n")
    assert master.read_line() == b"hello\r\n"
    c.resize(33, 44)
    master.close()


def test_a_stalled_terminal_loses_nothing(daemon, client, bundle, fifo):
    """The container writes far more than anybody has read when the daemon is killed."""
    out = fifo("out").open_reader()
    script = "stty -opost; i=0; while [ $i -lt 20000 ]; do echo $i; i=$((i+1)); done; sleep 1000"
    c = client.create("c1", bundle("sh", "-c", script, terminal=True), Terminal=True, Stdout=str(out))
    c.start()
    read = [out.read_line() for _ in range(10)]
    time.sleep(0.5)  # until all is stuck
    crash(daemon)
    read += [out.read_line() for _ in range(20000 - 10)]
    assert read == [b"%d\n" % i for i in range(20000)]


def test_an_orderly_restart_keeps_what_is_stuck(daemon, client, bundle, fifo):
    """Bytes that were read from a terminal's stdin, and that it does not take yet."""
    inp, out = fifo("in"), fifo("out").open_reader()
    c = client.create("c1", bundle("sh", "-c", "stty raw -echo; echo ready; sleep 2; head -c 60000 | sha256sum", terminal=True),
                      Terminal=True, Stdin=str(inp), Stdout=str(out))
    c.start()
    assert out.read_line().rstrip() == b"ready"
    inp.open_writer()
    data = os.urandom(60000)
    threading.Thread(target=os.write, args=(inp.fd, data)).start()
    time.sleep(0.3)
    daemon.restart()
    assert out.read_line().split()[0] == hashlib.sha256(data).hexdigest().encode()
    daemon.connect().container("c1").wait()


# Streams


def test_nobody_reads_end_of_file_because_the_daemon_was_away(daemon, client, bundle, fifo):
    """stdin has no writer but the daemon's hold."""
    out, inp = fifo("out").open_reader(), fifo("in")
    c = client.create("c1", bundle("cat"), Stdin=str(inp), Stdout=str(out))
    c.start()
    for i in range(3):
        client = crash(daemon, lambda: time.sleep(0.1))
    c = client.container("c1")
    assert c.get("Status") == "running"
    inp.open_writer()
    os.write(inp.fd, b"still here\n")
    assert out.read_line() == b"still here\n"
    inp.close()
    time.sleep(0.05)
    assert c.get("Status") == "running"
    c.close_io()
    assert c.wait()[0] == 0


def test_a_stdin_whose_fifo_was_removed_is_held(daemon, client, bundle, fifo):
    inp = fifo("in")
    c = client.create("c1", bundle("cat"), Stdin=str(inp))
    c.start()
    os.unlink(str(inp))
    client = crash(daemon)
    c = client.container("c1")
    time.sleep(0.05)
    assert c.get("Status") == "running"
    c.close_io()
    assert c.wait()[0] == 0


def test_closed_stdin_stays_closed(daemon, client, bundle, fifo):
    """What is forgotten in the store is closed there, too."""
    out, inp = fifo("out").open_reader(), fifo("in")
    c = client.create("c1", bundle("cat"), Stdin=str(inp), Stdout=str(out))
    c.start()
    inp.open_writer()
    c.close_io()
    client = crash(daemon)
    inp.close()
    assert client.container("c1").wait()[0] == 0


def test_what_nobody_has_read_is_still_there(daemon, client, bundle, fifo):
    """The container has ended, its exit was told, and the daemon is killed before anybody reads."""
    out, err = fifo("out"), fifo("err")
    c = client.create("c1", bundle("sh", "-c", "echo one; echo two >&2; exit 3"), Stdout=str(out), Stderr=str(err))
    c.start()
    assert c.wait()[0] == 3
    crash(daemon)
    crash(daemon)
    out.open_reader()
    assert out.read_to_end() == b"one\n"
    err.open_reader()
    assert err.read_to_end() == b"two\n"


def test_what_was_written_and_ended_while_nobody_looked_is_there(daemon, client, bundle, fifo):
    out, inp = fifo("out"), fifo("in")
    c = client.create("c1", bundle("sh", "-c", "read x; echo last words; exit 7"), Stdin=str(inp), Stdout=str(out))
    c.start()
    pid = c.pid

    def end():
        inp.open_writer()
        os.write(inp.fd, b"go\n")
        t.wait_for(lambda: is_gone(pid), what="the end of the container")

    client = crash(daemon, end)
    assert client.container("c1").wait()[0] == 7
    out.open_reader()
    assert out.read_to_end() == b"last words\n"


def test_a_relay_goes_on(daemon, client, bundle, fifo):
    out, inp = fifo("out").open_reader(), fifo("in")
    c = client.create("c1", bundle("cat"), Stdin=str(inp), Stdout=str(out), Relay=True)
    c.start()
    inp.open_writer()
    for i in range(3):
        os.write(inp.fd, b"%d\n" % i)
        assert out.read_line() == b"%d\n" % i
        client = crash(daemon)
    c = client.container("c1")
    inp.close()
    c.close_io()
    assert c.wait()[0] == 0
    assert out.read_to_end() == b""


def test_a_logger_goes_on(daemon, client, bundle, fifo, directory):
    logger, log = os.path.join(directory, "logger"), os.path.join(directory, "log")
    with open(logger, "w") as f:
        f.write("#!/bin/sh\nexec 5>&-\nexec cat <&3 >%s\n" % log)
    os.chmod(logger, 0o755)
    inp = fifo("in")
    c = client.create("c1", bundle("cat"), Stdin=str(inp), Stdout="binary://" + logger)
    c.start()
    inp.open_writer()
    os.write(inp.fd, b"before\n")
    client = crash(daemon)
    os.write(inp.fd, b"after\n")
    c = client.container("c1")
    inp.close()
    c.close_io()
    assert c.wait()[0] == 0
    t.wait_for(lambda: open(log).read() == "before\nafter\n", what="the log")


def test_a_logger_that_dies_while_nobody_looks_does_not_kill_the_container(daemon, client, bundle, fifo, directory):
    logger, pids = os.path.join(directory, "logger"), os.path.join(directory, "pid")
    with open(logger, "w") as f:
        f.write("#!/bin/sh\necho $$ > %s\nexec 5>&-\nexec cat <&3 >/dev/null\n" % pids)
    os.chmod(logger, 0o755)
    c = client.create("c1", bundle("sh", "-c", "while :; do echo 0123456789; done"), Stdout="binary://" + logger)
    c.start()
    client = crash(daemon, lambda: os.kill(int(open(pids).read()), signal.SIGKILL))
    time.sleep(0.2)
    assert client.container("c1").get("Status") == "running"


def test_a_descriptor_given_to_an_exec_waits_for_its_start(daemon, client, bundle):
    c = client.create("c1", bundle("sleep", "1000"))
    c.start()
    r, w = os.pipe()
    c.exec("e1", "echo", "by descriptor", Stdout=t.FileDescriptor(w))
    client = crash(daemon)
    e = client.container("c1").known_exec("e1")
    e.start()
    assert e.wait()[0] == 0
    assert t.Reader(r).read_line() == b"by descriptor\n"


# The store itself


def test_the_service_manager_keeps_few_descriptors(make_daemon, bundle):
    """Two for some hundred containers, and what has gone is not kept open by anybody."""
    daemon = make_daemon(keeps=True, runtime=t.FAKE_RUNTIME)
    client = daemon.connect()
    containers = []
    for i in range(60):
        c = client.create("c%d" % i, bundle("sleep", "1000"))
        c.start()
        containers.append(c)
    assert len(daemon.manager.store) == 2
    client = crash(daemon)
    assert len(daemon.manager.store) == 2
    assert len(client.list()) == 60
    for i in range(60):
        client.container("c%d" % i).end()
    assert len(daemon.manager.store) == 2


def test_other_descriptors_are_closed(make_daemon, directory):
    r, w = os.pipe()
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as s:
        daemon = make_daemon(keeps=True, start=False)
        daemon.manager.store = [("odd", os.dup(w)), ("bag-1-in", os.dup(r)), ("bag-1-out", os.dup(s.fileno())),
                                ("bag-77-in", os.dup(r))]
        os.close(w)
        daemon.start()
        assert "odd" in daemon.log_text()
        daemon.manager.forget()
        daemon.connect().sync()
    # "odd" was the last one that could have written.
    assert select.select([r], [], [], t.TIMEOUT)[0] and os.read(r, 1) == b""
    os.close(r)


# Activation


@pytest.fixture
def listener(directory):
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as s:
        s.bind(os.path.join(directory, "activated"))
        os.chmod(os.path.join(directory, "activated"), 0o600)
        s.listen(64)
        yield s


def test_the_socket_of_the_service_manager_is_used(make_daemon, listener):
    daemon = make_daemon(sockets=[("bus", listener)])
    path = listener.getsockname()
    assert not os.path.exists(daemon.socket)
    client = t.Client(path)
    assert client.list() == {}
    client.close()
    daemon.stop()
    assert stat.S_ISSOCK(os.stat(path).st_mode)
    daemon.socket = path
    daemon.start()


def test_without_anything_to_do_it_ends(make_daemon, listener, bundle):
    daemon = make_daemon(sockets=[("bus", listener)], config={"IdleTimeoutSec": "300ms"})
    daemon.socket = listener.getsockname()
    client = daemon.connect()
    time.sleep(0.8)
    client.sync()  # a client is something to do
    c = client.create("c1", bundle("sleep", "1000"))
    c.start()
    daemon.disconnect()
    time.sleep(0.8)
    client = daemon.connect()
    client.container("c1").end()
    began = time.monotonic()
    daemon.disconnect()
    assert daemon.wait() == 0
    assert 0.25 < time.monotonic() - began < 5 * t.SCALE
    assert "STOPPING=1" in daemon.notifications
    # The next client waits in the socket's queue, as it would until systemd has started the daemon.
    daemon.start()


def test_only_who_was_activated_means_to_end(make_daemon, listener):
    """By default the one in a minute, as the next call starts it again, and the other never: it waits for nothing."""
    activated = make_daemon(sockets=[("bus", listener)])
    activated.socket = listener.getsockname()
    t.wait_for(lambda: any(30 < s <= 60 for s in t.armed_timers(activated.pid)), what="the minute to begin")
    daemon = make_daemon()
    daemon.connect().sync()
    daemon.disconnect()
    t.wait_for(lambda: daemon.fds() == daemon.base_fds, what="the client to go")
    t.wait_for(lambda: not t.armed_timers(daemon.pid), what="all timers to end")


def test_idle_on_the_message_bus(message_bus, make_daemon):
    daemon = make_daemon(bus=message_bus.address, config={"IdleTimeoutSec": "300ms"})
    client = message_bus.connect()
    for _ in range(8):
        time.sleep(0.1)
        client.list()
    assert daemon.wait() == 0


# The manager is told


def test_the_status_says_how_many(daemon, client, bundle):
    c = client.create("c1", bundle("sleep", "1000"))
    assert daemon.manager.wait_for("STATUS=Watching over 1 container.", 5 * t.SCALE)
    c.end()
    assert daemon.manager.wait_for("STATUS=Watching over 0 containers.", 5 * t.SCALE)


def test_a_manager_that_does_not_read_holds_up_nobody(make_daemon, directory, bundle):
    """Its socket's queue is full, from the start on."""
    path = os.path.join(directory, "deaf")
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as s:
        s.bind(path)
        t.fill_datagram_queue(s)
        daemon = make_daemon(environment={"NOTIFY_SOCKET": path}, start=False)
        daemon.start(wait=False)
        t.wait_for(lambda: os.path.exists(daemon.socket), what="the socket")
        client = daemon.connect()
        client.sync()
        daemon.base_fds = daemon.fds()
        daemon.base_fds.remove("socket:[N]")  # the client's
        for i in range(20):
            c = client.create("c1", bundle("true"))
            c.start()
            c.wait()
            c.delete()


def test_the_watchdog_is_answered(make_daemon):
    daemon = make_daemon(environment={"WATCHDOG_USEC": "300000"})
    assert daemon.manager.wait_for("WATCHDOG=1", 5 * t.SCALE)
