"""A conversation with a model, in no SDK's words: what scenarios ask and what clients report.

A scenario fills `Ask` and leads a `Talk`; a client (`clients/`, one real SDK a
file) turns both into calls of its SDK and gives what its user would read.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, ClassVar, Protocol

from tests.e2e.harness import Gateway


@dataclass(frozen=True, slots=True)
class Tool:
    """A function with one text argument."""

    name: str
    about: str
    argument: str

    @property
    def schema(self) -> dict[str, Any]:
        return {
            "type": "object",
            "properties": {self.argument: {"type": "string"}},
            "required": [self.argument],
            "additionalProperties": False,
        }


@dataclass(frozen=True, slots=True)
class Ask:
    """What holds for every turn. `force` is the name of the tool that must be called; `schema` the answer's."""

    model: str
    system: str = ""
    tools: tuple[Tool, ...] = ()
    force: str = ""
    schema: Mapping[str, Any] | None = None
    think: bool = False
    max_tokens: int | None = None


@dataclass(frozen=True, slots=True)
class Called:
    id: str
    name: str
    arguments: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Said:
    """One reply as the SDK gives it.

    `finish` is the SDK's own word. `usage` is (all tokens in, all tokens out), None
    when the reply has none. `deltas` counts pieces of text, arguments or thinking
    that came one by one; 0 for a whole reply.
    """

    text: str = ""
    calls: tuple[Called, ...] = ()
    finish: str = ""
    thinking: str = ""
    refusal: str = ""
    usage: tuple[int, int] | None = None
    deltas: int = 0


@dataclass(eq=False)
class Failed(Exception):
    """An exception of the SDK: its class, the status that it saw, its text and when to try again."""

    kind: str
    status: int
    message: str
    retry_after: str = ""


class Talk(Protocol):
    """One conversation; it keeps its history in the SDK's own types, as a user would."""

    def user(self, text: str, image: bytes | None = None) -> None: ...

    def results(self, results: Sequence[tuple[Called, str]]) -> None:
        """What the tools gave, for every call of the last reply."""
        ...

    def ask(self, *, stream: bool) -> Said:
        """One turn; the reply joins the history. Raises Failed."""
        ...


@dataclass(slots=True)
class Last:
    """The head of the last reply, which SDKs keep from their users."""

    headers: dict[str, str] = field(default_factory=dict[str, str])

    def note(self, response: Any) -> None:
        """A hook on responses."""
        self.headers = {name.lower(): value for name, value in response.headers.items()}

    @property
    def dropped(self) -> tuple[str, ...]:
        """What the gateway says the provider could not carry."""
        value = self.headers.get("x-sluice-dropped", "")
        return tuple(name for name in value.split(",") if name)


class Client(Protocol):
    """One real SDK. `finishes` are its words for the ends that scenarios look at."""

    name: ClassVar[str]
    dialect: ClassVar[str]
    finishes: ClassVar[Mapping[str, str]]
    can: ClassVar[frozenset[str]]
    last: Last

    def __init__(self, gateway: Gateway) -> None: ...

    def talk(self, ask: Ask) -> Talk: ...

    def close(self) -> None: ...


ALL = frozenset({"system", "tools", "force", "schema", "image", "think", "refusal", "usage"})
"""what a language can ask for; `Client.can` is a part of it"""


@contextmanager
def raised(kinds: tuple[type[Exception], ...]) -> Iterator[None]:
    """Turns these exceptions of an SDK into Failed."""
    try:
        yield
    except kinds as error:
        response = getattr(error, "response", None)
        headers = getattr(response, "headers", None) or getattr(error, "headers", None) or {}
        status = getattr(error, "status_code", None) or getattr(error, "code", None)
        raise Failed(
            type(error).__name__,
            status if isinstance(status, int) else 0,
            str(error),
            headers.get("retry-after", ""),
        ) from error
