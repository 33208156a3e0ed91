"""Converse messages: their content blocks to canonical parts.

Takes lists of blocks; gives parts whose `extra` fills gaps when they are written
again. A block that the canonical model has no word for, or could not write again
exactly, is an `OpaquePart`. A `cachePoint` marks the part before it. Raises
`InvalidRequest` with the path of what is wrong. It reads only; `blocks` writes.
"""

from __future__ import annotations

import base64
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import TypeAlias

from extproc.dialects import _reading as read
from extproc.dialects._extras import residue
from extproc.dialects._media import format_of, type_of
from extproc.dialects._signatures import unwrap
from extproc.dialects._tools import arguments_text
from extproc.dialects.bedrock_converse.words import AS_JSON, AS_TEXT, NAME, WITHIN, read_mark
from extproc.model.chat import (
    Audio,
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
_Read: TypeAlias = Callable[[Object, str], Part | None]

_TURNS = {"user": Role.USER, "assistant": Role.ASSISTANT}
_ROLES = {**_TURNS, "system": Role.SYSTEM}
SERVER_USE = "server_tool_use"
"""the type of a call that the provider itself answers"""
_MARKED = b"sluice1."
_USE = ("toolUseId", "name", "input")


def parse_messages(value: Json) -> tuple[Message, ...]:
    items = read.expect_list(value, "messages")
    return tuple([_plain(item) or _message(item, f"messages[{i}]") for i, item in enumerate(items)])


def _plain(x: Json) -> Message | None:
    """A turn of a form that most have, at once; None for one that must be looked at."""
    if not isinstance(x, dict) or len(x) != 2:
        return None
    content, word = x.get("content"), x.get("role")
    role = _TURNS.get(word) if isinstance(word, str) else None
    if role is None or not isinstance(content, list):
        return None
    parts: list[Part] = []
    for block in content:
        part = _usual(block)
        if part is None:
            return None
        parts.append(part)
    return Message(role, tuple(parts))


def _usual(x: Json) -> Part | None:
    """A block of a form that most have, at once; None for one that must be looked at."""
    if not isinstance(x, dict) or len(x) != 1:
        return None
    if isinstance(text := x.get("text"), str):
        return Text(text)
    if isinstance(use := x.get("toolUse"), dict) and len(use) == len(_USE) and "input" in use:
        call_id, name = use.get("toolUseId"), use.get("name")
        if isinstance(call_id, str) and isinstance(name, str):
            return ToolCall(call_id, name, arguments_text(use["input"]))
    if isinstance(result := x.get("toolResult"), dict) and len(result) == 2:
        call_id, content = result.get("toolUseId"), result.get("content")
        one = content[0] if isinstance(content, list) and len(content) == 1 else None
        text = one.get("text") if isinstance(one, dict) and len(one) == 1 else None
        if isinstance(call_id, str) and isinstance(text, str):
            return ToolResult(call_id, (Text(text),))
    return None


def parse_system(value: Json) -> Message:
    """The blocks before the messages, as one message."""
    return Message(Role.SYSTEM, parse_blocks(value, "system"))


def parse_blocks(value: Json, path: str) -> tuple[Part, ...]:
    parts: list[Part] = []
    for i, item in enumerate(read.expect_list(value, path)):
        if (part := _usual(item)) is not None:
            parts.append(part)
            continue
        x = read.expect_object(item, f"{path}[{i}]")
        if not (parts and "cachePoint" in x and _mark_last(parts, x)):
            parts.append(_part(x, f"{path}[{i}]"))
    return tuple(parts)


def _message(value: Json, path: str) -> Message:
    x = read.expect_object(value, path)
    for member in ("role", "content"):
        if member not in x:
            raise read.missing(f"{path}.{member}")
    word = read.expect_string(x["role"], path + ".role")
    role = _ROLES.get(word)
    if role is None:
        message = f"{path}.role must be one of {', '.join(_ROLES)}, got {word[:64]!r}"
        raise InvalidRequest(message, param=path + ".role", code="invalid_value")
    parts = parse_blocks(x["content"], path + ".content")
    extra = residue(NAME, x, ("role", "content"))
    if role is Role.SYSTEM:
        extra = Extra(NAME, {WITHIN: True, **extra.fields})
    return Message(role, parts, extra=extra)


def _mark_last(parts: list[Part], x: Object) -> bool:
    """Whether the cache point could be kept as a mark of the part before it."""
    last = parts[-1]
    mark = read_mark(x["cachePoint"]) if len(x) == 1 else None
    if mark is None:
        return False
    if not isinstance(last, Text | Image | Document | ToolCall | ToolResult):
        return False
    if last.cache is not None:
        return False
    parts[-1] = replace(last, cache=mark)
    return True


def _part(x: Object, path: str) -> Part:
    if len(x) == 1:
        name = next(iter(x))
        if (reader := _READERS.get(name)) is not None:
            part = reader(x, path)
            if part is not None:
                return part
    return OpaquePart(Extra(NAME, x))


def _text(x: Object, path: str) -> Part:
    return Text(read.expect_string(x["text"], path + ".text"))


def _image(x: Object, path: str) -> Part | None:
    image = read.expect_object(x["image"], path + ".image")
    source = _source(image, "image/")
    if source is None:
        return None
    return Image(source, extra=residue(NAME, x, (), {"image": ("format", "source")}))


def _source(block: Object, family: str) -> Source | None:
    """Bytes or a place in S3, when its format can be told again from the media type."""
    short, source = block.get("format"), block.get("source")
    if not isinstance(short, str) or not isinstance(source, dict) or len(source) != 1:
        return None
    media_type = type_of(short)
    if media_type is None or format_of(media_type) != short or not media_type.startswith(family):
        return None
    data, place = source.get("bytes"), source.get("s3Location")
    if isinstance(data, str):
        return Source(data=data, media_type=media_type)
    uri = place.get("uri") if isinstance(place, dict) and len(place) == 1 else None
    if isinstance(uri, str) and uri.startswith("s3://"):
        return Source(url=uri, media_type=media_type)
    return None


def _audio(x: Object, path: str) -> Part | None:
    audio = read.expect_object(x["audio"], path + ".audio")
    source, short = audio.get("source"), audio.get("format")
    data = source.get("bytes") if isinstance(source, dict) and len(source) == 1 else None
    if not isinstance(data, str) or not isinstance(short, str):
        return None
    extra = residue(NAME, x, (), {"audio": ("format", "source")})
    return Audio(Source(data=data, media_type=type_of(short)), short, extra)


def _document(x: Object, path: str) -> Part | None:
    document = read.expect_object(x["document"], path + ".document")
    if "name" not in document:
        raise read.missing(path + ".document.name")
    name = read.expect_string(document["name"], path + ".document.name")
    extra = residue(NAME, x, (), {"document": ("format", "name", "source")})
    found = _source(document, "")
    if found is None:
        source = document.get("source")
        text = source.get("text") if isinstance(source, dict) and len(source) == 1 else None
        if not isinstance(text, str):
            return None
        data = base64.b64encode(text.encode("utf-8", "surrogatepass")).decode()
        found = _source({**document, "source": {"bytes": data}}, "text/")
        if found is None:
            return None
        extra = Extra(NAME, {AS_TEXT: True, **extra.fields})
    return Document(replace(found, name=name), extra=extra)


def _guard(x: Object, path: str) -> Part | None:
    """Text for a guardrail to look at: to any other provider it is text."""
    guarded = read.expect_object(x["guardContent"], path + ".guardContent").get("text")
    text = guarded.get("text") if isinstance(guarded, dict) else None
    return Text(text, extra=Extra(NAME, x)) if isinstance(text, str) else None


def _citations(x: Object, path: str) -> Part | None:
    cited = read.expect_object(x["citationsContent"], path + ".citationsContent")
    text = cited_text(cited)
    return None if text is None else Text(text, extra=Extra(NAME, x))


def cited_text(cited: Mapping[str, Json]) -> str | None:
    """The words of a `citationsContent`."""
    content = cited.get("content")
    if not isinstance(content, list):
        return None
    texts = [one.get("text") if isinstance(one, dict) else None for one in content]
    said = [text for text in texts if isinstance(text, str)]
    return "".join(said) if len(said) == len(texts) else None


def _reasoning(x: Object, path: str) -> Part | None:
    reasoning = read.expect_object(x["reasoningContent"], path + ".reasoningContent")
    if reasoning.keys() == {"redactedContent"}:
        redacted = read.expect_string(reasoning["redactedContent"], path)
        plain, origin = unwrap_blob(redacted)
        return Thinking(redacted=plain, origin=origin)
    said = reasoning.get("reasoningText")
    if reasoning.keys() != {"reasoningText"} or not isinstance(said, dict):
        return None
    text, signature = said.get("text"), said.get("signature")
    if not isinstance(text, str) or said.keys() - {"text", "signature"}:
        return None
    if "signature" not in said:
        return Thinking(text, origin=NAME)
    if not isinstance(signature, str):
        return None
    signature, origin = unwrap(signature, NAME)
    return Thinking(text, signature, origin=origin)


def unwrap_blob(data: str) -> tuple[str, str]:
    """What a `redactedContent` holds, and who made it: another provider's is wrapped, in base64."""
    try:
        plain = base64.b64decode(data, validate=True)
    except ValueError:
        return data, NAME
    if not plain.startswith(_MARKED):
        return data, NAME
    return unwrap(plain.decode("ascii", "replace"), NAME)


def _tool_use(x: Object, path: str) -> Part | None:
    path += ".toolUse"
    use = read.expect_object(x["toolUse"], path)
    for member in _USE:
        if member not in use:
            raise read.missing(f"{path}.{member}")
    if use.get("type") == SERVER_USE:
        return None
    return ToolCall(
        read.expect_string(use["toolUseId"], path + ".toolUseId"),
        read.expect_string(use["name"], path + ".name"),
        arguments_text(use["input"]),
        extra=residue(NAME, x, (), {"toolUse": _USE}),
    )


def _tool_result(x: Object, path: str) -> Part | None:
    path += ".toolResult"
    result = read.expect_object(x["toolResult"], path)
    for member in ("toolUseId", "content"):
        if member not in result:
            raise read.missing(f"{path}.{member}")
    status = read.optional_string(result.get("status"), path + ".status")
    failed = status == "error"
    known = ("toolUseId", "content", "status") if failed else ("toolUseId", "content")
    content = read.expect_list(result["content"], path + ".content")
    return ToolResult(
        read.expect_string(result["toolUseId"], path + ".toolUseId"),
        tuple(_result(item, f"{path}.content[{i}]") for i, item in enumerate(content)),
        is_error=failed,
        extra=residue(NAME, x, (), {"toolResult": known}),
    )


def _result(value: Json, path: str) -> Part:
    x = read.expect_object(value, path)
    if x.keys() == {"json"}:
        return Text(arguments_text(x["json"]), extra=Extra(NAME, {AS_JSON: True}))
    if "toolUse" in x or "toolResult" in x or "reasoningContent" in x:
        return OpaquePart(Extra(NAME, x))
    return _part(x, path)


_READERS: Mapping[str, _Read] = {
    "text": _text,
    "image": _image,
    "audio": _audio,
    "document": _document,
    "guardContent": _guard,
    "citationsContent": _citations,
    "reasoningContent": _reasoning,
    "toolUse": _tool_use,
    "toolResult": _tool_result,
}
