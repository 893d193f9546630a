# SPDX-License-Identifier: LGPL-2.1-or-later
"""monoshimd, on its own socket."""

import os
import subprocess

import monoshim_testing as t
from context import end_containers
from peers import Peer


class Monoshim(Peer):
    name = "monoshim"
    title = "monoshimd"

    def __init__(self):
        self.daemon = None

    def version(self):
        return subprocess.run([t.MONOSHIMD, "--version"], stdout=subprocess.PIPE, text=True, check=True).stdout.split()[1]

    def missing(self):
        return None if os.access(t.MONOSHIMD, os.X_OK) else "%s has not been built" % t.MONOSHIMD

    def open(self, directory, runtime="runc"):
        self.containers = {}
        self.daemon = t.Daemon(directory, runtime=runtime, arguments=["--log-level=info"])
        self.daemon.start()
        self.client = self.daemon.connect(listen=False)

    def close(self):
        if self.daemon is None or self.daemon.pid is None:
            return
        self.daemon.disconnect()
        end_containers(self.daemon)
        self.daemon.stop()
        self.daemon = None

    def create(self, id, bundle, stdin="", stdout="", stderr=""):
        self.containers[id] = self.client.create(id, bundle, Stdin=stdin, Stdout=stdout, Stderr=stderr, timeout=120)
        return self.containers[id].pid

    def start(self, id):
        self.containers[id].start(timeout=120)

    def exec(self, id, exec_id, args):
        e = self.containers[id].run(exec_id, *args, timeout=120)
        status, _ = e.wait(timeout=120)
        e.delete(timeout=120)
        return status

    def kill(self, id, signal=9):
        self.containers[id].kill(signal, timeout=120)

    def wait(self, id):
        return self.containers[id].wait(timeout=120)[0]

    def delete(self, id):
        self.containers.pop(id).delete(timeout=120)

    def get_pids(self):
        return [self.daemon.pid], {id: [] for id in self.containers}


PEERS = [Monoshim]
