"""Claude on Bedrock (InvokeModel): an AWS event stream to the server-sent events that it stands for.

Each `chunk` frame carries `{"bytes": base64 of one event's JSON, "p": padding}`, an
exception frame says what went wrong. What comes out are frames as of any Anthropic
stream, and their `raw` bytes are that stream: a client of this language gets them.
It never looks into an event beyond its type.
"""

from __future__ import annotations

import base64
import binascii

import orjson

from extproc.codec import jsontext, sse
from extproc.codec.aws_eventstream import EventStreamDecoder
from extproc.codec.aws_eventstream import Frame as AwsFrame
from extproc.codec.sse import Frame
from extproc.model.chat import Json


class InvokeSplitter:
    """A `_decoding.Splitter` whose frames never are the bytes that came."""

    too_long = False

    def __init__(self) -> None:
        self._stream = EventStreamDecoder()
        self._broken = False

    @property
    def pending(self) -> int:
        return self._stream.pending

    def feed(self, chunk: bytes) -> list[Frame]:
        frames = [_frame(frame) for frame in self._stream.feed(chunk)]
        if self._stream.error is not None and not self._broken:
            self._broken = True
            frames.append(_UNREADABLE)
        return frames

    def close(self) -> list[Frame]:
        return []


_UNREADABLE = Frame(b"", b"")


def _frame(frame: AwsFrame) -> Frame:
    kind = frame.headers.get(":message-type")
    if kind == "event":
        return _event(frame.payload)
    name = frame.headers.get(":exception-type") or frame.headers.get(":error-code") or "error"
    message = frame.headers.get(":error-message") or _member(frame.payload, "message")
    error: Json = {"type": str(name), "message": str(message or "")}
    data = jsontext.dumps({"type": "error", "error": error})
    return Frame(sse.write(data, b"error"), data, b"error")


def _event(payload: bytes) -> Frame:
    coded = _member(payload, "bytes")
    if not isinstance(coded, str):
        return Frame(b"", None)
    try:
        data = base64.b64decode(coded)
    except (ValueError, binascii.Error):
        return _UNREADABLE
    kind = _member(data, "type")
    event = kind.encode() if isinstance(kind, str) else b""
    return Frame(sse.write(data, event), data, event)


def _member(data: bytes, name: str) -> Json:
    try:
        value: Json = orjson.loads(data)
    except orjson.JSONDecodeError:
        return None
    return value.get(name) if isinstance(value, dict) else None
