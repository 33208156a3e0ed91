"""Who runs, who died, when to try again: the supervisor's bookkeeping, without any process.

Times are seconds on a monotonic clock and are passed in. Nothing here starts
or stops anything.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

FIRST_DELAY = 0.1
LONGEST_DELAY = 5.0
HEALTHY_AFTER = 30.0
"""seconds alive after which earlier deaths are forgotten"""


@dataclass(slots=True)
class Slot:
    """One place that a process fills, again and again. `generation` counts its processes from 1."""

    name: str
    generation: int = 0
    ready: bool = False
    pid: int | None = None
    _started: float = 0.0
    _deaths: int = 0

    def start(self, now: float) -> int:
        """A new process is about to start; returns its generation."""
        self.generation += 1
        self.ready = False
        self._started = now
        return self.generation

    def died(self, now: float) -> float:
        """The process ended by itself; returns the seconds to wait before the next."""
        self.ready = False
        self.pid = None
        if now - self._started >= HEALTHY_AFTER:
            self._deaths = 0
        self._deaths += 1
        if self._deaths == 1:
            return 0.0
        # A bounded exponent: 2 ** 10_000 is not a float.
        return min(LONGEST_DELAY, FIRST_DELAY * 2 ** min(self._deaths - 2, 16))

    @property
    def deaths(self) -> int:
        """Deaths in a row, none of them after a healthy life."""
        return self._deaths


class Table:
    """All slots, in the order in which they were added."""

    def __init__(self, names: Iterable[str]) -> None:
        self._slots = {name: Slot(name) for name in names}

    def __getitem__(self, name: str) -> Slot:
        return self._slots[name]

    def ready(self, names: Iterable[str]) -> tuple[Slot, ...]:
        """Those of `names` that said they are ready."""
        return tuple(slot for name in names if (slot := self._slots[name]).ready)
