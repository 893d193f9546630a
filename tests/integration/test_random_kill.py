# SPDX-License-Identifier: LGPL-2.1-or-later
"""The daemon is killed at random moments while twenty containers live their lives, and each time the next one must know
all that anybody was told by the one before, and how everything has ended that ended meanwhile.

A round: clients create, start, execute, talk to, kill, wait for and delete; then kill -9; perhaps something ends while
nobody looks; a new daemon, which is perhaps killed while it comes back; then everything is compared. Clients whose calls
were cut off learn from the list and from the events what has become of them, and go on from there.
"""

import contextlib
import itertools
import json
import os
import random
import signal
import threading
import time

import pytest

import monoshim_testing as t
from crash_testing import NS, UNKNOWN, Story, kernel_tells_exits
from monoshim_testing import DBusError

pytestmark = pytest.mark.skipif(t.VALGRIND, reason="valgrind does not know pidfd_open(), without which nothing is taken back")

ROUNDS = 300 if t.LARGE else 4 if t.INSTRUMENTED else 12
SLOTS = 20
WORKERS = 5
EXECS_MAX = 3

# Answers each line; ends as it is told. That its input ends on its own must not happen.
LISTEN = ('while read x; do case "$x" in "exit "??" ok") set -- $x; exit $2;; *) echo "got $x";; esac; done; exit 99')
TRAP = 'trap "exit %d" TERM; while :; do sleep 1000 & wait $!; done'


class Process:
    """What a client knows of one process."""

    def __init__(self, code):
        self.code = code
        self.state = "created"  # running, exited
        self.allowed = set()  # with what it may end, as far as anybody has had it end
        self.ending = None  # code, term, kill
        self.told = None  # the status in its TaskExit


class Life:
    """One container, from its creation to its deletion."""

    def __init__(self, kind, code):
        self.kind = kind
        self.init = Process(code)
        self.execs = {}
        self.pending = None  # (verb, exec id or None)
        self.pid = 0
        self.inp = self.out = None
        self.created = self.started = self.deleted = False  # by an answer
        self.deleted_told = False  # by an event

    def process(self, exec_id):
        return self.execs[exec_id] if exec_id else self.init

    def end(self, exec_id, how):
        """Before it is done."""
        p = self.process(exec_id)
        p.ending = how
        p.allowed.add(p.code if how in ("code", "term") else 128 + signal.SIGKILL)
        if how == "term" and exec_id:
            p.allowed.add(128 + signal.SIGTERM)  # it may come before the trap is set
        if not exec_id:
            for e in self.execs.values():
                e.allowed.add(128 + signal.SIGKILL)

    def say(self, text):
        """Into its stdin's FIFO, as one who comes and goes: somebody else has to keep it open."""
        fd = os.open(str(self.inp), os.O_WRONLY | os.O_NONBLOCK)
        try:
            os.write(fd, text)
        finally:
            os.close(fd)

    def close(self):
        for f in (self.inp, self.out):
            if f:
                f.close()
                os.unlink(str(f))
        self.inp = self.out = None


class Slot:
    def __init__(self, id):
        self.id = id
        self.path = t.container_path(NS, id)
        self.lives = []  # of which the last may not exist
        self.n_created = 0  # TaskCreate of this id so far
        self.n_execs = 0

    @property
    def life(self):
        return self.lives[-1] if self.lives and not self.lives[-1].deleted else None


