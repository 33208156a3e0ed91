"""Which item of a Responses reply a part goes into, and what this language can hold of any reply.

Texts and refusals that follow each other are parts of one message, unless the
part says that it begins an item; everything else is an item of its own. The
encoder writes by it, and `carries` says what a decoder reads of that.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from extproc.dialects._likelihood import tokens_of
from extproc.dialects._tools import minted_id
from extproc.dialects.openai_responses.carried import sealed
from extproc.dialects.openai_responses.words import (
    NAME,
    REPLY_EVENT,
    REPLY_ITEM,
    REPLY_PART,
    item_id,
    read_ending,
    reply_id,
    write_ending,
)
from extproc.model.chat import NOTHING, Extra, Json
from extproc.model.reply import (
    ChoiceEnded,
    Event,
    Failed,
    Finished,
    Note,
    NoteKind,
    PartEnded,
    PartKind,
    PartStarted,
    Started,
    TextDelta,
    ThinkingDelta,
    ToolDelta,
    Usage,
    Used,
)

SPOKEN = frozenset({PartKind.TEXT, PartKind.REFUSAL})
SEALED = frozenset({NoteKind.SIGNATURE, NoteKind.REDACTED})


class Placing:
    """Gives items their places in order. An item's shape has its id and what else it came with."""

    __slots__ = ("_call_id", "_in_message", "count")

    def __init__(self, call_id: str) -> None:
        self._call_id = call_id
        self.count = 0
        self._in_message = False

    def message(self, extra: Extra) -> dict[str, Json] | None:
        """The shape of the message that the part begins; None: it goes on with the last item."""
        if self._in_message and _item_of(extra) is None:
            return None
        shape = self.item("message", extra)
        self._in_message = True
        return shape

    def item(self, kind: str, extra: Extra) -> dict[str, Json]:
        """The shape of another item, which is then the last: at `count - 1`."""
        self._in_message = False
        shape = dict(_item_of(extra) or {})
        if not isinstance(shape.get("id"), str):
            shape["id"] = item_id(kind, self._call_id, self.count)
        self.count += 1
        return shape

    def opaque(self, extra: Extra) -> dict[str, Json] | None:
        """An item as it came; None where it is of another dialect."""
        item = _item_of(extra)
        if item is None:
            return None
        self._in_message = False
        self.count += 1
        return dict(item)


def _item_of(extra: Extra) -> Mapping[str, Json] | None:
    item = extra.home(NAME).get(REPLY_ITEM)
    return item if isinstance(item, dict) else None


def call_kind(extra: Extra) -> str:
    """`function_call`, or what the item says of itself."""
    kind = (_item_of(extra) or {}).get("type")
    return kind if isinstance(kind, str) else "function_call"


def seal_of(note: Note) -> str:
    """What a signature's note puts into `encrypted_content`; empty where it holds no text."""
    if not isinstance(note.value, str) or not note.value:
        return ""
    return sealed(note.value, note.dialect, redacted=note.kind is NoteKind.REDACTED)


def moves(note: Note) -> bool:
    """Whether the note says in which part of its item reasoning goes on."""
    return (
        note.dialect == NAME
        and note.kind is NoteKind.EXTRA
        and isinstance(note.value, dict)
        and REPLY_PART in note.value
    )


def _is_ours(value: Json) -> bool:
    ours = (REPLY_EVENT, REPLY_ITEM, REPLY_PART)
    return isinstance(value, dict) and not value.keys().isdisjoint(ours)


def cited(note: Note) -> list[Json]:
    """A note's citations in this language's words; those of Chat have the same, one level down."""
    listed = note.value if isinstance(note.value, list) else []
    if note.dialect == NAME:
        return listed
    flat: list[Json] = []
    for one in listed if note.dialect == "openai_chat" else ():
        below = one.get("url_citation") if isinstance(one, dict) else None
        if isinstance(below, dict):
            flat.append({"type": "url_citation", **below})
    return flat


def logprobs(note: Note) -> list[Json]:
    """A note's tokens, in the words that both of OpenAI's languages have."""
    if note.dialect not in (NAME, "openai_chat"):
        return list[Json](tokens_of(note))
    listed = note.value.get("content") if isinstance(note.value, dict) else None
    if not isinstance(listed, list):
        return []
    return [token for token in listed if isinstance(token, dict) and "token" in token]


def carries(events: Sequence[Event]) -> list[Event]:
    """What this language holds of a reply, as a decoder gives it back.

    Kept: text, refusals, reasoning, tool calls, finish reasons, usage, the
    signatures of any provider (sealed), citations of both OpenAI languages, the
    notes and extras of this one. Lost: choices but the first, media, opaque
    parts and extras of other dialects, empty deltas, which stop sequence it was.
    """
    return _Carried().all(events)


