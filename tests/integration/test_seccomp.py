# SPDX-License-Identifier: LGPL-2.1-or-later
"""monoshimd as seccomp agent: system calls that a container's filter leaves to it are answered by policies, and told."""

import array
import contextlib
import json
import os
import shutil
import socket
import time

import pytest

import monoshim_testing as t
from monoshim_testing import refused

MKDIR = ("mkdir", "mkdirat")


def seccomp(daemon, *names, listener=None, **more):
    """extra_linux for a bundle whose calls of these names are left to the daemon."""
    return {"seccomp": {"defaultAction": "SCMP_ACT_ALLOW",
                        "listenerPath": listener or daemon.directory + "/seccomp",
                        "syscalls": [{"names": list(names or MKDIR), "action": "SCMP_ACT_NOTIFY"}], **more}}


def write_policy(daemon, *lines):
    daemon.configure()
    with open(daemon.config, "a") as f:
        f.write("\n".join(lines) + "\n")


@pytest.fixture
def policy(make_daemon):
    """policy("line", ...): a daemon with such a configuration, and a client."""
    def make(*lines, **kw):
        d = make_daemon(start=False, **kw)
        write_policy(d, *lines)
        d.start()
        return d, d.connect()
    return make


def run(client, fifo, b, id="c1", ns="default", **opts):
    """Runs it to its end; its status and what it printed. The container stays."""
    out = fifo("out-%s-%s" % (ns, id)).open_reader()
    c = client.create(id, b, ns=ns, Stdout=str(out), Stderr=str(out), **opts)
    c.start()
    text = out.read_to_end()
    return c, c.wait()[0], text


def told(events):
    return [(e.data["syscall"], e.data["action"], e.data["errno"], e.data["count"]) for e in events]


def test_a_call_fails_with_the_error_that_the_policy_says(policy, bundle, fifo):
    d, client = policy("[Seccomp]", "Errno=mkdir:EROFS mkdirat:EXDEV")
    c, status, text = run(client, fifo, bundle("mkdir", "/dev/x", extra_linux=seccomp(d)))
    assert status == 1 and b"Read-only file system" in text
    e, = c.events("TaskSeccomp")
    assert told([e]) == [("mkdir", "errno", 30, 1)] and e.pid == c.pid
    assert c.event_names() == ["TaskCreate", "TaskStart", "TaskSeccomp", "TaskExit"]
    c.delete()
    assert "default/c1: System call mkdir of process %d: refused with EROFS" % c.pid in d.log_text()


def test_without_a_policy_everything_is_allowed_and_told(policy, bundle, fifo):
    d, client = policy()
    c, status, text = run(client, fifo, bundle("sh", "-c", "mkdir /dev/x && ls -d /dev/x", extra_linux=seccomp(d)))
    assert (status, text) == (0, b"/dev/x\n")
    assert told(c.events("TaskSeccomp")) == [("mkdir", "allow", 0, 1)]
    sequence = c.events("TaskSeccomp")[0].sequence
    event, = [e for e in client.get_events()[1] if e.sequence == sequence]
    assert event.name == "TaskSeccomp" and event.data == c.events("TaskSeccomp")[0].data
    c.delete()


def test_exactly_the_caller_is_killed(policy, bundle, fifo):
    d, client = policy("[Seccomp]", "Kill=mkdir")
    c, status, text = run(client, fifo, bundle(
        "sh", "-c", "mkdir /dev/x; echo status $?; ls /dev/x; echo still here", extra_linux=seccomp(d)))
    assert status == 0 and b"status 137\n" in text and b"still here\n" in text and b"No such file" in text
    assert told(c.events("TaskSeccomp")) == [("mkdir", "kill", 0, 1)]
    c.delete()


def test_the_init_itself_is_killed(policy, bundle, fifo):
    d, client = policy("[Seccomp]", "Default=kill")
    c, status, text = run(client, fifo, bundle("mkdir", "/dev/x", extra_linux=seccomp(d)))
    assert status == 137
    assert c.event_names() == ["TaskCreate", "TaskStart", "TaskSeccomp", "TaskExit"]
    c.delete()


