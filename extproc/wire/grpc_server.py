"""The reference transport: grpc.aio. Readable, and what a faster one must equal.

Takes serialised messages from Envoy on a unix socket and gives them to a
`Conversation`. Knows nothing of their content.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from pathlib import Path

import grpc
import grpc.aio
from google.protobuf.message import DecodeError

from extproc.config.names import CALL_METADATA, PEER_METADATA
from extproc.flow.exchange import OutOfTurn
from extproc.wire import processor
from extproc.wire.processor import Conversation
from extproc.wire.translate import Unexpected

_EOF: bytes = grpc.aio.EOF  # type: ignore[attr-defined]  # a marker, unknown to the type stubs
Converse = Callable[[str, str], Conversation]
"""call id and peer -> a conversation"""


class GrpcServer:
    """Serves ext_proc and health checks on one unix socket, until `stop`."""

    def __init__(self, socket: Path, limit: processor.MessageLimit, converse: Converse) -> None:
        self._converse = converse
        self._serving = True
        self._server = grpc.aio.server(
            options=[
                ("grpc.max_receive_message_length", limit),
                ("grpc.max_send_message_length", limit),
                ("grpc.max_metadata_size", 64 * 1024),
            ]
        )
        process: grpc.RpcMethodHandler[bytes, bytes]
        process = grpc.stream_stream_rpc_method_handler(self._process)
        check: grpc.RpcMethodHandler[bytes, bytes]
        check = grpc.unary_unary_rpc_method_handler(self._check)
        self._server.add_generic_rpc_handlers(
            (
                grpc.method_handlers_generic_handler(
                    processor.SERVICE, {processor.METHOD: process}
                ),
                grpc.method_handlers_generic_handler(
                    processor.HEALTH_SERVICE, {processor.HEALTH_METHOD: check}
                ),
            )
        )
        self._server.add_insecure_port(f"unix:{socket}")

    async def start(self) -> None:
        await self._server.start()

    async def stop(self, grace: float) -> None:
        """No new exchanges; those that run have `grace` seconds, then end UNAVAILABLE."""
        self._serving = False
        await self._server.stop(grace)

    async def _check(self, request: bytes, context: object) -> bytes:
        del request, context
        return processor.SERVING if self._serving else processor.NOT_SERVING

    async def _process(
        self, requests: AsyncIterator[bytes], context: grpc.aio.ServicerContext[bytes, bytes]
    ) -> None:
        del requests
        metadata = dict(context.invocation_metadata() or ())
        conversation = self._converse(
            str(metadata.get(CALL_METADATA, "")), str(metadata.get(PEER_METADATA, ""))
        )
        why = "the exchange was not over"
        try:
            while (message := await context.read()) is not _EOF:
                await context.write(await conversation.answer(message))
        except (DecodeError, Unexpected, OutOfTurn) as error:
            why = f"{type(error).__name__}: {error}"
        except grpc.aio.BaseError:
            # Envoy has reset the stream: there is nobody left to be told.
            why = "the stream broke"
        finally:
            over = conversation.over
            await conversation.close()
        if not over:
            await context.abort(grpc.StatusCode.UNAVAILABLE, why)
