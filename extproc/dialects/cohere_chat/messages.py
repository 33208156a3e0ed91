"""Cohere messages: their JSON to canonical messages and parts.

What the canonical model holds goes there; all the rest stays in `extra` (see
`_extras`). A plan for tools is reasoning; a document in a tool's result is text,
which remembers how it was written. Raises `InvalidRequest` with the path of what
is wrong.
"""

from __future__ import annotations

import base64
from typing import TypeAlias

from extproc.codec import jsontext
from extproc.dialects import _reading as read
from extproc.dialects._media import source_of
from extproc.dialects._tools import minted_id
from extproc.dialects.cohere_chat.words import (
    BARE,
    CONTENT,
    DOCUMENT,
    MINTED,
    NAME,
    NO_ARGUMENTS,
    PLAN,
    residue,
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
    Role,
    Source,
    Text,
    Thinking,
    ToolCall,
    ToolResult,
)
from extproc.model.errors import InvalidRequest

Object: TypeAlias = dict[str, Json]

_ROLES = {role.value: role for role in Role if role is not Role.DEVELOPER}
_SPEAKERS = {word: role for word, role in _ROLES.items() if role is not Role.TOOL}
_WORDS = ("text", "snippet", "content")
"""members of a document that hold what it says, best first"""


def parse_messages(items: list[Json]) -> tuple[Message, ...]:
    return tuple([_usual(item) or _message(item, f"messages[{i}]") for i, item in enumerate(items)])


def _usual(x: Json) -> Message | None:
    """A text, or a result of a call, of a form that most have; None for what must be looked at."""
    if not isinstance(x, dict):
        return None
    word, content = x.get("role"), x.get("content")
    if not isinstance(content, str) or not content or not isinstance(word, str):
        return None
    if len(x) == 2:
        role = _SPEAKERS.get(word)
        return None if role is None else Message(role, (Text(content),))
    call_id = x.get("tool_call_id")
    if word != "tool" or len(x) != 3 or not isinstance(call_id, str):
        return None
    return Message(Role.TOOL, (ToolResult(call_id, (Text(content),)),))


def _message(value: Json, path: str) -> Message:
    x = read.expect_object(value, path)
    if "role" not in x:
        raise read.missing(path + ".role")
    word = read.expect_string(x["role"], path + ".role")
    role = _ROLES.get(word)
    if role is None:
        message = f"{path}.role must be one of {', '.join(_ROLES)}, got {word[:64]!r}"
        raise InvalidRequest(message, param=path + ".role", code="invalid_value")
    shape: Object = {}
    parts = _content(x, path, shape)
    match role:
        case Role.TOOL:
            if "tool_call_id" not in x:
                raise read.missing(path + ".tool_call_id")
            call_id = read.expect_string(x["tool_call_id"], path + ".tool_call_id")
            known = _TOOL
            parts = [ToolResult(call_id, tuple(parts))]
        case Role.ASSISTANT:
            known = _ASSISTANT
            plan = read.optional_string(x.get("tool_plan"), path + ".tool_plan")
            if plan:
                parts.insert(0, Thinking(plan, origin=NAME, extra=Extra(NAME, {PLAN: True})))
            elif "tool_plan" in x:
                shape["tool_plan"] = plan
            parts.extend(_calls(x, path, shape))
        case _:
            known = _PLAIN
    shape.update((name, item) for name, item in x.items() if name not in known)
    return Message(role, tuple(parts), None, Extra(NAME, shape) if shape else NOTHING)


_PLAIN = frozenset({"role", "content"})
_TOOL = _PLAIN | {"tool_call_id"}
_ASSISTANT = _PLAIN | {"tool_plan", "tool_calls"}


def _content(x: Object, path: str, shape: Object) -> list[Part]:
    """The parts of `content`. A form that they cannot show again goes to `shape`."""
    content = x.get("content")
    path += ".content"
    if not content:
        if "content" in x:
            shape["content"] = content
        if content not in (None, "", []):
            raise read.type_error(content, path, "a string or an array of parts")
        return []
    if isinstance(content, str):
        return [Text(content)]
    items = read.expect_list(content, path)
    if len(items) == 1:
        shape[CONTENT] = "list"
    return [_part(item, f"{path}[{i}]") for i, item in enumerate(items)]


