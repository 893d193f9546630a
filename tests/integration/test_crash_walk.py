# SPDX-License-Identifier: LGPL-2.1-or-later
"""The daemon dies at every step there is, one after the other, and comes back.

monoshimd passes marks wherever it has done one of several steps (src/util/crash-point.h), and dies at the one that its
environment names. Each scenario is played as often as it passes marks, each time with a death at the next one; then a
daemon without that comes back, and what the client was told must hold.
"""

import concurrent.futures
import os
import shutil
import time

import pytest

import monoshim_testing as t
from conftest import clean_up
from crash_testing import Died, Story, kernel_tells_exits
from test_checkpoint import criu_directory

pytestmark = [pytest.mark.skipif(t.VALGRIND, reason="valgrind does not know pidfd_open(), without which nothing is taken back"),
              pytest.mark.skipif(t.INSTRUMENTED and not t.LARGE, reason="hundreds of restarts take too long under instruments")]

WORKERS = max(2, min(4, os.cpu_count() or 2))
POINTS_MAX = 400  # of one scenario; far more than there are
TWICE_EVERY = 1 if t.LARGE else 9  # at every so manieth point the daemon that comes back dies as well, at each of its own steps


@pytest.fixture(autouse=True)
def tidy():
    """Whatever failed, nothing of it disturbs the next test."""
    yield
    clean_up([])


def marks(path):
    try:
        with open(path) as f:
            return f.read().split()
    except FileNotFoundError:
        return []


class Point:
    """One run of a scenario."""

    def __init__(self, directory, n, daemon_options, prepare=None, act=None, meanwhile=None, after=None, own_program=False):
        self.n, self.prepare, self.act, self.meanwhile, self.after = n, prepare, act, meanwhile, after
        binary = t.Binary(directory) if own_program else None
        if binary:
            daemon_options = {**daemon_options, "program": binary.path}
        self.daemon = t.Daemon(directory, **daemon_options)
        self.log = os.path.join(directory, "marks")
        self.environment = dict(self.daemon.environment)
        self.story = Story(self.daemon)
        self.story.binary = binary

    def start(self, n, wait=True):
        self.daemon.environment = dict(self.environment)
        if n is not None:
            self.daemon.environment.update({"MONOSHIMD_CRASH_POINT": str(n), "MONOSHIMD_CRASH_LOG": self.log})
        self.daemon.start(wait=wait)

    def play(self):
        """Returns how many marks had been passed when 'prepare' was over (None if it died before), the names of all, and whether
        it died."""
        s = self.story
        prepared = None
        self.start(self.n)
        try:
            s.connect()
            self.prepare(s)
            prepared = len(marks(self.log))
            self.act(s)
            s.pending = None
            # What is done after the last answer counts, too.
            deadline = time.monotonic() + 0.15 * t.SCALE
            while time.monotonic() < deadline and t.nursery().status(self.daemon.pid) is None:
                time.sleep(0.01)
            if t.nursery().status(self.daemon.pid) is None:
                s.collect()
                return prepared, marks(self.log), False
        except Died:
            pass
        s.died()
        return prepared, marks(self.log), True

    def die_while_coming_back(self):
        """One death after the other, each a step further into the start, until it is through; returns how many."""
        s = self.story
        for k in range(1, POINTS_MAX):
            self.start(k, wait=False)
            deadline = time.monotonic() + t.TIMEOUT
            while True:
                if t.nursery().status(self.daemon.pid) is not None:
                    self.daemon.wait()
                    break
                with_client = False
                if os.path.exists(self.daemon.socket):
                    try:
                        s.connect()
                        with_client = True
                        settled = not s.unsettled()
                        s.collect()
                        if settled:
                            self.daemon.kill9()
                            s.read_recorded()
                            return k
                    except (Died, OSError, EOFError):
                        if with_client:
                            s.collect()
                    self.daemon.disconnect()
                assert time.monotonic() < deadline, "neither dead nor settled"
                time.sleep(0.01)
            s.read_recorded()
        raise AssertionError("more than %d steps" % POINTS_MAX)

    def come_back(self):
        self.start(None)
        self.story.connect()
        self.story.settle()
        self.story.check()
        if self.after:
            self.after(self.story)
            self.story.check()
        self.story.finish()


