#!/usr/bin/python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""Measures monoshimd beside its peers: bare runc, containerd's shims and conmon, in one run on one machine.

"make bench" and "make bench-quick" call it as root. It leaves results.json, report.md and plots in the output folder.
Scenarios are in scenarios/, peers in peers/; measure.py says what the figures look like.

Environment: MONOSHIMD, MONOSHIM, FAKE_RUNTIME and BENCH_LOAD, absolute paths of what has been built.
"""

import argparse
import contextlib
import datetime
import json
import os
import signal
import sys
import time
import traceback

sys.dont_write_bytecode = True
HERE = os.path.dirname(os.path.abspath(__file__))
sys.path[:0] = [HERE, os.path.join(os.path.dirname(HERE), "integration")]

import budgets  # noqa: E402
import context  # noqa: E402
import crowd  # noqa: E402
import machine  # noqa: E402
import monoshim_testing as t  # noqa: E402
import peers  # noqa: E402
import report  # noqa: E402
import scenarios  # noqa: E402


def parse_arguments(argv):
    p = argparse.ArgumentParser(description="Measures monoshimd beside its peers. Takes root.")
    level = p.add_mutually_exclusive_group()
    level.add_argument("--quick", dest="level", action="store_const", const="quick", help="every scenario, in 5 minutes in all")
    level.add_argument("--smoke", dest="level", action="store_const", const="smoke",
                       help="see whether it works; the figures say nothing")
    p.add_argument("--only", metavar="SCENARIO[,...]", type=lambda s: s.split(","), help="these scenarios")
    p.add_argument("--peers", metavar="PEER[,...]", type=lambda s: s.split(","), help="these peers")
    p.add_argument("--repetitions", type=int, metavar="N", help="of whatever is repeated")
    p.add_argument("--output", metavar="DIR", default=os.path.join(HERE, "results"), help="default: %(default)s")
    p.add_argument("--cgroup", metavar="NAME", help="make the containers' cgroups below this one, which is there and has a great "
                   "weight: who starts the whole run in it has figures on a busy machine, too")
    p.add_argument("--list", action="store_true", help="list scenarios and peers")
    p.set_defaults(level="full")
    arguments = p.parse_args(argv)
    for option, given, known in (("--only", arguments.only, scenarios.MODULES),
                                 ("--peers", arguments.peers, [x.name for x in peers.all_peers()])):
        unknown = set(given or ()) - set(known)
        if unknown:
            p.error("%s: %s is none of: %s" % (option, ", ".join(sorted(unknown)), ", ".join(known)))
    if not arguments.list and os.geteuid() != 0:
        p.error("only root can start containers")
    if not arguments.list and not os.access(context.LOAD, os.X_OK):
        p.error("the load generator has not been built: use \"make bench\", or set BENCH_LOAD")
    return arguments


def find_peers(wanted):
    """({name: Peer}, {name: why it is missing}, {name: description})"""
    there, missing, described = {}, {}, {}
    for peer in peers.all_peers():
        reason = peer.missing() if wanted is None or peer.name in wanted else "not asked for"
        if reason:
            missing[peer.name] = reason
        else:
            there[peer.name] = peer
        described[peer.name] = {"title": peer.title, "version": None if reason else peer.version(), "missing": reason}
    return there, missing, described


def run_scenarios(ctx, wanted):
    """([result, ...], {scenario: why it failed}); one that fails does not stop the others."""
    results, failed = [], {}
    for name, module in scenarios.all_scenarios().items():
        if wanted is not None and name not in wanted:
            continue
        print("== %s: %s" % (name, module.__doc__.strip().splitlines()[0]), file=sys.stderr, flush=True)
        began = time.monotonic()
        try:
            found = module.run(ctx)
        except Exception as e:
            traceback.print_exc()
            failed[name] = "%s: %s" % (type(e).__name__, e)
            continue
        results += found
        for r in found:
            ctx.say(report.one_line(r))
        ctx.say("%.1f s" % (time.monotonic() - began))
    return results, failed


def main(argv):
    arguments = parse_arguments(argv)
    if arguments.list:
        for name, module in scenarios.all_scenarios().items():
            print("%-12s %s" % (name, module.__doc__.strip().splitlines()[0]))
        print()
        for name, peer in find_peers(None)[2].items():
            print("%-12s %s %s" % (name, peer["title"], peer["version"] or "(missing: %s)" % peer["missing"]))
        return 0

    if arguments.cgroup:
        t.CGROUP_PREFIX = arguments.cgroup.strip("/") + "/" + t.CGROUP_PREFIX
    began, started = time.monotonic(), datetime.datetime.now().astimezone().isoformat(timespec="seconds")
    there, missing, described = find_peers(arguments.peers)
    with context.scratch() as directory:
        facts = machine.describe(directory)
        ctx = context.Context(arguments.level, directory, there, missing, arguments.repetitions)
        try:
            results, failed = run_scenarios(ctx, arguments.only)
        finally:
            crowd.close_shared(ctx)
    facts["load_after"] = machine.load()
    rows = budgets.judge(results)
    document = {"format": 1, "level": arguments.level, "started": started, "seconds": round(time.monotonic() - began, 1),
                "directory": directory, "machine": facts, "peers": described, "results": results, "failed": failed, "budgets": rows}

    os.makedirs(arguments.output, exist_ok=True)
    with open(os.path.join(arguments.output, "results.json"), "w") as f:
        json.dump(document, f, indent=1, ensure_ascii=False)
    report.write(document, arguments.output)
    print(budgets.to_text(rows))
    print("%s: report.md, results.json" % os.path.abspath(arguments.output))
    return 1 if failed else 0


def guarded(function):
    """Calls it in a child process, and returns its exit status. Shims outlive whoever has started them: when the child is
    asked to end it ends them first, and if it dies all that it has left come to us, and are killed."""
    t.prctl(t.PR_SET_CHILD_SUBREAPER, 1)
    child = os.fork()
    if child == 0:
        t.prctl(t.PR_SET_PDEATHSIG, signal.SIGTERM)
        signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))
        sys.exit(function())
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # a terminal's goes to both
    signal.signal(signal.SIGTERM, lambda *_: os.kill(child, signal.SIGTERM))
    pid = status = None
    while pid != child:
        pid, status = os.wait()
    with contextlib.suppress(ChildProcessError):
        while True:
            for left in t.descendants(os.getpid()):
                with contextlib.suppress(ProcessLookupError):
                    os.kill(left, signal.SIGKILL)
            os.wait()
    code = os.waitstatus_to_exitcode(status)
    return 128 - code if code < 0 else code


if __name__ == "__main__":
    sys.exit(guarded(lambda: main(sys.argv[1:])))
