# SPDX-License-Identifier: LGPL-2.1-or-later
"""monoshim, the command-line client: its verbs, its exit status, what it prints, and what it does when things go wrong."""

import fcntl
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
from monoshim_testing import CONTAINER, FAKE_RUNTIME, MANAGER, MONOSHIM, PROCESS

VERBS = ["run", "exec", "attach", "create", "start", "kill", "stop", "pause", "resume", "update", "delete", "wait",
         "checkpoint", "restore", "list", "logs", "inspect", "ps", "stats", "events", "reload",
         "help"]


class Shell:
    """The client as somebody calls it from a shell: with the address in the environment, and every signal at its default."""

    def __init__(self, address, cwd=None):
        self.address = address
        self.cwd = cwd
        self.started = []

    def environment(self, **more):
        env = {k: v for k, v in os.environ.items() if not k.startswith("MONOSHIM_")}
        env.update(MONOSHIM_ADDRESS=self.address, LC_ALL="C.UTF-8", TZ="UTC")
        env.pop("COLUMNS", None)
        env.update(more)
        return env

    def start(self, *arguments, env=None, **kw):
        def defaults():
            for s in (signal.SIGINT, signal.SIGQUIT, signal.SIGPIPE, signal.SIGHUP):
                signal.signal(s, signal.SIG_DFL)

        kw.setdefault("preexec_fn", defaults)
        for stream in ("stdin", "stdout", "stderr"):
            kw.setdefault(stream, subprocess.DEVNULL if stream == "stdin" else subprocess.PIPE)
        p = subprocess.Popen([MONOSHIM, *map(str, arguments)], env=self.environment(**(env or {})), cwd=self.cwd, text=True, **kw)
        self.started.append(p)
        return p

    def __call__(self, *arguments, input=None, timeout=None, **kw):
        if input is not None:
            kw["stdin"] = subprocess.PIPE
        p = self.start(*arguments, **kw)
        out, err = p.communicate(input, timeout=timeout or t.TIMEOUT)
        return Result(arguments, p.returncode, out, err)

    def close(self):
        for p in self.started:
            if p.poll() is None:
                p.kill()
                p.wait()
            for stream in (p.stdin, p.stdout, p.stderr):
                if stream:
                    stream.close()


class Result:
    def __init__(self, arguments, status, out, err):
        self.arguments, self.status, self.out, self.err = arguments, status, out, err

    def __repr__(self):
        return "monoshim %s: status %d\nstdout: %r\nstderr: %r" % (" ".join(map(str, self.arguments)), self.status, self.out, self.err)

    def ok(self, out=""):
        """It succeeded without complaint, and printed just this (None: whatever)."""
        assert self.status == 0 and not self.err, self
        assert out is None or self.out == out, self
        return self.out

    def failed(self, status, *texts, lines=1):
        """It failed, and said why, in that many lines."""
        assert self.status == status, self
        complaints = self.err.splitlines()
        assert len(complaints) == lines and complaints[0].startswith("monoshim: "), self
        for text in texts:
            assert text in self.err, self
        return self


@pytest.fixture
def make_shell(directory):
    made = []

    def make(address):
        made.append(Shell(address, directory))
        return made[-1]

    yield make
    for s in made:
        s.close()


@pytest.fixture
def shell(daemon, make_shell):
    return make_shell("unix:path=" + daemon.socket)


@pytest.fixture
def fake_shell(fake, make_shell):
    return make_shell(fake.socket)


def read_line(process):
    """One line, read byte by byte, so that nothing is left in a buffer where select() does not see it."""
    line = b""
    while not line.endswith(b"\n"):
        ready, _, _ = select.select([process.stdout], [], [], t.TIMEOUT)
        assert ready, "nothing more was printed; so far: %r" % line
        byte = os.read(process.stdout.fileno(), 1)
        assert byte, "monoshim has ended with %s: %s" % (process.wait(t.TIMEOUT), process.stderr.read())
        line += byte
    return line.decode()


def end(process, timeout=None):
    out, err = process.communicate(timeout=timeout or t.TIMEOUT)
    return Result(process.args[1:], process.returncode, out, err)


# ---------------------------------------------------------------------------------------------------------------------
# run


def test_run_gives_the_containers_output_and_status_and_leaves_nothing(shell, client, bundle):
    r = shell("run", "--bundle=" + bundle("sh", "-c", "echo out; echo err >&2; exit 7"), "web")
    assert (r.status, r.out, r.err) == (7, "out\n", "err\n")
    assert client.list() == {}
    assert [e.name for e in client.get_events()[1]] == ["TaskCreate", "TaskStart", "TaskExit", "TaskDelete"]


def test_run_reads_from_a_pipe(shell, bundle):
    shell("run", "-b", bundle("cat"), "web", input="hi\nthere\n").ok("hi\nthere\n")


@pytest.mark.parametrize("closed", [(0,), (1,), (2,), (0, 1, 2)])
def test_run_with_closed_streams_gives_the_container_null(shell, bundle, closed):
    b = bundle("sh", "-c", "readlink /proc/self/fd/0; cat; echo out; echo err >&2; exit 5")

    def close_them():
        for fd in closed:
            os.close(fd)

    p = shell.start("run", "-b", b, "web", stdin=subprocess.PIPE, preexec_fn=close_them)
    out, err = p.communicate("in\n", timeout=t.TIMEOUT)
    r = Result(p.args, p.returncode, out, err)
    assert r.status == 5, r
    assert (r.err == "err\n") == (2 not in closed), r
    if 1 not in closed:
        lines = r.out.splitlines()
        assert lines[1:] == (["out"] if 0 in closed else ["in", "out"]), r
        assert (lines[0] == "/dev/null") == (0 in closed), r