def walk(directory, name, prepare, act, twice=True, every=1, meanwhile=None, after=None, own_program=False, **daemon_options):
    """meanwhile(story) is called while no daemon runs, after(story) when the next one has settled. own_program: each daemon
    is a copy that can be replaced."""
    daemon_options.setdefault("runtime", t.FAKE_RUNTIME)

    def run(n):
        where = os.path.join(directory, "%s%d" % (name, n))
        os.makedirs(where)
        p = Point(where, n, daemon_options, prepare, act, meanwhile, after, own_program)
        try:
            prepared, names, died = p.play()
            again = 0
            if died and meanwhile and prepared is not None:
                meanwhile(p.story)
            if died and twice and n % TWICE_EVERY == 0:
                again = p.die_while_coming_back()
            if not died:
                p.daemon.kill9()
                p.story.read_recorded()
            p.come_back()
        except BaseException as e:
            log = p.daemon.log_tail(80)
            raise AssertionError("%s, death %d, at %s, answered %s, pending %s: %s\n%s" % (
                name, n, marks(p.log)[-1:], p.story.done, p.story.pending, e, log)) from e
        finally:
            p.daemon.disconnect()
            if p.daemon.pid is not None and t.nursery().status(p.daemon.pid) is None:
                os.kill(p.daemon.pid, 9)
                p.daemon.wait()
            p.daemon.manager.forget()
        shutil.rmtree(where, ignore_errors=True)
        return prepared, names, died, again

    # Once without dying, to know where to begin and about how far it goes.
    prepared, names, died, _ = run(0)
    assert not died
    total, passed, twice_passed, n = len(names), 0, 0, prepared + 1
    failures = []
    with concurrent.futures.ThreadPoolExecutor(WORKERS) as pool:
        running = {}
        over = False
        while running or not over:
            while not over and len(running) < WORKERS:
                running[pool.submit(run, n)] = n
                n += every
            for future in concurrent.futures.wait(running, return_when=concurrent.futures.FIRST_COMPLETED)[0]:
                number = running.pop(future)
                if future.exception():
                    failures.append(future.exception())
                    over = over or len(failures) > 2 or number > total
                    continue
                _, _, died, again = future.result()
                passed += died
                twice_passed += again
                # A run that came to its end passed fewer marks than its number. The order of what comes from outside
                # varies, so one that merely passed fewer than the first run is no end.
                if not died and number >= total or number >= POINTS_MAX:
                    over = True
    print("%s: %d points, %d passed; %d deaths while coming back%s" % (
        name, passed + len(failures), passed, twice_passed, "; FAILED %d" % len(failures) if failures else ""))
    if failures:
        raise failures[0]
    assert passed >= (total - prepared) // every * 3 // 4, "%d deaths, although %d marks were passed" % (passed, total - prepared)
    t.wait_for(lambda: len(t.descendants(t.nursery().pid)) == 0, what="all processes to end")
    return names[prepared:]


def nothing(s):
    pass


def live_one(s):
    s.create("c1", ["sleep", "1000"])
    s.start("c1")


def test_a_life(directory):
    def act(s):
        s.create("c1", ["sleep", "inf"])
        s.start("c1")
        s.kill("c1")
        s.wait("c1")
        s.delete("c1")
    names = walk(directory, "life", nothing, act)
    for expected in ("create-folder-made", "file-before-rename", "eventlog-after-write", "job-after-spawn", "reply-before-send",
                     "signal-before-send", "folder-hidden", "exit-seen", "pid-file-before-read"):
        assert expected in names, expected


def test_a_container_that_ends_by_itself(directory):
    def act(s):
        s.create("c1", ["exit", "7"], exits=7)
        s.start("c1")
        s.wait("c1")
        s.delete("c1")
    walk(directory, "exit", nothing, act)


def test_a_container_that_is_never_started(directory):
    def act(s):
        s.create("c1", ["sleep", "inf"])
        s.delete("c1")
        s.create("c2", ["sleep", "inf"])
        s.kill("c2")
        s.wait("c2")
        s.delete("c2")
    walk(directory, "unstarted", nothing, act)


def test_exec(directory):
    def act(s):
        s.exec("c1", "e1", "exit", "9", exits=9)
        s.start("c1", "e1")
        s.wait("c1", "e1")
        s.exec("c1", "e2", "sleep", "inf")
        s.start("c1", "e2")
        s.delete("c1", "e1")
        s.kill("c1", "e2")
        s.wait("c1", "e2")
        s.exec("c1", "e3", "sleep", "inf")
        s.start("c1", "e3")
        s.statuses["c1", "e3"] = 137
        s.kill("c1")
        s.wait("c1")
        s.delete("c1", "e2")
        s.delete("c1")
    walk(directory, "exec", live_one, act)


