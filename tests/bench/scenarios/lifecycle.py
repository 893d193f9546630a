# SPDX-License-Identifier: LGPL-2.1-or-later
"""A container's life: create, start, kill by SIGKILL, wait, delete"""

import time

import measure

STEPS = ("create", "start", "kill", "wait", "delete")


def run(context):
    return [beside_peers(context)]


def beside_peers(context):
    """All peers by the same caller, one life at a time."""
    with context.opened() as peers:
        bundle = context.bundle()

        def live(peer):
            began = time.perf_counter()
            peer.create("c1", bundle)
            peer.start("c1")
            peer.kill("c1")
            assert peer.wait("c1") == 137
            peer.delete("c1")
            return (time.perf_counter() - began) * 1000

        found = measure.interleave({n: lambda p=p: live(p) for n, p in peers.items()},
                                   context.choose(30, 8, 1), context.warmup)
    return measure.result("lifecycle", "lifecycle-peers", "A container's whole life, all peers by one caller in Python", "ms",
                          found, missing=context.missing,
                          note="A shim is started for each container, as containerd does it, and ends with it.")
