# SPDX-License-Identifier: LGPL-2.1-or-later
"""Pseudo-terminals: taken by the client, or copied to and from FIFOs; of the init and of exec'd processes alike."""

import fcntl
import hashlib
import os
import signal
import struct
import termios
import threading
import time

import pytest

import monoshim_testing as t
from monoshim_testing import refused


@pytest.fixture(params=["init", "exec"])
def make(request, client, bundle):
    """make(args..., options) creates a process with a terminal: an init, or an exec in a container without one."""
    count = [0]

    def make(*args, **opts):
        count[0] += 1
        if request.param == "init":
            return client.create("t%d" % count[0], bundle(*args, terminal=True), Terminal=True, **opts)
        if count[0] == 1:
            make.container = client.create("c1", bundle("sleep", "1000"))
            make.container.start()
        return make.container.exec("t%d" % count[0], *args, Terminal=True, **opts)

    make.kind = request.param
    return make


@pytest.fixture
def init(client, bundle):
    """init(args..., options) creates a container with a terminal."""
    count = [0]

    def make(*args, **opts):
        count[0] += 1
        return client.create("t%d" % count[0], bundle(*args, terminal=True), Terminal=True, **opts)

    return make


def window_size(fd):
    """(columns, rows)"""
    rows, columns, _, _ = struct.unpack("HHHH", fcntl.ioctl(fd, termios.TIOCGWINSZ, b"\0" * 8))
    return columns, rows


# The size


def test_the_size_is_in_force_before_the_program_runs(make, fifo):
    """Its very first command already sees it; 20 times, since it is a race when it is wrong."""
    for i in range(20):
        out = fifo("out%d" % i).open_reader()
        p = make("stty", "size", Stdout=str(out), ConsoleSize=(100 + i, 30 + i))
        p.start()
        assert out.read_to_end() == b"%d %d\r\n" % (30 + i, 100 + i)
        assert p.wait()[0] == 0


def test_resize_before_start_holds_from_the_first_moment(make, fifo):
    """Also after a ConsoleSize, and the last one counts."""
    for number, opts in enumerate(({}, {"ConsoleSize": (80, 25)})):
        out = fifo("out%d" % number).open_reader()
        p = make("stty", "size", Stdout=str(out), **opts)
        p.resize(1, 1)
        p.resize(12, 34)
        p.start()
        assert out.read_to_end() == b"34 12\r\n"
        p.wait()


def test_resize_of_a_running_process(make, fifo):
    """It is told by SIGWINCH."""
    out = fifo("out").open_reader()
    p = make("sh", "-c", "trap 'stty size' WINCH; echo up; while :; do sleep 0.05; done", Stdout=str(out))
    p.start()
    assert out.read_line() == b"up\r\n"
    p.resize(132, 43)
    assert out.read_line() == b"43 132\r\n"
    p.resize(1000, 2000)
    assert out.read_line() == b"2000 1000\r\n"
    p.kill()
    p.wait()


def test_resize_when_it_has_ended(make):
    """An init: no error, since nothing is asked of it any more; an exec'd process: refused."""
    p = make("true")
    p.start()
    p.wait()
    if make.kind == "init":
        try:
            p.resize(80, 25)
        except t.DBusError as e:
            assert e.name == t.ERROR + "FailedPrecondition", e
    else:
        with refused("FailedPrecondition", exactly="cannot resize a stopped container"):
            p.resize(80, 25)


# OpenTerminal


def test_a_client_takes_the_terminal(make):
    """What it writes is typed, what it reads is the screen, and its size is the process's."""
    p = make("sh", "-c", "stty size; read x; echo got $x", ConsoleSize=(90, 20))
    if make.kind == "init":
        terminal = p.open_terminal()
        p.start()
    else:
        p.start()
        terminal = p.open_terminal()
    assert terminal.read_line() == b"20 90\r\n"
    assert window_size(terminal.fd) == (90, 20)
    os.write(terminal.fd, b"hello\n")
    assert terminal.read_to_end().endswith(b"got hello\r\n")
    assert p.wait()[0] == 0


def test_two_clients_may_take_it_and_theirs_is_close_on_exec(daemon, make):
    p = make("cat")
    p.start()
    one, other = p.open_terminal(), p.on(daemon.connect()).open_terminal()
    assert one.fd != other.fd and os.isatty(one.fd) and os.isatty(other.fd)
    os.write(one.fd, b"x\n")
    other.read_until(lambda d: d.startswith(b"x\r\n"))
    one.close()
    os.write(other.fd, b"\x04")
    assert p.wait()[0] == 0


