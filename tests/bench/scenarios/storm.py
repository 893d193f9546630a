# SPDX-License-Identifier: LGPL-2.1-or-later
"""Everything ends at the same moment: until the last exit is known"""

import select
import time

import crowd
import measure
import monoshim_testing as t
import proc


def run(context):
    count = context.choose(1000, 200, 5)
    c = crowd.Crowd(context, "fake")
    try:
        found = measure.interleave({"monoshim": lambda: storm(c, count)}, context.repetitions, context.warmup)["monoshim"]
    finally:
        c.close()
    parameters = {"containers": count}
    note = "From the first SIGKILL to the last TaskExit at a client. All have come, once each: none is lost."
    return [measure.result("storm", "storm", "%d containers end at once" % count, "ms", {"monoshim": found["ms"]},
                           baseline=None, parameters=parameters, note=note),
            measure.result("storm", "storm-cpu", "Processor time of the daemon for that", "ms", {"monoshim": found["cpu"]},
                           baseline=None, parameters=parameters)]


def storm(c, count):
    c.grow(count)
    client = c.connect()
    client.bus_call("AddMatch", "s", "type='signal',interface='%s',member='TaskExit'" % t.MANAGER)
    pids = dict(c.pids)
    before = proc.activity([c.pid]).cpu
    began = time.perf_counter()
    crowd.kill_all(pids.values())
    data, seen = bytearray(), 0
    while seen < count:
        assert select.select([client.sock], [], [], 60)[0], "%d exits of %d have come" % (seen, count)
        chunk = client.sock.recv(1 << 20)
        assert chunk, "monoshimd closed the connection"
        start = max(0, len(data) - 7)
        data += chunk
        seen += data.count(b"TaskExit", start)
    seconds = time.perf_counter() - began
    cpu = proc.activity([c.pid]).cpu - before
    while select.select([client.sock], [], [], 0.05)[0]:
        data += client.sock.recv(1 << 20)
    client.parser.add_data(bytes(data))
    client.signals += iter(client.parser.get_next_message, None)
    events = client.events(name="TaskExit")
    assert sorted((e.id, e.pid, e.exit_status) for e in events) == sorted((id, pid, 137) for id, pid in pids.items())
    c.forget(list(pids))
    c.count = 0
    c.settle()
    return {"ms": seconds * 1000, "cpu": cpu * 1000}
