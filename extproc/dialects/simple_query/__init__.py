"""The simple query language: one prompt in, one answer out, whole or in chunks; and one text's vector.

`POST /query` and `/chat` answer with one JSON object, `/stream` with events
`{"chunk", "finished"}` and `[DONE]`, `/embeddings` with a flat list of numbers.
It is a strict little language: a member that it does not know is an error that
names it. It speaks to clients only. A body with OpenAI's `input` at `/embeddings`
is OpenAI's request, from an SDK whose base URL lacks `/v1`, and is answered so.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import ClassVar

from extproc.codec import jsontext
from extproc.dialects._errors import status_of, wait_of
from extproc.dialects.openai_chat import DIALECT as OPENAI
from extproc.dialects.simple_query.reply import EmbedEncoder, StreamEncoder, WholeEncoder
from extproc.dialects.simple_query.request import NAME, parse
from extproc.model.call import Target
from extproc.model.chat import Chat
from extproc.model.dialect import (
    Dialect,
    Endpoint,
    ModelCard,
    RateLimit,
    Rendered,
    ReplyContext,
    ReplyDecoder,
    ReplyEncoder,
    ReplyHead,
    RequestHead,
    WireReply,
)
from extproc.model.embed import Embed, Request
from extproc.model.errors import GatewayError, Unsupported
from extproc.model.fields import Field


class SimpleQuery:
    """See `model.dialect.Dialect`. Holds no state."""

    name: ClassVar[str] = NAME
    endpoints: ClassVar[tuple[Endpoint, ...]] = (
        Endpoint("POST", "/query", "query"),
        Endpoint("POST", "/chat", "chat"),
        Endpoint("POST", "/stream", "stream"),
        Endpoint("POST", "/embeddings", "embeddings"),
    )
    speaks_to_providers: ClassVar[bool] = False
    field_names: ClassVar[Mapping[str, str]] = {
        Field.USER: "user_id",
        Field.SYSTEM: "context",
        Field.CONVERSATION: "conversation_id",
    }
    request_id_header: ClassVar[str] = ""
    request_headers: ClassVar[frozenset[str]] = frozenset({"traceparent", "tracestate"})
    reply_headers: ClassVar[frozenset[str]] = frozenset({"content-type", "retry-after"})
    key_refusals: ClassVar[frozenset[int]] = frozenset()

    def parse_request(self, head: RequestHead, body: bytes) -> Request:
        return parse(head, body)

    def render_request(self, request: Request, target: Target) -> Rendered:
        del request
        raise Unsupported(f"{target.provider} cannot be asked in {NAME}")

    def decoder(self, head: ReplyHead, rendered: Rendered) -> ReplyDecoder:
        del head, rendered
        raise Unsupported(f"no provider answers in {NAME}")

    def encoder(self, request: Request, context: ReplyContext) -> ReplyEncoder:
        match request:
            case Chat() if request.stream:
                return StreamEncoder(context)
            case Chat():
                return WholeEncoder(request, context)
            case Embed() if request.dialect != NAME:
                return OPENAI.encoder(request, context)
            case Embed():
                return EmbedEncoder(context)
            case _:
                raise Unsupported(f"{NAME} has no such reply")

    def render_error(self, error: GatewayError, call_id: str) -> WireReply:
        headers = {"content-type": "application/json", "x-sluice-error-origin": error.origin.value}
        wait = wait_of(error)
        if wait is not None:
            headers["retry-after"] = str(max(1, math.ceil(wait)))
        if error.status == 401:
            headers["www-authenticate"] = "Bearer"
        if error.allow:
            headers["allow"] = ", ".join(error.allow)
        body = jsontext.dumps({"error": error.message, "correlation_id": call_id})
        return WireReply(status_of(error), headers, body)

    def read_limits(self, head: ReplyHead) -> tuple[RateLimit, ...]:
        del head
        return ()

    def write_limits(self, limits: tuple[RateLimit, ...]) -> Mapping[str, str]:
        del limits
        return {}

    def naming(self, name: str) -> None:
        del name

    def render_models(
        self, models: Sequence[ModelCard], request: Request, call_id: str
    ) -> WireReply:
        del models, request, call_id
        raise Unsupported(f"{NAME} has no model list")


DIALECT: Dialect = SimpleQuery()
