"""Envoy as a child: how it is started, what it says, what it is asked.

`command` gives its command line, `EnvoyAdmin` talks to its admin interface on
a private unix socket, `read_line` understands its log. None of it knows the
config that Envoy runs.
"""

from __future__ import annotations

import asyncio
import os
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote

from extproc.config.names import EXT_PROC_CLUSTER
from extproc.supervisor import leash
from extproc.supervisor.process import Command

_LOG_FORMAT = "%L|%n|%v"
_LOGGED_BYTES = 2000
_ANSWER_TIMEOUT = 2.0
_FROM_OUR_ENVIRONMENT = ("PATH", "HOME", "LANG", "TZ", "TMPDIR")
"""all that Envoy may see of our environment, which holds secrets"""
_OUR_OWN_DOING = "caught ENVOY_SIGTERM"
_LEVELS = {"W": "warning", "E": "error", "C": "error"}


def command(binary: Path, bootstrap: Path, concurrency: int) -> Command:
    """Envoy on a leash, its log on stderr."""
    return Command(
        argv=(
            *leashed(),
            str(binary),
            *("-c", str(bootstrap)),
            "--disable-hot-restart",
            *("--concurrency", str(concurrency)),
            "--reject-unknown-dynamic-fields",
            *("--log-level", "warn"),
            *("--log-format", _LOG_FORMAT),
            # A drain must outlast every stream: only the supervisor ends Envoy.
            *("--drain-time-s", "86400"),
            *("--drain-strategy", "immediate"),
            *("--file-flush-interval-msec", "1000"),
        ),
        env=_environment(),
        heard="stderr",
    )


def validation(binary: Path, file: Path) -> Command:
    """Envoy that only judges a file: exit 0, or another one and the reason on stderr."""
    return Command(
        argv=(
            *leashed(),
            *(str(binary), "-c", str(file), "--mode", "validate"),
            *("--log-level", "error", "--log-format", _LOG_FORMAT),
        ),
        env=_environment(),
        heard="stderr",
    )


def _environment() -> dict[str, str]:
    return {name: os.environ[name] for name in _FROM_OUR_ENVIRONMENT if name in os.environ}


def leashed() -> tuple[str, ...]:
    """What to put before a program's path so that it dies with this process."""
    return (sys.executable, "-I", "-S", str(Path(leash.__file__)), str(os.getpid()))


@dataclass(frozen=True, slots=True)
class LogLine:
    """`level` is `warning` or `error`."""

    level: str
    logger: str
    text: str


def read_line(line: bytes) -> LogLine | None:
    """One line of Envoy's log; None for one that tells nothing. Text beyond 2,000 bytes is cut."""
    text = line[:_LOGGED_BYTES].decode("utf-8", "replace").rstrip()
    if not text or text.endswith(_OUR_OWN_DOING):
        return None
    level, _, rest = text.partition("|")
    logger, bar, message = rest.partition("|")
    if bar and len(level) == 1:
        return LogLine(_LEVELS.get(level, "warning"), logger, message)
    return LogLine("warning", "", text)


@dataclass(frozen=True, slots=True)
class Followed:
    """`live`: the version of each xDS type, by stat. `refused`: updates so far that were refused.
    `warming`: clusters and listeners that are not used yet."""

    live: Mapping[str, str]
    refused: int
    warming: int


class EnvoyAdmin:
    """Every call raises OSError (TimeoutError among them) when Envoy does not answer."""

    def __init__(self, path: Path) -> None:
        self._path = path

    async def is_serving(self) -> bool:
        """Whether an exchange can succeed: live, listening, and a healthy worker behind."""
        stats = await self.stats(
            f"^(server.live|listener_manager.(workers_started|total_listeners_active)"
            f"|cluster.{EXT_PROC_CLUSTER}.membership_healthy)$"
        )
        return len(stats) == 4 and all(stats.values())

    async def refused(self) -> bool:
        """Whether Envoy refused what it was given, for instance because a port is taken."""
        return any(
            (
                await self.stats(
                    "listener_create_failure$|update_rejected$|listener_manager.*update_failure$"
                )
            ).values()
        )

    async def workers(self) -> set[Path]:
        """Sockets of the workers that new exchanges go to: told, found healthy, not leaving."""
        lines = (await self._ask("GET", "/clusters")).decode().splitlines()
        fields = (line.split("::") for line in lines if line.startswith(f"{EXT_PROC_CLUSTER}::"))
        return {Path(host) for _, host, *told in fields if told == ["health_flags", "healthy"]}

    async def active(self, stat_prefix: str) -> int:
        """Exchanges in flight on the listener."""
        stats = await self.stats(f"^http.{stat_prefix}.downstream_rq_active$")
        return sum(stats.values())

    async def drain(self) -> None:
        """New calls are still served, kept connections are closed after their next reply."""
        await self._ask("POST", "/healthcheck/fail")
        await self._ask("POST", "/drain_listeners?graceful&skip_exit")

    async def stop_listening(self) -> None:
        """Refuses new connections; what runs goes on."""
        await self._ask("POST", "/drain_listeners")

    async def stats(self, pattern: str) -> dict[str, int]:
        """Counters and gauges whose names match the regular expression."""
        body = await self._ask("GET", f"/stats?filter={quote(pattern)}")
        pairs = (line.rpartition(": ") for line in body.decode().splitlines())
        return {name: int(value) for name, _, value in pairs if value.isdigit()}

    async def followed(self) -> Followed:
        """How far Envoy is with the xDS files."""
        names = "version_text|update_rejected|update_failure|config_fail"
        pattern = f"[.]({names}|warming_clusters|total_listeners_warming)$"
        body = (await self._ask("GET", f"/stats?filter={quote(pattern)}")).decode()
        live: dict[str, str] = {}
        refused = warming = 0
        for name, _, value in (line.partition(": ") for line in body.splitlines()):
            if name.endswith(".version_text"):
                live[name] = value.strip('"')
            elif "warming" in name:
                warming += int(value)
            else:
                refused += int(value)
        return Followed(live, refused, warming)

    async def _ask(self, method: str, target: str) -> bytes:
        async with asyncio.timeout(_ANSWER_TIMEOUT):
            reader, writer = await asyncio.open_unix_connection(str(self._path), limit=1 << 20)
            try:
                writer.write(
                    f"{method} {target} HTTP/1.1\r\nhost: envoy\r\ncontent-length: 0\r\n"
                    "connection: close\r\n\r\n".encode()
                )
                whole = await reader.read()
            finally:
                writer.close()
        head, _, body = whole.partition(b"\r\n\r\n")
        if b" 200 " not in head.partition(b"\r\n")[0]:
            raise ConnectionError(f"Envoy's admin interface refused {target}")
        return _unchunk(body) if b"transfer-encoding: chunked" in head.lower() else body


def _unchunk(body: bytes) -> bytes:
    whole = bytearray()
    while body:
        size, _, rest = body.partition(b"\r\n")
        length = int(size, 16)
        whole += rest[:length]
        body = rest[length + 2 :] if length else b""
    return bytes(whole)
