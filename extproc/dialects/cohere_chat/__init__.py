"""Cohere's own language (API v2): chat, embeddings, ranking.

Client side: `POST /v2/chat`, `/v2/embed` and `/v2/rerank`; for Cohere's SDK alone, which
says who it is, `/v1/rerank` and the model list, whose paths others have too. What else
the API has is carried as it is. Provider side: the same, under a base URL without version.

Source: Cohere's API reference, v2; the types of its Python SDK.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import ClassVar
from urllib.parse import unquote

from extproc.codec import jsontext
from extproc.dialects import _opaque as opaque
from extproc.dialects._models import asked_for
from extproc.dialects._opaque import Paths
from extproc.dialects._options import read_options
from extproc.dialects.cohere_chat.decoder import chat_decoder
from extproc.dialects.cohere_chat.embed import (
    EMBED,
    EmbedEncoder,
    embed_decoder,
    parse_embed,
    render_embed,
)
from extproc.dialects.cohere_chat.encoder import chat_encoder
from extproc.dialects.cohere_chat.errors import envelope, provider_error, render_error
from extproc.dialects.cohere_chat.render import CHAT, render_chat
from extproc.dialects.cohere_chat.request import parse_chat
from extproc.dialects.cohere_chat.rerank import (
    RERANK,
    RERANK_V1,
    parse_rerank,
    render_rerank,
    rerank_decoder,
    rerank_encoder,
)
from extproc.dialects.cohere_chat.words import FIELD_NAMES, JSON_HEADERS, NAME, read_usage
from extproc.model.call import Target
from extproc.model.chat import Chat, Json, ListModels
from extproc.model.dialect import (
    LIST_MODELS,
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
from extproc.model.embed import Count, Embed, Opaque, Request, Rerank
from extproc.model.errors import GatewayError, InvalidRequest, Unsupported

_MODEL = "model"
_MODEL_PREFIX = "/v1/models/"
_SDK = "x-fern-sdk-name"
"""what Cohere's SDK sends, and others with the same path do not"""
_CARRIED = opaque.endpoints(
    (
        Paths("/v1/chat", "POST"),
        Paths("/v1/generate", "POST"),
        Paths("/v1/embed", "POST"),
        Paths("/v1/classify", "POST"),
        Paths("/v1/summarize", "POST"),
        Paths("/v1/tokenize", "POST"),
        Paths("/v1/detokenize", "POST"),
        Paths("/v2/parse", "POST"),
        Paths("/v1/embed-jobs", "GET POST"),
        Paths("/v1/embed-jobs/*", "GET POST"),
        Paths("/v1/datasets", "GET POST", upload=True),
        Paths("/v1/datasets/*", "GET DELETE"),
    ),
    ("",),
)
_CARRYING = opaque.Language(NAME, (), provider_error, read_usage, ("usage", "meta"))


class CohereChat:
    """See `model.dialect.Dialect`. Holds no state."""

    name: ClassVar[str] = NAME
    endpoints: ClassVar[tuple[Endpoint, ...]] = (
        Endpoint("POST", "/v2/chat", CHAT),
        Endpoint("POST", "/v2/embed", EMBED),
        Endpoint("POST", "/v2/rerank", RERANK),
        Endpoint("POST", "/v1/rerank", RERANK_V1, header=_SDK),
        Endpoint("GET", "/v1/models", LIST_MODELS, header=_SDK),
        Endpoint("GET", "/v1/models/*", _MODEL, header=_SDK),
        *_CARRIED,
    )
    speaks_to_providers: ClassVar[bool] = True
    field_names: ClassVar[Mapping[str, str]] = FIELD_NAMES
    request_id_header: ClassVar[str] = ""
    request_headers: ClassVar[frozenset[str]] = frozenset({"traceparent", "tracestate"})
    reply_headers: ClassVar[frozenset[str]] = frozenset({"content-type", "retry-after"})
    key_refusals: ClassVar[frozenset[int]] = frozenset()

    def parse_request(self, head: RequestHead, body: bytes) -> Request:
        match head.operation or CHAT:
            case "chat":
                return parse_chat(head.headers, body)
            case "embed":
                return parse_embed(head.headers, body) or opaque.parse(head, body, _CARRYING)
            case "rerank" | "rerank_v1":
                asked = parse_rerank(head.headers, body, head.operation)
                return asked or opaque.parse(head, body, _CARRYING)
            case "models":
                read_options(head.headers)
                return ListModels(NAME)
            case "model":
                return ListModels(NAME, unquote(head.path.removeprefix(_MODEL_PREFIX)))
            case opaque.OPERATION:
                return opaque.parse(head, body, _CARRYING)
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
                return opaque.render(request, target, request.path, _CARRYING)
            case Count() | ListModels():
                what = type(request).__name__.lower()
                raise Unsupported(f"Provider {target.provider} has no endpoint for this ({what}).")

    def decoder(self, head: ReplyHead, rendered: Rendered) -> ReplyDecoder:
        match rendered.operation:
            case "embed":
                return embed_decoder(head)
            case "rerank" | "rerank_v1":
                return rerank_decoder(head)
            case opaque.OPERATION:
                return opaque.decoder(head, _CARRYING)
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
            case Count() | ListModels():
                raise Unsupported(f"{NAME} has no such reply.")

    def render_error(self, error: GatewayError, call_id: str) -> WireReply:
        return render_error(error, call_id)

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
        """The list, or the one model asked for. Raises `NotFound` if that one is not in it."""
        del call_id
        one = asked_for(models, request, "model '{}' not found")
        if one is not None:
            return _ok(_card(one))
        cards: list[Json] = [_card(card) for card in models]
        return _ok({"models": cards})


def _card(card: ModelCard) -> Json:
    return {"name": card.id, "is_deprecated": False, "endpoints": [CHAT]}


def _ok(value: Json) -> WireReply:
    return WireReply(200, JSON_HEADERS, jsontext.dumps(value))


DIALECT: Dialect = CohereChat()
