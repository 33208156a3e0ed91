"""Replies of a Bedrock provider to events, by what was asked: a conversation, a count, vectors, anything.

Bytes in any pieces go in; events come out, and `take` gives the bytes that may
pass as they are. Nothing is raised: what cannot be understood is one `Failed`.
"""

from __future__ import annotations

from collections.abc import Sequence

from extproc.dialects import _decoding as decoding
from extproc.dialects._decoding import bad, read_exactly, read_object
from extproc.dialects.bedrock_converse.errors import provider_error
from extproc.dialects.bedrock_converse.reader import Frames, ReplyReader
from extproc.model.dialect import Rendered, ReplyDecoder, ReplyHead
from extproc.model.errors import GatewayError
from extproc.model.reply import Counted, Event, Failed, Finished, Started

STREAM_TYPE = "application/vnd.amazon.eventstream"


def chat_decoder(head: ReplyHead, rendered: Rendered) -> ReplyDecoder:
    """The head decides about errors and compression, and with the first byte about the form."""

    def whole(body: bytes) -> Sequence[Event]:
        reader = ReplyReader(head, rendered)
        try:
            # Calls have their input as objects, which become text again.
            read = read_exactly if b'"toolUse"' in body else read_object
            return reader.whole(read(body))
        except GatewayError as error:
            return (*reader.failing(), Failed(error))

    return decoding.decoder(
        head,
        decoding.Language(
            error=provider_error,
            whole=whole,
            stream=lambda: decoding.Framed(Frames(), ReplyReader(head, rendered)),
            streams=_streams,
        ),
    )


def count_decoder(head: ReplyHead) -> ReplyDecoder:
    return decoding.decoder(
        head,
        decoding.Language(
            error=provider_error,
            whole=lambda body: _counted(head, body),
            stream=lambda: decoding.Refusing(bad("the provider streamed a count of tokens")),
            streams=lambda _head, _start: False,
        ),
    )


def _counted(head: ReplyHead, body: bytes) -> Sequence[Event]:
    tokens = read_object(body).get("inputTokens")
    if not isinstance(tokens, int) or isinstance(tokens, bool) or tokens < 0:
        raise bad("the provider's reply has no count of tokens")
    identity = head.headers.get("x-amzn-requestid", "")
    return (Started(identity, ""), Counted(tokens), Finished())


def _streams(head: ReplyHead, start: bytes) -> bool:
    """A frame begins with its length, which makes its first byte a zero."""
    if start in (b"{", b"[", b"<"):
        return False
    return head.content_type == STREAM_TYPE or start == b"\0"