def test_the_terminal_is_the_controlling_one(make):
    """^C reaches the process, and a hang-up is no concern of who only has a copy."""
    p = make("sh", "-c", "trap 'exit 33' INT; echo up; while :; do sleep 0.05; done")
    p.start()
    terminal = p.open_terminal()
    terminal.read_until(lambda d: b"up" in d)
    os.write(terminal.fd, b"\x03")
    assert p.wait()[0] == 33


def test_an_exec_that_was_not_started_has_no_terminal_yet(client, bundle):
    c = client.create("c1", bundle("sleep", "1000"))
    c.start()
    e = c.exec("e1", "cat", Terminal=True)
    with refused("FailedPrecondition"):
        e.open_terminal()


# FIFOs


def test_echo_through_fifos(make, fifo):
    """Typed into one, echoed and answered through the other; both ends named in the properties."""
    inp, out = fifo("in"), fifo("out").open_reader()
    p = make("cat", Stdin=str(inp), Stdout=str(out))
    assert (p.get("Stdin"), p.get("Stdout"), p.get("Stderr"), p.get("Terminal")) == (str(inp), str(out), "", True)
    p.start()
    inp.open_writer().write(b"hello\n")
    out.read_until(lambda d: d == b"hello\r\nhello\r\n")
    p.kill()
    assert out.read_to_end() == b"hello\r\nhello\r\n"
    p.wait()


def test_the_end_of_stdin(make, fifo):
    """CloseIO, and the client's close: the process reads end-of-file, and ends by itself."""
    inp, out = fifo("in"), fifo("out").open_reader()
    p = make("sh", "-c", "stty -echo; echo up; cat; echo done; exit 5", Stdin=str(inp), Stdout=str(out))
    p.start()
    assert out.read_line() == b"up\r\n"
    inp.open_writer().write(b"one\n")
    assert out.read_line() == b"one\r\n"
    inp.close()
    assert out.quiet()  # detached
    inp.open_writer().write(b"two\n")
    assert out.read_line() == b"two\r\n"
    p.close_io()
    assert out.quiet()
    inp.close()
    assert out.read_to_end() == b"done\r\n"
    assert p.wait()[0] == 5


def test_stderr_goes_to_the_terminal_too(make, fifo):
    out = fifo("out").open_reader()
    p = make("sh", "-c", "echo a; echo b >&2; echo c", Stdout=str(out))
    p.start()
    assert out.read_to_end() == b"a\r\nb\r\nc\r\n"
    p.wait()


def test_a_reader_that_comes_late(make, fifo):
    out = fifo("out")
    p = make("sh", "-c", "echo early; exit 3", Stdout=str(out))
    p.start()
    assert p.wait()[0] == 3
    time.sleep(0.2)
    assert out.open_reader().read_to_end() == b"early\r\n"


def test_a_reader_that_goes_and_comes_back(make, fifo):
    inp, out = fifo("in"), fifo("out").open_reader()
    p = make("sh", "-c", "stty -echo; echo up; while read l; do echo got $l; done", Stdin=str(inp), Stdout=str(out))
    p.start()
    out.read_line()
    inp.open_writer().write(b"1\n")
    assert out.read_line() == b"got 1\r\n"
    out.close()
    inp.write(b"2\n3\n")
    time.sleep(0.2)
    assert p.status == "running"
    assert out.open_reader().read_line() == b"got 2\r\n"
    assert out.read_line() == b"got 3\r\n"
    p.kill()
    p.wait()


def test_bytes_go_through_a_raw_terminal_untouched(make, fifo):
    """All values there are, a megabyte of them, in both directions at once."""
    inp, out = fifo("in"), fifo("out").open_reader()
    data = bytes(range(256)) * 4096
    p = make("sh", "-c", "stty raw -echo; echo up; exec head -c %d" % len(data), Stdin=str(inp), Stdout=str(out))
    p.start()
    out.read_until(lambda d: b"up" in d)
    out.data = out.data.partition(b"\n")[2]
    inp.open_writer()
    thread = threading.Thread(target=inp.write, args=(data,))
    thread.start()
    received = out.read_to_end()
    thread.join()
    assert len(received) == len(data) and received == data
    assert p.wait()[0] == 0