class World:
    def __init__(self, daemon, rng):
        self.daemon, self.rng = daemon, rng
        self.slots = [Slot("c%d" % i) for i in range(SLOTS)]
        self.by_id = {s.id: s for s in self.slots}
        self.history = []  # all events so far
        self.seen = {}  # sequence -> event, of signals
        self.operations = 0
        self.failures = []
        self.clients = []
        self.serial = itertools.count(1)
        self.tells_exits = kernel_tells_exits()
        self.counts = dict.fromkeys(("cut off", "ended meanwhile", "undone", "killed while coming back"), 0)
        self.story = Story(daemon)

    # the clients

    def fifo(self, name):
        return t.Fifo(os.path.join(self.daemon.directory, "%s-%d" % (name, next(self.serial))))

    def call(self, life, verb, exec_id, function):
        life.pending = (verb, exec_id)
        try:
            result = function()
        except DBusError as e:
            # Who has ended already cannot be killed any more.
            if verb != "kill" or not e.name.endswith(("NotFound", "FailedPrecondition")):
                raise
            result = None
        life.pending = None
        self.operations += 1
        return result

    def handle(self, client, slot, exec_id=None):
        c = t.Container(client, NS, slot.id, slot.path, None)
        return c.known_exec(exec_id) if exec_id else c

    def create(self, client, slot, rng):
        kind = rng.choice(("fifo", "fifo", "trap", "terminal", "terminal-fifos"))
        life = Life(kind, rng.randrange(10, 99))
        terminal = kind.startswith("terminal")
        args = ["sh", "-c", TRAP % life.init.code if kind == "trap" else LISTEN]
        options = {"Spec": json.dumps(t.spec(args, terminal=terminal)), "Terminal": terminal}
        if kind in ("fifo", "terminal-fifos"):
            life.inp, life.out = self.fifo(slot.id + "-in"), self.fifo(slot.id + "-out").open_reader()
            options.update(Stdin=str(life.inp), Stdout=str(life.out))
        slot.lives.append(life)
        life.pid = self.call(life, "create", None, lambda: client.create(slot.id, **options)).pid
        life.created = True

    def start(self, client, slot, exec_id=None):
        life = slot.life
        p = life.process(exec_id)
        if exec_id and p.kind == "short":
            p.allowed.add(p.code)
        self.call(life, "start", exec_id, self.handle(client, slot, exec_id).start)
        p.state = "running"
        if exec_id:
            p.started = True
        else:
            life.started = True

    def wait(self, client, slot, exec_id=None):
        p = slot.life.process(exec_id)
        status = self.call(slot.life, "wait", exec_id, self.handle(client, slot, exec_id).wait)[0]
        assert status in p.allowed, "Wait of %s %s says %d, not one of %s" % (slot.id, exec_id, status, p.allowed)
        p.state, p.told = "exited", status

    def delete(self, client, slot, exec_id=None):
        life = slot.life
        p = life.process(exec_id)
        status = self.call(life, "delete", exec_id, self.handle(client, slot, exec_id).delete)[1]
        assert status == p.told or p.told is None and status in p.allowed, (slot.id, exec_id, status, p.told, p.allowed)
        p.told = status
        if exec_id:
            del life.execs[exec_id]
        else:
            life.deleted = True
            life.close()

    def finish(self, client, slot, exec_id, rng):
        """Ends a process, once or again if that was cut off, and waits for it."""
        life = slot.life
        p = life.process(exec_id)
        if not p.ending:
            kind = p.kind if exec_id else life.kind
            ways = {"short": ("wait", "kill"), "trap": ("term", "kill"), "terminal": ("kill",)}.get(kind, ("code", "kill"))
            how = rng.choice(ways)
            if how != "wait":
                life.end(exec_id, how)
        if p.ending == "code":
            with contextlib.suppress(OSError):  # it has gone
                life.say(b"\nexit %d ok\n" % p.code)
        elif p.ending:
            sig = signal.SIGTERM if p.ending == "term" else signal.SIGKILL
            self.call(life, "kill", exec_id, lambda: self.handle(client, slot, exec_id).kill(sig))
        if p.ending == "term" and not exec_id:
            return  # the first process of a namespace does not hear it before its trap is set: another time again
        self.wait(client, slot, exec_id)

    def step_exec(self, client, slot, rng):
        life = slot.life
        if len(life.execs) < EXECS_MAX and rng.random() < 0.5:
            slot.n_execs += 1
            exec_id, p = "e%d" % slot.n_execs, Process(rng.randrange(10, 99))
            p.kind, p.added, p.started = rng.choice(("short", "trap", "terminal")), False, False
            life.execs[exec_id] = p
            script = TRAP % p.code if p.kind == "trap" else "exit %d" % p.code if p.kind == "short" else LISTEN
            self.call(life, "exec", exec_id, lambda: self.handle(client, slot).exec(exec_id, "sh", "-c", script,
                                                                                     Terminal=p.kind == "terminal"))
            p.added = True
        elif life.execs:
            exec_id = rng.choice(sorted(life.execs))
            p = life.execs[exec_id]
            if p.state == "created":
                self.start(client, slot, exec_id)
            elif p.state == "running":
                self.finish(client, slot, exec_id, rng)
            else:
                self.delete(client, slot, exec_id)

    def step(self, client, slot, rng):
        life = slot.life
        if not life:
            self.create(client, slot, rng)
        elif life.init.state == "created":
            if rng.random() < 0.85:
                self.start(client, slot)
            else:
                life.end(None, "kill")
                self.delete(client, slot)
        elif life.init.state == "exited":
            self.delete(client, slot)
        elif life.init.ending or rng.random() < 0.2:
            self.finish(client, slot, None, rng)
        elif life.kind == "fifo" and rng.random() < 0.2:
            self.talk(client, slot)
        else:
            self.step_exec(client, slot, rng)

    def talk(self, client, slot):
        """A process that runs answers, whatever has happened in between. Only what goes through a terminal needs the daemon
        for it."""
        life = slot.life
        number = next(self.serial)
        expected = b"got ping %d" % number
        if life.kind == "terminal":
            reader = self.handle(client, slot).open_terminal()
            os.write(reader.fd, b"\nping %d\n" % number)
        else:
            reader = life.out
            life.say(b"\nping %d\n" % number)
        reader.read_until(lambda d: expected + b"\n" in d.replace(b"\r", b""), what="%s of %s, which is a %s" % (expected, slot.id, life.kind))
        reader.data = b""

    def work(self, slots, seed):
        rng = random.Random(seed)
        slot = None
        try:
            client = self.daemon.connect(listen=rng.random() < 0.5)
            self.clients.append(client)
            while True:
                slot = rng.choice(slots)
                self.step(client, slot, rng)
        except (OSError, EOFError):
            pass  # the daemon has died
        except BaseException as e:  # whatever it is, the test has to fail of it
            life = slot and slot.life
            self.failures.append((slot and slot.id, life and (life.pending, life.__dict__, t.read_stat(life.pid)), repr(e)))

    # death, and what goes on without it

    def run_and_kill(self, operations, seconds):
        threads = [threading.Thread(target=self.work, args=(self.slots[i::WORKERS], self.rng.random())) for i in range(WORKERS)]
        goal, deadline = self.operations + operations, time.monotonic() + t.TIMEOUT
        for thread in threads:
            thread.start()
        while self.operations < goal and not self.failures:
            assert time.monotonic() < deadline, "%d calls have not been answered" % operations
            time.sleep(0.002)
        time.sleep(seconds)
        alive = t.nursery().status(self.daemon.pid) is None
        with contextlib.suppress(ProcessLookupError):
            os.kill(self.daemon.pid, signal.SIGKILL)
        for thread in threads:
            thread.join(2 * t.TIMEOUT)
            assert not thread.is_alive(), "a client hangs"
        assert alive, "the daemon had died of itself"
        for client in self.clients:
            self.collect(client)
        self.clients = []
        assert self.daemon.wait() == -signal.SIGKILL
        assert not self.failures, self.failures
        self.counts["cut off"] += sum(1 for s in self.slots if s.life and s.life.pending)

    def collect(self, client):
        """The signals that have come, also from a daemon that has gone."""
        with contextlib.suppress(OSError, EOFError):
            while client.selector.select(0):
                client.pump(t.TIMEOUT)
        for e in client.events():
            assert self.seen.setdefault(e.sequence, e).key() == e.key(), "told again, but differently: %r" % e

    def end_some(self):
        """While nobody looks."""
        running = [s for s in self.slots if s.life and s.life.created and not s.life.pending and s.life.init.state == "running"
                   and not s.life.init.ending]
        for slot in self.rng.sample(running, min(len(running), self.rng.choice((0, 0, 1, 2)))):
            life = slot.life
            if life.kind == "fifo" and self.rng.random() < 0.6:
                life.end(None, "code")
                life.say(b"\nexit %d ok\n" % life.init.code)
            else:
                life.end(None, "kill")
                os.kill(life.pid, signal.SIGKILL)
            if not self.tells_exits:
                life.init.allowed.add(UNKNOWN)
            if self.rng.random() < 0.5:
                t.wait_for(lambda: not t.is_alive(life.pid), what="the end of %s" % slot.id)
            self.counts["ended meanwhile"] += 1

    def come_back(self):
        while self.rng.random() < 0.3:
            self.daemon.start(wait=False)
            time.sleep(self.rng.choice((0.005, 0.03, 0.1)) * self.rng.random() * 2)
            self.daemon.kill9()
            self.counts["killed while coming back"] += 1
        self.daemon.start()

    # what must hold

    def unsettled(self, client):
        self.tree, self.listed = client.tree(), client.list()
        jobs = client.get(t.ROOT_PATH, t.MANAGER, "NJobs")
        if jobs:
            return "%d jobs" % jobs
        bad = self.story.leftovers_of_nobody(self.listed)
        if bad:
            return "left over: %s" % bad
        for path, interfaces in self.tree.items():
            p = t.plain(interfaces[t.PROCESS]) if t.PROCESS in interfaces else None
            if p and p["Status"] == "running" and not t.is_alive(p["Pid"]):
                return "%s runs, but its process %d has gone" % (path, p["Pid"])
        return None

    def settle(self, client):
        deadline = time.monotonic() + t.TIMEOUT
        while True:
            reason = self.unsettled(client)
            if not reason:
                return
            assert time.monotonic() < deadline, reason
            time.sleep(0.01)

    def read_events(self, client, everything=False):
        """Takes in what is new; what was known must be there as it was."""
        last = self.history[-1].sequence if self.history else 0
        after = 0 if everything else max(0, last - 100)
        complete, events = client.get_events(after)
        assert complete or after == 0 and last > 2048
        numbers = [e.sequence for e in events]
        if numbers:
            assert numbers == list(range(numbers[0], numbers[0] + len(numbers))), "numbers are missing: %s" % numbers
        if complete and last > after:
            assert numbers and numbers[0] == after + 1 and numbers[-1] >= last, (after, last, numbers)
        for e in events:
            if e.sequence <= last:
                assert self.history[e.sequence - 1].key() == e.key(), (self.history[e.sequence - 1], e)
            else:
                self.history.append(e)
                self.take(e)
        for e in self.seen.values():
            assert e.sequence <= len(self.history), "a client saw what GetEvents does not know: %r" % e
            assert self.history[e.sequence - 1].key() == e.key(), "a client saw %r, GetEvents says %r" % (
                e, self.history[e.sequence - 1])
        self.seen = {}

    def take(self, e):
        """A new event: of which life it is, and whether it is one that may be."""
        slot = self.by_id[e.id]
        if e.name == "TaskCreate":
            slot.n_created += 1
            assert slot.n_created <= len(slot.lives), "created, but by nobody: %r" % e
            slot.lives[slot.n_created - 1].pid = e.pid
        life = slot.lives[slot.n_created - 1]
        if e.name == "TaskExit":
            exec_id = None if e.data["id"] == e.id else e.data["id"]
            p = life.process(exec_id) if not exec_id or exec_id in life.execs else None
            if p:
                assert e.exit_status in p.allowed, "%r, not one of %s, pending %s" % (e, p.allowed, life.pending)
                assert p.told in (None, e.exit_status), "%r, but a client was told %d" % (e, p.told)
                p.told = e.exit_status
        elif e.name == "TaskDelete":
            life.deleted_told = True

    def check(self, client, everything=False):
        # A start that was cut off: the runtime died with the daemon, and who waits at the other end of its FIFO to be started
        # ends with an error when nobody is there any more. An exec may have come and gone before it was known by number.
        for slot in self.slots:
            verb, exec_id = slot.life and slot.life.pending or (None, None)
            if verb == "start":
                slot.life.process(exec_id).allowed.add(UNKNOWN if exec_id else 1)
        last = None
        while last != len(self.history):  # what is looked at must be of one moment
            self.settle(client)
            last = client.get(t.ROOT_PATH, t.MANAGER, "LastSequence")
            self.read_events(client, everything)
            self.settle(client)
            self.read_events(client)
        open_lives = t.check_event_invariants(self.history, allow_open=True)
        assert set(open_lives) == set(self.listed), "listed %s, open by the events %s" % (sorted(self.listed), sorted(open_lives))
        for slot in self.slots:
            try:
                self.check_slot(slot, open_lives.get((NS, slot.id)))
            except AssertionError as e:
                mine = [x for x in self.history if x.id == slot.id][-12:]
                raise AssertionError("%s, pending %s: %s\n%s" % (slot.id, slot.life and slot.life.pending, e,
                                                                 "\n".join(map(repr, mine)))) from e
        known = {s.path for s in self.slots if s.life} | {
            t.exec_path(NS, s.id, e) for s in self.slots if s.life for e in s.life.execs}
        assert set(self.tree) == known

    def check_slot(self, slot, open_life):
        for life in slot.lives[:-1] + [x for x in slot.lives[-1:] if x.deleted]:
            assert life.deleted_told, "Delete was answered, and nobody tells of it"
        life = slot.life
        if life and life.pending and life.pending[0] == "create":
            if not open_life:
                slot.lives.pop()
                life.close()
                self.counts["undone"] += 1
                assert slot.n_created == len(slot.lives)
                return
            life.created = True
        assert slot.n_created == len(slot.lives), "created %d times, by the events %d" % (len(slot.lives), slot.n_created)
        if not life:
            assert not open_life, "it was deleted"
            return
        if not open_life:
            assert life.pending == ("delete", None) and life.deleted_told, "it is lost"
            life.deleted = True
            life.close()
            return
        self.check_execs(slot, life, open_life)
        self.check_process(slot, life, None, "exited" if open_life["exit"] else "running" if open_life["start"] else "created")
        assert not life.started or open_life["start"], "Start was answered, and there is no TaskStart"
        life.started = bool(open_life["start"])
        life.pending = None

    def check_execs(self, slot, life, open_life):
        states = {"added": "created", "started": "running", "exited": "exited"}
        for exec_id, p in list(life.execs.items()):
            there, told = t.exec_path(NS, slot.id, exec_id) in self.tree, open_life["execs"].get(exec_id)
            assert not p.added or told, "Exec of %s was answered, and there is no event" % exec_id
            assert not p.started or told in ("started", "exited"), "Start of %s was answered, and there is no event" % exec_id
            if not there:
                assert life.pending in (("delete", exec_id), ("exec", exec_id)), "%s is lost" % exec_id
                assert life.pending[0] == "delete" or not told, "%s was added, and is not there" % exec_id
                del life.execs[exec_id]
                continue
            assert told, "%s is there, and nobody told" % exec_id
            p.added = True
            p.started = told != "added"
            self.check_process(slot, life, exec_id, states[told])

    def check_process(self, slot, life, exec_id, state):
        p = life.process(exec_id)
        order = ("created", "running", "exited")
        assert order.index(state) >= order.index(p.state), "%s was %s and is %s now" % (exec_id, p.state, state)
        p.state = state
        path = t.exec_path(NS, slot.id, exec_id) if exec_id else slot.path
        seen = t.plain(self.tree[path][t.PROCESS])
        expected = {"exited": "stopped"}.get(state, state)
        assert seen["Status"] == expected, "%s is %s, by the events %s" % (exec_id, seen["Status"], expected)
        if state == "exited":
            assert seen["ExitStatus"] == p.told, (exec_id, seen, p.told)
            if not exec_id:
                assert not t.is_alive(life.pid), "it is alive"
        if not exec_id:
            assert state == "exited" or seen["Pid"] == life.pid, (seen, life.pid)
            assert self.listed[NS, slot.id][0] == expected

    def talk_to_some(self, client):
        able = [s for s in self.slots if s.life and s.life.init.state == "running" and not s.life.init.ending
                and s.life.kind != "trap"]
        for slot in self.rng.sample(able, min(len(able), 4)):
            self.talk(client, slot)

    def finish_all(self, client):
        for slot in self.slots:
            life = slot.life
            if not life:
                continue
            if life.init.state != "exited":
                life.end(None, "kill")
                if life.init.state == "created":
                    self.delete(client, slot)
                    continue
                self.call(life, "kill", None, self.handle(client, slot).kill)
                self.wait(client, slot)
            self.delete(client, slot)


