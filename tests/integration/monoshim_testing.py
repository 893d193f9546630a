# SPDX-License-Identifier: LGPL-2.1-or-later
"""The vocabulary of the acceptance tests: daemons, clients, bundles, FIFOs, events, and what must not be left over.

Environment:
  MONOSHIMD, MONOSHIM, FAKE_RUNTIME   absolute paths of the programs (default: beside the sources' top directory)
  MONOSHIMD_WRAPPER                   put before the daemon's command line, e.g. "valgrind -q --error-exitcode=99"
  MONOSHIM_TEST_SLOW=0                leave the long versions of the slow tests out
  MONOSHIM_TEST_LARGE=1               run the large versions: more bytes, more rounds
  MONOSHIM_TEST_SOAK=N                lifecycles in test_soak.py
  MONOSHIM_CRIU_DIR                   a directory with a "criu" that works here; $PATH is searched without it
  MONOSHIM_TEST_SCALE=N               multiplies every deadline (default 1; 10 under a wrapper, 4 with a sanitizer)

Every process that a test starts, and every orphan of those, is a descendant of one "nursery" process: a child subreaper
that reaps at once, as a service manager would, and that kills what is left when the tests end, however they end.
"""

import array
import contextlib
import copy
import ctypes
import errno
import fcntl
import glob
import hashlib
import itertools
import json
import os
import pickle
import re
import select
import shlex
import shutil
import signal
import socket
import struct
import subprocess
import sys
import tempfile
import termios
import threading
import time

from jeepney import DBusAddress, HeaderFields, MessageType, new_method_call
from jeepney.fds import FileDescriptor
from jeepney.io.blocking import DBusConnectionBase, prep_socket

HERE = os.path.dirname(os.path.abspath(__file__))
TOP = os.path.dirname(os.path.dirname(HERE))


def _program(variable, *candidates):
    if os.environ.get(variable):
        return os.environ[variable]
    for c in candidates:
        path = os.path.join(TOP, c)
        if os.access(path, os.X_OK):
            return path
    return os.path.join(TOP, candidates[0])


MONOSHIMD = _program("MONOSHIMD", "monoshimd", "build/monoshimd")
MONOSHIM = _program("MONOSHIM", "monoshim", "build/monoshim")
FAKE_RUNTIME = _program("FAKE_RUNTIME", "fake-runtime", "tests/fake-runtime", "build/fake-runtime")
WRAPPER = shlex.split(os.environ.get("MONOSHIMD_WRAPPER", ""))
VALGRIND = any("valgrind" in w for w in WRAPPER)
SLOW = os.environ.get("MONOSHIM_TEST_SLOW", "1") != "0"
LARGE = os.environ.get("MONOSHIM_TEST_LARGE", "0") not in ("", "0")


def _has_sanitizer(path):
    try:
        with open(path, "rb") as f:
            return b"__asan_" in f.read() or b"__ubsan_" in open(path, "rb").read()
    except OSError:
        return False


SANITIZED = _has_sanitizer(MONOSHIMD)
INSTRUMENTED = bool(WRAPPER) or SANITIZED
SCALE = float(os.environ.get("MONOSHIM_TEST_SCALE", 10 if WRAPPER else 4 if SANITIZED else 1))
TIMEOUT = 20 * SCALE

BUS_NAME = "org.monoshim1"
ROOT_PATH = "/org/monoshim1"
MANAGER = "org.monoshim1.Manager"
CONTAINER = "org.monoshim1.Container"
PROCESS = "org.monoshim1.Process"
PROPERTIES = "org.freedesktop.DBus.Properties"
OBJECT_MANAGER = "org.freedesktop.DBus.ObjectManager"
ERROR = "org.monoshim1.Error."

# The arguments that follow sequence, namespace and container_id.
EVENT_ARGUMENTS = {
    "TaskCreate": ("bundle", "rootfs", "stdin", "stdout", "stderr", "terminal", "checkpoint", "pid"),
    "TaskStart": ("pid",),
    "TaskOOM": (),
    "TaskExit": ("id", "pid", "exit_status", "exited_at"),
    "TaskDelete": ("id", "pid", "exit_status", "exited_at"),
    "TaskExecAdded": ("exec_id",),
    "TaskExecStarted": ("exec_id", "pid"),
    "TaskPaused": (),
    "TaskResumed": (),
    "TaskCheckpointed": ("checkpoint",),
    "TaskSeccomp": ("pid", "syscall", "action", "errno", "count"),
}
EVENT_SIGNATURES = {
    "TaskCreate": "tsssa(sssas)sssbsu",
    "TaskStart": "tssu",
    "TaskOOM": "tss",
    "TaskExit": "tsssuut",
    "TaskDelete": "tsssuut",
    "TaskExecAdded": "tsss",
    "TaskExecStarted": "tsssu",
    "TaskPaused": "tss",
    "TaskResumed": "tss",
    "TaskCheckpointed": "tsss",
    "TaskSeccomp": "tssussut",
}
TOPICS = {
    "TaskCreate": "/tasks/create",
    "TaskStart": "/tasks/start",
    "TaskOOM": "/tasks/oom",
    "TaskExit": "/tasks/exit",
    "TaskDelete": "/tasks/delete",
    "TaskExecAdded": "/tasks/exec-added",
    "TaskExecStarted": "/tasks/exec-started",
    "TaskPaused": "/tasks/paused",
    "TaskResumed": "/tasks/resumed",
    "TaskCheckpointed": "/tasks/checkpointed",
    "TaskSeccomp": "/tasks/seccomp",
}
OPTION_SIGNATURES = {
    "Spec": "s", "Rootfs": "a(sssas)", "Runtime": "s", "RuntimeRoot": "s", "SystemdCgroup": "b", "NoPivotRoot": "b",
    "NoNewKeyring": "b", "IoUid": "u", "IoGid": "u", "Terminal": "b", "ConsoleSize": "(qq)", "Stdin": "s", "Stdout": "s",
    "Stderr": "s", "Checkpoint": "s", "ParentCheckpoint": "s", "CriuWorkPath": "s", "Relay": "b", "Labels": "a{ss}",
}
CHECKPOINT_SIGNATURES = {
    "Exit": "b", "OpenTcp": "b", "ExternalUnixSockets": "b", "Terminal": "b", "FileLocks": "b", "EmptyNamespaces": "as",
    "WorkPath": "s", "ParentPath": "s",
}
SUBSCRIBE_SIGNATURES = {"Namespace": "s", "ContainerId": "s"}
STATISTICS = {"CPUUsageUSec", "CPUUserUSec", "CPUSystemUSec", "MemoryCurrent", "MemoryPeak", "MemoryMax", "PidsCurrent",
              "PidsMax", "IOReadBytes", "IOWriteBytes", "OOMKills"}


# ---------------------------------------------------------------------------------------------------------------------
# Time and the process table


def wait_for(condition, timeout=None, what=None, interval=0.005):
    """Polls until condition() is true and returns what it returned; AssertionError after the deadline."""
    deadline = time.monotonic() + (TIMEOUT if timeout is None else timeout)
    while True:
        value = condition()
        if value:
            return value
        if time.monotonic() > deadline:
            raise AssertionError("timed out waiting for %s" % (what or condition))
        time.sleep(interval)
        interval = min(interval * 1.5, 0.1)


def now_usec():
    return time.time_ns() // 1000


def read_stat(pid):
    """(state, ppid, start time) of a process, or None."""
    try:
        with open("/proc/%d/stat" % pid) as f:
            fields = f.read().rpartition(")")[2].split()
    except (FileNotFoundError, ProcessLookupError):
        return None
    return fields[0], int(fields[1]), int(fields[19])


def is_alive(pid):
    s = read_stat(pid)
    return s is not None and s[0] not in "ZX"


def start_time(pid):
    return read_stat(pid)[2]


def process_table():
    """pid -> (state, ppid)."""
    table = {}
    for name in os.listdir("/proc"):
        if name.isdigit():
            s = read_stat(int(name))
            if s:
                table[int(name)] = s[:2]
    return table


