"""Converse replies to events: the frames of a stream, or a whole message taken apart like one.

A stream's block opens by its start, or, for text and reasoning, by its first
delta. What only this dialect knows (calls that the provider answered itself,
their results, parts of a kind to come) is an OPAQUE part, whose notes are the
stream's own `start` and `delta` objects, also where the reply came whole. Usage
comes after the stop, so the end waits for it.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TypeAlias

from extproc.codec.aws_eventstream import EventStreamDecoder, Frame
from extproc.dialects._decoding import ENDED_EARLY, TooMuch, bad, read_object
from extproc.dialects._media import type_of
from extproc.dialects._parts import MAX_PARTS
from extproc.dialects._tools import arguments_text
from extproc.dialects.bedrock_converse.errors import frame_error, stream_error
from extproc.dialects.bedrock_converse.messages import SERVER_USE
from extproc.dialects.bedrock_converse.words import BROKEN, NAME, read_usage, reason_of
from extproc.model.chat import NOTHING, Extra, Json
from extproc.model.dialect import Rendered, ReplyHead
from extproc.model.reply import (
    ChoiceEnded,
    Event,
    Finished,
    MediaDelta,
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

Object: TypeAlias = dict[str, Json]

_BROKEN_FRAME = ":broken"
_READ = frozenset({"output", "stopReason", "usage", "p"})
"""members beside the message that are read; any other travels home. `p` is padding"""


class Frames:
    """An event stream as `_decoding.Framed` wants it: what breaks it is a frame of its own."""

    def __init__(self) -> None:
        self._frames = EventStreamDecoder()
        self.too_long = False

    @property
    def pending(self) -> int:
        return self._frames.pending

    def feed(self, chunk: bytes) -> Sequence[Frame]:
        frames = self._frames.feed(chunk)
        if self._frames.error is not None:
            frames.append(Frame(b"", {_BROKEN_FRAME: str(self._frames.error)}, b""))
        return frames

    def close(self) -> Sequence[Frame]:
        pending = self._frames.pending
        self._frames.close()
        return (Frame(b"", {_BROKEN_FRAME: ENDED_EARLY}, b""),) if pending else ()


class _Block:
    """An open block. `media_type` is an image's; `call`: it holds the arguments of a call."""

    __slots__ = ("call", "filled", "kind", "media_type", "part")

    def __init__(self, kind: PartKind, part: int, *, call: bool, media_type: str | None) -> None:
        self.kind = kind
        self.part = part
        self.call = call
        self.media_type = media_type
        self.filled = False


