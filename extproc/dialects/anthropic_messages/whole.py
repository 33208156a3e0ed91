"""Events to one whole Anthropic `message`, and to the answer of a count.

Gathers the reply; `feed` gives the body with `Finished`, or the error's with
`Failed`. A tool call must be an object here: one that its provider broke off at the
token limit is left out, as the stop reason says, and any other broken one is an error.
"""

from __future__ import annotations

from collections.abc import Mapping

from extproc.codec import jsontext
from extproc.dialects._extras import fill
from extproc.dialects._signatures import wrap
from extproc.dialects.anthropic_messages.encoder import (
    carries_note,
    ending_word,
    is_home_block,
    message,
)
from extproc.dialects.anthropic_messages.errors import envelope
from extproc.dialects.anthropic_messages.words import NAME, write_usage
from extproc.model.chat import Json
from extproc.model.dialect import ReplyContext
from extproc.model.errors import UpstreamBad
from extproc.model.reply import (
    ChoiceEnded,
    Counted,
    Event,
    Failed,
    Finished,
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

_WHOLE = {"content-type": "application/json"}
_CUT = (Reason.LENGTH, Reason.CONTEXT)


class CountEncoder:
    """`{"input_tokens": n}`."""

    def __init__(self, context: ReplyContext) -> None:
        self._context = context
        self._tokens = 0

    def head(self) -> tuple[int, Mapping[str, str]]:
        return 200, _WHOLE

    def feed(self, event: Event) -> bytes:
        match event:
            case Counted():
                self._tokens = event.tokens
            case Finished():
                return jsontext.dumps({"input_tokens": self._tokens})
            case Failed():
                return envelope(event.error, self._context.call_id)
            case _:
                pass
        return b""


class _Part:
    """One part as it grows."""

    __slots__ = ("citations", "notes", "redacted", "signature", "start", "words")

    def __init__(self, start: PartStarted) -> None:
        self.start = start
        self.words: list[str] = []
        self.signature = ""
        self.redacted: list[str] = []
        self.citations: list[Json] = []
        self.notes: list[dict[str, Json]] = []


class _BrokenCall(Exception):
    pass


class WholeEncoder:
    def __init__(self, context: ReplyContext) -> None:
        self._context = context
        self._parts: dict[int, _Part] = {}
        self._ended: ChoiceEnded | None = None
        self._usage: Usage | None = None
        self._extra: Mapping[str, Json] = {}
        self._status = 200

    def head(self) -> tuple[int, Mapping[str, str]]:
        """Right when the body was given: what cannot be said whole is an error."""
        return self._status, _WHOLE

    def feed(self, event: Event) -> bytes:
        match event:
            case TextDelta() | ThinkingDelta() if event.choice == 0:
                self._words(event.part, event.text)
            case ToolDelta() if event.choice == 0:
                self._words(event.part, event.arguments)
            case PartStarted() if event.choice == 0:
                self._parts[event.part] = _Part(event)
            case Note() if event.choice == 0 and event.part in self._parts:
                _note(self._parts[event.part], event)
            case Started():
                self._extra = event.extra.home(NAME)
            case ChoiceEnded() if event.choice == 0:
                self._ended = event
            case Used():
                self._usage = event.usage
            case Finished():
                return self._body()
            case Failed():
                return envelope(event.error, self._context.call_id)
            case _:
                pass
        return b""

    def _words(self, part: int, text: str) -> None:
        self._parts[part].words.append(text)

    def _body(self) -> bytes:
        ended = self._ended
        content: list[Json] = []
        try:
            for _, part in sorted(self._parts.items()):
                content.extend(self._blocks(part))
        except _BrokenCall:
            error = UpstreamBad("the model called a tool with arguments that are not a JSON object")
            self._status = error.status
            return envelope(error, self._context.call_id)
        out = message(self._context, {})
        refused = any(part.start.kind is PartKind.REFUSAL for part in self._parts.values())
        out["content"] = content
        out["stop_reason"] = ending_word(ended, refused)
        out["stop_sequence"] = None if ended is None else ended.stop
        out["usage"] = write_usage(self._usage)
        fill(out, self._extra)
        if ended is not None:
            fill(out, ended.extra.home(NAME))
        return jsontext.dumps(out)

    def _blocks(self, part: _Part) -> list[Json]:
        text = "".join(part.words)
        match part.start.kind:
            case PartKind.TEXT | PartKind.REFUSAL:
                if not text and not part.citations:
                    return []
                out: dict[str, Json] = {"type": "text", "text": text}
                if part.citations:
                    out["citations"] = part.citations
            case PartKind.THINKING:
                blocks: list[Json] = []
                if text or part.signature:
                    blocks.append(
                        {"type": "thinking", "thinking": text, "signature": part.signature}
                    )
                blocks.extend({"type": "redacted_thinking", "data": d} for d in part.redacted)
                return blocks
            case PartKind.TOOL:
                arguments = _object(text)
                if arguments is None:
                    if self._ended is not None and self._ended.reason in _CUT:
                        return []
                    raise _BrokenCall
                out = {
                    "type": "tool_use",
                    "id": part.start.id,
                    "name": part.start.name,
                    "input": arguments,
                }
                fill(out, part.start.extra.home(NAME))
            case PartKind.OPAQUE if is_home_block(part.start):
                out = _grown(dict(part.start.extra.home(NAME)), part.notes)
            case PartKind.OPAQUE | PartKind.MEDIA:
                return []
        return [out]


def _note(part: _Part, note: Note) -> None:
    value = note.value
    kind = part.start.kind
    if note.kind is NoteKind.REDACTED and kind is PartKind.THINKING:
        if isinstance(value, str) and value:
            part.redacted.append(wrap(value, note.dialect, NAME))
    elif carries_note(kind, note):
        match note.kind, value:
            case NoteKind.SIGNATURE, str():
                part.signature = wrap(value, note.dialect, NAME)
            case NoteKind.CITATION, _:
                part.citations.append(value)
            case _, dict():
                part.notes.append(value)
            case _:
                pass


def _object(text: str) -> dict[str, Json] | None:
    """What a tool is called with, or None if that is no object."""
    if not text.strip():
        return {}
    try:
        value = jsontext.loads(text.encode("utf-8", "surrogatepass"))
    except jsontext.BadJson:
        return None
    return value if isinstance(value, dict) else None


def _grown(block: dict[str, Json], deltas: list[dict[str, Json]]) -> dict[str, Json]:
    """A block with the deltas of its stream: pieces of its input, and texts that grow."""
    arguments = ""
    for delta in deltas:
        for name, value in delta.items():
            old = block.get(name)
            match name, value:
                case "type", _:
                    pass
                case "partial_json", str():
                    arguments += value
                case _, str() if isinstance(old, str):
                    block[name] = old + value
                case _:
                    block[name] = value
    given = _object(arguments) if arguments else None
    if given is not None:
        block["input"] = given
    return block