def descendants(pid):
    table = process_table()
    children = {}
    for child, (_, parent) in table.items():
        children.setdefault(parent, []).append(child)
    found, todo = [], [pid]
    while todo:
        for child in children.get(todo.pop(), ()):
            found.append(child)
            todo.append(child)
    return found


def children(pid):
    return [child for child, (_, parent) in process_table().items() if parent == pid]


def command_line(pid):
    try:
        with open("/proc/%d/cmdline" % pid, "rb") as f:
            return f.read().replace(b"\0", b" ").decode(errors="replace").strip()
    except OSError:
        return ""


def describe(pids):
    return ["%d %s %s" % (p, read_stat(p), command_line(p)) for p in pids]


def cpu_ticks(pid):
    """User and system time that a process has used."""
    with open("/proc/%d/stat" % pid) as f:
        fields = f.read().rpartition(")")[2].split()
    return int(fields[11]) + int(fields[12])


def rss_kib(pid):
    with open("/proc/%d/status" % pid) as f:
        return int(re.search(r"^VmRSS:\s+(\d+)", f.read(), re.M).group(1))


def anonymous_kib(pid):
    """What the process itself has touched: resident anonymous memory."""
    with open("/proc/%d/status" % pid) as f:
        return int(re.search(r"^RssAnon:\s+(\d+)", f.read(), re.M).group(1))


def armed_timers(pid):
    """In how many seconds each of a process's timer descriptors expires, of those that are set."""
    found = []
    folder = "/proc/%d/fdinfo/" % pid
    for name in os.listdir(folder):
        with contextlib.suppress(FileNotFoundError), open(folder + name) as f:
            m = re.search(r"^it_value: \((\d+), (\d+)\)", f.read(), re.M)
            if m and (m.group(1), m.group(2)) != ("0", "0"):
                found.append(int(m.group(1)) + int(m.group(2)) / 1e9)
    return found


def boot_id():
    with open("/proc/sys/kernel/random/boot_id") as f:
        return f.read().strip()


PR_SET_PDEATHSIG = 1
PR_SET_CHILD_SUBREAPER = 36
_libc = ctypes.CDLL(None, use_errno=True)


def prctl(option, value):
    if _libc.prctl(option, ctypes.c_ulong(value), 0, 0, 0) != 0:
        raise OSError(ctypes.get_errno(), "prctl")


class Decoy:
    """A process that tells which signals it got."""

    PROGRAM = """
import os, signal, sys
def on_signal(number, frame):
    os.write(1, b"signal %d\\n" % number)
for s in range(1, 65):
    try:
        signal.signal(s, on_signal)
    except (OSError, ValueError):
        pass
signal.signal(signal.SIGCHLD, signal.SIG_DFL)
os.write(1, b"ready\\n")
while True:
    signal.pause()
"""

    def __init__(self):
        self.process = subprocess.Popen([sys.executable, "-c", self.PROGRAM], stdout=subprocess.PIPE, start_new_session=True)
        self.pid = self.process.pid
        assert self.process.stdout.readline() == b"ready\n"

    def check(self):
        assert self.process.poll() is None, "somebody has killed a process that is none of his business"
        assert read_stat(self.pid)[0] not in "TtZX"

    def end(self):
        self.check()
        self.process.kill()
        self.process.wait()
        assert self.process.stdout.read() == b"", "it was signalled"
        self.process.stdout.close()


class Nursery:
    """A child subreaper that starts processes for the tests, reaps everything, and remembers the status of what it started."""

    def __init__(self):
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self.pid = os.fork()
        if self.pid == 0:
            try:
                ours.close()
                self._run(theirs)
            finally:
                os._exit(0)
        theirs.close()
        self._socket = ours
        self._lock = threading.Lock()

    def _request(self, fds=(), **message):
        with self._lock:
            socket.send_fds(self._socket, [json.dumps(message).encode()], list(fds))
            reply = json.loads(self._socket.recv(1 << 16))
        if "error" in reply:
            raise OSError(reply["error"], os.strerror(reply["error"]), message.get("argv", [None])[0])
        return reply["value"]

    def spawn(self, argv, env, log, cwd="/", umask=None, fds=()):
        """Starts a program with stdin /dev/null, and stdout and stderr appended to the file 'log'. Returns the pid. It gets
        'fds' as systemd hands them over, with LISTEN_FDS and LISTEN_PID."""
        return self._request(fds, op="spawn", argv=argv, env=env, log=log, cwd=cwd, umask=umask)

    def status(self, pid):
        """The wait status of a process started here, or None while it lives."""
        return self._request(op="status", pid=pid)

    def wait(self, pid, timeout=None):
        """Waits for a process started here; the exit code, or minus the signal."""
        try:
            fd = os.pidfd_open(pid)
        except ProcessLookupError:
            fd = None
        if fd is not None:
            p = select.poll()
            p.register(fd, select.POLLIN)
            ready = p.poll(int((TIMEOUT if timeout is None else timeout) * 1000))
            os.close(fd)
            if not ready:
                raise AssertionError("process %d did not exit: %s" % (pid, command_line(pid)))
        status = wait_for(lambda: self.status(pid) is not None and (self.status(pid),), what="the status of %d" % pid)[0]
        return os.waitstatus_to_exitcode(status)

    def close(self):
        self._socket.close()
        os.waitpid(self.pid, 0)

    # in the nursery itself
    def _run(self, control):
        os.setsid()
        prctl(PR_SET_CHILD_SUBREAPER, 1)
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        wake_r, wake_w = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
        signal.signal(signal.SIGCHLD, lambda *_: None)
        signal.set_wakeup_fd(wake_w, warn_on_full_buffer=False)
        statuses = {}
        while True:
            ready, _, _ = select.select([control, wake_r], [], [])
            if wake_r in ready:
                os.read(wake_r, 4096)
            self._reap(statuses)
            if control not in ready:
                continue
            data, fds, _, _ = socket.recv_fds(control, 1 << 16, 253)
            if not data:
                break
            message = json.loads(data)
            message["fds"] = fds
            for fd in fds:  # recv_fds() ignores its flags
                os.set_inheritable(fd, False)
            try:
                if message["op"] == "spawn":
                    pid = self._spawn(message)
                    statuses.pop(pid, None)  # of somebody who had the number before
                    reply = {"value": pid}
                else:
                    reply = {"value": statuses.get(message["pid"])}
            except OSError as e:
                reply = {"error": e.errno or errno.EIO}
            for fd in fds:
                os.close(fd)
            control.send(json.dumps(reply).encode())
        # The tests are over, one way or another: leave nothing behind.
        for _ in range(1000):
            left = descendants(os.getpid())
            if not left:
                break
            for pid in left:
                with contextlib.suppress(OSError):
                    os.kill(pid, signal.SIGKILL)
                    os.kill(pid, signal.SIGCONT)
            self._reap(statuses)
            time.sleep(0.01)

    @staticmethod
    def _spawn(message):
        log = os.open(message["log"], os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o644)
        null = os.open("/dev/null", os.O_RDWR | os.O_CLOEXEC)
        error_r, error_w = os.pipe2(os.O_CLOEXEC)
        try:
            pid = os.fork()
            if pid == 0:
                try:
                    signal.set_wakeup_fd(-1)
                    for s in (signal.SIGINT, signal.SIGCHLD, signal.SIGPIPE):
                        signal.signal(s, signal.SIG_DFL)
                    os.setsid()
                    if message["umask"] is not None:
                        os.umask(message["umask"])
                    os.chdir(message["cwd"])
                    os.dup2(null, 0)
                    os.dup2(log, 1)
                    os.dup2(log, 2)
                    if message["fds"]:
                        # As systemd does it: from 3 on, without a gap.
                        high = [fcntl.fcntl(fd, fcntl.F_DUPFD_CLOEXEC, 600) for fd in message["fds"]]
                        error_w = fcntl.fcntl(error_w, fcntl.F_DUPFD_CLOEXEC, 600)
                        for i, fd in enumerate(high):
                            os.dup2(fd, 3 + i)
                        message["env"].update(LISTEN_FDS=str(len(high)), LISTEN_PID=str(os.getpid()))
                    os.execvpe(message["argv"][0], message["argv"], message["env"])
                except OSError as e:
                    os.write(error_w, struct.pack("i", e.errno))
                finally:
                    os._exit(127)
            os.close(error_w)
            error_w = -1
            failed = os.read(error_r, 4)
            if failed:
                raise OSError(struct.unpack("i", failed)[0], "exec")
            return pid
        finally:
            for fd in (log, null, error_r, error_w):
                if fd >= 0:
                    os.close(fd)

    @staticmethod
    def _reap(statuses):
        while True:
            try:
                pid, status = os.waitpid(-1, os.WNOHANG)
            except ChildProcessError:
                return
            if pid == 0:
                return
            statuses[pid] = status


