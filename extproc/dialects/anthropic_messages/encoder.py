"""Events to Anthropic replies: events as they come, or one `message` at the end.

One block is open at a time: what other parts say meanwhile waits. The id is our
call id in this language's form, the model is the name the client sent. Extras and
notes of this dialect travel home, signatures of others wrapped; all else of others
stays away. Choices but the first, which this language cannot ask for, are left out.
"""

from __future__ import annotations

from collections.abc import Mapping

import orjson

from extproc.codec import jsontext, sse
from extproc.dialects._decoding import TooMuch
from extproc.dialects._extras import fill
from extproc.dialects._signatures import wrap
from extproc.dialects.anthropic_messages.errors import envelope
from extproc.dialects.anthropic_messages.words import NAME, word_of, write_usage
from extproc.model.chat import Json
from extproc.model.dialect import ReplyContext
from extproc.model.errors import UpstreamBad
from extproc.model.reply import (
    ChoiceEnded,
    Counted,
    Event,
    Failed,
    Finished,
    MediaDelta,
    Note,
    NoteKind,
    OpaqueChunk,
    PartEnded,
    PartKind,
    PartStarted,
    Ranked,
    Reason,
    Started,
    TextDelta,
    ThinkingDelta,
    ToolDelta,
    Usage,
    Used,
    Vector,
)

MAX_HELD = 16 * 1024 * 1024
"""bytes of blocks that wait for another one to end"""
_STREAM = {"content-type": "text/event-stream; charset=utf-8", "cache-control": "no-cache"}
_STOP = b'event: message_stop\ndata: {"type":"message_stop"}\n\n'
_DELTA = (
    b'event: content_block_delta\ndata: {"type":"content_block_delta","index":%d,"delta":%b}\n\n'
)
_TEXT = b'{"type":"text_delta","text":%b}'
_THINKING = b'{"type":"thinking_delta","thinking":%b}'
_JSON = b'{"type":"input_json_delta","partial_json":%b}'
_BESIDE = "context_management"
"""the one member of a message's end that stands beside `delta`"""
_LAZY = (PartKind.TEXT, PartKind.REFUSAL, PartKind.THINKING)
_WORDS = (PartKind.TEXT, PartKind.REFUSAL)
_KNOWN_DELTAS = frozenset(
    {"text_delta", "thinking_delta", "input_json_delta", "signature_delta", "citations_delta"}
)


def reply_id(call_id: str) -> str:
    return "msg_" + call_id.removeprefix("gw-")


def message(context: ReplyContext, extra: Mapping[str, Json]) -> dict[str, Json]:
    """A message as it begins: nothing said, nothing counted."""
    out: dict[str, Json] = {
        "id": reply_id(context.call_id),
        "type": "message",
        "role": "assistant",
        "model": context.model,
        "content": [],
        "stop_reason": None,
        "stop_sequence": None,
        "usage": write_usage(None),
    }
    fill(out, extra)
    return out


def ending_word(event: ChoiceEnded | None, refused: bool) -> str:
    """The stop reason. A reply that has words of refusal ended by it, whatever its provider said."""
    if event is None:
        return "end_turn"
    if refused and event.reason in (Reason.STOP, Reason.FILTER):
        return word_of(Reason.REFUSAL, None, at_home=False)
    return word_of(event.reason, event.raw, event.extra.dialect == NAME)


def carries_note(kind: PartKind, note: Note) -> bool:
    """Whether a note becomes a delta of a block of this kind. What is redacted is a block of its own."""
    if not note.value:
        return False
    match note.kind:
        case NoteKind.SIGNATURE:
            return kind is PartKind.THINKING and isinstance(note.value, str)
        case NoteKind.CITATION:
            return kind in _WORDS and note.dialect == NAME
        case NoteKind.EXTRA:
            # In a block of a kind that we know, a delta that we know is no note.
            if note.dialect != NAME or not isinstance(note.value, dict):
                return False
            delta = note.value.get("type")
            known = isinstance(delta, str) and delta in _KNOWN_DELTAS
            return kind is PartKind.OPAQUE or not known
        case NoteKind.REDACTED | NoteKind.LOGPROBS:
            return False


def is_home_block(part: PartStarted) -> bool:
    return part.kind is PartKind.OPAQUE and "type" in part.extra.home(NAME)


class _Block:
    """One part on its way to being a block. `pieces` wait while another block is open."""

    __slots__ = ("ended", "pieces", "redacted", "start", "started")

    def __init__(self, start: PartStarted) -> None:
        self.start = start
        self.started = False
        self.ended = False
        self.redacted: list[str] = []
        self.pieces: list[bytes] = []


