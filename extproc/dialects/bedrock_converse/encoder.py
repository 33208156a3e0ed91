"""Events to Converse replies: frames as they come, or one JSON body at the end.

A client of this language sees one block at a time: what belongs to a part that
began while another was open waits until that one ends. Only the first choice is
said. Extras and notes of this dialect travel home; of others only signatures do,
wrapped, in the fields that a client sends back.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TypeAlias

import orjson

from extproc.codec import jsontext
from extproc.codec.aws_eventstream import write
from extproc.dialects._decoding import bad
from extproc.dialects._parts import MAX_HELD, in_words
from extproc.dialects.bedrock_converse.decoder import STREAM_TYPE
from extproc.dialects.bedrock_converse.errors import error_body, error_frame
from extproc.dialects.bedrock_converse.parts import Content, note_delta, part_start, part_type
from extproc.dialects.bedrock_converse.words import NAME, word_of, write_usage
from extproc.model.chat import Chat, Json
from extproc.model.dialect import ReplyContext, ReplyEncoder
from extproc.model.reply import (
    ChoiceEnded,
    Counted,
    Event,
    Failed,
    Finished,
    MediaDelta,
    Note,
    PartEnded,
    PartKind,
    PartStarted,
    TextDelta,
    ThinkingDelta,
    ToolDelta,
    Usage,
    Used,
)

Object: TypeAlias = dict[str, Json]
_Inner: TypeAlias = TextDelta | ThinkingDelta | ToolDelta | MediaDelta | Note

JSON_HEADERS = {"content-type": "application/json"}
_STREAM_HEADERS = {"content-type": STREAM_TYPE}
_IN_STOP = ("additionalModelResponseFields",)
"""members of this dialect that a stream has in its stop; the others come after it"""


def chat_encoder(chat: Chat, context: ReplyContext) -> ReplyEncoder:
    return StreamEncoder(context) if chat.stream else WholeEncoder(context)


def _frame(kind: str, payload: bytes) -> bytes:
    headers = {
        ":event-type": kind,
        ":content-type": "application/json",
        ":message-type": "event",
    }
    return write(headers, payload)


def _metrics(context: ReplyContext) -> Json:
    """How long it took, which every reply of this language says."""
    clock = context.clock
    elapsed = 0.0 if clock is None else clock.monotonic() - context.started
    return {"latencyMs": max(0, round(elapsed * 1000))}


def _beside(home: Mapping[str, Json], context: ReplyContext, usage: Usage | None) -> Object:
    """Usage and what else stands beside the message. Estimated usage is never told as fact."""
    out: Object = {}
    if usage is not None and not usage.estimated:
        out["usage"] = write_usage(usage)
    out["metrics"] = _metrics(context)
    out.update({name: value for name, value in home.items() if name not in _IN_STOP})
    return out


class StreamEncoder:
    """Each event becomes the frames that say it; `feed` gives what may be said by now.

    Raises `UpstreamBad` when more waits than is held.
    """

    def __init__(self, context: ReplyContext) -> None:
        self._context = context
        self._open: PartStarted | None = None
        self._waiting: dict[int, list[Event]] = {}
        self._held = 0
        self._index = 0
        self._begun = False
        self._filled = False
        self._begun_message = False
        self._usage: Usage | None = None
        self._refused = False
        self._home: Mapping[str, Json] = {}

    def head(self) -> tuple[int, Mapping[str, str]]:
        return 200, _STREAM_HEADERS

    def feed(self, event: Event) -> bytes:
        match event:
            case TextDelta() | ThinkingDelta() | ToolDelta() | MediaDelta() | Note():
                if event.choice:
                    return b""
                if self._open is not None and event.part == self._open.part:
                    return self._said(event)
                return self._wait(event.part, event)
            case PartStarted() | PartEnded():
                return b"" if event.choice else self._bounds(event)
            case ChoiceEnded():
                return b"" if event.choice else self._stopped(event)
            case Used():
                self._usage = event.usage
                return b""
            case Finished():
                value = _beside(self._home, self._context, self._usage)
                return self._message() + _frame("metadata", jsontext.dumps(value))
            case Failed():
                return error_frame(event.error)
            case _:
                return self._message()

    def _message(self) -> bytes:
        if self._begun_message:
            return b""
        self._begun_message = True
        return _frame("messageStart", b'{"role":"assistant"}')

    def _bounds(self, event: PartStarted | PartEnded) -> bytes:
        if isinstance(event, PartStarted):
            self._refused = self._refused or event.kind is PartKind.REFUSAL
            if self._open is None:
                return self._start(event)
            self._waiting[event.part] = [event]
            return b""
        if self._open is None or event.part != self._open.part:
            return self._wait(event.part, event)
        return self._end() + self._next()

    def _next(self) -> bytes:
        """What waited, up to the first part that is not over yet."""
        out = b""
        while self._open is None and self._waiting:
            held = self._waiting.pop(next(iter(self._waiting)))
            self._held -= sum(map(_size, held))
            out += b"".join([self._late(one) for one in held])
        return out

    def _wait(self, part: int, event: Event) -> bytes:
        held = self._waiting.get(part)
        if held is not None:
            held.append(event)
            self._held += _size(event)
            if self._held > MAX_HELD:
                raise bad("the provider's reply has parts side by side that are too large to hold")
        return b""

    def _late(self, event: Event) -> bytes:
        match event:
            case PartStarted():
                return self._start(event)
            case TextDelta() | ThinkingDelta() | ToolDelta() | MediaDelta() | Note():
                return self._said(event)
            case _:
                return self._end()

    # --- one block

    def _start(self, event: PartStarted) -> bytes:
        self._open = event
        self._begun = self._filled = False
        start = part_start(event)
        return self._message() + (b"" if start is None else self._block_start(start))

    def _block_start(self, start: Object) -> bytes:
        self._begun = True
        value: Object = {"start": start, "contentBlockIndex": self._index}
        return _frame("contentBlockStart", jsontext.dumps(value))

    def _delta(self, delta: bytes) -> bytes:
        self._begun = True
        payload = b'{"contentBlockIndex":%d,"delta":%b}' % (self._index, delta)
        return _frame("contentBlockDelta", payload)

    def _said(self, event: _Inner) -> bytes:
        open_ = self._open
        if open_ is None or (open_.kind is PartKind.OPAQUE and not isinstance(event, Note)):
            return b""
        match event:
            case TextDelta():
                return self._delta(b'{"text":%b}' % _quoted(event.text)) if event.text else b""
            case ThinkingDelta():
                words = b'{"reasoningContent":{"text":%b}}'
                return self._delta(words % _quoted(event.text)) if event.text else b""
            case ToolDelta():
                return self._arguments(event.arguments)
            case MediaDelta():
                return self._media(event)
            case Note():
                piece = note_delta(open_, event)
                if piece is None:
                    return b""
                name, value = piece
                if name == "start":
                    return self._block_start(value)
                return self._delta(jsontext.dumps(value))

    def _arguments(self, piece: str) -> bytes:
        if not piece:
            return b""
        self._filled = True
        return self._delta(b'{"toolUse":{"input":%b}}' % _quoted(piece))

    def _media(self, event: MediaDelta) -> bytes:
        short = part_type(event)
        if short is None:
            return b""
        out = b"" if self._begun else self._block_start({"image": {"format": short}})
        value: Object = {"image": {"source": {"bytes": event.data}}}
        return out + self._delta(jsontext.dumps(value))

    def _end(self) -> bytes:
        out = b""
        if self._open is not None and self._open.kind is PartKind.TOOL and not self._filled:
            # Clients join the pieces and read them as JSON, which nothing is not.
            out = self._arguments("{}")
        self._open = None
        if not self._begun:
            return out
        out += _frame("contentBlockStop", b'{"contentBlockIndex":%d}' % self._index)
        self._index += 1
        return out

    def _stopped(self, event: ChoiceEnded) -> bytes:
        if self._refused:
            event = in_words(event)
        self._home = event.extra.home(NAME)
        at_home = event.extra.dialect == NAME
        value: Object = {"stopReason": word_of(event.reason, event.raw, at_home)}
        value.update({name: self._home[name] for name in _IN_STOP if name in self._home})
        return self._message() + _frame("messageStop", jsontext.dumps(value))


def _size(event: Event) -> int:
    match event:
        case TextDelta() | ThinkingDelta():
            return len(event.text)
        case ToolDelta():
            return len(event.arguments)
        case MediaDelta():
            return len(event.data)
        case _:
            return 0


def _quoted(text: str) -> bytes:
    try:
        return orjson.dumps(text)
    except orjson.JSONEncodeError:
        return jsontext.dumps(text)


class WholeEncoder:
    """Gathers the reply; `feed` gives the body with `Finished`, or the error's with `Failed`."""

    def __init__(self, context: ReplyContext) -> None:
        self._context = context
        self._parts: dict[int, Content] = {}
        self._usage: Usage | None = None
        self._ended: ChoiceEnded | None = None
        self._refused = False

    def head(self) -> tuple[int, Mapping[str, str]]:
        return 200, JSON_HEADERS

    def feed(self, event: Event) -> bytes:
        match event:
            case PartStarted() if not event.choice:
                self._parts[event.part] = Content(event)
                self._refused = self._refused or event.kind is PartKind.REFUSAL
            case TextDelta() | ThinkingDelta() | ToolDelta() | MediaDelta() | Note() if (
                not event.choice
            ):
                self._parts[event.part].add(event)
            case ChoiceEnded() if not event.choice:
                self._ended = in_words(event) if self._refused else event
            case Used():
                self._usage = event.usage
            case Finished():
                return self._body()
            case Failed():
                return error_body(event.error)
            case _:
                pass
        return b""

    def _body(self) -> bytes:
        content: list[Json] = [block for part in self._parts.values() for block in part.blocks()]
        ended = self._ended
        home: Mapping[str, Json] = {} if ended is None else ended.extra.home(NAME)
        at_home = ended is not None and ended.extra.dialect == NAME
        reason = "end_turn" if ended is None else word_of(ended.reason, ended.raw, at_home)
        out: Object = {
            "output": {"message": {"role": "assistant", "content": content}},
            "stopReason": reason,
            **_beside(home, self._context, self._usage),
        }
        out.update({name: home[name] for name in _IN_STOP if name in home})
        return jsontext.dumps(out)


class CountEncoder:
    """The answer to CountTokens."""

    def head(self) -> tuple[int, Mapping[str, str]]:
        return 200, JSON_HEADERS

    def feed(self, event: Event) -> bytes:
        match event:
            case Counted():
                return jsontext.dumps({"inputTokens": event.tokens})
            case Failed():
                return error_body(event.error)
            case _:
                return b""