_nursery = None


def nursery():
    global _nursery
    if _nursery is None:
        _nursery = Nursery()
    return _nursery


# ---------------------------------------------------------------------------------------------------------------------
# D-Bus


class DBusError(Exception):
    def __init__(self, name, message):
        super().__init__("%s: %s" % (name, message))
        self.name = name
        self.message = message


@contextlib.contextmanager
def refused(name, *texts, exactly=None):
    """The block must raise this D-Bus error; 'name' is short for org.monoshim1.Error.NAME unless it has a dot. Every one of
    'texts' must occur in its message."""
    full = name if "." in name else ERROR + name
    caught = []
    try:
        yield caught
    except DBusError as e:
        caught.append(e)
        assert e.name == full, "expected %s, got %s" % (full, e)
        for t in texts:
            assert t in e.message, "expected %r in %r" % (t, e.message)
        if exactly is not None:
            assert e.message == exactly, "expected %r, got %r" % (exactly, e.message)
        return
    raise AssertionError("expected %s, but the call succeeded" % full)


def path_encode(label):
    """As sd_bus_path_encode() escapes one element."""
    if label == "":
        return "_"
    out = ""
    for i, b in enumerate(label.encode()):
        c = chr(b)
        if (c.isascii() and c.isalpha()) or (i > 0 and c.isascii() and c.isdigit()):
            out += c
        else:
            out += "_%02x" % b
    return out


def container_path(ns, id):
    return "%s/container/%s/%s" % (ROOT_PATH, path_encode(ns), path_encode(id))


def exec_path(ns, id, exec_id):
    return "%s/process/%s" % (container_path(ns, id), path_encode(exec_id))


def plain(value):
    """Variants taken out of an a{sv}."""
    return {k: v[1] for k, v in value.items()}


def options(signatures=OPTION_SIGNATURES, **kw):
    """An a{sv}, of CreateContainer and Exec if not said otherwise: each value gets the variant type of its key; files and
    FileDescriptors become 'h'."""
    result = {}
    for key, value in kw.items():
        if isinstance(value, tuple) and len(value) == 2 and isinstance(value[0], str):
            result[key] = value  # spelled out, also wrongly
        elif key in ("Stdin", "Stdout", "Stderr") and not isinstance(value, str):
            result[key] = ("h", value if isinstance(value, int) else value.fileno())
        else:
            result[key] = (signatures[key], value)
    return result


class Event:
    """A signal of the Manager, or an entry of GetEvents, with its arguments by name."""

    def __init__(self, name, sequence, ns, id, data):
        self.name, self.sequence, self.ns, self.id, self.data = name, sequence, ns, id, data

    def __getattr__(self, name):
        try:
            return self.__dict__["data"][name]
        except KeyError:
            raise AttributeError(name)

    def key(self):
        return self.name, self.sequence, self.ns, self.id, self.data

    def __repr__(self):
        return "<%d %s %s/%s %s>" % (self.sequence, self.name, self.ns, self.id, self.data)


class Pending:
    """A call in flight."""

    def __init__(self, client, serial):
        self.client, self.serial = client, serial

    def done(self):
        self.client.drain()
        return self.serial in self.client.replies

    def result(self, timeout=None):
        deadline = time.monotonic() + (TIMEOUT if timeout is None else timeout)
        while self.serial not in self.client.replies:
            self.client.pump(deadline - time.monotonic(), "a reply")
        message = self.client.replies.pop(self.serial)
        if message.header.message_type == MessageType.error:
            raise DBusError(message.header.fields[HeaderFields.error_name],
                            message.body[0] if message.body else "")
        return message.body


