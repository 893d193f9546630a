# SPDX-License-Identifier: LGPL-2.1-or-later
"""Streams of every kind but FIFOs passed on directly (test_streams.py) and terminals (test_terminal.py): files, the journal,
logger processes, relays; and, for all, that not a byte is lost."""

import contextlib
import fcntl
import hashlib
import os
import re
import select
import signal
import stat
import threading
import time

import pytest

import monoshim_testing as t
from monoshim_testing import refused


@pytest.fixture(params=["init", "exec"])
def make(request, client, bundle):
    """make(args..., options) creates a process: an init, or an exec in a container of its own."""
    count = [0]

    def make(*args, **opts):
        count[0] += 1
        if request.param == "init":
            return client.create("p%d" % count[0], bundle(*args), **opts)
        if count[0] == 1:
            make.container = client.create("c1", bundle("sleep", "1000"))
            make.container.start()
        return make.container.exec("p%d" % count[0], *args, **opts)

    make.kind = request.param
    return make


def read_file(path):
    with open(path, "rb") as f:
        return f.read()


# Files


def test_a_file_is_made_and_appended_to(make, directory):
    """0640 whatever the umask; stdout and stderr may share it; what was in it stays."""
    path = directory + "/log"
    for i in range(2):
        p = make("sh", "-c", "echo out; echo err >&2", Stdout="file://" + path, Stderr="file://" + path)
        assert (p.get("Stdout"), p.get("Stderr")) == ("file://" + path, "file://" + path)
        p.start()
        assert p.wait()[0] == 0
    assert read_file(path) == b"out\nerr\n" * 2
    assert stat.S_IMODE(os.stat(path).st_mode) == 0o640
    assert os.stat(path).st_uid == 0


@pytest.mark.parametrize("umask", [0o000, 0o077])
def test_the_umask_of_the_daemon_does_not_matter(make_daemon, bundle, directory, umask):
    d = make_daemon(runtime=t.FAKE_RUNTIME, wrapper=["sh", "-c", 'umask %o; exec "$@"' % umask, "sh"])
    d.connect().create("c1", bundle("sleep", "inf"), Stdout="file://" + directory + "/log").delete()
    assert stat.S_IMODE(os.stat(directory + "/log").st_mode) == 0o640


def test_a_file_that_exists_keeps_its_content_mode_and_owner(fake, bundle, directory):
    """(With runc it is the runtime that makes it the container user's.)"""
    path = directory + "/log"
    with open(path, "w") as f:
        f.write("before\n")
    os.chmod(path, 0o604)
    os.chown(path, 12, 34)
    b = bundle("run", "echo", "after")
    c = fake.connect().create("c1", b, Stdout="file://" + path, IoUid=1234, IoGid=2345)
    c.start()
    c.wait()
    st = os.stat(path)
    assert (stat.S_IMODE(st.st_mode), st.st_uid, st.st_gid) == (0o604, 12, 34)
    assert read_file(path) == b"before\nafter\n"


def test_what_others_append_is_not_written_over(client, bundle, directory):
    """As after a logrotate with copytruncate: the container goes on at the file's end, wherever that is."""
    path = directory + "/log"
    c = client.create("c1", bundle("sh", "-c", "for i in 1 2 3 4; do echo $i; sleep 0.2; done"), Stdout="file://" + path)
    c.start()
    t.wait_for(lambda: read_file(path) == b"1\n", what="the first line")
    with open(path, "ab") as f:
        f.write(b"a line of others\n")
    t.wait_for(lambda: read_file(path).endswith(b"others\n2\n"), what="the second line")
    os.truncate(path, 0)
    c.wait()
    assert read_file(path) in (b"3\n4\n", b"4\n", b"")


@pytest.mark.parametrize("kind, name", [
    ("folder-missing", "NotFound"), ("folder", "InvalidArgument"), ("fifo", "InvalidArgument"), ("symlink", "InvalidArgument"),
    ("relative", "InvalidArgument"), ("no-path", "InvalidArgument"), ("one-slash", None), ("folder-is-a-file", None)])