class StreamEncoder:
    """Each event becomes the stream's event that says it, at once where it can."""

    def __init__(self, context: ReplyContext) -> None:
        self._context = context
        self._blocks: dict[int, _Block] = {}
        self._open = -1
        self._index = -1
        self._held = 0
        self._refused = False
        self._broken = False
        self._ended: ChoiceEnded | None = None
        self._usage: Usage | None = None

    def head(self) -> tuple[int, Mapping[str, str]]:
        return 200, _STREAM

    def feed(self, event: Event) -> bytes:
        if self._broken:
            return b""
        try:
            return self._write(event)
        except TooMuch:
            self._broken = True
            error = UpstreamBad("the provider's reply has too much that must wait for its order")
            return self._failed(Failed(error))

    def _write(self, event: Event) -> bytes:
        match event:
            case TextDelta():
                return self._say(event.choice, event.part, _TEXT, event.text)
            case ThinkingDelta():
                return self._say(event.choice, event.part, _THINKING, event.text)
            case ToolDelta():
                return self._say(event.choice, event.part, _JSON, event.arguments)
            case Note():
                return self._note(event)
            case PartStarted():
                return self._part(event)
            case PartEnded():
                return self._part_ended(event)
            case Started():
                start: Json = dict(message(self._context, event.extra.home(NAME)))
                return _event("message_start", {"message": start})
            case ChoiceEnded():
                if event.choice == 0:
                    self._ended = event
                return b""
            case Used():
                self._usage = event.usage
                return b""
            case Finished():
                return self._end()
            case Failed():
                return self._failed(event)
            case MediaDelta() | Vector() | Ranked() | Counted() | OpaqueChunk():
                return b""

    def _failed(self, event: Failed) -> bytes:
        return sse.write(envelope(event.error, self._context.call_id), b"error")

    # --- blocks

    def _part(self, event: PartStarted) -> bytes:
        if event.choice != 0 or event.kind is PartKind.MEDIA:
            return b""
        if event.kind is PartKind.OPAQUE and not is_home_block(event):
            return b""
        self._refused = self._refused or event.kind is PartKind.REFUSAL
        self._blocks[event.part] = _Block(event)
        if self._open >= 0:
            return b""
        return self._begin(event.part)

    def _begin(self, part: int) -> bytes:
        """Makes it the open block. Words wait for the first of them: a block must not be empty."""
        self._open = part
        block = self._blocks[part]
        out = b"" if block.start.kind in _LAZY else self._start(block)
        for piece in block.pieces:
            self._held -= len(piece)
            out += self._started(block) + _DELTA % (self._index, piece)
        block.pieces.clear()
        return out

    def _started(self, block: _Block) -> bytes:
        return b"" if block.started else self._start(block)

    def _start(self, block: _Block) -> bytes:
        block.started = True
        self._index += 1
        start: Json = dict(_opening(block.start))
        return _event("content_block_start", {"index": self._index, "content_block": start})

    def _say(self, choice: int, part: int, form: bytes, text: str) -> bytes:
        if not text or choice != 0:
            return b""
        try:
            quoted = orjson.dumps(text)
        except orjson.JSONEncodeError:
            quoted = jsontext.dumps(text)
        return self._delta(part, form % quoted)

    def _delta(self, part: int, delta: bytes) -> bytes:
        block = self._blocks.get(part)
        if block is None:
            return b""
        if part == self._open:
            if block.started:
                return _DELTA % (self._index, delta)
            return self._start(block) + _DELTA % (self._index, delta)
        self._hold(len(delta))
        block.pieces.append(delta)
        return b""

    def _hold(self, size: int) -> None:
        self._held += size
        if self._held > MAX_HELD:
            raise TooMuch

    def _note(self, note: Note) -> bytes:
        block = self._blocks.get(note.part)
        if note.choice != 0 or block is None:
            return b""
        kind = block.start.kind
        if note.kind is NoteKind.REDACTED and kind is PartKind.THINKING:
            if isinstance(note.value, str) and note.value:
                self._hold(len(note.value))
                block.redacted.append(wrap(note.value, note.dialect, NAME))
            return b""
        if not carries_note(kind, note):
            return b""
        match note.kind, note.value:
            case NoteKind.SIGNATURE, str():
                signature = wrap(note.value, note.dialect, NAME)
                delta: Json = {"type": "signature_delta", "signature": signature}
            case NoteKind.CITATION, _:
                delta = {"type": "citations_delta", "citation": note.value}
            case _:
                delta = note.value
        return self._delta(note.part, jsontext.dumps(delta))

    def _part_ended(self, event: PartEnded) -> bytes:
        block = self._blocks.get(event.part)
        if event.choice != 0 or block is None:
            return b""
        block.ended = True
        if event.part != self._open:
            return b""
        out = self._close(block)
        waiting = sorted(part for part in self._blocks if part != event.part)
        del self._blocks[event.part]
        self._open = -1
        for part in waiting:
            out += self._begin(part)
            block = self._blocks[part]
            if not block.ended:
                break
            out += self._close(block)
            del self._blocks[part]
            self._open = -1
        return out

    def _close(self, block: _Block) -> bytes:
        out = _event("content_block_stop", {"index": self._index}) if block.started else b""
        for data in block.redacted:
            self._held -= len(data)
            self._index += 1
            redacted: Json = {"type": "redacted_thinking", "data": data}
            out += _event("content_block_start", {"index": self._index, "content_block": redacted})
            out += _event("content_block_stop", {"index": self._index})
        return out

    # --- the end

    def _end(self) -> bytes:
        ended = self._ended
        delta: dict[str, Json] = {
            "stop_reason": ending_word(ended, self._refused),
            "stop_sequence": None if ended is None else ended.stop,
        }
        out: dict[str, Json] = {"delta": delta, "usage": write_usage(self._usage)}
        if ended is not None:
            for name, value in ended.extra.home(NAME).items():
                (out if name == _BESIDE else delta).setdefault(name, value)
        return _event("message_delta", out) + _STOP


def _opening(part: PartStarted) -> Mapping[str, Json]:
    """The block as it begins."""
    match part.kind:
        case PartKind.TEXT | PartKind.REFUSAL:
            return {"type": "text", "text": ""}
        case PartKind.THINKING:
            return {"type": "thinking", "thinking": "", "signature": ""}
        case PartKind.TOOL:
            call: dict[str, Json] = {
                "type": "tool_use",
                "id": part.id,
                "name": part.name,
                "input": {},
            }
            fill(call, part.extra.home(NAME))
            return call
        case PartKind.OPAQUE | PartKind.MEDIA:
            return part.extra.home(NAME)


def _event(kind: str, members: Mapping[str, Json]) -> bytes:
    return sse.write(jsontext.dumps({"type": kind, **members}), kind.encode())
