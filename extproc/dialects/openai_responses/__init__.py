"""OpenAI Responses: conversations as lists of items, and replies as lists of items.

Client side: `POST /v1/responses`, the count of a prompt's tokens, and what a
provider has stored, which only one of this dialect can serve. Provider side:
`/responses` under the provider's base path. This file is the dialect's table of
contents: requests are read by `request` and `items`, written by `render` and
`written`; replies are read by `decoder`, `reader` and `open_items`, written by
`encoder` and `out_items` in the places that `placing` gives.

Source: OpenAI's API reference (Responses, Streaming events, Errors).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import ClassVar

from extproc.codec import jsontext
from extproc.dialects import _opaque as opaque
from extproc.dialects._limits import read_spans, write_spans
from extproc.dialects._naming import Naming
from extproc.dialects._opaque import Paths
from extproc.dialects.openai_chat import DIALECT as CHAT
from extproc.dialects.openai_chat.errors import provider_error, render_error
from extproc.dialects.openai_chat.quirks import path_of
from extproc.dialects.openai_responses.decoder import responses_decoder
from extproc.dialects.openai_responses.encoder import responses_encoder
from extproc.dialects.openai_responses.errors import error_event
from extproc.dialects.openai_responses.render import render_chat, render_count
from extproc.dialects.openai_responses.request import parse_chat
from extproc.dialects.openai_responses.words import FIELD_NAMES, NAME, read_usage
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
from extproc.model.embed import Count, Opaque, Request
from extproc.model.errors import GatewayError, InvalidRequest, Unsupported

_CREATE = "responses"
_COUNT = "count"

LANGUAGE = opaque.Language(NAME, ("/v1", ""), provider_error, read_usage)
"""of stored responses: what is asked of them is not translated"""


class OpenAIResponses:
    """See `model.dialect.Dialect`. Holds no state."""

    name: ClassVar[str] = NAME
    endpoints: ClassVar[tuple[Endpoint, ...]] = (
        Endpoint("POST", "/v1/responses", _CREATE),
        Endpoint("POST", "/responses", _CREATE),
        Endpoint("POST", "/v1/responses/input_tokens", _COUNT),
        Endpoint("POST", "/responses/input_tokens", _COUNT),
        *opaque.endpoints((Paths("/responses/*", "GET POST DELETE"),), LANGUAGE.prefixes),
    )
    speaks_to_providers: ClassVar[bool] = True
    field_names: ClassVar[Mapping[str, str]] = FIELD_NAMES
    request_id_header: ClassVar[str] = CHAT.request_id_header
    request_headers: ClassVar[frozenset[str]] = CHAT.request_headers
    reply_headers: ClassVar[frozenset[str]] = CHAT.reply_headers
    key_refusals: ClassVar[frozenset[int]] = frozenset()

    def parse_request(self, head: RequestHead, body: bytes) -> Request:
        match head.operation or _CREATE:
            case "responses":
                return parse_chat(head.headers, body)
            case "count":
                return Count(parse_chat(head.headers, body))
            case opaque.OPERATION:
                return opaque.parse(head, body, LANGUAGE)
            case other:
                raise InvalidRequest(f"{NAME} has no operation {other}")

    def render_request(self, request: Request, target: Target) -> Rendered:
        match request:
            case Chat():
                return render_chat(request, target)
            case Count():
                return render_count(request, target)
            case Opaque():
                path, _, query = request.path.partition("?")
                return opaque.render(request, target, path_of(target, path, query), LANGUAGE)
            case _:
                what = type(request).__name__.lower()
                raise Unsupported(f"Provider {target.provider} has no endpoint for this ({what}).")

    def decoder(self, head: ReplyHead, rendered: Rendered) -> ReplyDecoder:
        if rendered.operation == opaque.OPERATION:
            return opaque.decoder(head, LANGUAGE)
        return responses_decoder(head, rendered)

    def encoder(self, request: Request, context: ReplyContext) -> ReplyEncoder:
        match request:
            case Chat() | Count():
                return responses_encoder(request, context)
            case Opaque():
                return opaque.Encoder(request, lambda e: _flat(e, context.call_id))
            case _:
                what = type(request).__name__.lower()
                raise Unsupported(f"{NAME} has no reply for this ({what})")

    def render_error(self, error: GatewayError, call_id: str) -> WireReply:
        return render_error(error, call_id)

    def read_limits(self, head: ReplyHead) -> tuple[RateLimit, ...]:
        return read_spans(head.headers)

    def write_limits(self, limits: tuple[RateLimit, ...]) -> Mapping[str, str]:
        return write_spans(limits)

    def naming(self, name: str) -> Naming:
        return Naming(name, (("model",), ("response", "model")))

    def render_models(
        self, models: Sequence[ModelCard], request: Request, call_id: str
    ) -> WireReply:
        """OpenAI's list; its path belongs to the Chat dialect."""
        return CHAT.render_models(models, request, call_id)


def _flat(error: GatewayError, call_id: str) -> bytes:
    return jsontext.dumps(error_event(error, call_id, 0))


DIALECT: Dialect = OpenAIResponses()
