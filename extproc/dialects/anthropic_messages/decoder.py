"""Anthropic replies, whole or streamed, to events.

A stream's blocks are our parts, one for one: text, thinking with its signature,
tool calls; every other kind (server tools and their results, compaction) is an
OPAQUE part that keeps its block. Usage is what the last event said of each count.
Nothing is raised but what `_decoding.Reader` may raise.

Source: Anthropic's streaming reference.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import orjson

from extproc.codec import jsontext
from extproc.codec.sse import Frame, SseSplitter
from extproc.dialects import _decoding as decoding
from extproc.dialects._decoding import TooMuch, bad, read_exactly, read_object
from extproc.dialects._extras import residue
from extproc.dialects._parts import MAX_PARTS
from extproc.dialects.anthropic_messages.errors import provider_error, stream_error
from extproc.dialects.anthropic_messages.invoke import InvokeSplitter
from extproc.dialects.anthropic_messages.render import COUNT
from extproc.dialects.anthropic_messages.words import NAME, read_usage, reason_of
from extproc.model.chat import NOTHING, Extra, Json
from extproc.model.dialect import Rendered, ReplyDecoder, ReplyHead
from extproc.model.reply import (
    ChoiceEnded,
    Counted,
    Event,
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
    Used,
)

_EVENT_STREAM = "application/vnd.amazon.eventstream"


def messages_decoder(head: ReplyHead, rendered: Rendered) -> ReplyDecoder:
    """The decoder for this reply. Its head decides about errors and compression, its first byte the rest."""
    framed = head.content_type == _EVENT_STREAM

    def stream() -> ReplyDecoder:
        splitter = InvokeSplitter() if framed else SseSplitter()
        return decoding.Framed(splitter, Reader(rendered), rewritten=framed)

    return decoding.decoder(
        head,
        decoding.Language(
            error=provider_error,
            whole=_decode_count if rendered.operation == COUNT else Whole(rendered),
            stream=stream,
            streams=_is_event_stream if framed else decoding.sse_streams,
        ),
    )


def _is_event_stream(head: ReplyHead, start: bytes) -> bool:
    del head
    return start not in (b"{", b"<")


def _decode_count(body: bytes) -> Sequence[Event]:
    value = read_object(body)
    tokens = value.get("input_tokens")
    if isinstance(tokens, bool) or not isinstance(tokens, int):
        raise bad("the provider's reply has no count of tokens")
    return (Started("", ""), Counted(tokens), Finished())


_CALLS = b'tool_use"'
"""in every frame with the input of a call, whose integers become text again and must stay exact"""


class Whole:
    """Decodes a whole `message`. Raises what `Reader.frame` may."""

    def __init__(self, rendered: Rendered) -> None:
        self._rendered = rendered

    def __call__(self, body: bytes) -> Sequence[Event]:
        value = read_exactly(body) if _CALLS in body else read_object(body)
        content = value.get("content")
        if value.get("type") == "error":
            raise stream_error(value)
        if not isinstance(content, list):
            raise bad("the provider's reply has no content")
        reader = Reader(self._rendered)
        reader.start(value)
        for index, block in enumerate(content):
            if isinstance(block, dict):
                reader.block(index, block)
                reader.stop(index)
        reader.message_delta({"delta": {name: value.get(name) for name in _END}})
        reader.end()
        return reader.out


class _Block:
    """One block that is open. `said`: some of a tool's arguments came; `given`: those of its start."""

    __slots__ = ("given", "kind", "part", "said")

    def __init__(self, kind: PartKind, part: int) -> None:
        self.kind = kind
        self.part = part
        self.said = False
        self.given = ""


