"""Tools between languages that disagree on ids, names and the form of arguments.

Everything here is a pure function of the request, so the same conversation
gives the same ids and names in every turn.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable, Mapping

from extproc.codec import jsontext
from extproc.model.chat import Chat, Json, Text, Tool, ToolCall, ToolResult
from extproc.model.errors import InvalidRequest

_HEX = 24
_NAME_HEX = 8
NO_PARAMETERS: Mapping[str, Json] = {"type": "object", "properties": {}}
"""the schema of a tool that takes nothing"""


def legal_id(call_id: str, legal: re.Pattern[str], length: int = 1 + _HEX) -> str:
    """The id itself if the target takes it, else one of `length` characters that is made of it."""
    if legal.fullmatch(call_id):
        return call_id
    digest = hashlib.sha256(call_id.encode("utf-8", "replace")).hexdigest()
    return "x" + digest[: length - 1]


def minted_id(*seed: object) -> str:
    """An id for a call to which the provider gave none; the same for the same `seed`."""
    text = "/".join(str(part) for part in seed)
    return "call_" + hashlib.sha256(text.encode("utf-8", "replace")).hexdigest()[:_HEX]


class Names:
    """Tool names as one target may have them, and the way back.

    `legal` is the pattern of a whole good name, `bad` matches one bad character.
    """

    __slots__ = ("_bad", "_legal", "_limit", "_sent")

    def __init__(self, legal: re.Pattern[str], bad: re.Pattern[str], limit: int) -> None:
        self._legal = legal
        self._bad = bad
        self._limit = limit
        self._sent: dict[str, str] = {}

    def sent(self, name: str) -> str:
        """The name that goes to the provider."""
        if self._legal.fullmatch(name):
            return name
        known = self._sent.get(name)
        if known is None:
            digest = hashlib.sha256(name.encode("utf-8", "replace")).hexdigest()[:_NAME_HEX]
            short = self._bad.sub("_", name)[: self._limit - _NAME_HEX - 1]
            known = self._sent[name] = f"{short}_{digest}"
        return known

    @property
    def renamed(self) -> dict[str, str]:
        """From the provider's name to the client's, for `Rendered.renamed`."""
        return {sent: name for name, sent in self._sent.items()}


def usual_tool(value: Json, strict: bool | None = None) -> Tool | None:
    """A function with a name, a description and a schema, as most are in the languages that
    write them as OpenAI does; None for any other, which must be looked at."""
    if not isinstance(value, dict) or len(value) != 2 or value.get("type") != "function":
        return None
    function = value.get("function")
    if not isinstance(function, dict) or len(function) != 3:
        return None
    name, description = function.get("name"), function.get("description")
    parameters = function.get("parameters")
    if not isinstance(name, str) or not isinstance(description, str) or not name:
        return None
    return None if parameters is None else Tool(name, description, parameters, strict)


def arguments_object(call: ToolCall) -> dict[str, Json]:
    """The arguments as an object. Raises `InvalidRequest` naming the call when they are none."""
    if not call.arguments.strip():
        return {}
    try:
        value = jsontext.loads(call.arguments.encode("utf-8", "surrogatepass"))
    except jsontext.BadJson:
        value = None
    if not isinstance(value, dict):
        raise InvalidRequest(
            f"The arguments of tool call {call.id!r} ({call.name}) must be a JSON object as text.",
            param="tool_calls",
        )
    return value


def arguments_text(value: Json) -> str:
    """An object of arguments as the text that other languages want: compact, keys in order."""
    return jsontext.dumps(value).decode("utf-8", "surrogatepass")


def schema_of(parameters: Json) -> dict[str, Json]:
    """A tool's schema where the target wants an object with a type."""
    if not isinstance(parameters, dict):
        return dict(NO_PARAMETERS)
    return parameters if "type" in parameters else {"type": "object", **parameters}


def result_text(result: ToolResult) -> str:
    """The texts of a result, joined by a line end."""
    return "\n".join(part.text for part in result.parts if isinstance(part, Text))


def calls_of(chat: Chat) -> Iterable[ToolCall]:
    """All tool calls of the conversation, in order."""
    return (part for m in chat.messages for part in m.parts if isinstance(part, ToolCall))


def names_by_id(chat: Chat) -> dict[str, str]:
    """The tool's name of each call, by the call's id; the last one wins."""
    return {call.id: call.name for call in calls_of(chat)}