def test_run_takes_the_current_directory_for_the_bundle(shell, bundle):
    shell.cwd = bundle("echo", "here")
    shell("run", "web").ok("here\n")
    shell("run", "-b", ".", "web").ok("here\n")
    shell.cwd = os.path.dirname(shell.cwd)
    shell("run", "-b", "./b1/.//", "web").ok("here\n")


def test_run_with_streams_of_its_own(shell, bundle, fifo):
    out = fifo("out").open_reader()
    r = shell("run", "-b", bundle("sh", "-c", "cat; echo out; echo err >&2"), "--stdin=", "--stdout=" + out.path, "--stderr=-", "web",
              input="nobody reads this")
    assert (r.status, r.out, r.err) == (0, "", "err\n")
    assert out.read_to_end() == b"out\n"


def test_a_relative_fifo_is_where_the_user_is(shell, bundle, fifo):
    out = fifo("out").open_reader()
    shell("run", "-b", bundle("echo", "x"), "--stdout=./out", "web").ok()
    assert out.read_to_end() == b"x\n"


def test_run_says_137_when_the_container_was_killed(shell, bundle):
    p = shell.start("run", "-b", bundle("sh", "-c", "echo ready; sleep 1000"), "web")
    assert read_line(p) == "ready\n"
    shell("kill", "-s", "KILL", "web").ok()
    assert end(p).status == 137
    shell("list", "-q").ok("")


@pytest.mark.parametrize("name", ["TERM", "INT", "HUP", "QUIT", "USR1", "USR2"])
def test_run_passes_signals_on(shell, bundle, name):
    p = shell.start("run", "-b", bundle("sh", "-c", "trap 'echo got %s; exit 9' %s; echo ready; while :; do sleep 0.02; done" %
                                        (name, name)), "web")
    assert read_line(p) == "ready\n"
    p.send_signal(getattr(signal, "SIG" + name))
    r = end(p)
    assert (r.status, r.out, r.err) == (9, "got %s\n" % name, "")


def test_ctrl_c_on_a_terminal_reaches_the_container(shell, bundle):
    b = bundle("sh", "-c", "trap 'echo interrupted; exit 3' INT; echo ready; while :; do sleep 0.02; done")
    with Terminal(shell, "run", "-b", b, "web") as terminal:
        terminal.read_until("ready")
        os.write(terminal.fd, b"\x03")
        assert terminal.wait() == 3
        assert "interrupted" in terminal.text


def test_run_that_is_interrupted_before_the_start_starts_nothing(fake, fake_shell, bundle):
    fake.control.set("web", "create", "sleep 1")
    p = fake_shell.start("run", "-b", bundle("sleep", "inf"), "web")
    t.wait_for(lambda: fake.control.invocations("create", "web"), what="runtime create")
    p.send_signal(signal.SIGINT)
    r = end(p)
    assert (r.status, r.err) == (128 + signal.SIGINT, "")
    client = fake.connect()
    assert client.list() == {}
    assert [e.name for e in client.get_events()[1]] == ["TaskCreate", "TaskExit", "TaskDelete"]


def test_run_detached_is_interrupted_before_the_start_too(fake, fake_shell, bundle):
    fake.control.set("web", "create", "sleep 1")
    p = fake_shell.start("run", "-d", "-b", bundle("sleep", "inf"), "web")
    t.wait_for(lambda: fake.control.invocations("create", "web"), what="runtime create")
    p.send_signal(signal.SIGTERM)
    r = end(p)
    assert (r.status, r.out) == (128 + signal.SIGTERM, "")
    assert fake.connect().list() == {}


@pytest.mark.parametrize("detach", [[], ["--detach"]])
def test_run_deletes_what_it_could_not_start(fake, fake_shell, bundle, detach):
    fake.control.set("web", "start", "exit 1", "log cannot start this")
    r = fake_shell("run", *detach, "-b", bundle("sleep", "inf"), "web").failed(125, "Cannot start default/web: ", "cannot start this")
    assert r.out == ""
    assert fake.connect().list() == {}


def test_run_says_why_it_could_not_create(fake, fake_shell, directory, bundle):
    fake_shell("run", "-b", directory + "/nowhere", "web").failed(125, "Cannot create default/web: ", "/nowhere")
    fake.control.set("web", "create", "exit 1", "log runtime's words")
    fake_shell("run", "-b", bundle("sleep", "inf"), "web").failed(125, "OCI runtime create failed: runtime's words")


def test_run_of_an_id_that_is_taken_leaves_the_other_alone(fake, fake_shell, bundle):
    b = bundle("sleep", "inf")
    fake_shell("run", "-d", "-b", b, "web").ok("web\n")
    fake_shell("run", "-b", b, "web").failed(125, "already exists")
    assert fake.connect().list()["default", "web"][0] == "running"


def test_run_sees_an_end_that_comes_before_the_answer_to_start(fake, fake_shell, bundle):
    fake.control.set("web", "start", "die-before-return")
    r = fake_shell("run", "-b", bundle("sleep", "inf"), "web")
    assert r.status == 137, r
    assert fake.connect().list() == {}


