# SPDX-License-Identifier: LGPL-2.1-or-later
"""conmon, called as podman and CRI-O call it: a conmon for each container, and one for each exec; what it does not do, its
caller does with the runtime."""

import contextlib
import json
import os
import shutil
import signal
import uuid

import machine
import monoshim_testing as t
from peers import Peer


class Conmon(Peer):
    name = "conmon"
    title = "conmon"
    package = "conmon"
    def __init__(self):
        self.directory = None
        self.conmons = {}  # container id -> pid
        self.folders = {}

    def version(self):
        return machine.package_version(self.package)

    def missing(self):
        return None if shutil.which("conmon") else "there is no conmon (Debian: conmon)"

    def open(self, directory, runtime="runc"):
        self.directory = directory
        self.runtime = shutil.which(runtime)
        self.root = os.path.join(directory, ".runc")
        self.program = shutil.which("conmon")
        self.environment = {k: v for k, v in os.environ.items() if k in ("PATH", "HOME", "TMPDIR", "LANG")}
        t.prctl(t.PR_SET_CHILD_SUBREAPER, 1)  # conmon leaves its caller; so we can wait for it nevertheless

    def close(self):
        if self.directory is None:
            return
        for id in list(self.conmons):
            for method in (self.kill, self.wait, self.delete):
                with contextlib.suppress(Exception):
                    method(id)
        for pid in self.conmons.values():
            with contextlib.suppress(ProcessLookupError, ChildProcessError):
                os.kill(pid, signal.SIGKILL)
                os.waitpid(pid, 0)
        self.conmons.clear()
        self.directory = None

    def _spawn(self, argv, streams=("", "", ""), pipe=None):
        """Returns the pid. 'pipe' becomes descriptor 3."""
        actions = [(os.POSIX_SPAWN_OPEN, fd, path or "/dev/null", os.O_RDWR, 0) for fd, path in enumerate(streams)]
        environment = self.environment
        if pipe is not None:
            actions.append((os.POSIX_SPAWN_DUP2, pipe, 3))
            environment = {**environment, "_OCI_SYNCPIPE": "3"}
        return os.posix_spawn(argv[0], argv, environment, file_actions=actions)

    def _conmon(self, id, folder, bundle, streams, *arguments):
        """Starts one that does what 'arguments' say. It goes into the background; its pid is in a file then. Returns the
        read end of its pipe. (Without --full-attach it would put a symbolic link below /var/run.)"""
        r, w = os.pipe2(os.O_CLOEXEC)
        argv = [self.program, "--api-version", "1", "-c", id, "-u", str(uuid.uuid4()), "-n", id, "-r", self.runtime,
                "-b", bundle, "-p", os.path.join(folder, "pid"), "-P", os.path.join(folder, "conmon.pid"),
                "--exit-dir", os.path.join(folder, "exits"), "--log-level", "error", "--full-attach",
                "--runtime-arg=--root=" + self.root, "--runtime-arg=--log=" + os.path.join(folder, "runtime.log"),
                "--runtime-arg=--log-format=json", *arguments]
        try:
            status = os.waitpid(self._spawn(argv, streams, w), 0)[1]
        finally:
            os.close(w)
        if status != 0:
            os.close(r)
            raise RuntimeError("%s: wait status %d" % (" ".join(argv), status))
        return os.fdopen(r)

    @staticmethod
    def _read(pipe, what):
        """A line of what conmon tells."""
        line = pipe.readline()
        record = json.loads(line) if line else {"data": -1, "message": "conmon has ended"}
        if record["data"] < 0:
            raise RuntimeError("conmon, %s: %s" % (what, record.get("message")))
        return record["data"]

    @staticmethod
    def _pid(folder):
        with open(os.path.join(folder, "conmon.pid")) as f:
            return int(f.read())

    def _run(self, id, verb, *arguments):
        log = os.path.join(self.folders[id], "runtime.log")
        argv = [self.runtime, "--root", self.root, "--log", log, "--log-format", "json", verb, *arguments]
        status = os.waitstatus_to_exitcode(os.waitpid(self._spawn(argv), 0)[1])
        if status != 0:
            with open(log) as f:
                raise RuntimeError("%s %s: exit status %d: %s" % (self.runtime, verb, status, f.read()))

    def create(self, id, bundle, stdin="", stdout="", stderr="", terminal=False, log="none"):
        """log: its driver, as on its command line. With "none" it drops what nobody is attached for."""
        folder = self.folders[id] = os.path.join(self.directory, id)
        os.makedirs(os.path.join(folder, "exits"))
        with self._conmon(id, folder, bundle, (stdin, stdout, stderr), "-l", log,
                          *(["-t"] if terminal else [])) as pipe:
            self.conmons[id] = self._pid(folder)
            return self._read(pipe, "create")

    def start(self, id):
        self._run(id, "start", id)

    def exec(self, id, exec_id, args):
        folder = os.path.join(self.folders[id], exec_id)
        os.makedirs(os.path.join(folder, "exits"))
        spec = os.path.join(folder, "process")
        with open(spec, "w") as f:
            json.dump(t.process_spec(list(args)), f)
        with self._conmon(id, folder, folder, ("", "", ""), "-l", "none", "--exec", "--exec-process-spec",
                          spec) as pipe:
            self._read(pipe, "exec")  # the pid
            status = self._read(pipe, "the end of exec")
        os.waitpid(self._pid(folder), 0)
        shutil.rmtree(folder)
        return status

    def kill(self, id, signal=9):
        self._run(id, "kill", id, str(int(signal)))

    def wait(self, id):
        os.waitpid(self.conmons.pop(id), 0)  # the last that it does is to write the status
        with open(os.path.join(self.folders[id], "exits", id)) as f:
            return int(f.read())

    def delete(self, id):
        self._run(id, "delete", id)
        shutil.rmtree(self.folders.pop(id))

    def get_pids(self):
        return [], {id: [pid] for id, pid in self.conmons.items()}


PEERS = [Conmon]