class Reader:
    """Reads the events of one stream; see `_decoding.Reader`."""

    __slots__ = (
        "_answer",
        "_blocks",
        "_called",
        "_ending",
        "_parts",
        "_raw",
        "_renamed",
        "_started",
        "_stop",
        "_usage",
        "done",
        "out",
    )

    def __init__(self, rendered: Rendered) -> None:
        self.out: list[Event] = []
        self.done = False
        self._renamed = rendered.renamed
        self._answer = rendered.answer_tool
        self._blocks: dict[int, _Block] = {}
        self._parts = 0
        self._called = False
        self._started = False
        self._usage: dict[str, Json] = {}
        self._raw: str | None = None
        self._stop: str | None = None
        self._ending: dict[str, Json] = {}

    # --- frames

    def frame(self, frame: Frame) -> bool:
        data = frame.data
        if data is None:
            return True
        try:
            event: Json = orjson.loads(data)
        except orjson.JSONDecodeError:
            event = read_object(data)
        if not isinstance(event, dict):
            raise decoding.Unreadable
        kind = event.get("type")
        if kind == "content_block_start" and _CALLS in data:
            event = read_exactly(data)
        if kind == "content_block_delta":
            self._delta(event)
        else:
            self._other(kind, event)
        return True

    def _other(self, kind: Json, event: dict[str, Json]) -> None:
        match kind:
            case "content_block_start":
                block = event.get("content_block")
                if isinstance(block, dict):
                    self.block(_index(event), block)
            case "content_block_stop":
                self.stop(_index(event))
            case "message_start":
                message = event.get("message")
                if isinstance(message, dict):
                    self.start(message)
            case "message_delta":
                self.message_delta(event)
            case "message_stop":
                self.end()
            case "error":
                raise stream_error(event)
            case _:
                if event.get("error"):
                    raise stream_error(event)

    def close(self) -> None:
        raise bad(decoding.ENDED_EARLY)

    def failing(self) -> Sequence[Event]:
        usage = read_usage(self._usage)
        return () if usage is None else (Used(usage),)

    # --- the message

    def start(self, message: Mapping[str, Json]) -> None:
        if self._started:
            return
        self._started = True
        self._count(message.get("usage"))
        for name in _PLACED:
            _keep(self._ending, name, message.get(name))
        extra = residue(NAME, message, _MESSAGE)
        fields = {name: value for name, value in extra.fields.items() if value is not None}
        self.out.append(
            Started(
                _text(message.get("id")),
                _text(message.get("model")),
                extra=Extra(NAME, fields) if fields else NOTHING,
            )
        )

    def message_delta(self, event: Mapping[str, Json]) -> None:
        self._count(event.get("usage"))
        delta = event.get("delta")
        if not isinstance(delta, dict):
            return
        for name, value in delta.items():
            match name, value:
                case "stop_reason", str():
                    self._raw = value
                case "stop_sequence", str():
                    self._stop = value
                case _:
                    _keep(self._ending, name, value)
        for name, value in event.items():
            if name not in _DELTA:
                _keep(self._ending, name, value)

    def _count(self, usage: Json) -> None:
        """Totals so far: what an event does not say stays as it was."""
        if isinstance(usage, dict):
            for name, value in usage.items():
                _keep(self._usage, name, value)

    def end(self) -> None:
        self.done = True
        if not self._started:
            self.start({})
        for index in sorted(self._blocks):
            self.stop(index)
        reason = reason_of(self._raw)
        if reason is Reason.TOOL and self._answer is not None and not self._called:
            reason = Reason.STOP
        self.out.append(ChoiceEnded(reason, 0, self._raw, self._stop, Extra(NAME, self._ending)))
        usage = read_usage(self._usage)
        if usage is not None:
            self.out.append(Used(usage))
        self.out.append(Finished())

    # --- blocks

    def block(self, index: int, block: dict[str, Json]) -> None:
        """Opens a block; a whole reply has all of it here."""
        if index in self._blocks:
            self.stop(index)
        if not self._started:
            self.start({})
        match block.get("type"):
            case "text":
                self._words(index, block)
            case "thinking":
                opened = self._open(index, PartKind.THINKING, NOTHING)
                if text := _text(block.get("thinking")):
                    self.out.append(ThinkingDelta(text, opened.part))
                self._note(opened, NoteKind.SIGNATURE, block.get("signature"))
            case "redacted_thinking":
                opened = self._open(index, PartKind.THINKING, NOTHING)
                self._note(opened, NoteKind.REDACTED, block.get("data"))
            case "tool_use":
                self._tool(index, block)
            case _:
                self._open(index, PartKind.OPAQUE, Extra(NAME, block))

    def _words(self, index: int, block: Mapping[str, Json]) -> None:
        opened = self._open(index, PartKind.TEXT, NOTHING)
        if text := _text(block.get("text")):
            self.out.append(TextDelta(text, opened.part))
        citations = block.get("citations")
        for citation in citations if isinstance(citations, list) else ():
            self._note(opened, NoteKind.CITATION, citation)

    def _tool(self, index: int, block: Mapping[str, Json]) -> None:
        name = _text(block.get("name"))
        given = block.get("input")
        arguments = jsontext.dumps(given).decode() if given else ""
        if self._answer is not None and name == self._answer:
            opened = self._open(index, PartKind.TEXT, NOTHING)
        else:
            self._called = True
            part = self._next()
            opened = self._blocks[index] = _Block(PartKind.TOOL, part)
            self.out.append(
                PartStarted(
                    PartKind.TOOL,
                    part,
                    0,
                    _text(block.get("id")),
                    self._renamed.get(name, name),
                    residue(NAME, block, _TOOL),
                )
            )
        opened.given = arguments or "{}"

    def _open(self, index: int, kind: PartKind, extra: Extra) -> _Block:
        opened = self._blocks[index] = _Block(kind, self._next())
        self.out.append(PartStarted(kind, opened.part, extra=extra))
        return opened

    def _next(self) -> int:
        if self._parts >= MAX_PARTS:
            raise TooMuch
        self._parts += 1
        return self._parts - 1

    def stop(self, index: int) -> None:
        block = self._blocks.pop(index, None)
        if block is None:
            return
        if block.given and not block.said:
            self._arguments(block, block.given)
        self.out.append(PartEnded(block.part))

    def _delta(self, event: Mapping[str, Json]) -> None:
        delta = event.get("delta")
        block = self._blocks.get(_index(event))
        if block is None or not isinstance(delta, dict):
            return
        match delta:
            case {"type": "text_delta", "text": str(text)} if block.kind is PartKind.TEXT:
                if text:
                    self.out.append(TextDelta(text, block.part))
            case {"type": "input_json_delta", "partial_json": str(text)} if block.given:
                if text:
                    self._arguments(block, text)
            case {"type": "thinking_delta", "thinking": str(text)} if (
                block.kind is PartKind.THINKING
            ):
                if text:
                    self.out.append(ThinkingDelta(text, block.part))
            case {"type": "signature_delta"} if block.kind is PartKind.THINKING:
                self._note(block, NoteKind.SIGNATURE, delta.get("signature"))
            case {"type": "citations_delta"} if block.kind is PartKind.TEXT:
                self._note(block, NoteKind.CITATION, delta.get("citation"))
            case _:
                self._note(block, NoteKind.EXTRA, delta)

    def _arguments(self, block: _Block, text: str) -> None:
        block.said = True
        if block.kind is PartKind.TOOL:
            self.out.append(ToolDelta(text, block.part))
        else:
            self.out.append(TextDelta(text, block.part))

    def _note(self, block: _Block, kind: NoteKind, value: Json) -> None:
        if value:
            self.out.append(Note(kind, value, block.part, dialect=NAME))


_PLACED = ("container", "context_management")
"""members that stand in a message's start when it is whole, and at its end in a stream"""
_END = ("stop_reason", "stop_sequence", "stop_details", *_PLACED)
_MESSAGE = frozenset({"id", "type", "role", "model", "content", "usage", *_END})
_DELTA = frozenset({"type", "delta", "usage"})
_TOOL = frozenset({"type", "id", "name", "input"})


_MOST_MEMBERS = 64


def _keep(members: dict[str, Json], name: str, value: Json) -> None:
    """The last value counts, and null says nothing."""
    if value is None:
        return
    if name not in members and len(members) >= _MOST_MEMBERS:
        raise TooMuch
    members[name] = value


def _index(event: Mapping[str, Json]) -> int:
    index = event.get("index")
    return index if isinstance(index, int) else 0


def _text(value: Json) -> str:
    return value if isinstance(value, str) else ""
