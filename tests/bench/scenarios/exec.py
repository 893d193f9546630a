# SPDX-License-Identifier: LGPL-2.1-or-later
"""A further process in a container: true, until its exit status is known"""

import itertools
import json
import os
import time

import measure
import monoshim_testing as t
from load import loads


def run(context):
    return by_generator(context) + [beside_peers(context)]


def by_generator(context):
    """Exec, Start, TaskExit, Delete against "runc exec" in the foreground, and with --detach."""
    count = context.choose(16, 8, 2)
    with loads(context) as callers:
        process = os.path.join(context.folder(), "process.json")
        with open(process, "w") as f:
            json.dump(t.process_spec(["true"]), f)
        bundle = context.bundle()

        def execute(name, *arguments):
            return lambda: callers[name]("exec", [bundle], count, "--process=" + process, "--fifos", *arguments)

        found = measure.interleave({"runc": execute("runc"), "runc-detach": execute("runc", "--detach"),
                                    "monoshim": execute("monoshim")}, context.repetitions, context.warmup)
    parameters = {"processes": count * context.repetitions, "streams": "FIFOs"}
    return [
        measure.result("exec", "exec", "exec of true until its exit status is known, by the load generator", "ms",
                       {n: v["total"] for n, v in found.items()}, parameters=parameters,
                       note="runc: \"runc exec\" in the foreground. runc-detach: \"runc exec --detach\", which is what a "
                            "watcher runs, and then the exit. monoshim: Exec, Start, TaskExit and Delete."),
        measure.result("exec", "exec-own-cpu", "Processor time of an exec, without the runtime's", "ms",
                       {n: v["own-cpu"] for n, v in found.items()}, parameters=parameters,
                       note="Of monoshimd, and of the program that calls the runtime."),
    ]


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
