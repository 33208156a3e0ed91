"""One target's breaker and cooldown: closed, open, half open, cooling.

Pure: takes the time with each call, twice where what it says goes to other workers: `now` in
seconds that never go back, on which this worker waits, and `wall` in unix seconds, which all
workers share and which may jump. A breaker knows what it holds true (`row`) and what the
workers' store held when it was last looked at (`base`); `merge` brings the two together.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from enum import StrEnum

from extproc.model.ports import CALM, Trouble
from extproc.model.value import value


class State(StrEnum):
    CLOSED = "closed"
    OPEN = "open"
    HALF_OPEN = "half_open"
    COOLING = "cooling"


@value
class Standing:
    """`until` is how many seconds from now the target is left alone at least; 0: it may be asked."""

    state: State
    until: float = 0.0


CLOSED = Standing(State.CLOSED)
HALF_OPEN = Standing(State.HALF_OPEN)


class Circuit:
    """A target's breaker, as one worker knows it.

    `calm` is the quick answer: closed, and not cooling. `since` is when this worker learned of
    the present phase: attempts that began before say nothing about it. `places` are the trials
    that this worker has in flight, and since when. `ours` is the `open_until` of an opening that
    this process's probes made, 0.0: none.
    """

    __slots__ = ("_cool", "_open", "base", "calm", "ours", "places", "row", "since")

    def __init__(self) -> None:
        self.row = self.base = CALM
        self.calm = True
        self.since = 0.0
        self.places: dict[str, float] = {}
        self.ours = 0.0
        self._open = 0.0
        self._cool = 0.0

    @property
    def opened(self) -> bool:
        """Open or half open."""
        return self.row.open_until != 0.0

    @property
    def changed(self) -> bool:
        """Whether other workers have yet to hear of something."""
        return self.row != self.base

    def standing(self, now: float) -> Standing:
        if self.calm:
            return CLOSED
        cooling = self._cool - now
        if self.row.open_until:
            opening = self._open - now
            if opening > 0.0:
                return Standing(State.OPEN, max(opening, cooling))
            return HALF_OPEN if cooling <= 0.0 else Standing(State.COOLING, cooling)
        return CLOSED if cooling <= 0.0 else Standing(State.COOLING, cooling)

    def open(self, now: float, wall: float, seconds: float) -> None:
        """Opens, also anew after a trial that failed: what ran as a trial is one no more."""
        self._open = now + seconds
        self._turn(now)
        self._hold(
            replace(self.row, open_until=wall + seconds, open_for=seconds, good=0, trying=())
        )

    def shut(self, now: float, wall: float, seconds: float) -> bool:
        """A probe failed: open for so long at least. True: it was not open before."""
        left = self._open - now if self.opened else 0.0
        if left < seconds:
            self.open(now, wall, seconds)
            self.ours = self.row.open_until
        return left <= 0.0

    def vouch(self, now: float, wall: float, trials: int) -> bool:
        """A probe went well. It ends the waiting that probes began, and is a trial of that
        opening; of any other it says nothing. True: it closed."""
        if not self.opened or self.row.open_until != self.ours:
            return False
        if self._open > now:
            self._open = now
            self._hold(replace(self.row, open_until=wall, open_for=0.0))
            self.ours = wall
        self.tried(now, trials, good=True)
        return not self.opened

    def cool(self, now: float, wall: float, seconds: float) -> bool:
        """Nobody asks this target for so long; a longer wait than that stays. True: it did not
        cool before."""
        begins = self._cool <= now
        if now + seconds > self._cool:
            self._cool = now + seconds
            self._hold(replace(self.row, cool_until=wall + seconds, cool_for=seconds))
        return begins

    def tried(self, now: float, trials: int, *, good: bool) -> None:
        """A trial of this worker is over: it went well, or said nothing. Enough good ones close.

        It may have taken no place: a target that is the only one is asked whatever is known.
        """
        self._give_back(next(iter(self.places), ""), good=good)
        if self.row.good >= trials:
            self._close(now)

    def leave(self) -> None:
        """Gives up this worker's trials."""
        for place in [*self.places]:
            self._give_back(place, good=False)

    def ripe(self, began: float) -> bool:
        """Whether it was half open when an attempt began."""
        return began >= self._open

    def tidy(self, now: float, trial: float, unused: float) -> None:
        """Gives up trials without an end after `trial` seconds, and a half open state that nobody
        made use of for `unused` seconds; forgets a cooldown that is over."""
        for place in [place for place, began in self.places.items() if now - began > trial]:
            self._give_back(place, good=False)
        if self.opened and now - self._open > unused and not self.row.trying:
            self._close(now)
        if self._cool <= now:
            self._cool = 0.0
            self._hold(replace(self.row, cool_until=0.0, cool_for=0.0))

    def joined(self, stored: Trouble, gone: frozenset[str], trials: int) -> Trouble:
        """What the store should hold instead of `stored`, without the trials of seats that are gone."""
        row = merge(self.base, self.row, stored)
        if gone and row.trying:
            kept = tuple(place for place in row.trying if seat_of(place) not in gone)
            row = replace(row, trying=kept)
        return row if not row.open_until or row.good < trials else _closed(row)

    def learn(self, stored: Trouble, row: Trouble, now: float, wall: float, unseen: float) -> bool:
        """Takes `row` for true; `stored` is what the store held or holds. True: it closed.

        `unseen` is for how long the store was not looked at: what is new there is no older, so
        the wall clock is believed only between that bound and the trouble's own length.
        """
        before, self.base = self.row, stored
        if row == before:
            return False
        if row.cool_until not in (0.0, before.cool_until):
            left = _left(row.cool_until - wall, row.cool_for, unseen)
            self._cool = max(self._cool, now + left)
        turned = row.open_until != before.open_until
        if turned:
            if row.open_until:
                self._open = now + _left(row.open_until - wall, row.open_for, unseen)
            self._turn(now)
        elif self.places:
            self.places = {p: began for p, began in self.places.items() if p in row.trying}
        self._hold(row)
        return turned and not row.open_until

    def forget_the_store(self) -> None:
        """What was shared is lost: other workers have yet to hear of all that is known here."""
        self.base = CALM

    def _give_back(self, place: str, *, good: bool) -> None:
        self.places.pop(place, None)
        kept = tuple(other for other in self.row.trying if other != place)
        self._hold(replace(self.row, trying=kept, good=self.row.good + good))

    def _close(self, now: float) -> None:
        self._turn(now)
        self._hold(_closed(self.row))

    def _turn(self, now: float) -> None:
        self.since = now
        self.places.clear()

    def _hold(self, row: Trouble) -> None:
        self.row = CALM if row == CALM else row
        self.calm = self.row is CALM and not self._cool


