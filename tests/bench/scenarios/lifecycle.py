# SPDX-License-Identifier: LGPL-2.1-or-later
"""A container's life: create, start, kill by SIGKILL, wait, delete"""

import os
import shutil
import time

import measure
import monoshim_testing as t
from load import loads

STEPS = {
    "create": "Its first step, create",
    "start": "Its second step, start",
    "kill": "Its third step, kill",
    "exit": "From the kill until the caller knows of the exit",
    "delete": "Its last step, delete",
}


def run(context):
    return serial(context) + [throughput(context, n) for n in context.choose((2, 8, 32), (2, 8), (2,))] + [
        beside_peers(context)]


def serial(context):
    """One after the other, by the load generator."""
    lives = context.choose(8, 5, 1)
    with loads(context) as callers:
        bundle = context.bundle()
        found = measure.interleave({n: lambda c=c: c("lifecycle", [bundle], lives, "--fifos") for n, c in callers.items()},
                                   context.repetitions, context.warmup)

    def figure(key):
        return {name: values[key] for name, values in found.items()}

    parameters = {"lives": lives * context.repetitions, "streams": "FIFOs"}
    results = [measure.result("lifecycle", "lifecycle-serial", "A container's whole life, by the load generator", "ms",
                              figure("total"), parameters=parameters,
                              note="Create, start, SIGKILL, until the exit is known, delete: calls of D-Bus, or the same "
                                   "four calls of the runtime, by the same program and with the same bundle.")]
    for step, title in STEPS.items():
        results.append(measure.result("lifecycle", "lifecycle-" + step, title, "ms", figure(step), parameters=parameters))
    results.append(measure.result("lifecycle", "lifecycle-cpu", "Processor time of a life, the runtime's included", "ms",
                                  figure("cpu"), parameters=parameters))
    results.append(measure.result("lifecycle", "lifecycle-own-cpu", "Processor time of a life, without the runtime's", "ms",
                                  figure("own-cpu"), parameters=parameters,
                                  note="Of monoshimd, and of the program that calls the runtime."))
    return results


def throughput(context, parallel):
    """So many at once."""
    lives = parallel * context.choose(4 if parallel < 32 else 2, 2, 1)
    with loads(context) as callers:
        bundles = [context.bundle() for _ in range(parallel)]
        script = Script(context, bundles)

        def rate(seconds):
            return lives / seconds

        subjects = {n: lambda c=c: rate(c("lifecycle", bundles, lives, "--parallel=%d" % parallel)["wall"][0] / 1000)
                    for n, c in callers.items()}
        subjects["xargs"] = lambda: rate(script(lives, parallel))
        found = measure.interleave(subjects, context.choose(10, 3, 1), min(context.warmup, 1))
    return measure.result("lifecycle", "throughput-%d" % parallel, "Lives a second, %d at once" % parallel, "1/s", found,
                          lower_is_better=False, parameters={"parallel": parallel, "lives": lives},
                          note="runc: by the load generator. xargs: \"xargs -P\" over a shell script of the same calls.")


class Script:
    """xargs -P over a shell script that calls the runtime, as whoever has no watcher might do it."""

    TEXT = """set -e
run() { %(runtime)s --root %(folder)s/runtime --log %(folder)s/$id.log --log-format json "$@"; }
id=$1
run create --bundle "$2" --pid-file %(folder)s/$id.pid $id </dev/null >/dev/null 2>&1
read pid <%(folder)s/$id.pid || true
run start $id
run kill $id 9
while [ -e /proc/$pid ]; do sleep 0.001; done
run delete $id
rm %(folder)s/$id.log %(folder)s/$id.pid
"""

    def __init__(self, context, bundles):
        self.folder, self.bundles = context.folder(), bundles
        self.path = os.path.join(self.folder, "life")
        with open(self.path, "w") as f:
            f.write(self.TEXT % {"runtime": shutil.which("runc"), "folder": self.folder})

    def __call__(self, lives, parallel):
        """Seconds. Those that live at once have different bundles; the nursery reaps."""
        rounds = os.path.join(self.folder, "rounds")
        with open(rounds, "w") as f:
            for i in range(lives):
                f.write("c%d %s\n" % (i, self.bundles[i % parallel]))
        log = os.path.join(self.folder, "log")
        # Slot by slot, so that no bundle is used twice at once.
        command = ("seq 0 %d | xargs -P %d -I @ sh -ec 'awk -v n=@ -v p=%d \"(NR - 1) %% p == n\" %s | "
                   "while read -r id bundle; do sh %s $id $bundle; done'" %
                   (parallel - 1, parallel, parallel, rounds, self.path))
        began = time.perf_counter()
        pid = t.nursery().spawn(["/bin/sh", "-ec", command], dict(os.environ), log)
        status = t.nursery().wait(pid, 300)
        seconds = time.perf_counter() - began
        if status != 0:
            with open(log) as f:
                raise RuntimeError("xargs: exit status %d: %s" % (status, f.read()[-2000:]))
        return seconds


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
