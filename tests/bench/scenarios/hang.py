# SPDX-License-Identifier: LGPL-2.1-or-later
"""Other containers' lives, while the runtime of one hangs"""

import contextlib
import os
import signal

import measure
import monoshim_testing as t
from load import loads


def run(context):
    lives = context.choose(8, 5, 1)
    with loads(context) as callers:
        load = callers["monoshim"]
        bundle, hung = context.bundle(), context.bundle()
        client = load.daemon.connect(listen=False)

        def live():
            return load("lifecycle", [bundle], lives, "--fifos")["total"]

        def live_beside_hanging():
            with hanging(load.daemon, client, hung):
                return live()

        found = measure.interleave({"quiet": live, "hanging": live_beside_hanging}, context.repetitions, context.warmup)
    return [measure.result("hang", "hang", "A container's whole life while another's create hangs, both by monoshimd", "ms",
                           found, baseline="quiet", parameters={"lives": lives * context.repetitions},
                           note="What hangs is a runtime that stands still for as long as the block lasts; the others have runc.")]


@contextlib.contextmanager
def hanging(daemon, client, bundle):
    """A create that has begun and does not come back."""
    daemon.control.set("hung", "create", "hang")
    daemon.control.forget()
    pending = client.begin_create("hung", bundle, Runtime=t.FAKE_RUNTIME)
    pid = t.wait_for(lambda: daemon.control.invocations("create", "hung"), what="the hanging runtime")[0]["pid"]
    yield
    assert not pending.done()
    os.kill(pid, signal.SIGKILL)
    with t.refused("RuntimeFailed"):
        pending.result(60)
