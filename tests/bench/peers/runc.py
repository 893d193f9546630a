# SPDX-License-Identifier: LGPL-2.1-or-later
"""No watcher at all: the runtime, called as a careful caller would do it, which reaps the containers itself."""

import contextlib
import json
import os
import shutil
import signal
import subprocess

import monoshim_testing as t
from peers import Peer


class Runc(Peer):
    name = "runc"
    title = "bare runc"
    package = "runc"

    def __init__(self):
        self.directory = None
        self.pids = {}

    def version(self):
        p = subprocess.run(["runc", "--version"], stdout=subprocess.PIPE, text=True, check=True)
        return p.stdout.split()[2]

    def missing(self):
        return None if shutil.which("runc") else "there is no runc (Debian: runc)"

    def open(self, directory, runtime="runc"):
        self.directory = directory
        self.program = shutil.which(runtime)
        # The same as the others have.
        self.environment = {k: v for k, v in os.environ.items() if k in ("PATH", "HOME", "TMPDIR", "LANG")}
        t.prctl(t.PR_SET_CHILD_SUBREAPER, 1)

    def close(self):
        for id in list(self.pids):
            with contextlib.suppress(Exception):
                self.kill(id)
            with contextlib.suppress(Exception):
                self.wait(id)
                self.delete(id)
        self.pids.clear()

    def _run(self, id, verb, *arguments, streams=("", "", "")):
        """Returns the runtime's exit status."""
        argv = [self.program, "--root", self.directory, "--log", self._path(id, "log"), "--log-format", "json", verb,
                *arguments]
        # Read and write, so that nobody needs to be at a FIFO's other end.
        actions = [(os.POSIX_SPAWN_OPEN, fd, path or "/dev/null", os.O_RDWR, 0) for fd, path in enumerate(streams)]
        pid = os.posix_spawn(argv[0], argv, self.environment, file_actions=actions)
        return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])

    def _must(self, id, verb, *arguments, **kw):
        status = self._run(id, verb, *arguments, **kw)
        if status != 0:
            with open(self._path(id, "log")) as f:
                raise RuntimeError("%s %s: exit status %d: %s" % (self.program, verb, status, f.read()))

    def _path(self, id, suffix):
        return os.path.join(self.directory, ".%s.%s" % (id, suffix))

    def create(self, id, bundle, stdin="", stdout="", stderr=""):
        self._must(id, "create", "--bundle", bundle, "--pid-file", self._path(id, "pid"), id,
                   streams=(stdin, stdout, stderr))
        with open(self._path(id, "pid")) as f:
            self.pids[id] = int(f.read())
        return self.pids[id]

    def start(self, id):
        self._must(id, "start", id)

    def exec(self, id, exec_id, args):
        path = self._path(id, exec_id)
        with open(path, "w") as f:
            json.dump(t.process_spec(list(args)), f)
        status = self._run(id, "exec", "--process", path, id)
        os.unlink(path)
        return status

    def kill(self, id, signal=signal.SIGKILL):
        self._must(id, "kill", id, str(int(signal)))

    def wait(self, id):
        status = os.waitstatus_to_exitcode(os.waitpid(self.pids[id], 0)[1])
        return 128 - status if status < 0 else status

    def delete(self, id):
        self._must(id, "delete", id)
        del self.pids[id]
        os.unlink(self._path(id, "log"))
        os.unlink(self._path(id, "pid"))

    def get_pids(self):
        return [], {id: [] for id in self.pids}


PEERS = [Runc]
