"""OpenAI Chat Completions: the language that most clients and most providers speak.

Client side: `POST /v1/chat/completions`, `/v1/embeddings` and `/v1/rerank` (which is
Jina's), `GET /v1/models` and one model of it; what else the API has is carried as it is (`carried`).
Provider side: the same under the provider's base path. This file is the
dialect's table of contents; requests, replies and errors have files of their
own beside it.

Source: OpenAI's API reference (Chat, Embeddings, Models, Streaming, Errors).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import ClassVar
from urllib.parse import unquote

from extproc.codec import jsontext
from extproc.dialects import _opaque as opaque
from extproc.dialects._limits import read_spans, write_spans
from extproc.dialects._models import asked_for
from extproc.dialects._naming import Naming
from extproc.dialects._options import read_options
from extproc.dialects.openai_chat.carried import (
    ENDPOINTS,
    LANGUAGE,
    parse_carried,
    refuse_realtime,
    render_carried,
)
from extproc.dialects.openai_chat.decoder import chat_decoder
from extproc.dialects.openai_chat.embeddings import OPERATION as _EMBED
from extproc.dialects.openai_chat.embeddings import (
    EmbedEncoder,
    embed_decoder,
    parse_embed,
    render_embed,
)
from extproc.dialects.openai_chat.encoder import chat_encoder
from extproc.dialects.openai_chat.errors import envelope, render_error
from extproc.dialects.openai_chat.render import render_chat
from extproc.dialects.openai_chat.request import parse_chat
from extproc.dialects.openai_chat.rerank import OPERATION as _RERANK
from extproc.dialects.openai_chat.rerank import (
    parse_rerank,
    render_rerank,
    rerank_decoder,
    rerank_encoder,
)
from extproc.dialects.openai_chat.words import FIELD_NAMES, NAME
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
from extproc.model.embed import Embed, Opaque, Request, Rerank
from extproc.model.errors import GatewayError, InvalidRequest, NotFound, Unsupported

_CHAT = "chat"
_MODELS = "models"
_MODEL = "model"
_MODEL_PREFIXES = ("/v1/models/", "/models/")


class OpenAIChat:
    """See `model.dialect.Dialect`. Holds no state."""

    name: ClassVar[str] = NAME
    endpoints: ClassVar[tuple[Endpoint, ...]] = (
        Endpoint("POST", "/v1/chat/completions", _CHAT),
        Endpoint("POST", "/chat/completions", _CHAT),
        Endpoint("POST", "/v1/embeddings", _EMBED),
        Endpoint("POST", "/v1/rerank", _RERANK),
        Endpoint("POST", "/rerank", _RERANK),
        Endpoint("GET", "/v1/models", _MODELS),
        Endpoint("GET", "/models", _MODELS),
        Endpoint("GET", "/v1/models/*", _MODEL),
        Endpoint("GET", "/models/*", _MODEL),
        *ENDPOINTS,
    )
    speaks_to_providers: ClassVar[bool] = True
    field_names: ClassVar[Mapping[str, str]] = FIELD_NAMES
    request_id_header: ClassVar[str] = "x-request-id"
    # Organisation and project are not here: they would say who pays at *our* provider's account.
    request_headers: ClassVar[frozenset[str]] = frozenset(
        {"idempotency-key", "openai-beta", "traceparent", "tracestate"}
    )
    # The provider's organisation is ours, and its cookies and request authority are nobody's.
    reply_headers: ClassVar[frozenset[str]] = frozenset(
        {
            "content-disposition",
            "content-type",
            "openai-model",
            "openai-processing-ms",
            "openai-version",
            "retry-after",
            "retry-after-ms",
            "x-ratelimit-*",
            "x-should-retry",
        }
    )
    key_refusals: ClassVar[frozenset[int]] = frozenset()

    def parse_request(self, head: RequestHead, body: bytes) -> Request:
        match head.operation or _CHAT:
            case "chat":
                return parse_chat(head.headers, body)
            case "models":
                read_options(head.headers)
                return ListModels(NAME)
            case "model":
                return ListModels(NAME, _model_of(head.path))
            case "embed":
                return parse_embed(head.headers, body)
            case "rerank":
                return parse_rerank(head.headers, body) or parse_carried(head, body)
            case opaque.OPERATION:
                return parse_carried(head, body)
            case opaque.REFUSED:
                raise refuse_realtime()
            case other:
                raise InvalidRequest(f"{NAME} has no operation {other}")

    def render_request(self, request: Request, target: Target) -> Rendered:
        match request:
            case Chat():
                return render_chat(request, target)
            case Embed():
                return render_embed(request, target)
            case Rerank():
                return render_rerank(request, target)
            case Opaque():
                return render_carried(request, target)
            case _:
                what = type(request).__name__.lower()
                raise Unsupported(f"Provider {target.provider} has no endpoint for this ({what}).")

    def decoder(self, head: ReplyHead, rendered: Rendered) -> ReplyDecoder:
        match rendered.operation:
            case "embed":
                return embed_decoder(head)
            case "rerank":
                return rerank_decoder(head)
            case opaque.OPERATION:
                return opaque.decoder(head, LANGUAGE, rendered.units)
            case _:
                return chat_decoder(head, rendered)

    def encoder(self, request: Request, context: ReplyContext) -> ReplyEncoder:
        match request:
            case Chat():
                return chat_encoder(request, context)
            case Embed():
                return EmbedEncoder(request, context)
            case Rerank():
                return rerank_encoder(request, context)
            case Opaque():
                return opaque.Encoder(request, lambda e: envelope(e, context.call_id))
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
        return Naming(name, (("model",),))

    def render_models(
        self, models: Sequence[ModelCard], request: Request, call_id: str
    ) -> WireReply:
        """The list, or the one model asked for. Raises `NotFound` if that one is not in it."""
        del call_id
        absent = "The model '{}' does not exist or you do not have access to it."
        one = asked_for(models, request, absent)
        if one is not None:
            return _ok(_card(one))
        cards: list[Json] = [_card(card) for card in models]
        return _ok({"object": "list", "data": cards})


def _model_of(path: str) -> str:
    """The name in the path, decoded once; a slash may be part of it."""
    for prefix in _MODEL_PREFIXES:
        if path.startswith(prefix) and len(path) > len(prefix):
            return unquote(path[len(prefix) :])
    raise NotFound("the path names no model", param="model", code="model_not_found")


def _card(card: ModelCard) -> Json:
    return {
        "id": card.id,
        "object": "model",
        "created": card.created,
        "owned_by": card.owner,
    }


def _ok(value: Json) -> WireReply:
    return WireReply(200, {"content-type": "application/json"}, jsontext.dumps(value))


DIALECT: Dialect = OpenAIChat()
