"""Messages of Envoy's by name, and a machine that some of them make wait."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping

from extproc.flow.exchange import Machine
from extproc.flow.live import Live
from extproc.model.call import Call, Ending
from extproc.model.chat import Chat
from extproc.model.stage import Stage
from extproc.telemetry.log import Log
from extproc.wire.pb import ext_proc_pb2 as pb
from tests.kit import FakeClock, snapshot
from tests.wire.test_grpc_server import ASK, CHUNK, body, head, reply_head

BODY_LIMIT = 1 << 20
STUCK = "stuck ask"


class Waits(Stage):
    """Makes some requests wait: one for a while, another for ever, and one at its end."""

    def __init__(self) -> None:
        self._slow_end = False

    async def on_request(self, call: Call) -> Call:
        if isinstance(call.request, Chat):
            match call.request.user:
                case "slow":
                    await asyncio.sleep(0.001)
                case "stuck":
                    await asyncio.Event().wait()
                case "slow end":
                    self._slow_end = True
                case _:
                    pass
        return call

    async def on_end(self, ending: Ending) -> None:
        if self._slow_end:
            await asyncio.sleep(0.001)


def machine() -> Machine:
    clock = FakeClock()
    log = Log(2, "test", "error", "json", clock)
    return Machine(snapshot(stages=(Waits,)), Live(1 << 30), clock, log)


def _of(user: str) -> bytes:
    return body(ASK[:-1] + b',"user":"%b"}' % user.encode(), request=True)


MESSAGES: Mapping[str, bytes] = {
    "head": head(),
    "refused": head(origin="https://evil.example"),
    "models": head(**{":path": "/v1/models", ":method": "GET"}),
    "ask": body(ASK, request=True),
    "bad ask": body(b'{"model":', request=True),
    "slow ask": _of("slow"),
    "slow end ask": _of("slow end"),
    STUCK: _of("stuck"),
    "large ask": body(ASK.replace(b"hi", b"x" * 40_000), request=True),
    "reply": reply_head(),
    "chunk": body(CHUNK, end=False),
    "done": body(b"data: [DONE]\n\n"),
    "garbage": b"\xff\xff\xff",
    "nothing": b"",
    "trailers": pb.ProcessingRequest(request_trailers=pb.HttpTrailers()).SerializeToString(),
    "too large": body(b"x" * (BODY_LIMIT + (2 << 20)), request=True),
}
USUAL = ("head", "ask", "reply", "chunk", "done")
