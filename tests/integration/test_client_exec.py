# SPDX-License-Identifier: LGPL-2.1-or-later
"""The client beside a container's own life: exec, attach, terminals, and what else there is to be done to a container that runs."""

import fcntl
import hashlib
import json
import os
import pty
import re
import select
import signal
import struct
import subprocess
import termios
import time

import pytest

import monoshim_testing as t
from monoshim_testing import PROCESS
from test_client import Result, end, fake_shell, make_shell, read_line, shell  # noqa: F401 (fixtures)

SHELL = ["busybox", "sh"]


class Screen:
    """The client on a terminal, with somebody in front of it. Its own side is kept open, so that the modes that the client
    leaves behind can be looked at."""

    def __init__(self, shell, *arguments, columns=80, rows=24, env=None, stdin=None, stdout=None):
        self.fd, self.tty = pty.openpty()
        self.resize(columns, rows)
        self.modes = termios.tcgetattr(self.tty)
        self.text = ""

        def take():
            os.setsid()
            fcntl.ioctl(self.tty, termios.TIOCSCTTY, 0)
            for s in (signal.SIGINT, signal.SIGQUIT, signal.SIGPIPE, signal.SIGHUP, signal.SIGTSTP):
                signal.signal(s, signal.SIG_DFL)

        self.process = shell.start(*arguments, stdin=self.tty if stdin is None else stdin, stdout=self.tty if stdout is None else stdout,
                                   stderr=self.tty, preexec_fn=take, env={"TERM": "xterm", **(env or {})}, pass_fds=[self.tty])

    def __enter__(self):
        return self

    def __exit__(self, *_):
        if self.process.poll() is None:
            self.process.kill()
            self.process.wait()
        os.close(self.fd)
        os.close(self.tty)

    def resize(self, columns, rows):
        fcntl.ioctl(self.fd, termios.TIOCSWINSZ, struct.pack("HHHH", rows, columns, 0, 0))

    def type(self, text):
        data = text.encode()
        while data:
            data = data[os.write(self.fd, data):]

    def _read(self, timeout):
        if not select.select([self.fd], [], [], timeout)[0]:
            return False
        self.text += os.read(self.fd, 65536).decode(errors="replace")
        return True

    def expect(self, pattern):
        """Waits until this has been shown, and forgets all up to there."""
        while not (m := re.search(pattern, self.text)):
            assert self._read(t.TIMEOUT), "%r is not on the screen: %r" % (pattern, self.text)
        self.text = self.text[m.end():]
        return m

    def is_raw(self):
        return not termios.tcgetattr(self.tty)[3] & (termios.ICANON | termios.ECHO | termios.ISIG)

    def wait_raw(self):
        t.wait_for(self.is_raw, what="the terminal to be raw")

    def wait(self):
        """The exit status, with all that has been shown in self.text; the terminal must be as it was."""
        deadline = time.monotonic() + t.TIMEOUT
        while self.process.poll() is None:
            self._read(0.02)
            assert time.monotonic() < deadline, "monoshim does not end; on the screen: %r" % self.text
        while self._read(0):
            pass
        assert termios.tcgetattr(self.tty) == self.modes, "the modes of the terminal are not what they were"
        return self.process.returncode


@pytest.fixture
def web(shell, bundle):
    """A container with nothing but a shell that waits."""
    shell("run", "-d", "-b", bundle("sh", "-c", "trap 'exit 0' TERM; while :; do sleep 0.05; done"), "web").ok("web\n")
    return "web"


def screen(shell, *arguments, **kw):
    return Screen(shell, "exec", "-it", *arguments, **kw)


# ---------------------------------------------------------------------------------------------------------------------
# exec


def test_exec_gives_the_programs_output_and_status(shell, web):
    r = shell("exec", web, "sh", "-c", "echo out; echo err >&2; exit 7")
    assert (r.status, r.out, r.err) == (7, "out\n", "err\n")
    assert shell("exec", web, "sh", "-c", "kill -9 $$").status == 137
    shell("exec", web, "--", "echo", "-n", "--detach").ok("--detach")


