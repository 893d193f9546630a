# SPDX-License-Identifier: LGPL-2.1-or-later
"""containerd's shims, called as containerd calls them, without containerd: a shim for each container.

That is to their advantage: containerd's own part is not in any figure. The events that they publish are taken by a small
process, or by /bin/true, which the old shim starts for each of them in place of containerd's binary.
"""

import contextlib
import ctypes
import json
import os
import re
import shutil
import signal
import socket
import subprocess

import machine
import monoshim_testing as t
from peers import Peer, ttrpc

PATIENCE = 120
RUN = "/run/containerd"  # where they keep their sockets and the runtime's state: built in
PROCESS_TYPE = "types.containerd.io/opencontainers/runtime-spec/1/Process"
CLONE_NEWNS, MS_REC, MS_PRIVATE = 0x20000, 0x4000, 0x40000


def _check(result, what):
    if result != 0:
        error = ctypes.get_errno()
        raise OSError(error, "%s: %s" % (what, os.strerror(error)))


class Hidden:
    """A tmpfs over /run/containerd that only we and our children see, so that no containerd is disturbed by us. Several
    peers may be open at once: the last one takes it away."""

    users = 0
    apart = False
    made = False

    @classmethod
    def acquire(cls):
        if cls.users == 0:
            if not cls.apart:
                _check(t._libc.unshare(CLONE_NEWNS), "unshare")
                _check(t._libc.mount(None, b"/", None, ctypes.c_ulong(MS_REC | MS_PRIVATE), None), "mount /")
                cls.apart = True
            with contextlib.suppress(FileExistsError):
                os.mkdir(RUN, 0o711)
                cls.made = True
            _check(t._libc.mount(b"tmpfs", RUN.encode(), b"tmpfs", ctypes.c_ulong(0), b"mode=711"), "mount " + RUN)
        cls.users += 1

    @classmethod
    def release(cls):
        cls.users -= 1
        if cls.users == 0:
            _check(t._libc.umount2(RUN.encode(), 2), "umount " + RUN)  # MNT_DETACH
            if cls.made:
                os.rmdir(RUN)
                cls.made = False


class Shim(Peer):
    """What they have in common. A subclass says how one is started, and which field is what. Each has a namespace of its own,
    named as it is: the runtime's state of all namespaces is in one place."""

    package = "containerd"
    program = ""
    service = "containerd.task.v2.Task"

    def __init__(self):
        self.directory = None
        self.shims = {}  # container id -> ttrpc.Client
        self.folders = {}
        self.logs = {}
        self.spawned = {}  # container id -> pid of the shim, where it is known

    def version(self):
        return machine.package_version(self.package)

    def missing(self):
        return None if shutil.which(self.program) else "there is no %s (Debian: containerd)" % self.program

    def open(self, directory, runtime="runc"):
        Hidden.acquire()
        self.directory = directory
        self.runtime = runtime
        t.prctl(t.PR_SET_CHILD_SUBREAPER, 1)  # so that we can wait for shims
        self.events = os.path.join(directory, "events")
        self.server = ttrpc.serve_events(self.events + ".ttrpc")
        self.environment = {k: v for k, v in os.environ.items() if k in ("PATH", "HOME", "TMPDIR", "LANG")}
        self.environment.update(GOMAXPROCS="2", TTRPC_ADDRESS=self.events + ".ttrpc")

    def close(self):
        if self.directory is None:
            return
        for id in list(self.shims):
            for method in (self.kill, self.wait, self.delete):
                with contextlib.suppress(Exception):
                    method(id)
        for pid in self._find():
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        for pid in [*self.spawned.values(), self.server]:
            with contextlib.suppress(ProcessLookupError, ChildProcessError):
                os.kill(pid, signal.SIGKILL)
                os.waitpid(pid, 0)
        self.directory = None
        self.shims.clear()
        self.spawned.clear()
        Hidden.release()

    def _find(self):
        """Shims that are still there: those whose arguments or folder are ours."""
        return [pid for pid in t.process_table() if self.program in t.command_line(pid) and
                self._folder_of(pid).startswith(self.directory + "/")]

    @staticmethod
    def _folder_of(pid):
        try:
            return os.readlink("/proc/%d/cwd" % pid)
        except OSError:
            return ""

    def create(self, id, bundle, stdin="", stdout="", stderr="", terminal=False):
        folder = os.path.join(self.directory, id)
        os.mkdir(folder, 0o711)
        self.folders[id] = folder
        if stdout and not stderr:
            stderr = "/dev/null"  # they want none or both
        # containerd copies it there: the shim of 1.6 looks for the container's group in it.
        shutil.copy(os.path.join(bundle, "config.json"), folder)
        self.shims[id] = self._start_shim(id, folder)
        return self.shims[id].call("Create", self._creation(id, bundle, terminal, stdin, stdout, stderr))[1]

    def start(self, id):
        self.shims[id].call("Start", {1: id})

    def kill(self, id, signal=9):
        self.shims[id].call("Kill", self._killing(id, signal))

    def wait(self, id):
        return self.shims[id].call("Wait", {1: id}).get(1, 0)

    def delete(self, id):
        shim = self.shims.pop(id)
        shim.call("Delete", self._deletion(id))
        self._end_shim(id, shim)
        shim.close()
        for fd in self.logs.pop(id, ()):
            os.close(fd)
        shutil.rmtree(self.folders.pop(id))

    def exec(self, id, exec_id, args):
        shim = self.shims[id]
        process = ttrpc.any_message(PROCESS_TYPE, json.dumps(t.process_spec(list(args))).encode())
        shim.call("Exec", self._execution(id, exec_id, process))
        shim.call("Start", self._of_exec(id, exec_id))
        status = shim.call("Wait", self._of_exec(id, exec_id)).get(1, 0)
        self._delete_exec(shim, id, exec_id)
        return status

    def get_pids(self):
        for id, shim in self.shims.items():
            if id not in self.spawned:
                self.spawned[id] = self._ask_pid(shim, id)
        return [], {id: [self.spawned[id]] for id in self.shims}


