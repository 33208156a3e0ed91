"""What every transport shares: one gRPC stream, seen as messages in and bytes out.

A transport makes one `Conversation` for each stream that Envoy opens, gives it
each serialised ProcessingRequest, and sends back what it returns. It asks
`over` before it ends a stream cleanly: Envoy passes the rest of an exchange
raw when a stream ends OK too early, so a stream that is not over ends
UNAVAILABLE, whatever happened.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import NewType

from extproc.config.names import CALL_PADDING
from extproc.flow.cuts import Cut
from extproc.flow.exchange import Exchange, Machine
from extproc.flow.record import Record
from extproc.model.call import CallId
from extproc.wire.cuts import Cuts
from extproc.wire.pb import ext_proc_pb2 as pb
from extproc.wire.translate import Phase, incoming, outgoing, piece

SERVICE = "envoy.service.ext_proc.v3.ExternalProcessor"
METHOD = "Process"
HEALTH_SERVICE = "grpc.health.v1.Health"
HEALTH_METHOD = "Check"
SERVING = b"\x08\x01"
NOT_SERVING = b"\x08\x02"
"""grpc.health.v1.HealthCheckResponse, whose only field is an enum"""

Finish = Callable[[Record], None]
MessageLimit = NewType("MessageLimit", int)
_PIECES = Phase.RESPONSE_BODY
ENVELOPE = 1 << 20
"""bytes that a message may have beyond the body in it: headers, attributes, framing"""


def message_limit(body_limit: int) -> MessageLimit:
    """The largest gRPC message, in bytes, that carries a body at its limit."""
    return MessageLimit(body_limit + ENVELOPE)


class Conversation:
    """One stream. `finish` gets the record once, when the stream has ended; `cuts` knows what Envoy
    says of one that was cut."""

    __slots__ = ("_call_id", "_cuts", "_exchange", "_finish", "_peer")

    def __init__(
        self,
        machine: Machine,
        finish: Finish,
        call_id: str,
        peer: str,
        cuts: Cuts | None = None,
    ) -> None:
        self._exchange = Exchange(machine)
        self._finish = finish
        self._cuts = cuts
        self._call_id = CallId(call_id.rstrip(CALL_PADDING))
        self._peer = peer

    @property
    def over(self) -> bool:
        return self._exchange.over

    def at_once(self, message: bytes) -> bytes | None:
        """The answer to a piece of a stream, for which nothing waits; None: ask `answer`."""
        if not self._exchange.flows:
            return None
        told = piece(message)
        return None if told is None else outgoing(self._exchange.on_piece(told), _PIECES)

    async def answer(self, message: bytes) -> bytes:
        """Raises DecodeError, Unexpected or OutOfTurn: end the stream UNAVAILABLE then."""
        request = pb.ProcessingRequest.FromString(message)
        phase, told = incoming(request, self._call_id, self._peer)
        return outgoing(await self._exchange.handle(told), phase)

    async def close(self) -> None:
        """Settles the exchange, even when the task that asks for it is cancelled meanwhile; one that was
        cut not before Envoy said by whom, for which nobody waits here."""
        cut, cuts = None, self._cuts
        if cuts is not None and self._exchange.cut_off():
            cut = cuts.word(self._call_id)
            if cut is None:
                cuts.keep(self._call_id, self._settle)
                return
        if self._exchange.settles:
            await asyncio.shield(self._settle(cut))
        else:
            await self._settle(cut)

    async def _settle(self, cut: Cut | None) -> None:
        self._finish(await self._exchange.close(cut))