@pytest.mark.parametrize("how", ["term", "kill"])
def test_run_goes_on_when_the_daemon_is_restarted(daemon, shell, bundle, how):
    p = shell.start("run", "-b", bundle("sh", "-c", "trap 'exit 6' USR1; echo ready; while :; do sleep 0.02; done"), "web")
    assert read_line(p) == "ready\n"
    daemon.restart(how)
    p.send_signal(signal.SIGUSR1)
    r = end(p)
    assert (r.status, r.err) == (6, "")
    assert daemon.connect().list() == {}


def test_run_starts_again_when_the_daemon_dies_while_starting(fake, fake_shell, bundle):
    fake.control.set("web", "start", "once", "sleep 5")
    p = fake_shell.start("run", "-b", bundle("exit", "3"), "web")
    t.wait_for(lambda: fake.control.invocations("start", "web"), what="runtime start")
    fake.restart("kill")
    r = end(p)
    assert (r.status, r.err) == (3, "")
    assert fake.connect().list() == {}


def test_run_deletes_in_the_end_when_the_daemon_dies_while_deleting(fake, fake_shell, bundle):
    fake.control.set("web", "delete", "once", "sleep 5")
    p = fake_shell.start("run", "-b", bundle("exit", "3"), "web")
    t.wait_for(lambda: fake.control.invocations("delete", "web"), what="runtime delete")
    fake.restart("kill")
    r = end(p)
    assert (r.status, r.err) == (3, "")
    assert fake.connect().list() == {}


def test_run_gives_up_when_the_daemon_stays_away(daemon, shell, bundle):
    p = shell.start("run", "-b", bundle("sh", "-c", "echo ready; sleep 1000"), "--stderr=", "web")
    assert read_line(p) == "ready\n"
    client = daemon.connect()
    t.wait_for(lambda: client.list()["default", "web"][0] == "running")
    daemon.kill9()
    status = p.wait(t.TIMEOUT)  # the container still has our stdout open
    Result(p.args, status, "", p.stderr.read()).failed(125, "monoshimd went away", "default/web")
    daemon.start()
    assert daemon.connect().list()["default", "web"][0] == "running"


def test_run_detached_prints_the_id_and_leaves_it_running(shell, client, bundle):
    b = bundle("sleep", "1000")
    shell("run", "--detach", "-b", b, "--label=a=b", "--label=c=d=e", "web").ok("web\n")
    status, pid, path = client.list()["default", "web"]
    assert status == "running"
    assert client.get(path, CONTAINER, "Labels") == {"a": "b", "c": "d=e"}
    assert [client.get(path, PROCESS, p) for p in ("Stdin", "Stdout", "Stderr")] == ["", "", ""]
    assert os.readlink("/proc/%d/fd/1" % pid) == "/dev/null"

    told = json.loads(shell("run", "--json=short", "-d", "-n", "other", "-b", bundle("sleep", "1000"), "web").ok(None))
    assert told == {"namespace": "other", "id": "web", "pid": client.list()["other", "web"][1],
                    "path": "/org/monoshim1/container/other/web"}


def test_everything_works_over_a_message_bus(message_bus, make_daemon, make_shell, bundle):
    make_daemon(bus=message_bus.address)
    shell = make_shell(message_bus.address)
    shell("run", "-b", bundle("cat"), "web", input="by bus\n").ok("by bus\n")
    topics = [line.split()[1] for line in shell("events").ok(None).splitlines()]
    assert topics == ["/tasks/create", "/tasks/start", "/tasks/exit", "/tasks/delete"]
    shell("start", "web").failed(1, "there is no such container")


# ---------------------------------------------------------------------------------------------------------------------
# create, start, kill, stop, delete, wait


def test_a_life_verb_by_verb(shell, client, bundle):
    shell("create", "-b", bundle("sh", "-c", "exit 4"), "web").ok("web\n")
    assert client.container("web").status == "created"
    shell("start", "web").ok()
    r = shell("wait", "web")
    assert (r.status, r.out, r.err) == (4, "", "")
    shell("delete", "web").ok()
    assert client.list() == {}


def test_options_of_create_reach_the_runtime(fake, fake_shell, directory, bundle):
    fake_shell("create", "-b", bundle("sleep", "inf"), "--runtime=" + FAKE_RUNTIME, "--runtime-root=" + directory + "/d0/runtime",
               "--systemd-cgroup", "--no-pivot", "--no-new-keyring", "web").ok("web\n")
    argv = fake.control.invocations("create", "web")[0]["argv"]
    for word in ("--systemd-cgroup", "--no-pivot", "--no-new-keyring"):
        assert word in argv
    assert argv[argv.index("--root") + 1] == directory + "/d0/runtime/default"
    client = fake.connect()
    assert client.get(client.container("web").path, CONTAINER, "Runtime") == FAKE_RUNTIME


def test_verbs_go_on_after_an_error(fake, fake_shell, bundle):
    b = bundle("sleep", "inf")
    for id in ("a", "b"):
        fake_shell("create", "-b", b, id).ok(id + "\n")
    fake_shell("start", "a", "nope", "b").failed(1, "Cannot start default/nope: there is no such container")
    client = fake.connect()
    assert {id: row[0] for (_, id), row in client.list().items()} == {"a": "running", "b": "running"}
    fake_shell("inspect", "nope", "a").failed(1, "Cannot inspect default/nope: ")
    fake_shell("kill", "--signal=KILL", "nope", "a", "../b", "b").failed(1, "default/nope", '"../b" names no container', lines=2)
    r = fake_shell("wait", "nope", "a", "b")
    assert sorted(r.out.splitlines()) == ["a 137", "b 137"]
    r.failed(125, "Cannot wait for default/nope: there is no such container")
    fake_shell("delete", "a", "nope", "b").failed(1, "Cannot delete default/nope: ")
    assert client.list() == {}


