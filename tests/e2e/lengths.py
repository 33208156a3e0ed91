"""How long a test goes on that has two lengths.

CI plays the short one, in which a break shows within seconds. `SLUICE_LONG=1`, as `make soak`
sets it, plays the other: the figures that are promised. Such a test is marked `soak`.
"""

from __future__ import annotations

import os
from typing import TypeVar

T = TypeVar("T")
LONG = os.environ.get("SLUICE_LONG") == "1"


def length(short: T, promised: T) -> T:
    return promised if LONG else short
