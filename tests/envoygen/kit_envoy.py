"""A real Envoy for a test: started on written files, asked over its private socket, ended at the end."""

from __future__ import annotations

import asyncio
import subprocess
import tempfile
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import httpx

from extproc.config.layout import Layout
from extproc.envoygen.binary import envoy_binary
from extproc.envoygen.render import VERSION_STATS, Kind

DEADLINE = 20.0


@dataclass(frozen=True, slots=True)
class RunningEnvoy:
    process: subprocess.Popen[bytes]
    admin: httpx.AsyncClient
    layout: Layout
    log: Path

    async def ready(self) -> bool:
        try:
            told = await self.admin.get("/ready")
        except httpx.TransportError:
            return False
        return told.text.strip() == "LIVE"

    async def version(self, kind: Kind) -> str:
        """The version of one xDS file that is live, empty if none is."""
        name = VERSION_STATS[kind]
        found = await self.admin.get(
            "/stats", params={"filter": f"^{name}$", "type": "TextReadouts"}
        )
        return found.text.removeprefix(f"{name}: ").strip().strip('"')

    async def until(self, kind: Kind, version: str) -> None:
        async with asyncio.timeout(DEADLINE):
            while await self.version(kind) != version:
                assert self.process.poll() is None, self.log.read_text()
                await asyncio.sleep(0.02)


@asynccontextmanager
async def short_layout() -> AsyncIterator[Layout]:
    """Folders whose unix sockets have short names, which a test's own folder may not allow."""
    with tempfile.TemporaryDirectory(prefix="sl-") as folder:
        layout = Layout(Path(folder) / "data", Path(folder) / "run")
        layout.run.mkdir(mode=0o700)
        yield layout


@asynccontextmanager
async def running(layout: Layout) -> AsyncIterator[RunningEnvoy]:
    """Envoy on what was written to `layout`, live."""
    log = layout.data / "envoy.log"
    with log.open("wb") as out:
        process = subprocess.Popen(
            [
                envoy_binary(),
                *("-c", layout.bootstrap, "--log-level", "warning", "--concurrency", "1"),
                *("--disable-hot-restart", "--reject-unknown-dynamic-fields"),
                *("--file-flush-interval-msec", "50"),
            ],
            stdout=out,
            stderr=out,
        )
    transport = httpx.AsyncHTTPTransport(uds=str(layout.envoy_admin_socket))
    try:
        async with httpx.AsyncClient(transport=transport, base_url="http://envoy") as admin:
            envoy = RunningEnvoy(process, admin, layout, log)
            async with asyncio.timeout(DEADLINE):
                while not await envoy.ready():
                    assert process.poll() is None, log.read_text()
                    await asyncio.sleep(0.02)
            yield envoy
    finally:
        process.kill()
        process.wait()
