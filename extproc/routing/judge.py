"""When a target's breaker opens and closes, by what came of the attempts.

Takes verdicts, of this worker's attempts and, in sums, of those of others. An attempt that
began before the breaker turned last is not heard: it says nothing about what came since.
"""

from __future__ import annotations

from collections.abc import Callable

from extproc.config.schema import Breaker
from extproc.model.ports import Clock, Counts
from extproc.routing.breaker import State
from extproc.routing.targets import Targets, Tracked
from extproc.routing.verdict import Verdict

Told = Callable[[str, State, str], None]
"""a target's key, that it opened, closed or cools by this worker's own judgement, and why"""


class Judge:
    """`terms` may be set anew at any time: they hold for what comes."""

    def __init__(self, terms: Breaker, clock: Clock, targets: Targets, told: Told | None) -> None:
        self.terms = terms
        self._clock = clock
        self._targets = targets
        self._told = told

    def ended(
        self, target: Tracked, began: float, verdict: Verdict, slow: bool, now: float
    ) -> None:
        """An attempt of this worker is over."""
        circuit = target.circuit
        if circuit.opened:
            if began > circuit.since and (circuit.places or circuit.ripe(began)):
                self._ended_trial(target, verdict, slow, now)
            return
        if verdict is Verdict.NONE or began < circuit.since:
            return
        bad = verdict is Verdict.BAD
        target.window.add(now, 1, bad, slow)
        target.attempts += 1
        if bad:
            target.failed += 1
            target.in_a_row += 1
        else:
            target.in_a_row = 0
        if slow:
            target.slow += 1
        if bad or slow:
            self._weigh(target, now)

    def heard(self, target: Tracked, counts: Counts, now: float) -> None:
        """What another worker counted since it was heard last: as if it had happened here. Of a
        target that is open it is kept, for people, until that closes."""
        target.window.add(now, counts.attempts, counts.failed, counts.slow)
        if counts.failed < counts.attempts:
            target.in_a_row = 0
        else:
            target.in_a_row += counts.failed
        if (counts.failed or counts.slow) and not target.circuit.opened:
            self._weigh(target, now)

    def shut(self, target: Tracked, seconds: float, why: str, now: float) -> None:
        """Probes found that it does not answer."""
        if target.circuit.shut(now, self._clock.time(), seconds):
            target.forgive()
            self._tell(target, State.OPEN, why)
        self._targets.mind(target)

    def vouched(self, target: Tracked, now: float) -> None:
        """A probe found that it answers."""
        if target.circuit.vouch(now, self._clock.time(), self.terms.trials):
            target.forgive()
            self._tell(target, State.CLOSED, "a probe went well")
        self._targets.mind(target)

    def _ended_trial(self, target: Tracked, verdict: Verdict, slow: bool, now: float) -> None:
        match verdict:
            case Verdict.BAD:
                self._open(target, now, "a trial failed")
            case Verdict.GOOD if slow:
                self._open(target, now, "a trial was slow")
            case Verdict.GOOD | Verdict.NONE:
                target.circuit.tried(now, self.terms.trials, good=verdict is Verdict.GOOD)
                if not target.circuit.opened:
                    target.forgive()
                    self._tell(target, State.CLOSED, "trials went well")
                self._targets.mind(target)

    def _weigh(self, target: Tracked, now: float) -> None:
        terms, window = self.terms, target.window
        if target.in_a_row >= terms.failures:
            self._open(target, now, f"{target.in_a_row} failures in a row")
        elif window.attempts < terms.minimum:
            return
        elif window.failed and window.failed >= terms.error_rate * window.attempts:
            self._open(target, now, f"{window.failed} of {window.attempts} failed")
        elif window.slow and window.slow >= terms.slow_rate * window.attempts:
            self._open(target, now, f"{window.slow} of {window.attempts} were slow")

    def _open(self, target: Tracked, now: float, why: str) -> None:
        target.circuit.open(now, self._clock.time(), self.terms.open)
        target.forgive()
        self._targets.mind(target)
        self._tell(target, State.OPEN, why)

    def _tell(self, target: Tracked, state: State, why: str) -> None:
        if self._told is not None:
            self._told(target.key, state, why)
