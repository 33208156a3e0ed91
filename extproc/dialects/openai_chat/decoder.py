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

from extproc.codec.sse import Frame, SseSplitter
from extproc.dialects import _decoding as decoding
from extproc.dialects._decoding import ENDED_EARLY, Framed, bad, read_exactly, read_object
from extproc.dialects.openai_chat.errors import provider_error, stream_error
from extproc.dialects.openai_chat.reader import Reader, keep_extras
from extproc.dialects.openai_chat.words import read_usage
from extproc.model.chat import Json
from extproc.model.dialect import Rendered, ReplyDecoder, ReplyHead
from extproc.model.reply import Event, Usage, Used


def chat_decoder(head: ReplyHead, rendered: Rendered) -> ReplyDecoder:
    """The decoder for this reply. Its head decides about errors and compression, its first byte the rest."""
    return decoding.decoder(
        head,
        decoding.Language(
            error=provider_error,
            whole=lambda body: decode_whole(body, rendered.renamed),
            stream=lambda: Framed(
                SseSplitter(), ChunkReader(rendered.withhold_usage, rendered.renamed)
            ),
            streams=decoding.sse_streams,
        ),
    )


def decode_whole(body: bytes, renamed: Mapping[str, str] | None = None) -> Sequence[Event]:
    """The events of a `chat.completion` body. Raises `Unreadable`, `TooMuch` or the error it holds."""
    read = read_exactly if _has_objects(body) else read_object
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


class ChunkReader:
    """A stream of `chat.completion.chunk`s. See `_decoding.Reader`."""

    __slots__ = ("_reader", "_usage", "_withhold", "done", "out")

    def __init__(self, withhold_usage: bool, renamed: Mapping[str, str] | None) -> None:
        self._reader = Reader(renamed)
        self._withhold = withhold_usage
        self._usage: Usage | None = None
        self.out: list[Event] = []
        self.done = False

    def frame(self, frame: Frame) -> bool:
        """False for the usage that the client did not ask for."""
        data = frame.data
        if data is None:
            return True
        if data.startswith(b"[DONE]"):
            # An explicit end counts even where no choice said why it ended: some providers never do.
            if not self._reader.parts.choices:
                raise bad(ENDED_EARLY)
            self._finish()
            return True
        return self._chunk(read_exactly(data) if _has_objects(data) else read_object(data))

    def _chunk(self, chunk: dict[str, Json]) -> bool:
        reader = self._reader
        reader.parts.out = self.out
        usage = chunk.get("usage")
        if usage is not None and isinstance(usage, dict):
            self._usage = read_usage(usage)
        if chunk.get("error") or chunk.get("object") == "error":
            raise stream_error(chunk)
        if not reader.has_started:
            reader.started(chunk)
        choices = chunk.get("choices")
        if not isinstance(choices, list):
            return True
        if not choices:
            return not self._withhold or usage is None
        for position, item in enumerate(choices):
            if isinstance(item, dict):
                delta = item.get("delta")
                reader.choice(item, delta if isinstance(delta, dict) else {}, position)
        return True

    def close(self) -> None:
        choices = self._reader.parts.choices
        if not choices or not all(choice.raw for choice in choices.values()):
            raise bad(ENDED_EARLY)
        self._finish()

    def failing(self) -> Sequence[Event]:
        return () if self._usage is None else (Used(self._usage),)

    def _finish(self) -> None:
        self._reader.parts.out = self.out
        self.done = True
        self._reader.parts.end(self._usage)


_OBJECT = re.compile(rb'"arguments"\s*:\s*\{')


def _has_objects(data: bytes) -> bool:
    """Whether a call's arguments are no text, as some providers have it: they become text, number by number."""
    return b'"arguments"' in data and _OBJECT.search(data) is not None