def merge(base: Trouble, mine: Trouble, theirs: Trouble) -> Trouble:
    """What holds, when `base` became `mine` here and `theirs` elsewhere meanwhile.

    Of two changes to one thing, the later opening and the longer cooldown win: that is the
    careful side. Trials that went well in the same opening add up.
    """
    if mine == base:
        return theirs
    if theirs == base:
        return mine
    cooling = _later(base, mine, theirs, lambda row: row.cool_until)
    if mine.open_until == theirs.open_until:
        opening = _together(base, mine, theirs)
    else:
        opening = _later(base, mine, theirs, lambda row: row.open_until)
    return replace(opening, cool_until=cooling.cool_until, cool_for=cooling.cool_for)


def _later(
    base: Trouble, mine: Trouble, theirs: Trouble, of: Callable[[Trouble], float]
) -> Trouble:
    """Whoever changed it; the later one where both did."""
    if of(mine) == of(base):
        return theirs
    if of(theirs) == of(base):
        return mine
    return max(mine, theirs, key=of)


def _together(base: Trouble, mine: Trouble, theirs: Trouble) -> Trouble:
    """Both in one opening: what each added to it, and each gave back."""
    if base.open_until == mine.open_until:
        good = max(theirs.good + mine.good - base.good, 0)
    else:
        base, good = CALM, max(theirs.good, mine.good)
    left = set(base.trying) - set(mine.trying)
    came = (place for place in mine.trying if place not in base.trying)
    stayed = (place for place in theirs.trying if place not in left)
    return replace(theirs, good=good, trying=tuple(dict.fromkeys((*stayed, *came))))


def seat_of(place: str) -> str:
    """The seat of the worker whose trial it is."""
    return place.rpartition(":")[0]


def _closed(row: Trouble) -> Trouble:
    return replace(row, open_until=0.0, open_for=0.0, good=0, trying=())


def _left(by_wall: float, whole: float, unseen: float) -> float:
    return min(max(by_wall, whole - unseen, 0.0), whole)
