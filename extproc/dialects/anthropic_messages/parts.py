"""What of any reply the Anthropic Messages language can hold."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from extproc.dialects._signatures import wrap
from extproc.dialects.anthropic_messages.encoder import (
    carries_note,
    ending_word,
    is_home_block,
)
from extproc.dialects.anthropic_messages.words import NAME, read_usage, reason_of, write_usage
from extproc.model.chat import NOTHING, Extra
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


def carries(events: Sequence[Event]) -> list[Event]:
    """What a stream in this language can hold of a reply, as a decoder would give it back.

    Kept of the first choice: text, thinking with signatures (of others wrapped), tool
    calls, stop reasons, usage, and the blocks, notes and extras of this dialect. A
    refusal's words are text, and the reply ends by refusal. Lost: other choices,
    media, empty deltas and parts, citations and extras of others, what is estimated.
    Parts come one after the other.
    """
    parts: dict[int, list[Event]] = {}
    out: list[Event] = []
    ended: ChoiceEnded | None = None
    usage: Usage | None = None
    for event in events:
        match event:
            case Started():
                home = Extra(NAME, event.extra.home(NAME))
                out.append(Started(event.id, event.model, extra=home if home.fields else NOTHING))
            case PartStarted() if event.choice == 0:
                parts[event.part] = [event]
            case TextDelta() | ThinkingDelta() | ToolDelta() | Note() if event.choice == 0:
                parts[event.part].append(event)
            case ChoiceEnded() if event.choice == 0:
                ended = event
            case Used():
                usage = event.usage
            case Failed():
                return [*out, event]
            case _:
                pass
    number = 0
    refused = False
    for _, part in sorted(parts.items()):
        refused = refused or _kind(part) is PartKind.REFUSAL
        for block in _blocks(part):
            out.extend(_numbered(event, number) for event in block)
            out.append(PartEnded(number))
            number += 1
    word = ending_word(ended, refused)
    extra = Extra(NAME, {} if ended is None else ended.extra.home(NAME))
    out.append(ChoiceEnded(reason_of(word), 0, word, None if ended is None else ended.stop, extra))
    carried = read_usage(write_usage(usage))
    if carried is not None:
        out.append(Used(carried))
    return [*out, Finished()]


def _kind(part: Sequence[Event]) -> PartKind:
    start = part[0]
    assert isinstance(start, PartStarted)
    return start.kind


def _numbered(event: Event, part: int) -> Event:
    match event:
        case PartStarted() | TextDelta() | ThinkingDelta() | ToolDelta() | Note():
            return replace(event, part=part)
        case _:
            return event


def _blocks(part: Sequence[Event]) -> list[list[Event]]:
    """The blocks that one part becomes: none, one, or thinking and what is redacted of it."""
    start = part[0]
    assert isinstance(start, PartStarted)
    home = Extra(NAME, start.extra.home(NAME))
    extra = home if home.fields else NOTHING
    inside = [event for event in part[1:] if _says(event)]
    notes = [event for event in inside if isinstance(event, Note)]
    said = [e for e in inside if not isinstance(e, Note) or carries_note(start.kind, e)]
    match start.kind:
        case PartKind.TEXT | PartKind.REFUSAL:
            return [[PartStarted(PartKind.TEXT), *said]] if said else []
        case PartKind.THINKING:
            opened = PartStarted(PartKind.THINKING)
            blocks = [[opened, *map(_wrapped, said)]] if said else []
            hidden = (note for note in notes if note.kind is NoteKind.REDACTED)
            return [*blocks, *([opened, _wrapped(note)] for note in hidden)]
        case PartKind.TOOL:
            if not any(isinstance(event, ToolDelta) for event in said):
                said = [*said, ToolDelta("{}")]
            return [[PartStarted(PartKind.TOOL, 0, 0, start.id, start.name, extra), *said]]
        case PartKind.OPAQUE:
            return (
                [[PartStarted(PartKind.OPAQUE, extra=extra), *said]] if is_home_block(start) else []
            )
        case PartKind.MEDIA:
            return []


def _says(event: Event) -> bool:
    match event:
        case TextDelta() | ThinkingDelta():
            return bool(event.text)
        case ToolDelta():
            return bool(event.arguments)
        case Note():
            return bool(event.value)
        case _:
            return True


def _wrapped(event: Event) -> Event:
    match event:
        case Note() if isinstance(event.value, str):
            value = wrap(event.value, event.dialect, NAME)
            return replace(event, value=value, dialect=NAME)
        case _:
            return event