def test_what_is_no_file(fake, bundle, directory, kind, name):
    path = directory + "/log"
    if kind == "folder":
        os.mkdir(path)
    elif kind == "fifo":
        os.mkfifo(path)
    elif kind == "symlink":
        os.symlink(directory + "/target", path)
    elif kind == "folder-is-a-file":
        open(path, "w").close()
    uri = {"folder-missing": "file://%s/no/log" % directory, "relative": "file://log", "no-path": "file://",
           "one-slash": "file:" + path, "folder-is-a-file": "file://%s/x" % path}.get(kind, "file://" + path)
    client = fake.connect()
    if kind == "one-slash":  # the same URI, spelled shorter
        with contextlib.suppress(t.DBusError):
            client.create("c1", bundle("sleep", "inf"), Stdout=uri).delete()
        return
    with pytest.raises(t.DBusError) as caught:
        client.create("c1", bundle("sleep", "inf"), Stdout=uri)
    assert caught.value.name in ([t.ERROR + name] if name else [t.ERROR + "InvalidArgument", t.ERROR + "NotFound"]), caught.value
    assert "Stdout" in caught.value.message
    assert fake.control.invocations() == [] and client.list() == {}
    assert not os.path.exists(directory + "/target") and not os.path.exists(directory + "/no")


@pytest.mark.parametrize("uri", ["file:///tmp/x", "journal:", "journal:x", "binary:///bin/true"])
def test_stdin_can_be_none_of_them(fake, bundle, uri):
    with refused("InvalidArgument", "Stdin"):
        fake.connect().create("c1", bundle("sleep", "inf"), Stdin=uri)


def test_a_full_disk_harms_nobody(client, bundle, make_tmpfs):
    """The container gets the error that the kernel gives it, and nothing else happens."""
    path = make_tmpfs(size="64k")
    c = client.create("c1", bundle("sh", "-c", "dd if=/dev/zero bs=4096 count=100 2>&-; echo $? >&2; sleep 1000"),
                      Stdout="file://" + path + "/log", Stderr="file://" + path + "/../code")
    c.start()
    t.wait_for(lambda: read_file(path + "/../code") == b"1\n", what="the end of dd")
    assert c.status == "running"
    c.end()


@pytest.fixture
def make_tmpfs(directory):
    made = []

    def make(size):
        path = os.path.join(directory, "tmpfs%d" % len(made))
        os.mkdir(path)
        t.run("mount", "-t", "tmpfs", "-o", "size=" + size, "tmpfs", path)
        made.append(path)
        return path

    yield make
    for path in made:
        t.run("umount", "-l", path)


# The journal


@pytest.fixture
def journal(directory):
    j = t.JournalSocket(directory + "/run")
    yield j
    j.close()


@pytest.fixture
def journaled(make_daemon, journal):
    return make_daemon(wrapper=journal.wrapper())


def wait_messages(journal, id, count, **fields):
    return t.wait_for(lambda: (lambda m: len(m) >= count and m)(journal.messages(id, **fields)), what="%d messages" % count)


def test_lines_go_to_the_journal(journaled, journal, bundle):
    """Each with the container's name and the identifier; stdout and stderr can be told apart by who wants to."""
    c = journaled.connect().create("c1", bundle("sh", "-c", "echo one; echo two; echo three >&2"), ns="tenant",
                                   Stdout="journal:web", Stderr="journal:web-errors")
    assert (c.get("Stdout"), c.get("Stderr")) == ("journal:web", "journal:web-errors")
    c.start()
    assert wait_messages(journal, "c1", 2, SYSLOG_IDENTIFIER="web", CONTAINER_NAMESPACE="tenant") == [b"one", b"two"]
    assert wait_messages(journal, "c1", 1, SYSLOG_IDENTIFIER="web-errors", CONTAINER_NAMESPACE="tenant") == [b"three"]
    assert all("PRIORITY" in e for e in journal.entries if e.get("CONTAINER_ID") == b"c1")
    c.wait()


def test_without_an_identifier(journaled, journal, bundle):
    c = journaled.connect().create("c1", bundle("echo", "x"), Stdout="journal:")
    c.start()
    wait_messages(journal, "c1", 1)
    entry, = [e for e in journal.entries if e.get("CONTAINER_ID") == b"c1"]
    assert entry["MESSAGE"] == b"x" and entry["SYSLOG_IDENTIFIER"]
    c.wait()


