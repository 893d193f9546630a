# SPDX-License-Identifier: LGPL-2.1-or-later
"""The report for readers."""

import os


def number(value):
    """Three digits or more that say something."""
    return "%.3g" % value if abs(value) < 100 else "{:,.0f}".format(value)


def one_line(result):
    parts = []
    for name, peer in result["peers"].items():
        text = "%s %s" % (name, number(peer["median"]))
        if peer["ratio"]:
            text += " (%.3f ×)" % peer["ratio"]["ratio"]
        parts.append(text)
    return "%s [%s]: %s" % (result["id"], result["unit"], ", ".join(parts))


def write(document, directory):
    """Makes report.md, and the plots, of what measure.py describes."""
    lines = ["# monoshim and its peers", "", "Measured %s (%s run)." % (document["started"], document["level"]), ""]
    lines += ["| Budget | Limit | Figure | |", "| --- | --- | --- | --- |"]
    for row in document["budgets"]:
        figure = "%s %s" % (number(row["figure"]), row["unit"]) if row["figure"] is not None else "not measured"
        lines.append("| %s | %s | %s | %s |" % (row["budget"], row["limit"], figure,
                                                {True: "met", False: "**not met**", None: ""}[row["met"]]))
    lines.append("")
    for peer in document["peers"].values():
        lines.append("- %s: %s" % (peer["title"], peer["version"] or "missing: " + peer["missing"]))
    lines += [""] + ["- " + one_line(r) for r in document["results"]]
    with open(os.path.join(directory, "report.md"), "w") as f:
        f.write("\n".join(lines) + "\n")
