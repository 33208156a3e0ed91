"""Anthropic Messages: Claude's own language, at Anthropic, on Bedrock (InvokeModel) and on Vertex.

Client side: `POST /v1/messages`, counting, the model list; batches and files pass
untouched to a provider of this language. Provider side: the same paths under the
provider's base, or those of the variant. Requests, replies and errors have files of
their own beside this one, which is the table of contents.

Source: Anthropic's API reference, versions 2023-06-01 and 2026-10-21.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import ClassVar
from urllib.parse import unquote

from extproc.dialects import _opaque as opaque
from extproc.dialects._limits import read_times, write_times
from extproc.dialects._naming import Naming
from extproc.dialects._options import read_options
from extproc.dialects.anthropic_messages.decoder import messages_decoder
from extproc.dialects.anthropic_messages.encoder import StreamEncoder
from extproc.dialects.anthropic_messages.errors import envelope, provider_error, render_error
from extproc.dialects.anthropic_messages.models import render_models
from extproc.dialects.anthropic_messages.render import headers, render_chat, render_count
from extproc.dialects.anthropic_messages.request import parse_chat
from extproc.dialects.anthropic_messages.whole import CountEncoder, WholeEncoder
from extproc.dialects.anthropic_messages.words import FIELD_NAMES, NAME, read_usage
from extproc.model.call import Target
from extproc.model.chat import Chat, Json, ListModels
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
from extproc.model.reply import Usage

_MODELS_PREFIX = "/v1/models/"
_HEADER = "anthropic-version"


def _usage(value: Mapping[str, Json]) -> Usage:
    return read_usage(value) or Usage()


_CARRIED = opaque.Language(NAME, (), provider_error, _usage)


class AnthropicMessages:
    """See `model.dialect.Dialect`. Holds no state."""

    name: ClassVar[str] = NAME
    endpoints: ClassVar[tuple[Endpoint, ...]] = (
        Endpoint("POST", "/v1/messages", "messages"),
        Endpoint("POST", "/v1/messages/count_tokens", "count"),
        Endpoint("GET", "/v1/models", "models", _HEADER),
        Endpoint("GET", "/v1/models/*", "model", _HEADER),
        Endpoint("POST", "/v1/messages/batches", "opaque"),
        Endpoint("GET", "/v1/messages/batches", "opaque"),
        Endpoint("GET", "/v1/messages/batches/*", "opaque"),
        Endpoint("POST", "/v1/messages/batches/*", "opaque"),
        Endpoint("DELETE", "/v1/messages/batches/*", "opaque"),
        Endpoint("POST", "/v1/files", "opaque", _HEADER, upload=True),
        Endpoint("GET", "/v1/files", "opaque", _HEADER),
        Endpoint("GET", "/v1/files/*", "opaque", _HEADER),
        Endpoint("DELETE", "/v1/files/*", "opaque", _HEADER),
    )
    speaks_to_providers: ClassVar[bool] = True
    field_names: ClassVar[Mapping[str, str]] = FIELD_NAMES
    request_id_header: ClassVar[str] = "request-id"
    request_headers: ClassVar[frozenset[str]] = frozenset(
        {"anthropic-beta", "idempotency-key", "traceparent", "tracestate"}
    )
    # The provider's organisation is ours, and its cookies are nobody's.
    reply_headers: ClassVar[frozenset[str]] = frozenset(
        {
            "anthropic-ratelimit-*",
            "content-disposition",
            "content-type",
            "retry-after",
            "retry-after-ms",
            "x-should-retry",
        }
    )
    key_refusals: ClassVar[frozenset[int]] = frozenset()

    def parse_request(self, head: RequestHead, body: bytes) -> Request:
        match head.operation or "messages":
            case "messages":
                return parse_chat(head, body)
            case "count":
                return Count(parse_chat(head, body))
            case "models":
                read_options(head.headers)
                return ListModels(NAME, query=head.query)
            case "model":
                return ListModels(NAME, unquote(head.path.removeprefix(_MODELS_PREFIX)))
            case "opaque":
                return opaque.parse(head, body, _CARRIED)
            case other:
                raise InvalidRequest(f"{NAME} has no operation {other}")

    def render_request(self, request: Request, target: Target) -> Rendered:
        match request:
            case Chat():
                return render_chat(request, target)
            case Count():
                return render_count(request, target)
            case Opaque():
                return _render_opaque(request, target)
            case _:
                raise Unsupported("Anthropic has no such endpoint")

    def decoder(self, head: ReplyHead, rendered: Rendered) -> ReplyDecoder:
        if rendered.operation == opaque.OPERATION:
            return opaque.decoder(head, _CARRIED)
        return messages_decoder(head, rendered)

    def encoder(self, request: Request, context: ReplyContext) -> ReplyEncoder:
        match request:
            case Chat():
                return StreamEncoder(context) if request.stream else WholeEncoder(context)
            case Count():
                return CountEncoder(context)
            case Opaque():
                return opaque.Encoder(request, lambda error: envelope(error, context.call_id))
            case _:
                raise Unsupported("this dialect cannot say that")

    def render_error(self, error: GatewayError, call_id: str) -> WireReply:
        return render_error(error, call_id)

    def read_limits(self, head: ReplyHead) -> tuple[RateLimit, ...]:
        return read_times(head.headers)

    def write_limits(self, limits: tuple[RateLimit, ...]) -> Mapping[str, str]:
        return write_times(limits)

    def naming(self, name: str) -> Naming:
        return Naming(name, (("model",), ("message", "model")))

    def render_models(
        self, models: Sequence[ModelCard], request: Request, call_id: str
    ) -> WireReply:
        """See `models.render_models`."""
        asked = request if isinstance(request, ListModels) else ListModels(NAME)
        return render_models(models, asked, call_id)


def _render_opaque(request: Opaque, target: Target) -> Rendered:
    if target.variant:
        raise Unsupported(f"{request.path.partition('?')[0]} is there at Anthropic's own API only")
    rendered = opaque.render(request, target, request.path, _CARRIED)
    return replace(rendered, headers=headers(target, request.content_type))


DIALECT: Dialect = AnthropicMessages()
