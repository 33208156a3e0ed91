"""The yardstick: an ext_proc server on grpc.aio that decides nothing.

Run as `python -m tests.bench.noop SOCKET CLUSTER`. It answers the same four
messages in the same modes as a Sluice worker and sends every request to
CLUSTER; it parses what it is sent, and answers with constants.
"""

from __future__ import annotations

import asyncio
import sys

import grpc
import grpc.aio

from extproc.flow.messages import CONTINUE, Continue, Mode, Route
from extproc.wire import processor
from extproc.wire.pb import ext_proc_pb2 as pb
from extproc.wire.translate import Phase, outgoing

LIMIT = 64 << 20


async def serve(socket: str, cluster: str) -> None:
    route = Route((cluster,), (("model", "none"),))
    constants = {
        "request_headers": outgoing(Continue(mode=Mode.REQUEST), Phase.REQUEST_HEADERS),
        "request_body": outgoing(
            Continue(set=(("accept-encoding", "identity"),), route=route), Phase.REQUEST_BODY
        ),
        "response_body": outgoing(CONTINUE, Phase.RESPONSE_BODY),
    }
    whole = outgoing(Continue(mode=Mode.WHOLE), Phase.RESPONSE_HEADERS)
    pieces = outgoing(Continue(mode=Mode.PIECES), Phase.RESPONSE_HEADERS)

    async def process(requests: object, context: grpc.aio.ServicerContext[bytes, bytes]) -> None:
        while (message := await context.read()) is not grpc.aio.EOF:  # type: ignore[attr-defined]
            request = pb.ProcessingRequest.FromString(message)
            kind = request.WhichOneof("request")
            if kind == "response_headers":
                stream = any(
                    h.key == "content-type" and b"event-stream" in h.raw_value
                    for h in request.response_headers.headers.headers
                )
                await context.write(pieces if stream else whole)
            else:
                await context.write(constants[kind or ""])

    async def check(request: bytes, context: object) -> bytes:
        return processor.SERVING

    server = grpc.aio.server(options=[("grpc.max_receive_message_length", LIMIT)])
    handlers = {processor.METHOD: grpc.stream_stream_rpc_method_handler(process)}
    health = {processor.HEALTH_METHOD: grpc.unary_unary_rpc_method_handler(check)}
    server.add_generic_rpc_handlers(
        (
            grpc.method_handlers_generic_handler(processor.SERVICE, handlers),  # type: ignore[arg-type]
            grpc.method_handlers_generic_handler(processor.HEALTH_SERVICE, health),  # type: ignore[arg-type]
        )
    )
    server.add_insecure_port(f"unix:{socket}")
    await server.start()
    print("ready", flush=True)
    await server.wait_for_termination()


if __name__ == "__main__":
    asyncio.run(serve(sys.argv[1], sys.argv[2]))
