"""Narrow doors to the world outside: what stages and the machine may ask for, and no more."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import field
from enum import StrEnum
from typing import Protocol

from extproc.model.value import value


class Clock(Protocol):
    """Time is passed in, so that a test can hold it still."""

    def monotonic(self) -> float:
        """Seconds, never going back."""
        ...

    def time(self) -> float:
        """Unix seconds."""
        ...


@value
class Signable:
    """A request as it will leave: `path` is whole, with its query; `headers` are the dialect's own."""

    method: str
    authority: str
    path: str
    headers: Mapping[str, str]
    body: bytes


class Credential(Protocol):
    """Signs a request for one provider. Never does I/O on the path."""

    def headers(self, request: Signable) -> Mapping[str, str]:
        """The headers that prove who we are. Raises `Overloaded` when there is no valid credential now."""
        ...


@value
class Copy:
    """A request to be sent through the gateway once more, for this provider. `target` is its path
    with the query."""

    provider: str
    method: str
    target: str
    headers: tuple[tuple[str, str], ...]
    body: bytes = field(repr=False)


class Fate(StrEnum):
    """What became of a `Copy`. SENT: its reply came, whatever it said; DROPPED: there was no room
    for it; FAILED: no reply came, or none that ended in time."""

    SENT = "sent"
    DROPPED = "dropped"
    FAILED = "failed"


class Copies(Protocol):
    """Sends copies, off the path and within bounds. Their replies are read and thrown away."""

    def post(self, copy: Copy) -> None:
        """Never waits, raises nothing. Where there is no room the copy is dropped, and counted."""
        ...


@value
class Turn:
    """One question of a conversation and its answer, as plain text."""

    asked: str
    answered: str


@value
class Bounds:
    """How much is remembered: `ttl` in seconds since the last turn, `bytes` of one conversation's
    text in UTF-8, `conversations` of one caller."""

    ttl: float
    turns: int
    bytes: int
    conversations: int


class Conversations(Protocol):
    """What was said before, shared by all workers of a gateway. Quick enough to be asked on the path."""

    def open(self) -> None:
        """Makes ready what can be made ready before the first request. Raises nothing."""
        ...

    def turns(self, caller: str, conversation: str, within: Bounds) -> Sequence[Turn]:
        """The newest turns within bounds, oldest first. Raises `Overloaded` when they cannot be read."""
        ...

    def add(self, caller: str, conversation: str, turn: Turn, within: Bounds) -> None:
        """Keeps a turn; what is beyond bounds goes, oldest first. Raises nothing."""
        ...


@value
class Trouble:
    """What all workers hold of a target that is in trouble; `CALM` where it is in none.

    `open_until` and `cool_until` are unix seconds, 0: not; `open_for` and `cool_for` are how long
    that was from the beginning, so that a clock that was set wrong keeps nothing out for longer.
    An opening is told from another by its `open_until`. `good` trials of it went well, and
    `trying` holds the places of those that run: `seat:number`.
    """

    open_until: float = 0.0
    open_for: float = 0.0
    good: int = 0
    trying: tuple[str, ...] = ()
    cool_until: float = 0.0
    cool_for: float = 0.0


CALM = Trouble()


@value
class Counts:
    """What one worker has counted of a target since it started. `busy`: in flight now.

    `latency` in seconds and `throughput` in tokens a second, None: not known of late.
    """

    attempts: int = 0
    failed: int = 0
    slow: int = 0
    busy: int = 0
    latency: float | None = None
    throughput: float | None = None


@value
class Tally:
    """One worker's counts by target. `beat` changes while the worker lives."""

    beat: int
    counts: Mapping[str, Counts] = field(default_factory=dict[str, Counts])


@value
class Seen:
    """All that is shared: troubles by target, the workers' tallies by seat.

    `epoch` changes whenever what was shared before may have been lost.
    """

    epoch: int
    troubles: Mapping[str, Trouble]
    tallies: Mapping[str, Tally]


class SharedStanding(Protocol):
    """How targets stand, known to all workers of a gateway. Never waits for another worker."""

    @property
    def seat(self) -> str:
        """This worker's name here, which no other has or will have."""
        ...

    @property
    def alone(self) -> bool:
        """Whether nothing can be shared now: then each worker goes by what it knows itself."""
        ...

    def read(self) -> Seen | None:
        """None: not now. Raises nothing."""
        ...

    def change(
        self,
        targets: Collection[str],
        by: Callable[[str, Trouble], Trouble],
        tally: Tally | None = None,
        gone: Collection[str] = (),
    ) -> Mapping[str, Trouble] | None:
        """Puts `by(target, what is held of it)` in its place, for all targets and all workers at once.

        Gives what is held now, without those that found no room. With it goes this worker's
        `tally`, and the tallies of seats that are `gone`. None: not now, nothing was changed.
        Raises nothing but what `by` raises.
        """
        ...


@value
class Ports:
    """What stages may reach outside of an exchange, and no more."""

    conversations: Conversations
