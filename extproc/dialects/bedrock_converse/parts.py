"""What of any reply the Converse language can hold, and how parts become its blocks."""

from __future__ import annotations

import base64
from collections.abc import Sequence
from dataclasses import replace
from typing import TypeAlias

from extproc.codec import jsontext
from extproc.dialects._media import format_of, type_of
from extproc.dialects._parts import in_words
from extproc.dialects._signatures import wrap
from extproc.dialects.bedrock_converse.words import IMAGE_FORMATS, NAME, reason_of, word_of
from extproc.model.chat import NOTHING, Extra, Json
from extproc.model.reply import (
    ChoiceEnded,
    Event,
    Failed,
    Finished,
    MediaDelta,
    Note,
    NoteKind,
    PartEnded,
    PartKind,
    PartStarted,
    Reason,
    Started,
    TextDelta,
    ThinkingDelta,
    ToolDelta,
    Usage,
    Used,
)

Object: TypeAlias = dict[str, Json]
Inner: TypeAlias = TextDelta | ThinkingDelta | ToolDelta | MediaDelta | Note


def part_start(event: PartStarted) -> Object | None:
    """The `start` of a block that has one of its own: a call's."""
    if event.kind is not PartKind.TOOL:
        return None
    return {"toolUse": {"toolUseId": event.id, "name": event.name, **event.extra.home(NAME)}}


def part_type(event: MediaDelta) -> str | None:
    """The format of a picture that a block can hold; None for any other media."""
    short = format_of(event.media_type)
    return short if event.data and short in IMAGE_FORMATS else None


def note_delta(part: PartStarted, note: Note) -> tuple[str, Object] | None:
    """A note as a `start` or a `delta` of its part's block; None when it must stay away."""
    value = note.value
    at_home = note.dialect == NAME
    match note.kind, value:
        case NoteKind.SIGNATURE, str() if part.kind is PartKind.THINKING and note.dialect:
            signature = wrap(value, note.dialect, NAME)
            return "delta", {"reasoningContent": {"signature": signature}}
        case NoteKind.REDACTED, str() if part.kind is PartKind.THINKING and note.dialect:
            data = value if at_home else _blob(wrap(value, note.dialect, NAME))
            return "delta", {"reasoningContent": {"redactedContent": data}}
        case NoteKind.CITATION, dict() if at_home and part.kind is PartKind.TEXT:
            return "delta", {"citation": value}
        case NoteKind.EXTRA, {"start": dict(inner)} if at_home and part.kind is PartKind.OPAQUE:
            return "start", inner
        case NoteKind.EXTRA, {"delta": dict(inner)} if at_home and part.kind in _WITH_EXTRA:
            return "delta", inner
        case _:
            return None


_WITH_EXTRA = (PartKind.OPAQUE, PartKind.THINKING)


def _blob(text: str) -> str:
    """Text where the wire wants bytes."""
    return base64.b64encode(text.encode()).decode()


class Content:
    """One part of a whole reply, as it grows."""

    __slots__ = ("_notes", "_part", "_pieces", "_short")

    def __init__(self, part: PartStarted) -> None:
        self._part = part
        self._pieces: list[str] = []
        self._notes: list[tuple[str, Object]] = []
        self._short: str | None = None

    def add(self, event: Inner) -> None:
        match event:
            case TextDelta() | ThinkingDelta():
                self._pieces.append(event.text)
            case ToolDelta():
                self._pieces.append(event.arguments)
            case MediaDelta():
                short = part_type(event)
                if short is not None:
                    self._short = short
                    self._pieces.append(event.data)
            case Note():
                note = note_delta(self._part, event)
                if note is not None:
                    self._notes.append(note)

    def blocks(self) -> list[Json]:
        """The blocks that say it: none when there is nothing to say."""
        text = "".join(self._pieces)
        match self._part.kind:
            case PartKind.TEXT | PartKind.REFUSAL:
                cited: list[Json] = [note["citation"] for _, note in self._notes]
                if cited:
                    content: list[Json] = [{"text": text}] if text else []
                    return [{"citationsContent": {"content": content, "citations": cited}}]
                return [{"text": text}] if text else []
            case PartKind.THINKING:
                return self._thinking(text)
            case PartKind.TOOL:
                start = part_start(self._part)
                use = start["toolUse"] if start is not None else None
                return (
                    [{"toolUse": {**use, "input": _input(text)}}] if isinstance(use, dict) else []
                )
            case PartKind.MEDIA:
                if self._short is None:
                    return []
                return [{"image": {"format": self._short, "source": {"bytes": text}}}]
            case PartKind.OPAQUE:
                return self._opaque()

    def _thinking(self, text: str) -> list[Json]:
        said: Object = {"text": text}
        redacted: list[Json] = []
        for _, note in self._notes:
            inner = note.get("reasoningContent")
            for name, value in inner.items() if isinstance(inner, dict) else ():
                if name == "redactedContent":
                    redacted.append({"reasoningContent": {name: value}})
                elif name == "signature" and isinstance(said.get(name), str):
                    said[name] = f"{said[name]}{value}"
                else:
                    said[name] = value
        if not text and len(said) == 1:
            return redacted
        return [{"reasoningContent": {"reasoningText": said}}, *redacted]

    def _opaque(self) -> list[Json]:
        """A block of a kind that only this dialect knows, put together again."""
        block: Object = {}
        for place, note in self._notes:
            for name, value in note.items():
                block[name] = value if place == "start" else _grown(name, block.get(name), value)
        use = block.get("toolUse")
        if isinstance(use, dict) and isinstance(use.get("input"), str):
            block["toolUse"] = {**use, "input": _input(str(use["input"]))}
        return [block] if block else []


