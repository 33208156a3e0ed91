"""The items of a Responses reply while they are open: one class for each way to become parts.

`begin` is called with nothing said, `event` for each event of the item, `end`
once with the item as it ended (None where the stream never said). Each appends
events to `out`. What only this dialect knows becomes notes; `TooMuch` is raised
when there are more parts than a reply may have.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TypeAlias

from extproc.dialects._decoding import TooMuch
from extproc.dialects._parts import MAX_PARTS
from extproc.dialects.openai_responses.items import text_of
from extproc.dialects.openai_responses.words import (
    BREAK,
    CALLS,
    COMPLETED,
    NAME,
    REPLY_EVENT,
    REPLY_ITEM,
    REPLY_PART,
)
from extproc.model.chat import NOTHING, Extra, Json
from extproc.model.reply import (
    Event,
    Note,
    NoteKind,
    PartEnded,
    PartKind,
    PartStarted,
    TextDelta,
    ThinkingDelta,
    ToolDelta,
)

Object: TypeAlias = Mapping[str, Json]


class Opened:
    """What the items of one reply share: the count of parts, and names of tools."""

    __slots__ = ("parts", "renamed", "saw_call")

    def __init__(self, renamed: Mapping[str, str]) -> None:
        self.parts = 0
        self.saw_call = False
        self.renamed = renamed

    def part(self) -> int:
        if self.parts >= MAX_PARTS:
            raise TooMuch
        self.parts += 1
        return self.parts - 1


def new_item(opened: Opened, shape: dict[str, Json]) -> ReadItem:
    kind = shape.get("type")
    if kind == "message":
        return ReadMessage(opened, shape)
    if kind == "reasoning":
        return ReadReasoning(opened, shape)
    if isinstance(kind, str) and kind in CALLS:
        return ReadCall(opened, shape, CALLS[kind])
    return ReadOpaque(opened, shape)


def _item_extra(shape: Object, known: frozenset[str]) -> Extra:
    kept: Json = {name: value for name, value in shape.items() if name not in known}
    return Extra(NAME, {REPLY_ITEM: kept})


def _note(part: int, kind: NoteKind, value: Json) -> Note:
    return Note(kind, value, part, dialect=NAME)


def _other_event(part: int, value: Object) -> Note:
    """An event that only this dialect knows, without its place in the stream."""
    kept: Json = {name: item for name, item in value.items() if name not in _PLACE}
    return _note(part, NoteKind.EXTRA, {REPLY_EVENT: kept})


_PLACE = frozenset({"sequence_number", "output_index", "obfuscation", "p"})


# --- messages -------------------------------------------------------------------------------


class _Content:
    """One content part of a message. `said`: its words have come as deltas."""

    __slots__ = ("cited", "ended", "part", "probable", "said")

    def __init__(self, part: int) -> None:
        self.part = part
        self.said = False
        self.cited = 0
        self.probable = False
        self.ended = False


class ReadMessage:
    """A message of the model: a part for each of its content parts."""

    __slots__ = ("_contents", "_extra", "_opened")

    def __init__(self, opened: Opened, shape: Object) -> None:
        self._opened = opened
        self._extra = _item_extra(shape, _MESSAGE)
        self._contents: dict[int, _Content] = {}

    def begin(self, out: list[Event]) -> None:
        pass

    def event(self, kind: str, value: dict[str, Json], out: list[Event]) -> None:
        index = value.get("content_index")
        if not isinstance(index, int):
            return
        delta = value.get("delta")
        content = self._contents.get(index)
        if kind == "response.output_text.delta" and content is not None and not content.ended:
            if delta and isinstance(delta, str):
                content.said = True
                out.append(TextDelta(delta, content.part))
            logprobs = value.get("logprobs")
            if logprobs:
                content.probable = True
                out.append(_note(content.part, NoteKind.LOGPROBS, {"content": logprobs}))
            return
        if content is None:
            content = self._open(index, value, refusal=kind.startswith("response.refusal"), out=out)
        if content.ended:
            return
        match kind:
            case "response.output_text.delta" | "response.refusal.delta":
                if content.said or delta:
                    self.event("response.output_text.delta", value, out)
            case "response.output_text.annotation.added":
                content.cited += 1
                out.append(_note(content.part, NoteKind.CITATION, [value.get("annotation")]))
            case "response.content_part.done":
                self._complete(content, value.get("part"), out)
            case "response.output_text.done" | "response.refusal.done":
                text = value.get("text", value.get("refusal"))
                if not content.said and text and isinstance(text, str):
                    content.said = True
                    out.append(TextDelta(text, content.part))
            case "response.content_part.added":
                pass
            case _:
                out.append(_other_event(content.part, value))

    def end(self, shape: Object | None, out: list[Event]) -> None:
        listed = None if shape is None else shape.get("content")
        for index, part in enumerate(listed if isinstance(listed, list) else ()):
            content = self._contents.get(index)
            if content is None:
                refusal = isinstance(part, dict) and part.get("type") == "refusal"
                content = self._open(index, {"part": part}, refusal=refusal, out=out)
            self._complete(content, part, out)
        if not self._contents:
            self._open(0, {}, refusal=False, out=out)
        for content in self._contents.values():
            self._complete(content, None, out)

    def _open(self, index: int, value: Object, *, refusal: bool, out: list[Event]) -> _Content:
        part = value.get("part")
        kind = PartKind.REFUSAL if refusal else PartKind.TEXT
        extra = NOTHING if self._contents else self._extra
        if isinstance(part, dict):
            refused = part.get("type") == "refusal"
            kind = PartKind.REFUSAL if refused else PartKind.TEXT
        content = self._contents[index] = _Content(self._opened.part())
        out.append(PartStarted(kind, content.part, extra=extra))
        return content

    def _complete(self, content: _Content, part: Json, out: list[Event]) -> None:
        """Ends the part, after what was said in no event of its own."""
        if content.ended:
            return
        if isinstance(part, dict):
            text = part.get("text", part.get("refusal"))
            if not content.said and text and isinstance(text, str):
                out.append(TextDelta(text, content.part))
            logprobs = part.get("logprobs")
            if logprobs and not content.probable:
                out.append(_note(content.part, NoteKind.LOGPROBS, {"content": logprobs}))
            cited = part.get("annotations")
            late = cited[content.cited :] if isinstance(cited, list) else []
            out.extend(_note(content.part, NoteKind.CITATION, [one]) for one in late)
        content.ended = True
        out.append(PartEnded(content.part))


_MESSAGE = frozenset({"type", "role", "status", "content"})


# --- calls of the client's tools ------------------------------------------------------------


class ReadCall:
    """A call of the client's own tool. It begins when its name is known."""

    __slots__ = ("_extra", "_member", "_name", "_opened", "_part", "_said", "id")

    def __init__(self, opened: Opened, shape: Object, member: str) -> None:
        self._opened = opened
        self._member = member
        self._extra = _item_extra(shape, _CALL if member == "arguments" else _CUSTOM)
        call_id, name = shape.get("call_id"), shape.get("name")
        self.id = call_id if isinstance(call_id, str) else ""
        self._name = name if isinstance(name, str) else ""
        self._part = -1
        self._said = False

    def begin(self, out: list[Event]) -> None:
        self._opened.saw_call = True
        if self._name:
            self._start(out)

    def event(self, kind: str, value: dict[str, Json], out: list[Event]) -> None:
        if self._part < 0:
            return
        if kind == "response.function_call_arguments.delta" or kind.endswith("_input.delta"):
            self._say(value.get("delta"), out)
        elif kind.endswith(".done"):
            if not self._said:
                self._say(value.get(self._member), out)
        else:
            out.append(_other_event(self._part, value))

    def end(self, shape: Object | None, out: list[Event]) -> None:
        if self._part < 0:
            name = None if shape is None else shape.get("name")
            self._name = name if isinstance(name, str) else ""
            self._start(out)
        if not self._said and shape is not None:
            self._say(shape.get(self._member), out)
        out.append(PartEnded(self._part))

    def _start(self, out: list[Event]) -> None:
        self._part = self._opened.part()
        name = self._opened.renamed.get(self._name, self._name)
        out.append(PartStarted(PartKind.TOOL, self._part, 0, self.id, name, self._extra))

    def _say(self, words: Json, out: list[Event]) -> None:
        if words and isinstance(words, str):
            self._said = True
            out.append(ToolDelta(words, self._part))