def test_an_exec_writes_to_the_journal(journaled, journal, bundle):
    c = journaled.connect().create("c1", bundle("sleep", "1000"))
    c.start()
    e = c.run("e1", "echo", "from the exec", Stdout="journal:x")
    assert wait_messages(journal, "c1", 1) == [b"from the exec"]
    e.wait()
    assert [x.get("CONTAINER_EXEC_ID") for x in journal.entries if x.get("CONTAINER_ID") == b"c1"] == [b"e1"]


def test_lines_of_every_kind(journaled, journal, bundle):
    """Empty ones, a last one without its newline, bytes that are no text, and one that is too long for one message."""
    c = journaled.connect().create("c1", bundle("sh", "-c", r"printf 'a\n\n  b \n\377\376\n'; head -c 100000 /dev/zero | "
                                                r"/bin/busybox tr '\0' x; printf '\nlast'"), Stdout="journal:")
    c.start()
    assert c.wait()[0] == 0
    t.wait_for(lambda: b"last" in journal.messages("c1"), what="the last line")
    messages = journal.messages("c1")
    assert messages[:4] == [b"a", b"", b"  b ", b"\xff\xfe"]
    assert b"".join(messages[4:-1]) == b"x" * 100000 and len(messages[4:-1]) >= 2
    assert messages[-1] == b"last"


def test_many_lines_lose_none(journaled, journal, bundle):
    """Also when journald is slow, and when the container has ended before they are read."""
    c = journaled.connect().create("c1", bundle("seq", "1", "20000"), Stdout="journal:")
    c.start()
    time.sleep(0.2)  # the socket is full
    assert wait_messages(journal, "c1", 20000) == [b"%d" % i for i in range(1, 20001)]
    assert c.wait()[0] == 0


def test_a_journal_that_takes_nothing_holds_up_only_its_container(journaled, journal, bundle):
    """Nor its end: what is left is given up after a while."""
    client = journaled.connect()
    c = client.create("c1", bundle("yes"), Stdout="journal:")
    c.start()
    time.sleep(0.5)
    began = time.monotonic()
    other = client.create("c2", bundle("true"))
    other.start()
    other.wait()
    assert time.monotonic() - began < 2 * t.SCALE
    c.kill()
    assert c.wait(15 * t.SCALE)[0] == 137
    assert c.delete(30 * t.SCALE)[1] == 137


def stderr_is_a_stream(to):
    """For a daemon whose stderr is that file, and passes for the journal's stream."""
    return ["sh", "-c", 'exec 2<>"$0"; JOURNAL_STREAM=$(stat -Lc %d:%i /proc/self/fd/2) exec "$@"', to]


def live(client, bundle):
    c = client.create("c1", bundle("run", "sh", "-c", "exit 0"))
    c.start()
    pid = c.pid
    c.wait()
    c.delete()
    return pid


def exits(messages):
    """The pids whose exit is told."""
    found = (re.search(rb"Process c1 \((\d+)\) has exited with status 0", m) for m in messages)
    return [int(m.group(1)) for m in found if m]


@pytest.mark.parametrize("stream", ["has room", "is full"])
def test_a_journal_that_hangs_holds_up_nobody(make_daemon, journal, bundle, directory, stream):
    """The daemon's own lines: they go to the stream behind stderr instead, and what that does not take is counted."""
    path = directory + "/stream"
    if stream == "is full":
        os.mkfifo(path)
    fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_NONBLOCK)
    if stream == "is full":
        fcntl.fcntl(fd, fcntl.F_SETPIPE_SZ, 4096)
    daemon = make_daemon(runtime=t.FAKE_RUNTIME, wrapper=journal.wrapper() + stderr_is_a_stream(path))
    client = daemon.connect()
    journal.fill()

    pids = []
    for _ in range(20):
        began = time.monotonic()
        pids.append(live(client, bundle))
        assert time.monotonic() - began < 5 * t.SCALE

    lines = os.read(fd, 1 << 20).decode().splitlines()
    os.close(fd)
    assert lines and all(re.match(r"<[0-7]>monoshimd: .", line) for line in lines)
    assert not journal.messages("c1")
    pids.append(live(client, bundle))
    t.wait_for(lambda: exits(journal.messages("c1"))[-1:] == pids[-1:], what="the line about the last one")
    told = [re.match(rb"lost (\d+) log lines that the journal could not take", e["MESSAGE"]) for e in journal.entries
            if e.get("SYSLOG_IDENTIFIER") == b"monoshimd"]
    lost = [int(m.group(1)) for m in told if m]
    seen = exits(line.encode() for line in lines)
    if stream == "has room":
        assert seen == pids[:-1] and not lost
    else:
        assert seen == pids[:len(seen)] and len(lost) == 1 and lost[0] >= 20 - len(seen) > 0