def test_state_errors_are_told_in_the_daemons_words(fake, fake_shell, bundle):
    fake_shell("run", "-d", "-b", bundle("sleep", "inf"), "web").ok("web\n")
    fake_shell("start", "web").failed(1, "Cannot start default/web: cannot start a running process")
    fake_shell("delete", "web").failed(1, "Cannot delete default/web: cannot delete a running process")
    fake_shell("stop", "web").ok()
    fake_shell("kill", "web").failed(1, "Cannot signal default/web: ")


@pytest.mark.parametrize("given, number, all", [([], 15, False), (["-s", "USR1"], 10, False), (["--signal=SIGRTMIN+1"], 35, False),
                                                (["-s9", "--all"], 9, True), (["-a", "-s", "hup"], 1, True)])
def test_kill_takes_names_and_numbers(fake, fake_shell, bundle, given, number, all):
    fake_shell("run", "-d", "-b", bundle("sleep", "inf"), "web").ok("web\n")
    fake_shell("kill", *given, "web").ok()
    argv = fake.control.invocations("kill-all" if all else "kill", "web")[0]["argv"]
    assert argv[-1] == str(number)
    assert ("--all" in argv) == all


def test_delete_by_force(shell, client, bundle):
    b = bundle("sh", "-c", "trap '' TERM; sleep 1000")
    shell("run", "-d", "-b", b, "running").ok("running\n")
    shell("create", "-b", bundle("true"), "created").ok("created\n")
    shell("run", "-d", "-b", bundle("true"), "stopped").ok("stopped\n")
    shell("delete", "--force", "running", "created", "nope", "stopped").ok()
    assert client.list() == {}


def test_wait_for_several(shell, bundle):
    shell("run", "-d", "-b", bundle("sh", "-c", "exit 3"), "a").ok("a\n")
    shell("run", "-d", "-n", "other", "-b", bundle("sh", "-c", "exit 5"), "b").ok("b\n")
    r = shell("wait", "a", "other/b")
    assert r.status == 5 and sorted(r.out.splitlines()) == ["a 3", "other/b 5"], r
    r = shell("wait", "--json=short", "other/b", "a")
    assert r.status == 3, r
    told = json.loads(r.out)
    assert [(x["namespace"], x["id"], x["exit_status"]) for x in told] == [("other", "b", 5), ("default", "a", 3)]
    assert all(abs(x["exited_at"] - t.now_usec()) < 60e6 * t.SCALE for x in told)


def test_wait_tells_each_end_as_it_comes(shell, client, bundle):
    for id in ("a", "b"):
        shell("run", "-d", "-b", bundle("sleep", "1000"), id).ok(id + "\n")
    p = shell.start("wait", "a", "b")
    time.sleep(0.1)
    client.container("b").kill()
    assert read_line(p) == "b 137\n"
    client.container("a").kill()
    r = end(p)
    assert (r.status, r.out) == (137, "a 137\n")


def test_wait_goes_on_when_the_daemon_is_restarted(daemon, shell, bundle):
    shell("run", "-d", "-b", bundle("sleep", "1000"), "web").ok("web\n")
    p = shell.start("wait", "web")
    time.sleep(0.2)
    daemon.restart("kill")
    shell("kill", "-s", "KILL", "web").ok()
    assert end(p).status == 137


def test_wait_is_answered_when_somebody_else_deletes(shell, client, bundle):
    shell("create", "-b", bundle("sleep", "1000"), "web").ok("web\n")
    p = shell.start("wait", "web")
    time.sleep(0.2)
    client.container("web").delete()
    assert end(p).status == 137


# ---------------------------------------------------------------------------------------------------------------------
# list, inspect


@pytest.fixture
def three(fake, fake_shell, bundle):
    """Three containers; returns their pids."""
    fake_shell("run", "-d", "-b", bundle("sleep", "inf"), "web").ok("web\n")
    fake_shell("create", "-b", bundle("sleep", "inf"), "a-container-with-quite-a-long-name").ok(None)
    fake_shell("create", "-n", "k8s.io", "-b", bundle("sleep", "inf"), "pod").ok(None)
    return {id: row[1] for (_, id), row in fake.connect().list().items()}


def test_list_is_a_table(three, fake_shell):
    width = max(len(str(pid)) for id, pid in three.items() if id != "pod")
    row = "%%-9s %%-34s %%-7s %%%ds\n" % width
    header = row % ("NAMESPACE", "ID", "STATUS", "PID")
    long = row % ("default", "a-container-with-quite-a-long-name", "created", three["a-container-with-quite-a-long-name"])
    web = row % ("default", "web", "running", three["web"])
    fake_shell("list").ok(header + long + web)
    fake_shell("list", "-n", "nobody").ok("NAMESPACE ID STATUS PID\n")
    rows = [line.split() for line in fake_shell("list", "--no-legend", "--all-namespaces").ok(None).splitlines()]
    assert [r[:3] for r in rows] == [["default", "a-container-with-quite-a-long-name", "created"], ["default", "web", "running"],
                                     ["k8s.io", "pod", "created"]]


