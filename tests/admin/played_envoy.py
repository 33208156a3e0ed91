"""Envoy's admin interface, played by a small server on a unix socket."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field

STATS = '{"stats":[{"name":"cluster.extproc.membership_healthy","value":%d}]}'


@dataclass
class PlayedEnvoy:
    """Answers `/ready` and `/stats` as Envoy does. `hang` makes it silent."""

    state: str = "LIVE"
    workers: int = 2
    stats: str | None = None
    hang: bool = False
    asked: list[str] = field(default_factory=list[str])

    async def answer(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while True:
                head = await reader.readuntil(b"\r\n\r\n")
                target = head.split(b" ")[1].decode()
                self.asked.append(target)
                if self.hang:
                    await reader.read()
                    break
                text = self.state + "\n"
                if target.startswith("/stats"):
                    text = STATS % self.workers if self.stats is None else self.stats
                status = "503 Service Unavailable" if self.state != "LIVE" else "200 OK"
                writer.write(
                    f"HTTP/1.1 {status}\r\ncontent-length: {len(text)}\r\n\r\n{text}".encode()
                )
                await writer.drain()
        except (asyncio.IncompleteReadError, ConnectionError):
            pass
        writer.close()