def test_the_journal_after_a_crash_of_the_daemon(journaled, journal, bundle, fifo):
    """What is written meanwhile arrives as well, and the container is not disturbed."""
    inp = fifo("in")
    c = journaled.connect().create("c1", bundle("sh", "-c", "while read l; do echo $l; done"), Stdin=str(inp), Stdout="journal:x")
    c.start()
    inp.open_writer().write(b"before\n")
    wait_messages(journal, "c1", 1)
    journaled.kill9()
    inp.write(b"meanwhile\n")
    time.sleep(0.1)
    c = journaled.start().connect().container("c1")
    inp.write(b"after\n")
    assert wait_messages(journal, "c1", 3, SYSLOG_IDENTIFIER="x") == [b"before", b"meanwhile", b"after"]
    assert c.status == "running"


def test_no_journal_at_all(make_daemon, bundle, directory):
    os.mkdir(directory + "/run")
    d = make_daemon(runtime=t.FAKE_RUNTIME, wrapper=["unshare", "--mount", "sh", "-c", 'mount --bind "$0" /run && exec "$@"',
                                                     directory + "/run"])
    client = d.connect()
    with refused("NotSupported", "Stdout"):
        client.create("c1", bundle("sleep", "inf"), Stdout="journal:")
    assert client.list() == {}


# Loggers


@pytest.fixture
def logger(directory):
    """logger(script, name="logger", ready=True) makes one and returns its URI; what it gets is in DIRECTORY/NAME.{out,err,...}.
    $out is DIRECTORY/NAME."""
    def make(body="", name="logger", before="", ready="exec 5>&-"):
        path = os.path.join(directory, name)
        with open(path, "w") as f:
            f.write("#!/bin/sh\nout=%s\necho $$ >$out.pid\n%s\ntr '\\0' '\\n' </proc/$$/environ >$out.env\n"
                    "for a; do echo \"$a\"; done >$out.args\nls -l /proc/$$/fd >$out.fds\n%s\n%s\n" % (
                        path, before, ready, body or "cat <&3 >>$out.out & cat <&4 >>$out.err & wait; echo end >$out.end"))
        os.chmod(path, 0o755)
        return "binary://" + path

    return make


def logged(directory, kind, name="logger"):
    with contextlib.suppress(FileNotFoundError):
        return read_file(os.path.join(directory, name + "." + kind))
    return b""


def logger_pid(directory, name="logger"):
    return int(t.wait_for(lambda: logged(directory, "pid", name).strip(), what="the logger"))


def test_a_logger_gets_both_streams(make, logger, directory):
    """T-LOGGER: stdout on 3, stderr on 4, and the end of both when the process has ended."""
    uri = logger()
    p = make("sh", "-c", "echo out; echo err >&2; exit 3", Stdout=uri, Stderr=uri)
    assert p.get("Stdout") == uri
    p.start()
    assert p.wait()[0] == 3
    t.wait_for(lambda: logged(directory, "end"), what="the logger's end")
    assert logged(directory, "out") == b"out\n"
    assert logged(directory, "err") == b"err\n"


def test_a_logger_for_stdout_alone(client, bundle, logger, directory):
    uri = logger()
    c = client.create("c1", bundle("sh", "-c", "echo out; echo err >&2"), Stdout=uri)
    c.start()
    assert c.wait()[0] == 0
    t.wait_for(lambda: logged(directory, "end"), what="the logger's end")
    assert (logged(directory, "out"), logged(directory, "err")) == (b"out\n", b"")