def test_update_and_checkpoint(directory):
    def act(s):
        image = os.path.join(s.daemon.directory, "image")
        s.verb("update", "c1", {"pids": {"limit": 10}})
        s.verb("checkpoint", "c1", image)
        s.create("c2", ["sleep", "inf"], Checkpoint=image)
        s.start("c2")
        s.kill("c2")
        s.wait("c2")
        s.delete("c2")
        s.create("c3", ["sleep", "inf"], Checkpoint=image)
        s.delete("c3")
    walk(directory, "checkpoint", live_one, act)


def test_mounts(directory):
    def act(s):
        s.create("c1", ["sleep", "inf"], Rootfs=[("tmpfs", "tmpfs", "", ["size=64k"]), ("tmpfs", "tmpfs", "", ["size=128k"])])
        s.start("c1")
        s.kill("c1")
        s.wait("c1")
        s.delete("c1")
    walk(directory, "mounts", nothing, act)


def test_terminal(directory):
    def act(s):
        fifos = [os.path.join(s.daemon.directory, name) for name in ("in", "out")]
        for f in fifos:
            os.mkfifo(f)
        s.create("c1", ["sleep", "inf"], Terminal=True, Stdin=fifos[0], Stdout=fifos[1])
        s.start("c1")
        s.exec("c1", "e1", "sleep", "inf", Terminal=True, ConsoleSize=(100, 30))
        s.start("c1", "e1")
        s.kill("c1")
        s.wait("c1")
        s.delete("c1")
    walk(directory, "terminal", nothing, act)


def test_streams(directory):
    def act(s):
        out, err = t.Fifo(os.path.join(s.daemon.directory, "out")), os.path.join(s.daemon.directory, "err")
        s.create("c1", ["run", "sh", "-c", "echo text; echo more >&2; exit 5"], exits=5, Stdout=str(out), Stderr="file://" + err)
        s.start("c1")
        out.open_reader()
        s.wait("c1")
        assert out.read_to_end(10 * t.SCALE) == b"text\n"
        with open(err) as f:
            assert f.read() == "more\n"
        s.delete("c1")
    walk(directory, "streams", nothing, act)


# What is kept open by somebody else, over a crash and over a re-execution


def kept_ones(s):
    """A terminal that answers, and one that ends with 7 as soon as it is told."""
    s.exits_are_known = kernel_tells_exits()
    s.inp, s.out, s.order = (t.Fifo(os.path.join(s.daemon.directory, name)) for name in ("in", "out", "order"))
    s.order.fd, s.ordered = os.open(str(s.order), os.O_RDWR), False
    s.out.open_reader()
    s.create("c1", ["run", "cat"], Terminal=True, Stdin=str(s.inp), Stdout=str(s.out))
    s.start("c1")
    s.inp.open_writer()
    answers(s, b"before")
    s.create("c2", ["run", "sh", "-c", "read x; exit 7"], exits=7, Stdin=str(s.order))
    s.start("c2")


def answers(s, word):
    """Its terminal's echo, and the program's."""
    os.write(s.inp.fd, word + b"\n")
    s.out.read_until(lambda d: d.count(word + b"\r\n") == 2, what="the terminal's answer")


def give_order(s):
    if not s.ordered:
        s.ordered = True
        os.write(s.order.fd, b"go\n")


def kept_ones_are_whole(s):
    answers(s, b"after")
    terminal = s.handle(("c1", None)).open_terminal()
    terminal.close()
    give_order(s)
    if ("default", "c2") in s.client.list():
        assert s.wait("c2")[0] == 7 or not s.exits_are_known
    else:
        assert [e.exit_status for e in s.client.get_events()[1] if e.name == "TaskDelete" and e.id == "c2"] == [7]


def test_with_descriptors_that_are_kept(directory):
    def act(s):
        s.exec("c1", "e1", "exit", "9", exits=9)
        s.start("c1", "e1")
        s.wait("c1", "e1")
        s.delete("c1", "e1")
        give_order(s)
        s.wait("c2")
        s.delete("c2")
        s.create("c3", ["sleep", "inf"], Terminal=True)
        s.start("c3")
        s.kill("c3")
        s.wait("c3")
    names = walk(directory, "kept", kept_ones, act, meanwhile=give_order, after=kept_ones_are_whole, keeps=True)
    for expected in ("fdstore-before-send", "fdstore-before-drop", "fdstore-written"):
        assert expected in names, expected


