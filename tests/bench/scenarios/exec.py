# SPDX-License-Identifier: LGPL-2.1-or-later
"""A further process in a container: true, until its exit status is known"""

import itertools
import time

import measure


def run(context):
    return [beside_peers(context)]


def beside_peers(context):
    serial = itertools.count(1)
    with context.opened() as peers:
        for peer in peers.values():
            peer.create("c1", context.bundle())
            peer.start("c1")

        def execute(peer):
            began = time.perf_counter()
            assert peer.exec("c1", "e%d" % next(serial), ["true"]) == 0
            return (time.perf_counter() - began) * 1000

        found = measure.interleave({n: lambda p=p: execute(p) for n, p in peers.items()},
                                   context.choose(60, 15, 2), context.warmup)
    return measure.result("exec", "exec-peers", "exec of true until its exit status is known, all peers by one caller in Python",
                          "ms", found, missing=context.missing)