def test_large_output_arrives_whole(make, fifo):
    """T-TTY-BIG: the process ends right after its last byte, and not one is missing."""
    line = " ".join(str(i) for i in range(1, 1000001)).encode() + b"\r\n"
    expected = (len(line), hashlib.sha256(line).hexdigest())
    for i in range(100 if t.LARGE else 2):
        out = fifo("out%d" % i).open_reader()
        p = make("seq", "-s", " ", "1000000", Stdout=str(out))
        p.start()
        assert out.digest_to_end() == expected
        assert p.wait()[0] == 0


def test_large_output_to_a_reader_that_comes_after_the_end(make, fifo):
    """More than terminal and FIFO hold: the process waits for its reader and then everything comes."""
    out = fifo("out")
    p = make("seq", "1", "50000", Stdout=str(out))
    p.start()
    time.sleep(0.3)
    assert p.status == "running"
    assert out.open_reader().read_to_end() == b"".join(b"%d\r\n" % i for i in range(1, 50001))
    assert p.wait()[0] == 0


def test_one_stalled_terminal_of_ten_holds_up_nobody_else(client, init, fifo):
    """T-BACKPRESSURE: nor the daemon; and when it is read at last, nothing is missing."""
    outs = [fifo("out%d" % i).open_reader() for i in range(10)]
    all_of_them = [init("seq", "1", "60000", Stdout=str(o)) for o in outs]
    for p in all_of_them:
        p.start()
    expected = b"".join(b"%d\r\n" % i for i in range(1, 60001))
    for p, out in list(zip(all_of_them, outs))[1:]:
        assert out.read_to_end() == expected
        assert p.wait()[0] == 0
    began = time.monotonic()
    client.sync()
    assert time.monotonic() - began < 0.5 * t.SCALE
    assert all_of_them[0].status == "running"
    assert outs[0].read_to_end() == expected
    assert all_of_them[0].wait()[0] == 0


def test_a_stalled_terminal_can_be_killed_and_deleted(init, fifo):
    out = fifo("out").open_reader()
    p = init("yes", Stdout=str(out))
    p.start()
    t.wait_for(lambda: out.unread() > 0 and out.unread() == (time.sleep(0.2), out.unread())[1], what="a full FIFO")
    p.kill()
    assert p.wait(5 * t.SCALE)[0] == 137
    assert p.delete(30 * t.SCALE)[1] == 137


# What else may be named


@pytest.mark.parametrize("opts, name", [
    ({"Stderr": "FIFO"}, "Stderr"),
    ({"Stdout": "file:///tmp/never-made"}, "Stdout"),
    ({"Stdout": "journal:"}, "Stdout"),
    ({"Stdout": "binary:///bin/true"}, "Stdout"),
    ({"Stdin": "FD"}, "Stdin"),
    ({"Stdout": "FD"}, "Stdout"),
])
def test_what_a_terminal_cannot_be_copied_to(make, fifo, opts, name):
    null = os.open("/dev/null", os.O_RDWR | os.O_CLOEXEC)
    f = fifo("f")
    opts = {k: str(f) if v == "FIFO" else null if v == "FD" else v for k, v in opts.items()}
    with refused("InvalidArgument", name):
        make("true", **opts)
    os.close(null)
    assert not os.path.exists("/tmp/never-made")


def test_a_console_size_without_a_terminal_harms_nothing(client, bundle):
    """Either it is not wanted, or it means nothing."""
    try:
        client.create("c1", bundle("true"), ConsoleSize=(80, 25)).delete()
    except t.DBusError as e:
        assert e.name == t.ERROR + "InvalidArgument", e


@pytest.mark.parametrize("asked, configured", [(True, False), (False, True)])
def test_the_option_and_the_configuration_disagree(client, bundle, asked, configured):
    """A bundle is the client's: what does not fit together is refused with words, and nothing is left."""
    try:
        client.create("c1", bundle("sleep", "1000", terminal=configured), Terminal=asked).end()
    except t.DBusError as e:
        assert e.name in (t.ERROR + "InvalidArgument", t.ERROR + "RuntimeFailed"), e
    assert client.list() == {}


# Ends


def test_end_of_file_comes_when_the_process_has_ended_though_a_child_keeps_the_terminal(client, init, fifo):
    """T-BG on a terminal: the container's end is the end of everybody in it."""
    out = fifo("out").open_reader()
    p = init("sh", "-c", "trap '' HUP; (trap '' HUP; sleep 1000) & echo done", Stdout=str(out))
    p.start()
    assert out.read_to_end(15 * t.SCALE) == b"done\r\n"
    assert p.wait()[0] == 0


