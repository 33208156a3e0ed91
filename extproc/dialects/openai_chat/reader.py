"""The members of OpenAI Chat chunks and messages, read into parts.

A chunk's `delta` and a whole reply's `message` have the same members, so one
reader serves both. It takes JSON objects and appends events to its `Parts`;
members that nobody knows become notes of this dialect. Raises `TooMuch` only.
"""

from __future__ import annotations

from collections.abc import Mapping

from extproc.codec import jsontext
from extproc.dialects._parts import Choice
from extproc.dialects.openai_chat.parts import new_parts, thinking_extra
from extproc.dialects.openai_chat.words import LEGACY, NAME
from extproc.model.chat import NOTHING, Extra, Json
from extproc.model.reply import NoteKind, PartKind, Started, TextDelta


class Reader:
    """Reads chunks and messages: the same members, whole or in pieces.

    `renamed` gives the client's name of a tool that had to be called something else.
    """

    __slots__ = ("_renamed", "has_started", "parts")

    def __init__(self, renamed: Mapping[str, str] | None = None) -> None:
        self._renamed = renamed or {}
        self.parts = new_parts()
        self.has_started = False

    def started(self, value: Mapping[str, Json]) -> None:
        """The first chunk that names itself; some begin with one that says nothing."""
        if not value.get("id") and not value.get("choices"):
            return
        self.has_started = True
        created = value.get("created")
        fields = {name: item for name, item in value.items() if name not in _TOP and item}
        self.parts.started(
            Started(
                id=_text(value.get("id")),
                model=_text(value.get("model")),
                created=created if isinstance(created, int) else None,
                extra=Extra(NAME, fields) if fields else NOTHING,
            )
        )

    def choice(self, item: dict[str, Json], delta: dict[str, Json], position: int) -> Choice:
        index = item.get("index", position)
        if not isinstance(index, int):
            index = position
        parts = self.parts
        choice = parts.choices.get(index) or parts.choice(index)
        content = delta.get("content")
        if len(delta) == 1 and isinstance(content, str):
            if content:
                if choice.kind is PartKind.TEXT:
                    parts.out.append(TextDelta(content, choice.part, index))
                else:
                    parts.text(choice, content)
        elif delta:
            self._delta(choice, delta)
        if item.get("logprobs"):
            parts.note(choice, NoteKind.LOGPROBS, item["logprobs"])
        finish = item.get("finish_reason")
        if finish:
            if choice.raw is None:
                keep_extras(choice, item)
            choice.raw = finish if isinstance(finish, str) else "stop"
        return choice

    def _delta(self, choice: Choice, delta: dict[str, Json]) -> None:
        parts = self.parts
        self._thinking(choice, delta)
        for name, value in delta.items():
            if name in _SKIP or not value:
                continue
            match name, value:
                case "content", str():
                    parts.text(choice, value)
                case "content", list():
                    self._content_list(choice, value)
                case "reasoning_content" | "reasoning", str():
                    continue
                case "refusal", str():
                    parts.refusal(choice, value)
                case "tool_calls", list():
                    for call in value:
                        if isinstance(call, dict):
                            self._tool(choice, call)
                case "tool_calls", dict():
                    self._tool(choice, value)
                case "function_call", dict() if any(value.values()):
                    self._function(choice, None, "", value, {LEGACY: True})
                case "audio", dict() if any(value.values()):
                    self._audio(choice, value)
                case "function_call" | "audio", dict():
                    continue
                case "annotations", list():
                    parts.note(choice, NoteKind.CITATION, value)
                case _:
                    parts.note(choice, NoteKind.EXTRA, {name: value})

    def _thinking(self, choice: Choice, delta: dict[str, Json]) -> None:
        """Comes before the text of the same delta. Two members that say the same count once."""
        said = None
        for name in _THINKING:
            value = delta.get(name)
            if isinstance(value, str) and value and value != said:
                said = value
                self.parts.thinking(choice, value, thinking_extra(name))

    def _content_list(self, choice: Choice, items: list[Json]) -> None:
        for item in items:
            kind = item.get("type") if isinstance(item, dict) else None
            if isinstance(item, dict) and kind == "text":
                text = _text(item.get("text"))
                if text:
                    self.parts.text(choice, text)
            elif isinstance(item, dict) and kind == "thinking":
                thought = _joined(item.get("thinking"))
                if thought:
                    self.parts.thinking(choice, thought)
            else:
                self.parts.note(choice, NoteKind.EXTRA, {"content": [item]})

    def _tool(self, choice: Choice, call: dict[str, Json]) -> None:
        index = call.get("index")
        body = call.get("function")
        if call.get("type") == "custom" or not isinstance(body, dict):
            body = call.get("custom")
        extra: dict[str, Json] = {
            name: value
            for name, value in call.items()
            if value and name not in _CALL and not (name == "type" and value == "function")
        }
        number = index if isinstance(index, int) else None
        call_id = _text(call.get("id"))
        self._function(choice, number, call_id, body if isinstance(body, dict) else {}, extra)

    def _function(
        self,
        choice: Choice,
        index: int | None,
        call_id: str,
        body: dict[str, Json],
        extra: dict[str, Json],
    ) -> None:
        arguments = body.get("arguments", body.get("input"))
        if arguments is not None and not isinstance(arguments, str):
            arguments = jsontext.dumps(arguments).decode()
        name = _text(body.get("name"))
        name = self._renamed.get(name, name)
        self.parts.tool(choice, index, call_id, name, arguments or "", extra)

    def _audio(self, choice: Choice, audio: dict[str, Json]) -> None:
        parts = self.parts
        parts.media_part(choice)
        data = audio.get("data")
        if isinstance(data, str) and data:
            parts.media(choice, data, None)
        rest: dict[str, Json] = {
            name: value for name, value in audio.items() if name != "data" and value
        }
        if rest:
            parts.note(choice, NoteKind.EXTRA, {"audio": rest})


def keep_extras(choice: Choice, item: dict[str, Json]) -> None:
    """What the choice says beside its message, once it is over."""
    for name, value in item.items():
        if name not in _CHOICE and value is not None:
            choice.extra[name] = value


_TOP = frozenset({"id", "model", "created", "object", "choices", "usage", "obfuscation", "p"})
_CHOICE = frozenset({"index", "delta", "message", "finish_reason", "logprobs"})
_THINKING = ("reasoning_content", "reasoning")
_SKIP = frozenset({"role"})
_CALL = frozenset({"index", "id", "function", "custom"})


def _text(value: Json) -> str:
    return value if isinstance(value, str) else ""


def _joined(value: Json) -> str:
    if isinstance(value, str):
        return value
    items = value if isinstance(value, list) else []
    return "".join(_text(item.get("text")) for item in items if isinstance(item, dict))