THREADED = r"""
#include <pthread.h>
#include <stdio.h>
#include <sys/stat.h>
#include <unistd.h>
static void *run(void *p) { mkdir("/dev/x", 0700); puts("the thread survived"); fflush(stdout); return p; }
int main(void) { pthread_t t; pthread_create(&t, NULL, run, NULL); pthread_join(t, NULL); puts("alive"); return 0; }
"""


@pytest.mark.skipif(not shutil.which("cc"), reason="there is no C compiler")
def test_the_process_of_a_thread_is_killed(policy, bundle, fifo, directory):
    d, client = policy("[Seccomp]", "Kill=mkdir")
    b = bundle("/bin/threaded", own_rootfs=True, extra_linux=seccomp(d))
    with open(directory + "/threaded.c", "w") as f:
        f.write(THREADED)
    t.run("cc", "-static", "-pthread", "-o", b + "/rootfs/bin/threaded", directory + "/threaded.c")
    c, status, text = run(client, fifo, b)
    assert (status, text) == (137, b"")
    e, = c.events("TaskSeccomp")
    assert told([e]) == [("mkdir", "kill", 0, 1)] and e.pid == c.pid  # of the process, not of the thread
    c.delete()


def test_each_namespace_may_have_a_policy_of_its_own(policy, bundle, fifo):
    d, client = policy("[Seccomp]", "Default=errno:EROFS", "[Seccomp strict.ns]", "Default=errno:EXDEV",
                       "[Seccomp by-name]", "Errno=mkdir:ENOSPC")
    b = bundle("mkdir", "/dev/x", extra_linux=seccomp(d))
    named = bundle("mkdir", "/dev/x", extra_linux=seccomp(d, listenerMetadata="by-name"))
    nobody = bundle("mkdir", "/dev/x", extra_linux=seccomp(d, listenerMetadata="for somebody else"))
    for ns, id, which, expected in (("default", "c1", b, 30), ("strict.ns", "c1", b, 18), ("strict.ns", "c2", named, 28),
                                    ("strict.ns", "c3", nobody, 18)):
        c, _, _ = run(client, fifo, which, id, ns)
        assert told(c.events("TaskSeccomp")) == [("mkdir", "errno", expected, 1)], (ns, id)
        c.delete()
    assert "c3: Its seccomp metadata name no policy" in d.log_text()


def test_the_same_id_in_two_namespaces_at_once(policy, bundle, fifo):
    """Each runtime's listener goes to the container that it makes: ids do not tell them apart, nor do bundles."""
    d, client = policy("[Seccomp a]", "Default=errno:EROFS", "[Seccomp b]", "Default=errno:EXDEV")
    b = bundle("mkdir", "/dev/x", extra_linux=seccomp(d))
    other = bundle("mkdir", "/dev/x", extra_linux=seccomp(d))
    pending = [(ns, client.begin_create("c1", which, ns=ns)) for ns, which in (("a", b), ("b", other))]
    for ns, p in pending:
        p.result()
    for ns, number in (("a", 30), ("b", 18)):
        c = client.container("c1", ns)
        c.start()
        c.wait()
        assert told(c.events("TaskSeccomp")) == [("mkdir", "errno", number, 1)]
        c.delete()


def test_an_executed_process_too(policy, bundle, fifo):
    d, client = policy("[Seccomp]", "Errno=mkdir:EROFS")
    c = client.create("c1", bundle("sleep", "1000", extra_linux=seccomp(d)))
    c.start()
    listeners = fds_of_listeners(d)  # with those that the store of descriptors holds
    assert listeners > 0
    out = fifo("out").open_reader()
    e = c.run("e1", "mkdir", "/dev/x", Stderr=str(out))
    assert b"Read-only" in out.read_to_end() and e.wait()[0] == 1
    event, = c.events("TaskSeccomp")
    assert told([event]) == [("mkdir", "errno", 30, 1)] and event.pid == e.pid
    e.delete()
    t.wait_for(lambda: fds_of_listeners(d) == listeners, what="the listener of the executed process to go")
    c.end()
    assert fds_of_listeners(d) == 0


def fds_of_listeners(d):
    return sum(target == "anon_inode:seccomp notify" for target in d.fds())


def test_listeners_go_with_their_last_task(policy, bundle, fifo):
    d, client = policy()
    c, status, _ = run(client, fifo, bundle("true", extra_linux=seccomp(d)))
    t.wait_for(lambda: fds_of_listeners(d) == 0, what="the listener to go")  # before Delete
    c.delete()