def test_exec_leaves_nothing_behind(shell, client, web):
    path = client.container(web).path
    shell("exec", web, "true").ok()
    assert not [p for p in client.tree() if p.startswith(path + "/process/")]
    assert json.loads(shell("list", "--json=short").ok(None))[0]["status"] == "running"


def test_exec_reads_only_when_it_is_to(shell, web):
    shell("exec", web, "cat", input="not for it").ok("")
    shell("exec", "-i", web, "cat", input="hi\nthere\n").ok("hi\nthere\n")


def test_exec_is_what_the_container_is(shell, client, web):
    r = shell("exec", "-e", "A=1", "--env=B=2 3", "-e", "FROM_US", "--env=NOBODY_HAS_THIS", web, "busybox", "env", env={"FROM_US": "x"})
    told = set(r.ok(None).splitlines())
    assert {"PATH=/bin", "TERM=dumb", "A=1", "B=2 3", "FROM_US=x"} <= told
    assert not [v for v in told if v.startswith("NOBODY")]
    assert "PATH=/usr/nowhere\n" in shell("exec", "-e", "PATH=/usr/nowhere", web, "/bin/busybox", "env").ok(None)
    shell("exec", "--cwd=/dev", web, "busybox", "pwd").ok("/dev\n")


def test_exec_as_somebody_else_has_no_capabilities(shell, web):
    shell("exec", "-u", "1000:1001", web, "sh", "-c", "echo $(id -u) $(id -g)").ok("1000 1001\n")
    effective = "busybox grep CapEff /proc/self/status"
    assert shell("exec", web, "sh", "-c", effective).ok(None).split()[1] != "0" * 16
    assert shell("exec", "-u", "1000", web, "sh", "-c", effective).ok(None).split()[1] == "0" * 16


def test_exec_of_a_process_from_a_file(shell, directory, web):
    path = os.path.join(directory, "process.json")
    with open(path, "w") as f:
        json.dump({"args": ["sh", "-c", "echo $0 $X"], "env": ["PATH=/bin", "X=y"], "cwd": "/tmp"}, f)
    shell("exec", "--process=" + path, web).ok("sh y\n")
    shell("exec", "--process=" + path, web, "busybox", "pwd").ok("/tmp\n")
    with open(path) as f:
        shell("exec", "--process=-", web, stdin=f).ok("sh y\n")
    with open(path, "w") as f:
        f.write("[]")
    shell("exec", "--process=" + path, web).failed(125, "holds no object")


def test_exec_passes_signals_on(shell, web):
    for name in ("TERM", "INT", "HUP", "QUIT", "USR1", "USR2"):
        p = shell.start("exec", web, "sh", "-c", "trap 'echo got %s; exit 9' %s; echo ready; while :; do sleep 0.02; done" % (name, name))
        assert read_line(p) == "ready\n"
        p.send_signal(getattr(signal, "SIG" + name))
        r = end(p)
        assert (r.status, r.out, r.err) == (9, "got %s\n" % name, "")


def test_exec_detached(shell, client, web):
    shell("exec", "-d", "--exec-id=job", web, "sh", "-c", "while :; do sleep 0.05; done").ok("job\n")
    pids = json.loads(shell("ps", "--json=short", web).ok(None))
    assert [p["exec_id"] for p in pids if p["command"].startswith("sh -c while")] == ["job"]
    assert "" in {p["exec_id"] for p in pids}
    table = shell("ps", web).ok(None).splitlines()
    assert table[0].split() == ["PID", "EXEC", "COMMAND"]
    assert [row for row in table if " job " in row and "sh -c while" in row], table

    waiter = shell.start("wait", "--exec=job", web)
    shell("kill", "-s", "USR1", "--exec=job", web).ok()
    assert end(waiter).status == 128 + signal.SIGUSR1
    shell("delete", "--exec=job", web).ok()
    shell("delete", "--exec=job", web).failed(1, "job")
    shell("delete", "--force", "--exec=job", web).ok()

    told = json.loads(shell("exec", "--json=short", "-d", web, "true").ok(None))
    assert told == {"namespace": "default", "id": "web", "exec_id": told["exec_id"], "path": told["path"]}
    assert re.fullmatch("exec-[0-9a-f]{16}", told["exec_id"])
    assert json.loads(shell("wait", "--json=short", "--exec=" + told["exec_id"], web).ok(None))[0]["exit_status"] == 0
    assert client.get(told["path"], PROCESS, "Status") == "stopped"


