"""A provider's way that gets worse while a test goes on: it passes bytes, slowly or not at all."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import AbstractContextManager, asynccontextmanager, suppress
from urllib.parse import urlsplit

from tests.e2e.threads import in_a_thread


class Relay:
    """Passes bytes to the provider at `to`. `delay` seconds lie before each piece of an answer;
    while it is `down`, whoever sends anything is hung up on, and while it has a `status` it answers
    with that by itself."""

    def __init__(self, to: str) -> None:
        self._to = urlsplit(to)
        self.delay = 0.0
        self.down = False
        self.status = 0
        self.url = ""
        self._open: set[asyncio.Task[None]] = set()

    @classmethod
    def running(cls, to: str) -> AbstractContextManager[Relay]:
        return in_a_thread(lambda: cls(to)._serving())

    @asynccontextmanager
    async def _serving(self) -> AsyncIterator[Relay]:
        server = await asyncio.start_server(self._connected, "127.0.0.1", 0)
        self.url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
        try:
            yield self
        finally:
            server.close()
            for task in self._open:
                task.cancel()
            await asyncio.gather(*self._open, return_exceptions=True)

    def _connected(self, near: asyncio.StreamReader, out: asyncio.StreamWriter) -> None:
        task = asyncio.create_task(self._connection(near, out))
        self._open.add(task)
        task.add_done_callback(self._open.discard)

    async def _connection(self, near: asyncio.StreamReader, out: asyncio.StreamWriter) -> None:
        with suppress(OSError):
            far, back = await asyncio.open_connection(self._to.hostname, self._to.port)
            answers = asyncio.create_task(self._answers(far, out))
            try:
                while (piece := await near.read(1 << 16)) and not self.down:
                    if self.status:
                        out.write(b"HTTP/1.1 %d x\r\ncontent-length: 0\r\n\r\n" % self.status)
                    else:
                        back.write(piece)
            finally:
                answers.cancel()
                back.close()
        out.transport.abort()

    async def _answers(self, far: asyncio.StreamReader, out: asyncio.StreamWriter) -> None:
        with suppress(OSError):
            while piece := await far.read(1 << 16):
                if self.delay:
                    await asyncio.sleep(self.delay)
                out.write(piece)
        out.transport.abort()