def _grown(name: str, old: Json, new: Json) -> Json:
    """A block after one more delta."""
    match name, old, new:
        case "toolUse", dict(), {"input": str(piece)}:
            before = old.get("input")
            return {**old, "input": f"{before if isinstance(before, str) else ''}{piece}"}
        case "toolResult", dict(), list():
            before = old.get("content")
            return {**old, "content": [*(before if isinstance(before, list) else []), *new]}
        case _, dict(), dict():
            return {**old, **new}
        case _:
            return new


def _input(text: str) -> Json:
    """Arguments where the wire wants their value. What is no JSON stays the text it is."""
    if not text.strip():
        return {}
    try:
        return jsontext.loads(text.encode("utf-8", "surrogatepass"))
    except jsontext.BadJson:
        return text


# --- what is carried ------------------------------------------------------------------------


def carries(events: Sequence[Event]) -> list[Event]:
    """What a stream in this language can hold of a reply, as a decoder would give it back.

    Kept: the first choice's text, reasoning with signatures (wrapped where they
    are another's), calls, pictures, finish reason, usage, and the notes and extras
    of this dialect. A refusal becomes text, and the reply ends by it. Parts come one after the other. Lost:
    id, model and time of the reply, citations and extras of others, other media, which
    stop sequence it was, what part of the output was reasoning.
    """
    out: list[Event] = []
    parts: dict[int, tuple[PartStarted, list[Event]]] = {}
    usage: Usage | None = None
    ended: ChoiceEnded | None = None
    for event in events:
        match event:
            case Started():
                out.append(Started("", ""))
            case PartStarted() if not event.choice:
                parts[event.part] = (event, [])
            case TextDelta() | ThinkingDelta() | ToolDelta() | MediaDelta() | Note() if (
                not event.choice
            ):
                part, inside = parts[event.part]
                inside.extend(_carried(part, event))
            case ChoiceEnded() if not event.choice:
                refused = any(p.kind is PartKind.REFUSAL for p, _ in parts.values())
                ended = in_words(event) if refused else event
            case Used() if not event.usage.estimated:
                usage = event.usage
            case Finished() | Failed():
                out.extend(_parts(list(parts.values())))
                if isinstance(event, Finished):
                    called = any(p.kind is PartKind.TOOL for p, _ in parts.values())
                    out.extend(() if ended is None else (_carried_end(ended, called=called),))
                    out.extend(() if usage is None else (Used(_carried_usage(usage)),))
                out.append(event)
            case _:
                pass
    return out


def _parts(parts: list[tuple[PartStarted, list[Event]]]) -> list[Event]:
    out: list[Event] = []
    index = 0
    for part, inside in parts:
        kind = PartKind.TEXT if part.kind is PartKind.REFUSAL else part.kind
        tool = kind is PartKind.TOOL
        if tool and not any(isinstance(one, ToolDelta) for one in inside):
            inside = [*inside, ToolDelta("{}")]
        if not inside:
            continue
        home = part.extra.home(NAME)
        extra = Extra(NAME, dict(home)) if tool and home else NOTHING
        started = PartStarted(kind, index, 0, part.id, part.name, extra)
        out.append(started if tool else PartStarted(kind, index))
        out.extend(_moved(one, index) for one in inside)
        out.append(PartEnded(index))
        index += 1
    return out


def _moved(event: Event, part: int) -> Event:
    match event:
        case TextDelta() | ThinkingDelta() | ToolDelta() | MediaDelta() | Note():
            return replace(event, part=part)
        case _:
            return event


def _carried(part: PartStarted, event: Inner) -> list[Event]:
    if part.kind is PartKind.OPAQUE and not isinstance(event, Note):
        return []
    match event:
        case TextDelta() | ThinkingDelta():
            return [event] if event.text else []
        case ToolDelta():
            return [event] if event.arguments else []
        case MediaDelta():
            short = part_type(event)
            return [] if short is None else [replace(event, media_type=type_of(short))]
        case Note():
            return _carried_note(part, event)


def _carried_note(part: PartStarted, note: Note) -> list[Event]:
    piece = note_delta(part, note)
    if piece is None:
        return []
    place, value = piece
    inner = value.get("reasoningContent") if place == "delta" else None
    if note.kind in (NoteKind.SIGNATURE, NoteKind.REDACTED) and isinstance(inner, dict):
        return [replace(note, value=next(iter(inner.values())), dialect=NAME)]
    return [note]


def _carried_end(event: ChoiceEnded, *, called: bool) -> ChoiceEnded:
    at_home = event.extra.dialect == NAME
    word = word_of(event.reason, event.raw, at_home)
    reason = reason_of(word, called)
    home = dict(event.extra.home(NAME))
    own = home.get("additionalModelResponseFields")
    said = own.get("stop_sequence") if isinstance(own, dict) else None
    stop = said if reason is Reason.STOP_SEQUENCE and isinstance(said, str) else None
    return ChoiceEnded(reason, 0, word, stop, Extra(NAME, home))


def _carried_usage(usage: Usage) -> Usage:
    total = usage.prompt + usage.output if usage.total is None else usage.total
    home = usage.extra.home(NAME)
    return Usage(
        fresh=usage.fresh,
        cache_read=usage.cache_read,
        cache_write=usage.cache_write,
        cache_write_1h=usage.cache_write_1h,
        output=usage.output,
        total=total,
        extra=Extra(NAME, home) if home else NOTHING,
    )