def test_a_background_child_of_an_exec_that_keeps_the_terminal(client, bundle, fifo):
    """T-BG: the exec's exit and Delete do not wait for it for ever."""
    out = fifo("out").open_reader()
    c = client.create("c1", bundle("sleep", "1000"))
    c.start()
    e = c.run("e1", "sh", "-c", "trap '' HUP; sleep 1000 & echo done", Terminal=True, Stdout=str(out))
    began = time.monotonic()
    assert e.wait()[0] == 0
    assert time.monotonic() - began < 5 * t.SCALE
    out.read_until(lambda d: b"done\r\n" in d)
    assert e.delete(timeout=30 * t.SCALE)[1] == 0
    assert out.read_to_end() == b"done\r\n"


def test_who_waits_at_the_terminal_reads_its_end(make):
    """The client's own copy of the master: EIO, or end-of-file, once the process has ended."""
    p = make("sh", "-c", "sleep 0.5; echo bye; exit 2")
    if make.kind == "init":
        terminal = p.open_terminal()
        p.start()
    else:
        p.start()
        terminal = p.open_terminal()
    assert p.wait()[0] == 2
    assert terminal.read_to_end() == b"bye\r\n"


def test_the_clients_copy_keeps_the_process_alive_over_a_crash_of_the_daemon(daemon, client, init):
    """Without anybody's copy the kernel would hang the terminal up."""
    p = init("sh", "-c", "read x; echo got $x; exit 7")
    terminal = p.open_terminal()
    p.start()
    daemon.kill9()
    p = daemon.start().connect().container("t1")
    assert p.status == "running" and p.get("Terminal") is True
    os.write(terminal.fd, b"it\n")
    terminal.read_until(lambda d: b"got it\r\n" in d)
    assert p.wait()[0] in (7, 137)


def test_a_terminal_that_nobody_else_holds_over_a_crash_of_the_daemon(daemon, init, fifo):
    """Whether it could be kept or the kernel has hung it up: what is asked of it afterwards is answered, and it can be ended."""
    inp, out = fifo("in"), fifo("out").open_reader()
    p = init("sh", "-c", "trap '' HUP; echo up; while :; do sleep 0.1; done", Stdin=str(inp), Stdout=str(out))
    p.start()
    out.read_line()
    daemon.kill9()
    p = daemon.start().connect().container("t1")
    assert p.status == "running" and p.get("Terminal") is True
    for call in (p.open_terminal, lambda: p.resize(80, 25), p.close_io):
        try:
            call()
        except t.DBusError as e:
            assert e.name == t.ERROR + "FailedPrecondition", e
    p.kill()
    assert p.wait()[0] == 137
    assert p.delete()[1] == 137


def test_a_delete_of_what_was_never_started(daemon, make, fifo):
    out = fifo("out").open_reader()
    p = make("cat", Stdout=str(out))
    p.delete()
    assert out.read_to_end() == b""


def ptmx(daemon):
    return sum("ptmx" in f or "/pts/" in f for f in daemon.fds())


def test_descriptors_come_back_to_what_they_were(daemon, make, fifo):
    """T-FD: terminals, FIFOs and sockets; also when Start fails (T-FD-FAIL) and when nobody reads."""
    inp, out = fifo("in"), fifo("out").open_reader()
    before = None
    for i in range(15):
        p = make("echo", "x", Stdin=str(inp), Stdout=str(out), ConsoleSize=(80, 25))
        p.start()
        p.wait()
        out.read_until(lambda d: d.endswith(b"x\r\n"))
        out.data = b""
        p.delete()
        try:
            failing = make("/no/such/program", Stdin=str(inp), Stdout=str(out))
            failing.start()
        except t.DBusError as e:
            assert e.name == t.ERROR + "RuntimeFailed", e
            if make.kind == "exec":
                failing.delete()
        out.read_available()
        if i == 2:
            before = daemon.all_fds()
    t.wait_for(lambda: daemon.all_fds() <= before, timeout=3 * t.SCALE, what="descriptors: %s" % daemon.fds())
    assert ptmx(daemon) == 0


def test_no_file_of_a_console_is_left(daemon, make):
    def sockets():
        return [os.path.join(b, f) for b, _, files in os.walk(daemon.directory) for f in files
                if f not in ("bus", "notify", "seccomp") and not os.path.isfile(os.path.join(b, f)) and "exec.fifo" not in f]

    p = make("cat")
    p.start()
    assert sockets() == []
    p.kill()
    p.wait()
    p.delete()
    assert sockets() == []


