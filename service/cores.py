"""How many cores there are to compute with."""

import math
import os
from pathlib import Path
from typing import Final

CONTROL_GROUP: Final = Path("/sys/fs/cgroup")


def available_cores() -> int:
    """Cores that this process may use, by its affinity and by its container's limit of CPU time."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    cores = cores or 1
    return min(cores, read_quota() or cores)


def read_quota() -> int | None:
    """Cores whose time the control group may use, rounded up; None without a limit.

    As a container sees its own: `cpu.max` of version 2, or version 1's two files.
    """
    for names in (("cpu.max",), ("cpu/cpu.cfs_quota_us", "cpu/cpu.cfs_period_us")):
        try:
            words = " ".join((CONTROL_GROUP / name).read_text() for name in names).split()
            # Without a limit the first is "max" or -1.
            if words[0].isdecimal():
                return math.ceil(int(words[0]) / int(words[1]))
        except (OSError, ValueError, IndexError, ZeroDivisionError):
            continue
    return None


def default_workers() -> int:
    """One worker a core, up to eight; more cores go to the workers' threads."""
    return min(8, available_cores())
