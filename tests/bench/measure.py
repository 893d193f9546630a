# SPDX-License-Identifier: LGPL-2.1-or-later
"""Repeating, interleaving, and what figures say.

What a scenario returns is a list of results, each a dictionary that results.json holds as it is:

  {"scenario": "lifecycle",              its file; what --only takes
   "id": "lifecycle-serial",             unique in a report: budgets and plots go by it
   "title": "...",                       one line
   "unit": "ms",                         of all values
   "lower_is_better": true,
   "parameters": {"containers": 20},     what was chosen for this run; plain values
   "baseline": "runc",                   the peer whose median is 1, or null
   "peers": {                            in the order in which they are to be shown
       "runc": {"values": [...], "median": 1.0, "p5": 1.0, "p95": 1.0, "mad": 0.0, "ratio": null},
       "monoshim": {..., "ratio": {"ratio": 1.0, "low": 1.0, "high": 1.0}}},
   "missing": {"conmon": "why"},         peers that have no figures here
   "note": "..."}                        what a reader must know, or ""

"ratio" is that of the medians, peer over baseline, with a 95 % interval (percentiles of a bootstrap). A "peer" need not
be a program: a scenario that compares two conditions of one daemon calls them what they are.

results.json as a whole:

  {"format": 1, "level": "full" | "quick" | "smoke", "started": "ISO 8601", "seconds": 1.0,
   "directory": "/dev/shm/msb.x",        where it happened; it is gone
   "machine": {...},                     machine.describe()
   "peers": {"runc": {"title": "bare runc", "version": "1.1.5", "missing": null}},
   "results": [...],                     in the order in which they were measured
   "failed": {"storm": "why"},           scenarios that ended in an error
   "budgets": [{"budget": "...", "limit": "≤ 1.03 ×", "figure": 1.02, "unit": "×", "met": true, "result": "lifecycle-serial",
                "note": ""}]}            "figure" and "met" are null for what was not measured
"""

import random
import statistics

BOOTSTRAP_ROUNDS = 2000


def percentile(values, p):
    """Linear between the nearest ranks, 0 <= p <= 100."""
    ordered = sorted(values)
    k = (len(ordered) - 1) * p / 100
    low = int(k)
    high = min(low + 1, len(ordered) - 1)
    return ordered[low] + (ordered[high] - ordered[low]) * (k - low)


def summary(values):
    median = statistics.median(values)
    return {"values": list(values), "median": median, "p5": percentile(values, 5), "p95": percentile(values, 95),
            "mad": statistics.median(abs(v - median) for v in values), "ratio": None}


def ratio(values, baseline):
    """Of the medians, with the interval that 95 % of resamplings fall into. None if the baseline is 0."""
    base = statistics.median(baseline)
    if base == 0:
        return None
    generator = random.Random(1)  # the same figures give the same interval
    rounds = []
    for _ in range(BOOTSTRAP_ROUNDS):
        b = statistics.median(generator.choices(baseline, k=len(baseline)))
        if b:
            rounds.append(statistics.median(generator.choices(values, k=len(values))) / b)
    return {"ratio": statistics.median(values) / base, "low": percentile(rounds, 2.5), "high": percentile(rounds, 97.5)}


def result(scenario, id, title, unit, values, baseline="runc", lower_is_better=True, parameters=None, missing=None, note=""):
    """values: {peer: [figure, ...]}; a peer without figures goes to the missing ones."""
    missing = dict(missing or {})
    peers = {name: summary(v) for name, v in values.items() if v}
    for name in values:
        if name not in peers:
            missing.setdefault(name, "not measured")
    if baseline not in peers:
        baseline = None
    for name, peer in peers.items():
        if baseline is not None and name != baseline:
            peer["ratio"] = ratio(peer["values"], peers[baseline]["values"])
    return {"scenario": scenario, "id": id, "title": title, "unit": unit, "lower_is_better": lower_is_better,
            "parameters": dict(parameters or {}), "baseline": baseline, "peers": peers, "missing": missing, "note": note}


def interleave(subjects, repetitions, warmup=1):
    """subjects: {name: function}, each of which does its thing once and returns a figure, a list of figures, or a
    dictionary of such. They take turns, and every other round the other way about, so that a machine that gets slower or
    busier does so for all alike. The first rounds do not count. Returns {name: [figure, ...]}, or {name: {key: [figure,
    ...]}}."""
    found = {name: None for name in subjects}
    for i in range(-warmup, repetitions):
        order = list(subjects)
        if i % 2:
            order.reverse()
        for name in order:
            value = subjects[name]()
            if i >= 0:
                found[name] = _extend(found[name], value)
    return found


def _extend(all, value):
    if isinstance(value, dict):
        all = {} if all is None else all
        for key, v in value.items():
            all[key] = _extend(all.get(key), v)
        return all
    return ([] if all is None else all) + (list(value) if isinstance(value, (list, tuple)) else [value])
