"""Processor time and memory of processes, from /proc; load from wrk; streams held open."""

from __future__ import annotations

import asyncio
import json
import os
import re
import subprocess
from dataclasses import dataclass
from pathlib import Path

TICK = os.sysconf("SC_CLK_TCK")
KB = 1024


@dataclass(frozen=True, slots=True)
class Load:
    """One run of wrk. Latencies in milliseconds."""

    requests: int
    seconds: float
    p50: float
    p99: float
    failed: int

    @property
    def rate(self) -> float:
        return self.requests / self.seconds


def cpu_seconds(pid: int) -> float:
    """User and system time of a process and all its threads, at the kernel's tick (usually 10 ms)."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / TICK


def resident(pid: int) -> int:
    """Bytes of resident memory, shared pages counted in proportion (PSS)."""
    rollup = Path(f"/proc/{pid}/smaps_rollup").read_text()
    found = re.search(r"^Pss:\s+(\d+) kB", rollup, re.MULTILINE)
    assert found is not None
    return int(found[1]) * KB


def wrk(url: str, body: bytes, concurrency: int, seconds: float, key: str | None) -> Load:
    """Drives `url` with POSTs of `body` from one thread, bounded in time."""
    script = Path(__file__).with_name("post.lua")
    environment = {**os.environ, "BENCH_BODY": body.decode(), "BENCH_KEY": key or ""}
    command = ["wrk", "-t1", f"-c{concurrency}", f"-d{seconds:.0f}s", "-s", str(script), url]
    done = subprocess.run(
        command, env=environment, capture_output=True, text=True, timeout=seconds + 30, check=True
    )
    result = json.loads(done.stdout.splitlines()[-1])
    return Load(
        requests=result["requests"],
        seconds=result["duration"] / 1e6,
        p50=result["p50"] / 1e3,
        p99=result["p99"] / 1e3,
        failed=result["failed"],
    )


async def hold_open(
    url: str, body: bytes, count: int, key: str | None
) -> list[asyncio.StreamWriter]:
    """Opens `count` streams, each until its first event has come. The caller closes them."""
    host, _, rest = url.removeprefix("http://").partition("/")
    name, _, port = host.partition(":")
    auth = f"authorization: Bearer {key}\r\n" if key else ""
    head = (
        f"POST /{rest} HTTP/1.1\r\nhost: {host}\r\ncontent-type: application/json\r\n"
        f"{auth}content-length: {len(body)}\r\n\r\n"
    ).encode()

    async def one() -> asyncio.StreamWriter:
        reader, writer = await asyncio.open_connection(name, int(port))
        writer.write(head + body)
        await asyncio.wait_for(reader.readuntil(b"data:"), 30)
        return writer

    writers: list[asyncio.StreamWriter] = []
    for start in range(0, count, 50):
        some = await asyncio.gather(*(one() for _ in range(min(50, count - start))))
        writers.extend(some)
    return writers
