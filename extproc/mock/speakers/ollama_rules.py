"""What Ollama's server refuses: types that its own structs would not take, and pictures that are no base64.

Takes a request's fields; gives them in the types that the speaker needs, or
raises `Refused` with the server's status and words.
"""

from __future__ import annotations

import base64
import binascii
from collections.abc import Mapping
from typing import TypeAlias, cast

Fields: TypeAlias = Mapping[str, object]

_NUMBERS = ("temperature", "top_p", "presence_penalty", "frequency_penalty", "min_p")
_INTEGERS = ("num_predict", "num_ctx", "top_k", "seed")


class Refused(Exception):
    """The server says no, with `status` and `message`."""

    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.status = status
        self.message = message


def messages_of(fields: Fields) -> list[Fields]:
    """The messages of a chat, their roles in small letters."""
    value = fields.get("messages") or []
    if not isinstance(value, list):
        raise wrong("messages", "[]api.Message")
    messages: list[Fields] = []
    for item in cast("list[object]", value):
        if not isinstance(item, dict):
            raise wrong("messages", "api.Message")
        message = cast("dict[str, object]", item)
        for name in ("role", "content", "thinking", "tool_name", "tool_call_id"):
            if not isinstance(message.get(name, ""), str | None):
                raise wrong(f"messages.{name}", "string")
        _check_images(message)
        for call in objects(message, "tool_calls"):
            function = call.get("function")
            if not isinstance(function, dict):
                raise wrong("messages.tool_calls.function", "api.ToolCallFunction")
            if not isinstance(cast("Fields", function).get("arguments", {}), dict):
                raise wrong("messages.tool_calls.function.arguments", "map[string]interface {}")
        messages.append({**message, "role": str(message.get("role")).lower()})
    return messages


def prompt_of(fields: Fields) -> list[Fields]:
    """The prompt of `/api/generate` as messages; none when it is empty."""
    for name in ("prompt", "system", "suffix", "template"):
        if not isinstance(fields.get(name, ""), str | None):
            raise wrong(name, "string")
    _check_images(fields)
    if not fields.get("prompt"):
        return []
    system = [{"role": "system", "content": fields["system"]}] if fields.get("system") else []
    return [*system, {"role": "user", "content": fields["prompt"]}]


def _check_images(fields: Fields) -> None:
    value = fields.get("images") or []
    if not isinstance(value, list):
        raise wrong("images", "[]api.ImageData")
    for image in cast("list[object]", value):
        try:
            base64.b64decode(cast("str", image), validate=True)
        except (binascii.Error, TypeError, ValueError):
            raise Refused(400, "illegal base64 data at input byte 4") from None


def objects(fields: Fields, name: str) -> list[Fields]:
    """A member that is a list of objects, or absent."""
    value = fields.get(name) or []
    if not isinstance(value, list):
        raise wrong(name, "slice")
    items = cast("list[object]", value)
    if not all(isinstance(item, dict) for item in items):
        raise wrong(name, "struct")
    return [cast("Fields", item) for item in items]


def wrong(field: str, kind: str) -> Refused:
    """What Go says of a value of another type."""
    return Refused(400, f"json: cannot unmarshal value into Go struct field {field} of type {kind}")


def options_of(fields: Fields) -> Fields:
    """`options`, with the types of the common ones checked."""
    value = fields.get("options")
    if value is None:
        return {}
    if not isinstance(value, dict):
        raise wrong("options", "map[string]interface {}")
    options = cast("dict[str, object]", value)
    for name in (*_NUMBERS, *_INTEGERS):
        number = options.get(name)
        if number is not None and (isinstance(number, bool) or not isinstance(number, int | float)):
            raise Refused(400, f'option "{name}" must be of type number')
    if not isinstance(options.get("stop", []), list | None):
        raise Refused(400, 'option "stop" must be of type array')
    return options
