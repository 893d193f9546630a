# SPDX-License-Identifier: LGPL-2.1-or-later
"""What the kernel says about processes: their memory, their time, how often they were woken."""

import collections
import os
import re

Memory = collections.namedtuple("Memory", "pss uss rss")  # KiB
Activity = collections.namedtuple("Activity", "cpu switches")  # seconds on a processor; context switches, of both kinds


def _read(path):
    with open(path) as f:
        return f.read()


def memory(pids):
    """Sums over processes. PSS counts a page that several share in parts, USS only what nobody shares."""
    pss = uss = rss = 0
    for pid in pids:
        text = _read("/proc/%d/smaps_rollup" % pid)
        found = {k: int(v) for k, v in re.findall(r"^(\w+):\s+(\d+) kB$", text, re.M)}
        pss += found["Pss"]
        uss += found["Private_Clean"] + found["Private_Dirty"]
        rss += found["Rss"]
    return Memory(pss, uss, rss)


def threads(pids):
    return sum(len(os.listdir("/proc/%d/task" % pid)) for pid in pids)


def descriptors(pids):
    return sum(len(os.listdir("/proc/%d/fd" % pid)) for pid in pids)


def activity(pids):
    """Sums over the threads that are there now: subtracting a later figure from an earlier one takes threads that stay."""
    cpu = switches = 0
    for pid in pids:
        for task in os.listdir("/proc/%d/task" % pid):
            folder = "/proc/%d/task/%s/" % (pid, task)
            try:
                cpu += int(_read(folder + "schedstat").split()[0])
                switches += sum(int(n) for n in re.findall(r"ctxt_switches:\s+(\d+)", _read(folder + "status")))
            except (FileNotFoundError, ProcessLookupError):
                pass
    return Activity(cpu / 1e9, switches)


def available_mib():
    return int(re.search(r"^MemAvailable:\s+(\d+)", _read("/proc/meminfo"), re.M).group(1)) // 1024