class _Carried:
    def __init__(self) -> None:
        self._out: list[Event] = []
        self._placing = Placing("")
        self._parts: dict[int, int] = {}
        self._started: dict[int, PartStarted] = {}
        self._ended_items: set[int] = set()
        self._sealed: dict[int, str] = {}
        self._opened = 0
        self._saw_call = False
        self._id = ""
        self._usage: Usage | None = None

    def all(self, events: Sequence[Event]) -> list[Event]:
        for event in events:
            choice = 0 if isinstance(event, Started | Used | Finished | Failed) else None
            if choice == 0 or getattr(event, "choice", 1) == 0:
                self._one(event)
        return self._out

    def _one(self, event: Event) -> None:
        out = self._out
        match event:
            case Started():
                self._begin(event)
            case PartStarted():
                self._part(event)
            case TextDelta() if event.text and event.part in self._parts:
                out.append(TextDelta(event.text, self._parts[event.part]))
            case ThinkingDelta() if event.text and event.part in self._started:
                out.append(ThinkingDelta(event.text, self._thinking(event.part)))
            case ToolDelta() if event.arguments:
                out.append(ToolDelta(event.arguments, self._parts[event.part]))
            case Note():
                self._note(event)
            case PartEnded() if event.part in self._started:
                self._end(event.part)
            case ChoiceEnded():
                self._ending(event)
            case Used() if not event.usage.estimated:
                self._usage = event.usage
            case Finished():
                if self._usage is not None:
                    out.append(Used(_carried_usage(self._usage)))
                out.append(event)
            case Failed():
                out.append(event)
            case _:
                pass

    def _begin(self, event: Started) -> None:
        home = event.extra.dialect == NAME
        self._placing = Placing(event.id)
        self._id = event.id if home and event.id else reply_id(event.id)
        fields = event.extra.home(NAME)
        self._out.append(Started(self._id, event.model, event.created, Extra(NAME, fields)))

    def _open(self, kind: PartKind, number: int, shape: dict[str, Json] | None) -> PartStarted:
        extra = NOTHING if shape is None else Extra(NAME, {REPLY_ITEM: dict(shape)})
        started = PartStarted(kind, self._opened, extra=extra)
        if number >= 0:
            self._parts[number] = self._opened
        self._opened += 1
        return started

    def _part(self, event: PartStarted) -> None:
        self._started[event.part] = event
        placing = self._placing
        if event.kind in SPOKEN:
            self._out.append(self._open(event.kind, event.part, placing.message(event.extra)))
        elif event.kind is PartKind.TOOL:
            self._saw_call = True
            shape = placing.item(call_kind(event.extra), event.extra)
            opened = self._open(event.kind, event.part, shape)
            call_id = event.id or minted_id(self._id, placing.count - 1)
            self._out.append(
                PartStarted(PartKind.TOOL, opened.part, 0, call_id, event.name, opened.extra)
            )
        elif event.kind is PartKind.OPAQUE:
            shape = placing.opaque(event.extra)
            if shape is not None:
                self._out.append(self._open(event.kind, event.part, shape))

    def _thinking(self, number: int) -> int:
        if number not in self._parts:
            shape = self._placing.item("reasoning", self._started[number].extra)
            self._out.append(self._open(PartKind.THINKING, number, shape))
        return self._parts[number]

    def _note(self, note: Note) -> None:
        kind, value = note.kind, note.value
        started = self._started.get(note.part)
        if started is None:
            return
        if started.kind is PartKind.THINKING and moves(note):
            self._thinking(note.part)
        part = self._parts.get(note.part)
        if kind in SEALED:
            self._seal(note, started)
        elif part is None:
            return
        elif kind is NoteKind.CITATION and started.kind in SPOKEN:
            for one in cited(note):
                self._out.append(Note(kind, [one], part, 0, NAME))
        elif kind is NoteKind.LOGPROBS and started.kind in SPOKEN:
            tokens = logprobs(note)
            if tokens:
                self._out.append(Note(kind, {"content": tokens}, part, 0, NAME))
        elif kind is NoteKind.EXTRA and note.dialect == NAME and _is_ours(value):
            if isinstance(value, dict) and REPLY_ITEM in value:
                self._ended_items.add(note.part)
            self._out.append(Note(kind, value, part, 0, NAME))

    def _seal(self, note: Note, started: PartStarted) -> None:
        text = seal_of(note)
        if not text:
            return
        if started.kind is PartKind.THINKING:
            self._sealed[note.part] = text
            return
        opened = self._open(PartKind.THINKING, -1, self._placing.item("reasoning", NOTHING))
        self._out += (opened, _signed(text, opened.part), PartEnded(opened.part))

    def _end(self, number: int) -> None:
        started = self._started[number]
        text = self._sealed.get(number)
        if text is not None:
            self._out.append(_signed(text, self._thinking(number)))
        part = self._parts.get(number)
        if part is None:
            return
        if started.kind is PartKind.OPAQUE and number not in self._ended_items:
            item = dict(_item_of(started.extra) or {})
            self._out.append(Note(NoteKind.EXTRA, {REPLY_ITEM: item}, part, 0, NAME))
        self._out.append(PartEnded(part))

    def _ending(self, event: ChoiceEnded) -> None:
        fields = write_ending(event)
        reason, raw = read_ending(fields, self._saw_call)
        if fields["incomplete_details"] is None:
            del fields["incomplete_details"]
        self._out.append(ChoiceEnded(reason, raw=raw, extra=Extra(NAME, fields)))


def _signed(text: str, part: int) -> Note:
    return Note(NoteKind.SIGNATURE, text, part, dialect=NAME)


def _carried_usage(usage: Usage) -> Usage:
    return Usage(
        fresh=usage.fresh,
        cache_read=usage.cache_read,
        cache_write=usage.cache_write,
        output=usage.output,
        reasoning=usage.reasoning,
        total=usage.prompt + usage.output if usage.total is None else usage.total,
        extra=usage.extra if usage.extra.dialect == NAME else NOTHING,
    )
