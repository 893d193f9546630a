# SPDX-License-Identifier: LGPL-2.1-or-later
"""Containers that do nothing: how often their watchers wake up, and what time that takes"""

import time

import crowd
import measure
import proc


def run(context):
    seconds, rounds = context.choose((5, 12), (2, 5), (0.5, 1))
    crowds = {"monoshim": crowd.shared(context)}
    crowds["monoshim"].grow(context.choose(1000, 100, 3))
    for name in context.peers:
        if name not in ("runc", "monoshim"):
            crowds[name] = crowd.shared_peer(context, name)
            crowds[name].grow(context.choose(100, 20, 2))
    time.sleep(context.choose(5, 2, 0))  # what was begun has ended
    samples = [{name: proc.activity(c.watchers()) for name, c in crowds.items()}]
    for _ in range(rounds):
        time.sleep(seconds)
        samples.append({name: proc.activity(c.watchers()) for name, c in crowds.items()})

    def differences(name, get, factor):
        return [(get(b[name]) - get(a[name])) * factor for a, b in zip(samples, samples[1:])]

    counts = {name: c.count for name, c in crowds.items()}
    note = "Scaled from what was there: " + ", ".join("%s %d containers" % i for i in counts.items())
    # Of what stands once for all containers nothing is scaled up with them.
    factor = {name: (1 if name == "monoshim" else counts["monoshim"] / counts[name]) * 60 / seconds for name in counts}
    own = {"containers": counts["monoshim"], "seconds": seconds * rounds}
    switches = sum(differences("monoshim", lambda a: a.switches, 1))
    return [
        measure.result("idle", "idle", "monoshimd's context switches in all that time", "wake-ups", {"monoshim": [switches]},
                       baseline=None, parameters=own),
        measure.result("idle", "idle-switches", "Context switches of all watchers for %d idle containers in a minute"
                       % counts["monoshim"], "switches",
                       {name: differences(name, lambda a: a.switches, factor[name]) for name in crowds},
                       baseline="monoshim", parameters=own, missing=context.missing, note=note),
        measure.result("idle", "idle-cpu", "Processor time of all watchers for %d idle containers in a minute"
                       % counts["monoshim"], "ms",
                       {name: differences(name, lambda a: a.cpu * 1000, factor[name]) for name in crowds},
                       baseline="monoshim", parameters=own, missing=context.missing, note=note),
    ]