def test_loggers_of_their_own_for_stdout_and_stderr(client, bundle, logger, directory):
    c = client.create("c1", bundle("sh", "-c", "echo out; echo err >&2"), Stdout=logger(name="one"), Stderr=logger(name="two"))
    c.start()
    c.wait()
    t.wait_for(lambda: logged(directory, "end", "one") and logged(directory, "end", "two"), what="the loggers' ends")
    assert (logged(directory, "out", "one"), logged(directory, "err", "two")) == (b"out\n", b"err\n")


def test_the_arguments_and_the_environment_of_a_logger(client, bundle, logger, directory):
    """Keys and values in their order, decoded; two variables; no descriptor but 0 to 5 (and one of the shell's own)."""
    uri = logger() + "?b=2&a=1&empty=&flag&path=%2Fvar%2Flog&space=a+b%20c&b=again"
    c = client.create("c1", bundle("true"), ns="tenant", Stdout=uri)
    c.start()
    c.wait()
    t.wait_for(lambda: logged(directory, "end"), what="the logger's end")
    assert logged(directory, "args").decode().split("\n")[:-1] == [
        "b", "2", "a", "1", "empty", "", "flag", "", "path", "/var/log", "space", "a b c", "b", "again"]
    assert sorted(logged(directory, "env").split()) == [b"CONTAINER_ID=c1", b"CONTAINER_NAMESPACE=tenant"]
    numbers = {int(n) for n in re.findall(rb" (\d+) -> ", logged(directory, "fds"))}
    assert {0, 1, 2, 3, 4, 5} <= numbers and not {n for n in numbers if 5 < n < 10}, logged(directory, "fds")


@pytest.mark.parametrize("ready", ["exec 5>&-", "echo >&5"])
def test_the_process_is_not_run_before_its_logger_is_ready(make, logger, directory, ready):
    """It says so by closing descriptor 5 (or, as is often seen, by writing to it)."""
    uri = logger(before="sleep 0.4; date +%s.%N >$out.ready", ready=ready)
    began = time.time()
    p = make("sh", "-c", "echo x", Stdout=uri)
    p.start()
    assert time.time() - began >= 0.4
    assert logged(directory, "ready")
    p.wait()
    t.wait_for(lambda: logged(directory, "out") == b"x\n", what="the output")


def start_of(make, *args, **opts):
    """Creates and starts; the DBusError that either meets."""
    p = None
    with pytest.raises(t.DBusError) as caught:
        p = make(*args, **opts)
        p.start()
    if p is not None and make.kind == "exec":
        p.delete()
    return caught.value


@pytest.mark.parametrize("before", ["exit 0", "exit 1", "kill -9 $$"])
def test_a_logger_that_dies_before_it_is_ready(daemon, client, make, logger, before):
    """The start fails with words, nothing runs, nothing is left."""
    error = start_of(make, "sleep", "1000", Stdout=logger(before=before))
    assert error.name.startswith(t.ERROR)
    assert "logg" in error.message or "binary" in error.message, error
    client.sync()
    assert "TaskExecStarted" not in client.event_names() and len([n for n in client.event_names() if n == "TaskCreate"]) <= 1


def test_a_logger_that_is_never_ready(make_daemon, bundle, logger, directory):
    d = make_daemon(config={"RuntimeTimeoutSec": "%dms" % (1000 * t.SCALE)})
    client = d.connect()
    began = time.monotonic()
    with refused("DeadlineExceeded"):
        client.create("c1", bundle("true"), Stdout=logger(ready="sleep 1000")).start()
    assert time.monotonic() - began < 10 * t.SCALE
    assert client.list() == {}
    t.wait_for(lambda: not t.is_alive(logger_pid(directory)), what="the logger's end")


@pytest.mark.parametrize("uri, name", [("binary:///no/such/logger", "NotFound"), ("binary://relative", "InvalidArgument"),
                                       ("binary:///etc/passwd", None), ("binary:///tmp", None), ("binary://", "InvalidArgument")])
def test_what_is_no_logger(client, bundle, uri, name):
    with pytest.raises(t.DBusError) as caught:
        client.create("c1", bundle("true"), Stdout=uri)
    assert name is None or caught.value.name == t.ERROR + name, caught.value
    assert caught.value.name.startswith(t.ERROR) and "Stdout" in caught.value.message
    assert client.list() == {}