class Client(DBusConnectionBase):
    """One connection: peer-to-peer, or to a message bus. Not shared between threads."""

    def __init__(self, path, is_bus=False, listen=True):
        super().__init__(prep_socket(path, enable_fds=True, timeout=TIMEOUT), enable_fds=True)
        self.is_bus = is_bus
        self.replies = {}
        self._awaited = set()
        self.signals = []
        self._wait_until_read()
        self.unique_name = self.bus_call("Hello")[0]
        if listen:
            self.bus_call("AddMatch", "s", "type='signal'")

    def fileno(self):
        return self.sock.fileno()

    def _wait_until_read(self):
        """So that the first call does not arrive in one piece with the end of the authentication: a server that cannot take
        that fails in a test of its own, in test_peer.py, and not here and there everywhere."""
        unread = array.array("i", [0])
        wait_for(lambda: fcntl.ioctl(self.sock, termios.TIOCOUTQ, unread) == 0 and unread[0] == 0, what="the peer to read",
                 interval=0.0002)

    # plumbing
    def begin(self, path, interface, member, signature="", *args, destination=BUS_NAME):
        """Sends a call and returns without waiting."""
        message = new_method_call(DBusAddress(path, destination or BUS_NAME, interface), member, signature or None, args)
        if destination is None:
            del message.header.fields[HeaderFields.destination]
        serial = next(self.outgoing_serial)
        data, fds = self._serialise(message, serial)
        self._awaited.add(serial)
        if fds:
            self._send_with_fds(data, fds)
        else:
            self.sock.sendall(data)
        return Pending(self, serial)

    def call(self, path, interface, member, signature="", *args, timeout=None, **kw):
        return self.begin(path, interface, member, signature, *args, **kw).result(timeout)

    def bus_call(self, member, signature="", *args):
        return self.call("/org/freedesktop/DBus", "org.freedesktop.DBus", member, signature, *args,
                         destination="org.freedesktop.DBus")

    def pump(self, timeout, what="a message"):
        """Takes in one message."""
        if timeout < 0:
            raise AssertionError("timed out waiting for %s" % what)
        try:
            message = self._receive(time.monotonic() + timeout)
        except TimeoutError:
            raise AssertionError("timed out waiting for %s" % what) from None
        kind = message.header.message_type
        if kind == MessageType.signal:
            self.signals.append(message)
        elif kind in (MessageType.method_return, MessageType.error):
            serial = message.header.fields[HeaderFields.reply_serial]
            assert serial in self._awaited, "a reply to nothing, or a second reply: %r" % (message,)
            self._awaited.remove(serial)
            self.replies[serial] = message

    def drain(self, seconds=0.0):
        """Takes in what has arrived, and what arrives in the next 'seconds'."""
        deadline = time.monotonic() + seconds
        while True:
            left = deadline - time.monotonic()
            with contextlib.suppress(ConnectionResetError):
                if self.selector.select(max(left, 0)):
                    self.pump(TIMEOUT)
                    continue
            if left <= 0:
                return

    def sync(self):
        """After this, everything signalled before has arrived: one connection keeps its order."""
        self.call(ROOT_PATH, "org.freedesktop.DBus.Peer", "Ping")

    # signals
    def _matching(self, path=None, interface=None, member=None):
        for m in self.signals:
            f = m.header.fields
            if ((path is None or f[HeaderFields.path] == path) and
                    (interface is None or f[HeaderFields.interface] == interface) and
                    (member is None or f[HeaderFields.member] == member)):
                yield m

    def events(self, id=None, ns=None, name=None):
        """The Manager's signals so far, in order of arrival."""
        found = []
        for m in self._matching(ROOT_PATH, MANAGER):
            member = m.header.fields[HeaderFields.member]
            if member not in EVENT_ARGUMENTS:
                continue
            assert m.header.fields.get(HeaderFields.signature, "") == EVENT_SIGNATURES[member], member
            sequence, e_ns, e_id = m.body[:3]
            e = Event(member, sequence, e_ns, e_id, dict(zip(EVENT_ARGUMENTS[member], m.body[3:])))
            if (id in (None, e.id)) and (ns in (None, e.ns)) and (name in (None, e.name)):
                found.append(e)
        return found

    def event_names(self, id=None, ns=None):
        return [e.name for e in self.events(id, ns)]

    def wait_event(self, name, id=None, ns=None, count=1, timeout=None):
        """Waits until there are 'count' such events, and returns the last one."""
        deadline = time.monotonic() + (TIMEOUT if timeout is None else timeout)
        self.drain()
        while len(self.events(id, ns, name)) < count:
            self.pump(deadline - time.monotonic(), "%s of %s" % (name, id))
        return self.events(id, ns, name)[count - 1]

    def changes(self, path, prop):
        """The values that PropertiesChanged has told of one property, in order."""
        values = []
        for m in self._matching(path, PROPERTIES, "PropertiesChanged"):
            if prop in m.body[1]:
                values.append(m.body[1][prop][1])
            elif prop in m.body[2]:
                values.append(None)
        return values

    def added(self):
        """path -> interfaces -> properties, from InterfacesAdded."""
        return [(m.body[0], {i: plain(p) for i, p in m.body[1].items()})
                for m in self._matching(None, OBJECT_MANAGER, "InterfacesAdded")]

    def removed(self):
        return [(m.body[0], m.body[1]) for m in self._matching(None, OBJECT_MANAGER, "InterfacesRemoved")]

    def forget_signals(self):
        self.drain()
        self.signals.clear()

    # the Manager
    def manager(self, member, signature="", *args, **kw):
        return self.call(ROOT_PATH, MANAGER, member, signature, *args, **kw)

    def get(self, path, interface, prop):
        return self.call(path, PROPERTIES, "Get", "ss", interface, prop)[0][1]

    def get_all(self, path, interface):
        return plain(self.call(path, PROPERTIES, "GetAll", "s", interface)[0])

    def begin_create(self, id, bundle="", ns="default", **opts):
        return self.begin(ROOT_PATH, MANAGER, "CreateContainer", "sssa{sv}", ns, id, str(bundle), options(**opts))

    def create(self, id, bundle="", ns="default", timeout=None, **opts):
        path, pid = self.begin_create(id, bundle, ns, **opts).result(timeout)
        return Container(self, ns, id, path, pid)

    def container(self, id, ns="default"):
        """A container known from elsewhere."""
        return Container(self, ns, id, self.manager("GetContainer", "ss", ns, id)[0], None)

    def list(self):
        """{(namespace, id): (status, pid, path)}"""
        rows = self.manager("ListContainers")[0]
        result = {(r[0], r[1]): (r[2], r[3], r[4]) for r in rows}
        assert len(result) == len(rows), "a container is listed twice: %r" % (rows,)
        return result

    def get_events(self, after=0, max=0):
        """(complete, [Event])"""
        complete, rows = self.manager("GetEvents", "tu", after, max)
        names = {t: n for n, t in TOPICS.items()}
        return complete, [Event(names[topic], seq, ns, id, plain(data)) for seq, topic, _, ns, id, data in rows]

    def subscribe(self, after=0, **opts):
        """What SubscribeEvents brings, as a Subscription."""
        fd, = self.manager("SubscribeEvents", "ta{sv}", after, options(SUBSCRIBE_SIGNATURES, **opts))
        return Subscription(fd.to_raw_fd())

    def tree(self):
        return self.call(ROOT_PATH, OBJECT_MANAGER, "GetManagedObjects")[0]


class Process:
    """What a client holds of one process: its path, and the verbs of org.monoshim1.Process."""

    def __init__(self, client, ns, id, path, pid):
        self.client, self.ns, self.id, self.path, self.pid = client, ns, id, path, pid

    def on(self, client):
        """The same object seen through another connection."""
        other = copy.copy(self)
        other.client = client
        return other

    def begin(self, member, signature="", *args, interface=PROCESS):
        return self.client.begin(self.path, interface, member, signature, *args)

    def process(self, member, signature="", *args, timeout=None):
        return self.begin(member, signature, *args).result(timeout)

    def start(self, timeout=None):
        self.pid = self.process("Start", timeout=timeout)[0]
        return self.pid

    def kill(self, sig=signal.SIGKILL, all=False, timeout=None):
        assert self.process("Kill", "ub", int(sig), all, timeout=timeout) == ()

    def delete(self, timeout=None):
        return self.process("Delete", timeout=timeout)

    def wait(self, timeout=None):
        return self.process("Wait", timeout=timeout)

    def end(self):
        """Kills it if need be, waits, and deletes; returns what Delete said."""
        with contextlib.suppress(DBusError):
            self.kill()
        self.wait()
        return self.delete()

    def get(self, prop, interface=PROCESS):
        return self.client.get(self.path, interface, prop)

    @property
    def status(self):
        return self.get("Status")

    def resize(self, columns, rows):
        assert self.process("ResizePty", "qq", columns, rows) == ()

    def close_io(self):
        assert self.process("CloseIO") == ()

    def open_terminal(self):
        """The terminal's master, as a Reader."""
        return Reader(self.process("OpenTerminal")[0].to_raw_fd())

    def open_pidfd(self):
        """A raw descriptor."""
        return self.process("OpenPidFD")[0].to_raw_fd()


class Exec(Process):
    """An exec'd process; 'id' is the exec id."""

    def __init__(self, container, id, path):
        super().__init__(container.client, container.ns, id, path, None)
        self.container = container

    def events(self, name=None):
        """Those of its container that are about it."""
        return [e for e in self.client.events(self.container.id, self.ns, name)
                if self.id in (e.data.get("exec_id"), e.data.get("id"))]

    def event_names(self):
        return [e.name for e in self.events()]


class Container(Process):
    """A container, and its init."""

    def verb(self, member, signature="", *args, timeout=None):
        """A method of org.monoshim1.Container."""
        return self.begin(member, signature, *args, interface=CONTAINER).result(timeout)

    def pause(self):
        assert self.verb("Pause") == ()

    def resume(self):
        assert self.verb("Resume") == ()

    def begin_exec(self, exec_id, *args, spec=None, **opts):
        """args: the program's; spec: the whole process object instead, or its text."""
        text = spec if isinstance(spec, str) else json.dumps(process_spec(list(args)) if spec is None else spec)
        return self.begin("Exec", "ssa{sv}", exec_id, text, options(**opts), interface=CONTAINER)

    def exec(self, exec_id, *args, spec=None, timeout=None, **opts):
        path, = self.begin_exec(exec_id, *args, spec=spec, **opts).result(timeout)
        return Exec(self, exec_id, path)

    def run(self, exec_id, *args, **opts):
        """exec() and start()."""
        e = self.exec(exec_id, *args, **opts)
        e.start()
        return e

    def known_exec(self, exec_id):
        return Exec(self, exec_id, exec_path(self.ns, self.id, exec_id))

    def pids(self):
        """{pid: exec id}"""
        rows = self.verb("ListPids")[0]
        result = dict(rows)
        assert len(result) == len(rows), "a pid is listed twice: %r" % (rows,)
        return result

    def update(self, resources):
        assert self.verb("Update", "s", resources if isinstance(resources, str) else json.dumps(resources)) == ()

    def begin_checkpoint(self, image_path, **opts):
        return self.begin("Checkpoint", "sa{sv}", str(image_path), options(CHECKPOINT_SIGNATURES, **opts), interface=CONTAINER)

    def checkpoint(self, image_path, timeout=None, **opts):
        assert self.begin_checkpoint(image_path, **opts).result(timeout) == ()

    def stats(self):
        """GetStats; every figure is of type t and has a name that is known."""
        raw = self.verb("GetStats")[0]
        assert set(raw) <= STATISTICS, raw
        assert {v[0] for v in raw.values()} <= {"t"}, raw
        return plain(raw)

    def events(self, name=None):
        return self.client.events(self.id, self.ns, name)

    def event_names(self):
        return [e.name for e in self.events()]


