"""What the other workers said last, and which of them are gone.

Takes all that is shared whenever it was read, gives what is new. A worker whose tally has not
changed for GONE seconds in which this one looked is gone: no clock is compared with another's, and
nobody is gone because this worker slept.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from extproc.model.ports import Counts, Seen, Tally
from extproc.model.value import value
from extproc.routing.breaker import seat_of

GONE = 5.0
"""seconds: five times what a worker lets pass before it says that it lives"""
_FORGOTTEN = 600.0
"""seconds after which a worker that was gone would be taken for a new one"""
_LOOK = 1.0
"""seconds that one look stands for at most"""
_NOTHING = Tally(-1)
_ZERO = Counts()


@value
class Others:
    """Of one target: attempts in flight elsewhere, and what is known of its pace there."""

    busy: int = 0
    latency: float | None = None
    throughput: float | None = None


NO_OTHERS = Others()


class _Peer:
    __slots__ = ("at", "tally")

    def __init__(self, tally: Tally, at: float) -> None:
        self.tally = tally
        self.at = at


class Peers:
    """`gone`: seats whose trials and tallies count no more."""

    def __init__(self, seat: str) -> None:
        self.gone: frozenset[str] = frozenset()
        self._seat = seat
        self._peers: dict[str, _Peer] = {}
        self._others: dict[str, Others] = {}
        self._present: frozenset[str] = frozenset()
        # Seconds in which this worker looked, and when it did last.
        self._watched = 0.0
        self._looked: float | None = None

    def others(self, target: str) -> Others:
        return self._others.get(target, NO_OTHERS)

    def hear(self, seen: Seen, now: float) -> list[tuple[str, Counts]]:
        """What others counted since the last time, by target; nothing of before the first time."""
        news: list[tuple[str, Counts]] = []
        heard, first = False, self._looked is None
        if self._looked is not None:
            self._watched += min(now - self._looked, _LOOK)
        self._looked, now = now, self._watched
        for seat, tally in seen.tallies.items():
            if seat == self._seat:
                continue
            peer = self._peers.get(seat)
            if peer is None:
                before = tally if first else _NOTHING
                self._peers[seat] = _Peer(tally, now)
            elif peer.tally.beat == tally.beat:
                continue
            else:
                before, peer.tally, peer.at = peer.tally, tally, now
            heard = True
            news += _since(before.counts, tally.counts)
        # One that died before it ever said a word may still hold a trial's place.
        for trouble in seen.troubles.values():
            for place in trouble.trying:
                if (seat := seat_of(place)) != self._seat:
                    self._peers.setdefault(seat, _Peer(_NOTHING, now))
        gone = frozenset(seat for seat, peer in self._peers.items() if now - peer.at > GONE)
        present = frozenset(seen.tallies)
        if heard or gone != self.gone or present != self._present:
            self.gone, self._present = gone, present
            self._sum_up(now)
        return news

    def _sum_up(self, now: float) -> None:
        for seat in self.gone:
            if now - self._peers[seat].at > _FORGOTTEN:
                del self._peers[seat]
        found: dict[str, list[Counts]] = {}
        for seat, peer in self._peers.items():
            if seat in self._present and seat not in self.gone:
                for target, counts in peer.tally.counts.items():
                    found.setdefault(target, []).append(counts)
        self._others = {target: _together(counts) for target, counts in found.items()}


def _since(
    before: Mapping[str, Counts], after: Mapping[str, Counts]
) -> Iterator[tuple[str, Counts]]:
    for target, new in after.items():
        old = before.get(target, _ZERO)
        if new.attempts < old.attempts:
            # It had forgotten the target, and began to count anew.
            old = _ZERO
        if new.attempts > old.attempts:
            counted = Counts(
                new.attempts - old.attempts, new.failed - old.failed, new.slow - old.slow
            )
            yield target, counted


def _together(all_counts: list[Counts]) -> Others:
    return Others(
        sum(counts.busy for counts in all_counts),
        _mean([counts.latency for counts in all_counts if counts.latency is not None]),
        _mean([counts.throughput for counts in all_counts if counts.throughput is not None]),
    )


def _mean(values: list[float]) -> float | None:
    return sum(values) / len(values) if values else None
