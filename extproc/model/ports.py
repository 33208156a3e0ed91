"""Narrow doors to the world outside: what stages and the machine may ask for, and no more."""

from __future__ import annotations

from collections.abc import Mapping
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
