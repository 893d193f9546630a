# SPDX-License-Identifier: LGPL-2.1-or-later
"""Asking: the list, the tree of objects, one object's properties, by how many containers there are"""

import crowd
import measure
import monoshim_testing as t
import proc


def run(context):
    counts = context.choose((10000, 1000, 100, 10), (1000, 100, 10), (10, 3))
    fake = crowd.shared(context, "fake")
    fake.grow(counts[0])
    found = {}
    for n in counts:  # the most come first: there may be that many already
        fake.shrink(n)
        found[n] = ask(context, fake, n)
    results = []
    for id, title, _, _ in queries("c00000"):
        results.append(measure.result(
            "queries", "queries-" + id, title, "µs", {"%d" % n: found[n][id] for n in sorted(found)},
            baseline="%d" % min(found), note="By containers. Until the last byte is there, seen by a client in Python."))
    results.append(measure.result(
        "queries", "queries-cpu", "Processor time of the daemon for one ListContainers", "µs",
        {"%d" % n: found[n]["cpu"] for n in sorted(found)}, baseline="%d" % min(found), note="By containers."))
    return results


def queries(id):
    """(id, title, arguments of the call, whether it grows with the containers)"""
    path = t.container_path("default", id)
    return (
        ("ping", "Ping, for comparison", (t.ROOT_PATH, "org.freedesktop.DBus.Peer", "Ping"), False),
        ("list", "ListContainers", (t.ROOT_PATH, t.MANAGER, "ListContainers"), True),
        ("tree", "GetManagedObjects", (t.ROOT_PATH, t.OBJECT_MANAGER, "GetManagedObjects"), True),
        ("get-container", "GetContainer", (t.ROOT_PATH, t.MANAGER, "GetContainer", "ss", "default", id), False),
        ("property", "one property of a container's init", (path, t.PROPERTIES, "Get", "ss", t.PROCESS, "Status"), False),
        ("properties", "all properties of a container's init", (path, t.PROPERTIES, "GetAll", "s", t.PROCESS), False),
    )


def ask(context, c, n):
    client = c.connect()
    found = {}
    for id, _, call, grows in queries("c%05d" % (n // 2)):
        repetitions = context.choose(200, 50, 3)
        if grows:
            repetitions = context.choose(20, 5, 1)
        found[id] = [crowd.exchange(client, *call)[0] * 1e6 for _ in range(repetitions + context.warmup)][context.warmup:]
    found["cpu"] = []
    for _ in range(context.choose(10, 5, 1)):
        before = proc.activity([c.pid]).cpu
        crowd.exchange(client, t.ROOT_PATH, t.MANAGER, "ListContainers")
        found["cpu"].append((proc.activity([c.pid]).cpu - before) * 1e6)
    c.settle()
    return found
