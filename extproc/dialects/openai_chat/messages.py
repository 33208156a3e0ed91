"""OpenAI Chat messages: their JSON to canonical messages and parts.

Takes the value of `messages`; gives `Message`s, whose `extra` fills gaps as
`request` explains. Raises `InvalidRequest` with the path of what is
wrong. It reads only; `render` writes.
"""

from __future__ import annotations

import re
from typing import TypeAlias, TypeGuard

from extproc.dialects import _reading as read
from extproc.dialects.openai_chat.words import CONTENT, FIELD, LEGACY, NAME, residue
from extproc.model.chat import (
    NOTHING,
    Audio,
    CacheMark,
    Document,
    Extra,
    Image,
    Json,
    Message,
    OpaquePart,
    Part,
    Refusal,
    Role,
    Source,
    Text,
    Thinking,
    ToolCall,
    ToolResult,
)
from extproc.model.errors import InvalidRequest

Object: TypeAlias = dict[str, Json]

_ROLES = {role.value: role for role in Role}
_SPEAKERS = {word: role for word, role in _ROLES.items() if role is not Role.TOOL}
_ROLE_WORDS = ", ".join((*_ROLES, "function"))
_THINKING_FIELDS = ("reasoning_content", "reasoning")
_DATA_URL = re.compile(r"data:([\w.+-]+/[\w.+-]+);base64,")
CACHE_LIFE = {"30m": 1800, "12h": 43200}
"""the lives of a prompt cache breakpoint, in seconds"""


def parse_messages(value: Json) -> tuple[Message, ...]:
    items = read.expect_list(value, "messages")
    if not items:
        raise InvalidRequest(
            "messages must not be empty; send at least one message",
            param="messages",
            code="empty_array",
        )
    reader = _Reader()
    found = [_usual(item) or reader.message(item, f"messages[{i}]") for i, item in enumerate(items)]
    return tuple(found)


def _usual(value: Json) -> Message | None:
    """A text, a tool's result of a text, or calls of tools, as most are; None for any other."""
    if not isinstance(value, dict):
        return None
    word, content = value.get("role"), value.get("content")
    if not isinstance(word, str):
        return None
    if not isinstance(content, str) or not content:
        return _usual_calls(value) if content is None and word == "assistant" else None
    if len(value) == 2:
        role = _SPEAKERS.get(word)
        return None if role is None else Message(role, (Text(content),))
    call = value.get("tool_call_id")
    if len(value) == 3 and word == "tool" and isinstance(call, str):
        return Message(_RESULTS, (ToolResult(call, (Text(content),)),))
    return None


def _usual_calls(value: Object) -> Message | None:
    """A message of the assistant that has no content: role, calls, and `content` as null if at all."""
    items = value.get("tool_calls")
    if not isinstance(items, list) or not items or len(value) != 2 + ("content" in value):
        return None
    calls: list[ToolCall] = []
    for item in items:
        call = _usual_call(item)
        if call is None:
            return None
        calls.append(call)
    return Message(_MODEL, tuple(calls), None, _NULL if "content" in value else NOTHING)


_MODEL, _RESULTS = Role.ASSISTANT, Role.TOOL
_NULL = Extra(NAME, {"content": None})