def test_calls_before_the_start_are_told_after_it(policy, bundle, fifo):
    """The runtime's own, on the way to the program."""
    d, client = policy()
    c, status, _ = run(client, fifo, bundle("true", extra_linux=seccomp(d, "execve", "mkdir")))
    assert status == 0
    assert c.event_names()[:2] == ["TaskCreate", "TaskStart"] and c.event_names()[-1] == "TaskExit"
    assert ("execve", "allow", 0, 1) in told(c.events("TaskSeccomp"))
    c.delete()


def test_a_reload_counts_at_once(policy, bundle, fifo):
    d, client = policy("[Seccomp]", "Default=errno:EROFS")
    out, go = fifo("out").open_reader(), fifo("in")
    c = client.create("c1", bundle("sh", "-c", "while read x; do mkdir /dev/$x 2>&1 && echo made; done", extra_linux=seccomp(d)),
                      Stdout=str(out), Stdin=str(go))
    c.start()
    w = go.open_writer()
    w.write(b"a\n")
    assert b"Read-only" in out.read_line()
    write_policy(d, "[Seccomp]", "Allow=mkdir", "Kill=mkdirat")
    client.manager("Reload")
    w.write(b"b\n")
    assert out.read_line() == b"made\n"
    write_policy(d, "[Seccomp]", "Default=perhaps")
    with refused("InvalidArgument", "monoshimd.conf:3: Default=perhaps is not \"allow\""):
        client.manager("Reload")
    w.write(b"c\n")
    assert out.read_line() == b"made\n"
    write_policy(d, "[Seccomp]", "Errno=mkdir:ENOSPC nosuchcall:EPERM")
    client.manager("Reload")
    assert "monoshimd.conf:3: Errno= in section [Seccomp] names system calls that are not known here, ignoring these: nosuchcall" \
        in d.log_text()
    w.write(b"d\n")
    assert b"No space" in out.read_line()
    write_policy(d)
    client.manager("Reload")
    w.write(b"e\n")
    assert out.read_line() == b"made\n"
    c.end()


def test_a_flood_is_counted_and_told_in_sums(policy, bundle, fifo):
    d, client = policy("[Seccomp]", "Errno=mkdir:EROFS")
    n = 200000 if t.LARGE else 20000 if not t.INSTRUMENTED else 2000
    quiet = client.create("quiet", bundle("sleep", "1000"))
    quiet.start()
    # All of them from one shell: "cd" is a system call of its own, and no program.
    b = bundle("sh", "-c", "i=0; while [ $i -lt %d ]; do cd /nowhere 2>/dev/null; i=$((i+1)); done; echo done" % n,
               extra_linux=seccomp(d, "chdir"))
    write_policy(d, "[Seccomp]", "Default=errno:EACCES", "Allow=execve")
    client.manager("Reload")
    started = time.monotonic()
    out = fifo("out").open_reader()
    c = client.create("c1", b, Stdout=str(out))
    c.start()
    longest = 0
    while not out.read_available():
        before = time.monotonic()
        client.sync()
        longest = max(longest, time.monotonic() - before)
        time.sleep(0.02)
    seconds = time.monotonic() - started
    c.wait()
    events = c.events("TaskSeccomp")
    of_program = [e for e in events if e.data["errno"] == 13]
    assert sum(e.data["count"] for e in of_program) == n
    assert len(events) <= 20 + 2 * (seconds + 2), "%d events in %.1f s" % (len(events), seconds)
    assert [e.data["count"] for e in of_program[:3]] == [1, 1, 1]
    assert d.log_text().count("System call chdir") == len(events)
    assert longest < 1 * t.SCALE, "a call took %.3f s meanwhile" % longest
    c.delete()
    complete, events = client.get_events()
    assert complete and any(e.name == "TaskStart" and e.id == "quiet" for e in events)
    quiet.end()


