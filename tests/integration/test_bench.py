# SPDX-License-Identifier: LGPL-2.1-or-later
"""The benchmark works: each scenario has figures, and the report has them all. What they are is not looked at here."""

import json
import os
import subprocess
import sys

import pytest

import monoshim_testing as t

BENCH = os.path.join(t.TOP, "tests", "bench")
sys.path.insert(0, BENCH)
import budgets  # noqa: E402
import measure  # noqa: E402
import peers  # noqa: E402
import report  # noqa: E402
import scenarios  # noqa: E402


def bench(directory, *arguments):
    return t.run(sys.executable, "-B", os.path.join(BENCH, "bench.py"), "--output", directory, *arguments, timeout=120 * t.SCALE)


@pytest.fixture(scope="module")
def document(tmp_path_factory):
    directory = str(tmp_path_factory.mktemp("bench"))
    bench(directory, "--smoke")
    with open(os.path.join(directory, "results.json")) as f:
        value = json.load(f)
    with open(os.path.join(directory, "report.md")) as f:
        value["report"] = f.read()
    return value


@pytest.mark.parametrize("scenario", scenarios.MODULES)
def test_each_scenario_has_figures(document, scenario):
    results = [r for r in document["results"] if r["scenario"] == scenario]
    assert results and scenario not in document["failed"], document["failed"]
    for r in results:
        # By peers, by conditions, or by how many containers there are.
        assert any("monoshim" in name or r["baseline"] == "quiet" or name.isdigit() for name in r["peers"]), r
        for name, peer in r["peers"].items():
            # What grows by less than a page for each container may seem to shrink with so few.
            assert peer["values"] and (min(peer["values"]) >= 0 or r["unit"] == "KiB"), (r["id"], name)
            assert min(peer["values"]) <= peer["p5"] <= peer["median"] <= peer["p95"] <= max(peer["values"]), (r["id"], name)


def test_monoshim_and_runc_are_compared(document):
    compared = {r["id"]: r for r in document["results"] if r["baseline"] == "runc" and "monoshim" in r["peers"]}
    for id in ("lifecycle-serial", "lifecycle-peers", "throughput-2", "exec", "exec-peers", "exit"):
        for name in ("runc", "monoshim"):
            assert compared[id]["peers"][name]["median"] > 0, (id, name)
        assert compared[id]["peers"]["monoshim"]["ratio"]["ratio"] > 0


def test_the_report_names_every_budget_and_peer(document):
    assert [b["budget"] for b in document["budgets"]] == [b[0] for b in budgets.BUDGETS]
    for b in document["budgets"]:
        assert b["budget"] in document["report"]
        assert b["met"] is not None and b["figure"] is not None, b
    for peer in document["peers"].values():
        assert peer["title"] in document["report"]
        assert peer["version"] or peer["missing"]


def test_the_same_results_give_the_same_report(document, tmp_path):
    """Its plots as well, to the byte, with text that can be searched, and each of them shown."""
    pytest.importorskip("matplotlib", reason="python3-matplotlib is not installed: there are no plots")
    written = []
    for name in "ab":
        (tmp_path / name).mkdir()
        report.write({**document, "level": "full"}, str(tmp_path / name))
        written.append({p.name: p.read_bytes() for p in (tmp_path / name).iterdir()})
    assert written[0] == written[1]
    text = written[0].pop("report.md").decode()
    assert {"memory.svg", "lifecycle.svg", "restart.svg", "queries.svg", "stdout.svg"} <= set(written[0])
    for name, data in written[0].items():
        assert "](%s)" % name in text and b"<text" in data and b">monoshim<" in data or b">containers<" in data, name
    for r in document["results"]:
        assert "(%s)" % r["id"] in text


def test_a_peer_that_is_missing_is_named(tmp_path):
    """As the one is that has not been asked for."""
    bench(str(tmp_path), "--smoke", "--only=exec", "--peers=monoshim")
    document = json.loads((tmp_path / "results.json").read_text())
    assert document["peers"]["runc"]["missing"] == "not asked for"
    result, = [r for r in document["results"] if r["id"] == "exec-peers"]
    assert result["missing"]["runc"] == "not asked for" and list(result["peers"]) == ["monoshim"]
    assert result["baseline"] is None and result["peers"]["monoshim"]["ratio"] is None


def test_nothing_is_left_by_it(document):
    assert document["directory"].startswith("/") and not os.path.exists(document["directory"])


def test_the_load_generator_refuses_what_makes_no_sense(tmp_path):
    program = os.environ["BENCH_LOAD"]
    for arguments, text in (((), "Usage"), (("lifecycle",), "--address="),
                            (("--runtime=/bin/true", "lifecycle", "/b"), "--directory="),
                            (("--runtime=/bin/true", "--directory=/", "exec", "/b"), "--process="),
                            (("--runtime=/bin/true", "--directory=/", "--parallel=2", "lifecycle", "/b"), "bundle of its own")):
        p = subprocess.run([program, *arguments], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
        assert p.returncode == 2 and text in p.stdout, (arguments, p)


def test_a_runtime_that_fails_ends_the_load_generator(tmp_path, bundle):
    """With the name of the log, and without a container left."""
    p = subprocess.run([os.environ["BENCH_LOAD"], "--runtime=/usr/sbin/runc", "--directory=%s" % tmp_path, "lifecycle",
                        bundle("/no/such/program")], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    assert p.returncode == 1 and p.stdout == "" and "create of c0 failed; see %s/c0.log" % tmp_path in p.stderr, p
    assert not os.listdir(tmp_path / "runtime")


def test_figures_are_what_they_are_called():
    s = measure.summary([5, 1, 3, 2, 4])
    assert (s["median"], s["p5"], s["p95"], s["mad"]) == (3, 1.2, 4.8, 1)
    r = measure.ratio([2, 2, 2], [1, 1, 1])
    assert (r["ratio"], r["low"], r["high"]) == (2, 2, 2)
    wide = measure.ratio([1, 2, 3, 4, 10], [1, 2, 3, 4, 5])
    assert wide["low"] < wide["ratio"] == 1 < wide["high"]
    assert measure.ratio([1], [0]) is None
    order = []
    found = measure.interleave({"a": lambda: order.append("a") or 1, "b": lambda: order.append("b") or {"x": [1, 2]}}, 2, 1)
    assert order == ["b", "a", "a", "b", "b", "a"] and found == {"a": [1, 1], "b": {"x": [1, 2, 1, 2]}}


def test_a_budget_holds_or_not():
    def judged(id, peer, values, baseline=None, **parameters):
        values = {peer: values} if baseline is None else {"base": baseline, peer: values}
        r = measure.result("s", id, "t", "u", values, baseline="base", parameters=parameters)
        row, = [b for b in budgets.judge([r]) if b["result"] == id]
        return row["met"], row["figure"], row["note"]

    assert judged("exit", "monoshim", [900, 1000, 5000]) == (True, 1000, "")
    assert judged("exit", "monoshim", [900, 1001, 1002])[0] is False
    assert judged("stdout", "monoshim", [97], [100])[:2] == (False, 0.97)
    assert judged("idle", "monoshim", [0, 0, 1], containers=1000, seconds=60)[0] is False
    assert judged("restart", "monoshim", [10], containers=50) == (True, 10, "measured with containers: 50")
    assert {b["met"] for b in budgets.judge([])} == {None}