@pytest.mark.skipif(t.INSTRUMENTED, reason="measures time")
def test_a_closed_slave_costs_nothing(daemon, init, fifo):
    """T-IDLE-CPU: nobody has the terminal open any more, the process lives on, and the daemon sleeps."""
    inp, out = fifo("in"), fifo("out").open_reader()
    procs = [init("sh", "-c", "echo up; exec sleep 1000 <&- >&- 2>&-", Stdin=str(inp), Stdout=str(out)) for _ in range(5)]
    for p in procs:
        p.start()
        out.read_line()
    t.wait_for(lambda: all(t.command_line(p.pid).startswith("sleep") for p in procs), what="sleep")
    time.sleep(0.3)

    def switches():
        with open("/proc/%d/status" % daemon.pid) as f:
            return int(next(x for x in f if x.startswith("voluntary_ctxt")).split()[1])

    ticks, before = t.cpu_ticks(daemon.pid), switches()
    time.sleep(2)
    assert t.cpu_ticks(daemon.pid) - ticks <= 1
    assert switches() - before <= 20


@pytest.mark.skipif(t.INSTRUMENTED, reason="measures time")
def test_idle_terminals_wake_nobody(daemon, init, fifo):
    procs = [init("sleep", "1000", Stdout=str(fifo("out%d" % i))) for i in range(5)]
    for p in procs:
        p.start()
    time.sleep(0.3)
    ticks = t.cpu_ticks(daemon.pid)
    time.sleep(1)
    assert t.cpu_ticks(daemon.pid) - ticks <= 1


# A runtime that does not do what it should


@pytest.mark.parametrize("what", ["none", "silent", "two", "no-tty", "no-name"])
@pytest.mark.parametrize("kind", ["init", "exec"])
def test_a_runtime_that_sends_no_terminal(fake, bundle, what, kind):
    """An error, and everything is undone: the process that runs without one is killed."""
    client = fake.connect()
    fake.control.set("c1", "create" if kind == "init" else "exec", "console " + what)
    if kind == "init":
        with pytest.raises(t.DBusError) as caught:
            client.create("c1", bundle("sleep", "inf", terminal=True), Terminal=True)
        assert client.list() == {} and client.event_names() == []
    else:
        c = client.create("c1", bundle("sleep", "inf"))
        c.start()
        e = c.exec("e1", "sleep", "inf", Terminal=True)
        with pytest.raises(t.DBusError) as caught:
            e.start()
        t.wait_for(lambda: fake.children() == [c.pid], what="the end of the exec")
        client.sync()
        assert e.event_names() == ["TaskExecAdded"]
        assert c.status == "running"
    assert caught.value.name.startswith(t.ERROR)
    assert "console" in caught.value.message or "terminal" in caught.value.message, caught.value


def test_the_first_good_connection_counts(fake, bundle):
    client = fake.connect()
    fake.control.set("c1", "create", "console late")
    c = client.create("c1", bundle("run", "sh", "-c", "stty size", terminal=True), Terminal=True, ConsoleSize=(77, 33))
    terminal = c.open_terminal()
    c.start()
    assert terminal.read_to_end() == b"33 77\r\n"
    assert c.wait()[0] == 0


def test_signals_of_a_terminal_process(make):
    p = make("sh", "-c", "trap 'exit 12' TERM; echo up; while :; do sleep 0.05; done")
    p.start()
    p.open_terminal().read_until(lambda d: b"up" in d)
    p.kill(signal.SIGTERM)
    assert p.wait()[0] == 12


def test_the_event_says_that_there_is_a_terminal(client, init):
    p = init("true")
    client.sync()
    assert p.events("TaskCreate")[0].terminal is True
    assert client.get(p.path, t.PROCESS, "Terminal") is True


def test_a_terminal_that_nobody_takes_blocks_its_process_and_nobody_else(client, init):
    """It is the client's to take; the daemon neither reads nor drops what is written."""
    p = init("seq", "1", "100000")
    p.start()
    time.sleep(0.3)
    assert p.status == "running"
    terminal = p.open_terminal()
    assert terminal.read_to_end() == b"".join(b"%d\r\n" % i for i in range(1, 100001))
    assert p.wait()[0] == 0


def test_reading_a_terminal_that_is_not_there(client, bundle):
    c = client.create("c1", bundle("sleep", "1000"))
    c.start()
    e = c.run("e1", "sleep", "1000")
    for p in (c, e):
        with refused("FailedPrecondition", "terminal"):
            p.open_terminal()
        with refused("FailedPrecondition", "terminal"):
            p.resize(80, 25)
