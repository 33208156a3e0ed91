"""How targets stand: which may be asked, how quick they are, how busy, and how much may be retried.

One for each worker, over all its configurations. It is told of every attempt's beginning and
end, and answers from memory. Four times a second `sync` tells the other workers what happened
here and takes what happened there; only a trial of a half open target is agreed on at once,
since its place is one for all workers. Asks no provider anything, and waits for nothing.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from math import inf

from extproc.config.schema import Routing
from extproc.model.call import Failure, Tried
from extproc.model.ports import Clock, SharedStanding, Trouble
from extproc.model.value import value
from extproc.routing.breaker import CLOSED, Standing, State
from extproc.routing.budget import Budget
from extproc.routing.judge import Judge, Told
from extproc.routing.sharing import Sharing
from extproc.routing.targets import Targets, Tracked
from extproc.routing.verdict import ERROR, Verdict, cooldown, verdict

SYNC_EVERY = 0.25
"""seconds"""


@value
class View:
    """One target, for people. `until` and `since`, when its trouble began, are unix seconds, 0:
    nothing is waited for, and there is none. `attempts`, `failed` and `slow` are those of the
    breaker's window, over all workers."""

    state: State
    until: float
    since: float
    busy: int
    trials: int
    attempts: int
    failed: int
    slow: int
    failed_in_a_row: int
    latency: float | None
    throughput: float | None