_CUSTOM = frozenset({"call_id", "name", "status", "input"})
_CALL = frozenset({"type", "call_id", "name", "status", "arguments"})


# --- reasoning ------------------------------------------------------------------------------


class ReadReasoning:
    """Reasoning: one part, which begins with its first word; without any it is opaque."""

    __slots__ = ("_extra", "_opened", "_part", "_place", "_seen")

    def __init__(self, opened: Opened, shape: Object) -> None:
        self._opened = opened
        if "status" in shape:
            # Not all providers say it; those that do say this in the end.
            shape = {**shape, "status": COMPLETED}
        self._extra = _item_extra(shape, _REASONING)
        self._part = -1
        self._place: tuple[str, int] = ("summary", 0)
        self._seen = False

    def begin(self, out: list[Event]) -> None:
        pass

    def event(self, kind: str, value: dict[str, Json], out: list[Event]) -> None:
        delta = value.get("delta")
        match kind:
            case "response.reasoning_summary_text.delta":
                self._say(delta, "summary", value.get("summary_index"), out)
            case "response.reasoning_text.delta":
                self._say(delta, "content", value.get("content_index"), out)
            case _:
                if kind not in _REPEATED and self._part >= 0:
                    out.append(_other_event(self._part, value))

    def end(self, shape: Object | None, out: list[Event]) -> None:
        if shape is not None:
            if not self._seen:
                for member in ("summary", "content"):
                    listed = shape.get(member)
                    for index, part in enumerate(listed if isinstance(listed, list) else ()):
                        self._say(text_of(part), member, index, out)
            sealed = shape.get("encrypted_content")
            if sealed and isinstance(sealed, str):
                self._begin(out)
                out.append(_note(self._part, NoteKind.SIGNATURE, sealed))
            elif self._part < 0:
                whole: dict[str, Json] = {REPLY_ITEM: dict(shape)}
                part = self._part = self._opened.part()
                out.append(PartStarted(PartKind.OPAQUE, part, extra=Extra(NAME, whole)))
                out.append(_note(part, NoteKind.EXTRA, whole))
        if self._part >= 0:
            out.append(PartEnded(self._part))

    def _begin(self, out: list[Event]) -> None:
        if self._part < 0:
            self._part = self._opened.part()
            out.append(PartStarted(PartKind.THINKING, self._part, extra=self._extra))

    def _say(self, words: Json, member: str, index: Json, out: list[Event]) -> None:
        if not words or not isinstance(words, str):
            return
        self._begin(out)
        place = (member, index if isinstance(index, int) else 0)
        if place != self._place:
            self._place = place
            where: Json = {REPLY_PART: member, "index": place[1]}
            out.append(_note(self._part, NoteKind.EXTRA, where))
            if self._seen:
                out.append(ThinkingDelta(BREAK, self._part))
        self._seen = True
        out.append(ThinkingDelta(words, self._part))