# ---------------------------------------------------------------------------------------------------------------------
# Bundles, FIFOs


_rootfs = None


def rootfs():
    """A root file system with busybox, shared by all bundles of this test run."""
    global _rootfs
    if _rootfs is None:
        parent = tempfile.mkdtemp(prefix="msr.")
        os.chmod(parent, 0o755)  # users of user namespaces have to come by
        _rootfs = os.path.join(parent, "rootfs")
        populate_rootfs(_rootfs)
    return _rootfs


def rootfs_remove():
    if _rootfs is not None:
        shutil.rmtree(os.path.dirname(_rootfs))


def populate_rootfs(path):
    for d in ("bin", "proc", "dev", "tmp", "sys", "etc"):
        os.makedirs(os.path.join(path, d), exist_ok=True)
    os.chmod(path, 0o755)
    shutil.copy("/bin/busybox", os.path.join(path, "bin/busybox"))
    for applet in ("sh", "sleep", "true", "false", "echo", "cat", "printf", "test", "ls", "id", "head", "dd", "kill", "seq",
                   "yes", "wc", "hostname", "touch", "mkfifo", "usleep", "stty", "tty", "sha256sum", "tail", "env", "mount",
                   "mkdir", "sync", "nc", "stat"):
        os.symlink("busybox", os.path.join(path, "bin", applet))


_serial = itertools.count(1)
CGROUP_PREFIX = "mst%d%s-" % (os.getpid(), os.urandom(2).hex())  # a pid alone is not unique over pid namespaces


def process_spec(args, terminal=False, **more):
    """An OCI process object."""
    capabilities = ["CAP_KILL", "CAP_AUDIT_WRITE", "CAP_NET_BIND_SERVICE"]
    return {"terminal": terminal, "user": {"uid": 0, "gid": 0}, "args": args, "cwd": "/", "env": ["PATH=/bin", "TERM=dumb"],
            "noNewPrivileges": True, "capabilities": {k: capabilities for k in ("bounding", "effective", "permitted")}, **more}


def spec(args, pid_namespace="private", cgroup=None, root=None, terminal=False, extra_linux=None, **process):
    """An OCI configuration that works with cgroup v1 and v2. 'pid_namespace': "private", "host", or a path to join."""
    namespaces = [{"type": t} for t in ("mount", "ipc", "uts")]
    if pid_namespace == "private":
        namespaces.append({"type": "pid"})
    elif pid_namespace != "host":
        namespaces.append({"type": "pid", "path": pid_namespace})
    mounts = [{"destination": "/proc", "type": "proc", "source": "proc"},
              {"destination": "/dev", "type": "tmpfs", "source": "tmpfs", "options": ["nosuid", "mode=755", "size=65536k"]},
              {"destination": "/dev/pts", "type": "devpts", "source": "devpts",
               "options": ["nosuid", "noexec", "newinstance", "ptmxmode=0666", "mode=0620"]}]
    if pid_namespace == "host":
        mounts[0] = {"destination": "/proc", "type": "bind", "source": "/proc", "options": ["rbind"]}
    linux = {"cgroupsPath": cgroup or "/%s%d" % (CGROUP_PREFIX, next(_serial)),
             "resources": {"devices": [{"allow": False, "access": "rwm"}]},
             "namespaces": namespaces}
    linux.update(extra_linux or {})
    return {
        "ociVersion": "1.0.2",
        "process": process_spec(args, terminal, **process),
        "root": {"path": root or rootfs(), "readonly": True},
        "hostname": "monoshim-test",
        "mounts": mounts,
        "linux": linux,
    }


def make_bundle(directory, args, own_rootfs=False, **kw):
    """A bundle in 'directory' (made); returns its path. own_rootfs: a rootfs/ of its own inside, named relatively."""
    directory = str(directory)
    os.makedirs(directory, exist_ok=True)
    if own_rootfs:
        populate_rootfs(os.path.join(directory, "rootfs"))
        kw["root"] = "rootfs"
    with open(os.path.join(directory, "config.json"), "w") as f:
        json.dump(spec(args, **kw), f)
    return directory


class Reader:
    """A descriptor to read from, and what has been read; of a terminal's master also to write to."""

    def __init__(self, fd=None):
        self.fd = fd
        self.data = b""
        if fd is not None:
            os.set_blocking(fd, False)

    def __del__(self):
        self.close()

    def fileno(self):
        return self.fd

    def _read(self):
        """What is there; None for nothing, b"" for the end, which for a terminal is EIO."""
        try:
            return os.read(self.fd, 65536)
        except BlockingIOError:
            return None
        except OSError as e:
            if e.errno == errno.EIO:
                return b""
            raise

    def close(self):
        if self.fd is not None:
            os.close(self.fd)
            self.fd = None

    def write(self, data):
        while data:
            data = data[os.write(self.fd, data):]

    def read_until(self, condition, timeout=None, what="data"):
        """Reads until condition(everything read) holds; end-of-file before that is an error."""
        deadline = time.monotonic() + (TIMEOUT if timeout is None else timeout)
        while not condition(self.data):
            ready, _, _ = select.select([self.fd], [], [], max(deadline - time.monotonic(), 0))
            assert ready, "timed out reading %s; so far: %r" % (what, self.data[-200:])
            chunk = self._read()
            if chunk is None:
                continue
            assert chunk, "end of file before %s; read: %r" % (what, self.data[-200:])
            self.data += chunk
        return self.data

    def read_line(self, timeout=None):
        self.read_until(lambda d: b"\n" in d, timeout, "a line")
        line, _, self.data = self.data.partition(b"\n")
        return line + b"\n"

    def read_to_end(self, timeout=None):
        """Everything up to end-of-file."""
        deadline = time.monotonic() + (TIMEOUT if timeout is None else timeout)
        while True:
            ready, _, _ = select.select([self.fd], [], [], max(deadline - time.monotonic(), 0))
            assert ready, "no end-of-file; read so far: %d bytes, ending in %r" % (len(self.data), self.data[-200:])
            chunk = self._read()
            if chunk is None:
                continue
            if not chunk:
                data, self.data = self.data, b""
                return data
            self.data += chunk

    def digest_to_end(self, timeout=None):
        """(number of bytes, SHA-256) of everything up to end-of-file, which need not fit into memory; the deadline is for each
        pause."""
        size, sha = 0, hashlib.sha256()
        while True:
            assert select.select([self.fd], [], [], TIMEOUT if timeout is None else timeout)[0], "stuck after %d bytes" % size
            chunk = self._read()
            if chunk is None:
                continue
            if not chunk:
                return size, sha.hexdigest()
            size += len(chunk)
            sha.update(chunk)

    def read_available(self):
        """What is there by now; b"" if nothing is."""
        data, self.data = self.data + (self._read() or b""), b""
        return data

    def quiet(self, seconds=0.3):
        """Nothing comes, neither data nor the end."""
        return not self.data and not select.select([self.fd], [], [], seconds * max(1, SCALE / 2))[0]

    def unread(self):
        """Bytes that stand in the FIFO (needs a reader's descriptor)."""
        n = array.array("i", [0])
        fcntl.ioctl(self.fd, termios.FIONREAD, n)
        return n[0]