def test_killed_at_random(make_daemon):
    seed = int(os.environ.get("MONOSHIM_TEST_SEED", random.randrange(1 << 32)))
    print("MONOSHIM_TEST_SEED=%d" % seed)
    rng = random.Random(seed)
    daemon = make_daemon(keeps=True)
    base = daemon.fds()
    world = World(daemon, rng)
    n = 0
    try:
        for n in range(1, ROUNDS + 1):
            world.run_and_kill(rng.randrange(25 if n == 1 else 0, 30 if n == 1 else 14), 0.15 * rng.random())
            world.end_some()
            time.sleep(rng.choice((0, 0, 0.05 * rng.random())))
            world.come_back()
            client = daemon.connect()
            world.check(client, everything=n % 25 == 0)
            world.talk_to_some(client)
            world.collect(client)
            daemon.disconnect()
        client = daemon.connect()
        world.finish_all(client)
        world.read_events(client, everything=True)
        t.check_event_invariants(world.history)
    except BaseException as e:
        raise AssertionError("MONOSHIM_TEST_SEED=%d, round %d of %d: %s" % (seed, n, ROUNDS, e)) from e
    daemon.disconnect()
    daemon.base_fds = base
    daemon.wait_idle()
    assert daemon.zombies() == []
    assert not world.story.leftovers_of_nobody({})
    assert len(daemon.manager.store) == 2
    print("%d of %d rounds; %d calls answered, %d events, %s%s" % (
        n, ROUNDS, world.operations, len(world.history), ", ".join("%d %s" % (v, k) for k, v in world.counts.items()),
        "" if world.tells_exits else "; this kernel does not tell the exit codes of others' children"))
