"""OpenAI's legacy completions: one prompt in, its continuation out.

Client side: `POST /v1/completions`. Provider side: `/completions` under the
provider's base path. Errors, rate limits, and the usage's form are those of
`openai_chat`, and so is the model list.

Source: OpenAI's API reference (Completions); the types of openai-python.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import ClassVar

from extproc.dialects._limits import read_spans, write_spans
from extproc.dialects._naming import Naming
from extproc.dialects.openai_chat import DIALECT as CHAT
from extproc.dialects.openai_chat.errors import render_error
from extproc.dialects.openai_completions.decoder import completion_decoder
from extproc.dialects.openai_completions.encoder import completion_encoder
from extproc.dialects.openai_completions.render import render_completion
from extproc.dialects.openai_completions.request import parse_completion
from extproc.dialects.openai_completions.words import FIELD_NAMES, NAME
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
from extproc.model.embed import Request
from extproc.model.errors import GatewayError, Unsupported

_COMPLETION = "completion"


class OpenAICompletions:
    """See `model.dialect.Dialect`. Holds no state."""

    name: ClassVar[str] = NAME
    endpoints: ClassVar[tuple[Endpoint, ...]] = (
        Endpoint("POST", "/v1/completions", _COMPLETION),
        Endpoint("POST", "/completions", _COMPLETION),
    )
    speaks_to_providers: ClassVar[bool] = True
    field_names: ClassVar[Mapping[str, str]] = FIELD_NAMES
    request_id_header: ClassVar[str] = CHAT.request_id_header
    request_headers: ClassVar[frozenset[str]] = CHAT.request_headers
    reply_headers: ClassVar[frozenset[str]] = CHAT.reply_headers
    key_refusals: ClassVar[frozenset[int]] = frozenset()

    def parse_request(self, head: RequestHead, body: bytes) -> Request:
        return parse_completion(head.headers, body)

    def render_request(self, request: Request, target: Target) -> Rendered:
        if not isinstance(request, Chat):
            raise Unsupported(f"Provider {target.provider} has no such endpoint in {NAME}.")
        return render_completion(request, target)

    def decoder(self, head: ReplyHead, rendered: Rendered) -> ReplyDecoder:
        return completion_decoder(head, rendered)

    def encoder(self, request: Request, context: ReplyContext) -> ReplyEncoder:
        if not isinstance(request, Chat):
            raise Unsupported(f"{NAME} has no such reply")
        return completion_encoder(request, context)

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
        return CHAT.render_models(models, request, call_id)


DIALECT: Dialect = OpenAICompletions()
