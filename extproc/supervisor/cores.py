"""How many processors we may use: what is there, less what the container's limit takes away."""

from __future__ import annotations

import math
import os
from pathlib import Path

_LIMIT = Path("/sys/fs/cgroup/cpu.max")


def cores(limit: Path = _LIMIT) -> int:
    """At least 1. `limit` is a file of cgroup v2: microseconds of quota (or `max`) and of period."""
    there = len(os.sched_getaffinity(0))
    try:
        quota, period = limit.read_text().split()
        return max(1, min(there, math.ceil(int(quota) / int(period))))
    except (OSError, ValueError):
        return there