def test_reexecution(directory):
    """It dies anywhere between the signal and the first answers of the new program; the numbers of marks go on over it."""
    def act(s):
        d = s.daemon
        s.binary.replace()
        t.begin_reload(d)
        deadline = time.monotonic() + t.TIMEOUT
        while not d.manager.wait_for("READY=1", 0.02):
            if t.nursery().status(d.pid) is not None:
                raise Died()
            assert time.monotonic() < deadline, "it does not come back"
        s.do("list", (None, None), s.client.list)
        assert t.executions(d) == 1
        s.exec("c1", "e1", "exit", "9", exits=9)
        give_order(s)
        s.wait("c2")
    names = walk(directory, "reexec", kept_ones, act, meanwhile=give_order, after=kept_ones_are_whole, keeps=True,
                 own_program=True)
    for expected in ("reexec-before-hold", "reexec-before-exec", "inherit-begun", "restore-acted", "handoff-taken",
                     "daemon-before-ready"):
        assert expected in names, expected


# With the real thing: cgroups, namespaces, a freezer


def test_a_life_with_runc(directory):
    def act(s):
        s.create("c1", ["sh", "-c", "exit 7"], exits=7)
        s.start("c1")
        s.wait("c1")
        s.delete("c1")
    walk(directory, "runc-life", nothing, act, runtime="runc")


def test_exec_with_runc(directory):
    def act(s):
        s.exec("c1", "e1", "sh", "-c", "exit 9", exits=9)
        s.start("c1", "e1")
        s.wait("c1", "e1")
        s.delete("c1", "e1")
    walk(directory, "runc-exec", live_one, act, runtime="runc")


def test_pause_with_runc(directory):
    def act(s):
        s.verb("pause", "c1")
        s.verb("resume", "c1")
        s.verb("update", "c1", {"pids": {"limit": 100}})
        s.verb("pause", "c1")
    walk(directory, "runc-pause", live_one, act, runtime="runc")


def test_checkpoint_and_restore_with_criu(directory):
    criu, reason = criu_directory()
    if not criu:
        pytest.skip(reason)

    def prepare(s):
        s.bundle = t.make_bundle(os.path.join(s.daemon.directory, "bundle"), ["sleep", "1000"])
        s.create("c1", None, bundle=s.bundle)
        s.start("c1")

    def act(s):
        image = os.path.join(s.daemon.directory, "image")
        s.statuses["c1", None] = 137
        s.verb("checkpoint", "c1", image, Exit=True)
        s.wait("c1")
        s.delete("c1")
        s.create("c1", None, bundle=s.bundle, Checkpoint=image)
        s.start("c1")
    environment = {"PATH": criu + ":" + os.environ["PATH"]}
    walk(directory, "criu", prepare, act, runtime="runc", environment=environment, twice=t.LARGE, every=1 if t.LARGE else 4)


# The start itself, with something to take back


def test_coming_back_to_all_kinds_of_containers(directory):
    """One that runs, with an exec that runs and one that has ended; one that was only created; one that has ended and was
    told; one that ended meanwhile; one that is gone with its state; each found once, whatever dies in between."""
    p = Point(os.path.join(directory, "d"), None, {"runtime": t.FAKE_RUNTIME})
    d, s = p.daemon, p.story
    p.start(None)
    s.connect()
    for id in ("running", "created", "ended", "dead", "damaged"):
        s.create(id, ["sleep", "inf"])
        if id != "created":
            s.start(id)
    for id in ("running", "dead"):
        s.exec(id, "lives", "sleep", "inf")
        s.start(id, "lives")
    s.exec("running", "done", "exit", "3", exits=3)
    s.start("running", "done")
    s.wait("running", "done")
    s.kill("ended")
    s.wait("ended")
    pid = s.client.list()[("default", "dead")][1]
    s.collect()
    d.kill9()
    os.kill(pid, 9)
    with open(d.container_dir("damaged") + "/state.json", "w") as f:
        f.write("{")
    for left in (d.state + "/default/.old", d.root + "/default/.old~3"):
        os.makedirs(left + "/sub")
    again = p.die_while_coming_back()
    assert again > 10
    print("start: %d points, %d passed" % (again, again))
    p.come_back()


def test_the_environment_that_asks_for_it_is_nobody_elses(fake, bundle):
    fake.stop()
    fake.environment = {"MONOSHIMD_CRASH_POINT": "100000", "MONOSHIMD_CRASH_LOG": fake.directory + "/marks"}
    fake.start()
    c = fake.connect().create("c1", bundle("run", "sleep", "1000"))
    c.start()
    with open("/proc/%d/environ" % c.pid) as f:
        assert "CRASH" not in f.read()
    assert marks(fake.directory + "/marks")
