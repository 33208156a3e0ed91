"""Anthropic messages and their blocks: JSON to canonical messages and parts.

Takes the values of `system` and `messages`; gives `Message`s, whose `extra` fills
gaps as `_extras` explains. Blocks that only this language knows (server tools,
their results, compaction) become `OpaquePart`s. Raises `InvalidRequest` with the
path of what is wrong. It reads only; `render` writes.
"""

from __future__ import annotations

import base64
from collections.abc import Mapping
from typing import TypeAlias

from extproc.dialects import _reading as read
from extproc.dialects import _signatures as signatures
from extproc.dialects._extras import residue
from extproc.dialects._tools import arguments_text
from extproc.dialects.anthropic_messages.words import (
    CONTENT,
    NAME,
    SOURCE,
    WITHIN,
    read_cache,
)
from extproc.model.chat import (
    NOTHING,
    CacheMark,
    Document,
    Extra,
    Image,
    Json,
    Message,
    OpaquePart,
    Part,
    Role,
    Source,
    Text,
    Thinking,
    ToolCall,
    ToolResult,
)
from extproc.model.errors import InvalidRequest

Object: TypeAlias = dict[str, Json]

_ROLES = {role.value: role for role in (Role.USER, Role.ASSISTANT, Role.SYSTEM)}
_TURNS: Mapping[str, Role] = {"user": Role.USER, "assistant": Role.ASSISTANT}
_MESSAGE = frozenset({"role", "content"})
_LISTED = Extra(NAME, {CONTENT: "list"})
_TEXT_TYPE = "text/plain"


def parse_system(value: Json) -> Message:
    """The system prompt that stands before the messages: a string, or text blocks."""
    shape: Object = {}
    parts = _content(value, "system", shape)
    return Message(Role.SYSTEM, parts, extra=_extra(shape))


def parse_messages(value: Json) -> list[Message]:
    items = read.expect_list(value, "messages")
    if not items:
        raise InvalidRequest(
            "messages: at least one message is required", param="messages", code="empty_array"
        )
    return [_plain(item) or _message(item, f"messages[{i}]") for i, item in enumerate(items)]


def _plain(x: Json) -> Message | None:
    """A turn of a form that most have, at once; None for one that must be looked at."""
    if not isinstance(x, dict) or len(x) != 2:
        return None
    content, role = x.get("content"), x.get("role")
    turn = _TURNS.get(role) if isinstance(role, str) else None
    if turn is None or not content:
        return None
    if isinstance(content, str):
        return Message(turn, (Text(content),))
    parts: list[Part] = []
    for block in content if isinstance(content, list) else (None,):
        part = _usual(block)
        if part is None:
            return None
        parts.append(part)
    listed = len(parts) == 1 and isinstance(parts[0], Text)
    return Message(turn, tuple(parts), None, _LISTED if listed else NOTHING)


def _message(value: Json, path: str) -> Message:
    x = read.expect_object(value, path)
    if "role" not in x:
        raise read.missing(path + ".role")
    role = _ROLES.get(word := read.expect_string(x["role"], path + ".role"))
    if role is None:
        message = f"{path}.role must be one of {', '.join(_ROLES)}, got {word[:64]!r}"
        raise InvalidRequest(message, param=path + ".role", code="invalid_value")
    if "content" not in x:
        raise read.missing(path + ".content")
    shape: Object = {name: item for name, item in x.items() if name not in _MESSAGE}
    parts = _content(x["content"], path + ".content", shape)
    if role is Role.SYSTEM:
        shape[WITHIN] = True
    return Message(role, parts, extra=_extra(shape))


def _extra(shape: Object) -> Extra:
    return Extra(NAME, shape) if shape else NOTHING


def _content(value: Json, path: str, shape: Object) -> tuple[Part, ...]:
    """The parts; what they cannot tell of the content's form goes to `shape`."""
    if isinstance(value, str):
        if value:
            return (Text(value),)
        shape["content"] = ""
        return ()
    if not isinstance(value, list):
        raise read.type_error(value, path, "a string or an array of blocks")
    parts = tuple([_usual(item) or _block(item, f"{path}[{i}]") for i, item in enumerate(value)])
    if not parts:
        shape["content"] = []
    elif len(parts) == 1 and is_plain(parts[0]):
        shape[CONTENT] = "list"
    return parts


def is_plain(part: Part) -> bool:
    """Whether the part can be written as a mere string."""
    return isinstance(part, Text) and part.cache is None and not part.extra.fields


def _usual(x: Json) -> Part | None:
    """A block of a form that most have, at once; None for one that must be looked at."""
    if not isinstance(x, dict):
        return None
    kind, size = x.get("type"), len(x)
    if kind == "text" and size == 2:
        text = x.get("text")
        return Text(text) if isinstance(text, str) else None
    if kind == "tool_use" and size == 4:
        call_id, name, given = x.get("id"), x.get("name"), x.get("input")
        if isinstance(call_id, str) and isinstance(name, str) and isinstance(given, dict):
            return ToolCall(call_id, name, arguments_text(given))
    if kind == "tool_result" and size == 3:
        call_id, content = x.get("tool_use_id"), x.get("content")
        if isinstance(call_id, str) and isinstance(content, str) and content:
            return ToolResult(call_id, (Text(content),))
    return None


