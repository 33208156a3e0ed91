"""What a worker knows of its targets, brought together with what the others know.

Takes the port of the shared store, or None: then all stays here. Every call is over at once:
where the store cannot be had now, it is tried again the next time, and where it is in trouble,
this worker goes by what it sees itself.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import replace
from math import inf

from extproc.model.ports import CALM, Clock, Seen, SharedStanding, Tally, Trouble
from extproc.routing.breaker import CLOSED
from extproc.routing.judge import Judge
from extproc.routing.peers import Peers
from extproc.routing.targets import Targets, Tracked

_LONGEST_TRIAL = 120.0
"""seconds after which a trial without an end gives up its place"""
_UNUSED = 600.0
"""seconds after which a half open target that nobody asks is taken for closed"""
_HEARTBEAT = 1.0
"""seconds between two signs of life"""


class Sharing:
    """`counted`: there is something new to tell."""

    def __init__(
        self, shared: SharedStanding | None, clock: Clock, targets: Targets, judge: Judge
    ) -> None:
        self._shared = shared
        self._clock = clock
        self._targets = targets
        self._judge = judge
        self._seat = shared.seat if shared else ""
        self.peers = Peers(self._seat)
        self.counted = False
        self._trials = 0
        self._beat = 0
        self._epoch = 0
        self._looked = self._spoke = -inf

    def sync(self) -> None:
        now, wall = self._clock.monotonic(), self._clock.time()
        for target in [*self._targets.troubled.values()]:
            target.circuit.tidy(now, _LONGEST_TRIAL, _UNUSED)
            self._targets.mind(target)
        if self._shared is None:
            return
        seen = self._shared.read()
        if seen is not None:
            self._learn(seen, now, wall)
            self._tell(self._shared, seen, now, wall)

    def close(self) -> None:
        if self._shared is not None:
            for target in self._targets.troubled.values():
                target.circuit.leave()
            self._shared.change(self._changed(), self._joined, None, (self._seat,))

    def took_place(self, target: Tracked, now: float) -> bool:
        """Whether there was a place among the trials of all workers, which is now this worker's."""
        self._trials += 1
        place = f"{self._seat}:{self._trials}"
        opening, most = target.circuit.row.open_until, self._judge.terms.trials

        def by(_: str, stored: Trouble) -> Trouble:
            row = target.circuit.joined(stored, self.peers.gone, most)
            if row.open_until == opening and len(row.trying) + row.good < most:
                row = replace(row, trying=(*row.trying, place))
            return row

        rows: Mapping[str, Trouble] | None = {}
        if self._shared is not None and target.shared:
            rows = self._shared.change((target.key,), by)
            if rows is None and not self._shared.alone:
                return False
        stored = row = rows.get(target.key) if rows else None
        if row is None or stored is None:
            stored = target.circuit.base
            row = by(target.key, stored)
        if place in row.trying:
            target.circuit.places[place] = now
        self._take(target, stored, row, now, self._clock.time(), now - self._looked)
        return place in row.trying or target.circuit.standing(now) is CLOSED

    def _learn(self, seen: Seen, now: float, wall: float) -> None:
        targets = self._targets
        if seen.epoch != self._epoch:
            self._epoch = seen.epoch
            for target in targets.troubled.values():
                target.circuit.forget_the_store()
        news = self.peers.hear(seen, now)
        unseen = now - self._looked
        self._looked = now
        for key in {*targets.troubled, *seen.troubles}:
            stored = seen.troubles.get(key, CALM)
            row = self._joined(key, stored)
            self._take(targets.of(key), stored, row, now, wall, unseen)
        for key, counts in news:
            self._judge.heard(targets.of(key), counts, now)

    def _tell(self, shared: SharedStanding, seen: Seen, now: float, wall: float) -> None:
        tally = None
        if self.counted or now - self._spoke >= _HEARTBEAT:
            known = {one.key: one.counts(now) for one in self._targets if one.shared}
            tally = Tally(self._beat + 1, known)
        changed = self._changed()
        gone = self.peers.gone.intersection(seen.tallies)
        if not changed and tally is None and not gone:
            return
        rows = shared.change(changed, self._joined, tally, gone)
        if rows is None:
            return
        if tally is not None:
            self._beat, self._spoke, self.counted = tally.beat, now, False
        for key, row in rows.items():
            self._take(self._targets.of(key), row, row, now, wall, 0.0)

    def _changed(self) -> Collection[str]:
        troubled = self._targets.troubled.items()
        return [key for key, target in troubled if target.shared and target.circuit.changed]

    def _joined(self, key: str, stored: Trouble) -> Trouble:
        circuit = self._targets.of(key).circuit
        return circuit.joined(stored, self.peers.gone, self._judge.terms.trials)

    def _take(
        self, target: Tracked, stored: Trouble, row: Trouble, now: float, wall: float, unseen: float
    ) -> None:
        if target.circuit.learn(stored, row, now, wall, unseen):
            target.forgive()
        self._targets.mind(target)