def test_exec_says_what_is_wrong(shell, web):
    shell("exec", "nobody", "true").failed(125, "nobody")
    # The runtime complains on what would have been the program's stderr, too.
    shell("exec", "--stderr=", web, "/bin/there-is-no-such-thing").failed(125, "Cannot start default/web/exec-", "there-is-no-such-thing")
    shell("exec", "--exec-id=web", web, "true").failed(125, "already exists")
    shell("exec", "--exec-id=a/b", web, "true").failed(125, "names no process")


def test_exec_sees_the_container_end(shell, web):
    p = shell.start("exec", web, "sh", "-c", "echo ready; sleep 1000")
    assert read_line(p) == "ready\n"
    shell("kill", "-s", "KILL", web).ok()
    assert end(p).status == 137


def test_a_second_signal_does_not_wait_for_the_creation(fake, fake_shell, bundle):
    """The first one waits for it, so that nothing is left behind; whoever insists is obeyed, and it goes on without us."""
    fake.control.set("web", "create", "sleep 4")
    p = fake_shell.start("run", "-b", bundle("sleep", "inf"), "web")
    t.wait_for(lambda: fake.control.invocations("create", "web"), what="runtime create")
    p.send_signal(signal.SIGINT)
    time.sleep(0.3)
    assert p.poll() is None
    p.send_signal(signal.SIGINT)
    assert p.wait(2) == -signal.SIGINT
    client = fake.connect()
    t.wait_for(lambda: client.list().get(("default", "web"), [None])[0] == "created", what="the container to be created")


def test_run_detached_starts_again_when_the_daemon_dies_while_starting(fake, fake_shell, bundle):
    fake.control.set("web", "start", "once", "sleep 5")
    p = fake_shell.start("run", "-d", "-b", bundle("sleep", "inf"), "web")
    t.wait_for(lambda: fake.control.invocations("start", "web"), what="runtime start")
    fake.restart("kill")
    end(p).ok("web\n")
    assert fake.connect().list()["default", "web"][0] == "running"


# ---------------------------------------------------------------------------------------------------------------------
# terminals


def test_typing_and_an_exit_status(shell, web):
    with screen(shell, web, *SHELL) as s:
        s.expect("[#$] ")
        s.type("echo a-$((1 + 2))-b\r")
        s.expect(r"\na-3-b\r\n")
        assert s.is_raw()
        s.type("test -t 0 && test -t 1 && test -t 2 && echo TE''RM=$TERM\r")
        s.expect("\nTERM=xterm\r")
        s.type("exit 5\r")
        assert s.wait() == 5


def test_the_terminal_has_our_size_and_follows_it(shell, web):
    with screen(shell, web, "sh", "-c", "busybox stty size; trap 'busybox stty size' WINCH; echo ready; while :; do sleep 0.02; done",
                columns=91, rows=37) as s:
        s.expect("^37 91\r\n")
        s.expect("ready")
        s.resize(101, 41)
        s.expect("41 101\r\n")
        s.resize(60, 20)
        s.expect("20 60\r\n")
        s.type("\x03")
        assert s.wait() == 130


def test_ctrl_c_and_ctrl_d_are_the_programs(shell, web):
    with screen(shell, web, *SHELL) as s:
        s.expect("[#$] ")
        s.type("sleep 1000\r")
        s.expect("sleep 1000\r\n")
        time.sleep(0.2)
        s.type("\x03")
        s.expect("[#$] ")
        s.type("echo $?\r")
        s.expect("\n130\r")
        s.type("\x04")
        assert s.wait() in (0, 130)


