"""What a request is like, for conditions and for what a target must be able to do.

Takes a request, as a dialect parsed it. Nothing is looked at before it is asked for, and then
once: a model without conditions, on targets without limits, pays nothing. Never changes a
request, and never shows what it says.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from functools import cached_property

from extproc.config.conditions import Facts
from extproc.config.declared import DECLARED
from extproc.detect.language import language
from extproc.model.call import Call
from extproc.model.chat import Chat, Image, Message, OutputKind, Role, Text, ToolResult
from extproc.model.embed import Count, Embed, Opaque, Rerank, Routed
from extproc.routing.tokens import prompt_tokens

_WEEKDAYS = ("mon", "tue", "wed", "thu", "fri", "sat", "sun")
_OFF = ("none", "")
"""efforts of reasoning that ask for none"""
_READ = 240
"""characters of which the language is guessed"""


class Traits:
    """Each trait by its name in conditions, found when it is first asked for.

    `tokens` is an estimate of the prompt's, `bytes` the size of the client's body (of a request
    whose body a stage has emptied: four for each token). `max_output` is in tokens, 0 where
    the client set none. `turns` counts what the user said. `language` is an ISO 639-1 code,
    guessed of the last turn, or empty.
    """

    def __init__(self, request: Routed, dialect: str) -> None:
        self._request = request
        self._chat = _conversation(request)
        self.dialect = dialect

    @property
    def model(self) -> str:
        return self._request.model

    @property
    def stream(self) -> bool:
        return self._request.stream

    @cached_property
    def tokens(self) -> int:
        return prompt_tokens(self._request)

    @property
    def bytes(self) -> int:
        return len(self._request.raw) or 4 * self.tokens

    @property
    def max_output(self) -> int:
        return (self._chat.sampling.max_tokens or 0) if self._chat else 0

    @property
    def tools(self) -> bool:
        """It offers tools, of any kind."""
        return bool(self._chat and self._chat.tools)

    @cached_property
    def images(self) -> bool:
        """It shows a picture, in a message or in a tool's result."""
        return any(map(_has_image, self._chat.messages)) if self._chat else False

    @property
    def json_schema(self) -> bool:
        """The answer must keep to a schema."""
        output = self._chat.output if self._chat else None
        return output is not None and output.kind is OutputKind.SCHEMA

    @property
    def reasoning(self) -> bool:
        """It asks for reasoning, by an effort or by a budget."""
        asked = self._chat.reasoning if self._chat else None
        if asked is None:
            return False
        return (asked.effort or "") not in _OFF or (asked.budget or 0) != 0

    @cached_property
    def turns(self) -> int:
        if self._chat is None:
            return 1
        return sum(message.role is Role.USER for message in self._chat.messages)

    @cached_property
    def language(self) -> str:
        return language(_last_said(self._request, self._chat))


def traits(request: Routed, dialect: str) -> Traits:
    """`dialect` is the client's."""
    return Traits(request, dialect)


def facts(call: Call, traits: Traits, headers: Mapping[str, str], unix: float) -> Facts:
    """What conditions see. `headers` are the client's, in lower case; `unix` is seconds since 1970.

    The headers may hold credentials: a condition that names one does not compile.
    """
    return {
        "caller": _Fields(call.caller, "caller"),
        "request": _Fields(traits, "request"),
        "headers": headers,
        "labels": call.labels,
        "time": _Fields(_Moment(unix), "time"),
    }


class _Moment:
    """A point in time, in UTC. `weekday` is `mon` to `sun`."""

    def __init__(self, unix: float) -> None:
        self.unix = int(unix)

    @cached_property
    def _parts(self) -> time.struct_time:
        return time.gmtime(self.unix)

    @property
    def hour(self) -> int:
        return self._parts.tm_hour

    @property
    def minute(self) -> int:
        return self._parts.tm_min

    @property
    def weekday(self) -> str:
        return _WEEKDAYS[self._parts.tm_wday]


class _Fields(Mapping[str, object]):
    """The declared fields of an object, as a mapping that looks at those alone that are asked for."""

    __slots__ = ("_names", "_of")

    def __init__(self, of: object, root: str) -> None:
        self._of = of
        self._names = DECLARED[root]

    def __getitem__(self, name: str) -> object:
        if name not in self._names:
            raise KeyError(name)
        return getattr(self._of, name)

    def __iter__(self) -> Iterator[str]:
        return iter(self._names)

    def __len__(self) -> int:
        return len(self._names)


def _conversation(request: Routed) -> Chat | None:
    match request:
        case Chat():
            return request
        case Count(chat):
            return chat
        case Embed() | Rerank() | Opaque():
            return None


def _has_image(message: Message) -> bool:
    return any(
        isinstance(part, Image)
        or (isinstance(part, ToolResult) and any(isinstance(p, Image) for p in part.parts))
        for part in message.parts
    )


def _last_said(request: Routed, chat: Chat | None) -> str:
    """The beginning of what is said last, by a user."""
    match request:
        case Embed():
            return next((i[:_READ] for i in request.inputs if isinstance(i, str)), "")
        case Rerank():
            return request.query[:_READ]
        case _:
            pass
    for message in reversed(chat.messages if chat else ()):
        if message.role is Role.USER:
            said = [part.text[:_READ] for part in message.parts if isinstance(part, Text)]
            if said:
                return " ".join(said)[:_READ]
    return ""
