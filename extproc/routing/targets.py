"""What one worker knows of each target, for as many targets as it has room.

Plain memory: `judge.py` and `sharing.py` say what becomes of it. Never asks a clock.
"""

from __future__ import annotations

from collections.abc import Iterator

from extproc.model.ports import Counts
from extproc.routing.breaker import Circuit
from extproc.routing.statistics import Mean, Sliding

MOST_TARGETS = 512
"""targets kept: a client may name any model where `*` is served"""
_LOOKED_THROUGH = 8
"""targets looked at, at most, for one to forget"""
_LONGEST_SHARED = 512
"""characters of a target's key that others are told of"""


class Tracked:
    """One target. `attempts`, `failed` and `slow` are what this worker counted since it knows the
    target, `window` what all workers counted of late, `in_a_row` failures since the last success.

    `waiting` is since when there was always something in flight; `shared`: others are told of it.
    """

    __slots__ = (
        "attempts",
        "busy",
        "circuit",
        "failed",
        "in_a_row",
        "key",
        "latency",
        "shared",
        "slow",
        "throughput",
        "used",
        "waiting",
        "window",
    )

    def __init__(self, key: str, window: float) -> None:
        self.key = key
        self.shared = len(key) <= _LONGEST_SHARED and _is_text(key)
        self.circuit = Circuit()
        self.window = Sliding(window)
        self.latency = Mean()
        self.throughput = Mean()
        self.waiting = 0.0
        self.busy = self.in_a_row = 0
        self.attempts = self.failed = self.slow = 0
        self.used = True

    def over(self) -> None:
        """One attempt less in flight."""
        if self.busy:
            self.busy -= 1

    def forgive(self) -> None:
        """The breaker turned: what was counted before says nothing about what comes."""
        self.window.clear()
        self.in_a_row = 0

    def counts(self, now: float) -> Counts:
        latency, throughput = self.latency.fresh(now), self.throughput.fresh(now)
        return Counts(self.attempts, self.failed, self.slow, self.busy, latency, throughput)


class Targets:
    """By key. `troubled` are those that are not calm, or that others have yet to hear of."""

    def __init__(self, window: float) -> None:
        self.troubled: dict[str, Tracked] = {}
        self._window = window
        self._kept: dict[str, Tracked] = {}
        self.get = self._kept.get

    def __iter__(self) -> Iterator[Tracked]:
        return iter(self._kept.values())

    def of(self, key: str) -> Tracked:
        """Makes it, where it is new. Where there is no room, one that nobody used of late is
        forgotten for it; where all are in use, the new one is not kept."""
        found = self.get(key)
        if found is None:
            found = Tracked(key, self._window)
            if len(self._kept) < MOST_TARGETS or self._made_room():
                self._kept[key] = found
        return found

    def mind(self, target: Tracked) -> None:
        """Puts it among the troubled, or takes it from there."""
        if target.circuit.calm and not target.circuit.changed:
            self.troubled.pop(target.key, None)
        elif self.get(target.key) is target:
            self.troubled[target.key] = target

    def slide(self, window: float) -> None:
        """Counts anew, over so many seconds, where that is not what it was."""
        if window != self._window:
            self._window = window
            for target in self:
                target.window = Sliding(window)

    def _made_room(self) -> bool:
        for _ in range(_LOOKED_THROUGH):
            key, target = next(iter(self._kept.items()))
            del self._kept[key]
            if not (target.used or target.busy or key in self.troubled):
                return True
            target.used = False
            self._kept[key] = target
        return False


def _is_text(key: str) -> bool:
    """Not so with half a character, which a client may send."""
    try:
        key.encode()
    except UnicodeEncodeError:
        return False
    return True
