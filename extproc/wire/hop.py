"""One stream of the hop, seen as messages in and bytes out: what both transports share.

The hop's filter opens a stream for each attempt of an exchange. A transport gives
its messages to an `Asking`, sends what it `Said`, ends the stream OK when that
says so, and asks again when `wait` is over. A stream that ends before is `lost`.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from typing import assert_never

from extproc.config.names import AGAIN_HEADER, CALL_PADDING, END_HEADER
from extproc.flow.attempt import Again, Attempt, End, Verdict, Word
from extproc.flow.exchange import Exchange
from extproc.flow.messages import Continue, Reply, RequestHead, ResponseBody, ResponseHead
from extproc.model.call import CallId
from extproc.model.errors import GatewayError
from extproc.model.value import value
from extproc.wire.pb import ext_proc_pb2 as pb
from extproc.wire.translate import Phase, Unexpected, incoming, outgoing, piece, sending

_UNAVAILABLE = 503


@value
class Said:
    """`data` is a message, or empty: nothing is said yet. `ends`: the stream is to end OK."""

    data: bytes = b""
    ends: bool = False


_NOTHING = Said()
_PASSES = Said(ends=True)
_CLEANED = Said(outgoing(Continue(remove=(AGAIN_HEADER,)), Phase.RESPONSE_HEADERS), ends=True)
_UNKNOWN = Said(
    outgoing(Reply(_UNAVAILABLE, {END_HEADER: "unknown"}, b""), Phase.REQUEST_HEADERS), True
)


class Asking:
    """An attempt. Nobody else knows its exchange: a call that does not run here is refused."""

    __slots__ = ("_attempt", "_call_id", "_running")

    def __init__(self, running: Mapping[CallId, Exchange], call_id: str) -> None:
        self._running = running
        self._call_id = CallId(call_id.rstrip(CALL_PADDING))
        self._attempt: Attempt | None = None

    def wait(self) -> float | None:
        """Seconds until `on_time`. None: it is not asked."""
        return None if self._attempt is None else self._attempt.wait()

    async def heard(self, message: bytes) -> Said:
        """Raises DecodeError or Unexpected: end the stream UNAVAILABLE then."""
        _, told = incoming(pb.ProcessingRequest.FromString(message), self._call_id, "")
        attempt = self._attempt
        match told:
            case RequestHead() if attempt is None:
                return await self._begin(told)
            case ResponseHead() if attempt is not None:
                return _said(attempt.on_head(told))
            case ResponseBody() if attempt is not None:
                return _said(attempt.on_piece(told))
            case _:
                raise Unexpected(type(told).__name__)

    def at_once(self, message: bytes) -> Said | None:
        """What is said to a piece of a body, for which nothing waits; None: ask `heard`."""
        attempt = self._attempt
        told = None if attempt is None else piece(message)
        if attempt is None or told is None:
            return None
        return _said(attempt.on_piece(told))

    def on_time(self) -> Said:
        return _NOTHING if self._attempt is None else _said(self._attempt.on_time())

    def lost(self) -> None:
        """The stream has ended, whoever did it. After a verdict it means nothing."""
        if self._attempt is not None:
            self._attempt.lost()

    async def _begin(self, head: RequestHead) -> Said:
        exchange = self._running.get(self._call_id)
        if exchange is None:
            return _UNKNOWN
        self._attempt = attempt = exchange.attempt()
        if attempt.pause > 0:
            await asyncio.sleep(attempt.pause)
        answer = await attempt.begin(head.headers)
        return _ended(answer.error) if isinstance(answer, End) else Said(sending(answer))


Ask = Callable[[str], Asking]
"""call id -> an attempt of the exchange that has it"""


def nobody(call_id: str) -> Asking:
    """For a server that has no exchanges with attempts."""
    return Asking({}, call_id)


def _said(verdict: Verdict) -> Said:
    match verdict:
        case Word.HOLD:
            return _NOTHING
        case Word.PASS:
            return _PASSES
        case Word.CLEAN:
            return _CLEANED
        case Again(failure):
            reply = Reply(_UNAVAILABLE, {AGAIN_HEADER: failure.value}, b"")
            return Said(outgoing(reply, Phase.RESPONSE_HEADERS), ends=True)
        case End(error):
            return _ended(error)
        case _:
            assert_never(verdict)


def _ended(error: GatewayError) -> Said:
    """The exchange knows the error; the hop only needs a reply that asks for nothing more."""
    reply = Reply(error.status, {END_HEADER: error.kind.value}, b"")
    return Said(outgoing(reply, Phase.RESPONSE_HEADERS), ends=True)