def test_job_control(shell, web):
    with screen(shell, web, *SHELL) as s:
        s.expect("[#$] ")
        s.type("sh -c 'echo now; read x; echo read $x'\r")
        s.expect("now\r\n")
        s.type("\x1a")
        s.expect("Stopped")
        s.type("fg\r")
        s.expect("sh -c")
        s.type("this\r")
        s.expect("\nread this\r")
        s.type("exit\r")
        assert s.wait() == 0


def test_a_full_screen_program(shell, web):
    with screen(shell, web, "busybox", "vi", "/dev/text", columns=40, rows=12) as s:
        s.expect("/dev/text")
        s.type("ione line\x1b")
        s.expect("one line")
        s.type(":wq\r")
        assert s.wait() == 0
    shell("exec", web, "cat", "/dev/text").ok("one line\n")


def test_what_is_shown_at_the_end_is_not_lost(shell, web):
    with screen(shell, web, "seq", "20000") as s:
        status = s.wait()
        assert status == 0
        assert s.text == "".join("%d\r\n" % i for i in range(1, 20001))
    for _ in range(10):
        with screen(shell, web, "echo", "short") as s:
            assert s.wait() == 0
            assert s.text == "short\r\n"


def test_a_slow_reader_gets_everything(shell, web):
    """Through a pipe, that nobody reads for a while."""
    p = shell.start("exec", "-t", web, "seq", "50000")
    time.sleep(1)
    r = end(p)
    assert r.status == 0
    assert r.out == "".join("%d\n" % i for i in range(1, 50001))  # Python makes \n of \r\n


def test_a_reader_that_pauses_gets_the_end(shell, web):
    """What is still in the terminal when the program has ended, taken in pieces by somebody who looks away in between, for
    longer than a terminal has to be silent to be done with."""
    r, w = os.pipe()
    fcntl.fcntl(w, fcntl.F_SETPIPE_SZ, 4096)
    p = shell.start("exec", "-t", web, "seq", "3000", stdout=w)
    os.close(w)
    data = b""
    while chunk := os.read(r, 4096):
        data += chunk
        time.sleep(0.17)
    os.close(r)
    assert p.wait(t.TIMEOUT) == 0
    assert data == b"".join(b"%d\r\n" % i for i in range(1, 3001))


def test_signals_end_us_when_nobody_takes_the_rest(shell, client, web):
    for name in ("TERM", "INT", "HUP", "QUIT"):
        r, w = os.pipe()
        fcntl.fcntl(w, fcntl.F_SETPIPE_SZ, 4096)
        p = shell.start("exec", "-t", "--exec-id=job", web, "seq", "2000", stdout=w)
        os.close(w)
        path = t.exec_path("default", web, "job")
        t.wait_for(lambda: path in client.tree() and client.get(path, PROCESS, "Status") == "stopped", what="the program to end")
        time.sleep(0.3)
        assert p.poll() is None
        p.send_signal(getattr(signal, "SIG" + name))
        assert end(p).status == 128 + getattr(signal, "SIG" + name)
        os.close(r)
        assert path not in client.tree()


def test_much_is_typed(shell, web):
    """More than any buffer holds, in lines, and every byte arrives."""
    lines = "".join("%06d %s\n" % (i, "x" * 70) for i in range(3000))
    p = shell.start("exec", "-it", web, "sh", "-c", "busybox stty -echo; echo ready; busybox md5sum", stdin=subprocess.PIPE)
    assert read_line(p) == "ready\r\n"
    out, err = p.communicate(lines, timeout=t.TIMEOUT)
    assert (p.returncode, err) == (0, "")
    assert out.split()[0] == hashlib.md5(lines.encode()).hexdigest()


