"""Replies of `generateContent`, read into parts: one chunk, or the whole, which is one chunk.

Takes JSON objects and appends events to its `Parts`. A signature on a call is
reasoning without text before the call, one on a text the same after the text,
so that any client can carry it. The end comes when the stream closes, since
nothing in it says that it is over. Raises `GatewayError` and `TooMuch`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime

import orjson

from extproc.codec import jsontext
from extproc.codec.sse import Frame
from extproc.dialects._decoding import ENDED_EARLY, Unreadable, bad, read_object
from extproc.dialects._media import format_of
from extproc.dialects._parts import Choice, Parts
from extproc.dialects._tools import arguments_text
from extproc.dialects.gemini_generate.array import ELEMENT, END
from extproc.dialects.gemini_generate.errors import stream_error
from extproc.dialects.gemini_generate.words import (
    BROKEN,
    FINISH_NUMBERS,
    FORM,
    NAME,
    read_usage,
    reason_of,
    residue,
    unpack,
)
from extproc.model.chat import NOTHING, Extra, Json
from extproc.model.reply import (
    Event,
    Note,
    NoteKind,
    PartKind,
    Started,
    TextDelta,
    Usage,
    Used,
)

OWN = Extra(NAME, {FORM: "own"})
_DONE = b"[DONE]"
"""what proxies put behind a stream as OpenAI does; Google's own SDK cannot read it"""


def new_parts() -> Parts:
    return Parts(NAME, reason_of)


class Reader:
    """Reads the frames of one stream, or one whole body by `chunk` and `end`."""

    __slots__ = ("_array", "_blocked", "_renamed", "_usage", "done", "has_started", "out", "parts")

    def __init__(self, renamed: Mapping[str, str]) -> None:
        self.parts = new_parts()
        self.out: list[Event] = self.parts.out
        self.done = False
        self.has_started = False
        self._renamed = renamed
        self._usage: Mapping[str, Json] | None = None
        self._blocked: dict[str, Json] | None = None
        self._array = False

    # --- frames

    def frame(self, frame: Frame) -> bool:
        data = frame.data
        self.parts.out = self.out
        if data is None:
            self._bare(frame)
            return True
        if frame.event:
            self._array = frame.event == ELEMENT
        if b'"functionCall"' in data:
            self.chunk(_object(data))
            return True
        try:
            value: Json = orjson.loads(data)
        except orjson.JSONDecodeError:
            if data.strip() == _DONE:
                return False
            value = _any(data)
        if not isinstance(value, dict):
            raise Unreadable
        self.chunk(value)
        return True

    def _bare(self, frame: Frame) -> None:
        """An array's end, or lines without `data:`, in which errors come."""
        if frame.event == END:
            self._array = False
            self.close()
            return
        text = frame.raw.strip()
        if text[:1] == b"{":
            self.chunk(_object(text))
        elif text[:1] == b"[":
            raise stream_error(_any(text))

    def close(self) -> None:
        """At the end of the stream: it is over if every choice said why it ended."""
        self.parts.out = self.out
        choices = self.parts.choices.values()
        whole = all(choice.raw for choice in choices) and bool(choices)
        if self._array or not (whole or self._blocked is not None):
            # An array without its end is nobody's JSON, whatever it said.
            raise bad(ENDED_EARLY)
        self.end()

    def end(self) -> None:
        """Says how all choices ended. Raises for what the model wrote and nobody can use."""
        if self._blocked is not None and not self.parts.choices:
            choice = self.parts.choice(0)
            choice.raw = str(self._blocked.get("blockReason"))
            choice.extra["promptFeedback"] = self._blocked
        for choice in self.parts.choices.values():
            if choice.raw in BROKEN:
                said = choice.extra.get("finishMessage") or "the model wrote what cannot be used"
                raise bad(f"the provider ended with {choice.raw}: {str(said)[:1024]}")
        self.done = True
        self.parts.end(self.usage())

    def usage(self) -> Usage | None:
        return None if self._usage is None else read_usage(self._usage)

    def failing(self) -> Sequence[Event]:
        usage = self.usage()
        return () if usage is None else (Used(usage),)

    # --- chunks

    def chunk(self, value: dict[str, Json]) -> None:
        if "error" in value:
            raise stream_error(value)
        usage = value.get("usageMetadata")
        if isinstance(usage, dict) and usage:
            self._usage = usage
        if not self.has_started:
            self._started(value)
        candidates = value.get("candidates")
        if isinstance(candidates, list) and candidates:
            for position, item in enumerate(candidates):
                if isinstance(item, dict):
                    self._candidate(item, position)
            return
        feedback = value.get("promptFeedback")
        if isinstance(feedback, dict) and feedback.get("blockReason"):
            self._blocked = feedback

    def _started(self, value: dict[str, Json]) -> None:
        self.has_started = True
        fields = {name: item for name, item in value.items() if name not in _TOP and item}
        self.parts.started(
            Started(
                id=_text(value.get("responseId")),
                model=_text(value.get("modelVersion")),
                created=_seconds(value.get("createTime")),
                extra=Extra(NAME, fields) if fields else NOTHING,
            )
        )

    def _candidate(self, item: dict[str, Json], position: int) -> None:
        index = item.get("index")
        if not isinstance(index, int):
            index = position
        parts = self.parts
        choice = parts.choices.get(index) or parts.choice(index)
        content = item.get("content")
        pieces = content.get("parts") if isinstance(content, dict) else None
        spare = len(item) <= 2 and "index" in item and pieces is not None
        notes = [] if spare else [(name, item[name]) for name in _NOTES if item.get(name)]
        if isinstance(pieces, list):
            for part in pieces:
                if not isinstance(part, dict):
                    continue
                text = part.get("text")
                if len(part) == 1 and isinstance(text, str):
                    if not text:
                        continue
                    if choice.kind is PartKind.TEXT:
                        parts.out.append(TextDelta(text, choice.part, index))
                    else:
                        parts.text(choice, text)
                else:
                    if notes and "thoughtSignature" in part and _says(part, choice):
                        # They are about the text, which its signature ends.
                        if text:
                            parts.text(choice, str(text))
                        part = {**part, "text": ""}
                        self._notes(choice, notes)
                    self._part(choice, part)
        if spare:
            return
        self._notes(choice, notes)
        for name, value in item.items():
            if name not in _CANDIDATE and value not in (None, {}, []):
                choice.extra[name] = value
        finish = item.get("finishReason")
        if finish:
            word = FINISH_NUMBERS.get(finish, "OTHER") if isinstance(finish, int) else finish
            choice.raw = word if isinstance(word, str) else "OTHER"

    def _notes(self, choice: Choice, notes: list[tuple[str, Json]]) -> None:
        """What is told of the candidate, on the part that is open; each once."""
        for name, value in notes:
            if choice.kind is None:
                self.parts.opaque(choice, _NOTES[name], value)
            else:
                self.parts.note(choice, _NOTES[name], value)
        notes.clear()

    def _part(self, choice: Choice, part: dict[str, Json]) -> None:
        parts = self.parts
        text, call, inline = part.get("text"), part.get("functionCall"), part.get("inlineData")
        signature = part.get("thoughtSignature")
        if isinstance(text, str) and part.get("thought") is True:
            if text:
                parts.thinking(choice, text)
            if isinstance(signature, str):
                self._thought_signature(choice, signature)
        elif isinstance(text, str):
            if text:
                parts.text(choice, text)
            if isinstance(signature, str):
                self._signature(choice, signature, OWN)
        elif isinstance(call, dict):
            if isinstance(signature, str):
                self._signature(choice, signature)
            self._call(choice, part, call)
        elif isinstance(inline, dict) and isinstance(inline.get("data"), str):
            if isinstance(signature, str):
                self._signature(choice, signature)
            self._media(choice, inline)
        else:
            parts.opaque(choice, NoteKind.EXTRA, part)

    def _signature(self, choice: Choice, signature: str, extra: Extra = NOTHING) -> None:
        self.parts.open_thought(choice, extra)
        self._note(choice, NoteKind.SIGNATURE, signature, NAME)

    def _thought_signature(self, choice: Choice, signature: str) -> None:
        """Of the thought that is open, or of one without text; it may be wrapped by us."""
        value, origin, redacted = unpack(signature)
        if choice.kind is not PartKind.THINKING or redacted:
            self.parts.open_thought(choice)
        kind = NoteKind.REDACTED if redacted else NoteKind.SIGNATURE
        self._note(choice, kind, value, origin)

    def _note(self, choice: Choice, kind: NoteKind, value: str, origin: str) -> None:
        self.parts.out.append(Note(kind, value, choice.part, choice.index, origin))
        self.parts.end_part(choice)

    def _call(self, choice: Choice, part: dict[str, Json], call: dict[str, Json]) -> None:
        name = _text(call.get("name"))
        if not name:
            # A call whose arguments come in pieces goes on: they were not asked for.
            return
        args = call.get("args")
        arguments = arguments_text(args) if isinstance(args, dict) else "{}"
        known = {"functionCall": ("name", "args", "id")}
        extra = (
            residue(part, ("thoughtSignature",), known)
            if len(part) > 2 or len(call) > 2
            else NOTHING
        )
        name = self._renamed.get(name, name)
        self.parts.whole_tool(choice, _text(call.get("id")), name, arguments, extra)

    def _media(self, choice: Choice, inline: dict[str, Json]) -> None:
        kind = _text(inline.get("mimeType")) or None
        data = _text(inline.get("data"))
        if data:
            if not (kind or "").startswith("audio/") or format_of(kind) is not None:
                # Whole files; only raw sound comes in pieces.
                self.parts.end_part(choice)
            self.parts.media(choice, data, kind)


