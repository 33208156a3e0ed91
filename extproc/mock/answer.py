"""What a speaker is asked and what it answers, before any fault or framing.

Pure data. A speaker (`speakers/`, one file a wire language) turns `Asked` into
`Answer`; `play.py` puts the answer on the wire. `IDENT` stands wherever an
answer carries its own id and is replaced, at the same length, for every reply,
so that a rendered answer can be kept and sent again.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

from extproc.mock.faults import Faults

IDENT = b"mock0000000000000000"
"""Placeholder of a reply's id: `mock` and 16 digits."""


def ident(number: int) -> bytes:
    """The id of reply `number`, as long as `IDENT`."""
    return b"mock%016d" % number


@dataclass(frozen=True, slots=True)
class Asked:
    """One request. `path` keeps its query and has lost any fault directive.

    Headers are left out on purpose: equal `Asked` give equal answers, so they
    can be kept.
    """

    method: str
    path: str
    body: bytes
    faults: Faults


@dataclass(frozen=True, slots=True)
class Answer:
    """A reply: `body`, or `events` when it is a stream (each with its framing)."""

    status: int
    content_type: str
    body: bytes = b""
    events: tuple[bytes, ...] | None = None
    headers: tuple[tuple[str, str], ...] = ()


class Speaker(Protocol):
    """One provider's wire language."""

    @property
    def name(self) -> str: ...

    def claims(self, path: str) -> bool:
        """Whether this path is of this language; the path has no query."""
        ...

    def answer(self, asked: Asked) -> Answer:
        """The reply to a request, also when it is a refusal; never raises."""
        ...

    def error(self, status: int, message: str) -> Answer:
        """A failure with this status in the language's own envelope."""
        ...

    def error_event(self) -> bytes:
        """The event by which the provider says that a running stream failed."""
        ...