_REASONING = frozenset({"type", "summary", "content", "encrypted_content"})
_REPEATED = frozenset(
    {
        "response.reasoning_summary_part.added",
        "response.reasoning_summary_part.done",
        "response.reasoning_summary_text.done",
        "response.reasoning_text.done",
    }
)
"""events that say what others say too"""


# --- all else -------------------------------------------------------------------------------


class ReadOpaque:
    """An item that only this dialect knows: it travels home as it is, with all its events."""

    __slots__ = ("_part", "_shape")

    def __init__(self, opened: Opened, shape: dict[str, Json]) -> None:
        self._shape: dict[str, Json] | None = shape
        self._part = opened.part()

    def begin(self, out: list[Event]) -> None:
        extra = Extra(NAME, {REPLY_ITEM: self._shape})
        out.append(PartStarted(PartKind.OPAQUE, self._part, extra=extra))
        self._shape = None

    def event(self, kind: str, value: dict[str, Json], out: list[Event]) -> None:
        del kind
        out.append(_other_event(self._part, value))

    def end(self, shape: Object | None, out: list[Event]) -> None:
        if shape is not None:
            out.append(_note(self._part, NoteKind.EXTRA, {REPLY_ITEM: dict(shape)}))
        out.append(PartEnded(self._part))


ReadItem: TypeAlias = ReadMessage | ReadCall | ReadReasoning | ReadOpaque