def test_a_logger_that_dies_later(make, logger, directory, fifo):
    """The process lives on, and can write as much as it likes: nobody reads it, but nothing blocks or kills it."""
    inp = fifo("in")
    p = make("sh", "-c", "echo x; read x; head -c 1000000 /dev/zero; exit 9", Stdin=str(inp), Stdout=logger())
    p.start()
    t.wait_for(lambda: logged(directory, "out") == b"x\n", what="the output")
    for pid in [logger_pid(directory)] + t.descendants(logger_pid(directory)):
        os.kill(pid, signal.SIGKILL)
    time.sleep(0.1)
    assert p.status == "running"
    inp.open_writer().write(b"\n")
    assert p.wait()[0] == 9


def test_a_logger_gets_the_end_also_of_a_large_output(client, bundle, logger, directory):
    size = 8_000_000
    c = client.create("c1", bundle("sh", "-c", "head -c %d /dev/zero; echo end" % size), Stdout=logger())
    c.start()
    assert c.wait()[0] == 0
    assert c.delete()[1] == 0
    t.wait_for(lambda: logged(directory, "end"), what="the logger's end")
    assert os.path.getsize(directory + "/logger.out") == size + 4


def test_a_logger_that_does_not_end_is_told_to(client, bundle, logger, directory):
    """T-LOGGER: not every one reads end-of-file; SIGTERM comes some time after the container's Delete."""
    uri = logger(body="trap 'echo term >$out.term; exit' TERM; while :; do sleep 0.05; done")
    c = client.create("c1", bundle("true"), Stdout=uri)
    c.start()
    c.wait()
    pid = logger_pid(directory)
    c.delete()
    t.wait_for(lambda: logged(directory, "term") == b"term\n", timeout=15 * t.SCALE, what="SIGTERM")
    t.wait_for(lambda: not t.is_alive(pid), what="the logger's end")


def test_a_logger_goes_on_over_a_crash_of_the_daemon(daemon, client, bundle, logger, directory, fifo):
    inp = fifo("in")
    c = client.create("c1", bundle("sh", "-c", "while read l; do echo $l; done"), Stdin=str(inp), Stdout=logger())
    c.start()
    inp.open_writer().write(b"before\n")
    t.wait_for(lambda: logged(directory, "out") == b"before\n", what="the output")
    daemon.kill9()
    inp.write(b"meanwhile\n")
    t.wait_for(lambda: logged(directory, "out").endswith(b"meanwhile\n"), what="the output")
    c = daemon.start().connect().container("c1")
    inp.write(b"after\n")
    t.wait_for(lambda: logged(directory, "out") == b"before\nmeanwhile\nafter\n", what="the output")
    c.kill()
    c.wait()
    c.delete()
    t.wait_for(lambda: logged(directory, "end"), what="the logger's end")


def test_io_uid_of_a_loggers_pipe(client, bundle, logger, directory):
    """T-IOUID"""
    c = client.create("c1", bundle("sh", "-c", "echo again >/proc/self/fd/1", user={"uid": 1234, "gid": 2345}), Stdout=logger(),
                      IoUid=1234, IoGid=2345)
    c.start()
    assert c.wait()[0] == 0
    t.wait_for(lambda: logged(directory, "out") == b"again\n", what="the output")


# Relays


def test_a_relayed_process_has_anonymous_pipes(client, bundle, fifo):
    out = fifo("out").open_reader()
    c = client.create("c1", bundle("sh", "-c", "ls -l /proc/self/fd"), Stdin=str(fifo("in")), Stdout=str(out),
                      Stderr=str(fifo("err")), Relay=True)
    c.start()
    links = dict(re.findall(rb" (\d) -> (\S+)", out.read_to_end()))
    assert all(links[n].startswith(b"pipe:[") for n in (b"0", b"1", b"2")), links
    c.wait()


def test_a_relay_to_a_file(client, bundle, directory):
    path = directory + "/log"
    with open(path, "w") as f:
        f.write("before\n")
    c = client.create("c1", bundle("sh", "-c", "echo a; echo b >&2; exit 2"), Stdout="file://" + path, Stderr="file://" + path,
                      Relay=True)
    c.start()
    assert c.wait()[0] == 2
    c.delete()
    assert sorted(read_file(path).split()) == [b"a", b"b", b"before"] and read_file(path).startswith(b"before\n")