class Fifo(Reader):
    """A FIFO and this test's end of it."""

    def __init__(self, path):
        super().__init__()
        self.path = str(path)
        os.mkfifo(self.path, 0o600)

    def __str__(self):
        return self.path

    def open_reader(self):
        assert self.fd is None
        self.fd = os.open(self.path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
        return self

    def open_writer(self):
        assert self.fd is None
        self.fd = os.open(self.path, os.O_WRONLY | os.O_NONBLOCK | os.O_CLOEXEC)
        os.set_blocking(self.fd, True)
        return self


class Subscription(Reader):
    """The read end that SubscribeEvents returns: JSON texts in RFC 7464's frames."""

    def record(self, timeout=None):
        """The next record as a dictionary."""
        text = self.read_line(timeout)
        assert text.startswith(b"\x1e"), "no record separator: %r" % text[:80]
        return json.loads(text[1:])

    def records(self, count=None, last=None, timeout=None):
        """'count' records, or those up to the first of topic 'last'."""
        found = []
        while (count is None or len(found) < count) and (last is None or not found or found[-1].get("topic") != last):
            found.append(self.record(timeout))
        return found


def fill_datagram_queue(sock):
    """Leaves no room in the queue of a bound unix datagram socket. What one sender may have in it is bounded, too, so there
    are many."""
    sent = True
    while sent:
        sent = False
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK) as s, contextlib.suppress(BlockingIOError):
            while True:
                s.sendto(b"MESSAGE=x\n", sock.getsockname())
                sent = True


class JournalSocket:
    """A journald that only listens: the socket of the native protocol, below a directory that stands for /run."""

    def __init__(self, run):
        self.run = str(run)
        os.makedirs(os.path.join(self.run, "systemd/journal"))
        self.socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC)
        self.socket.bind(os.path.join(self.run, "systemd/journal/socket"))
        self.socket.setblocking(False)
        self.entries = []

    def wrapper(self):
        """Puts a daemon into a mount namespace where /run is this directory."""
        return ["unshare", "--mount", "sh", "-c", 'mount --bind "$0" /run && exec "$@"', self.run]

    @staticmethod
    def parse(data):
        entry = {}
        while data:
            line, _, data = data.partition(b"\n")
            name, equals, value = line.partition(b"=")
            if not equals:
                size, = struct.unpack("<Q", data[:8])
                value = data[8:8 + size]
                assert data[8 + size:9 + size] == b"\n", "the binary field %r does not end with a newline" % name
                data = data[9 + size:]
            entry[name.decode()] = value
        return entry

    def receive(self):
        """Takes in what has been sent; a large message comes as a descriptor. The socket's queue is short, so that whoever
        sends needs a moment to fill it again."""
        while select.select([self.socket], [], [], 0.02)[0]:
            data, ancillary, _, _ = self.socket.recvmsg(1 << 20, socket.CMSG_SPACE(4))
            for fd in FileDescriptor.from_ancdata(ancillary):
                raw = fd.to_raw_fd()
                data = os.pread(raw, os.fstat(raw).st_size, 0)
                os.close(raw)
            self.entries.append(self.parse(data))
        return self.entries

    def fill(self):
        """Leaves no room in the queue."""
        fill_datagram_queue(self.socket)

    def messages(self, container_id, **fields):
        """The MESSAGE= of that container's entries which have these fields as well."""
        return [e["MESSAGE"] for e in self.receive() if e.get("CONTAINER_ID") == container_id.encode() and
                all(e.get(k) == v.encode() for k, v in fields.items())]

    def close(self):
        self.socket.close()


# ---------------------------------------------------------------------------------------------------------------------
# The daemon


class Control:
    """The fake runtime's fault injection (see tests/fake-runtime.c)."""

    def __init__(self, directory):
        self.directory = directory
        os.makedirs(directory, exist_ok=True)

    def set(self, id, verb, *lines):
        path = os.path.join(self.directory, "%s.%s" % (id, verb))
        with open(path + "~", "w") as f:
            f.write("".join(line + "\n" for line in lines))
        os.rename(path + "~", path)

    def clear(self, id=None, verb=None):
        for name in os.listdir(self.directory):
            i, _, v = name.rpartition(".")
            if name != "invocations" and (id in (None, i)) and (verb in (None, v)):
                with contextlib.suppress(FileNotFoundError):  # a fault that is to happen once removes itself
                    os.unlink(os.path.join(self.directory, name))

    def invocations(self, verb=None, id=None, phase="begin"):
        """The records, oldest first. phase: "begin", "end", or None for both."""
        try:
            with open(os.path.join(self.directory, "invocations")) as f:
                text = f.read()  # at once: line by line, one that is just being written would come in two pieces
            records = [json.loads(line) for line in text.split("\n")[:-1]]
        except FileNotFoundError:
            return []
        return [r for r in records if verb in (None, r["verb"]) and id in (None, r["id"]) and phase in (None, r["phase"])]

    def forget(self):
        with contextlib.suppress(FileNotFoundError):
            os.unlink(os.path.join(self.directory, "invocations"))


class ServiceManager:
    """What a service sees of systemd: a socket to notify, and a store of descriptors, which come back at its next start.
    With keeps=False nothing is kept, as with FileDescriptorStoreMax=0."""

    def __init__(self, path, keeps):
        self.path = path
        self.keeps = keeps
        self.messages = []  # lines
        self.store = []  # (name, descriptor), the newest first, as systemd has it
        self.cond = threading.Condition()
        self._socket = None

    def open(self):
        with contextlib.suppress(FileNotFoundError):
            os.unlink(self.path)
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC)
        self._socket.bind(self.path)
        self.messages = []
        self._thread = threading.Thread(target=self._run, args=(self._socket,), daemon=True)
        self._thread.start()

    def close(self):
        """The service has ended: what it has still said counts."""
        if self._socket:
            with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as s:
                s.connect(self.path)
                s.send(b"END")
            self._thread.join(TIMEOUT)
            self._socket.close()
            self._socket = None

    def _run(self, sock):
        while True:
            data, fds, _, _ = socket.recv_fds(sock, 1 << 16, 16, socket.MSG_CMSG_CLOEXEC)
            if data == b"END":
                return
            lines = data.decode().split("\n")
            fields = dict(line.split("=", 1) for line in lines)
            with self.cond:
                if fields.get("FDSTOREREMOVE") == "1":
                    for name, fd in [i for i in self.store if i[0] == fields["FDNAME"]]:
                        os.close(fd)
                        self.store.remove((name, fd))
                if fields.get("FDSTORE") == "1" and self.keeps:
                    assert fields["FDPOLL"] == "0"
                    self.store[:0] = [(fields["FDNAME"], fd) for fd in fds]
                    fds = []
                self.messages += lines
                self.cond.notify_all()
            for fd in fds:
                os.close(fd)

    def wait_for(self, line, timeout):
        with self.cond:
            return self.cond.wait_for(lambda: line in self.messages, timeout)

    def forget(self):
        for _, fd in self.store:
            os.close(fd)
        self.store = []


