"""What of any reply the OpenAI Chat language can hold, and how its flat deltas become parts."""

from __future__ import annotations

from collections.abc import Sequence

from extproc.dialects import _likelihood
from extproc.dialects._parts import Parts
from extproc.dialects.openai_chat.words import FIELD, NAME, reason_of, word_of
from extproc.model.chat import NOTHING, Extra
from extproc.model.reply import (
    ChoiceEnded,
    Event,
    Failed,
    Finished,
    MediaDelta,
    Note,
    NoteKind,
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


def new_parts() -> Parts:
    return Parts(NAME, _reason)


def _reason(word: str | None, saw_tool: bool) -> Reason:
    return reason_of(word or "stop", saw_tool)


def tool_key(extra: Extra) -> str:
    """The member of a call that holds its name and arguments: `function`, or `custom`."""
    return "custom" if extra.home(NAME).get("type") == "custom" else "function"


def carries(events: Sequence[Event]) -> list[Event]:
    """What a stream in this language can hold of a reply, as a decoder would give it back.

    Kept: text, reasoning text, refusals, tool calls, audio, finish reasons,
    usage, and the notes and extras of this dialect. Lost: signatures, citations
    and extras of other dialects, media that is not audio, empty deltas, which
    stop sequence it was, the difference between a refusal and a filter. Parts
    of one kind that follow each other become one.
    """
    parts = new_parts()
    open_parts: dict[tuple[int, int], PartStarted] = {}
    usage: Usage | None = None
    for event in events:
        match event:
            case Started():
                home = Extra(NAME, event.extra.fields)
                kept = home if event.extra.dialect == NAME and home.fields else NOTHING
                parts.started(Started(event.id, event.model, event.created, kept))
                parts.choice(0)
            case PartStarted():
                open_parts[event.choice, event.part] = event
                if event.kind is PartKind.TOOL:
                    extra = dict(event.extra.home(NAME))
                    index = -event.part - 1
                    parts.tool(parts.choice(event.choice), index, event.id, event.name, "", extra)
            case TextDelta() if event.text:
                choice = parts.choice(event.choice)
                refusal = open_parts[event.choice, event.part].kind is PartKind.REFUSAL
                (parts.refusal if refusal else parts.text)(choice, event.text)
            case ThinkingDelta() if event.text:
                field = thinking_field(open_parts[event.choice, event.part].extra)
                parts.thinking(parts.choice(event.choice), event.text, thinking_extra(field))
            case ToolDelta() if event.arguments:
                index = -event.part - 1
                parts.tool(parts.choice(event.choice), index, "", "", event.arguments, {})
            case MediaDelta() if event.data and is_audio(event.media_type):
                parts.media(parts.choice(event.choice), event.data, None)
            case Note() if (note := own(event)).dialect == NAME and note.kind in NOTES:
                if isinstance(note.value, dict) and "audio" in note.value:
                    parts.media_part(parts.choice(note.choice))
                parts.note(parts.choice(note.choice), note.kind, note.value)
            case ChoiceEnded():
                choice = parts.choice(event.choice)
                at_home = event.extra.dialect == NAME
                choice.raw = word_of(event.reason, event.raw, at_home)
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


def own(note: Note) -> Note:
    """A note in this language's shape, where another tells the same."""
    return _likelihood.own(note, NAME, lambda tokens: {"content": list(tokens), "refusal": None})


NOTES = frozenset({NoteKind.LOGPROBS, NoteKind.EXTRA, NoteKind.CITATION})


def is_audio(media_type: str | None) -> bool:
    return media_type is None or media_type.startswith("audio/")


def thinking_extra(field: str) -> Extra:
    """Remembers the member in which reasoning came, unless it is the usual one."""
    return NOTHING if field == "reasoning_content" else Extra(NAME, {FIELD: field})


def thinking_field(extra: Extra) -> str:
    field = extra.home(NAME).get(FIELD)
    return field if isinstance(field, str) else "reasoning_content"


def _carried_usage(usage: Usage) -> Usage:
    return Usage(
        fresh=usage.fresh,
        cache_read=usage.cache_read,
        cache_write=usage.cache_write,
        output=usage.output,
        reasoning=usage.reasoning,
        audio_in=usage.audio_in,
        audio_out=usage.audio_out,
        total=usage.prompt + usage.output if usage.total is None else usage.total,
        extra=usage.extra if usage.extra.dialect == NAME else NOTHING,
    )
