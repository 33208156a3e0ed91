"""AWS Bedrock Runtime: Converse and ConverseStream, CountTokens, vectors and rankings of InvokeModel.

Client and provider side: `POST /model/{modelId}/{operation}`; the model's name is
quoted in the path as AWS's own clients quote it, because that is what is signed.
Other bodies of InvokeModel are carried to a Bedrock provider as they are. Streams
are AWS event streams. `GET /foundation-models` lists what a caller may use, in the
shape of Bedrock's control plane.

Source: the API reference and service model of Amazon Bedrock Runtime (2023-09-30).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import ClassVar
from urllib.parse import unquote

from extproc.codec import jsontext
from extproc.dialects import _opaque as opaque
from extproc.dialects._models import asked_for
from extproc.dialects._options import read_options
from extproc.dialects.bedrock_converse.carried import (
    CarriedEncoder,
    carried_decoder,
    parse_carried,
    render_carried,
)
from extproc.dialects.bedrock_converse.decoder import chat_decoder, count_decoder
from extproc.dialects.bedrock_converse.embeddings import (
    EmbedEncoder,
    embed_decoder,
    parse_embed,
    render_embed,
)
from extproc.dialects.bedrock_converse.encoder import CountEncoder, chat_encoder
from extproc.dialects.bedrock_converse.errors import render_error
from extproc.dialects.bedrock_converse.render import path_of, render_chat, render_count
from extproc.dialects.bedrock_converse.request import parse_chat, parse_count, parse_path
from extproc.dialects.bedrock_converse.rerank import (
    parse_rerank,
    render_rerank,
    rerank_decoder,
    rerank_encoder,
)
from extproc.dialects.bedrock_converse.words import FIELD_NAMES, NAME
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
from extproc.model.embed import Count, Embed, Opaque, Request, Rerank
from extproc.model.errors import GatewayError, NotFound, Unsupported

_MODEL = "model"
_MODELS = "models"
_ONE_MODEL = "one-model"
_MODELS_PATH = "/foundation-models"


class BedrockConverse:
    """See `model.dialect.Dialect`. Holds no state."""

    name: ClassVar[str] = NAME
    endpoints: ClassVar[tuple[Endpoint, ...]] = (
        Endpoint("POST", "/model/*", _MODEL),
        Endpoint("GET", _MODELS_PATH, _MODELS),
        Endpoint("GET", _MODELS_PATH + "/*", _ONE_MODEL),
    )
    speaks_to_providers: ClassVar[bool] = True
    field_names: ClassVar[Mapping[str, str]] = FIELD_NAMES
    request_id_header: ClassVar[str] = "x-amzn-requestid"
    request_headers: ClassVar[frozenset[str]] = frozenset(
        {
            "accept",
            "traceparent",
            "tracestate",
            "x-amzn-bedrock-guardrailidentifier",
            "x-amzn-bedrock-guardrailversion",
            "x-amzn-bedrock-performanceconfig-latency",
            "x-amzn-bedrock-request-metadata",
            "x-amzn-bedrock-service-tier",
            "x-amzn-bedrock-trace",
        }
    )
    reply_headers: ClassVar[frozenset[str]] = frozenset(
        {"content-type", "retry-after", "x-amzn-bedrock-*", "x-amzn-errortype"}
    )
    key_refusals: ClassVar[frozenset[int]] = frozenset()

    def parse_request(self, head: RequestHead, body: bytes) -> Request:
        match head.operation or _MODEL:
            case "models":
                read_options(head.headers)
                return ListModels(NAME)
            case "one-model":
                return ListModels(NAME, unquote(head.path.removeprefix(_MODELS_PATH + "/")))
            case _:
                return self._of_model(head, body)

    def _of_model(self, head: RequestHead, body: bytes) -> Request:
        model, operation = parse_path(head.path)
        match operation:
            case "converse" | "converse-stream":
                stream = operation == "converse-stream"
                return parse_chat(head.headers, body, model, stream=stream)
            case "count-tokens":
                count = parse_count(head.headers, body, model)
                return count or parse_carried(head, body, model, operation)
            case "invoke":
                asked = parse_embed(head.headers, body, model)
                asked = asked or parse_rerank(head.headers, body, model)
                return asked or parse_carried(head, body, model, operation)
            case "invoke-with-response-stream":
                return parse_carried(head, body, model, operation)
            case _:
                raise NotFound(f"Bedrock has no operation {operation[:64]!r} here")

    def render_request(self, request: Request, target: Target) -> Rendered:
        match request:
            case Chat():
                return render_chat(request, target)
            case Count():
                return render_count(request.chat, target)
            case Embed():
                return render_embed(request, target, path_of(target.model, "invoke"))
            case Rerank():
                return render_rerank(request, target, path_of(target.model, "invoke"))
            case Opaque():
                operation = request.path.partition("?")[0].rpartition("/")[2]
                return render_carried(request, target, path_of(target.model, operation))
            case _:
                raise Unsupported(f"Provider {target.provider} has no such operation.")

    def decoder(self, head: ReplyHead, rendered: Rendered) -> ReplyDecoder:
        match rendered.operation:
            case "embed-titan" | "embed-cohere":
                return embed_decoder(head)
            case "rerank":
                return rerank_decoder(head)
            case "count-tokens":
                return count_decoder(head)
            case opaque.OPERATION:
                return carried_decoder(head)
            case _:
                return chat_decoder(head, rendered)

    def encoder(self, request: Request, context: ReplyContext) -> ReplyEncoder:
        match request:
            case Chat():
                return chat_encoder(request, context)
            case Count():
                return CountEncoder()
            case Embed():
                return EmbedEncoder(request)
            case Rerank():
                return rerank_encoder(request)
            case Opaque():
                return CarriedEncoder(request)
            case _:
                raise Unsupported("Bedrock has no words for such a reply.")

    def render_error(self, error: GatewayError, call_id: str) -> WireReply:
        return render_error(error, call_id)

    def read_limits(self, head: ReplyHead) -> tuple[RateLimit, ...]:
        """Bedrock tells none."""
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
        one = asked_for(models, request, "The model {!r} does not exist, or is not for you.")
        if one is not None:
            return _ok({"modelDetails": _card(one)})
        return _ok({"modelSummaries": [_card(card) for card in models]})


def _card(card: ModelCard) -> Json:
    return {
        "modelArn": f"arn:aws:bedrock:::foundation-model/{card.id}",
        "modelId": card.id,
        "modelName": card.id,
        "providerName": card.owner,
        "responseStreamingSupported": True,
    }


def _ok(value: Json) -> WireReply:
    return WireReply(200, {"content-type": "application/json"}, jsontext.dumps(value))


DIALECT: Dialect = BedrockConverse()