class Daemon:
    """One monoshimd with directories of its own, which survive its restarts. With keeps=True a service manager keeps
    descriptors for it over them. 'sockets' are (name, socket) that it is given to listen on."""

    def __init__(self, directory, runtime="runc", bus="none", config=None, arguments=(), environment=None, runtime_root=None,
                 wrapper=(), keeps=False, sockets=(), program=None):
        self.directory = str(directory)
        os.makedirs(self.directory, exist_ok=True)
        os.chmod(self.directory, 0o755)
        self.socket = os.path.join(self.directory, "bus")
        self.state = os.path.join(self.directory, "state")
        self.root = os.path.join(self.directory, "lib")
        self.runtime_root = runtime_root or os.path.join(self.directory, "runtime")
        self.config = os.path.join(self.directory, "monoshimd.conf")
        self.log = os.path.join(self.directory, "daemon.log")
        self.control = Control(os.path.join(self.directory, "control"))
        self.runtime = runtime
        self.bus = bus
        self.arguments = list(arguments)
        self.environment = dict(environment or {})
        self.wrapper = list(wrapper)
        self.pid = None
        self.manager = ServiceManager(os.path.join(self.directory, "notify"), keeps)
        self.sockets = list(sockets)
        self.program = program or MONOSHIMD
        self.clients = []
        self.base_fds = None
        self.configure(**(config or {}))

    # life
    def configure(self, **settings):
        with open(self.config, "w") as f:
            f.write("[Manager]\n" + "".join("%s=%s\n" % i for i in settings.items()))

    def command(self):
        return self.wrapper + WRAPPER + [self.program, "--bus=" + self.bus, "--listen=" + self.socket,
                                         "--state=" + self.state, "--root=" + self.root, "--runtime=" + self.runtime,
                                         "--runtime-root=" + self.runtime_root, "--config=" + self.config,
                                         "--log-level=debug"] + self.arguments

    def start(self, timeout=None, wait=True):
        """Starts it and waits for READY=1, or for its end."""
        assert self.pid is None
        self.manager.open()
        environment = {k: v for k, v in os.environ.items()
                       if k in ("PATH", "HOME", "TMPDIR", "LANG", "ASAN_OPTIONS", "UBSAN_OPTIONS", "LSAN_OPTIONS",
                                "LLVM_PROFILE_FILE", "GCOV_PREFIX")}
        environment.update(NOTIFY_SOCKET=self.manager.path, FAKE_RUNTIME_CONTROL=self.control.directory)
        environment.update(self.environment)
        handed = [(name, s.fileno()) for name, s in self.sockets] + self.manager.store
        if handed:
            environment["LISTEN_FDNAMES"] = ":".join(name for name, _ in handed)
        self.pid = nursery().spawn(self.command(), environment, self.log, fds=[fd for _, fd in handed])
        if wait:
            self.wait_ready(timeout)
        return self

    def wait_ready(self, timeout=None):
        deadline = time.monotonic() + (TIMEOUT if timeout is None else timeout)
        while not self.manager.wait_for("READY=1", 0.02):
            if nursery().status(self.pid) is not None:
                status = os.waitstatus_to_exitcode(nursery().status(self.pid))
                self.pid = None
                raise AssertionError("monoshimd ended with %d before READY=1:\n%s" % (status, self.log_tail()))
            elif time.monotonic() > deadline:
                raise AssertionError("monoshimd did not say READY=1:\n%s" % self.log_tail())
        # READY=1 itself goes through a descriptor of the daemon's, for a moment.
        self.base_fds = None
        while self.base_fds != self.fds():
            self.base_fds = self.fds()
            time.sleep(0.01)

    @property
    def notifications(self):
        return self.manager.messages

    def disconnect(self):
        for c in self.clients:
            c.close()
        self.clients = []

    def wait(self, timeout=None):
        status = nursery().wait(self.pid, timeout)
        self.pid = None
        self.disconnect()
        self.manager.close()
        return status

    def stop(self, timeout=None):
        """SIGTERM; it must end with 0."""
        os.kill(self.pid, signal.SIGTERM)
        status = self.wait(timeout)
        assert status == 0, "monoshimd ended with %d:\n%s" % (status, self.log_tail())

    def kill9(self):
        os.kill(self.pid, signal.SIGKILL)
        assert self.wait() == -signal.SIGKILL

    def restart(self, how="term", **kw):
        self.stop() if how == "term" else self.kill9()
        return self.start(**kw)

    # talk
    def connect(self, listen=True):
        c = Client(self.socket, listen=listen)
        self.clients.append(c)
        return c

    # look
    def log_text(self):
        try:
            with open(self.log, errors="replace") as f:
                return f.read()
        except FileNotFoundError:
            return ""

    def log_tail(self, lines=60):
        return "\n".join(self.log_text().splitlines()[-lines:])

    def fds(self):
        """What its descriptors point to, sorted. The event log's file is left out, and what the event loop makes when it first
        needs it, and keeps."""
        found = []
        directory = "/proc/%d/fd" % self.pid
        for name in os.listdir(directory):
            with contextlib.suppress(FileNotFoundError):
                target = os.readlink(os.path.join(directory, name))
                if (target not in ("anon_inode:[timerfd]", "anon_inode:inotify", "anon_inode:[eventpoll]") and
                        not target.startswith(self.state + "/.events/")):
                    found.append(re.sub(r"\d+", "N", target) if target.startswith(("socket:", "pipe:")) else target)
        return sorted(found)

    def all_fds(self):
        """How many descriptors it has, save those of the event log, of which there are up to four, the more has happened."""
        folder, n = "/proc/%d/fd/" % self.pid, 0
        for fd in os.listdir(folder):
            with contextlib.suppress(FileNotFoundError):
                n += "/.events/" not in os.readlink(folder + fd)
        return n

    def children(self):
        return children(self.pid)

    def zombies(self):
        return [p for p in self.children() if (read_stat(p) or "?")[0] == "Z"]

    def container_dir(self, id, ns="default"):
        return os.path.join(self.state, ns, id)

    def state_json(self, id, ns="default"):
        with open(os.path.join(self.container_dir(id, ns), "state.json")) as f:
            return json.load(f)

    def write_state_json(self, value, id, ns="default"):
        with open(os.path.join(self.container_dir(id, ns), "state.json"), "w") as f:
            json.dump(value, f)

    # what must not be left over
    def leftover_entries(self):
        """Whatever stands for a container below state, lib and runtime. Namespace directories may stay."""
        found = []
        for top in (self.state, self.root, self.runtime_root):
            for ns in _listdir(top):
                path = os.path.join(top, ns)
                if ns in (".events", ".seccomp") or (ns.startswith(".") and os.path.isfile(path)):
                    continue
                if not os.path.isdir(path) or os.path.islink(path):
                    found.append(path)
                    continue
                found += [os.path.join(path, e) for e in _listdir(path) if e != ".control"]
        return found

    def leftovers(self):
        """A list of complaints."""
        bad = self.leftover_entries()
        bad += leftover_mounts(self.directory)
        bad += leftover_cgroups()
        if self.pid is not None:
            bad += ["child of the daemon: " + d for d in describe(self.children())]
            if not INSTRUMENTED and self.base_fds is not None:
                now, before = self.fds(), self.base_fds + ["socket:[N]"] * len(self.clients)
                for fd in before:
                    if fd in now:
                        now.remove(fd)
                bad += ["descriptor not there at the start: " + fd for fd in now]
        return bad

    def wait_idle(self, timeout=None):
        """Waits until nothing of any container is left: processes, descriptors, files, mounts, cgroups."""
        deadline = time.monotonic() + ((5 * SCALE) if timeout is None else timeout)
        while True:
            bad = self.leftovers()
            if not bad:
                return
            assert time.monotonic() < deadline, "left over: %s" % "\n  ".join([""] + bad)
            time.sleep(0.02)


class Binary:
    """A copy of monoshimd that can be replaced, as a package manager does it: by another file of the same name."""

    def __init__(self, directory):
        self.path = os.path.join(directory, "monoshimd")
        self.replace()

    def replace(self, text=None):
        """By another copy, or by a script. A process of its own writes it: what another thread of ours starts at this moment
        would hold it open for writing a little longer, and nobody could execute it."""
        new = self.path + ".new"
        source = MONOSHIMD
        if text is not None:
            source = self.path + ".text"
            with open(source, "w") as f:
                f.write(text)
        run("install", "-m", "755", source, new)
        os.rename(new, self.path)


def begin_reload(daemon):
    daemon.manager.messages.clear()
    os.kill(daemon.pid, signal.SIGHUP)


def reload(daemon):
    """SIGHUP; returns once the manager has been told that it is over."""
    begin_reload(daemon)
    assert daemon.manager.wait_for("READY=1", 10 * SCALE), daemon.log_tail()
    assert any(m.startswith("RELOADING=1") for m in daemon.manager.messages)


def executions(daemon):
    """How often it has executed another program, over all its logs."""
    return daemon.log_text().count("which was replaced.")


def _listdir(path):
    try:
        return os.listdir(path)
    except FileNotFoundError:
        return []


def leftover_mounts(directory):
    with open("/proc/self/mountinfo") as f:
        points = [line.split()[4] for line in f]
    return ["mount: " + p for p in points if p.startswith(directory + "/")]


