"""What of any reply Ollama's language can hold, and its rule for tool calls."""

from __future__ import annotations

from collections.abc import Sequence

from extproc.codec import jsontext
from extproc.dialects import _likelihood
from extproc.dialects._parts import Parts
from extproc.dialects._tools import arguments_text
from extproc.dialects.ollama_chat.words import NAME, reason_of, word_of
from extproc.model.chat import NOTHING, Json
from extproc.model.errors import GatewayError, Origin, UpstreamBad
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
    Reason,
    Started,
    TextDelta,
    ThinkingDelta,
    ToolDelta,
    Usage,
    Used,
)

NOTES = frozenset({NoteKind.LOGPROBS, NoteKind.EXTRA})


def own(note: Note) -> Note:
    """A note in this language's shape, where another tells the same."""
    return _likelihood.own(note, NAME, list[Json])


def arguments_of(text: str) -> dict[str, Json] | None:
    """The arguments of a call as an object; none at all are an empty one; None: they are no object."""
    if not text.strip():
        return {}
    try:
        value = jsontext.loads(text.encode("utf-8", "surrogatepass"))
    except jsontext.BadJson:
        return None
    return value if isinstance(value, dict) else None


def is_cut(reason: Reason) -> bool:
    """Whether the model was stopped in the middle of what it said."""
    return reason in (Reason.LENGTH, Reason.CONTEXT, Reason.FILTER)


def broken_call(name: str) -> GatewayError:
    """The provider's failure to call a tool properly."""
    return UpstreamBad(
        f"the model called the tool {name} with arguments that are not a JSON object",
        origin=Origin.PROVIDER,
    )


def carries(events: Sequence[Event]) -> list[Event]:
    """What a stream in this language can hold of a reply, as a decoder would give it back.

    Kept of the first choice: text (a refusal becomes text), reasoning text, whole
    tool calls, the finish reason, usage, and what is of this dialect. Lost: other
    choices, media, ids, signatures, citations, what is in and out of a cache,
    which stop sequence it was. A call that was cut short is lost; arguments that
    are no object for another reason fail the reply.
    """
    parts = Parts(NAME, reason_of)
    tools: dict[int, tuple[PartStarted, list[str]]] = {}
    broken = ""
    usage: Usage | None = None
    reason = Reason.STOP
    for event in events:
        match event:
            case Started():
                kept = event.extra if event.extra.home(NAME) else NOTHING
                parts.started(Started("", event.model, event.created, kept))
                parts.choice(0)
            case PartStarted() if event.choice == 0 and event.kind is PartKind.TOOL:
                tools[event.part] = (event, [])
            case TextDelta() if event.choice == 0 and event.text:
                parts.text(parts.choice(0), event.text)
            case ThinkingDelta() if event.choice == 0 and event.text:
                parts.thinking(parts.choice(0), event.text)
            case ToolDelta() if event.choice == 0:
                tools[event.part][1].append(event.arguments)
            case PartEnded() if event.choice == 0 and event.part in tools:
                started, pieces = tools.pop(event.part)
                arguments = arguments_of("".join(pieces))
                if arguments is None:
                    broken = broken or started.name
                    continue
                text = arguments_text(arguments)
                parts.whole_tool(parts.choice(0), started.id, started.name, text)
            case Note() if event.choice == 0:
                note = own(event)
                if note.dialect == NAME and note.kind in NOTES:
                    parts.note(parts.choice(0), note.kind, note.value)
            case ChoiceEnded() if event.choice == 0:
                choice, reason = parts.choice(0), event.reason
                choice.raw = word_of(event.reason, event.raw, event.extra.dialect == NAME)
                choice.extra.update(event.extra.home(NAME))
            case Used() if not event.usage.estimated:
                usage = Usage(fresh=event.usage.prompt, output=event.usage.output)
            case Finished() if broken and not is_cut(reason):
                _failed(parts, Failed(broken_call(broken)))
            case Finished():
                parts.end(usage)
            case Failed():
                _failed(parts, event)
            case _:
                pass
    return parts.out


def _failed(parts: Parts, event: Failed) -> None:
    """A reply that says nothing before it fails is the error alone: its start is on no line."""
    if len(parts.out) == 1:
        parts.out.clear()
    parts.out.append(event)