@pytest.mark.parametrize("text, shown", [("hi\n", "hi\n"), ("", ""), ("no newline", "no newline")])
def test_the_end_of_a_file_is_typed(shell, web, text, shown):
    p = shell.start("exec", "-it", web, "sh", "-c", "busybox stty -echo; echo ready; cat; echo end", stdin=subprocess.PIPE)
    assert read_line(p) == "ready\r\n"
    out, err = p.communicate(text, timeout=t.TIMEOUT)
    assert (p.returncode, out, err) == (0, shown + "end\n", "")


def test_input_from_a_file(shell, directory, web):
    path = os.path.join(directory, "input")
    with open(path, "w") as f:
        f.write("from a file\n")
    with open(path) as f:
        r = shell("exec", "-it", web, "sh", "-c", "busybox stty -echo; cat", stdin=f)
    assert r.status == 0 and r.out.replace("\r", "").endswith("from a file\n"), r
    with open(os.path.join(directory, "output"), "w+") as f:
        shell("exec", "-t", web, "echo", "to a file", stdout=f)
        f.seek(0)
        assert f.read() == "to a file\n"


def test_without_i_nothing_is_typed(shell, web):
    with Screen(shell, "exec", "-t", web, "sh", "-c", "echo ready; read x; echo $x") as s:
        s.expect("ready")
        assert not s.is_raw()
        s.type("hello\r")
        time.sleep(0.2)
        s.process.send_signal(signal.SIGTERM)
        assert s.wait() == 143


def test_the_flags_of_our_streams_are_left_alone(shell, web):
    r, w = os.pipe()
    with screen(shell, web, "sh", "-c", "echo ready; read x; yes | head -20000", stdout=w) as s:
        assert os.read(r, 7) == b"ready\r\n"
        for fd in (s.tty, r, w):
            assert not fcntl.fcntl(fd, fcntl.F_GETFL) & os.O_NONBLOCK
        s.type("go\r")
        os.close(w)
        data = b""
        while chunk := os.read(r, 65536):
            data += chunk
        assert s.wait() == 0
    os.close(r)
    assert data.endswith(b"y\r\n" * 20000)


def test_a_file_ends_but_once_without_lines(shell, web):
    program = "busybox stty raw -echo min 0 time 20; echo ready; busybox hexdump -v -e '1/1 \"%02x.\"'; echo end"
    p = shell.start("exec", "-it", web, "sh", "-c", program, stdin=subprocess.PIPE)
    read_line(p)
    out, err = p.communicate("abc", timeout=t.TIMEOUT)
    assert (out.rstrip(), err) == ("61.62.63.04.end", "")


@pytest.mark.parametrize("name", ["TERM", "HUP", "INT", "QUIT"])
def test_a_signal_that_ends_us_gives_the_terminal_back(shell, web, name):
    with screen(shell, "--exec-id=sh", web, *SHELL) as s:
        s.expect("[#$] ")
        s.process.send_signal(getattr(signal, "SIG" + name))
        assert s.wait() == 128 + getattr(signal, "SIG" + name)
        assert "default/web/sh goes on." in s.text
    with Screen(shell, "attach", web, "sh") as s:
        s.wait_raw()
        s.type("exit 3\r")
        assert s.wait() == 3
    shell("delete", "--exec=sh", web).ok()


@pytest.mark.parametrize("name", ["ABRT", "SEGV"])
def test_a_crash_gives_the_terminal_back(shell, web, name):
    if name == "SEGV" and t._has_sanitizer(t.MONOSHIM):
        pytest.skip("the sanitizer catches it")
    with screen(shell, "--exec-id=sh", web, *SHELL) as s:
        s.expect("[#$] ")
        s.process.send_signal(getattr(signal, "SIG" + name))
        assert s.wait() == -getattr(signal, "SIG" + name)
    shell("delete", "--force", "--exec=sh", web).ok()