@pytest.mark.parametrize("how", ["reload", "stop"])
def test_what_was_counted_is_told_before_the_end(policy, binary, bundle, fifo, how):
    """Be it that of the daemon, or only of this version of it."""
    d, client = policy("[Seccomp]", "Default=errno:EACCES", "Allow=execve", program=binary.path)
    b = bundle("sh", "-c", "i=0; while [ $i -lt 500 ]; do cd /nowhere 2>/dev/null; i=$((i+1)); done; echo done; "
               "exec sleep 1000", extra_linux=seccomp(d, "chdir"))
    out = fifo("out").open_reader()
    c = client.create("c1", b, Stdout=str(out))
    c.start()
    assert out.read_line() == b"done\n"
    if how == "reload":
        binary.replace()
        t.reload(d)
        assert t.executions(d) == 1
    else:
        d.restart()
    c = d.connect().container("c1")
    c.kill()
    c.wait()
    events = [e for e in d.connect().get_events()[1] if e.name == "TaskSeccomp"]
    assert sum(e.data["count"] for e in events if e.data["errno"] == 13) == 500
    c.delete()


def call_from_many():
    """Four loops of calls, each of which tells from time to time that it goes on."""
    loop = "i=0; while :; do cd /nowhere 2>/dev/null; i=$((i+1)); [ $((i % 500)) -ne 0 ] || echo $0 $i; done"
    return "for p in 1 2 3 4; do sh -c '" + loop + "' $p & done; wait"


def test_the_daemon_is_killed_while_calls_wait(policy, bundle, fifo):
    """Whatever the moment: those that wait, and the one that was being answered, are answered by the next daemon."""
    d, client = policy("[Seccomp]", "Default=errno:EACCES", "[Seccomp tight]", "Default=errno:EACCES", keeps=True)
    out = fifo("out").open_reader()
    c = client.create("c1", bundle("sh", "-c", call_from_many(), extra_linux=seccomp(d, "chdir", listenerMetadata="tight")),
                      Stdout=str(out))
    write_policy(d, "[Seccomp tight]", "Default=errno:EACCES", "[Seccomp]", "Default=kill")  # by name, also afterwards
    client.manager("Reload")
    c.start()
    progress = Progress(out)
    progress.wait_for_all(4)
    for i in range(20 if t.LARGE else 6):
        time.sleep(0.003 * i)
        d.kill9()
        with contextlib.suppress(AssertionError):
            progress.pump()
        d.start()
        progress.forget()
        progress.wait_for_all(4)  # not one of the four hangs
    client = d.connect()
    c = client.container("c1")
    c.kill()
    c.wait()
    assert {e.data["errno"] for e in c.client.get_events()[1] if e.name == "TaskSeccomp" and e.data["action"] == "errno"} == {13}
    c.delete()


class Progress:
    """Lines "WHO NUMBER" from several loops."""

    def __init__(self, reader):
        self.reader, self.rest, self.seen = reader, b"", {}

    def pump(self):
        lines = (self.rest + self.reader.read_available()).split(b"\n")
        self.rest = lines.pop()
        for line in lines:
            who, _, number = line.partition(b" ")
            self.seen[who] = self.seen.get(who, 0) + 1

    def forget(self):
        self.pump()
        self.seen = {}

    def wait_for_all(self, n):
        t.wait_for(lambda: self.pump() or sum(v > 1 for v in self.seen.values()) == n, what="all %d loops to go on" % n)


# ---- connections ----


def connect(d):
    s = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    s.settimeout(t.TIMEOUT)
    s.connect(d.directory + "/seccomp")
    return s


def state_message(id, **more):
    return json.dumps({"ociVersion": "1.0.2", "fds": ["seccompFd"], "pid": os.getpid(), "metadata": "",
                       "state": {"ociVersion": "1.0.2", "id": id, "status": "creating", "pid": os.getpid(), "bundle": "/b"},
                       **more}).encode()


