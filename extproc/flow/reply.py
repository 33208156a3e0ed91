"""The way back: a provider's reply, decoded, seen by the stages, and given to the client.

Where client and provider speak one dialect and no stage may change the reply, the
provider's bytes pass as they are, but for an alias (`Dialect.naming`); events are decoded for
the account, and for the stages that only look. Anything else is rendered again from the
events.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import lru_cache
from http import HTTPStatus

from extproc.config.names import COUNT_HEADER
from extproc.flow.cuts import broke, silent
from extproc.flow.estimate import estimated
from extproc.flow.failures import VIA_UPSTREAM, Notes
from extproc.flow.messages import (
    CONTINUE,
    Continue,
    Mode,
    Outgoing,
    Reply,
    ResponseBody,
    ResponseHead,
)
from extproc.flow.pipeline import Pipeline
from extproc.flow.record import Record
from extproc.model.call import Outcome
from extproc.model.dialect import (
    Dialect,
    Rendered,
    ReplyContext,
    ReplyDecoder,
    ReplyEncoder,
    ReplyHead,
)
from extproc.model.embed import Count, Opaque, Routed
from extproc.model.errors import GatewayError, Origin, Overloaded, TooLarge, UpstreamBad
from extproc.model.ports import Clock
from extproc.model.reply import Event, Failed, Finished, Started, Usage, Used
from extproc.routing.backend import Planned

_JSON = "application/json"
_PIECE = 512 * 1024
"""bytes: room for what Envoy read at once and what translation makes of it, beyond what was held"""
_REMEMBERED = 1024
_UNCHANGED = frozenset({"content-type", "date", "x-sluice-call-id"})
_STATUSES = frozenset(map(int, HTTPStatus))
"""those of HTTP; another (Anthropic's 529) is for clients whose language has it"""
_NO_SUCH_PATH = frozenset({404, 405, 501})
_NOT_OURS_TO_PASS = frozenset({401, 403})
"""statuses that speak about our own credential, which is none of the client's business"""


class Returning:
    """`committed` is true once the head of a stream has gone out: from then on errors are events.

    In bytes: `limit` is of any reply, `held` of one that Envoy holds until it is whole.
    """

    __slots__ = (
        "_backend",
        "_broken",
        "_client",
        "_clock",
        "_context",
        "_decoder",
        "_dialect",
        "_dropped",
        "_encoder",
        "_held_limit",
        "_hosted",
        "_identity",
        "_limit",
        "_limits",
        "_naming",
        "_notes",
        "_pieces",
        "_pipeline",
        "_raw",
        "_record",
        "_rendered",
        "_reply_head",
        "_request",
        "_verdict",
        "committed",
        "said",
    )

    def __init__(
        self,
        *,
        limit: int,
        held: int,
        client: Dialect,
        to: Planned,
        request: Routed,
        rendered: Rendered,
        context: ReplyContext,
        pipeline: Pipeline,
        record: Record,
        clock: Clock,
        said: tuple[tuple[str, str], ...] = (),
    ) -> None:
        """`said` are headers for the client, beside those of each reply."""
        self._limit = limit
        self._held_limit = held
        self._client = client
        self._backend = to.backend
        self._dialect = to.dialect
        self._limits: Mapping[str, str] = {}
        self._request: Routed | None = request
        self._rendered: Rendered | None = rendered
        self._dropped = ",".join(record.dropped)
        name = client.request_id_header
        self._identity = ((name, context.call_id),) if name else ()
        self.said = said
        self._context = context
        self._pipeline = pipeline
        self._record = record
        self._clock = clock
        self._decoder: ReplyDecoder | None = None
        self._encoder: ReplyEncoder | None = None
        self._reply_head: ReplyHead | None = None
        self._verdict: GatewayError | None = None
        self._hosted = rendered.hosted
        self._raw = client is to.dialect and not (
            pipeline.touches or rendered.renamed or rendered.answer_tool or rendered.reshaped
        )
        alias = self._raw and context.model != to.target.model and not isinstance(request, Opaque)
        self._naming = client.naming(context.model) if alias else None
        self._pieces = False
        self._broken = False
        self._notes: Notes | None = None
        self.committed = False

    @property
    def flows(self) -> bool:
        """The reply comes in pieces, and its head has gone out."""
        return self._pieces

    def watch(self, notes: Notes) -> None:
        """Someone wants to know when a stream's first content comes."""
        self._notes = notes

    # --- head ---

    def on_head(self, message: ResponseHead) -> Outgoing:
        status = int(message.headers.get(":status", "0") or 0)
        self._record.status = status
        if message.details != VIA_UPSTREAM:
            error = network_error(status, message.details, self._backend.provider.name)
            return self.instead(message, error)
        head = ReplyHead(status, message.headers)
        self._reply_head = head
        self._record.upstream_id = head.headers.get(self._dialect.request_id_header)
        if status in _NO_SUCH_PATH and isinstance(self._request, Count):
            return self._estimate(self._request)
        encoding = message.headers.get("content-encoding", "identity").lower()
        if encoding != "identity":
            return self._refusal(self._bad(f"compressed its reply ({encoding[:32]})"))
        length = message.headers.get("content-length", "")
        size = int(length) if length.isdecimal() else None
        opaque = isinstance(self._request, Opaque)
        if not opaque and size is not None and size > self._limit:
            return self._refusal(self._too_large(size, self._limit))
        assert self._rendered is not None and self._request is not None
        self._decoder = self._dialect.decoder(head, self._rendered)
        if self._client is not self._dialect and (limits := self._dialect.read_limits(head)):
            self._limits = self._client.write_limits(limits)
        streams = head.streams
        good = 200 <= status < 300
        if opaque:
            return self._opaque(message, size, good=good)
        if good and streams != self._request.stream:
            self._raw = False
        # a whole reply where a stream was asked for may be more than Envoy holds of one
        flows = streams or (size is not None and size > self._held_limit)
        if self._request.stream and flows and good and not message.end:
            return self._begin_stream(message.headers, self._request)
        return self._held(message, size)

    def instead(self, message: ResponseHead, error: GatewayError) -> Outgoing:
        """The error, whatever reply has this head."""
        self._verdict = error
        if message.end or message.details == VIA_UPSTREAM:
            return self._refusal(error)
        # Only the held body may replace a reply that Envoy made: wait for it.
        return Continue(mode=Mode.WHOLE)

    def _estimate(self, asked: Count) -> Reply:
        """The provider has no endpoint that counts, as few who speak its language do."""
        events = estimated(asked)
        self._account(events)
        encoder = self._client.encoder(asked, self._context)
        body = b"".join([encoder.feed(event) for event in self._pipeline.on_events(events)])
        status, own = encoder.head()
        self._record.status, self._record.bytes_out = status, len(body)
        return Reply(status, {**own, **dict(self._named()), COUNT_HEADER: "estimate"}, body)

    def _held(self, message: ResponseHead, size: int | None) -> Outgoing:
        """Nothing goes out before the body is whole."""
        assert self._decoder is not None
        if message.end:
            # Without a body Envoy holds nothing that could be replaced: answer at once.
            failed = self._account(self._decoder.close())
            return self._refusal(failed.error if failed else self._bad("sent an empty reply"))
        if size is None:
            return Continue(mode=Mode.BOUNDED)
        if size > self._held_limit:
            return self._refusal(self._too_large(size, self._held_limit))
        return Continue(mode=Mode.WHOLE)

    def _opaque(self, message: ResponseHead, size: int | None, *, good: bool) -> Outgoing:
        """Bytes of any kind and size, which pass as they come; errors are read first."""
        assert self._request is not None
        if message.end and good:
            self._record.outcome = Outcome.OK
            return Continue(set=self._named(), remove=self._forbidden(message.headers))
        if message.end or not good:
            return self._held(message, size)
        self._encoder = self._client.encoder(self._request, self._context)
        self._request = self._rendered = self._reply_head = None
        self._pieces = self.committed = self._raw = True
        return Continue(
            set=self._named(), remove=self._forbidden(message.headers), mode=Mode.PIECES
        )

    def _begin_stream(self, headers: Mapping[str, str], request: Routed) -> Continue:
        self._encoder = self._client.encoder(request, self._context)
        # A stream may live for long: what was asked is not needed any more.
        self._request = self._rendered = self._reply_head = None
        self._pieces = self.committed = True
        status, own = self._encoder.head()
        self._record.status = status
        return Continue(
            set=(*own.items(), *self._named()),
            remove=self._forbidden(headers, "content-length"),
            mode=Mode.PIECES,
        )

    # --- body ---

    def on_body(self, message: ResponseBody) -> Outgoing:
        record = self._record
        if record.first_byte is None:
            record.first_byte = self._clock.monotonic()
        if self._pieces:
            return self._piece(message)
        if self._verdict is not None:
            return self._replaced(self._verdict)
        if not message.end or len(message.body) > self._held_limit:
            return self._refusal(self._bad(f"sent more than {self._held_limit} bytes"))
        assert self._decoder is not None
        events = [*self._decoder.feed(message.body), *self._decoder.close()]
        return self._whole(events, message.body)

    def _piece(self, message: ResponseBody) -> Continue:
        """One piece of a stream. After a break only silence follows, so the client sees one error."""
        decoder, record = self._decoder, self._record
        assert decoder is not None and self._encoder is not None
        if self._broken:
            return Continue(body=b"")
        events: Sequence[Event] = decoder.feed(message.body)
        if message.end:
            events = [*events, *decoder.close()]
        if self._notes is not None and self._notes.saw(events, self._clock):
            self._notes = None
        failed = self._account(events)
        if self._raw:
            out = decoder.take()
            if self._naming is not None:
                out = self._naming.piece(out)
            if self._pipeline.looks:
                self._pipeline.on_events(events)
        else:
            decoder.take()  # it keeps what passes untouched until it is asked for
            shown = self._pipeline.on_events(events)
            out = b"".join([self._encoder.feed(e) for e in shown if not isinstance(e, Failed)])
        if len(out) > self._limit + _PIECE:
            # An event that was held until it was whole, and is more than a message may carry.
            failed = Failed(self._bad(f"sent an event of more than {self._limit} bytes"))
            record.refused(failed.error)
            out = b""
        if failed is not None:
            self._broken = True
            out += self._encoder.feed(failed)
        record.bytes_out += len(out)
        return CONTINUE if out is message.body else Continue(body=out)

    def left(self) -> None:
        """Nobody listens any more: what the provider has told of its usage until now is what counts."""
        for event in self._decoder.close() if self._decoder is not None else ():
            if isinstance(event, Used):
                self._used(event.usage)

    def break_off(self, error: GatewayError) -> Continue:
        """A defect in the middle of a stream: say so in its language, then nothing more."""
        assert self._encoder is not None
        self._broken = True
        return Continue(body=self._encoder.feed(Failed(error)))

    def _whole(self, events: Sequence[Event], body: bytes = b"") -> Outgoing:
        """A whole reply, whose head is still held."""
        record, head = self._record, self._reply_head
        assert head is not None
        failed = self._account(events)
        if failed is not None:
            return self._failed_whole(failed.error, head, body)
        assert self._request is not None
        named = self._named()
        if isinstance(self._request, Count):
            named = (*named, (COUNT_HEADER, "provider"))
        if self._raw:
            if self._pipeline.looks:
                self._pipeline.on_events(events)
            out = body if self._naming is None else self._naming.whole(body)
            record.bytes_out = len(out)
            if out is body:
                return Continue(set=named, remove=self._forbidden(head.headers))
            length = ("content-length", str(len(out)))
            return Continue(set=(length, *named), remove=self._forbidden(head.headers), body=out)
        encoder = self._client.encoder(self._request, self._context)
        out = b"".join([encoder.feed(event) for event in self._pipeline.on_events(events)])
        status, own = encoder.head()
        record.bytes_out = len(out)
        record.status = status
        return Continue(
            set=(
                (":status", str(status)),
                ("content-length", str(len(out))),
                *own.items(),
                *named,
            ),
            remove=self._forbidden(head.headers),
            body=out,
        )

    def _failed_whole(self, error: GatewayError, head: ReplyHead, body: bytes) -> Outgoing:
        """A provider's own error goes to a client of its dialect as it came; else it is rendered."""
        faithful = (
            self._raw
            and not self._hosted
            and error.origin is Origin.PROVIDER
            and head.status >= 400
            and head.status not in _NOT_OURS_TO_PASS
            and error.status == head.status
            and head.content_type == _JSON
            and (head.status in _STATUSES or self._says(error) == head.status)
        )
        if not faithful:
            return self._replaced(error)
        self._record.bytes_out = len(body)
        return Continue(
            set=(*self._named(), ("x-sluice-error-origin", error.origin.value)),
            remove=self._forbidden(head.headers),
        )

    def _says(self, error: GatewayError) -> int:
        """The status by which the client's language tells of it."""
        return self._client.render_error(error, self._context.call_id).status

    def _replaced(self, error: GatewayError) -> Continue:
        """The error, in place of a reply whose head is held."""
        self._record.refused(error)
        wire = self._client.render_error(error, self._context.call_id)
        self._record.status, self._record.bytes_out = wire.status, len(wire.body)
        old: Mapping[str, str] = self._reply_head.headers if self._reply_head else {}
        written = {name for name, _ in wire.headers.items()}
        return Continue(
            set=(
                (":status", str(wire.status)),
                ("content-length", str(len(wire.body))),
                *wire.headers.items(),
                ("x-sluice-error-origin", error.origin.value),
                *self._named(),
            ),
            remove=tuple(n for n in self._forbidden(old) if n not in written),
            body=wire.body,
        )

    def _refusal(self, error: GatewayError) -> Reply:
        """The error at once: whatever the provider still sends is thrown away."""
        self._record.refused(error)
        wire = self._client.render_error(error, self._context.call_id)
        self._record.status, self._record.bytes_out = wire.status, len(wire.body)
        origin = {"x-sluice-error-origin": error.origin.value}
        return Reply(wire.status, {**wire.headers, **origin, **dict(self._named())}, wire.body)

    # --- helpers ---

    def _account(self, events: Sequence[Event]) -> Failed | None:
        """Keeps what the account needs. Gives the failure, if the events end in one."""
        record = self._record
        record.events += len(events)
        for event in events:
            match event:
                case Used(usage):
                    self._used(usage)
                case Finished():
                    record.outcome = Outcome.OK
                case Failed(error):
                    record.refused(error)
                    return event
                case Started():
                    pass
                case _:
                    pass
        return None

    def _used(self, usage: Usage) -> None:
        record = self._record
        record.usage, record.price = usage, self._context.price

    def _named(self) -> tuple[tuple[str, str], ...]:
        model = self._record.target.model if self._record.target else ""
        return (
            *self._identity,
            *self.said,
            ("x-sluice-provider", self._backend.provider.name),
            *((("x-sluice-model", header_safe(model)),) if model else ()),
            *self._limits.items(),
            *((("x-sluice-dropped", self._dropped),) if self._dropped else ()),
        )

    def _forbidden(self, headers: Mapping[str, str], *more: str) -> tuple[str, ...]:
        """Names of the provider's headers that a client does not get."""
        return _not_passing(tuple(headers), self._client.reply_headers, more)

    def _too_large(self, size: int, limit: int) -> UpstreamBad:
        return self._bad(f"sent {size} bytes; the limit is {limit}")

    def _bad(self, what: str) -> UpstreamBad:
        return UpstreamBad(
            f"Provider {self._backend.provider.name} {what}.", origin=Origin.PROVIDER
        )


@lru_cache(maxsize=_REMEMBERED)
def _not_passing(
    names: tuple[str, ...], allowed: frozenset[str], more: tuple[str, ...]
) -> tuple[str, ...]:
    """A provider's replies have the same names each time."""
    return tuple(
        name
        for name in names
        if name[0] != ":"
        and (name in more or (name not in _UNCHANGED and not _allowed(name, allowed)))
    )


def _allowed(name: str, allowed: frozenset[str]) -> bool:
    if name in allowed or name == "content-length":
        return True
    return any(a[-1] == "*" and name.startswith(a[:-1]) for a in allowed)


def header_safe(text: str) -> str:
    """The text, with what no header may hold written as an escape."""
    return text if text.isascii() and text.isprintable() else ascii(text)[1:-1]


def network_error(status: int, details: str, provider: str) -> GatewayError:
    """Envoy answered in the provider's place: say what happened to the attempt."""
    if status == 504 or "timeout" in details:
        return silent(provider, begun=False)
    if "payload_too_large" in details:
        return TooLarge(
            f"Written for provider {provider} the request is larger than this gateway sends."
        )
    if "overflow" in details:
        return Overloaded(
            f"The gateway has too many calls to provider {provider} open; try again.",
            code="gateway_busy",
            retry_after=1.0,
        )
    if "connection_failure" in details or "no_healthy_upstream" in details:
        return UpstreamBad(
            f"Provider {provider} could not be reached.",
            code="provider_unreachable",
            origin=Origin.NETWORK,
        )
    return broke(provider, begun=False)
