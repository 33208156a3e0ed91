"""OpenAI Chat replies, whole or streamed, to events.

Bytes in any pieces go in; events come out, and `take` gives the bytes that may
pass as they are. The reply's shape is sniffed, because providers mislabel it.
Nothing is raised: what cannot be understood is one `Failed`. The frame that
failed, an unfinished frame, and a usage chunk that the client did not ask for
are not among the bytes that pass.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence

import orjson

from extproc.codec import jsontext
from extproc.codec.sse import MAX_EVENT, SseSplitter
from extproc.dialects import _decoding as decoding
from extproc.dialects._decoding import TooMuch, bad
from extproc.dialects.openai_chat.errors import provider_error, stream_error
from extproc.dialects.openai_chat.reader import Reader, keep_extras
from extproc.dialects.openai_chat.words import read_usage
from extproc.model.chat import Json
from extproc.model.dialect import Rendered, ReplyDecoder, ReplyHead
from extproc.model.errors import GatewayError
from extproc.model.reply import Event, Failed, Usage, Used


def chat_decoder(head: ReplyHead, rendered: Rendered) -> ReplyDecoder:
    """The decoder for this reply. Its head decides about errors and compression, its first byte the rest."""
    return decoding.decoder(
        head,
        decoding.Language(
            error=provider_error,
            whole=lambda body: decode_whole(body, rendered.renamed),
            stream=lambda: StreamDecoder(rendered.withhold_usage, rendered.renamed),
            streams=decoding.sse_streams,
        ),
    )


def decode_whole(body: bytes, renamed: Mapping[str, str] | None = None) -> Sequence[Event]:
    """The events of a `chat.completion` body. Raises `Unreadable`, `TooMuch` or the error it holds."""
    read = decoding.read_exactly if _has_objects(body) else decoding.read_object
    value = read(body)
    choices = value.get("choices")
    if value.get("error") or value.get("object") == "error":
        raise stream_error(value)
    if not isinstance(choices, list) or not (choices or value.get("id")):
        raise bad("the provider's reply has no choices")
    reader = Reader(renamed)
    usage = value.get("usage")
    reader.started(value)
    for position, item in enumerate(choices):
        if isinstance(item, dict):
            message = item.get("message")
            delta = message if isinstance(message, dict) else {}
            keep_extras(reader.choice(item, delta, position), item)
    reader.parts.end(read_usage(usage) if isinstance(usage, dict) else None)
    return reader.parts.take()


class StreamDecoder:
    """A stream of `chat.completion.chunk`s."""

    __slots__ = (
        "_clean",
        "_done",
        "_out",
        "_over",
        "_reader",
        "_sse",
        "_usage",
        "_withhold",
    )

    def __init__(
        self, withhold_usage: bool = False, renamed: Mapping[str, str] | None = None
    ) -> None:
        self._sse = SseSplitter()
        self._reader = Reader(renamed)
        self._withhold = withhold_usage
        self._usage: Usage | None = None
        self._out: list[bytes] = []
        self._done = False
        self._over = False
        self._clean = False

    def feed(self, data: bytes) -> Sequence[Event]:
        # Nearly every piece of a stream is one whole event on one line.
        end = len(data) - 2
        if not self._clean or data.find(b"\n") != end or data[:6] != b"data: " or b"\r" in data:
            return self._feed_any(data)
        if data[end:] != b"\n\n" or end > MAX_EVENT - 2 or _has_objects(data):
            return self._feed_any(data)
        try:
            chunk: Json = orjson.loads(data[6:end])
        except orjson.JSONDecodeError:
            return self._feed_any(data)
        if not isinstance(chunk, dict):
            return self._feed_any(data)
        withheld = self._chunk_within_limits(chunk)
        if not withheld and not self._over:
            self._out.append(data)
        return self._reader.parts.take()

    def _feed_any(self, data: bytes) -> Sequence[Event]:
        events = self._feed_frames(data)
        self._clean = not (self._over or self._done or self._sse.pending) and self._sse.begun
        return events

    def _feed_frames(self, data: bytes) -> Sequence[Event]:
        if self._over:
            return ()
        if self._done:
            self._out.append(data)
            return ()
        aligned = not self._sse.pending
        frames = self._sse.feed(data)
        parts = self._reader.parts
        passed = 0
        for frame in frames:
            if frame.data is not None and not self._done:
                held = self._frame(frame.data)
                if self._over:
                    break
                if held:
                    aligned = False
                    continue
            passed += 1
            frames[passed - 1] = frame
        if self._sse.too_long and not self._over:
            self._fail(bad("the provider sent an event that is too large"))
        if self._done and self._sse.pending:
            # What follows the terminal is nobody's event: it passes as it is.
            frames[passed:] = self._sse.close()
            passed = len(frames)
        if aligned and passed == len(frames) and not self._sse.pending and not self._over:
            self._out.append(data)
        else:
            self._out.extend(frame.raw for frame in frames[:passed])
        return parts.take()

    def close(self) -> Sequence[Event]:
        if self._over or self._done:
            return ()
        rest = self._sse.close()
        for frame in rest:
            if frame.data is not None and _is_complete(frame.data):
                held = self._frame(frame.data)
                if not held and not self._over and self._may_end():
                    self._out.append(frame.raw)
        if not self._over and not self._done:
            if self._may_end():
                self._finish()
            else:
                self._fail(bad("the provider's stream ended early"))
        return self._reader.parts.take()

    def take(self) -> bytes:
        out = self._out
        if len(out) == 1:
            data = out[0]
        else:
            data = b"".join(out)
        out.clear()
        return data

    def _frame(self, data: bytes) -> bool:
        """Reads one event; true when its bytes must be withheld."""
        if data.startswith(b"[DONE]"):
            # An explicit end counts even where no choice said why it ended: some providers never do.
            if self._reader.parts.choices:
                self._finish()
            else:
                self._fail(bad("the provider's stream ended early"))
            return False
        try:
            chunk: Json = _hard(data) if _has_objects(data) else orjson.loads(data)
        except orjson.JSONDecodeError:
            chunk = _hard(data)
        if not isinstance(chunk, dict):
            self._fail(bad("the provider's stream has an event that is not a JSON object"))
            return False
        return self._chunk_within_limits(chunk)

    def _chunk_within_limits(self, chunk: dict[str, Json]) -> bool:
        try:
            return self._chunk(chunk)
        except TooMuch:
            self._fail(bad("the provider's stream has too many parts"))
            return False

    def _chunk(self, chunk: dict[str, Json]) -> bool:
        reader = self._reader
        usage = chunk.get("usage")
        if usage is not None and isinstance(usage, dict):
            self._usage = read_usage(usage)
        if chunk.get("error") or chunk.get("object") == "error":
            self._fail(stream_error(chunk))
            return False
        if not reader.has_started:
            reader.started(chunk)
        choices = chunk.get("choices")
        if not isinstance(choices, list):
            return False
        if not choices:
            return self._withhold and usage is not None
        for position, item in enumerate(choices):
            if isinstance(item, dict):
                delta = item.get("delta")
                reader.choice(item, delta if isinstance(delta, dict) else {}, position)
        return False

    def _may_end(self) -> bool:
        choices = self._reader.parts.choices
        return bool(choices) and all(choice.raw for choice in choices.values())

    def _finish(self) -> None:
        self._done = True
        try:
            self._reader.parts.end(self._usage)
        except TooMuch:
            self._fail(bad("the provider's stream has too many parts"))

    def _fail(self, error: GatewayError) -> None:
        self._over = True
        self._clean = False
        if self._usage is not None:
            self._reader.parts.out.append(Used(self._usage))
        self._reader.parts.out.append(Failed(error))


def _is_complete(data: bytes) -> bool:
    if data.startswith(b"[DONE]"):
        return True
    try:
        jsontext.loads(data)
    except jsontext.BadJson:
        return False
    return True


_OBJECT = re.compile(rb'"arguments"\s*:\s*\{')


def _has_objects(data: bytes) -> bool:
    """Whether a call's arguments are no text, as some providers have it: they become text, number by number."""
    return b'"arguments"' in data and _OBJECT.search(data) is not None


def _hard(data: bytes) -> Json:
    """What the quick reader refused, such as half of a surrogate pair, or would not read exactly."""
    try:
        return jsontext.loads(data)
    except jsontext.BadJson:
        return None
