"""How many attempts may be repeated, so that a provider in trouble is not drowned in retries.

Takes the time with each call. Counts for one worker: each has its own budget.
"""

from __future__ import annotations

from extproc.config.schema import RetryBudget
from extproc.routing.statistics import Sliding

_SECONDS = 10.0
_PERCENT = 100.0


class Budget:
    """Retries within ten seconds: a part of the first attempts of that time, and some anyway."""

    __slots__ = ("_seen", "terms")

    def __init__(self, terms: RetryBudget) -> None:
        self.terms = terms
        # "Failed" are those that were granted as retries.
        self._seen = Sliding(_SECONDS)

    def begun(self, now: float) -> None:
        """An attempt begins, a first one or one that was granted."""
        self._seen.add(now, 1, 0, 0)

    def grant(self, now: float) -> bool:
        """Whether one more may be repeated; if so, it counts."""
        self._seen.move(now)
        granted = self._seen.failed
        firsts = max(0, self._seen.attempts - granted)
        if granted >= max(self.terms.minimum, firsts * self.terms.percent / _PERCENT):
            return False
        self._seen.add(now, 0, 1, 0)
        return True
