# SPDX-License-Identifier: LGPL-2.1-or-later
"""The load generator, by way of monoshimd and by bare calls of the runtime: the same program, loop, bundles and streams."""

import contextlib
import shutil

FIGURES = ("create", "start", "kill", "exit", "delete", "total")


class Load:
    """How one peer is driven. A call returns {figure: [milliseconds, ...]} of each life; of the whole run "wall", and for
    each life "cpu" and, without the runtime's, "own-cpu". 'daemon' is the monoshim_testing.Daemon, if it is one that is
    asked."""

    def __init__(self, context, *arguments, daemon=None):
        self.context, self.arguments, self.daemon = context, arguments, daemon

    def __call__(self, mode, bundles, count, *arguments):
        said = self.context.load(*self.arguments, *arguments, "--count=%d" % count, mode, *bundles)
        found = {name: [v / 1000 for v in said[name]] for name in FIGURES}
        found["wall"] = [said["wall"] / 1000]
        found["own-cpu"] = [said["cpu_own"] / 1000 / count]
        found["cpu"] = [(said["cpu_own"] + said["cpu_children"]) / 1000 / count]
        return found


@contextlib.contextmanager
def loads(context, **kw):
    """{"runc": Load, "monoshim": Load}, with a daemon of its own; keywords as Context.daemon() has them."""
    with context.daemon(**kw) as d:
        runtime = d.runtime if d.runtime.startswith("/") else shutil.which(d.runtime)
        yield {"runc": Load(context, "--runtime=" + runtime, "--directory=" + context.folder()),
               "monoshim": Load(context, "--address=unix:path=" + d.socket, "--directory=" + context.folder(),
                                "--daemon-pid=%d" % d.pid, daemon=d)}
