"""Counts and means of the recent past: what health is judged by, and what strategies compare.

Takes the time with each call, in seconds that never go back. Keeps a fixed number
of figures each, whatever it is told.
"""

from __future__ import annotations

from math import exp2

_BUCKETS = 10
HALF_LIFE = 10.0
"""seconds after which a sample weighs half: a target that became slow is known to be within a minute"""
STALE = 60.0
"""seconds after which a mean is no more believed, and the target is worth another try"""


class Sliding:
    """Attempts, and how many of them failed or were slow, within the last `seconds`, to a tenth of it."""

    __slots__ = ("_ring", "_slot", "_width", "attempts", "failed", "slow")

    def __init__(self, seconds: float) -> None:
        self._width = seconds / _BUCKETS
        self.clear()

    def clear(self) -> None:
        self._ring = [(0, 0, 0)] * _BUCKETS
        self._slot = 0
        self.attempts = self.failed = self.slow = 0

    def add(self, now: float, attempts: int, failed: int, slow: int) -> None:
        slot = int(now / self._width)
        if slot != self._slot:
            self._move(slot)
        at = slot % _BUCKETS
        a, f, s = self._ring[at]
        self._ring[at] = (a + attempts, f + failed, s + slow)
        self.attempts += attempts
        self.failed += failed
        self.slow += slow

    def move(self, now: float) -> None:
        """Forgets what is too old by now."""
        self._move(int(now / self._width))

    def _move(self, slot: int) -> None:
        if slot - self._slot >= _BUCKETS or slot < self._slot:
            self.clear()
        else:
            for old in range(self._slot + 1, slot + 1):
                a, f, s = self._ring[old % _BUCKETS]
                self._ring[old % _BUCKETS] = (0, 0, 0)
                self.attempts -= a
                self.failed -= f
                self.slow -= s
        self._slot = slot


class Mean:
    """A mean in which older samples weigh less and less: half as much every HALF_LIFE seconds.

    With a `share` it is a ratio of sums (tokens over seconds), in which long answers count more.
    """

    __slots__ = ("_at", "_sum", "_weight", "last")

    def __init__(self) -> None:
        self._sum = self._weight = self._at = 0.0
        self.last: float | None = None
        """whatever its age; None: there never was a sample"""

    def add(self, now: float, amount: float, share: float = 1.0) -> None:
        kept = exp2((self._at - now) / HALF_LIFE) if self._weight else 0.0
        self._sum = self._sum * kept + amount
        self._weight = self._weight * kept + share
        self._at = now
        self.last = self._sum / self._weight

    def fresh(self, now: float) -> float | None:
        """None: no sample in the last STALE seconds."""
        return self.last if now - self._at < STALE else None
