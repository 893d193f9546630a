# SPDX-License-Identifier: LGPL-2.1-or-later
"""What the kernel says about the cgroup of a process, whichever version there is."""

import os

IS_V2 = os.path.exists("/sys/fs/cgroup/cgroup.controllers")


def directory(pid, controller="memory"):
    """The cgroup of a process, in the hierarchy of 'controller' where there are several."""
    with open("/proc/%d/cgroup" % pid) as f:
        for line in f:
            _, controllers, path = line.rstrip("\n").split(":", 2)
            if IS_V2 and controllers == "":
                return "/sys/fs/cgroup" + path
            if not IS_V2 and controller in controllers.split(","):
                return "/sys/fs/cgroup/%s%s" % (controller.removeprefix("name="), path)
    raise AssertionError("process %d is in no cgroup of %s" % (pid, controller))


def read(path):
    with open(path) as f:
        return f.read().strip()


def limits(pid):
    """{"memory": bytes, "pids": number, "cpu": (quota, period)}, None where there is no limit: the lowest that holds for the
    process, since a runtime may put it below the cgroup that has the limit."""
    found = {}
    for name, controller, file in (("memory", "memory", "memory.max" if IS_V2 else "memory.limit_in_bytes"),
                                   ("pids", "pids", "pids.max")):
        values = [int(v) for v in _upwards(directory(pid, controller), file) if v != "max"]
        values = [v for v in values if v < 2**62]
        found[name] = min(values, default=None)
    if IS_V2:
        values = [v.split() for v in _upwards(directory(pid), "cpu.max")]
        values = [(int(q), int(p)) for q, p in values if q != "max"]
    else:
        quotas = _upwards(directory(pid, "cpu"), "cpu.cfs_quota_us")
        periods = _upwards(directory(pid, "cpu"), "cpu.cfs_period_us")
        values = [(int(q), int(p)) for q, p in zip(quotas, periods) if int(q) > 0]
    found["cpu"] = min(values, default=None, key=lambda v: v[0] / v[1])
    return found


def _upwards(path, file):
    values = []
    while path != "/sys/fs/cgroup" and os.path.dirname(path) != "/sys/fs":
        if os.path.exists(os.path.join(path, file)):
            values.append(read(os.path.join(path, file)))
        path = os.path.dirname(path)
    return values


def flat(path):
    """The lines "name number" of a file."""
    return {name: int(value) for name, value in (line.split() for line in read(path).splitlines())}


LIMITS = {"memory": {"limit": 64 << 20, "swap": 64 << 20}, "pids": {"limit": 33}, "cpu": {"quota": 50000, "period": 100000}}
LIMITS_READ = {"memory": 64 << 20, "pids": 33, "cpu": (50000, 100000)}


def resources(**more):
    """linux.resources, to be given to bundle() as extra_linux."""
    return {"resources": {"devices": [{"allow": False, "access": "rwm"}], **more}}