def test_readers_of_a_relay_come_late_go_and_come_back(client, bundle, fifo):
    """T-NOREADER, T-READER-GONE"""
    inp, out = fifo("in"), fifo("out")
    c = client.create("c1", bundle("sh", "-c", "echo early; while read l; do echo got $l; done; echo end"), Stdin=str(inp),
                      Stdout=str(out), Relay=True)
    c.start()
    time.sleep(0.2)
    assert out.open_reader().read_line() == b"early\n"
    out.close()
    inp.open_writer().write(b"1\n")
    time.sleep(0.2)
    assert c.status == "running"
    assert out.open_reader().read_line() == b"got 1\n"
    inp.close()
    assert out.quiet()
    inp.open_writer().write(b"2\n")
    assert out.read_line() == b"got 2\n"
    c.close_io()
    inp.close()
    assert out.read_to_end() == b"end\n"
    assert c.wait()[0] == 0


def test_a_relay_whose_reader_does_not_read(client, bundle, fifo):
    """T-BACKPRESSURE: the process waits, nothing is dropped, others are not held up."""
    out = fifo("out")
    c = client.create("c1", bundle("seq", "1", "100000"), Stdout=str(out), Relay=True)
    c.start()
    time.sleep(0.3)
    assert c.status == "running"
    assert out.open_reader().read_to_end() == b"".join(b"%d\n" % i for i in range(1, 100001))
    assert c.wait()[0] == 0


def test_a_relay_to_a_reader_that_comes_after_the_end(client, bundle, fifo):
    out = fifo("out")
    c = client.create("c1", bundle("sh", "-c", "seq 1 1000; exit 3"), Stdout=str(out), Relay=True)
    c.start()
    assert c.wait()[0] == 3
    time.sleep(0.3)
    assert out.open_reader().read_to_end() == b"".join(b"%d\n" % i for i in range(1, 1001))


def test_io_uid_of_a_relays_pipes(client, bundle, fifo):
    """T-IOUID"""
    out = fifo("out").open_reader()
    c = client.create("c1", bundle("sh", "-c", "echo again >/proc/self/fd/1", user={"uid": 1234, "gid": 2345}), Stdout=str(out),
                      Relay=True, IoUid=1234, IoGid=2345)
    c.start()
    assert c.wait()[0] == 0
    assert out.read_to_end() == b"again\n"


@pytest.mark.skipif(t.INSTRUMENTED, reason="measures time")
def test_an_idle_relay_costs_nothing(daemon, client, bundle, fifo):
    """T-IDLE-CPU: with a stdin that is closed, a reader that has gone and data that nobody reads."""
    inp, out = fifo("in"), fifo("out")
    c = client.create("c1", bundle("sh", "-c", "echo x; exec sleep 1000 <&-"), Stdin=str(inp), Stdout=str(out), Relay=True)
    c.start()
    out.open_reader().read_line()
    out.close()
    inp.open_writer().write(b"nobody reads this\n")
    inp.close()
    c.close_io()
    time.sleep(0.3)
    ticks = t.cpu_ticks(daemon.pid)
    time.sleep(1.5)
    assert t.cpu_ticks(daemon.pid) - ticks <= 1


# Not a byte is lost


STDIN_SIZE = 500_000_000 if t.LARGE else 50_000_000
OUTPUT_ROUNDS = 64 if t.LARGE else 16  # times busybox, about 2 MB


def pour(path, size, digest):
    """Writes 'size' bytes that never repeat in step with any buffer; in a thread."""
    block = hashlib.sha512(b"monoshim").digest() * 1021
    with open(path, "wb", buffering=0) as f:
        left = size
        while left > 0:
            n = f.write(block[:min(left, len(block))])
            digest.update(block[:n])
            left -= n
            block = block[n:] + block[:n]


