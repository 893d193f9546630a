# SPDX-License-Identifier: LGPL-2.1-or-later
"""What monoshim has promised itself, and whether it holds."""

import statistics

# Each row: what it says, the result and the peer in it, which figure of these ("median", "max" or "ratio"), at most or at
# least what, in what unit, and the parameters that the promise is about: with others the figure stands there with a note.
BUDGETS = (
    ("threads", "threads", "monoshim", "max", "≤", 1, "threads", {}),
    ("user memory for each running container, at 1,000", "memory-container", "monoshim", "median", "≤", 4, "KiB",
     {"containers": 1000}),
    ("user memory for each running container, at 10,000", "memory-many", "monoshim", "median", "≤", 4, "KiB",
     {"containers": 10000}),
    ("daemon, empty (PSS)", "memory-empty", "monoshim", "median", "≤", 1536, "KiB", {}),
    ("create + start + kill + delete over the same four bare runc calls", "lifecycle-serial", "monoshim", "ratio", "≤",
     1.03, "×", {}),
    ("exec over bare runc exec", "exec", "monoshim", "ratio", "≤", 1.05, "×", {}),
    ("SIGKILL of an init → TaskExit at a client", "exit", "monoshim", "median", "≤", 1000, "µs", {}),
    ("restart with 1,000 live containers, until the bus answers", "restart", "monoshim", "median", "≤", 250, "ms",
     {"containers": 1000}),
    ("stdout to a FIFO reader, against a bare pipe", "stdout", "monoshim", "ratio", "≥", 0.98, "×", {}),
    ("wake-ups with 1,000 idle containers in 60 s", "idle", "monoshim", "max", "≤", 0, "wake-ups",
     {"containers": 1000, "seconds": 60}),
    ("other containers' operations while one container's runtime hangs", "hang", "hanging", "ratio", "≤", 1.1, "×", {}),
)


def _figure(peer, which):
    if which == "ratio":
        return peer["ratio"]["ratio"] if peer["ratio"] else None
    return max(peer["values"]) if which == "max" else statistics.median(peer["values"])


def judge(results):
    """A list of rows, as measure.py describes them."""
    by_id = {r["id"]: r for r in results}
    rows = []
    for text, id, peer, which, comparison, limit, unit, wanted in BUDGETS:
        row = {"budget": text, "limit": "%s %g %s" % (comparison, limit, unit), "figure": None, "unit": unit, "met": None,
               "result": id, "note": "not measured in this run"}
        found = by_id.get(id)
        if found and peer in found["peers"]:
            figure = _figure(found["peers"][peer], which)
            if figure is not None:
                others = ["%s: %s" % (k, found["parameters"].get(k)) for k, v in wanted.items()
                          if found["parameters"].get(k) != v]
                row.update(figure=figure, met=figure <= limit if comparison == "≤" else figure >= limit,
                           note="measured with " + ", ".join(others) if others else "")
        rows.append(row)
    return rows


def to_text(rows):
    """For a terminal."""
    lines = []
    for r in rows:
        verdict = {True: "met", False: "NOT MET", None: "-"}[r["met"]]
        figure = "%.4g %s" % (r["figure"], r["unit"]) if r["figure"] is not None else ""
        lines.append("%-8s %-16s %-16s %s%s" % (verdict, figure, r["limit"], r["budget"],
                                                " (%s)" % r["note"] if r["note"] else ""))
    return "\n".join(lines)