def test_list_for_programs(three, fake_shell):
    fake_shell("list", "-q").ok("a-container-with-quite-a-long-name\nweb\n")
    fake_shell("list", "--quiet", env={"MONOSHIM_NAMESPACE": "k8s.io"}).ok("pod\n")
    ids = fake_shell("list", "-qA").ok("default/a-container-with-quite-a-long-name\ndefault/web\nk8s.io/pod\n").split()
    for mode in ("short", "pretty"):
        told = json.loads(fake_shell("--json=" + mode, "list", "-A").ok(None))
        assert [x["namespace"] + "/" + x["id"] for x in told] == ids
        assert {x["id"]: x["pid"] for x in told} == three
        assert told[2] == {"namespace": "k8s.io", "id": "pod", "status": "created", "pid": three["pod"],
                           "path": "/org/monoshim1/container/k8s_2eio/pod"}
    assert fake_shell("list", "--json=short").ok(None).count("\n") == 1
    fake_shell("list", "-n", "nobody", "--json=short").ok("[]\n")
    fake_shell("delete", "-f", *ids).ok()
    fake_shell("list", "-qA").ok("")


def test_list_chooses_by_state_and_label(fake, fake_shell, bundle):
    b = bundle("sleep", "inf")
    fake_shell("run", "-d", "-b", b, "--label=app=web", "--label=tier=front", "web").ok(None)
    fake_shell("run", "-d", "-b", b, "--label=app=db", "db").ok(None)
    fake_shell("create", "-n", "other", "-b", b, "--label=app=web", "new").ok(None)
    fake_shell("pause", "db").ok()
    for arguments, ids in ((["--state=running"], "web"), (["--state=paused,running"], "db web"), (["--state", "stopped"], ""),
                           (["-A", "--state=created", "--state=paused"], "default/db other/new"),
                           (["--label=app"], "db web"), (["-A", "--label", "app=web"], "default/web other/new"),
                           (["--label=app=web", "--label=tier"], "web"), (["--label=ap"], ""), (["--label=app="], ""),
                           (["--label=app", "--state=paused"], "db")):
        assert fake_shell("list", "-q", *arguments).ok(None).split() == ids.split(), arguments
    told = json.loads(fake_shell("list", "--label=tier", "--json=short").ok(None))
    assert [(c["id"], c["status"]) for c in told] == [("web", "running")]
    assert len(fake_shell("list", "--state=paused").ok(None).splitlines()) == 2


def test_list_in_a_form_of_ones_own(fake, fake_shell, bundle):
    b = bundle("sleep", "inf")
    fake_shell("create", "-b", b, "--label=app=a\tb", "--label=org.example.x=y z", "web").ok(None)
    c = fake.connect().container("web")
    fake_shell("list", "--format={{.Namespace}}/{{.ID}}\\t{{ .Status }} {{.Pid}}\\\\").ok("default/web\tcreated %d\\\n" % c.get("Pid"))
    fake_shell("list", "--format={{.Bundle}}|{{.Labels.app}}|{{.Labels.none}}|{{.Labels}}|{{.ExitStatus}}").ok(
        "%s|a b||app=a b,org.example.x=y z|0\n" % b)
    fake_shell("list", "--format={{.Labels.org.example.x}}{{.ExitedAt}}").ok("y z-\n")
    assert re.fullmatch(r"20\d\d-.*\+00:00\n", fake_shell("list", "--format={{.CreatedAt}}").ok(None))
    fake_shell("list", "-n", "none", "--format=x").ok("")
    for field in re.search(r"Fields are (.*?)\.\n", fake_shell("list", "--help").ok(None), re.S).group(1).replace(" and", ",").split(","):
        assert fake_shell("list", "--format={{.%s}}" % field.strip()).ok(None)


def test_colours_are_for_terminals_that_want_them(three, fake_shell):
    for env, coloured in (({"TERM": "xterm", "NO_COLOR": ""}, True), ({"TERM": "xterm", "NO_COLOR": "1"}, False), ({"TERM": "dumb"}, False)):
        with Terminal(fake_shell, "list", env=env) as terminal:
            assert terminal.wait() == 0
        assert ("\033[32mrunning\033[0m " in terminal.text) == coloured
        assert ("\033" in terminal.text) == coloured
        assert re.search(r"web +(\033\[32m)?running(\033\[0m)? +\d+\r\n", terminal.text)
    assert "\033" not in fake_shell("list", env={"TERM": "xterm"}).ok(None)


class Terminal:
    """The client on a terminal of a certain width."""

    def __init__(self, shell, *arguments, columns=80, env=None):
        master, slave = pty.openpty()
        fcntl.ioctl(slave, termios.TIOCSWINSZ, struct.pack("HHHH", 24, columns, 0, 0))

        def take():
            os.setsid()
            fcntl.ioctl(0, termios.TIOCSCTTY, 0)
            for s in (signal.SIGINT, signal.SIGQUIT):
                signal.signal(s, signal.SIG_DFL)

        self.process = shell.start(*arguments, stdin=slave, stdout=slave, stderr=slave, preexec_fn=take, env=env)
        os.close(slave)
        self.fd = master
        self.text = ""

    def __enter__(self):
        return self

    def __exit__(self, *_):
        os.close(self.fd)

    def _read(self):
        ready, _, _ = select.select([self.fd], [], [], t.TIMEOUT)
        assert ready, "nothing more on the terminal; so far: %r" % self.text
        try:
            data = os.read(self.fd, 65536)
        except OSError:  # nobody has the other end open any more
            data = b""
        self.text += data.decode()
        return data

    def read_until(self, text):
        while text not in self.text:
            assert self._read(), self.text

    def wait(self):
        while self._read():
            pass
        return self.process.wait(t.TIMEOUT)


