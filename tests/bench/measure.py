"""Load from `load.c`, and what it costs: processor time and memory of processes, from the kernel."""

from __future__ import annotations

import json
import os
import re
import resource
import subprocess
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

PATIENCE = 30
"""seconds that a load may need beyond its own"""
MICRO = 1e6


@dataclass(frozen=True, slots=True)
class Load:
    """One run of the clients. `requests` came back good, `in_time` of them before the end.

    Latencies in milliseconds: of whole replies, and to the first bytes of a body.
    """

    requests: int
    in_time: int
    failed: int
    held: int
    seconds: float
    p50: float = 0.0
    p99: float = 0.0
    max: float = 0.0
    first_p50: float = 0.0
    first_p99: float = 0.0

    @property
    def rate(self) -> float:
        return self.in_time / self.seconds


@dataclass(frozen=True, slots=True)
class Clients:
    """The compiled `load.c`; requests are files in `folder`."""

    program: Path
    folder: Path

    def run(
        self,
        port: int,
        request: bytes,
        ending: str,
        *,
        connections: int,
        seconds: float,
        rate: float = 0.0,
    ) -> Load:
        """Blocks until the load is over. `rate` 0: each connection asks again once it is answered."""
        command = self._command(port, request, ending, connections, seconds, rate)
        done = subprocess.run(
            command,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=seconds + PATIENCE,
            check=True,
        )
        return self._read(done.stdout, done.stderr)

    @contextmanager
    def hold(self, port: int, request: bytes, count: int) -> Iterator[Load]:
        """So many replies that have begun, open until the block ends."""
        command = self._command(port, request, "", count, 0, 0)
        running = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        assert running.stdin is not None
        assert running.stdout is not None
        try:
            yield self._read(running.stdout.readline(), "")
        finally:
            running.stdin.close()
            running.wait(PATIENCE)

    def _command(
        self, port: int, request: bytes, ending: str, connections: int, seconds: float, rate: float
    ) -> Sequence[str]:
        file = self.folder / f"request-{len(request)}-{abs(hash(request)):x}"
        file.write_bytes(request)
        numbers = (port, connections, f"{seconds:g}", f"{rate:g}")
        return [str(self.program), *map(str, numbers), ending, str(file)]

    def _read(self, line: str, errors: str) -> Load:
        if errors:
            print(errors)
        return Load(**json.loads(line))


def cpu_seconds(pid: int) -> float:
    """Processor time of a process and all its threads, to the nanosecond (its CPU clock)."""
    return time.clock_gettime((~pid << 3) | 2)


def resident(pid: int) -> int:
    """Bytes of resident memory."""
    return _rollup(pid, "Rss")


def proportional(pids: Sequence[int]) -> int:
    """Bytes of resident memory, pages that several share counted in proportion (PSS)."""
    return sum(_rollup(pid, "Pss") for pid in pids)


def _rollup(pid: int, name: str) -> int:
    rollup = Path(f"/proc/{pid}/smaps_rollup").read_text()
    found = re.search(rf"^{name}:\s+(\d+) kB", rollup, re.MULTILINE)
    assert found is not None
    return int(found[1]) * 1024


@dataclass(frozen=True, slots=True)
class Sample:
    """A load, and the microseconds of processor time an exchange cost, by part of the system."""

    load: Load
    cpu: Mapping[str, float]

    @property
    def whole(self) -> float:
        return sum(self.cpu.values())


def raise_file_limit() -> int:
    """Lets this process and its children open as many files as they may; how many that is."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    return hard


def machine() -> str:
    """The processor, its cores and the load it had, in one line."""
    found = re.search(r"^model name\s*:\s*(.*)$", Path("/proc/cpuinfo").read_text(), re.MULTILINE)
    name = found[1] if found else os.uname().machine
    return f"{os.cpu_count()} cores, {name}, load average {os.getloadavg()[0]:.1f} at the start"
