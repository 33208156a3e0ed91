"""What every wire language must be able to do.

A dialect is one file in `dialects/`, found by its name. It is pure: bytes and
values in, bytes and values out; it never does I/O, never knows a stage, and
raises nothing but `GatewayError`s.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import field
from typing import ClassVar, Protocol

from extproc.model.call import ANY, CallId, Capabilities, Price, Target
from extproc.model.chat import Json
from extproc.model.embed import Request
from extproc.model.errors import GatewayError
from extproc.model.ports import Clock
from extproc.model.reply import NO_UNITS, Event, Units
from extproc.model.value import value

STREAM_TYPES = frozenset(
    {"text/event-stream", "application/x-ndjson", "application/vnd.amazon.eventstream"}
)
"""content types of replies that come piece by piece"""

LIST_MODELS = "models"
"""operation of the endpoint that lists models, in every dialect that has one"""

Headers = Mapping[str, str]
"""Lower-case names; values of a repeated header joined with `, `. Pseudo-headers are not among them."""


@value
class Endpoint:
    """A path that a dialect answers. `operation` is the dialect's own word for what it does.

    `path` is exact, or ends in `*` and is a prefix. With `header` it answers only
    clients that send that header, and before those who do not ask for one: two
    languages may have the same path. `upload`: a body above the limit may pass
    unseen, and then `parse_request` gets none of it.
    """

    method: str
    path: str
    operation: str
    header: str = ""
    upload: bool = False


@value
class RequestHead:
    """The head of a client's request. `path` has no query; `query` is raw, without the client's key."""

    method: str
    path: str
    query: str
    headers: Headers
    operation: str = ""


@value
class ReplyHead:
    """The head of a provider's reply."""

    status: int
    headers: Headers

    @property
    def streams(self) -> bool:
        return self.content_type in STREAM_TYPES

    @property
    def content_type(self) -> str:
        """Lower-case, without parameters."""
        return self.headers.get("content-type", "").split(";", 1)[0].strip().lower()


@value
class Rendered:
    """A request in a provider's language.

    `path` is relative to the provider's base path. `body` *is* the client's
    bytes object where nothing had to change. `dropped` names what the
    language could not carry: values of `Field`, or the client's own members. `withhold_usage` tells the decoder that we, not
    the client, asked for usage in the stream. `headers` are the dialect's own
    (content type, version); credentials are added later by `credentials/`.
    `renamed` gives the client's name for a tool whose name had to change, and
    `answer_tool` is the tool that was forced to get structured output: what it is
    called with is the answer's text. `operation` is the dialect's own word for what
    is asked; its decoder reads it where replies differ.
    """

    path: str
    body: bytes
    headers: Mapping[str, str] = field(default_factory=dict[str, str])
    dropped: tuple[str, ...] = ()
    stream: bool = False
    withhold_usage: bool = False
    method: str = "POST"
    renamed: Mapping[str, str] = field(default_factory=dict[str, str])
    answer_tool: str | None = None
    hosted: bool = False
    """another host serves this language, and its errors come in that host's own form"""
    operation: str = ""
    reshaped: bool = False
    """the provider was asked for another form of its reply than the client wants: it is written anew"""
    units: Units = NO_UNITS
    """what the request alone says that a good reply will cost"""


@value
class RateLimit:
    """One limit that a provider tells of: `kind` is requests, tokens, input-tokens or output-tokens.

    `reset` is in seconds from the reply.
    """

    kind: str
    limit: int | None = None
    remaining: int | None = None
    reset: float | None = None


@value
class WireReply:
    """A whole reply that we make ourselves."""

    status: int
    headers: Mapping[str, str]
    body: bytes


@value
class ModelCard:
    """One line of a model list. `created` is unix seconds, 0 where unknown; of a name for
    several models, `capabilities` are the first one's.
    """

    id: str
    owner: str
    created: int = 0
    capabilities: Capabilities = ANY