class ShimRuncV2(Shim):
    name = "shim-runc-v2"
    title = "containerd-shim-runc-v2"
    program = "containerd-shim-runc-v2"

    def _start_shim(self, id, folder):
        # containerd reads what the shim logs there.
        log = os.path.join(folder, "log")
        os.mkfifo(log, 0o700)
        self.logs[id] = [os.open(log, os.O_RDWR | os.O_NONBLOCK | os.O_CLOEXEC)]
        p = subprocess.run([self.program, "-namespace", self.name, "-id", id, "-address", self.events, "-publish-binary",
                            "/bin/true", "start"], cwd=folder, env=self.environment, stdin=subprocess.DEVNULL,
                           stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, timeout=PATIENCE)
        address = re.fullmatch(r"unix://(\S+)", p.stdout.strip())
        if p.returncode != 0 or not address:
            raise RuntimeError("%s start: exit status %d: %s" % (self.program, p.returncode, p.stdout))
        return ttrpc.Client(address.group(1), self.service, PATIENCE)

    def _creation(self, id, bundle, terminal, stdin, stdout, stderr):
        options = b""
        if self.runtime != "runc":
            options = ttrpc.any_message("containerd.runc.v1.Options", ttrpc.encode({6: self.runtime}))
        return {1: id, 2: bundle, 4: terminal, 5: stdin, 6: stdout, 7: stderr, 10: options}

    def _killing(self, id, signal):
        return {1: id, 3: int(signal)}

    def _deletion(self, id):
        return {1: id}

    def _end_shim(self, id, shim):
        if id not in self.spawned:
            self.spawned[id] = self._ask_pid(shim, id)
        with contextlib.suppress(ConnectionError):  # it may be gone before it has answered
            shim.call("Shutdown", {1: id})
        os.waitpid(self.spawned.pop(id), 0)

    def _execution(self, id, exec_id, process):
        return {1: id, 2: exec_id, 7: process}

    def _of_exec(self, id, exec_id):
        return {1: id, 2: exec_id}

    def _delete_exec(self, shim, id, exec_id):
        shim.call("Delete", self._of_exec(id, exec_id))

    def _ask_pid(self, shim, id):
        return shim.call("Connect", {1: id})[1]


class ShimRuncV1(ShimRuncV2):
    name = "shim-runc-v1"
    title = "containerd-shim-runc-v1"
    program = "containerd-shim-runc-v1"


class ShimV1(Shim):
    """The first one, of containerd 1.0, with an interface of its own."""

    name = "shim"
    title = "containerd-shim"
    program = "containerd-shim"
    service = "containerd.runtime.linux.shim.v1.Shim"

    def _start_shim(self, id, folder):
        path = os.path.join(folder, "s")
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as listener:
            listener.bind(path)
            listener.listen(16)
            argv = [shutil.which(self.program), "-namespace", self.name, "-workdir", folder, "-address", self.events,
                    "-containerd-binary", "/bin/true", "-runtime-root", os.path.join(RUN, "runc-v1")]
            actions = [(os.POSIX_SPAWN_OPEN, 0, "/dev/null", os.O_RDWR, 0), (os.POSIX_SPAWN_DUP2, 0, 1),
                       (os.POSIX_SPAWN_DUP2, 0, 2), (os.POSIX_SPAWN_DUP2, listener.fileno(), 3)]
            before = os.getcwd()
            os.chdir(folder)  # what it makes for the container goes to where it is started
            try:
                self.spawned[id] = os.posix_spawn(argv[0], argv, self.environment, file_actions=actions, setpgroup=0)
            finally:
                os.chdir(before)
        return ttrpc.Client(path, self.service, PATIENCE)

    def _creation(self, id, bundle, terminal, stdin, stdout, stderr):
        return {1: id, 2: bundle, 3: self.runtime, 5: terminal, 6: stdin, 7: stdout, 8: stderr}

    def _killing(self, id, signal):
        return {1: id, 2: int(signal)}

    def _deletion(self, id):
        return {}

    def _end_shim(self, id, shim):
        pid = self.spawned.pop(id)
        os.kill(pid, signal.SIGKILL)  # as containerd does it
        os.waitpid(pid, 0)

    def _execution(self, id, exec_id, process):
        return {1: exec_id, 6: process}

    def _of_exec(self, id, exec_id):
        return {1: exec_id}

    def _delete_exec(self, shim, id, exec_id):
        shim.call("DeleteProcess", {1: exec_id})


PEERS = [ShimRuncV2, ShimRuncV1, ShimV1]
