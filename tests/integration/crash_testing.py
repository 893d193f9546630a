# SPDX-License-Identifier: LGPL-2.1-or-later
"""What a client was told by a daemon that may die at any moment, and what must therefore be true of the next one."""

import contextlib
import fcntl
import glob
import json
import os
import signal
import struct
import time

import monoshim_testing as t
from monoshim_testing import DBusError

NS = "default"
UNKNOWN = 137  # the status of whom nobody saw die


class Died(Exception):
    """The daemon has gone before it had answered."""


def kernel_tells_exits():
    """Whether a pidfd knows the exit code of a process that somebody else has reaped (PIDFD_GET_INFO, PIDFD_INFO_EXIT)."""
    pid = os.fork()
    if pid == 0:
        os._exit(7)
    fd = os.pidfd_open(pid)
    os.waitpid(pid, 0)
    info = bytearray(struct.pack("Q", 1 << 3).ljust(64, b"\0"))
    try:
        fcntl.ioctl(fd, 3 << 30 | len(info) << 16 | 0xFF << 8 | 11, info)
    except OSError:
        return False
    finally:
        os.close(fd)
    return os.waitstatus_to_exitcode(struct.unpack_from("i", info, 60)[0]) == 7


class Story:
    """One client's view of one daemon's life, and of the next one's. Ids of processes are (container id, exec id or None)."""

    def __init__(self, daemon):
        self.daemon = daemon
        self.client = None
        self.done = []  # (verb, process, result), in order
        self.pending = None  # (verb, process), unanswered
        self.seen = {}  # sequence -> event
        self.statuses = {}  # process -> what it exits with by itself
        self.recorded = {}  # process -> the exit that stood in its state when the daemon had died
        self.made = {}  # container id -> what made it
        self.exits_are_known = False  # of all whose start was answered, whoever saw them end

    # the client's side

    def connect(self):
        try:
            self.client = self.daemon.connect()
        except (OSError, EOFError) as e:
            raise Died() from e
        return self

    def collect(self):
        """Takes in all that has arrived, also from a daemon that has gone."""
        with contextlib.suppress(OSError, EOFError):
            while self.client.selector.select(0):
                self.client.pump(t.TIMEOUT)
        for e in self.client.events():
            if e.sequence in self.seen:
                assert self.seen[e.sequence].key() == e.key(), "told again, but differently: %r, %r" % (self.seen[e.sequence], e)
            self.seen[e.sequence] = e
        return self

    def do(self, verb, process, function):
        self.pending = (verb, process)
        try:
            result = function()
        except (OSError, EOFError) as e:
            raise Died() from e
        self.done.append((verb, process, result))
        self.pending = None
        return result

    def handle(self, process):
        id, exec_id = process
        c = t.Container(self.client, NS, id, t.container_path(NS, id), None)
        return t.Exec(c, exec_id, t.exec_path(NS, id, exec_id)) if exec_id else c

    def create(self, id, args, bundle=None, exits=None, **opts):
        def call():
            return self.client.create(id, bundle or "", **opts)
        if not bundle:
            opts["Spec"] = json.dumps(t.spec(args, terminal=opts.get("Terminal", False)))
        self.made[id] = opts
        if exits is not None:
            self.statuses[id, None] = exits
        return self.do("create", (id, None), call)

    def exec(self, id, exec_id, *args, exits=None, **opts):
        if exits is not None:
            self.statuses[id, exec_id] = exits
        return self.do("exec", (id, exec_id), lambda: self.handle((id, None)).exec(exec_id, *args, **opts))

    def start(self, id, exec_id=None):
        return self.do("start", (id, exec_id), self.handle((id, exec_id)).start)

    def kill(self, id, exec_id=None, sig=signal.SIGKILL):
        self.statuses.setdefault((id, exec_id), 128 + sig)
        return self.do("kill", (id, exec_id), lambda: self.handle((id, exec_id)).kill(sig))

    def wait(self, id, exec_id=None):
        return self.do("wait", (id, exec_id), self.handle((id, exec_id)).wait)

    def delete(self, id, exec_id=None):
        return self.do("delete", (id, exec_id), self.handle((id, exec_id)).delete)

    def verb(self, name, id, *args, **opts):
        return self.do(name, (id, None), lambda: getattr(self.handle((id, None)), name)(*args, **opts))

    # after its death

    def read_recorded(self):
        """The exits that the daemon had written down before it died."""
        def note(process, p):
            if p.get("exited"):
                self.recorded[process] = p["exit_status"]
        for path in glob.glob(os.path.join(self.daemon.state, NS, "[!.]*", "state.json")):
            id = os.path.basename(os.path.dirname(path))
            with open(path) as f, contextlib.suppress(ValueError):
                note((id, None), json.load(f)["init"])
            for e in glob.glob(os.path.join(os.path.dirname(path), "exec", "[!.]*.state")):
                with open(e) as f:
                    note((id, os.path.basename(e)[:-len(".state")]), json.load(f))

    def died(self):
        """The daemon has ended: it must have been by its own hand; then what it has left is looked at."""
        self.collect()
        status = self.daemon.wait()
        assert status == -signal.SIGKILL, "monoshimd ended with %d:\n%s" % (status, self.daemon.log_tail())
        self.read_recorded()

    # the next daemon

    def leftovers_of_nobody(self, listed):
        """Entries below the three directories that stand for no container that is listed."""
        bad = []
        for top in (self.daemon.state, self.daemon.root, self.daemon.runtime_root):
            for ns in t._listdir(top):
                path = os.path.join(top, ns)
                if ns.startswith(".") or not os.path.isdir(path):
                    continue
                entries = [e for e in t._listdir(path) if e != ".control"]
                bad += [os.path.join(path, e) for e in entries if (ns, e) not in listed]
                if not any(n == ns for n, _ in listed):
                    bad.append(path)
        return bad

    def unsettled(self):
        """What is still to be done after a start, if anything."""
        listed = self.client.list()
        events = self.client.get_events()[1]
        lives = t.check_event_invariants(events, allow_open=True)
        if set(lives) != set(listed):
            return "listed are %s, but by the events there are %s" % (sorted(listed), sorted(lives))
        jobs = self.client.get(t.ROOT_PATH, t.MANAGER, "NJobs")
        if jobs:
            return "%d jobs" % jobs
        bad = self.leftovers_of_nobody(listed)
        bad += [m for m in t.leftover_mounts(self.daemon.directory)
                if not any("/%s/%s/" % k in m + "/" or self.made.get(k[1], {}).get("Rootfs") for k in listed)]
        return "left over: %s" % bad if bad else None

    def settle(self):
        deadline = time.monotonic() + t.TIMEOUT
        while True:
            reason = self.unsettled()
            if not reason:
                return
            assert time.monotonic() < deadline, reason
            time.sleep(0.01)

    def check(self):
        """Of a daemon that has come back and settled."""
        self.collect()
        complete, events = self.client.get_events()
        assert complete
        t.check_event_invariants(events, allow_open=True)
        by_number = {e.sequence: e for e in events}
        assert sorted(by_number) == list(range(1, len(events) + 1)), "numbers are missing: %s" % sorted(by_number)
        for e in self.seen.values():
            assert e.sequence in by_number, "a client saw what GetEvents does not know: %r" % e
            assert by_number[e.sequence].key() == e.key(), "a client saw %r, and GetEvents says %r" % (e, by_number[e.sequence])
        self.check_answers(events)
        self.check_exits(events)
        self.check_unanswered_create(events)
        return events

    def check_answers(self, events):
        def has(name, process, key="id"):
            id, exec_id = process
            return any(e.name == name and e.id == id and (exec_id is None or e.data[key] == exec_id) for e in events)
        for verb, process, _ in self.done:
            ok = {
                "create": lambda: has("TaskCreate", process),
                "exec": lambda: has("TaskExecAdded", process, "exec_id"),
                "start": lambda: has("TaskExecStarted", process, "exec_id") if process[1] else has("TaskStart", process),
                "delete": lambda: process[1] or has("TaskDelete", process),
                "pause": lambda: has("TaskPaused", process),
                "resume": lambda: has("TaskResumed", process),
                "checkpoint": lambda: has("TaskCheckpointed", process),
                "wait": lambda: has("TaskExit", process),
            }.get(verb, lambda: True)()
            assert ok, "%s of %s was answered, but there is no event of it" % (verb, process)

    def check_exits(self, events):
        answered = {p: r[0] for v, p, r in self.done if v == "wait"}
        for e in events:
            if e.name != "TaskExit":
                continue
            process = (e.id, None if e.data["id"] == e.id else e.data["id"])
            allowed = {self.statuses.get(process, UNKNOWN), UNKNOWN}
            if self.exits_are_known and any(v == "start" and p == process for v, p, _ in self.done):
                allowed = {self.statuses.get(process, UNKNOWN)}
            for known in (answered, self.recorded):
                if process in known:
                    allowed = {known[process]}
            assert e.exit_status in allowed, "%r, not one of %s" % (e, allowed)

    def check_unanswered_create(self, events):
        """Wholly there, or wholly gone."""
        if not self.pending or self.pending[0] != "create":
            return
        id = self.pending[1][0]
        created = any(e.name == "TaskCreate" and e.id == id for e in events)
        if not created:
            assert (NS, id) not in self.client.list(), "there without its TaskCreate"

    def end(self, id, ns=NS):
        """Whatever state a container is in, it can be ended and deleted."""
        c = self.client.container(id, ns)
        if c.status == "paused":
            c.resume()
        if c.status == "created":
            c.delete()
            return
        with contextlib.suppress(DBusError):
            c.kill()
        c.wait()
        c.delete()

    def finish(self):
        """All that is left can be deleted, and its ids can be used again; nothing stays."""
        for ns, id in self.client.list():
            self.end(id, ns)
        for id, opts in self.made.items():
            if "Spec" in opts and not opts.keys() & {"Checkpoint", "Rootfs", "Stdin", "Stdout"}:
                self.client.create(id, Spec=opts["Spec"]).delete()
        self.settle()
        t.check_event_invariants(self.client.get_events()[1])
        self.daemon.disconnect()
        self.daemon.wait_idle()
        assert not self.leftovers_of_nobody({}), self.leftovers_of_nobody({})
        self.daemon.stop()
        assert self.daemon.notifications[-1] != "STATUS=failed"
        t.check_log(self.daemon.log_text())
