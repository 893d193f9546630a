# SPDX-License-Identifier: LGPL-2.1-or-later
"""The plots of a report, as SVG: the same results give the same bytes, text stays text, and nothing is told by colour alone."""

import os

try:
    import matplotlib
    matplotlib.use("svg")
    from matplotlib import pyplot
except ImportError:
    pyplot = None

STYLE = {
    "svg.hashsalt": "monoshim", "svg.fonttype": "none", "font.family": "sans-serif", "font.size": 10, "axes.spines.top": False,
    "axes.spines.right": False, "axes.grid": True, "grid.color": "#dddddd", "axes.axisbelow": True, "hatch.linewidth": 0.6,
    "figure.facecolor": "white", "legend.frameon": False,
}
# One look for each peer in all plots: a shade, a hatch, a marker and a dash.
LOOKS = {
    "runc": ("#bbbbbb", "", "s", (0, (1, 1))),
    "monoshim": ("#1f5a94", "", "o", "-"),
    "shim-runc-v2": ("#e9c9a2", "//", "^", (0, (5, 2))),
    "shim-runc-v1": ("#e9d9c2", "\\\\", "v", (0, (5, 2, 1, 2))),
    "shim": ("#efe5d8", "xx", "D", (0, (3, 1, 1, 1, 1, 1))),
    "conmon": ("#c4dcc0", "..", "P", (0, (3, 3))),
}
OTHER_LOOKS = (("#888888", "--", "X", (0, (2, 2))), ("#a8b8d8", "++", "<", (0, (6, 1))), ("#d8d8a8", "oo", ">", (0, (1, 3))))


def _look(name, others):
    if name in LOOKS:
        return LOOKS[name]
    if name not in others:
        others.append(name)
    return OTHER_LOOKS[others.index(name) % len(OTHER_LOOKS)]


def number(value):
    """A few digits that say something."""
    return "%.3g" % value if abs(value) < 100 else "{:,.0f}".format(value)


def draw(results, directory):
    """Makes a plot of everything that there are figures for. Returns {scenario: [(file, what it shows)]}; nothing without
    matplotlib."""
    if pyplot is None:
        return {}
    by_id = {r["id"]: r for r in results}
    found = {}
    with matplotlib.rc_context(STYLE):
        for scenario, name, title, make in PLOTS:
            figure = make(by_id, title)
            if figure is not None:
                figure.savefig(os.path.join(directory, name), metadata={"Date": None, "Creator": None}, bbox_inches="tight")
                pyplot.close(figure)
                found.setdefault(scenario, []).append((name, title))
    return found


def bars(*ids, log=False):
    """Horizontal bars, a group for each result, its medians with the middle 90 % as a line, and the figure beside it."""
    def make(by_id, title):
        shown = [by_id[i] for i in ids if i in by_id and len(by_id[i]["peers"]) > 0]
        if not shown:
            return None
        figure, all_axes = pyplot.subplots(len(shown), 1, squeeze=False,
                                           figsize=(7.5, 0.7 + sum(0.55 + 0.34 * len(r["peers"]) for r in shown)),
                                           gridspec_kw={"height_ratios": [1.6 + len(r["peers"]) for r in shown]})
        others = []
        for axes, result in zip(all_axes[:, 0], shown):
            names = list(result["peers"])
            medians = [result["peers"][n]["median"] for n in names]
            low = [max(m - result["peers"][n]["p5"], 0) for n, m in zip(names, medians)]
            high = [max(result["peers"][n]["p95"] - m, 0) for n, m in zip(names, medians)]
            looks = [_look(n, others) for n in names]
            # A logarithmic axis has no place for what costs nothing; the figure beside the bar says it.
            logarithmic = log and any(m > 0 for m in medians)
            drawn = [max(m, 0) for m in medians]
            axes.barh(names, drawn, color=[c for c, _, _, _ in looks], hatch=[h for _, h, _, _ in looks], edgecolor="#333333",
                      linewidth=0.6, height=0.72)
            if any(low) or any(high):
                axes.errorbar(drawn, names, xerr=[low, high], fmt="none", ecolor="#000000", elinewidth=1, capsize=3)
            if logarithmic:
                axes.set_xscale("log")
                axes.set_xlim(left=min(m for m in medians if m > 0) / 4)
            axes.invert_yaxis()
            axes.grid(axis="y", visible=False)
            axes.tick_params(axis="y", length=0)
            unit = result["unit"] + (", logarithmic" if logarithmic else "")
            axes.set_title("%s [%s]" % (result["title"], unit), loc="left", fontsize=10)
            for i, m in enumerate(medians):
                end = drawn[i] + high[i]
                axes.annotate(number(m), (max(end, axes.get_xlim()[0]), i), xytext=(5, 0), textcoords="offset points",
                              va="center")
            axes.margins(x=0.12)
        figure.suptitle(title, x=0.02, ha="left", fontsize=12, fontweight="bold")
        figure.tight_layout()
        return figure

    return make


