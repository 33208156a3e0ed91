"""A conversation with a model, in no SDK's words: what scenarios ask and what clients report.

A scenario fills `Ask` and leads a `Talk`; a client (`clients/`, one real SDK a
file) turns both into calls of its SDK and gives what its user would read.
"""

from __future__ import annotations

import base64
from abc import ABC, abstractmethod
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

    @property
    def function(self) -> dict[str, Any]:
        """As OpenAI's chat language writes it, and others after it."""
        told = {"name": self.name, "description": self.about, "parameters": self.schema}
        return {"type": "function", "function": told}


@dataclass(frozen=True, slots=True)
class Medium:
    """A picture, a PDF or a sound. `type` is its media type, such as `image/png`."""

    type: str
    data: bytes

    @property
    def base64(self) -> str:
        return base64.b64encode(self.data).decode()

    @property
    def url(self) -> str:
        return f"data:{self.type};base64,{self.base64}"


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
    stop: tuple[str, ...] = ()
    answers: int = 1
    logprobs: bool = False


@dataclass(frozen=True, slots=True)
class Called:
    id: str
    name: str
    arguments: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Result:
    """What a tool gave for a call. `failed`: the text says what went wrong."""

    call: Called
    text: str
    picture: Medium | None = None
    failed: bool = False


@dataclass(frozen=True, slots=True)
class Said:
    """One reply as the SDK gives it; of several answers, the first.

    `finish` is the SDK's own word. `usage` is (all tokens in, all tokens out), None
    when the reply has none. `deltas` counts pieces of text, arguments or thinking
    that came one by one; 0 for a whole reply. `probable`: tokens came with their
    probabilities.
    """

    text: str = ""
    calls: tuple[Called, ...] = ()
    finish: str = ""
    thinking: str = ""
    refusal: str = ""
    usage: tuple[int, int] | None = None
    deltas: int = 0
    answers: int = 1
    probable: bool = False

    def gave(self, text: str) -> Result:
        """What its only call gave."""
        (call,) = self.calls
        return Result(call, text)


@dataclass(eq=False)
class Failed(Exception):
    """An exception of the SDK: its class, the status that it saw, its text and when to try again."""

    kind: str
    status: int
    message: str
    retry_after: str = ""


class Talk(ABC):
    """One conversation; it keeps its history in the SDK's own types, as a user would.

    What a language has no word for (`Client.can`) is never asked of it.
    """

    @abstractmethod
    def user(self, text: str, medium: Medium | None = None) -> None: ...

    @abstractmethod
    def ask(self, *, stream: bool) -> Said:
        """One turn; the reply joins the history. Raises Failed."""
        ...

    def results(self, results: Sequence[Result]) -> None:
        """What the tools gave, for every call of the last reply."""
        raise AssertionError("this language has no tools")

    def system(self, text: str) -> None:
        """Says something in the operator's name, in the midst of it."""
        raise AssertionError("this language has no system text here")

    def cited(self, text: str, url: str) -> None:
        """An earlier answer of the model, which names its source."""
        raise AssertionError("this language has no citations")

    def move(self, model: str) -> None:
        """Goes on with another model."""
        raise AssertionError("this language has no conversations")


@dataclass(slots=True)
class Heads:
    """The heads of messages, which SDKs keep from their users. `more` goes out with every request."""

    headers: dict[str, str] = field(default_factory=dict[str, str])
    more: dict[str, str] = field(default_factory=dict[str, str])

    @property
    def hooks(self) -> dict[str, Any]:
        """What httpx calls with its requests and responses."""
        return {"request": [self.send], "response": [self.note]}

    def send(self, request: Any, **_: Any) -> None:
        request.headers.update(self.more)

    def note(self, response: Any) -> None:
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
    last: Heads

    def __init__(self, gateway: Gateway) -> None: ...

    def talk(self, ask: Ask) -> Talk: ...

    def close(self) -> None: ...


COMMON = frozenset({"system", "tools", "force", "schema", "image", "think", "refusal", "usage"})
"""what all larger languages can ask for"""
RARE = frozenset(
    {
        "pictured result",
        "failed result",
        "document",
        "audio",
        "system within",
        "citations",
        "stop",
        "answers",
        "logprobs",
    }
)
"""what some can; `Client.can` is a part of both"""


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