def test_being_stopped_gives_the_terminal_back_for_a_while(shell, web):
    with screen(shell, web, *SHELL) as s:
        s.expect("[#$] ")
        s.process.send_signal(signal.SIGTSTP)
        t.wait_for(lambda: t.read_stat(s.process.pid)[0] == "T", what="monoshim to stop")
        assert termios.tcgetattr(s.tty) == s.modes
        s.process.send_signal(signal.SIGCONT)
        s.wait_raw()
        s.type("echo a''b; exit 4\r")
        s.expect("\nab\r")
        assert s.wait() == 4


class Jobs:
    """A shell with job control, to call the client from."""

    def __init__(self, shell):
        self.shell = shell

    def start(self, env, **kw):
        p = subprocess.Popen(["sh", "-i"], env=self.shell.environment(PS1="", **env), text=True, **kw)
        self.shell.started.append(p)
        return p


def test_going_on_in_the_background_leaves_the_terminal_alone(shell, web):
    with Screen(Jobs(shell)) as s:
        s.type(t.MONOSHIM + " exec -it --exec-id=sh web sh\r")
        s.wait_raw()
        monoshim = t.wait_for(lambda: t.children(s.process.pid), what="monoshim")[0]
        os.kill(monoshim, signal.SIGSTOP)
        t.wait_for(lambda: os.tcgetpgrp(s.fd) == s.process.pid, what="the shell to be in the foreground")
        termios.tcsetattr(s.tty, termios.TCSANOW, s.modes)
        os.kill(monoshim, signal.SIGCONT)
        time.sleep(0.3)
        assert t.read_stat(monoshim)[0] != "T"
        assert termios.tcgetattr(s.tty) == s.modes

        s.type("fg\r")
        s.wait_raw()
        os.kill(monoshim, signal.SIGSTOP)
        t.wait_for(lambda: os.tcgetpgrp(s.fd) == s.process.pid, what="the shell to be in the foreground")
        os.kill(monoshim, signal.SIGCONT)
        os.kill(monoshim, signal.SIGTERM)
        t.wait_for(lambda: not t.is_alive(monoshim), what="monoshim to end in the background")
        s.type(":\r")
        s.expect("Done")
        s.type("exit\r")
        s.wait()
    shell("delete", "--force", "--exec=sh", web).ok()


def test_a_process_left_behind_does_not_keep_us(shell, web):
    with screen(shell, web, "sh", "-c", "trap '' HUP; sleep 1000 & echo done") as s:
        assert s.wait() == 0
        assert s.text == "done\r\n"


def test_a_reader_that_goes_hangs_the_program_up(shell, web):
    r, w = os.pipe()
    p = shell.start("exec", "-t", web, "yes", stdout=w)
    os.close(w)
    assert os.read(r, 3) == b"y\r\n"
    os.close(r)
    assert p.wait(t.TIMEOUT) == 128 + signal.SIGHUP


# ---------------------------------------------------------------------------------------------------------------------
# leaving, and coming back


def test_keys_leave_it_running(shell, web):
    with screen(shell, "--exec-id=sh", web, *SHELL) as s:
        s.expect("[#$] ")
        s.type("x=kept\r")
        s.type("\x10\x11")
        assert s.wait() == 0
        assert "default/web/sh goes on." in s.text
    with Screen(shell, "attach", web, "sh", columns=123, rows=45) as s:
        s.wait_raw()
        s.type("echo $x; busybox stty size; exit 6\r")
        s.expect("\nkept\r\n")
        s.expect("45 123\r\n")
        assert s.wait() == 6
    shell("delete", "--exec=sh", web).ok()


def test_other_keys(shell, web):
    with screen(shell, "--exec-id=sh", "--detach-keys=ctrl-a,d", web, "sh", "-c", "busybox stty raw -echo; echo ready; busybox hexdump -v -e '1/1 \"%02x.\"'") as s:
        s.expect("ready")
        s.type("\x01\x01x\x10\x11")
        s.type("y" * 16)
        s.expect(re.escape("01.01.78.10.11."))
        s.type("\x01")
        s.type("d")
        assert s.wait() == 0
    shell("delete", "--force", "--exec=sh", web).ok()
    shell("exec", "--detach-keys=ctrl-", web, "true").failed(125, "no keys", lines=2)