def _part(value: Json, path: str) -> Part:
    x = read.expect_object(value, path)
    match read.expect_string(x.get("type"), path + ".type"):
        case "text":
            text = read.expect_string(x.get("text"), path + ".text")
            return Text(text, extra=residue(x, ("type", "text")))
        case "thinking":
            text = read.expect_string(x.get("thinking"), path + ".thinking")
            return Thinking(text, origin=NAME, extra=residue(x, ("type", "thinking")))
        case "image_url":
            return _image(x, path)
        case "document":
            document = read.expect_object(x.get("document"), path + ".document")
            return Text(_words(document)[0], extra=Extra(NAME, {DOCUMENT: x}))
        case _:
            return OpaquePart(Extra(NAME, x))


def _image(x: Object, path: str) -> Image:
    shape = read.expect_object(x.get("image_url"), path + ".image_url")
    if "url" not in shape:
        raise read.missing(path + ".image_url.url")
    url = read.expect_string(shape["url"], path + ".image_url.url")
    detail = read.optional_string(shape.get("detail"), path + ".image_url.detail")
    extra = residue(x, ("type",), {"image_url": ("url", "detail")})
    return Image(source_of(url), detail, extra=extra)


# --- calls ----------------------------------------------------------------------------------


def _calls(x: Object, path: str, shape: Object) -> list[Part]:
    calls = x.get("tool_calls")
    path += ".tool_calls"
    if not calls:
        if "tool_calls" in x:
            shape["tool_calls"] = calls
        return []
    items = read.expect_list(calls, path)
    return [_usual_call(item) or _call(item, f"{path}[{i}]") for i, item in enumerate(items)]


def _usual_call(x: Json) -> ToolCall | None:
    """A call with an id, a name and arguments, as most are; None for any other."""
    if not isinstance(x, dict) or len(x) != 3 or x.get("type") != "function":
        return None
    call_id, function = x.get("id"), x.get("function")
    if not isinstance(call_id, str) or not isinstance(function, dict) or len(function) != 2:
        return None
    name, arguments = function.get("name"), function.get("arguments")
    if not isinstance(name, str) or not isinstance(arguments, str) or not call_id:
        return None
    return ToolCall(call_id, name, arguments)


def _call(value: Json, path: str) -> ToolCall:
    x = read.expect_object(value, path)
    function = read.expect_object(x.get("function"), path + ".function")
    if "name" not in function:
        raise read.missing(path + ".function.name")
    call_id = read.optional_string(x.get("id"), path + ".id") or ""
    arguments = read.optional_string(function.get("arguments"), path + ".function.arguments")
    fields: Object = dict(residue(x, ("id", "type"), {"function": ("name", "arguments")}).fields)
    if x.get("type") != "function":
        fields.update({"type": x["type"]} if "type" in x else {BARE: True})
    if arguments is None:
        fields[NO_ARGUMENTS] = True
    if not call_id:
        fields.update({MINTED: True, **({"id": x["id"]} if "id" in x else {})})
        call_id = minted_id(NAME, path)
    name = read.expect_string(function["name"], path + ".function.name")
    return ToolCall(
        call_id, name, arguments or "", extra=Extra(NAME, fields) if fields else NOTHING
    )


# --- documents ------------------------------------------------------------------------------


def parse_documents(items: list[Json]) -> list[Document]:
    """The request's documents as text, each remembering how it was written."""
    return [_document(item, f"documents[{i}]") for i, item in enumerate(items)]


def _document(value: Json, path: str) -> Document:
    if isinstance(value, str):
        text, name = value, None
    else:
        text, name = _words(read.expect_object(value, path))
    data = base64.b64encode(text.encode("utf-8", "replace")).decode()
    source = Source(data=data, media_type="text/plain", name=name)
    return Document(source, extra=Extra(NAME, {DOCUMENT: value}))


def _words(document: Object) -> tuple[str, str | None]:
    """What a document says, and what it is called. Odd members are said in JSON."""
    data = document.get("data")
    if isinstance(data, str):
        return data, None
    if not isinstance(data, dict):
        return jsontext.dumps(document).decode(), None
    title = data.get("title") or document.get("id")
    name = title if isinstance(title, str) else None
    for word in _WORDS:
        text = data.get(word)
        if isinstance(text, str) and not data.keys() - {word, "title"}:
            return text, name
    return jsontext.dumps(data).decode(), name
