"""What became of one attempt: its head, read as a `Failure` or none, and the account of it.

Takes what Envoy tells of a reply, or an error that a dialect has read; gives
a `Failure`, and a `Tried` in the end. Reads no bodies and decides nothing.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Iterable, Mapping
from email.utils import parsedate_to_datetime

from extproc.flow.messages import ResponseHead
from extproc.model.call import Failure, Outcome, Tried
from extproc.model.errors import CREDENTIAL_REFUSED, GatewayError, Kind
from extproc.model.ports import Clock
from extproc.model.reply import (
    Counted,
    Event,
    MediaDelta,
    Note,
    NoteKind,
    OpaqueChunk,
    PartKind,
    PartStarted,
    Ranked,
    TextDelta,
    ThinkingDelta,
    ToolDelta,
    Usage,
    Vector,
)
from extproc.routing.backend import Planned

VIA_UPSTREAM = "via_upstream"
IN_BODIES = frozenset({Failure.CONTENT_FILTER, Failure.CONTEXT_LENGTH, Failure.BAD_OUTPUT})
"""those that only a reply's body tells of, whatever its status"""

_LONGEST_WAIT = 1e9
_DETAILS = (
    ("cluster_not_found", Failure.GONE),
    ("request_payload_too_large", Failure.OURS),
    ("no_healthy_upstream", Failure.DNS),
    ("TLS_error", Failure.TLS),
    ("connection_failure", Failure.CONNECT),
    ("delayed_connect_error", Failure.CONNECT),
    ("connection_timeout", Failure.CONNECT),
    ("timeout", Failure.TIMEOUT),
    ("overflow", Failure.OVERLOADED),
    ("upstream_reset", Failure.RESET),
)
"""what Envoy's reasons hold when it answers in a provider's place; the first that fits counts"""
_STATUSES: Mapping[int, Failure] = {
    401: Failure.CREDENTIAL,
    402: Failure.CREDENTIAL,
    403: Failure.CREDENTIAL,
    408: Failure.TIMEOUT,
    409: Failure.SERVER_ERROR,
    424: Failure.SERVER_ERROR,
    429: Failure.RATE_LIMIT,
    503: Failure.OVERLOADED,
    529: Failure.OVERLOADED,
}
_KINDS: Mapping[Kind, Failure] = {
    Kind.BUDGET: Failure.CREDENTIAL,
    Kind.CONTENT_BLOCKED: Failure.CONTENT_FILTER,
    Kind.CONTEXT_TOO_LONG: Failure.CONTEXT_LENGTH,
}


def of_network(details: str) -> Failure:
    """Why Envoy answered in a provider's place. What it does not say is ours."""
    return next((failure for word, failure in _DETAILS if word in details), Failure.OURS)


def of_status(status: int) -> Failure | None:
    """None: an answer, or an error that another provider would give too."""
    known = _STATUSES.get(status)
    return Failure.SERVER_ERROR if known is None and status >= 500 else known


def of_error(error: GatewayError) -> Failure | None:
    """What an error's body says beyond its status."""
    return Failure.CREDENTIAL if error.code == CREDENTIAL_REFUSED else _KINDS.get(error.kind)


def reads_bodies(triggers: Collection[Failure], targets: Iterable[Planned]) -> bool:
    """Whether a reply's body may be what decides, by whichever of these targets."""
    if not IN_BODIES.isdisjoint(triggers):
        return True
    return Failure.CREDENTIAL in triggers and any(to.dialect.key_refusals for to in targets)


def in_body(triggers: Collection[Failure], to: Planned, status: int) -> bool:
    """Whether the body of a reply with this status may be what decides."""
    if not IN_BODIES.isdisjoint(triggers):
        return True
    return status in to.dialect.key_refusals and Failure.CREDENTIAL in triggers


