# SPDX-License-Identifier: LGPL-2.1-or-later
"""The report for readers: Markdown that is a plain text as well, and plots."""

import os
import textwrap

import plot
import scenarios
from plot import number

METHOD = """\
All were measured in one run on one machine, with the same runtime and the same bundles. What is compared takes turns, and
every other round the other way about, so that a machine that gets slower or busier does so for all alike; the first rounds
do not count. A figure is the median of all repetitions, beside it the 5th and the 95th percentile and the median absolute
deviation (MAD). A ratio is that of the medians, with the interval that 95 % of the resamplings of a bootstrap fall into:
one that contains 1 shows no difference.

The peers are called as their usual callers call them, but without these: no containerd, no podman and no CRI-O takes part,
so that what is compared is who watches. What one does of itself belongs to its cost: a shim or a conmon is started for
each container and ends with it. Events of the shims are taken by a small process, or by /bin/true."""


def one_line(result):
    parts = []
    for name, peer in result["peers"].items():
        text = "%s %s" % (name, number(peer["median"]))
        if peer["ratio"]:
            text += " (%.3f ×)" % peer["ratio"]["ratio"]
        parts.append(text)
    return "%s [%s]: %s" % (result["id"], result["unit"], ", ".join(parts))


def table(header, rows, right=()):
    """Lines of a Markdown table with aligned columns; those in 'right' to the right."""
    cells = [[str(c).replace("|", "\\|") for c in row] for row in [header, *rows]]
    widths = [max(3, *(len(row[i]) for row in cells)) for i in range(len(header))]

    def line(row):
        return "| " + " | ".join(c.rjust(w) if i in right else c.ljust(w) for i, (c, w) in enumerate(zip(row, widths))) + " |"

    rule = "| " + " | ".join("-" * (w - 1) + ":" if i in right else "-" * w for i, w in enumerate(widths)) + " |"
    return [line(cells[0]), rule, *(line(row) for row in cells[1:])]


def paragraph(text):
    return textwrap.wrap(" ".join(text.split()), 118)


def write(document, directory):
    """Makes report.md, and the plots, of what measure.py describes."""
    plots = plot.draw(document["results"], directory)
    lines = ["# monoshim and its peers", ""]
    lines += paragraph("Measured %s in %s s (%s run)%s." % (
        document["started"], number(document["seconds"]), document["level"],
        {"smoke": ", which shows only that it works: these figures say nothing",
         "quick": ", with few repetitions: rough figures"}.get(document["level"], "")))
    lines += ["", "## Budgets", "", *budget_table(document["budgets"])]
    lines += ["", "## Machine and peers", "", *machine_table(document["machine"]), "", *peer_table(document["peers"])]
    lines += ["", "## Method", "", METHOD]
    for scenario, text in document["failed"].items():
        lines += ["", *paragraph("**%s was not measured**: %s" % (scenario, text))]
    for name, module in scenarios.all_scenarios().items():
        results = [r for r in document["results"] if r["scenario"] == name]
        if results:
            lines += ["", "## " + module.__doc__.strip().splitlines()[0]]
            for file, title in plots.get(name, ()):
                lines += ["", "![%s](%s)" % (title, file)]
            for result in results:
                lines += ["", *describe(result)]
    if not plots and document["results"]:
        lines += ["", "There are no plots: they take python3-matplotlib, and more than one figure."]
    with open(os.path.join(directory, "report.md"), "w") as f:
        f.write("\n".join(lines) + "\n")


def budget_table(budgets):
    rows = []
    for b in budgets:
        figure = "%s %s" % (number(b["figure"]), b["unit"]) if b["figure"] is not None else "not measured"
        verdict = {True: "met", False: "**not met**", None: ""}[b["met"]]
        note = b["note"] if b["figure"] is not None else ""
        rows.append((b["budget"] + (" (%s)" % note if note else ""), b["limit"], figure, verdict))
    return table(("budget", "limit", "figure", ""), rows, right=(1, 2))


def machine_table(machine):
    rows = []
    for key, value in machine.items():
        if isinstance(value, dict):
            value = ", ".join("%s %s" % (k, v or "(not installed)") for k, v in value.items())
        elif isinstance(value, list):
            value = ", ".join(str(v) for v in value)
        rows.append((key.replace("_", " ").replace(" mib", ", MiB"), value))
    return table(("machine", ""), rows)


def peer_table(peers):
    return table(("peer", "", "version"),
                 [(name, p["title"], p["version"] or "missing: " + p["missing"]) for name, p in peers.items()])


def describe(result):
    """A heading, the table, and what a reader must know."""
    lines = ["### %s (%s)" % (result["title"], result["id"]), ""]
    once = all(len(p["values"]) == 1 for p in result["peers"].values())
    compared = result["baseline"] is not None and len(result["peers"]) > 1
    rows = []
    for name, p in result["peers"].items():
        row = [name, number(p["median"])]
        if not once:
            row += ["%s – %s" % (number(p["p5"]), number(p["p95"])), number(p["mad"]), len(p["values"])]
        if compared:
            row.append(_ratio(result, name, p, once))
        rows.append(row)
    header = ["", result["unit"] + (" (more is better)" if not result["lower_is_better"] else "")]
    if not once:
        header += ["5 % – 95 %", "MAD", "n"]
    if compared:
        header.append("to " + result["baseline"])
    lines += table(header, rows, right=range(1, len(header)))
    notes = [result["note"]] if result["note"] else []
    if result["parameters"]:
        notes.append("Parameters: %s." % ", ".join("%s %s" % i for i in result["parameters"].items()))
    if result["missing"]:
        notes.append("Missing: %s." % "; ".join("%s (%s)" % i for i in result["missing"].items()))
    if notes:
        lines += ["", *paragraph(" ".join(n if n.endswith((".", ":")) else n + "." for n in notes))]
    return lines


def _ratio(result, name, peer, once):
    if name == result["baseline"]:
        return "1"
    if not peer["ratio"]:
        return ""
    r = peer["ratio"]
    text = "%.3f" % r["ratio"] if abs(r["ratio"]) < 10 else number(r["ratio"])
    return text if once else "%s (%s – %s)" % (text, *("%.3f" % r[k] if abs(r[k]) < 10 else number(r[k]) for k in ("low", "high")))
