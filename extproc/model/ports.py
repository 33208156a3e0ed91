"""Narrow doors to the world outside: what stages and the machine may ask for, and no more."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from extproc.model.dialect import Rendered


class Clock(Protocol):
    """Time is passed in, so that a test can hold it still."""

    def monotonic(self) -> float:
        """Seconds, never going back."""
        ...

    def time(self) -> float:
        """Unix seconds."""
        ...


class Credential(Protocol):
    """Signs a rendered request for one provider. Never does I/O on the path."""

    def headers(self, rendered: Rendered) -> Mapping[str, str]:
        """The headers that prove who we are. Raises `Overloaded` when there is no valid credential now."""
        ...
