"""Gemini's replies to events: whole, as server-sent events, or as one JSON array in pieces.

Which endpoint was asked stands in the rendered path. The reply's shape is
sniffed: an array where events were asked for, or the other way, is read as well.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from extproc.dialects import _decoding as decoding
from extproc.dialects._decoding import Framed, bad, read_object
from extproc.dialects.gemini_generate.array import AnySplitter
from extproc.dialects.gemini_generate.embed import VERBS, decode_vectors
from extproc.dialects.gemini_generate.errors import provider_error, stream_error
from extproc.dialects.gemini_generate.reader import Reader, read_whole
from extproc.model.dialect import Rendered, ReplyDecoder, ReplyHead
from extproc.model.errors import GatewayError
from extproc.model.reply import Counted, Event, Failed, Finished, Started


def gemini_decoder(head: ReplyHead, rendered: Rendered) -> ReplyDecoder:
    """The decoder for the reply to `rendered`."""
    verb = rendered.path.partition("?")[0].rpartition(":")[2]
    if verb == "countTokens":
        return _plain(head, decode_count)
    if verb in VERBS:
        return _plain(head, decode_vectors)

    def whole(body: bytes) -> Sequence[Event]:
        reader = Reader(rendered.renamed)
        reader.chunk(read_whole(body))
        try:
            reader.close()
        except GatewayError as error:
            return (*reader.failing(), Failed(error))
        return reader.out

    def streams(head: ReplyHead, start: bytes) -> bool:
        if start == b"[":
            return rendered.stream
        return decoding.sse_streams(head, start)

    return decoding.decoder(
        head,
        decoding.Language(
            error=provider_error,
            whole=whole,
            stream=lambda: Framed(AnySplitter(), Reader(rendered.renamed)),
            streams=streams,
        ),
    )


def _plain(head: ReplyHead, whole: Callable[[bytes], Sequence[Event]]) -> ReplyDecoder:
    """For what only ever comes whole."""

    def stream() -> ReplyDecoder:
        return decoding.Refusing(bad("the provider sent a stream where none was asked for"))

    def streams(head: ReplyHead, start: bytes) -> bool:
        del head, start
        return False

    language = decoding.Language(provider_error, whole, stream, streams)
    return decoding.decoder(head, language)


def decode_count(body: bytes) -> Sequence[Event]:
    """`totalTokens`, which is absent when it is 0."""
    value = read_object(body)
    if "error" in value:
        raise stream_error(value)
    total = value.get("totalTokens", 0)
    if isinstance(total, bool) or not isinstance(total, int):
        raise bad("the provider's count is no number")
    return (Started("", ""), Counted(total), Finished())