@pytest.mark.parametrize("relay", [False, True])
@pytest.mark.parametrize("close", ["before", "after"])
def test_stdin_is_byte_exact(client, bundle, fifo, relay, close):
    """T-STDIN: CloseIO while the client still writes, or after it has gone: all bytes, then end-of-file."""
    inp, out = fifo("in"), fifo("out").open_reader()
    c = client.create("c1", bundle("sh", "-c", "sha256sum; exit 4"), Stdin=str(inp), Stdout=str(out), Relay=relay)
    c.start()
    digest = hashlib.sha256()
    thread = threading.Thread(target=pour, args=(str(inp), STDIN_SIZE // (1 if close == "before" else 5), digest))
    thread.start()
    if close == "before":
        time.sleep(0.05)
        c.close_io()
    thread.join(120 * t.SCALE)
    assert not thread.is_alive(), "stuck"
    if close == "after":
        assert out.quiet(0.2)
        c.close_io()
    assert out.read_to_end().split()[0].decode() == digest.hexdigest()
    assert c.wait()[0] == 4


@pytest.mark.parametrize("kind", ["fifo", "relay", "file", "relay-file"])
def test_output_is_byte_exact_when_the_process_ends_right_after_it(client, bundle, fifo, directory, kind):
    """Half a dozen processes, so that one meets the moment; and a Delete at once takes nothing away."""
    once = read_file("/bin/busybox")
    sha = hashlib.sha256()
    for _ in range(OUTPUT_ROUNDS):
        sha.update(once)
    expected = (len(once) * OUTPUT_ROUNDS, sha.hexdigest())
    program = "i=0; while [ $i -lt %d ]; do cat /bin/busybox; i=$((i+1)); done; exit 5" % OUTPUT_ROUNDS
    for i in range(3):
        relay = kind.startswith("relay")
        if kind.endswith("file"):
            path = directory + "/out%d" % i
            c = client.create("c%d" % i, bundle("sh", "-c", program), Stdout="file://" + path, Relay=relay)
            c.start()
            assert c.wait()[0] == 5
            c.delete()
            data = read_file(path)
            assert (len(data), hashlib.sha256(data).hexdigest()) == expected
            os.unlink(path)
        else:
            out = fifo("out%d" % i).open_reader()
            c = client.create("c%d" % i, bundle("sh", "-c", program), Stdout=str(out), Relay=relay)
            c.start()
            assert out.digest_to_end() == expected
            assert c.wait()[0] == 5
            c.delete()


def test_both_directions_at_once_through_a_relay(client, bundle, fifo):
    inp, out = fifo("in"), fifo("out").open_reader()
    c = client.create("c1", bundle("cat"), Stdin=str(inp), Stdout=str(out), Relay=True)
    c.start()
    digest, size = hashlib.sha256(), STDIN_SIZE // 5
    thread = threading.Thread(target=pour, args=(str(inp), size, digest))
    thread.start()
    time.sleep(0.05)
    c.close_io()
    assert out.digest_to_end() == (size, digest.hexdigest())
    thread.join()
    assert c.wait()[0] == 0


def test_a_slow_reader_of_a_relay_holds_delete_up_only_for_a_while(client, bundle, fifo):
    """T-DRAIN: who reads slowly gets what there is; who does not read at all cannot keep the container from being deleted."""
    out = fifo("out").open_reader()
    c = client.create("c1", bundle("sh", "-c", "head -c 60000 /dev/zero; head -c 60000 /dev/zero; exit 6"), Stdout=str(out),
                      Relay=True)
    c.start()
    assert c.wait()[0] == 6
    began = time.monotonic()
    pending = c.begin("Delete")
    time.sleep(0.3)
    total = 0
    while True:
        assert select.select([out.fd], [], [], t.TIMEOUT)[0]
        chunk = out.read_available()
        if not chunk:
            break
        total += len(chunk)
        time.sleep(0.02)
    assert total == 120000
    assert pending.result(30 * t.SCALE)[1] == 6
    assert time.monotonic() - began < 15 * t.SCALE


def test_a_relay_that_nobody_reads_does_not_keep_delete_from_its_end(client, bundle, fifo):
    """T-DRAIN"""
    out = fifo("out")
    c = client.create("c1", bundle("sh", "-c", "head -c 60000 /dev/zero; head -c 50000 /dev/zero; exit 6"), Stdout=str(out),
                      Relay=True)
    c.start()
    assert c.wait()[0] == 6
    began = time.monotonic()
    assert c.delete(30 * t.SCALE)[1] == 6
    assert time.monotonic() - began < 15 * t.SCALE