def test_list_fits_the_terminal(three, fake_shell):
    with Terminal(fake_shell, "list", columns=40, env={"NO_COLOR": "1"}) as terminal:
        assert terminal.wait() == 0
        lines = terminal.text.splitlines()
    assert max(map(len, lines)) == 40
    assert len(lines) == 3
    assert re.match(r"default +a-cont[a-z-]*… created +\d+$", lines[1]), lines

    with Terminal(fake_shell, "list", columns=40, env={"COLUMNS": "200"}) as terminal:
        assert terminal.wait() == 0
        assert "a-container-with-quite-a-long-name" in terminal.text


def test_inspect_shows_all_properties(fake, fake_shell, bundle):
    b = bundle("sleep", "inf")
    fake_shell("run", "-d", "-b", b, "--label=x=y", "--label=evil=a\x1b[31mb\nc", "web").ok("web\n")
    client = fake.connect()
    path = client.container("web").path
    properties = {**client.get_all(path, CONTAINER), **client.get_all(path, PROCESS)}

    told = json.loads(fake_shell("inspect", "--json=pretty", "web").ok(None))
    assert told == [properties]

    text = fake_shell("inspect", "web").ok(None)
    assert "\x1b" not in text
    lines = dict(re.match(r" *(\w+): (.*)", line).groups() for line in text.splitlines() if re.match(r" *\w+: ", line))
    assert set(lines) == set(properties)
    assert (lines["Id"], lines["Bundle"], lines["Status"], lines["Pid"]) == ("web", b, "running", str(properties["Pid"]))
    assert lines["ExitedAt"] == "-"
    assert re.fullmatch(r"20\d\d-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}\+00:00", lines["StartedAt"]), lines
    assert "x=y" in text and "evil=a [31mb c" in text


def test_inspect_of_several(three, fake_shell):
    text = fake_shell("inspect", "web", "k8s.io/pod").ok(None)
    assert text.count("\n\n") == 1
    r = fake_shell("inspect", "--json=short", "web", "nope", "k8s.io/pod").failed(1, "default/nope")
    assert [x["Id"] for x in json.loads(r.out)] == ["web", "pod"]


# ---------------------------------------------------------------------------------------------------------------------
# events


def sequences(text):
    return [int(n) for n in re.findall(r"\bsequence=(\d+)", text)]


def test_events_are_replayed(fake, fake_shell, bundle):
    b = bundle("exit", "3")
    begin = t.now_usec()
    fake_shell("run", "-b", b, "web")
    fake_shell("run", "-n", "other", "-b", b, "web")
    client = fake.connect()
    expected = client.get_events()[1]

    lines = fake_shell("events").ok(None).splitlines()
    assert [line.split()[1:4] for line in lines] == [[t.TOPICS[e.name], "default/web", "sequence=%d" % e.sequence]
                                                    for e in expected if e.ns == "default"]
    assert lines[0].endswith(" bundle=%s rootfs=[] stdin=fd stdout=fd stderr=fd terminal=false checkpoint=\"\" pid=%d" %
                             (b, expected[0].pid))
    assert re.match(r"20\d\d-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}\+00:00 ", lines[0])

    told = [json.loads(line) for line in fake_shell("events", "-A", "--json=short").ok(None).splitlines()]
    assert [x["sequence"] for x in told] == [e.sequence for e in expected] == list(range(1, 9))
    for x, e in zip(told, expected):
        assert list(x) == ["sequence", "topic", "time", "namespace", "container_id", "data"]
        assert (x["topic"], x["namespace"], x["container_id"], x["data"]) == (t.TOPICS[e.name], e.ns, e.id, e.data)
        assert begin <= x["time"] <= t.now_usec()

    assert sequences(fake_shell("events", "--since=6", "-A").ok(None)) == [7, 8]
    assert sequences(fake_shell("events", "--since=2").ok(None)) == [3, 4]
    assert sequences(fake_shell("events", "-n", "other").ok(None)) == [5, 6, 7, 8]
    assert sequences(fake_shell("events", "other/web", "nope").ok(None)) == [5, 6, 7, 8]
    fake_shell("events", "--since=8").ok("")


def test_more_events_than_a_page_holds(fake, fake_shell, bundle):
    client = fake.connect()
    b = bundle("exit", "0")
    for _ in range(260):
        c = client.create("web", b)
        c.start()
        c.wait()
        c.delete()
    complete, events = client.get_events()
    assert complete and len(events) == 1040
    assert sequences(fake_shell("events").ok(None)) == list(range(1, 1041))


@pytest.mark.parametrize("by_bus", [False, True])
def test_followed_events_come_once_and_completely(message_bus, make_daemon, make_shell, bundle, by_bus):
    daemon = make_daemon(runtime=FAKE_RUNTIME, bus=message_bus.address)
    shell = make_shell(message_bus.address if by_bus else daemon.socket)
    b = bundle("exit", "0")
    for i in range(3):
        shell("run", "-b", b, "before%d" % i).ok()
    every = shell.start("events", "--follow", "--since=0")
    some = shell.start("events", "--follow", "--since=6", "--json=short")
    live = shell.start("events", "-f")
    first = read_line(every)
    assert sequences(first) == [1]
    time.sleep(0.3)  # for the third, which prints nothing yet, to have subscribed
    for i in range(3):
        shell("run", "-b", b, "after%d" % i).ok()
    daemon.restart("kill")
    for i in range(3):
        shell("run", "-b", b, "later%d" % i).ok()

    def last_seen(process, pattern):
        text = ""
        while not re.search(pattern, text):
            text += read_line(process)
        return text

    last = r'sequence"?[:=]36\b'
    assert sequences(first + last_seen(every, last)) == list(range(1, 37))
    assert [json.loads(line)["sequence"] for line in last_seen(some, last).splitlines()] == list(range(7, 37))
    assert sequences(last_seen(live, last)) == list(range(13, 37))