def test_run_on_a_terminal(shell, client, bundle):
    with Screen(shell, "run", "-it", "-b", bundle(*SHELL, terminal=True), "web", columns=71, rows=17) as s:
        s.expect("[#$] ")
        s.type("busybox stty size; exit 8\r")
        s.expect("\n17 71\r\n")
        assert s.wait() == 8
    assert client.list() == {}


def test_run_detached_with_a_terminal_and_attach(shell, client, bundle):
    shell("run", "-dt", "-b", bundle(*SHELL, terminal=True), "web").ok("web\n")
    with Screen(shell, "attach", "web") as s:
        s.wait_raw()
        s.type("echo a''b\r")
        s.expect("\nab\r")
        s.type("\x10\x11")
        assert s.wait() == 0
    with Screen(shell, "attach", "web") as s:
        s.wait_raw()
        s.type("exit 2\r")
        assert s.wait() == 2
    assert client.list()["default", "web"][0] == "stopped"
    assert shell("wait", "web").status == 2


def test_several_of_us_on_one_terminal(shell, bundle):
    """Each sees a part, and none waits for what another one has taken."""
    shell("run", "-dt", "-b", bundle("sh", "-c", "busybox stty -echo; while read x; do echo $x; done", terminal=True), "web").ok("web\n")
    with Screen(shell, "attach", "web") as a, Screen(shell, "attach", "web") as b:
        a.wait_raw()
        b.wait_raw()
        for i in range(200):
            (a, b)[i % 2].type("line-%d-\r" % i)

            def shown():
                a._read(0.01)
                b._read(0.01)
                return "line-%d-" % i in a.text + b.text
            t.wait_for(shown, what="line %d" % i)
        for s in (a, b):
            s.type("\x10\x11")
            assert s.wait() == 0


def test_attach_before_the_start(shell, bundle):
    shell("create", "-t", "-b", bundle("sh", "-c", "echo begun; exit 4", terminal=True), "web").ok("web\n")
    with Screen(shell, "attach", "web") as s:
        s.wait_raw()
        shell("start", "web").ok()
        s.expect("begun")
        assert s.wait() == 4


def test_attach_to_what_has_no_terminal(shell, web):
    shell("attach", web).failed(125, "Cannot open the terminal of default/web")
    shell("attach", "nobody").failed(125, "nobody")
    shell("attach", web, "nothing").failed(125, "nothing")


@pytest.mark.parametrize("how", ["term", "kill"])
def test_a_terminal_goes_on_while_the_daemon_is_restarted(daemon, shell, web, how):
    with screen(shell, web, *SHELL) as s:
        s.expect("[#$] ")
        daemon.restart(how)
        s.type("echo a''b\r")
        s.expect("\nab\r")
        s.type("exit 9\r")
        assert s.wait() == 9


# ---------------------------------------------------------------------------------------------------------------------
# what else there is


def test_pause_and_resume(shell, client, web):
    shell("pause", web).ok()
    assert client.container(web).status == "paused"
    shell("pause", web).failed(1, "Cannot pause default/web")
    shell("resume", web).ok()
    assert client.container(web).status == "running"
    shell("resume", web).failed(1, "Cannot resume default/web")
    shell("pause", "nobody", web).failed(1, "Cannot pause default/nobody")
    assert client.container(web).status == "paused"
    shell("resume", web).ok()