def send(s, data, *fds):
    s.sendmsg([data], [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", fds))] if fds else [])


def test_what_others_hand_over_is_refused(policy, bundle, fifo):
    """By name and namespace they may know a container of ours, but they are not the runtime that makes it."""
    d, client = policy("[Seccomp]", "Errno=mkdir:EROFS")
    c = client.create("c1", bundle("sleep", "1000", extra_linux=seccomp(d)))
    c.start()
    base = d.fds()
    for message, fds in ((state_message("c1"), 1), (state_message("nobody"), 1), (b"{}", 1), (b"{", 0), (b"", 0), (b"\0\xff", 1),
                         (state_message("c1", fds=[]), 1), (state_message("c1", fds=["seccompFd"] * 3), 3),
                         (state_message("c1"), 20), (state_message("c1", metadata=7), 1), (b"[1]", 1)):
        with connect(d) as s, open("/dev/null") as null:
            with contextlib.suppress(BrokenPipeError):
                if message:
                    send(s, message, *[null.fileno()] * fds)
                s.shutdown(socket.SHUT_WR)
            with contextlib.suppress(ConnectionResetError):
                assert s.recv(1) == b""
    t.wait_for(lambda: d.fds() == base, what="their descriptors to be closed")
    assert d.log_text().count("Refused a seccomp listener") == 11
    assert "container \"c1\" is none that it makes for monoshimd" in d.log_text()
    e = c.run("e1", "mkdir", "/dev/x")
    assert e.wait()[0] == 1
    assert told(c.events("TaskSeccomp")) == [("mkdir", "errno", 30, 1)]
    c.end()


def test_a_container_of_somebody_elses_runtime_is_refused(policy, directory, bundle):
    """Its calls fail with ENOSYS, as they would without an agent."""
    d, client = policy("[Seccomp]", "Errno=mkdir:EROFS")
    b = bundle("mkdir", "/dev/x", extra_linux=seccomp(d))
    r = t.run("runc", "--root", directory + "/runc", "run", "--bundle", b, "c1", check=False)
    assert r.returncode == 1 and "Function not implemented" in r.stderr + r.stdout
    assert "is none that it makes for monoshimd" in d.log_text()


def test_idle_connections_keep_nobody_out_for_ever(policy, bundle, fifo):
    d, client = policy("[Seccomp]", "Errno=mkdir:EROFS")
    idle = [connect(d) for _ in range(256)]
    p = client.begin_create("c1", bundle("mkdir", "/dev/x", extra_linux=seccomp(d)))
    assert client.manager("ListContainers") == ([],)  # it goes on meanwhile
    idle[0].close()
    p.result()
    c = client.container("c1")
    c.start()
    assert c.wait()[0] == 1
    c.delete()
    for s in idle:
        s.close()
    t.wait_for(lambda: d.fds().count("socket:[N]") <= d.base_fds.count("socket:[N]") + 1)


def test_the_socket_is_roots_and_there_again_after_each_start(policy):
    d, client = policy()
    path = d.directory + "/seccomp"
    mode = os.lstat(path)
    assert (mode.st_mode & 0o7777, mode.st_uid) == (0o600, 0)
    d.kill9()
    assert os.path.exists(path)  # a stale one
    d.start()
    connect(d).close()
    d.stop()
    assert not os.path.exists(path)
    with open(path, "w") as f:
        f.write("mine")
    d.start()  # what is no socket is not taken away
    assert "There is no seccomp agent" in d.log_text() and open(path).read() == "mine"
    d.stop()
    os.unlink(path)


def test_of_two_daemons_side_by_side_the_first_is_the_agent(policy, make_daemon, bundle, fifo):
    """Their state directories are in one folder, where there can be one socket."""
    d, client = policy("[Seccomp]", "Errno=mkdir:EROFS")
    second = make_daemon(start=False)
    second.state = d.directory + "/state2"
    second.start()
    assert "There is no seccomp agent, since another monoshimd listens on %s/seccomp" % d.directory in second.log_text()
    second.connect().sync()
    second.restart()
    c, status, text = run(client, fifo, bundle("mkdir", "/dev/x", extra_linux=seccomp(d)))
    assert status == 1 and b"Read-only file system" in text
    c.delete()


@pytest.mark.skipif(not shutil.which("crun"), reason="crun is not installed")
def test_crun_too(policy, bundle, fifo):
    d, client = policy("[Seccomp]", "Errno=mkdir:EROFS", runtime="crun")
    try:
        c, status, text = run(client, fifo, bundle("mkdir", "/dev/x", extra_linux=seccomp(d)))
    except t.DBusError as e:
        if "hybrid mode not supported" in e.message:
            pytest.skip("crun does not run where there are both versions of cgroups")
        raise
    assert status == 1 and b"Read-only file system" in text
    assert told(c.events("TaskSeccomp")) == [("mkdir", "errno", 30, 1)]
    c.delete()
