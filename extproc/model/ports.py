"""Narrow doors to the world outside: what stages and the machine may ask for, and no more."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
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
class Ports:
    """What stages may reach outside of an exchange, and no more."""

    conversations: Conversations
