"""Ollama's own language: models that run where somebody put them, and its cloud.

Client side: `POST /api/chat`, `/api/generate`, `/api/embed` and the older
`/api/embeddings`; `GET /api/tags`, `POST /api/show` and `GET /api/version`.
Provider side: the same paths under the provider's base path. A stream is lines
of JSON, and the default. What changes a server (pulling and deleting models)
does not pass a gateway.

Source: Ollama's API reference and the types of its server; ollama-python.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import ClassVar

from extproc.dialects import _reading as read
from extproc.dialects._naming import Naming
from extproc.dialects._options import read_options
from extproc.dialects.ollama_chat.decoder import reply_decoder
from extproc.dialects.ollama_chat.embed import EmbedEncoder, parse_embed, render_embed
from extproc.dialects.ollama_chat.encoder import reply_encoder
from extproc.dialects.ollama_chat.errors import render_error
from extproc.dialects.ollama_chat.models import VERSION, render_models
from extproc.dialects.ollama_chat.render import render_chat
from extproc.dialects.ollama_chat.request import parse_chat, parse_generate
from extproc.dialects.ollama_chat.words import (
    CHAT_PATH,
    EMBED_PATH,
    EMBEDDINGS_PATH,
    FIELD_NAMES,
    GENERATE_PATH,
    NAME,
)
from extproc.model.call import Target
from extproc.model.chat import Chat, ListModels
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
from extproc.model.errors import GatewayError, InvalidRequest, Unsupported


class OllamaChat:
    """See `model.dialect.Dialect`. Holds no state."""

    name: ClassVar[str] = NAME
    endpoints: ClassVar[tuple[Endpoint, ...]] = (
        Endpoint("POST", CHAT_PATH, "chat"),
        Endpoint("POST", GENERATE_PATH, "generate"),
        Endpoint("POST", EMBED_PATH, "embed"),
        Endpoint("POST", EMBEDDINGS_PATH, "embeddings"),
        Endpoint("GET", "/api/tags", "models"),
        Endpoint("POST", "/api/show", "show"),
        Endpoint("GET", "/api/version", "version"),
    )
    speaks_to_providers: ClassVar[bool] = True
    field_names: ClassVar[Mapping[str, str]] = FIELD_NAMES
    request_id_header: ClassVar[str] = ""
    request_headers: ClassVar[frozenset[str]] = frozenset({"traceparent", "tracestate"})
    reply_headers: ClassVar[frozenset[str]] = frozenset({"content-type", "retry-after"})
    key_refusals: ClassVar[frozenset[int]] = frozenset()

    def parse_request(self, head: RequestHead, body: bytes) -> Request:
        match head.operation or "chat":
            case "chat":
                return parse_chat(head.headers, body)
            case "generate":
                return parse_generate(head.headers, body)
            case "embed":
                return parse_embed(head.headers, body)
            case "embeddings":
                return parse_embed(head.headers, body, one_prompt=True)
            case "models":
                read_options(head.headers)
                return ListModels(NAME)
            case "version":
                return ListModels(NAME, VERSION)
            case "show":
                return ListModels(NAME, _shown(body))
            case other:
                raise InvalidRequest(f"{NAME} has no operation {other}")

    def render_request(self, request: Request, target: Target) -> Rendered:
        match request:
            case Chat():
                return render_chat(request, target)
            case Embed():
                return render_embed(request, target)
            case Rerank() | Count() | Opaque() | ListModels():
                raise Unsupported(f"Provider {target.provider} cannot be asked for that.")

    def decoder(self, head: ReplyHead, rendered: Rendered) -> ReplyDecoder:
        return reply_decoder(head, rendered)

    def encoder(self, request: Request, context: ReplyContext) -> ReplyEncoder:
        match request:
            case Chat():
                return reply_encoder(request, context)
            case Embed():
                return EmbedEncoder(request, context)
            case Rerank() | Count() | Opaque() | ListModels():
                raise Unsupported("Ollama's language has no such reply.")

    def render_error(self, error: GatewayError, call_id: str) -> WireReply:
        return render_error(error, call_id)

    def read_limits(self, head: ReplyHead) -> tuple[RateLimit, ...]:
        del head
        return ()

    def write_limits(self, limits: tuple[RateLimit, ...]) -> Mapping[str, str]:
        del limits
        return {}

    def naming(self, name: str) -> Naming:
        return Naming(name, (("model",),))

    def render_models(
        self, models: Sequence[ModelCard], request: Request, call_id: str
    ) -> WireReply:
        """The list, the one model asked for, or the version. Raises `NotFound`."""
        del call_id
        return render_models(models, request.model if isinstance(request, ListModels) else None)


def _shown(body: bytes) -> str:
    x = read.read_object(body)
    # `name` is the older word.
    name = read.optional_string(x.get("model", x.get("name")), "model")
    if not name:
        raise read.missing("model")
    return name


DIALECT: Dialect = OllamaChat()