_TOP = frozenset(
    {"candidates", "usageMetadata", "modelVersion", "responseId", "createTime", "promptFeedback"}
)
_NOTES: Mapping[str, NoteKind] = {
    "logprobsResult": NoteKind.LOGPROBS,
    "citationMetadata": NoteKind.CITATION,
}


_CANDIDATE = frozenset({"index", "content", "finishReason", *_NOTES})


def _says(part: dict[str, Json], choice: Choice) -> bool:
    """Whether it is the end of a text that the model says, or all of one."""
    if part.get("thought") is True or not isinstance(part.get("text"), str):
        return False
    return choice.kind is PartKind.TEXT or bool(part["text"])


def _object(data: bytes) -> dict[str, Json]:
    """Calls are read exactly: their arguments may have numbers that are longer than others."""
    if b'"functionCall"' not in data:
        return read_object(data)
    value = _any(data)
    if not isinstance(value, dict):
        raise Unreadable
    return value


def _any(data: bytes) -> Json:
    try:
        return jsontext.loads(data)
    except jsontext.BadJson:
        try:
            return orjson.loads(data)
        except orjson.JSONDecodeError:
            raise Unreadable from None


def _text(value: Json) -> str:
    return value if isinstance(value, str) else ""


def _seconds(value: Json) -> int | None:
    try:
        return int(datetime.fromisoformat(_text(value)).timestamp())
    except (ValueError, OverflowError):
        return None


def read_whole(body: bytes) -> dict[str, Json]:
    """A whole body as one object. An error in a list is raised as what it says."""
    if body.lstrip()[:1] == b"[":
        raise stream_error(_any(body))
    return _object(body)