class _Reader:
    """Reads one conversation. Function calls of the older kind have no ids, so it counts them."""

    __slots__ = ("_calls",)

    def __init__(self) -> None:
        self._calls = 0

    def message(self, value: Json, path: str) -> Message:
        x = read.expect_object(value, path)
        if "role" not in x:
            raise read.missing(path + ".role")
        word = read.expect_string(x["role"], path + ".role")
        name = read.optional_string(x.get("name"), path + ".name")
        role = _ROLES.get(word)
        if role is None:
            if word == "function":
                return self._function_result(x, name, path)
            message = f"{path}.role must be one of {_ROLE_WORDS}, got {word[:64]!r}"
            raise InvalidRequest(message, param=path + ".role", code="invalid_value")
        if role is Role.ASSISTANT:
            return self._assistant(x, name, path)
        if role is Role.TOOL:
            return _tool_result(x, name, path)
        shape: Object = {}
        parts = _content(x, path, shape)
        return Message(role, parts, name, _extra(x, _PLAIN, shape))

    def _assistant(self, x: Object, name: str | None, path: str) -> Message:
        shape: Object = {}
        parts: list[Part] = []
        for field in _THINKING_FIELDS:
            if field in x:
                thought = x[field]
                if isinstance(thought, str) and thought:
                    parts.append(Thinking(thought, extra=Extra(NAME, {FIELD: field})))
                else:
                    shape[field] = thought
        parts.extend(_content(x, path, shape))
        if "refusal" in x:
            refusal = read.optional_string(x["refusal"], path + ".refusal")
            if refusal:
                parts.append(Refusal(refusal, Extra(NAME, {FIELD: "refusal"})))
            else:
                shape["refusal"] = refusal
        calls = x.get("tool_calls")
        if calls is not None:
            for i, call in enumerate(read.expect_list(calls, path + ".tool_calls")):
                parts.append(_tool_call(call, f"{path}.tool_calls[{i}]"))
        if not calls and "tool_calls" in x:
            shape["tool_calls"] = calls
        if x.get("function_call") is not None:
            parts.append(self._function_call(x["function_call"], path + ".function_call"))
        elif "function_call" in x:
            shape["function_call"] = None
        return Message(Role.ASSISTANT, tuple(parts), name, _extra(x, _ASSISTANT, shape))

    def _function_call(self, value: Json, path: str) -> ToolCall:
        x = read.expect_object(value, path)
        name, arguments = _called(x, path)
        self._calls += 1
        extra = residue(x, _FUNCTION)
        return ToolCall(
            self._last_call, name, arguments, extra=Extra(NAME, {LEGACY: True, **extra.fields})
        )

    def _function_result(self, x: Object, name: str | None, path: str) -> Message:
        if name is None:
            raise read.missing(path + ".name")
        shape: Object = {LEGACY: True}
        parts = _content(x, path, shape)
        result = ToolResult(self._last_call, parts, name=name)
        return Message(Role.TOOL, (result,), None, _extra(x, _PLAIN, shape))

    @property
    def _last_call(self) -> str:
        return f"call_function_{self._calls}"


_PLAIN = frozenset({"role", "content", "name"})
_TOOL = _PLAIN | {"tool_call_id"}
_ASSISTANT = _PLAIN | {"tool_calls", "function_call", "refusal", *_THINKING_FIELDS}
_FUNCTION = ("name", "arguments")


def _extra(x: Object, known: frozenset[str], shape: Object) -> Extra:
    for name, value in x.items():
        if name not in known or (name == "name" and value is None):
            shape[name] = value
    return Extra(NAME, shape) if shape else NOTHING


def _tool_result(x: Object, name: str | None, path: str) -> Message:
    if "tool_call_id" not in x:
        raise read.missing(path + ".tool_call_id")
    call = read.expect_string(x["tool_call_id"], path + ".tool_call_id")
    shape: Object = {}
    result = ToolResult(call, _content(x, path, shape), name=name)
    return Message(Role.TOOL, (result,), None, _extra(x, _TOOL, shape))


def _tool_call(value: Json, path: str) -> ToolCall:
    return _usual_call(value) or _any_call(read.expect_object(value, path), path)


def _usual_call(value: Json) -> ToolCall | None:
    """A call with nothing odd about it; None for any other."""
    if not isinstance(value, dict) or len(value) != 3 or value.get("type") != "function":
        return None
    call_id, function = value.get("id"), value.get("function")
    if not isinstance(call_id, str) or not call_id:
        return None
    if not isinstance(function, dict) or len(function) != 2:
        return None
    name, arguments = function.get("name"), function.get("arguments")
    if not isinstance(name, str) or not isinstance(arguments, str):
        return None
    return ToolCall(call_id, name, arguments)


def _any_call(x: Object, path: str) -> ToolCall:
    call_id = read.optional_string(x.get("id"), path + ".id") or ""
    kind = read.optional_string(x.get("type"), path + ".type")
    known = (("id",) if call_id else ()) + (("type",) if kind == "function" else ())
    shape: Object = {} if "type" in x else {FIELD: "untyped"}
    if kind == "custom":
        custom = _object(x, "custom", path)
        shape.update(residue(x, known, {"custom": _CUSTOM}).fields)
        name = _member(custom, "name", path + ".custom")
        text = _member(custom, "input", path + ".custom")
        return ToolCall(call_id, name, text, extra=Extra(NAME, shape))
    name, text = _called(_object(x, "function", path), path + ".function")
    shape.update(residue(x, known, {"function": _FUNCTION}).fields)
    return ToolCall(call_id, name, text, extra=Extra(NAME, shape) if shape else NOTHING)


_CUSTOM = ("name", "input")


def _called(function: Object, path: str) -> tuple[str, str]:
    for member in _FUNCTION:
        if member not in function:
            raise read.missing(f"{path}.{member}")
    name = read.expect_string(function["name"], path + ".name")
    return name, read.expect_string(function["arguments"], path + ".arguments")