def test_many_lives_at_once_are_followed_without_a_gap(fake, fake_shell, bundle):
    client = fake.connect()
    p = fake_shell.start("events", "--follow", "--since=0", "--json=short")
    b = bundle("exit", "0")
    for _ in range(5):
        created = [client.begin_create("c%d" % i, b) for i in range(20)]
        containers = [t.Container(client, "default", "c%d" % i, *c.result()) for i, c in enumerate(created)]
        for c in [c.begin("Start") for c in containers]:
            c.result()
        for c in [c.begin("Wait") for c in containers]:
            c.result()
        for c in [c.begin("Delete") for c in containers]:
            c.result()
    assert [json.loads(read_line(p))["sequence"] for _ in range(400)] == list(range(1, 401))


def test_connecting_while_much_happens(fake, fake_shell, bundle):
    """Whoever says Hello gets its answer before any signal, as on a bus."""
    client = fake.connect()
    b = bundle("exit", "0")
    started = []
    for i in range(20):
        pending = client.begin_create("c%d" % i, b)
        started += [fake_shell.start("list", "-q") for _ in range(3)]
        pending.result()
    for p in started:
        end(p).ok(None)


def test_events_end_quietly_when_nobody_reads(fake, fake_shell, bundle):
    fake_shell("run", "-b", bundle("exit", "0"), "web").ok()
    p = fake_shell.start("events", "--follow")
    time.sleep(0.2)
    p.stdout.close()
    assert p.wait(t.TIMEOUT) == 0  # although nothing happens any more
    assert p.stderr.read() == ""

    p = fake_shell.start("events", "--follow", "--since=0")
    read_line(p)
    p.stdout.close()
    assert p.wait(t.TIMEOUT) == 0
    assert p.stderr.read() == ""

    read_end, write_end = os.pipe()
    os.close(read_end)
    r = fake_shell("events", stdout=write_end, preexec_fn=lambda: signal.signal(signal.SIGPIPE, signal.SIG_IGN))
    os.close(write_end)
    assert (r.status, r.err) == (0, "")


def test_follow_ends_when_the_daemon_stays_away(fake, fake_shell):
    p = fake_shell.start("events", "--follow")
    time.sleep(0.2)
    fake.kill9()
    end(p).failed(1, "monoshimd went away")
    fake.start()


# ---------------------------------------------------------------------------------------------------------------------
# everything else


@pytest.mark.parametrize("arguments, status, texts", [
    (["strat"], 2, ['Unknown verb "strat". Did you mean "start"?']),
    (["lsit"], 2, ['Unknown verb "lsit". Did you mean "list"?']),
    (["frobnicate"], 2, ['Unknown verb "frobnicate".\n']),
    ([], 2, ["No verb"]),
    (["--frobnicate"], 2, ["--frobnicate"]),
    (["list", "--frobnicate"], 2, ["--frobnicate", "monoshim list --help"]),
    (["list", "web"], 2, ['"web"']),
    (["list", "--json=yaml"], 2, ["yaml"]),
    (["list", "--state=running,dead"], 2, ["created, running, pausing, paused or stopped", '"dead"']),
    (["list", "--label=="], 2, ["NAME or NAME=VALUE"]),
    (["list", "--format={{.Nothing}}"], 2, ['no field "Nothing"']),
    (["list", "--format={{.Labels.}}"], 2, ['no field "Labels."']),
    (["list", "--format=a{{ID}}"], 2, ["such as {{.ID}}", '"{{ID}}"']),
    (["list", "--format={{.ID"], 2, ["such as {{.ID}}"]),
    (["list", "--format=x", "--json=short"], 2, ["exclude each other"]),
    (["start"], 2, ["start"]),
    (["kill", "-s", "FOO", "web"], 2, ["FOO"]),
    (["stop", "-t", "soon", "web"], 2, ["soon"]),
    (["events", "--since=-1"], 2, ["-1"]),
    (["create", "--label=x", "web"], 2, ["NAME=VALUE"]),
    (["create", "a", "b"], 2, ['"b"']),
    (["run"], 125, ["run"]),
    (["run", "--label", "=x", "web"], 125, ["NAME=VALUE"]),
    (["wait"], 125, ["wait"]),
])
def test_a_wrong_command_line_is_explained(make_shell, arguments, status, texts):
    r = make_shell("/nowhere")(*arguments)
    assert r.out == ""
    r.failed(status, *texts, lines=2)


