# SPDX-License-Identifier: LGPL-2.1-or-later
"""What is measured side by side: each module here has its PEERS, classes with the interface of Peer.

All of them run the same runtime, with the same bundles. What a peer does of itself when it is used as its usual caller
uses it (one shim for a container, say) belongs to its cost.
"""

import importlib


class Peer:
    """One of those that run containers. A method that fails raises an exception; there are no half results."""

    name = ""  # in results, short
    title = ""  # for readers
    package = ""  # of Debian; "" for our own

    def version(self):
        """As a short text. Only for what is not missing."""
        raise NotImplementedError

    def missing(self):
        """Why this peer cannot be measured here, in a few words, or None."""
        raise NotImplementedError

    def open(self, directory, runtime="runc"):
        """Starts what there is once for all containers. 'directory' is this peer's own, empty, and has a short path."""
        raise NotImplementedError

    def close(self):
        """Ends it, and whatever containers are left. May be called again, and after open() has failed."""
        raise NotImplementedError

    def create(self, id, bundle, stdin="", stdout="", stderr=""):
        """Returns the pid of init. A stream is /dev/null, or the path of a FIFO."""
        raise NotImplementedError

    def start(self, id):
        raise NotImplementedError

    def exec(self, id, exec_id, args):
        """Runs a further process to its end, and forgets it. Returns its exit status."""
        raise NotImplementedError

    def kill(self, id, signal=9):
        raise NotImplementedError

    def wait(self, id):
        """The exit status of init, as a shell would say it."""
        raise NotImplementedError

    def delete(self, id):
        raise NotImplementedError

    def get_pids(self):
        """The peer's own processes, and none of the containers': (those there once, {id: those of that container})."""
        raise NotImplementedError


MODULES = ("runc", "monoshim", "shim", "conmon")


def all_peers():
    """One of each, in the order in which they are shown; the first is what others are compared with."""
    return [cls() for m in MODULES for cls in importlib.import_module("peers." + m).PEERS]