class ReplyReader:
    """Reads one reply. See `_decoding.Reader` for `out`, `done`, `frame`, `close`, `failing`."""

    def __init__(self, head: ReplyHead, rendered: Rendered) -> None:
        self.out: list[Event] = []
        self.done = False
        self._id = head.headers.get("x-amzn-requestid", "")
        self._renamed = rendered.renamed
        self._answer_tool = rendered.answer_tool
        self._open: dict[int, _Block] = {}
        self._parts = 0
        self._begun = False
        self._called = False
        self._reason: str | None = None
        self._usage: Usage | None = None
        self._extra: Object = {}

    # --- a stream

    def frame(self, frame: Frame) -> bool:
        headers = frame.headers
        if headers.get(":message-type") != "event":
            self._refuse(frame)
            return True
        value = read_object(frame.payload)
        match headers.get(":event-type"):
            case "contentBlockDelta":
                delta = value.get("delta")
                if isinstance(delta, dict):
                    self.delta(_index(value), delta)
            case "contentBlockStart":
                start = value.get("start")
                if isinstance(start, dict):
                    self.start(_index(value), start)
            case "contentBlockStop":
                self.stop(_index(value))
            case "messageStart":
                self.started()
            case "messageStop":
                self.started()
                self.stopped(value)
            case "metadata":
                self.beside(value)
                if self._reason is not None:
                    self.finish()
            case _:
                pass
        return True

    def _refuse(self, frame: Frame) -> None:
        """Raises what a frame that is no event stands for; one of an unknown kind is skipped."""
        headers = frame.headers
        broken = headers.get(_BROKEN_FRAME)
        if broken == ENDED_EARLY:
            raise bad(ENDED_EARLY)
        if broken is not None:
            raise bad(f"the provider's event stream is broken: {broken}")
        match headers.get(":message-type"):
            case "exception":
                raise frame_error(str(headers.get(":exception-type", "")), frame.payload)
            case "error":
                code, message = headers.get(":error-code", ""), headers.get(":error-message", "")
                raise stream_error(str(code), str(message))
            case _:
                pass

    def close(self) -> None:
        """A stream may end after its stop: some models say nothing of usage."""
        if self._reason is None:
            raise bad(ENDED_EARLY)
        self.finish()

    def failing(self) -> Sequence[Event]:
        return () if self._usage is None else (Used(self._usage),)

    # --- a whole reply

    def whole(self, value: Object) -> Sequence[Event]:
        """The events of a whole body. Raises what `frame` may."""
        output = value.get("output")
        message = output.get("message") if isinstance(output, dict) else None
        content = message.get("content") if isinstance(message, dict) else None
        if not isinstance(content, list) or not isinstance(value.get("stopReason"), str):
            raise bad("the provider's reply has no message")
        self.started()
        for index, block in enumerate(content):
            if isinstance(block, dict):
                for piece in taken_apart(block):
                    (self.start if "start" in piece else self.delta)(index, _inner(piece))
                self.stop(index)
        self.beside(value)
        self.stopped(value)
        self.finish()
        return self.out

    # --- pieces

    def started(self) -> None:
        if not self._begun:
            self._begun = True
            self.out.append(Started(self._id, ""))

    def start(self, index: int, start: Object) -> None:
        use, image = start.get("toolUse"), start.get("image")
        if isinstance(use, dict) and use.get("type") != SERVER_USE:
            self._start_call(index, use)
        elif isinstance(image, dict) and isinstance(image.get("format"), str):
            short = str(image["format"])
            self._begin(index, PartKind.MEDIA, media_type=type_of(short) or f"image/{short}")
        else:
            block = self._begin(index, PartKind.OPAQUE)
            self._note(block, NoteKind.EXTRA, {"start": start})

    def _start_call(self, index: int, use: Object) -> None:
        name, call_id = _text(use.get("name")), _text(use.get("toolUseId"))
        if not name:
            raise bad("the provider called a tool without a name")
        if name == self._answer_tool:
            self._begin(index, PartKind.TEXT, call=True)
            return
        self._called = True
        fields = {key: item for key, item in use.items() if key not in _CALL}
        started = PartStarted(
            PartKind.TOOL,
            id=call_id,
            name=self._renamed.get(name, name),
            extra=Extra(NAME, fields) if fields else NOTHING,
        )
        self._begin(index, PartKind.TOOL, started, call=True)

    def delta(self, index: int, delta: Object) -> None:
        text = delta.get("text")
        if isinstance(text, str):
            if text:
                block = self._open.get(index)
                if block is None or block.kind is not PartKind.TEXT:
                    block = self._begin(index, PartKind.TEXT)
                self.out.append(TextDelta(text, block.part))
            return
        for name, value in delta.items():
            open_ = self._open.get(index)
            match name, value:
                case "toolUse", dict() if open_ is None:
                    raise bad("the provider sent a tool's input before its tool")
                case "toolUse", dict() if open_ is not None and open_.call:
                    self._arguments(open_, _text(value.get("input")))
                case "reasoningContent", dict():
                    self._reasoning(index, value)
                case "citation", dict():
                    self._note(self._at(index, PartKind.TEXT), NoteKind.CITATION, value)
                case "image", dict() if open_ is not None and open_.kind is PartKind.MEDIA:
                    self._image(open_, value)
                case _:
                    block = open_ or self._begin(index, PartKind.OPAQUE)
                    self._note(block, NoteKind.EXTRA, {"delta": {name: value}})

    def _arguments(self, block: _Block, piece: str) -> None:
        if not piece:
            return
        block.filled = True
        if block.kind is PartKind.TOOL:
            self.out.append(ToolDelta(piece, block.part))
        else:
            self.out.append(TextDelta(piece, block.part))

    def _reasoning(self, index: int, value: Object) -> None:
        block = self._at(index, PartKind.THINKING)
        for name, item in value.items():
            match name, item:
                case "text", str():
                    if item:
                        self.out.append(ThinkingDelta(item, block.part))
                case "signature", str():
                    self._note(block, NoteKind.SIGNATURE, item)
                case "redactedContent", str():
                    self._note(block, NoteKind.REDACTED, item)
                case _:
                    piece: Object = {"reasoningContent": {name: item}}
                    self._note(block, NoteKind.EXTRA, {"delta": piece})

    def _image(self, block: _Block, value: Object) -> None:
        source = value.get("source")
        data = source.get("bytes") if isinstance(source, dict) else None
        if isinstance(data, str):
            self.out.append(MediaDelta(data, block.media_type, block.part))
        else:
            self._note(block, NoteKind.EXTRA, {"delta": {"image": value}})

    def stop(self, index: int) -> None:
        block = self._open.pop(index, None)
        if block is None:
            return
        if block.call and not block.filled:
            self._arguments(block, "{}")
        self.out.append(PartEnded(block.part))

    def stopped(self, value: Object) -> None:
        self._reason = _text(value.get("stopReason"))
        self.beside(value)

    def beside(self, value: Object) -> None:
        usage = value.get("usage")
        if isinstance(usage, dict):
            self._usage = read_usage(usage)
        self._extra.update({name: item for name, item in value.items() if name not in _READ})

    def finish(self) -> None:
        """The end of a reply that stopped. Raises where the model's output is broken."""
        word = self._reason or ""
        for index in sorted(self._open, key=lambda at: self._open[at].part):
            self.stop(index)
        if word in BROKEN:
            raise bad(f"the model's output cannot be used ({word})")
        reason = reason_of(word, self._called)
        if reason is Reason.TOOL and self._answer_tool and not self._called:
            reason = Reason.STOP
        self.started()
        extra = Extra(NAME, self._extra)
        self.out.append(ChoiceEnded(reason, 0, word, self._stop_sequence(reason), extra))
        if self._usage is not None:
            self.out.append(Used(self._usage))
        self.out.append(Finished())
        self.done = True

    def _stop_sequence(self, reason: Reason) -> str | None:
        """Told only where the request asked for it, by a path into the model's own reply."""
        own = self._extra.get("additionalModelResponseFields")
        said = own.get("stop_sequence") if isinstance(own, dict) else None
        return said if reason is Reason.STOP_SEQUENCE and isinstance(said, str) else None

    def _at(self, index: int, kind: PartKind) -> _Block:
        block = self._open.get(index)
        return block if block is not None and block.kind is kind else self._begin(index, kind)

    def _begin(
        self,
        index: int,
        kind: PartKind,
        started: PartStarted | None = None,
        *,
        call: bool = False,
        media_type: str | None = None,
    ) -> _Block:
        self.started()
        self.stop(index)
        if self._parts >= MAX_PARTS:
            raise TooMuch
        part = self._parts
        self._parts += 1
        if started is None:
            self.out.append(PartStarted(kind, part))
        else:
            self.out.append(PartStarted(kind, part, 0, started.id, started.name, started.extra))
        block = self._open[index] = _Block(kind, part, call=call, media_type=media_type)
        return block

    def _note(self, block: _Block, kind: NoteKind, value: Json) -> None:
        self.out.append(Note(kind, value, block.part, 0, NAME))


