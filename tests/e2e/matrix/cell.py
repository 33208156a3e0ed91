"""One cell of the matrix: how a scenario went between a client and a provider."""

from __future__ import annotations

from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True, repr=False)
class Cell:
    """`works`; `lossy`, and what was dropped; `refused`, and over which field; `declined`: by the
    provider itself, whose words are `said`.
    """

    verdict: str
    names: tuple[str, ...] = ()
    said: str = field(default="", compare=False)

    def __str__(self) -> str:
        return f"{self.verdict}: {', '.join(self.names)}" if self.names else self.verdict

    __repr__ = __str__


WORKS = Cell("works")
NO_WORD = Cell("-")
"""the client's language cannot ask for it"""
DECLINED = Cell("declined")
"""what the gateway does not know better than the provider, which refuses it"""