class Health:
    """Keys are `Planned.key`. `told` hears of breakers that open and close, and of targets that
    begin to cool, by this worker's word."""

    def __init__(
        self,
        routing: Routing,
        clock: Clock,
        shared: SharedStanding | None = None,
        told: Told | None = None,
    ) -> None:
        self._routing = routing
        self._clock = clock
        self._budget = Budget(routing.budget)
        self._told = told
        self._targets = Targets(routing.breaker.window)
        self._judge = Judge(routing.breaker, clock, self._targets, told)
        self._sharing = Sharing(shared, clock, self._targets, self._judge)
        self._others = self._sharing.peers.others

    def configure(self, routing: Routing) -> None:
        """New thresholds; what is known of the targets stays. What is open keeps its time."""
        self._routing = routing
        self._judge.terms = routing.breaker
        self._budget.terms = routing.budget
        self._targets.slide(routing.breaker.window)

    def standing(self, key: str) -> Standing:
        target = self._targets.get(key)
        if target is None or target.circuit.calm:
            return CLOSED
        return target.circuit.standing(self._clock.monotonic())

    def admits(self, key: str) -> bool:
        """Whether the target may be asked now. Half open, True takes a trial's place: call it
        once, for the target that is really asked, and `ended` or `left` when that is over."""
        target = self._targets.get(key)
        if target is None or target.circuit.calm:
            return True
        now = self._clock.monotonic()
        state = target.circuit.standing(now).state
        if state is State.HALF_OPEN:
            return self._sharing.took_place(target, now)
        return state is State.CLOSED

    def may_retry(self) -> bool:
        """Whether the retry budget grants one more attempt; if so, it is counted."""
        return self._budget.grant(self._clock.monotonic())

    def latency(self, key: str) -> float | None:
        """Seconds to the first token. None: not known of late, so that it is worth a try; while
        such a try runs, what was known before, or how long it has been waited for."""
        target = self._targets.get(key)
        if target is None:
            return self._others(key).latency
        now = self._clock.monotonic()
        own = target.latency.fresh(now)
        if own is not None:
            return own
        known = self._others(key).latency
        if known is None and target.busy:
            return max(target.latency.last or 0.0, now - target.waiting)
        return known

    def throughput(self, key: str) -> float | None:
        """Tokens a second over whole attempts, from their beginning. None: not known of late;
        while it is tried again, what was known before, or 0."""
        target = self._targets.get(key)
        if target is None:
            return self._others(key).throughput
        now = self._clock.monotonic()
        own = target.throughput.fresh(now)
        if own is not None:
            return own
        known = self._others(key).throughput
        if known is None and target.busy:
            return target.throughput.last or 0.0
        return known

    def busy(self, key: str) -> int:
        """Attempts in flight: here now, and elsewhere when that was last said."""
        target = self._targets.get(key)
        others = self._others(key).busy
        return others if target is None else target.busy + others

    def begun(self, key: str) -> None:
        now = self._clock.monotonic()
        target = self._targets.get(key) or self._targets.of(key)
        if not target.busy:
            target.waiting = now
        target.busy += 1
        target.used = True
        self._sharing.counted = True
        self._budget.begun(now)

    def ended(self, tried: Tried, tokens: int) -> None:
        """An attempt is over; `tokens` are those that came."""
        key = tried.target.key
        target = self._targets.get(key) or self._targets.of(key)
        now = self._clock.monotonic()
        target.over()
        self._sharing.counted = True
        found = verdict(tried)
        if found is Verdict.GOOD:
            _measure(target, tried, tokens, now)
        else:
            self._missed(target, tried, now)
        limit = self._judge.terms.slow
        slow = False
        if limit is not None:
            head = tried.ended if tried.head_at is None else tried.head_at
            slow = head - tried.began > limit
        self._judge.ended(target, tried.began, found, slow, now)

    def left(self, key: str, began: float = inf) -> None:
        """Given up without a verdict; `began` tells a trial from what was in flight before it."""
        target = self._targets.get(key)
        if target is not None:
            target.over()
            self._sharing.counted = True
            self._judge.ended(target, began, Verdict.NONE, False, self._clock.monotonic())

    def shut(self, keys: Iterable[str], seconds: float, why: str) -> None:
        """Probes failed: the breakers of these targets are open for so long from now on, at least."""
        now = self._clock.monotonic()
        for key in keys:
            self._judge.shut(self._targets.of(key), seconds, why, now)

    def vouch(self, keys: Iterable[str]) -> None:
        """A probe went well: a trial of those openings that `shut` made here, whose time is over
        with it. Of one that exchanges made it says nothing, since they ask for more."""
        now = self._clock.monotonic()
        for key in keys:
            target = self._targets.get(key)
            if target is not None:
                self._judge.vouched(target, now)

    def sync(self) -> None:
        """Call it every SYNC_EVERY seconds. Waits for nothing, raises nothing."""
        self._sharing.sync()

    def close(self) -> None:
        """Gives up the trials that are still in flight, and this worker's seat."""
        self._sharing.close()

    def view(self) -> Mapping[str, View]:
        """All targets that anything is known of, by key."""
        now, wall = self._clock.monotonic(), self._clock.time()
        return {target.key: self._view(target, now, wall) for target in self._targets}

    def _view(self, target: Tracked, now: float, wall: float) -> View:
        standing = target.circuit.standing(now)
        target.window.move(now)
        own, others = target.counts(now), self._others(target.key)
        return View(
            state=standing.state,
            until=wall + standing.until if standing.until else 0.0,
            since=_began(target.circuit.row) if standing is not CLOSED else 0.0,
            busy=own.busy + others.busy,
            trials=len(target.circuit.row.trying),
            attempts=target.window.attempts,
            failed=target.window.failed,
            slow=target.window.slow,
            failed_in_a_row=target.in_a_row,
            latency=others.latency if own.latency is None else own.latency,
            throughput=others.throughput if own.throughput is None else own.throughput,
        )

    def _missed(self, target: Tracked, tried: Tried, now: float) -> None:
        """No answer: how long the target is left in peace, and how long was waited in vain."""
        seconds = cooldown(tried, self._routing.longest_cooldown)
        if seconds:
            begins = target.circuit.cool(now, self._clock.time(), seconds)
            self._targets.mind(target)
            if begins and self._told is not None:
                self._told(target.key, State.COOLING, f"left alone for {seconds:g} s")
        if tried.failure is Failure.TIMEOUT or tried.failure is Failure.FIRST_EVENT:
            target.latency.add(now, tried.ended - tried.began)


def _began(row: Trouble) -> float:
    return row.open_until - row.open_for or row.cool_until - row.cool_for


def _measure(target: Tracked, tried: Tried, tokens: int, now: float) -> None:
    if tried.failure is not None or tried.status >= ERROR:
        return
    first = tried.head_at if tried.first_at is None else tried.first_at
    if first is not None:
        target.latency.add(now, first - tried.began)
    seconds = tried.ended - tried.began
    if tokens > 0 and seconds > 0.0:
        target.throughput.add(now, tokens, seconds)
