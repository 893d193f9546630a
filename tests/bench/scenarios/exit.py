# SPDX-License-Identifier: LGPL-2.1-or-later
"""SIGKILL of an init, until a client is told"""

import os
import time

import measure
import monoshim_testing as t
from load import loads


def run(context):
    return [alone(context), beside_many(context), beside_peers(context)]


def alone(context):
    """A daemon with nothing else to do, and a real runtime; "runc" is a parent that waits for its child."""
    return _by_generator(context, "exit", "From SIGKILL of an init to TaskExit at a client, an idle daemon",
                         context.choose(200, 40, 2), 0)


def beside_many(context):
    return _by_generator(context, "exit-beside", "The same, beside other containers", context.choose(200, 40, 2),
                         context.choose(1000, 200, 3), runtime=t.FAKE_RUNTIME)


def _by_generator(context, id, title, count, others, **kw):
    blocks = context.choose(10, 5, 1)
    with loads(context, **kw) as callers:
        if others:
            run_others(context, callers["monoshim"].daemon, others)
        bundle = context.bundle()
        found = measure.interleave({n: lambda c=c: c("exits", [bundle], count // blocks)["exit"] for n, c in callers.items()},
                                   blocks, min(context.warmup, 1))
    return measure.result("exit", id, title, "µs", {n: [1000 * v for v in values] for n, values in found.items()},
                          parameters={"exits": count, "others": others},
                          note="The signal is sent by kill(2). runc: the load generator itself, as the parent of the init, "
                               "which nobody can be ahead of." + (" The runtime is a fake one." if others else ""))


def run_others(context, daemon, count):
    """So many containers that do nothing, of the fake runtime's, without cgroups."""
    client = daemon.connect(listen=False)
    bundles = [context.bundle() for _ in range(count)]
    for start in range(0, count, 50):
        part = range(start, min(start + 50, count))
        created = [client.begin_create("other%d" % i, bundles[i]) for i in part]
        paths = [c.result(120)[0] for c in created]
        for pending in [client.begin(path, t.PROCESS, "Start") for path in paths]:
            pending.result(120)


def beside_peers(context):
    """Told to one caller in Python, which asks for the exit status beforehand where a peer can be asked so."""
    found = {}
    with context.opened() as peers:
        bundle = context.bundle()

        def once(peer):
            pid = peer.create("c1", bundle)
            peer.start("c1")
            time.sleep(0.02)
            began = time.perf_counter()
            os.kill(pid, 9)
            peer.wait("c1")
            seconds = time.perf_counter() - began
            peer.delete("c1")
            return seconds * 1000000

        found = measure.interleave({n: lambda p=p: once(p) for n, p in peers.items()}, context.choose(30, 8, 1),
                                   context.warmup)
    return measure.result("exit", "exit-peers", "From SIGKILL of an init to its exit status, all peers by one caller in Python",
                          "µs", found, missing=context.missing)
