"""InvokeModel with a body in a model's own words: carried, not translated.

The path names the model, so it is written anew for the target; body and reply
pass as they are. Usage is read from where Bedrock itself puts it: headers of a
whole reply, the last chunk of a stream.
"""

from __future__ import annotations

import base64
import binascii
from collections.abc import Mapping, Sequence

from extproc.codec import jsontext
from extproc.codec.aws_eventstream import EventStreamDecoder
from extproc.dialects import _opaque as opaque
from extproc.dialects._decoding import Unreadable, read_object
from extproc.dialects._options import BODY_MEMBER, read_options
from extproc.dialects.bedrock_converse.errors import error_frame, provider_error
from extproc.dialects.bedrock_converse.words import NAME
from extproc.model.call import Target
from extproc.model.chat import Json
from extproc.model.dialect import Rendered, ReplyDecoder, ReplyHead, RequestHead
from extproc.model.embed import Opaque
from extproc.model.reply import Event, Failed, Finished, OpaqueChunk, Usage, Used

_STREAMED = "invoke-with-response-stream"
_METRICS = "amazon-bedrock-invocationMetrics"
_HEADER = "x-amzn-bedrock-{}-token-count"


def _no_usage(value: Mapping[str, Json]) -> Usage:
    del value
    return Usage()


LANGUAGE = opaque.Language(
    dialect=NAME, prefixes=(), error=provider_error, usage=_no_usage, usage_names=()
)


def parse_carried(head: RequestHead, body: bytes, model: str, operation: str) -> Opaque:
    """Raises `InvalidRequest` for a wish of ours in the body that cannot be read."""
    member: Json = None
    if b'"sluice"' in body:
        try:
            value = jsontext.loads(body)
        except jsontext.BadJson:
            value = None
        if isinstance(value, dict) and BODY_MEMBER in value:
            member = value[BODY_MEMBER]
            body = jsontext.splice(body, remove=(BODY_MEMBER,))
    return Opaque(
        dialect=NAME,
        method=head.method,
        path=f"{head.path}?{head.query}" if head.query else head.path,
        content_type=head.headers.get("content-type", ""),
        model=model,
        stream=operation == _STREAMED,
        options=read_options(head.headers, member),
        raw=body,
    )


def render_carried(request: Opaque, target: Target, path: str) -> Rendered:
    """`path` is the target's, without the query. Raises `Unsupported` for another dialect's request."""
    query = request.path.partition("?")[2]
    return opaque.render(request, target, f"{path}?{query}" if query else path, LANGUAGE)


def carried_decoder(head: ReplyHead) -> ReplyDecoder:
    return _Metered(head, opaque.decoder(head, LANGUAGE))


class _Metered:
    """Another decoder, and the usage that Bedrock tells beside the body."""

    def __init__(self, head: ReplyHead, inner: ReplyDecoder) -> None:
        self._inner = inner
        self._head = head
        self._frames = EventStreamDecoder() if head.streams else None
        self._last = b""
        self.take = inner.take

    def feed(self, data: bytes) -> Sequence[Event]:
        if self._frames is not None:
            frames = self._frames.feed(data)
            if frames:
                self._last = frames[-1].payload
        return self._inner.feed(data)

    def close(self) -> Sequence[Event]:
        events = list(self._inner.close())
        usage = self._usage()
        if usage is not None and events and isinstance(events[-1], Finished):
            events.insert(len(events) - 1, Used(usage))
        return events

    def _usage(self) -> Usage | None:
        if self._frames is None:
            names = ("input", "output", "cache-read-input", "cache-write-input")
            told = (self._head.headers.get(_HEADER.format(name), "") for name in names)
            return _counted([int(one) if one.isdecimal() else None for one in told])
        try:
            inner = read_object(self._last).get("bytes")
            chunk = read_object(base64.b64decode(inner)) if isinstance(inner, str) else {}
        except (Unreadable, binascii.Error):
            return None
        metrics = chunk.get(_METRICS)
        if not isinstance(metrics, dict):
            return None
        names = ("input", "output", "cacheReadInput", "cacheWriteInput")
        found = (metrics.get(f"{name}TokenCount") for name in names)
        return _counted([one if isinstance(one, int) else None for one in found])


def _counted(counts: Sequence[int | None]) -> Usage | None:
    """Input, output, cache read and written; None where nothing is said."""
    if counts[0] is None and counts[1] is None:
        return None
    fresh, output, read, written = (max(0, count or 0) for count in counts)
    return Usage(fresh=fresh, output=output, cache_read=read, cache_write=written)


class CarriedEncoder:
    """The bytes that came; a break in a stream is told by a frame."""

    def __init__(self, request: Opaque) -> None:
        self._request = request

    def head(self) -> tuple[int, Mapping[str, str]]:
        return 200, {}

    def feed(self, event: Event) -> bytes:
        match event:
            case OpaqueChunk():
                return event.data
            case Failed() if self._request.stream:
                return error_frame(event.error)
            case _:
                return b""
