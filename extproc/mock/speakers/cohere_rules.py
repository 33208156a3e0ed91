"""What Cohere's API refuses, as far as clients and gateways get it wrong.

Takes a request's fields; gives the words of the first refusal, or None. All of
them are of status 400.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import cast

Fields = Mapping[str, object]

_ROLES = ("system", "user", "assistant", "tool")
_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_MOST_STOPS = 5
_MOST_TEXTS = 96
_NUMBERS = {
    "temperature": (0, 5),
    "p": (0.01, 0.99),
    "k": (0, 500),
    "frequency_penalty": (0, 1),
    "presence_penalty": (0, 1),
    "max_tokens": (0, 1 << 31),
    "seed": (0, 1 << 64),
}
_PARTS = {
    "system": ("text",),
    "user": ("text", "image_url"),
    "assistant": ("text", "thinking"),
    "tool": ("text", "document"),
}
_CHAT = frozenset(
    {
        *_NUMBERS,
        *("model", "messages", "stream", "tools", "strict_tools", "tool_choice", "documents"),
        *("citation_options", "response_format", "safety_mode", "stop_sequences", "logprobs"),
        *("thinking", "priority"),
    }
)
_KINDS = ("float", "int8", "uint8", "binary", "ubinary", "base64")
_PURPOSES = ("search_document", "search_query", "classification", "clustering", "image")


def objects(value: object) -> list[Fields]:
    """The objects of a list; of anything else, none."""
    items = cast("list[object]", value) if isinstance(value, list) else []
    return [cast("Fields", item) for item in items if isinstance(item, dict)]


def wrong(fields: Fields) -> str | None:
    """The first thing that `/v2/chat` would not take."""
    for check in (_required(fields, "model", "messages"), _settings(fields), _tools(fields)):
        for found in check:
            return found
    return next(_conversation(fields), None)


def wrong_embed(fields: Fields) -> str | None:
    """The first thing that `/v2/embed` would not take."""
    for found in _required(fields, "model"):
        return found
    texts = fields.get("texts")
    if not texts and not fields.get("images") and not fields.get("inputs"):
        return "invalid request: one of texts, images or inputs must be provided"
    if texts is not None and not _all_strings(texts):
        return "invalid type: parameter texts is of type list but should be of type []string"
    if isinstance(texts, list) and len(cast("list[object]", texts)) > _MOST_TEXTS:
        return f"invalid request: total number of texts must be at most {_MOST_TEXTS}"
    if fields.get("input_type") not in _PURPOSES:
        return "invalid request: valid input_type must be provided with the provided model"
    kinds = fields.get("embedding_types")
    if kinds is not None and not set(cast("list[str]", kinds)) <= set(_KINDS):
        return f"invalid request: embedding_types must be of {', '.join(_KINDS)}"
    return None


def wrong_rerank(fields: Fields) -> str | None:
    """The first thing that `/v2/rerank` would not take."""
    for found in _required(fields, "model", "query", "documents"):
        return found
    most = fields.get("top_n")
    if most is not None and (not isinstance(most, int) or most < 1):
        return "invalid request: top_n must be at least 1"
    return None


def _required(fields: Fields, *names: str) -> Iterator[str]:
    for name in names:
        if not fields.get(name):
            yield f"invalid request: {name} is required"


def _all_strings(value: object) -> bool:
    return isinstance(value, list) and all(isinstance(v, str) for v in cast("list[object]", value))


def _settings(fields: Fields) -> Iterator[str]:
    for name in fields:
        if name not in _CHAT:
            yield f"unknown field: parameter '{name}' is not a valid field"
    for name, (least, most) in _NUMBERS.items():
        value = fields.get(name)
        if value is None:
            continue
        if isinstance(value, bool) or not isinstance(value, int | float):
            yield f"invalid type: parameter {name} should be a number"
        elif not least <= value <= most:
            yield f"invalid request: {name} must be between {least} and {most} inclusive"
    stop = fields.get("stop_sequences")
    if stop is not None and not _all_strings(stop):
        yield "invalid type: parameter stop_sequences should be of type []string"
    if isinstance(stop, list) and len(cast("list[object]", stop)) > _MOST_STOPS:
        yield f"invalid request: at most {_MOST_STOPS} stop_sequences are supported"
    match fields.get("thinking"):
        case None | {"type": "disabled"}:
            pass
        case {"type": "enabled", **rest}:
            budget = rest.get("token_budget", 1)
            if not isinstance(budget, int) or budget < 1:
                yield "invalid request: thinking.token_budget must be a positive integer"
            if "nothink" in str(fields.get("model")):
                yield "invalid request: this model does not support thinking"
        case _:
            yield "invalid request: thinking.type must be one of enabled, disabled"
    match fields.get("response_format"):
        case None | {"type": "text"}:
            pass
        case {"type": "json_object"}:
            if fields.get("tools") or fields.get("documents"):
                yield "invalid request: response_format is not supported with tools or documents"
        case _:
            yield "invalid request: response_format.type must be one of text, json_object"


def _tools(fields: Fields) -> Iterator[str]:
    tools = fields.get("tools")
    if fields.get("tool_choice") not in (None, "REQUIRED", "NONE"):
        yield "invalid request: tool_choice must be one of REQUIRED, NONE"
    if fields.get("tool_choice") is not None and not tools:
        yield "invalid request: tool_choice can only be used with tools"
    if tools is None:
        return
    if not isinstance(tools, list):
        yield "invalid type: parameter tools should be a list"
        return
    for i, tool in enumerate(cast("list[object]", tools)):
        match tool:
            case {"type": "function", "function": {"name": str(name), "parameters": dict()}}:
                if not _NAME.fullmatch(name):
                    yield f"invalid request: tools[{i}].function.name has characters that no name has"
            case _:
                yield f"invalid request: tools[{i}] must be a function with name and parameters"


def _conversation(fields: Fields) -> Iterator[str]:
    """The system speaks first and once; every call is answered before anybody else speaks."""
    waiting: dict[str, None] = {}
    messages = objects(fields.get("messages"))
    for i, message in enumerate(messages):
        where = f"messages[{i}]"
        role = message.get("role")
        if role not in _ROLES:
            yield f"invalid request: {where}.role must be one of {', '.join(_ROLES)}"
        if role == "system" and i and messages[i - 1].get("role") != "system":
            yield f"invalid request: {where}: a system message must be the first"
        yield from _content(message, str(role), where)
        if role == "tool":
            call = message.get("tool_call_id")
            if call not in waiting:
                yield f"invalid request: {where}: tool_call_id {call!r} was not called before"
            waiting.pop(cast(str, call), None)
        elif waiting:
            yield f"invalid request: {where}: no result of tool calls {', '.join(waiting)}"
        for call in objects(message.get("tool_calls")):
            match call:
                case {"id": str(ident), "type": "function",
                      "function": {"name": str(), "arguments": str()}} if ident:  # fmt: skip
                    waiting[ident] = None
                case _:
                    yield f"invalid request: {where}.tool_calls has a call that is none"
    if waiting:
        yield f"invalid request: no result of tool calls {', '.join(waiting)}"


def _content(message: Fields, role: str, where: str) -> Iterator[str]:
    content = message.get("content")
    if not content and not (role == "assistant" and message.get("tool_calls")):
        yield f"invalid request: {where}.content must not be empty"
    if isinstance(content, str) or not content:
        return
    if not isinstance(content, list):
        yield f"invalid type: {where}.content should be a string or a list"
        return
    known = _PARTS.get(role, ())
    for i, part in enumerate(cast("list[object]", content)):
        kind = cast(Fields, part).get("type") if isinstance(part, dict) else None
        if kind not in known or not cast(Fields, part).get(str(kind)):
            yield f"invalid request: {where}.content[{i}] must be of {', '.join(known)}"