def wait_of(headers: Mapping[str, str], now: float) -> float | None:
    """Seconds until the provider wants to be asked again. A date counts from the reply's own
    date, or from `now` (unix seconds) where that has none."""
    if (text := headers.get("retry-after-ms")) is not None:
        milliseconds = _number(text)
        if milliseconds is not None:
            return milliseconds / 1000
    text = headers.get("retry-after")
    if text is None:
        return None
    seconds = _number(text)
    if seconds is not None:
        return seconds
    until = _date(text)
    if until is None:
        return None
    since = _date(headers.get("date", ""))
    return min(max(0.0, until - (now if since is None else since)), _LONGEST_WAIT)


def _number(text: str) -> float | None:
    try:
        seconds = float(text)
    except ValueError:
        return None
    return seconds if math.isfinite(seconds) and 0 <= seconds <= _LONGEST_WAIT else None


def _date(text: str) -> float | None:
    try:
        return parsedate_to_datetime(text).timestamp()
    except (ValueError, TypeError, OverflowError):
        return None


def is_content(event: Event) -> bool:
    """Something that the client asked for, be it thought; not a role, an empty part or a ping."""
    match event:
        case TextDelta(text) | ThinkingDelta(text):
            return bool(text)
        case PartStarted(kind):
            return kind in (PartKind.TOOL, PartKind.OPAQUE)
        case Note(kind):
            return kind is not NoteKind.EXTRA
        case ToolDelta() | MediaDelta() | Vector() | Ranked() | Counted() | OpaqueChunk():
            return True
        case _:
            return False


class Notes:
    """What is noted of one attempt while it runs. Times are on the exchange's clock."""

    __slots__ = (
        "began",
        "details",
        "failure",
        "first_at",
        "head_at",
        "number",
        "retry_after",
        "status",
        "to",
        "usage",
    )

    def __init__(self, number: int, to: Planned, began: float) -> None:
        self.number = number
        self.to = to
        self.began = began
        self.head_at: float | None = None
        self.first_at: float | None = None
        self.status = 0
        self.details = ""
        self.failure: Failure | None = None
        self.retry_after: float | None = None
        self.usage: Usage | None = None

    def head(self, message: ResponseHead, clock: Clock) -> None:
        """The reply's head came, or Envoy answered in the provider's place."""
        self.details = message.details
        status = message.headers.get(":status", "")
        self.status = int(status) if status.isdecimal() else 0
        if message.details != VIA_UPSTREAM:
            self.failure = of_network(message.details)
            return
        self.head_at = clock.monotonic()
        if self.status >= 400:
            self.failure = of_status(self.status)
            self.retry_after = wait_of(message.headers, clock.time())

    def saw(self, events: Iterable[Event], clock: Clock) -> bool:
        """Notes when the first content came. True: it has come."""
        if self.first_at is None and any(is_content(event) for event in events):
            self.first_at = clock.monotonic()
        return self.first_at is not None

    def tried(self, failure: Failure | None, ended: float) -> Tried:
        return Tried(
            number=self.number,
            target=self.to.target,
            failure=failure,
            status=self.status,
            details=self.details,
            began=self.began,
            ended=ended,
            head_at=self.head_at,
            retry_after=self.retry_after,
            usage=self.usage,
            first_at=self.first_at,
        )

    def last(self, outcome: Outcome, code: str | None) -> Failure | None:
        """How the attempt ended whose reply went to the client, by what became of the exchange;
        `code` is its error's."""
        match outcome:
            case Outcome.OK:
                return None
            case Outcome.ABORTED:
                return Failure.LEFT
            case Outcome.REFUSED | Outcome.FAILED:
                return self.failure or Failure.OURS
            case Outcome.BROKEN:
                return self.failure or Failure.RESET
            case Outcome.PROVIDER_ERROR:
                if self.failure is not None:
                    return self.failure
                if self.status < 400:
                    return Failure.STREAM_ERROR
                return Failure.CREDENTIAL if code == CREDENTIAL_REFUSED else None
