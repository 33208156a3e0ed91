"""OpenAI Responses replies, whole or streamed, to events; and counted prompts.

Bytes in any pieces go in; events come out. `reader` knows the events' and
items' words; here is how a body is told from a stream, and an error from a
reply.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from extproc.codec.sse import SseSplitter
from extproc.dialects import _decoding as decoding
from extproc.dialects._decoding import bad, read_object
from extproc.dialects.openai_chat.errors import provider_error, stream_error
from extproc.dialects.openai_responses.reader import Reader
from extproc.model.dialect import Rendered, ReplyDecoder, ReplyHead
from extproc.model.errors import GatewayError
from extproc.model.reply import Counted, Event, Failed, Finished, Started


def responses_decoder(head: ReplyHead, rendered: Rendered) -> ReplyDecoder:
    """The decoder for this reply."""
    renamed = rendered.renamed
    return decoding.decoder(
        head,
        decoding.Language(
            error=provider_error,
            whole=lambda body: decode_whole(body, renamed),
            stream=lambda: decoding.Framed(SseSplitter(), Reader(renamed)),
            streams=decoding.sse_streams,
        ),
    )


def decode_whole(body: bytes, renamed: Mapping[str, str]) -> Sequence[Event]:
    """The events of a `response` body, or of a count. Raises what `Language.whole` may."""
    value = read_object(body)
    tokens = value.get("input_tokens")
    if isinstance(tokens, int) and "output" not in value:
        return (Started("", ""), Counted(max(0, tokens)), Finished())
    failed = value.get("status") == "failed"
    if not failed and not isinstance(value.get("output"), list):
        if value.get("error"):
            raise stream_error(value)
        raise bad("the provider's reply has no output")
    reader = Reader(renamed)
    try:
        reader.whole(value)
    except GatewayError as error:
        return (*reader.out, *reader.failing(), Failed(error))
    return reader.out
