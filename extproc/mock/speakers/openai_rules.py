"""What OpenAI's chat API refuses, as far as clients and gateways get it wrong.

Takes a request's fields; gives the first `Wrong` found, or None. The wording,
codes and parameters are the provider's own.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import cast

Fields = Mapping[str, object]


@dataclass(frozen=True, slots=True)
class Wrong:
    """A refusal with status 400."""

    message: str
    param: str | None = None
    code: str | None = None


_ROLES = ("system", "developer", "user", "assistant", "tool", "function")
_NAME = re.compile(r"[a-zA-Z0-9_-]{1,64}")
_MOST_STOPS = 4
_REASONS = re.compile(r"o\d|gpt-[5-9]")
_NO_STOP = re.compile(r"o3(?!-mini)|o4-mini")
_NO_EFFORT = re.compile(r"gpt-[34]|gpt-5-chat|chatgpt")


def wrong(
    model: str, fields: Fields, messages: Sequence[Fields], longest_id: int = 40
) -> Wrong | None:
    """The first thing that OpenAI would not take."""
    for check in (_settings(model, fields), _tools(fields), _form(fields, messages)):
        for found in check:
            return found
    return next(_conversation(messages, longest_id), None)


def _settings(model: str, fields: Fields) -> Iterator[Wrong]:
    if "max_tokens" in fields and fields["max_tokens"] is not None and _REASONS.match(model):
        yield Wrong(
            "Unsupported parameter: 'max_tokens' is not supported with this model."
            " Use 'max_completion_tokens' instead.",
            "max_tokens",
            "unsupported_parameter",
        )
    stop = fields.get("stop")
    if stop and _NO_STOP.match(model):
        message = "Unsupported parameter: 'stop' is not supported with this model."
        yield Wrong(message, "stop", "unsupported_parameter")
    if isinstance(stop, list) and len(cast("list[object]", stop)) > _MOST_STOPS:
        message = "Invalid 'stop': array too long. Expected an array with maximum length 4."
        yield Wrong(message, "stop", "array_above_max_length")
    if fields.get("reasoning_effort") is not None and _NO_EFFORT.match(model):
        message = "Unrecognized request argument supplied: reasoning_effort"
        yield Wrong(message, "reasoning_effort", "unrecognized_argument")
    if fields.get("top_logprobs") is not None and fields.get("logprobs") is not True:
        message = "The 'top_logprobs' parameter is only allowed when 'logprobs' is enabled."
        yield Wrong(message, "top_logprobs")


def _tools(fields: Fields) -> Iterator[Wrong]:
    tools = fields.get("tools")
    for name in ("tool_choice", "parallel_tool_calls"):
        if fields.get(name) is not None and not tools:
            message = f"'{name}' is only allowed when 'tools' are specified."
            yield Wrong(message, name)
    if tools is None:
        return
    if not isinstance(tools, list) or not tools:
        yield Wrong("Invalid 'tools': empty array.", "tools", "empty_array")
        return
    for i, tool in enumerate(cast("list[object]", tools)):
        match tool:
            case {"type": "function", "function": {"name": str(name)}} if not _NAME.fullmatch(name):
                where = f"tools[{i}].function.name"
                message = (
                    f"Invalid '{where}': string does not match pattern."
                    " Expected a string that matches the pattern '^[a-zA-Z0-9_-]+$'."
                )
                yield Wrong(message, where, "invalid_value")
            case {"type": "function", "function": {"name": str()}} | {"type": "custom"}:
                continue
            case _:
                message = f"Missing required parameter: 'tools[{i}].function.name'."
                yield Wrong(message, f"tools[{i}]", "missing_required_parameter")


def _form(fields: Fields, messages: Sequence[Fields]) -> Iterator[Wrong]:
    match fields.get("response_format"):
        case {"type": "json_object"}:
            if "json" not in repr(messages).lower():
                yield Wrong(
                    "'messages' must contain the word 'json' in some form, to use"
                    " 'response_format' of type 'json_object'.",
                    "messages",
                )
        case {"type": "json_schema", "json_schema": {"name": str(name)}} if _NAME.fullmatch(name):
            return
        case {"type": "json_schema"}:
            where = "response_format.json_schema.name"
            message = f"Missing required parameter: '{where}'."
            yield Wrong(message, where, "missing_required_parameter")
        case _:
            return


def _conversation(messages: Sequence[Fields], longest_id: int) -> Iterator[Wrong]:
    """Every call is answered before anybody else speaks, and nothing else is."""
    waiting: dict[str, None] = {}
    for i, message in enumerate(messages):
        where = f"messages[{i}]"
        role = message.get("role")
        if role not in _ROLES:
            expected = ", ".join(f"'{one}'" for one in _ROLES)
            text = f"Invalid value: {role!r}. Supported values are: {expected}."
            yield Wrong(text, f"{where}.role", "invalid_value")
        if role == "tool":
            call = message.get("tool_call_id")
            if call not in waiting:
                text = (
                    "Invalid parameter: messages with role 'tool' must be a response to a"
                    " preceeding message with 'tool_calls'."
                )
                yield Wrong(text, f"{where}.role")
            waiting.pop(cast(str, call), None)
        elif waiting:
            yield _unanswered(waiting, where)
        yield from _content(message, role, where)
        calls = message.get("tool_calls")
        if role == "assistant" and isinstance(calls, list):
            yield from _calls(cast("list[object]", calls), waiting, where, longest_id)
    if waiting:
        yield _unanswered(waiting, f"messages[{len(messages)}]")


def _unanswered(waiting: Mapping[str, None], where: str) -> Wrong:
    return Wrong(
        "An assistant message with 'tool_calls' must be followed by tool messages responding to"
        " each 'tool_call_id'. The following tool_call_ids did not have response messages: "
        + ", ".join(waiting),
        f"{where}.role",
    )


def _calls(
    calls: Sequence[object], waiting: dict[str, None], where: str, longest_id: int
) -> Iterator[Wrong]:
    for i, call in enumerate(calls):
        at = f"{where}.tool_calls[{i}]"
        match call:
            case {"id": str(ident), "function": {"name": str(name), "arguments": str()}}:
                if len(ident) > longest_id:
                    text = f"Invalid '{at}.id': string too long. Expected at most {longest_id}."
                    yield Wrong(text, f"{at}.id", "string_above_max_length")
                if not _NAME.fullmatch(name):
                    text = f"Invalid '{at}.function.name': string does not match pattern."
                    yield Wrong(text, f"{at}.function.name", "invalid_value")
                waiting[ident] = None
            case {"id": str(ident), "custom": {"name": str(), "input": str()}}:
                waiting[ident] = None
            case _:
                yield Wrong(f"Invalid value for '{at}'.", at, "invalid_type")


_PARTS = {
    "user": ("text", "image_url", "input_audio", "file"),
    "assistant": ("text", "refusal"),
}


def _content(message: Fields, role: object, where: str) -> Iterator[Wrong]:
    content = message.get("content")
    if content is None:
        called = message.get("tool_calls") or message.get("function_call")
        if role != "assistant" or not (called or message.get("refusal")):
            text = f"Invalid value for 'content': expected a string, got null. ({where}.content)"
            yield Wrong(text, f"{where}.content", "invalid_type")
    if not isinstance(content, list):
        return
    known = _PARTS.get(cast(str, role), ("text",))
    for i, part in enumerate(cast("list[object]", content)):
        kind = cast(Fields, part).get("type") if isinstance(part, dict) else None
        if kind not in known:
            expected = ", ".join(f"'{one}'" for one in known)
            text = f"Invalid value: {kind!r}. Supported values are: {expected}."
            yield Wrong(text, f"{where}.content[{i}].type", "invalid_value")