def growth(lines, xlabel, ylabel, log=True):
    """Lines over how many containers there are. lines: {id of a result whose peers are numbers: (label, look)}"""
    def make(by_id, title):
        shown = {i: v for i, v in lines.items() if i in by_id and len(by_id[i]["peers"]) > 1}
        if not shown:
            return None
        figure, axes = pyplot.subplots(figsize=(7.5, 4.4))
        told = []
        for id, (label, (color, marker, dash)) in shown.items():
            peers = by_id[id]["peers"]
            xs = sorted(peers, key=int)
            medians = [peers[x]["median"] for x in xs]
            errors = [[peers[x]["median"] - peers[x]["p5"] for x in xs], [peers[x]["p95"] - peers[x]["median"] for x in xs]]
            at = [max(int(x), 0) for x in xs]
            axes.errorbar(at, medians, yerr=errors, color=color, marker=marker, linestyle=dash, capsize=3, linewidth=1.5,
                          markersize=6, label=label)
            if all(not 0.7 < medians[-1] / m < 1.4 for m in told if m):  # else one text would stand upon another
                axes.annotate(number(medians[-1]), (at[-1], medians[-1]), xytext=(7, 0), textcoords="offset points", va="center")
                told.append(medians[-1])
        if log:
            axes.set_xscale("symlog", linthresh=10) if any(x == 0 for x in at) else axes.set_xscale("log")
            axes.set_yscale("log")
        else:
            axes.set_ylim(bottom=0)
        ticks = sorted({int(x) for i in shown for x in by_id[i]["peers"]})
        axes.set_xticks(ticks, ["{:,}".format(x) for x in ticks])
        axes.minorticks_off()
        axes.set_xlabel(xlabel)
        axes.set_ylabel(ylabel)
        axes.margins(x=0.1)
        if len(shown) > 1:
            axes.legend(loc="upper left", handlelength=3.5)
        axes.set_title(title, loc="left", fontsize=12, fontweight="bold")
        figure.tight_layout()
        return figure

    return make


def throughput(by_id, title):
    """Lives a second by how many are lived at once."""
    shown = sorted((r for i, r in by_id.items() if i.startswith("throughput-")), key=lambda r: r["parameters"]["parallel"])
    if len(shown) < 2:
        return None
    figure, axes = pyplot.subplots(figsize=(7.5, 4.4))
    others = []
    names = list(dict.fromkeys(n for r in shown for n in r["peers"]))
    for name in names:
        there = [r for r in shown if name in r["peers"]]
        color, _, marker, dash = _look(name, others)
        peers = [r["peers"][name] for r in there]
        xs, medians = [r["parameters"]["parallel"] for r in there], [p["median"] for p in peers]
        errors = [[p["median"] - p["p5"] for p in peers], [p["p95"] - p["median"] for p in peers]]
        axes.errorbar(xs, medians, yerr=errors, color=color if name == "monoshim" else "#666666", marker=marker, linestyle=dash,
                      capsize=3, linewidth=1.5, markersize=6, label=name)
    axes.set_xscale("log", base=2)
    ticks = [r["parameters"]["parallel"] for r in shown]
    axes.set_xticks(ticks, [str(x) for x in ticks])
    axes.minorticks_off()
    axes.set_ylim(bottom=0)
    axes.set_xlabel("at once")
    axes.set_ylabel("lives a second")
    axes.legend(handlelength=3.5)
    axes.set_title(title, loc="left", fontsize=12, fontweight="bold")
    figure.tight_layout()
    return figure


QUERIES = {
    "queries-tree": ("GetManagedObjects", ("#1f5a94", "s", "-")), "queries-list": ("ListContainers", ("#1f5a94", "o", "-")),
    "queries-properties": ("Properties.GetAll", ("#666666", "^", (0, (5, 2)))),
    "queries-property": ("Properties.Get", ("#666666", "v", (0, (3, 3)))),
    "queries-get-container": ("GetContainer", ("#666666", "D", (0, (1, 1)))), "queries-ping": ("Ping", ("#999999", "x", (0, (1, 3)))),
}
RESTART = {"restart-growth": ("until the answer", ("#1f5a94", "o", "-")),
           "restart-cpu": ("processor time", ("#666666", "s", (0, (5, 2))))}
PLOTS = (
    ("lifecycle", "lifecycle.svg", "A container's life", bars("lifecycle-peers")),
    ("lifecycle", "throughput.svg", "Lives a second, by how many at once", throughput),
    ("exec", "exec.svg", "exec of true", bars("exec-peers")),
    ("exit", "exit.svg", "From SIGKILL to the exit status", bars("exit-peers")),
    ("stdout", "stdout.svg", "What containers write", bars("stdout", "stdout-file", "stdout-terminal")),
    ("memory", "memory.svg", "What watching a container takes",
     bars("memory-container", "memory-threads", log=True)),
    ("idle", "idle.svg", "What idle containers take", bars("idle-switches", "idle-cpu")),
    ("restart", "restart.svg", "A restart, by containers", growth(RESTART, "containers", "ms")),
    ("queries", "queries.svg", "Queries, by containers", growth(QUERIES, "containers", "µs")),
)
