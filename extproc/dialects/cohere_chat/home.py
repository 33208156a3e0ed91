"""Messages of this dialect, written again as they came.

Takes canonical messages and gives the value of `messages`, and the documents
that stood beside them. It trusts what it is given: nothing of another dialect
comes here but what a stage of ours added, which is plain.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import TypeAlias

from extproc.dialects._extras import fill
from extproc.dialects._media import data_url
from extproc.dialects.cohere_chat.words import (
    BARE,
    CONTENT,
    DOCUMENT,
    MINTED,
    NAME,
    NO_ARGUMENTS,
    PLAN,
)
from extproc.model.chat import (
    NOTHING,
    Document,
    Extra,
    Image,
    Json,
    Message,
    OpaquePart,
    Part,
    Refusal,
    Role,
    Text,
    Thinking,
    ToolCall,
    ToolResult,
)
from extproc.model.errors import Unsupported

Object: TypeAlias = dict[str, Json]


def write_home(messages: Iterable[Message]) -> tuple[list[Json], list[Json]]:
    """The messages and the documents."""
    documents: list[Json] = []
    out: list[Json] = []
    for message in messages:
        out.extend(_message(message, documents))
    return out, documents


def _message(message: Message, documents: list[Json]) -> Iterable[Json]:
    """One message, or one for each result and then the rest."""
    results = [part for part in message.parts if isinstance(part, ToolResult)]
    for result in results:
        out: Object = {"role": "tool", "tool_call_id": result.call_id}
        _put_content(out, result.parts, message.extra)
        fill(out, message.extra.home(NAME))
        yield out
    rest = [part for part in message.parts if not isinstance(part, ToolResult)]
    if results and not rest:
        return
    role = Role.SYSTEM if message.role is Role.DEVELOPER else message.role
    extra = NOTHING if results else message.extra
    out = {"role": (Role.USER if results else role).value}
    content: list[Part] = []
    calls: list[Json] = []
    for part in rest:
        match part:
            case ToolCall():
                calls.append(call(part))
            case Document() if DOCUMENT in part.extra.home(NAME):
                documents.append(part.extra.fields[DOCUMENT])
            case Thinking() if PLAN in part.extra.home(NAME):
                out["tool_plan"] = part.text
            case _:
                content.append(part)
    _put_content(out, content, extra)
    if calls:
        out["tool_calls"] = calls
    fill(out, extra.home(NAME))
    yield out


def _put_content(out: Object, parts: Iterable[Part], extra: Extra) -> None:
    items = list(parts)
    if not items:
        return
    only = items[0] if len(items) == 1 else None
    if isinstance(only, Text) and only.extra is NOTHING and CONTENT not in extra.home(NAME):
        out["content"] = only.text
    else:
        out["content"] = [_part(part) for part in items]


def _part(part: Part) -> Json:
    match part:
        case Text() if DOCUMENT in part.extra.home(NAME):
            return part.extra.fields[DOCUMENT]
        case Text() | Refusal():
            out: Object = {"type": "text", "text": part.text}
        case Thinking():
            out = {"type": "thinking", "thinking": part.text}
        case Image():
            out = image(part)
        case OpaquePart():
            out = {}
        case _:
            what = type(part).__name__.lower()
            raise Unsupported(f"{NAME} has no place for this in a message ({what})", param=what)
    fill(out, part.extra.home(NAME))
    return out


def image(part: Image) -> Object:
    """The part, by URL or as a `data:` URL."""
    shape: Object = {"url": part.source.url or data_url(part.source)}
    if part.detail is not None:
        shape["detail"] = part.detail
    return {"type": "image_url", "image_url": shape}


def call(part: ToolCall, name: str | None = None) -> Object:
    """One call; `name` if the provider must know the tool by another."""
    home = part.extra.home(NAME)
    function: Object = {"name": name or part.name}
    if NO_ARGUMENTS not in home:
        function["arguments"] = part.arguments
    out: Object = {} if MINTED in home else {"id": part.id}
    if BARE not in home and "type" not in home:
        out["type"] = "function"
    out["function"] = function
    fill(out, home)
    return out
