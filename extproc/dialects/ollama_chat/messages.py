"""Ollama messages: their JSON to canonical messages and parts.

Calls without ids (servers before November 2025 gave none) get ids made of their
place, and results without an id belong to the earliest call of their name that
has no result yet. Raises `InvalidRequest` with the path of what is wrong.
"""

from __future__ import annotations

from typing import TypeAlias

from extproc.dialects import _reading as read
from extproc.dialects._extras import SHAPE, residue
from extproc.dialects._media import source_of
from extproc.dialects._tools import arguments_text, minted_id
from extproc.dialects.ollama_chat.words import INDEX, MINTED, NAME
from extproc.model.chat import (
    NOTHING,
    Extra,
    Image,
    Json,
    Message,
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

ROLE = SHAPE + "role"
"""the role as the client spelled it: servers do not mind capitals"""
_ROLES = {role.value: role for role in Role}
_SPEAKERS = {word: role for word, role in _ROLES.items() if role is not Role.TOOL}
_KINDS = (
    ("iVBORw0KGgo", "image/png"),
    ("/9j/", "image/jpeg"),
    ("R0lGOD", "image/gif"),
    ("UklGR", "image/webp"),
)
"""how base64 of a picture begins"""


def parse_messages(items: list[Json]) -> tuple[Message, ...]:
    """The value of `messages`."""
    reader = _Reader()
    return tuple(
        [
            reader.usual(item) or reader.message(item, f"messages[{i}]")
            for i, item in enumerate(items)
        ]
    )


class _Reader:
    """Reads one conversation, and knows which calls still wait for their result."""

    __slots__ = ("_calls", "_waiting")

    def __init__(self) -> None:
        self._calls = 0
        self._waiting: list[ToolCall] = []

    def usual(self, x: Json) -> Message | None:
        """A text, or a result of a call, of a form that most have; None for what must be looked at."""
        if not isinstance(x, dict):
            return None
        word, content = x.get("role"), x.get("content")
        if not isinstance(content, str) or not content or not isinstance(word, str):
            return None
        if len(x) == 2:
            role = _SPEAKERS.get(word)
            return None if role is None else Message(role, (Text(content),))
        call_id, name = x.get("tool_call_id"), x.get("tool_name")
        if word != "tool" or len(x) != 4 or not (isinstance(call_id, str) and call_id):
            return None
        if not isinstance(name, str) or not name:
            return None
        result = self._result(x, "", (Text(content),), {})
        return Message(Role.TOOL, (result,))

    def message(self, value: Json, path: str) -> Message:
        x = read.expect_object(value, path)
        if "role" not in x:
            raise read.missing(path + ".role")
        word = read.expect_string(x["role"], path + ".role")
        shape: Object = {}
        role = _ROLES.get(word)
        if role is None:
            role = _ROLES.get(word.lower())
            shape[ROLE] = word
        if role is None:
            known = ", ".join(_ROLES)
            message = f"{path}.role must be one of {known}, got {word[:64]!r}"
            raise InvalidRequest(message, param=path + ".role", code="invalid_value")
        parts = _content(x, path, shape)
        if "images" in x:
            parts.extend(images(x, path, shape))
        if role is Role.TOOL:
            result = self._result(x, path, tuple(parts), shape)
            return Message(role, (result,), None, _extra(x, _TOOL, shape))
        if role is not Role.ASSISTANT:
            return Message(role, tuple(parts), None, _extra(x, _PLAIN, shape))
        thought = read.optional_string(x.get("thinking"), path + ".thinking")
        if thought:
            parts.insert(0, Thinking(thought, origin=NAME))
        elif "thinking" in x:
            shape["thinking"] = thought
        calls = x.get("tool_calls")
        if calls:
            for i, call in enumerate(read.expect_list(calls, path + ".tool_calls")):
                parts.append(self._call(call, f"{path}.tool_calls[{i}]"))
        elif "tool_calls" in x:
            shape["tool_calls"] = calls
        return Message(role, tuple(parts), None, _extra(x, _ASSISTANT, shape))

    def _call(self, value: Json, path: str) -> ToolCall:
        call = _usual_call(value)
        if call is not None:
            self._calls += 1
            self._waiting.append(call)
            return call
        x = read.expect_object(value, path)
        if "function" not in x:
            raise read.missing(path + ".function")
        function = read.expect_object(x["function"], path + ".function")
        if "name" not in function:
            raise read.missing(path + ".function.name")
        name = read.expect_string(function["name"], path + ".function.name")
        arguments = function.get("arguments")
        text = ""
        if arguments is not None:
            read.expect_object(arguments, path + ".function.arguments")
            text = arguments_text(arguments)
        call_id = read.optional_string(x.get("id"), path + ".id") or ""
        known = ("id",) if call_id else ()
        rest = residue(NAME, x, known, {"function": ("name", "arguments", "index")})
        shape: Object = dict(rest.fields)
        if "index" in function:
            shape[INDEX] = function["index"]
        self._calls += 1
        if not call_id:
            call_id = minted_id(NAME, self._calls, name)
            shape[MINTED] = True
        call = ToolCall(call_id, name, text, extra=Extra(NAME, shape) if shape else NOTHING)
        self._waiting.append(call)
        return call

    def _result(self, x: Object, path: str, parts: tuple[Part, ...], shape: Object) -> ToolResult:
        call_id = read.optional_string(x.get("tool_call_id"), path + ".tool_call_id") or ""
        name = read.optional_string(x.get("tool_name"), path + ".tool_name") or None
        if not call_id and "tool_call_id" in x:
            shape["tool_call_id"] = x["tool_call_id"]
        if name is None and "tool_name" in x:
            shape["tool_name"] = x["tool_name"]
        waiting = self._answered(call_id, name)
        if waiting is not None:
            self._waiting.remove(waiting)
        if not call_id:
            shape[MINTED] = True
            call_id = minted_id(NAME, path) if waiting is None else waiting.id
        return ToolResult(call_id, parts, name=name)

    def _answered(self, call_id: str, name: str | None) -> ToolCall | None:
        """The call that this result is for, if it is among those that wait."""
        for call in self._waiting:
            if call.id == call_id or (not call_id and name in (None, call.name)):
                return call
        return None if call_id or not self._waiting else self._waiting[0]


def _usual_call(x: Json) -> ToolCall | None:
    """A call with an id, a name and arguments, as most are; None for any other."""
    function = x.get("function") if isinstance(x, dict) and len(x) == 2 else None
    if not isinstance(x, dict) or not isinstance(function, dict) or len(function) != 2:
        return None
    call_id, name, arguments = x.get("id"), function.get("name"), function.get("arguments")
    if not isinstance(call_id, str) or not isinstance(name, str) or not call_id:
        return None
    return (
        ToolCall(call_id, name, arguments_text(arguments)) if isinstance(arguments, dict) else None
    )


_PLAIN = frozenset({"role", "content", "images"})
_TOOL = _PLAIN | {"tool_call_id", "tool_name"}
_ASSISTANT = _PLAIN | {"thinking", "tool_calls"}


def _extra(x: Object, known: frozenset[str], shape: Object) -> Extra:
    for name, value in x.items():
        if name not in known:
            shape[name] = value
    return Extra(NAME, shape) if shape else NOTHING


def _content(x: Object, path: str, shape: Object) -> list[Part]:
    content = read.optional_string(x.get("content"), path + ".content")
    if content:
        return [Text(content)]
    if "content" in x:
        shape["content"] = content
    return []


def images(x: Object, path: str, shape: Object) -> list[Part]:
    """The pictures of a message; a `data:` prefix that a client left on is taken off."""
    value = x.get("images")
    if not value:
        if "images" in x:
            shape["images"] = value
        return []
    where = path + ".images" if path else "images"
    found: list[Part] = []
    for i, item in enumerate(read.expect_list(value, where)):
        data = read.expect_string(item, f"{where}[{i}]")
        if data.startswith(("http:", "https:")):
            message = f"{where}[{i}] must be base64; addresses of pictures are not fetched"
            raise InvalidRequest(message, param=f"{where}[{i}]", code="invalid_value")
        source = source_of(data)
        found.append(Image(source if source.data is not None else _plain(data)))
    return found


def _plain(data: str) -> Source:
    kind = next((kind for start, kind in _KINDS if data.startswith(start)), None)
    return Source(data=data, media_type=kind)