@value
class ReplyContext:
    """What an encoder may say about the exchange besides the events.

    `model` is the name that the client sent (or the one we chose, if it sent
    none); `created` is unix seconds; `started` is when the request came, on
    `clock`; `price` is the target's, None: not known.
    """

    call_id: CallId
    model: str
    created: int
    provider: str = ""
    started: float = 0.0
    price: Price | None = None
    clock: Clock | None = None


class ReplyDecoder(Protocol):
    """Provider bytes in, events out. Bounded in memory whatever the provider sends.

    `feed` and `close` never raise: what cannot be understood, and a stream that
    ends without its terminal, become one `Failed`, after which they give
    nothing more.
    """

    def feed(self, data: bytes) -> Sequence[Event]: ...

    def close(self) -> Sequence[Event]: ...

    def take(self) -> bytes:
        """The raw bytes consumed since the last `take`, less those that the client must not see.

        For the path on which client and provider speak one dialect. It is the
        very object given to `feed` when that can pass as it is.
        """
        ...


class ReplyEncoder(Protocol):
    """Events in, the client's bytes out. For a whole reply `feed` gives bytes only at the end."""

    def head(self) -> tuple[int, Mapping[str, str]]:
        """Status and headers of a successful reply."""
        ...

    def feed(self, event: Event) -> bytes:
        """`Failed` in a stream becomes the dialect's error event, without a terminal."""
        ...


class Naming(Protocol):
    """Writes a name for a model into replies whose bytes otherwise pass as they came."""

    def whole(self, body: bytes) -> bytes:
        """The very body, where it names no model."""
        ...

    def piece(self, piece: bytes) -> bytes:
        """As `whole`, for whole events of a stream."""
        ...


class Dialect(Protocol):
    """One wire language. `name` is the file's name and the name in the configuration.

    As a client language it parses requests and encodes replies; as a provider
    language (`SPEAKS_TO_PROVIDERS`) it also renders requests and decodes replies.
    """

    name: ClassVar[str]
    endpoints: ClassVar[tuple[Endpoint, ...]]
    speaks_to_providers: ClassVar[bool]
    request_id_header: ClassVar[str]
    """where an SDK of this dialect looks for the id of its request; empty: nowhere"""
    request_headers: ClassVar[frozenset[str]]
    """Client headers that may travel to a provider of this dialect. All others never do."""
    reply_headers: ClassVar[frozenset[str]]
    """Provider headers that may travel to a client of this dialect; a trailing `*` is a prefix."""
    key_refusals: ClassVar[frozenset[int]]
    """Statuses, beside 401, 402 and 403, by which its providers may refuse a key: the body tells."""

    field_names: ClassVar[Mapping[str, str]]
    """What its clients call a `Field`, where that is not the field's own value."""

    def parse_request(self, head: RequestHead, body: bytes) -> Request: ...

    def render_request(self, request: Request, target: Target) -> Rendered: ...

    def decoder(self, head: ReplyHead, rendered: Rendered) -> ReplyDecoder: ...

    def encoder(self, request: Request, context: ReplyContext) -> ReplyEncoder: ...

    def render_error(self, error: GatewayError, call_id: str) -> WireReply: ...

    def read_limits(self, head: ReplyHead) -> tuple[RateLimit, ...]:
        """What a provider of this dialect tells of its limits. Asked only when the client speaks another."""
        ...

    def write_limits(self, limits: tuple[RateLimit, ...]) -> Mapping[str, str]:
        """The headers that tell a client of this dialect."""
        ...

    def naming(self, name: str) -> Naming | None:
        """Writes `name` where its replies name the model. None: they never do."""
        ...

    def render_models(
        self, models: Sequence[ModelCard], request: Request, call_id: str
    ) -> WireReply: ...


__all__ = [
    "LIST_MODELS",
    "Dialect",
    "Endpoint",
    "Headers",
    "Json",
    "ModelCard",
    "Naming",
    "RateLimit",
    "Rendered",
    "ReplyContext",
    "ReplyDecoder",
    "ReplyEncoder",
    "ReplyHead",
    "RequestHead",
    "WireReply",
]
