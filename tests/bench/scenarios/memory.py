# SPDX-License-Identifier: LGPL-2.1-or-later
"""Memory, threads and descriptors that watching takes: for nothing, and for each running container"""

import crowd
import measure
import proc

HOW = ("Growth of the sum of the PSS of all processes that watch, from the first figure of containers to the second, divided "
       "by how many came: so what is there once is not in it. ")


def run(context):
    steps = context.choose((10, 100, 1000), (10, 100), (1, 3))
    many = context.choose((10, 1000, 10000), (10, 200, 1000), (2, 5, 10))
    empty = [empty_daemon(context) for _ in range(context.choose(10, 5, 1))]
    real = {"monoshim": follow(crowd.shared(context), steps)}
    # One process for each container, or several: what a container costs depends little on how many there are.
    for name in context.peers:
        if name not in ("runc", "monoshim"):
            real[name] = follow(crowd.shared_peer(context, name), context.choose((10, 100), (10, 30), (1, 3)))
    fake = follow(crowd.shared(context, "fake"), many)
    few = context.choose((10, 500), (10, 200), (2, 5))
    small = [follow_new(context, few) for _ in range(context.choose(10, 2, 1))]
    fifos = [follow_new(context, few, fifos=True) for _ in range(context.choose(5, 1, 1))]
    return list(results(context, empty, real, fake, small, fifos))


def empty_daemon(context):
    c = crowd.Crowd(context)
    try:
        c.settle()
        return proc.memory([c.pid])
    finally:
        c.close()


def follow_new(context, steps, **kw):
    c = crowd.Crowd(context, "fake", keeps=True, **kw)
    try:
        return follow(c, steps)
    finally:
        c.close()


def follow(c, steps):
    """{containers: what the watchers take}"""
    found = {}
    for n in steps:
        c.grow(n)
        pids = c.watchers()
        found[n] = {"memory": proc.memory(pids), "threads": proc.threads(pids), "descriptors": proc.descriptors(pids),
                    "processes": len(pids)}
        c.context.say("%d containers: %s" % (n, found[n]))
    return found


def slope(figures, get, first, last):
    return (get(figures[last]) - get(figures[first])) / (last - first)


def results(context, empty, real, fake, small, fifos):
    def result(id, title, unit, values, **kw):
        kw.setdefault("baseline", "monoshim")
        return measure.result("memory", id, title, unit, values, **kw)

    yield result("memory-empty", "monoshimd without containers, PSS", "KiB", {"monoshim": [m.pss for m in empty]},
                 parameters={"uss_kib": sorted(m.uss for m in empty)[len(empty) // 2],
                             "rss_kib": sorted(m.rss for m in empty)[len(empty) // 2]},
                 note="Pages of shared libraries count in parts, by how many programs on the machine use them.")
    yield result("threads", "threads of the daemon, whatever it has to watch", "threads",
                 {"monoshim": [f["threads"] for figures in (real["monoshim"], fake) for f in figures.values()]})

    reached = {name: sorted(figures) for name, figures in real.items()}
    said = "; ".join("%s: %d to %d" % (name, n[0], n[-1]) for name, n in reached.items())
    for id, title, unit, get in (
            ("memory-container", "PSS for each running container", "KiB", lambda f: f["memory"].pss),
            ("memory-uss", "USS for each running container", "KiB", lambda f: f["memory"].uss),
            ("memory-rss", "RSS for each running container", "KiB", lambda f: f["memory"].rss),
            ("memory-threads", "threads for each running container", "threads", lambda f: f["threads"]),
            ("memory-processes", "processes for each running container", "processes", lambda f: f["processes"]),
            ("memory-descriptors", "descriptors for each running container", "descriptors", lambda f: f["descriptors"])):
        yield result(id, title, unit, {name: [slope(real[name], get, n[0], n[-1])] for name, n in reached.items()},
                     missing=context.missing, parameters={"containers": reached["monoshim"][-1]},
                     note=HOW + "Real runc; containers that were there: " + said + ".")
    for name, figures in real.items():
        yield result("memory-total-" + name, "PSS in all, by containers, " + name, "KiB",
                     {"%d" % n: [f["memory"].pss] for n, f in figures.items()}, baseline=None)

    first, middle, last = sorted(fake)[0], sorted(fake)[-2], sorted(fake)[-1]
    pss = lambda f: f["memory"].pss  # noqa: E731
    yield result("memory-fake", "PSS for each running container of the tests' runtime", "KiB",
                 {"monoshim": [slope(s, pss, *sorted(s)) for s in small]},
                 parameters={"containers": sorted(small[0])[-1]}, note=HOW + "Each figure is of another daemon.")
    yield result("memory-fifos", "the same, each with three FIFOs", "KiB",
                 {"monoshim": [slope(s, pss, *sorted(s)) for s in fifos]}, parameters={"containers": sorted(fifos[0])[-1]})
    yield result("memory-many", "PSS for each running container of the tests' runtime", "KiB",
                 {"monoshim": [slope(fake, pss, middle, last)]}, parameters={"containers": last},
                 note=HOW + "From %d to %d; from %d to %d it is %.2f KiB." % (middle, last, first, middle,
                                                                            slope(fake, pss, first, middle)))
