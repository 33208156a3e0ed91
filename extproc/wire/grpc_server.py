"""The reference transport: grpc.aio. Readable, and what a faster one must equal.

Takes serialised messages from Envoy on a unix socket and gives them to a
`Conversation`. Knows nothing of their content.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable, Mapping
from functools import partial
from pathlib import Path
from typing import TypeAlias

import grpc
import grpc.aio
from google.protobuf.message import DecodeError

from extproc.config.names import ATTEMPT_ROLE, CALL_METADATA, PEER_METADATA, ROLE_METADATA
from extproc.flow.exchange import OutOfTurn
from extproc.wire import cuts as log
from extproc.wire import processor
from extproc.wire.cuts import Cuts
from extproc.wire.hop import Ask, Asking, nobody
from extproc.wire.processor import Conversation
from extproc.wire.translate import Unexpected

_EOF: bytes = grpc.aio.EOF  # type: ignore[attr-defined]  # a marker, unknown to the type stubs
_ENDING_SECONDS = 0.2
"""for the last words of exchanges that are over, before all else is cancelled"""
_Context: TypeAlias = "grpc.aio.ServicerContext[bytes, bytes]"
Converse = Callable[[str, str], Conversation]
"""call id and peer -> a conversation"""


class GrpcServer:
    """Serves ext_proc, Envoy's log and health checks on one unix socket, until `stop`."""

    def __init__(
        self,
        socket: Path,
        limit: processor.MessageLimit,
        converse: Converse,
        ask: Ask = nobody,
        cuts: Cuts | None = None,
    ) -> None:
        self._converse = converse
        self._ask = ask
        self._cuts = cuts
        self._serving = True
        self._running = 0
        self._empty = asyncio.Event()
        self._empty.set()
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
        if cuts is not None:
            told: grpc.RpcMethodHandler[bytes, bytes]
            told = grpc.stream_unary_rpc_method_handler(partial(self._told, cuts))
            handler = grpc.method_handlers_generic_handler(log.SERVICE, {log.METHOD: told})
            self._server.add_generic_rpc_handlers((handler,))
        self._server.add_insecure_port(f"unix:{socket}")

    async def start(self) -> None:
        await self._server.start()

    async def stop(self, grace: float) -> None:
        """No new exchanges; those that run have `grace` seconds, then end UNAVAILABLE.

        Until then attempts of what runs are served: grpc's own grace would refuse them.
        """
        self._serving = False
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(grace):
                await self._empty.wait()
        if self._cuts is not None:
            await self._cuts.settled()
        await self._server.stop(_ENDING_SECONDS)

    async def _check(self, request: bytes, context: object) -> bytes:
        del request, context
        return processor.SERVING if self._serving else processor.NOT_SERVING

    async def _told(self, cuts: Cuts, requests: AsyncIterator[bytes], context: _Context) -> bytes:
        """As the native `LogCall`."""
        del requests
        if not cuts.begins():
            await context.abort(grpc.StatusCode.RESOURCE_EXHAUSTED, "too many logs")
        try:
            while (message := await context.read()) is not _EOF:
                cuts.hear(message)
        except DecodeError as error:
            await context.abort(grpc.StatusCode.UNAVAILABLE, f"DecodeError: {error}")
        finally:
            cuts.ends()
        return b""

    async def _process(self, requests: AsyncIterator[bytes], context: _Context) -> None:
        del requests
        metadata = {str(k): str(v) for k, v in context.invocation_metadata() or ()}
        if metadata.get(ROLE_METADATA) == ATTEMPT_ROLE:
            await self._attempt(context, self._ask(metadata.get(CALL_METADATA, "")))
            return
        if not self._serving:
            await context.abort(grpc.StatusCode.UNAVAILABLE, "no more exchanges can begin")
        self._running += 1
        self._empty.clear()
        try:
            await self._exchange(context, metadata)
        finally:
            self._running -= 1
            if not self._running:
                self._empty.set()

    async def _attempt(self, context: _Context, asking: Asking) -> None:
        """As the native `AttemptCall`: the stream ends OK with a verdict, and never without."""
        why = "the attempt was not decided"
        reading: asyncio.Future[bytes] | None = None
        try:
            while True:
                if reading is None:
                    reading = asyncio.ensure_future(context.read())
                done, _ = await asyncio.wait({reading}, timeout=asking.wait())
                if not done:
                    said = asking.on_time()
                else:
                    message, reading = reading.result(), None
                    if message is _EOF:
                        break
                    said = asking.at_once(message)
                    if said is None:
                        said = await asking.heard(message)
                if said.data:
                    await context.write(said.data)
                if said.ends:
                    return
        except (DecodeError, Unexpected) as error:
            why = f"{type(error).__name__}: {error}"
        except grpc.aio.BaseError:
            why = "the stream broke"
        finally:
            if reading is not None:
                reading.cancel()
            asking.lost()
        await context.abort(grpc.StatusCode.UNAVAILABLE, why)

    async def _exchange(self, context: _Context, metadata: Mapping[str, str]) -> None:
        conversation = self._converse(
            metadata.get(CALL_METADATA, ""), metadata.get(PEER_METADATA, "")
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
