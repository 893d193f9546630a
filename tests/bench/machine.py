# SPDX-License-Identifier: LGPL-2.1-or-later
"""What the figures were taken on."""

import glob
import os
import platform
import re
import subprocess


def _read(path):
    try:
        with open(path, errors="replace") as f:
            return f.read().strip()
    except OSError:
        return ""


def _field(path, name):
    m = re.search(r"^%s\s*:\s*(.+)$" % name, _read(path), re.M)
    return m.group(1) if m else ""


def package_version(package):
    """As Debian names it, or "" if it is not installed."""
    try:
        p = subprocess.run(["dpkg-query", "-W", "-f=${db:Status-Status} ${Version}", package], stdout=subprocess.PIPE,
                           stderr=subprocess.DEVNULL, text=True)
    except FileNotFoundError:
        return ""
    state, _, version = p.stdout.partition(" ")
    return version if state == "installed" else ""


def cgroup_version():
    if os.path.exists("/sys/fs/cgroup/cgroup.controllers"):
        return "v2"
    return "v1 and v2" if os.path.exists("/sys/fs/cgroup/unified/cgroup.controllers") else "v1"


def filesystem(path):
    """The type of what is mounted there."""
    best, kind = "", ""
    for line in _read("/proc/self/mountinfo").splitlines():
        left, _, right = line.partition(" - ")
        point = left.split()[4]
        if (os.path.realpath(path) + "/").startswith(point.rstrip("/") + "/") and len(point) >= len(best):
            best, kind = point, right.split()[0]
    return kind


def load():
    return [round(x, 2) for x in os.getloadavg()]


def describe(directory):
    """directory: where the daemons keep their state during the run."""
    governors = {_read(p) for p in glob.glob("/sys/devices/system/cpu/cpu*/cpufreq/scaling_governor")}
    system = re.search(r'^PRETTY_NAME="?([^"\n]*)', _read("/etc/os-release"), re.M)
    return {
        "cpu": _field("/proc/cpuinfo", "model name") or platform.processor() or platform.machine(),
        "cpus": len(os.sched_getaffinity(0)),
        "memory_mib": int((_field("/proc/meminfo", "MemTotal") or "0").split()[0]) // 1024,
        "architecture": platform.machine(),
        "kernel": platform.release(),
        "system": system.group(1) if system else "",
        "cgroup": cgroup_version(),
        "state_filesystem": filesystem(directory),
        "governor": ", ".join(sorted(governors - {""})) or "none to be seen",
        "virtualization": "hypervisor" if "hypervisor" in _field("/proc/cpuinfo", "flags").split() else "none to be seen",
        "load_before": load(),
        "packages": {p: package_version(p) or None for p in
                     ("runc", "containerd", "conmon", "libsystemd0", "libc6", "python3")},
    }
