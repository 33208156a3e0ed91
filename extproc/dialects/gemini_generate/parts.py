"""What of any reply Gemini's language can hold, as a decoder would give it back."""

from __future__ import annotations

from collections.abc import Sequence

from extproc.codec import jsontext
from extproc.dialects._parts import Choice, Parts, in_words
from extproc.dialects._tools import arguments_text
from extproc.dialects.gemini_generate.flat import own
from extproc.dialects.gemini_generate.reader import OWN, new_parts
from extproc.dialects.gemini_generate.words import FORM, NAME, word_of
from extproc.model.chat import NOTHING, Extra
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
    Started,
    TextDelta,
    ThinkingDelta,
    ToolDelta,
    Usage,
    Used,
)


def carries(events: Sequence[Event]) -> list[Event]:
    """The events that come back when these are written in this language and read again.

    Kept: text, reasoning, signatures of all dialects, whole calls and media, usage,
    finish reasons, and notes and extras of this dialect. Lost: the cuts within
    calls and media, which part of a text was a refusal (the choice ends by it), notes and
    extras of other dialects, which stop sequence it was, when the reply was made.
    """
    held = _Held()
    parts = held.parts
    usage: Usage | None = None
    for event in events:
        match event:
            case Started():
                at_home = event.extra.dialect == NAME and event.extra.fields
                kept = Extra(NAME, event.extra.fields) if at_home else NOTHING
                parts.started(Started(event.id, event.model, None, kept))
            case PartStarted():
                held.open[event.choice, event.part] = (event, [])
                if event.kind is PartKind.REFUSAL:
                    held.refused.add(event.choice)
            case TextDelta() if event.text:
                parts.text(held.ready(event.choice), event.text)
            case ThinkingDelta() if event.text:
                parts.thinking(held.ready(event.choice), event.text)
                held.open[event.choice, event.part][1].append(event)
            case ToolDelta() | MediaDelta():
                held.open[event.choice, event.part][1].append(event)
            case Note():
                held.note(event)
            case PartEnded():
                held.ended(*held.open.pop((event.choice, event.part)))
            case ChoiceEnded():
                choice = held.ready(event.choice)
                if event.choice in held.refused:
                    event = in_words(event)
                choice.raw = word_of(event.reason, event.raw, event.extra.dialect == NAME)
                choice.extra.update(event.extra.home(NAME))
            case Used() if not event.usage.estimated:
                usage = event.usage
            case Finished():
                parts.end(None if usage is None else _carried_usage(usage))
            case Failed():
                parts.out.append(event)
            case _:
                pass
    return parts.out


class _Held:
    """Parts that are open, and signatures that wait for a call."""

    def __init__(self) -> None:
        self.parts: Parts = new_parts()
        self.open: dict[tuple[int, int], tuple[PartStarted, list[Event]]] = {}
        self.signatures: dict[int, str] = {}
        self.refused: set[int] = set()

    def ready(self, index: int) -> Choice:
        """The choice, after any signature that no call took."""
        choice = self.parts.choice(index)
        signature = self.signatures.pop(index, None)
        if signature is not None:
            self._signed(choice, signature, OWN)
        return choice

    def note(self, note: Note) -> None:
        note = own(note)
        start, said = self.open[note.choice, note.part]
        signs = note.kind in (NoteKind.SIGNATURE, NoteKind.REDACTED)
        if signs and isinstance(note.value, str):
            choice = self.ready(note.choice)
            joins = choice.kind is PartKind.THINKING and note.kind is NoteKind.SIGNATURE
            if note.dialect != NAME:
                if not joins:
                    self.parts.open_thought(choice)
                self._note(choice, note)
            elif start.kind is PartKind.THINKING and said:
                self._note(choice, note)
            elif start.kind is PartKind.THINKING and start.extra.home(NAME).get(FORM):
                self._signed(choice, note.value, OWN)
            elif start.kind is PartKind.THINKING:
                self.signatures[note.choice] = note.value
        elif note.dialect == NAME and note.kind is NoteKind.EXTRA:
            self.parts.opaque(self.ready(note.choice), note.kind, note.value)
        elif note.dialect == NAME and note.kind in (NoteKind.LOGPROBS, NoteKind.CITATION):
            choice = self.parts.choice(note.choice)
            if choice.kind is None:
                self.parts.opaque(choice, note.kind, note.value)
            else:
                self.parts.note(choice, note.kind, note.value)

    def ended(self, start: PartStarted, said: Sequence[Event]) -> None:
        if start.kind is PartKind.TOOL:
            pieces = "".join(e.arguments for e in said if isinstance(e, ToolDelta)) or "{}"
            arguments = arguments_text(jsontext.loads(pieces.encode("utf-8", "replace")))
            choice = self._before_call(start.choice)
            at_home = start.extra.dialect == NAME and start.extra.fields
            extra = Extra(NAME, start.extra.fields) if at_home else NOTHING
            self.parts.whole_tool(choice, start.id, start.name, arguments, extra)
        pieces = [e for e in said if isinstance(e, MediaDelta) and e.data]
        if pieces:
            kind = next((e.media_type for e in pieces if e.media_type), "application/octet-stream")
            choice = self._before_call(start.choice)
            self.parts.end_part(choice)
            self.parts.media(choice, "".join(e.data for e in pieces), kind)

    def _before_call(self, index: int) -> Choice:
        choice = self.parts.choice(index)
        signature = self.signatures.pop(index, None)
        if signature is not None:
            self._signed(choice, signature, NOTHING)
        return choice

    def _signed(self, choice: Choice, signature: str, extra: Extra) -> None:
        self.parts.open_thought(choice, extra)
        self.parts.note(choice, NoteKind.SIGNATURE, signature)
        self.parts.end_part(choice)

    def _note(self, choice: Choice, note: Note) -> None:
        kept = Note(note.kind, note.value, choice.part, choice.index, note.dialect)
        self.parts.out.append(kept)
        self.parts.end_part(choice)


def _carried_usage(usage: Usage) -> Usage:
    return Usage(
        fresh=usage.fresh + usage.cache_write,
        cache_read=usage.cache_read,
        output=usage.output,
        reasoning=usage.reasoning,
        audio_in=usage.audio_in,
        audio_out=usage.audio_out,
        total=usage.prompt + usage.output if usage.total is None else usage.total,
        extra=Extra(NAME, usage.extra.home(NAME)),
    )