def test_update_and_stats(shell, directory, web):
    shell("update", "--memory=64M", "--pids-limit=77", web).ok()
    row, = json.loads(shell("stats", "--json=short", "--interval=50ms", web).ok(None))
    assert (row["namespace"], row["id"]) == ("default", "web")
    assert (row["MemoryMax"], row["PidsMax"]) == (64 << 20, 77)
    assert row["PidsCurrent"] >= 1 and row["MemoryCurrent"] > 0 and row["CPUUsageUSec"] > 0
    assert 0 <= row["cpu_percent"] < 10000

    path = os.path.join(directory, "resources.json")
    with open(path, "w") as f:
        json.dump({"memory": {"limit": 80 << 20}}, f)
    shell("update", "--resources=" + path, web).ok()
    assert json.loads(shell("stats", "--json=short", "--interval=50ms").ok(None))[0]["MemoryMax"] == 80 << 20

    lines = shell("stats", "--interval=50ms").ok(None).splitlines()
    assert lines[0].split() == ["NAMESPACE", "ID", "CPU", "%", "MEMORY", "LIMIT", "PIDS", "READ", "WRITTEN", "OOM"]
    assert re.match(r"default +web +[\d.]+ +\S+ +80M ", lines[1]), lines
    shell("stats", "nobody").failed(1, "nobody")


def test_stats_go_on_on_a_terminal(shell, web):
    with Screen(shell, "stats", "--interval=50ms") as s:
        for _ in range(3):
            s.expect(r"\x1b\[H\x1b\[JNAMESPACE.*\r\ndefault +web ")
        s.type("\x03")
        assert s.wait() == -signal.SIGINT


def test_options_reach_the_daemon(fake, fake_shell, bundle, directory):
    b = bundle("sleep", "inf", own_rootfs=True)
    os.mkdir(os.path.join(directory, "source"))
    source = os.path.join(directory, "source", "mark")
    with open(source, "w") as f:
        f.write("x")
    client = fake.connect()
    fake_shell("create", "-b", b, "--rootfs-mount=bind:source:tmp:rbind,ro", "--relay", "--stdout=file://%s/out" % directory,
               "--io-uid=1000", "--io-gid=1001", "web").ok("web\n")
    event = client.wait_event("TaskCreate", "web")
    assert event.rootfs == [("bind", directory + "/source", "tmp", ["rbind", "ro"])]
    assert os.path.exists(os.path.join(b, "rootfs/tmp/mark"))


def test_a_checkpoint_needs_what_criu_needs(shell, directory, web):
    r = shell("checkpoint", web, "image", "--exit")
    assert r.status == 1 and r.err.startswith("monoshim: Cannot make an image of default/web: "), r


@pytest.mark.parametrize("arguments, status, texts", [
    (["exec"], 125, ["exec"]),
    (["exec", "web"], 125, ["No command"]),
    (["exec", "-u", "root", "web", "true"], 125, ["root"]),
    (["exec", "-u", "1:", "web", "true"], 125, ["1:"]),
    (["exec", "-e", "=x", "web", "true"], 125, ["=x"]),
    (["exec", "--cwd=tmp", "web", "true"], 125, ["tmp"]),
    (["exec", "-i", "--process=-", "web"], 125, ["stdin"]),
    (["attach", "a", "b", "c"], 125, ['"c"']),
    (["update", "web"], 2, ["No resource"]),
    (["update", "--memory=much", "web"], 2, ["much"]),
    (["update", "--cpus=0", "web"], 2, ['"0"']),
    (["update", "--pids-limit=-2", "web"], 2, ["-2"]),
    (["update", "--cpuset-cpus=a", "web"], 2, ['"a"']),
    (["checkpoint", "web"], 2, ["web"]),
    (["restore", "web", "bundle"], 2, ["bundle"]),
    (["ps", "a", "b"], 2, ['"b"']),
    (["stats", "--interval=0"], 2, ['"0"']),
    (["create", "--rootfs-mount=bind", "web"], 2, ["TYPE:SOURCE"]),
    (["create", "--io-uid=x", "web"], 2, ["io-uid", '"x"']),
    (["run", "--detach-keys=ab", "web"], 125, ['"ab"']),
])
def test_a_wrong_command_line_is_explained(make_shell, arguments, status, texts):
    r = make_shell("/nowhere")(*arguments)
    assert r.out == ""
    r.failed(status, *texts, lines=2)