def leftover_cgroups():
    return ["cgroup: " + p for p in glob.glob("/sys/fs/cgroup/*/%s*" % CGROUP_PREFIX) +
            glob.glob("/sys/fs/cgroup/%s*" % CGROUP_PREFIX)]


def check_log(text):
    """A sanitizer's or valgrind's report in the daemon's log."""
    for pattern in (r"ERROR: \w*Sanitizer", r"runtime error:", r"^==\d+== (Invalid|Conditional jump|Use of uninit|Syscall param)",
                    r"Assertion .* failed"):
        m = re.search(pattern, text, re.M)
        assert not m, text[max(0, m.start() - 500):m.end() + 4000]


class MessageBus:
    """A private dbus-daemon that lets everybody do everything."""

    CONFIGURATION = """<!DOCTYPE busconfig PUBLIC "-//freedesktop//DTD D-Bus Bus Configuration 1.0//EN"
 "http://www.freedesktop.org/standards/dbus/1.0/busconfig.dtd">
<busconfig>
  <type>custom</type>
  <listen>unix:path=%s</listen>
  <auth>EXTERNAL</auth>
  <policy context="default">
    <allow send_destination="*" eavesdrop="true"/>
    <allow eavesdrop="true"/>
    <allow own="*"/>
    <allow user="*"/>
  </policy>
</busconfig>
"""

    def __init__(self, directory):
        self.directory = str(directory)
        self.socket = os.path.join(self.directory, "dbus")
        self.address = "unix:path=" + self.socket
        config = os.path.join(self.directory, "dbus.conf")
        with open(config, "w") as f:
            f.write(self.CONFIGURATION % self.socket)
        self.pid = nursery().spawn(["dbus-daemon", "--nofork", "--nopidfile", "--config-file=" + config],
                                   {"PATH": os.environ["PATH"]}, os.path.join(self.directory, "dbus.log"))
        wait_for(self._answers, what="dbus-daemon")
        os.chmod(self.socket, 0o666)
        self.clients = []

    def _answers(self):
        with contextlib.suppress(OSError):
            s = socket.socket(socket.AF_UNIX)
            try:
                s.connect(self.socket)
                return True
            finally:
                s.close()
        assert nursery().status(self.pid) is None, open(os.path.join(self.directory, "dbus.log")).read()
        return False

    def connect(self, listen=True):
        c = Client(self.socket, is_bus=True, listen=listen)
        self.clients.append(c)
        return c

    def has_owner(self, name=BUS_NAME):
        c = Client(self.socket, is_bus=True, listen=False)
        try:
            return c.bus_call("NameHasOwner", "s", name)[0]
        finally:
            c.close()

    def stop(self):
        for c in self.clients:
            c.close()
        os.kill(self.pid, signal.SIGTERM)
        nursery().wait(self.pid)


def run(*argv, timeout=None, check=True, env=None, input=None):
    """A client program; returns its CompletedProcess."""
    p = subprocess.run(list(argv), stdout=subprocess.PIPE, stderr=subprocess.PIPE, timeout=timeout or TIMEOUT, text=True,
                       env=None if env is None else {**os.environ, **env}, input=input)
    if check:
        assert p.returncode == 0, "%s: exit %d\n%s%s" % (" ".join(argv), p.returncode, p.stdout, p.stderr)
    return p


class Monitor:
    """A program that runs on and prints, as "busctl monitor" does; to be used with "with"."""

    def __init__(self, *argv):
        self.process = subprocess.Popen(argv, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
        os.set_blocking(self.process.stdout.fileno(), False)
        self.text = ""

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.process.terminate()
        self.process.wait()
        self.process.stdout.close()

    def read_until(self, pattern):
        """Waits until what it has printed so far matches; returns all of it."""
        def found():
            self.text += (self.process.stdout.read() or b"").decode()
            return re.search(pattern, self.text, re.S)

        try:
            wait_for(found, what=pattern)
        except AssertionError as e:
            raise AssertionError("%s in the output of %s:\n%s" % (e, self.process.args[0], self.text)) from None
        return self.text


def become(uid):
    """This process, which was root's, is that user's, and cannot go back."""
    os.setgroups([])
    os.setresgid(uid, uid, uid)
    os.setresuid(uid, uid, uid)


def as_user(uid, function, *args):
    """Calls function(*args) in a child process as that user, and returns what it returned or raises what it raised."""
    r, w = os.pipe()
    pid = os.fork()
    if pid == 0:
        code = 1
        try:
            os.close(r)
            become(uid)
            try:
                result = (True, function(*args))
            except BaseException as e:  # whatever it is, the parent has to know
                result = (False, (type(e).__name__, getattr(e, "name", None), getattr(e, "message", str(e))))
            with os.fdopen(w, "wb") as f:
                pickle.dump(result, f)
            code = 0
        finally:
            os._exit(code)
    os.close(w)
    with os.fdopen(r, "rb") as f:
        data = f.read()
    os.waitpid(pid, 0)
    ok, value = pickle.loads(data)
    if ok:
        return value
    kind, name, message = value
    if kind == "DBusError":
        raise DBusError(name, message)
    raise AssertionError("%s in the child: %s" % (kind, message))


# ---------------------------------------------------------------------------------------------------------------------
# Oracles


def check_event_invariants(events, allow_open=False):
    """The order and number of a complete list of events, whoever the containers are (each life of an id is told apart by
    TaskCreate): create, start, exit, delete, each at most once and in this order; never an exit before its start; everything
    that was created exits, and exits once; the same pid, status and time in exit and delete; an exec is added, started and
    exits in this order, exits once if it was started, and before the init; sequence numbers only grow."""
    numbers = [e.sequence for e in events]
    assert numbers == sorted(set(numbers)), "sequence numbers do not grow: %s" % numbers
    open_lives = {}
    for e in events:
        key = (e.ns, e.id)
        life = open_lives.get(key)
        if e.name == "TaskCreate":
            assert life is None, "created twice: %r" % e
            open_lives[key] = {"pid": e.pid, "restored": bool(e.checkpoint), "start": None, "exit": None, "execs": {}}
            continue
        assert life is not None, "an event of no container: %r" % e
        if e.name == "TaskStart":
            assert life["start"] is None, "started twice: %r" % e
            assert life["exit"] is None, "started after its exit: %r" % e
            if life["restored"]:  # a checkpoint has no process before it is started
                assert life["pid"] == 0, e
                life["pid"] = e.pid
            assert e.pid == life["pid"], e
            life["start"] = e
        elif e.name == "TaskExecAdded":
            assert life["execs"].get(e.exec_id) != "started", "added while it runs: %r" % e
            assert life["exit"] is None, "added to a container that has exited: %r" % e
            life["execs"][e.exec_id] = "added"
        elif e.name == "TaskExecStarted":
            assert life["execs"].get(e.exec_id) == "added", "started without being added, or again: %r" % e
            assert life["exit"] is None, "started in a container that has exited: %r" % e
            life["execs"][e.exec_id] = "started"
        elif e.name == "TaskExit" and e.data["id"] != e.id:
            assert life["execs"].get(e.data["id"]) == "started", "the exit of an exec that does not run: %r" % e
            assert life["exit"] is None, "an exec's exit after the init's: %r" % e
            life["execs"][e.data["id"]] = "exited"
        elif e.name == "TaskExit":
            assert life["exit"] is None, "exited twice: %r and %r" % (life["exit"], e)
            assert e.pid == life["pid"], e
            left = [x for x, state in life["execs"].items() if state == "started"]
            assert not left, "the init exits before its execs %s: %r" % (left, e)
            life["exit"] = e
        elif e.name == "TaskDelete":
            assert life["exit"] is not None, "deleted without an exit: %r" % e
            x = life["exit"]
            assert (e.pid, e.exit_status, e.exited_at) == (x.pid, x.exit_status, x.exited_at), (x, e)
            del open_lives[key]
    if not allow_open:
        assert not open_lives, "not deleted: %s" % open_lives
    return open_lives