_CALL = ("toolUseId", "name", "input")


def taken_apart(block: Object) -> Iterator[Object]:
    """A whole block as a stream would bring it: `{"start": ..}` and `{"delta": ..}` objects."""
    for name, value in block.items():
        match name, value:
            case "toolUse", dict():
                start = {key: item for key, item in value.items() if key != "input"}
                yield {"start": {"toolUse": start}}
                yield {"delta": {"toolUse": {"input": arguments_text(value.get("input", {}))}}}
            case "toolResult", dict():
                start = {key: item for key, item in value.items() if key != "content"}
                yield {"start": {"toolResult": start}}
                yield {"delta": {"toolResult": value.get("content", [])}}
            case "image", dict():
                start = {key: item for key, item in value.items() if key != "source"}
                yield {"start": {"image": start}}
                yield {"delta": {"image": {"source": value.get("source")}}}
            case "reasoningContent", dict():
                said = value.get("reasoningText")
                fields = said if isinstance(said, dict) else value
                for key, item in fields.items():
                    yield {"delta": {"reasoningContent": {key: item}}}
            case "citationsContent", dict():
                yield from _cited(value)
            case "text", _:
                yield {"delta": {"text": value}}
            case _:
                yield {"start": {name: value}}


def _cited(value: Object) -> Iterator[Object]:
    for name, key in (("content", "text"), ("citations", "citation")):
        items = value.get(name)
        for item in items if isinstance(items, list) else ():
            if key == "text":
                yield {"delta": {"text": item.get("text") if isinstance(item, dict) else ""}}
            else:
                yield {"delta": {"citation": item}}


def _inner(piece: Object) -> Object:
    inner = piece.get("start", piece.get("delta"))
    return inner if isinstance(inner, dict) else {}


def _index(value: Object) -> int:
    index = value.get("contentBlockIndex")
    return index if isinstance(index, int) else 0


def _text(value: Json) -> str:
    return value if isinstance(value, str) else ""
