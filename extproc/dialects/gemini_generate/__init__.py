"""Gemini's `generateContent`: the language of the Gemini API (AI Studio) and of Vertex AI.

Client side: models and methods below `/v1beta` and `/v1`, the same below Vertex's
`/v1/projects/...`, and model lists. Provider side: a base without a version;
variant `vertex` puts project and region into the path. This file is the dialect's
table of contents.

Source: the API reference of ai.google.dev and of Vertex AI.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import ClassVar

from extproc.codec import jsontext
from extproc.dialects import _opaque as opaque
from extproc.dialects._models import asked_for
from extproc.dialects._naming import Naming
from extproc.dialects._options import read_options
from extproc.dialects.gemini_generate.decoder import gemini_decoder
from extproc.dialects.gemini_generate.embed import (
    VERBS,
    VectorEncoder,
    parse_embed,
    render_embed,
)
from extproc.dialects.gemini_generate.encoder import CountEncoder, gemini_encoder
from extproc.dialects.gemini_generate.errors import envelope, provider_error, render_error
from extproc.dialects.gemini_generate.fields import FIELD_NAMES
from extproc.dialects.gemini_generate.paths import moved, path_to, place_of
from extproc.dialects.gemini_generate.render import render_chat, render_count
from extproc.dialects.gemini_generate.request import STREAM, parse_chat, parse_count
from extproc.dialects.gemini_generate.words import NAME, read_usage
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
from extproc.model.embed import Count, Embed, Opaque, Request
from extproc.model.errors import GatewayError, InvalidRequest, Unsupported
from extproc.model.reply import Usage

_METHOD = "method"
_MODEL = "model"
_KEY = "x-goog-api-key"
"""tells this API's model lists from OpenAI's, which have the same path"""

_OTHERS = (
    opaque.Paths("/v1beta/files*", "GET DELETE"),
    opaque.Paths("/v1beta/cachedContents*", "GET POST PATCH DELETE"),
    opaque.Paths("/v1beta/batches*", "GET POST DELETE"),
    opaque.Paths("/v1beta/operations*", "GET"),
    opaque.Paths("/v1beta/fileSearchStores*", "GET POST DELETE"),
    opaque.Paths("/upload/v1beta/*", "POST PUT", upload=True),
    opaque.Paths("/v1beta1/projects/*", "GET PATCH DELETE"),
    opaque.Paths("/v1/projects/*", "GET PATCH DELETE"),
)


class Gemini:
    """See `model.dialect.Dialect`. Holds no state."""

    name: ClassVar[str] = NAME
    endpoints: ClassVar[tuple[Endpoint, ...]] = (
        Endpoint("POST", "/v1beta/models/*", _METHOD),
        Endpoint("POST", "/v1/models/*", _METHOD),
        Endpoint("POST", "/v1beta/tunedModels/*", _METHOD),
        Endpoint("POST", "/v1beta1/projects/*", _METHOD),
        Endpoint("POST", "/v1/projects/*", _METHOD),
        Endpoint("POST", "/v1beta1/publishers/*", _METHOD),
        Endpoint("POST", "/v1/publishers/*", _METHOD),
        Endpoint("GET", "/v1beta/models", LIST_MODELS),
        Endpoint("GET", "/v1beta/models/*", _MODEL),
        Endpoint("GET", "/v1/models", LIST_MODELS, header=_KEY),
        Endpoint("GET", "/v1/models/*", _MODEL, header=_KEY),
        *opaque.endpoints(_OTHERS, ("",)),
    )
    speaks_to_providers: ClassVar[bool] = True
    field_names: ClassVar[Mapping[str, str]] = FIELD_NAMES
    request_id_header: ClassVar[str] = ""
    # The project that pays is ours, so `x-goog-user-project` is not here.
    request_headers: ClassVar[frozenset[str]] = frozenset({"traceparent", "tracestate"})
    reply_headers: ClassVar[frozenset[str]] = frozenset(
        {"content-type", "retry-after", "server-timing"}
    )
    key_refusals: ClassVar[frozenset[int]] = frozenset({400})  # API_KEY_INVALID

    def parse_request(self, head: RequestHead, body: bytes) -> Request:
        match head.operation or _METHOD:
            case "method":
                return _parse_method(head, body)
            case "models":
                read_options(head.headers)
                return ListModels(NAME)
            case "model":
                return ListModels(NAME, place_of(head.path, has_verb=False).model)
            case opaque.OPERATION:
                return opaque.parse(head, body, _WORDS)
            case other:
                raise InvalidRequest(f"{NAME} has no operation {other}")

    def render_request(self, request: Request, target: Target) -> Rendered:
        match request:
            case Chat():
                return render_chat(request, target)
            case Count():
                return render_count(request, target)
            case Embed():
                return render_embed(request, target)
            case Opaque():
                return opaque.render(request, target, _opaque_path(request, target), _WORDS)
            case _:
                message = f"Provider {target.provider} cannot do that: it has no such method."
                raise Unsupported(message)

    def decoder(self, head: ReplyHead, rendered: Rendered) -> ReplyDecoder:
        if rendered.operation == opaque.OPERATION:
            return opaque.decoder(head, _WORDS)
        return gemini_decoder(head, rendered)

    def encoder(self, request: Request, context: ReplyContext) -> ReplyEncoder:
        match request:
            case Chat():
                return gemini_encoder(request, context)
            case Embed():
                return VectorEncoder(request, context)
            case Count():
                return CountEncoder(context)
            case Opaque():
                return opaque.Encoder(request, lambda error: envelope(error, context.call_id))
            case _:
                raise Unsupported("this language has no such reply")

    def render_error(self, error: GatewayError, call_id: str) -> WireReply:
        return render_error(error, call_id)

    def read_limits(self, head: ReplyHead) -> tuple[RateLimit, ...]:
        """Google tells of limits in errors only."""
        del head
        return ()

    def write_limits(self, limits: tuple[RateLimit, ...]) -> Mapping[str, str]:
        del limits
        return {}

    def naming(self, name: str) -> Naming:
        return Naming(name, (("modelVersion",),))

    def render_models(
        self, models: Sequence[ModelCard], request: Request, call_id: str
    ) -> WireReply:
        """The list, or the one model asked for. Raises `NotFound` if that one is not in it."""
        del call_id
        one = asked_for(models, request, "models/{} is not found, or you may not use it.")
        if one is not None:
            return _ok(_card(one))
        cards: list[Json] = [_card(card) for card in models]
        return _ok({"models": cards})


def _parse_method(head: RequestHead, body: bytes) -> Request:
    place = place_of(head.path)
    match place.verb:
        case "generateContent":
            return parse_chat(place, head.query, head.headers, body)
        case verb if verb == STREAM:
            return parse_chat(place, head.query, head.headers, body)
        case "countTokens":
            return parse_count(place, head.headers, body)
        case verb:
            embed = parse_embed(place, head.headers, body) if verb in VERBS else None
            return embed or opaque.parse(head, body, _WORDS, place.model)


def _opaque_path(request: Opaque, target: Target) -> str:
    """Where it goes at the target: a model's method, or the path as it came."""
    path, _, query = request.path.partition("?")
    if request.model and request.dialect == NAME:
        place = place_of(path)
        return path_to(target, place.verb, place.version, query)
    there = moved(path, target)
    if there is None:
        raise Unsupported(f"Provider {target.provider} has no {path}.")
    return f"{there}?{query}" if query else there


def _usage(value: Mapping[str, Json]) -> Usage:
    return read_usage(value) or Usage()


_WORDS = opaque.Language(NAME, (), provider_error, _usage, ("usageMetadata",))

_METHODS: tuple[Json, ...] = ("generateContent", "countTokens")


def _card(card: ModelCard) -> Json:
    return {
        "name": f"models/{card.id}",
        "baseModelId": card.id,
        "version": "001",
        "displayName": card.id,
        "description": f"Served by {card.owner}.",
        "supportedGenerationMethods": list(_METHODS),
    }


def _ok(value: Json) -> WireReply:
    headers = {"content-type": "application/json; charset=UTF-8"}
    return WireReply(200, headers, jsontext.dumps(value))


DIALECT: Dialect = Gemini()