# --- content --------------------------------------------------------------------------------


def _content(x: Object, path: str, shape: Object) -> tuple[Part, ...]:
    """The parts; what they cannot tell of the content's form goes to `shape`."""
    content = x.get("content")
    if isinstance(content, str):
        if content:
            return (Text(content),)
        shape["content"] = ""
        return ()
    if isinstance(content, list):
        where = path + ".content"
        parts = tuple(_part(item, f"{where}[{i}]") for i, item in enumerate(content))
        if not parts:
            shape["content"] = []
        elif len(parts) == 1 and is_plain(parts[0]):
            shape[CONTENT] = "list"
        return parts
    if content is not None:
        raise read.type_error(content, path + ".content", "a string or an array of parts")
    if "content" in x:
        shape["content"] = None
    return ()


def is_plain(part: Part) -> TypeGuard[Text]:
    """Whether the part can be written as a mere string."""
    return isinstance(part, Text) and part.cache is None and not part.extra.fields


def _part(value: Json, path: str) -> Part:
    x = read.expect_object(value, path)
    if "type" not in x:
        raise read.missing(path + ".type")
    match read.expect_string(x["type"], path + ".type"):
        case "text":
            text = _member(x, "text", path)
            cache = _cache(x)
            return Text(text, cache, residue(x, _known("text", cache)))
        case "image_url":
            return _image(x, path)
        case "input_audio":
            return _audio(x, path)
        case "file":
            return _file(x, path)
        case "refusal":
            return Refusal(_member(x, "refusal", path), residue(x, ("type", "refusal")))
        case _:
            return OpaquePart(Extra(NAME, x))


def _member(x: Object, name: str, path: str) -> str:
    if name not in x:
        raise read.missing(f"{path}.{name}")
    return read.expect_string(x[name], f"{path}.{name}")


def _object(x: Object, name: str, path: str) -> Object:
    if name not in x:
        raise read.missing(f"{path}.{name}")
    return read.expect_object(x[name], f"{path}.{name}")


def _known(name: str, cache: CacheMark | None) -> tuple[str, ...]:
    return ("type", name) if cache is None else ("type", name, "prompt_cache_breakpoint")


def _cache(x: Object) -> CacheMark | None:
    mark = x.get("prompt_cache_breakpoint")
    if not isinstance(mark, dict) or mark.get("mode") != "explicit":
        return None
    if len(mark) == 1:
        return CacheMark()
    life = mark.get("ttl")
    known = len(mark) == 2 and isinstance(life, str) and life in CACHE_LIFE
    return CacheMark(CACHE_LIFE[life]) if known and isinstance(life, str) else None


def _image(x: Object, path: str) -> Part:
    image = _object(x, "image_url", path)
    url = _member(image, "url", path + ".image_url")
    detail = read.optional_string(image.get("detail"), path + ".image_url.detail")
    cache = _cache(x)
    extra = residue(x, _known("image_url", cache), {"image_url": ("url", "detail")})
    return Image(media_source(url), detail, cache, extra)


def media_source(url: str, name: str | None = None) -> Source:
    """A `data:` URL as data and type; any other as it is."""
    head = _DATA_URL.match(url)
    if head is None:
        return Source(url=url, name=name)
    return Source(data=url[head.end() :], media_type=head[1], name=name)


def _audio(x: Object, path: str) -> Part:
    audio = _object(x, "input_audio", path)
    path += ".input_audio"
    extra = residue(x, ("type",), {"input_audio": ("data", "format")})
    data = Source(data=_member(audio, "data", path))
    return Audio(data, read.optional_string(audio.get("format"), path + ".format"), extra)


def _file(x: Object, path: str) -> Part:
    file = _object(x, "file", path)
    path += ".file"
    data = read.optional_string(file.get("file_data"), path + ".file_data")
    file_id = read.optional_string(file.get("file_id"), path + ".file_id")
    name = read.optional_string(file.get("filename"), path + ".filename")
    if (data is None) == (file_id is None):
        return OpaquePart(Extra(NAME, x))
    cache = _cache(x)
    extra = residue(x, _known("file", cache), {"file": ("file_data", "file_id", "filename")})
    if data is None:
        return Document(Source(file_id=file_id, name=name), cache, extra)
    source = media_source(data, name)
    if source.url is not None and not source.url.startswith(("http:", "https:")):
        source = Source(data=data, name=name)
    return Document(source, cache, extra)