def _block(value: Json, path: str) -> Part:
    x = read.expect_object(value, path)
    if "type" not in x:
        raise read.missing(path + ".type")
    match read.expect_string(x["type"], path + ".type"):
        case "text":
            text = _string(x, "text", path)
            cache, known = _cached(x, _TEXT)
            return Text(text, cache, residue(NAME, x, known))
        case "tool_use":
            return _tool_use(x, path)
        case "tool_result":
            return _tool_result(x, path)
        case "image":
            return _image(x)
        case "document":
            return _document(x, path)
        case "thinking":
            return _thinking(x, path)
        case "redacted_thinking":
            data, origin = signatures.unwrap(_string(x, "data", path), NAME)
            extra = residue(NAME, x, ("type", "data"))
            return Thinking(redacted=data, origin=origin if data else "", extra=extra)
        case _:
            return OpaquePart(Extra(NAME, x))


_TEXT = ("type", "text")


def _string(x: Object, name: str, path: str) -> str:
    if name not in x:
        raise read.missing(f"{path}.{name}")
    return read.expect_string(x[name], f"{path}.{name}")


def _cached(x: Object, known: tuple[str, ...]) -> tuple[CacheMark | None, tuple[str, ...]]:
    """The block's cache mark, and the members that are known with it."""
    mark = read_cache(x.get("cache_control"))
    return mark, known if mark is None else (*known, "cache_control")


def _thinking(x: Object, path: str) -> Part:
    text = _string(x, "thinking", path)
    signed = read.optional_string(x.get("signature"), path + ".signature") or ""
    signature, origin = signatures.unwrap(signed, NAME)
    extra = residue(NAME, x, ("type", "thinking", "signature"))
    if not signature:
        return Thinking(text, extra=extra)
    return Thinking(text, signature, origin=origin, extra=extra)


def _tool_use(x: Object, path: str) -> Part:
    call_id = _string(x, "id", path)
    name = _string(x, "name", path)
    if "input" not in x:
        raise read.missing(path + ".input")
    arguments = arguments_text(read.expect_object(x["input"], path + ".input"))
    cache, known = _cached(x, ("type", "id", "name", "input"))
    return ToolCall(call_id, name, arguments, cache, residue(NAME, x, known))


def _tool_result(x: Object, path: str) -> Part:
    call_id = _string(x, "tool_use_id", path)
    failed = read.optional_bool(x.get("is_error"), path + ".is_error") is True
    shape: Object = {}
    parts: tuple[Part, ...] = ()
    if x.get("content") is not None:
        parts = _content(x["content"], path + ".content", shape)
    cache, known = _cached(x, ("type", "tool_use_id", "content"))
    if failed:
        known = (*known, "is_error")
    shape.update(residue(NAME, x, known).fields)
    return ToolResult(call_id, parts, is_error=failed, cache=cache, extra=_extra(shape))


# --- media ----------------------------------------------------------------------------------


def _source(x: Object, name: str | None) -> tuple[Source, tuple[str, ...]] | None:
    """The source and its known members, or None for one that the model has no word for."""
    source = x.get("source")
    match source:
        case {"type": "base64", "data": str(data), "media_type": str(media_type)}:
            known = ("type", "data", "media_type")
            return Source(data=data, media_type=media_type, name=name), known
        case {"type": "url", "url": str(url)}:
            return Source(url=url, name=name), ("type", "url")
        case {"type": "file", "file_id": str(file_id)}:
            return Source(file_id=file_id, name=name), ("type", "file_id")
        case {"type": "text", "data": str(data), "media_type": str(media_type)}:
            coded = base64.b64encode(data.encode("utf-8", "surrogatepass")).decode()
            known = ("type", "data", "media_type")
            return Source(data=coded, media_type=media_type, name=name), known
        case _:
            return None


def _image(x: Object) -> Part:
    found = _source(x, None)
    if found is None or _type_of(x) == "text":
        return OpaquePart(Extra(NAME, x))
    source, inner = found
    cache, known = _cached(x, ("type",))
    return Image(source, None, cache, residue(NAME, x, known, {"source": inner}))


def _document(x: Object, path: str) -> Part:
    found = _source(x, read.optional_string(x.get("title"), path + ".title"))
    if found is None:
        return OpaquePart(Extra(NAME, x))
    source, inner = found
    cache, known = _cached(x, ("type", "title"))
    extra = residue(NAME, x, known, {"source": inner})
    kind = _type_of(x)
    if source.data is not None and kind != source_type(source.media_type):
        extra = Extra(NAME, {**extra.fields, SOURCE: kind})
    return Document(source, cache, extra)


def source_type(media_type: str | None) -> str:
    """How a document's bytes travel: text as text, all else as base64."""
    return "text" if media_type == _TEXT_TYPE else "base64"


def _type_of(x: Object) -> Json:
    source = x["source"]
    return source.get("type") if isinstance(source, dict) else None
