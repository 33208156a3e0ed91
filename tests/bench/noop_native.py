"""The yardstick on our own transport: an ext_proc server that decides nothing.

Run as `python -m tests.bench.noop_native SOCKET CLUSTER`. It parses and answers
as `noop.py` does, so that the two differ in their transport alone, and in the event
loop: this one runs on a worker's.
"""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path
from typing import cast

import uvloop

from extproc.flow.messages import CONTINUE, Continue, Mode, Route
from extproc.wire.native_server import NativeServer
from extproc.wire.pb import ext_proc_pb2 as pb
from extproc.wire.processor import Conversation, MessageLimit
from extproc.wire.translate import Phase, outgoing

LIMIT = MessageLimit(64 << 20)
WHOLE = outgoing(Continue(mode=Mode.WHOLE), Phase.RESPONSE_HEADERS)
PIECES = outgoing(Continue(mode=Mode.PIECES), Phase.RESPONSE_HEADERS)


class Nothing:
    """What a `Conversation` is to a transport, with constants for answers."""

    over = True

    def __init__(self, constants: dict[str, bytes]) -> None:
        self._constants = constants

    def at_once(self, message: bytes) -> bytes | None:
        del message
        return None

    async def answer(self, message: bytes) -> bytes:
        request = pb.ProcessingRequest.FromString(message)
        kind = request.WhichOneof("request") or ""
        if kind != "response_headers":
            return self._constants[kind]
        stream = any(
            h.key == "content-type" and b"event-stream" in h.raw_value
            for h in request.response_headers.headers.headers
        )
        return PIECES if stream else WHOLE

    async def close(self) -> None:
        pass


async def serve(socket: str, cluster: str) -> None:
    route = Route((cluster,), (("model", "none"),))
    constants = {
        "request_headers": outgoing(Continue(mode=Mode.REQUEST), Phase.REQUEST_HEADERS),
        "request_body": outgoing(
            Continue(set=(("accept-encoding", "identity"),), route=route), Phase.REQUEST_BODY
        ),
        "response_body": outgoing(CONTINUE, Phase.RESPONSE_BODY),
    }
    server = NativeServer(
        Path(socket), LIMIT, lambda call, peer: cast("Conversation", Nothing(constants))
    )
    await server.start()
    print("ready", flush=True)
    await asyncio.Event().wait()


if __name__ == "__main__":
    uvloop.run(serve(sys.argv[1], sys.argv[2]))
