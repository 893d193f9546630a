# SPDX-License-Identifier: LGPL-2.1-or-later
"""SIGKILL of the daemon under running containers: until the next one answers"""

import resource
import statistics
import time

import crowd
import measure
import monoshim_testing as t
import proc


def run(context):
    counts = context.choose((1000, 100, 0), (100, 0), (3, 0))
    # Of each that is taken back the daemon has two descriptors: to watch it by, and in the store.
    many = min(context.choose(10000, 1000, 10), (resource.getrlimit(resource.RLIMIT_NOFILE)[1] - 500) // 2)
    times, cpu, memory, kept = {}, {}, {}, {}
    real = crowd.shared(context)
    real.grow(counts[0])
    for n in counts:
        real.shrink(n)
        key = "%d" % n
        found = repeat(context, real)
        times[key], cpu[key], memory[key] = found["ms"], found["cpu"], found["pss"]
        if n == counts[0]:
            real.daemon.manager.forget()
            real.daemon.manager.keeps = False
            kept[n] = repeat(context, real)["ms"]
            real.daemon.manager.keeps = True
    fake = crowd.shared(context, "fake")
    fake.shrink(many)
    fake.grow(many)
    found = repeat(context, fake)
    times["%d" % many], cpu["%d" % many], memory["%d" % many] = found["ms"], found["cpu"], found["pss"]

    order = sorted(times, key=int)
    note = ("From the start of the new process to the end of its answer to ListContainers; the caller waits at the socket, "
            "which the service manager has kept, as it has the daemon's descriptors. ")
    growth = note + "%d: with the tests' runtime; as many as the limit of open files allows here, up to 10000." % many
    return [
        measure.result("restart", "restart", "The bus answers after SIGKILL, with %d containers" % counts[0], "ms",
                       {"monoshim": times["%d" % counts[0]], "no descriptors kept": kept[counts[0]]}, baseline="monoshim",
                       parameters={"containers": counts[0]}, missing=without_daemon(context), note=note),
        measure.result("restart", "restart-growth", "The bus answers after SIGKILL, by containers", "ms",
                       {n: times[n] for n in order}, baseline=None, note=growth),
        measure.result("restart", "restart-cpu", "Processor time of the new process until its answer, by containers", "ms",
                       {n: cpu[n] for n in order}, baseline=None, note=growth),
        measure.result("restart", "restart-memory", "PSS of the new process, by containers", "KiB",
                       {n: memory[n] for n in order}, baseline=None,
                       note="Of containers that are not its children, and that it watches by descriptors. For each of them: "
                            + ", ".join("%.2f KiB with %s" % ((statistics.median(memory[n]) - statistics.median(memory["0"]))
                                                             / int(n), n) for n in order if n != "0") + "."),
    ]


def without_daemon(context):
    return {**context.missing, **{name: "there is no process for all containers that could be started again"
                                  for name in context.peers if name != "monoshim"}}


def repeat(context, c):
    """{"ms": ..., "cpu": ..., "pss": ...}: milliseconds until the answer, those of processor time until then, and KiB."""
    found = measure.interleave({"restart": lambda: restart(c)}, context.repetitions, context.warmup)["restart"]
    context.say("%d containers: %s" % (c.count, {k: round(statistics.median(v), 2) for k, v in found.items()}))
    return found


def restart(c):
    d = c.daemon
    d.disconnect()
    d.kill9()
    began = time.perf_counter()
    d.start(wait=False)
    client = c.connect()
    _, answer = crowd.exchange(client, t.ROOT_PATH, t.MANAGER, "ListContainers")
    seconds = time.perf_counter() - began
    cpu = proc.activity([d.pid]).cpu
    d.wait_ready()
    rows = client.list()
    assert len(rows) == c.count and len(answer) > 50 * c.count, "%d containers have come back of %d" % (len(rows), c.count)
    assert all(status == "running" for status, _, _ in rows.values())
    d.disconnect()
    return {"ms": seconds * 1000, "cpu": cpu * 1000, "pss": proc.memory([d.pid]).pss}
