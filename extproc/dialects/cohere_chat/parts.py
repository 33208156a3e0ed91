"""What of any reply Cohere's language can hold, as a decoder would give it back."""

from __future__ import annotations

from collections.abc import Sequence

from extproc.dialects import _likelihood
from extproc.dialects._parts import Parts
from extproc.dialects.cohere_chat.words import NAME, PLAN, reason_of, word_of
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

PLANNED = Extra(NAME, {PLAN: True})
"""of a thinking part that is a `tool_plan`"""
NOTES = frozenset({NoteKind.CITATION, NoteKind.LOGPROBS})


def own(note: Note) -> Note:
    """A note in this language's shape, where another tells the same; tokens' numbers are the model's own."""

    def write(tokens: list[_likelihood.Token]) -> Json:
        text = "".join(str(token["token"]) for token in tokens)
        likely: list[Json] = [token["logprob"] for token in tokens]
        return {"text": text, "token_ids": [], "logprobs": likely}

    return _likelihood.own(note, NAME, write)


def new_parts() -> Parts:
    return Parts(NAME, reason_of)


def is_plan(part: PartStarted) -> bool:
    return PLAN in part.extra.home(NAME)


def carries(events: Sequence[Event]) -> list[Event]:
    """What a stream in this language can hold of a reply.

    Kept of the first choice: text (a refusal becomes text), reasoning text, tool
    calls, the finish reason, usage, and what is of this dialect. Lost: other
    choices, media, the provider's name of the model, signatures, what was written
    to a cache, which stop sequence it was, empty parts.
    """
    parts = new_parts()
    found: dict[int, PartStarted] = {}
    block = -1
    calls: dict[int, int] = {}
    usage: Usage | None = None
    for event in events:
        match event:
            case Started():
                parts.started(Started(event.id, ""))
                parts.choice(0)
            case PartStarted() if event.choice == 0:
                found[event.part] = event
                if event.kind is PartKind.TOOL:
                    at = calls[event.part] = len(calls)
                    parts.tool(parts.choice(0), at, event.id, event.name, "", {})
            case TextDelta() | ThinkingDelta() if event.choice == 0 and event.text:
                choice, started = parts.choice(0), found[event.part]
                if isinstance(event, ThinkingDelta) and is_plan(started):
                    parts.thinking(choice, event.text, PLANNED)
                    continue
                if block != event.part:
                    parts.end_part(choice)
                    block = event.part
                thinks = isinstance(event, ThinkingDelta)
                (parts.thinking if thinks else parts.text)(choice, event.text)
            case ToolDelta() if event.choice == 0:
                parts.tool(parts.choice(0), calls[event.part], "", "", event.arguments, {})
            case PartEnded() if event.choice == 0 and event.part == block:
                block = -1
            case Note() if event.choice == 0:
                note = own(event)
                if note.dialect == NAME and note.kind in NOTES:
                    parts.note(parts.choice(0), note.kind, note.value)
            case ChoiceEnded() if event.choice == 0:
                choice = parts.choice(0)
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


def _carried_usage(usage: Usage) -> Usage:
    return Usage(
        fresh=usage.fresh + usage.cache_write,
        cache_read=usage.cache_read,
        output=usage.output,
        extra=usage.extra if usage.extra.home(NAME) else NOTHING,
    )