def test_a_name_that_was_mistyped_is_answered_with_the_right_one(fake, fake_shell, bundle):
    b = bundle("sleep", "inf")
    for id in ("web", "database", "k8s.io/pod", "1a2b3c4d5e6f", "other/web"):
        fake_shell("create", "-b", b, id).ok(None)
    gone = "there is no such container. "
    for arguments in (["start", "databse"], ["kill", "databse"], ["stop", "databse"], ["pause", "databse"], ["resume", "databse"],
                      ["delete", "databse"], ["update", "--cpus=1", "databse"], ["checkpoint", "databse", "/tmp"], ["ps", "databse"],
                      ["stats", "databse"], ["kill", "--exec=x", "databse"]):
        fake_shell(*arguments).failed(1, 'default/databse', 'Did you mean "database"?')
    for verb in ("wait", "attach"):
        fake_shell(verb, "databse").failed(125, gone + 'Did you mean "database"?')
    fake_shell("inspect", "databse").failed(1, 'Did you mean "database"?')
    fake_shell("exec", "databse", "true").failed(125, 'Did you mean "database"?')
    for named, meant in (("wbe", "web"), ("1a2", "1a2b3c4d5e6f"), ("pod", "k8s.io/pod"), ("other/we", "other/web")):
        fake_shell("start", named).failed(1, gone + 'Did you mean "%s"?' % meant)
    for named in ("1a", "nothing", "none/nothing", "w"):
        assert "mean" not in fake_shell("start", named).failed(1, "there is no such container").err
    fake_shell("kill", "--exec=x", "web").failed(1, "there is no such process\n")


def test_an_option_that_was_mistyped_is_answered_with_the_right_one(make_shell):
    shell = make_shell("/nowhere")
    shell("list", "--fromat=x").failed(2, "--fromat", lines=3).failed(2, 'monoshim: Did you mean "--format"?\n', lines=3)
    shell("run", "--roofts", "x").failed(125, 'Did you mean "--rootfs"?', lines=3)
    shell("list", "--format").failed(2, "requires an argument", lines=2)
    shell("list", "-x").failed(2, "'x'", lines=2)


def test_an_impossible_id_is_refused_before_anybody_is_asked(make_shell):
    for id in ("..", "a/b/c", "-a-", "a b", "", "x" * 77):
        make_shell("/nowhere")("start", "--", id).failed(1, "names no container")
    make_shell("/nowhere")("run", "-n", "..", "web").failed(125, "names no container")


@pytest.mark.parametrize("verb", VERBS)
def test_every_verb_has_help_and_every_option_is_in_the_manual(make_shell, verb):
    shell = make_shell("/nowhere")
    text = shell(verb, "--help").ok(None)
    assert text.startswith("Usage: monoshim " + ("[OPTION...]" if verb == "help" else verb))
    assert shell("help", verb).ok(None) == text
    assert all(len(line) <= 80 for line in text.splitlines())
    assert re.search(r"^  %s\b" % verb, shell("help").ok(None), re.M)

    with open(os.path.join(t.TOP, "man", "monoshim.1")) as f:
        page = f.read().replace("\\-", "-")
    section = re.search(r"^\.BR %s \".*?(?=^\.TP\n\.BR (?:%s) \"|^\.SH )" % (verb, "|".join(VERBS)), page, re.M | re.S)
    assert section, "monoshim(1) has nothing on " + verb
    shared = page if verb in ("run", "help") else section.group()
    for option in re.findall(r"--[a-z-]+", text):
        assert option in shared, "%s of %s is not in monoshim(1)" % (option, verb)


def test_the_version(make_shell):
    assert re.fullmatch(r"monoshim \d[\w.~+-]*\n", make_shell("/nowhere")("--version").ok(None))
    assert make_shell("/nowhere")("list", "--version").status == 0


def test_reload(fake, fake_shell):
    with open(fake.config, "w") as f:
        f.write("[Manager]\nRuntimeTimeoutSec=7s\n")
    fake_shell("reload").ok("")
    with open(fake.config, "w") as f:
        f.write("[Manager]\nRuntimeTimeoutSec=soon\n")
    fake_shell("reload").failed(1, "Cannot reload the configuration", "RuntimeTimeoutSec")
    fake_shell("reload", "web").failed(2, '"reload" takes no argument "web".', lines=2)


def test_no_daemon_is_told_as_such(make_shell, directory, message_bus):
    for address in ("/nowhere", "unix:path=/nowhere"):
        make_shell(address)("list").failed(1, address, "No such file or directory. Is monoshimd running?")
        make_shell(address)("run", "web").failed(125, "Is monoshimd running?")
    make_shell("nonsense")("list").failed(1, "nonsense", "no D-Bus address")
    make_shell(message_bus.address)("list").failed(1, "Is monoshimd running?")


def test_an_address_may_be_an_option_anywhere(fake, make_shell):
    shell = make_shell("/nowhere")
    for arguments in (["--address=" + fake.socket, "list", "-q"], ["list", "-q", "--address", "unix:path=" + fake.socket],
                      ["list", "--json=off", "--address=" + fake.socket, "-q"]):
        shell(*arguments).ok("")


def test_a_socket_with_an_odd_name(directory, make_daemon, make_shell):
    d = make_daemon(name="a b,c%20;d", runtime=FAKE_RUNTIME)
    make_shell(d.socket)("list", "-q").ok("")


def test_other_users_are_told_who_may(fake, fake_shell):
    def become_nobody():
        t.become(65534)

    if not os.access(MONOSHIM, os.X_OK) or subprocess.call([MONOSHIM, "--version"], preexec_fn=become_nobody,
                                                          stdout=subprocess.DEVNULL) != 0:
        pytest.skip("nobody cannot run " + MONOSHIM)
    fake_shell("list", preexec_fn=become_nobody).failed(1, "Permission denied. Only root may do this")


def test_output_that_cannot_be_written_is_a_failure(fake, fake_shell):
    with open("/dev/full", "w") as full:
        fake_shell("list", stdout=full).failed(1, "No space left on device")
    fake_shell("list", preexec_fn=lambda: os.close(1)).failed(1, "Bad file descriptor")
