"""What /proc says about a gateway's processes. Reads only; Linux."""

from __future__ import annotations

import contextlib
import os
import signal
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TypeVar

T = TypeVar("T")


def children(parent: int) -> dict[str, int]:
    """The living children by the name of their part: `worker-1`, `admin`, `mock`, `envoy`."""
    found: dict[str, int] = {}
    for pid, _, above in _table():
        if above == parent and (part := _part(command_line(pid))):
            found[part] = pid
    return found


def descendants(root: int) -> set[int]:
    """Every living process below `root`."""
    below: dict[int, list[int]] = {}
    for pid, _, above in _table():
        below.setdefault(above, []).append(pid)
    found: set[int] = set()
    queue = [root]
    while queue:
        for pid in below.get(queue.pop(), ()):
            found.add(pid)
            queue.append(pid)
    return found


def is_alive(pid: int) -> bool:
    """Whether it runs. One that ended and was not yet waited for does not."""
    return any(found == pid for found, _, _ in _table())


def command_line(pid: int) -> list[str]:
    """Its words; none where it has ended."""
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes().decode().split("\0")
    except OSError:
        return []


def kill(pids: set[int]) -> None:
    for pid in pids:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)


def eventually(what: Callable[[], T | None], timeout: float = 5.0, wanted: str = "it") -> T:
    """The first true result of `what`. Raises AssertionError after `timeout` seconds."""
    deadline = time.monotonic() + timeout
    while not (found := what()):
        assert time.monotonic() < deadline, f"{wanted} did not happen within {timeout} s"
        time.sleep(0.01)
    return found


def _table() -> Iterator[tuple[int, str, int]]:
    """Process id, state and parent of everything that has not ended."""
    for folder in Path("/proc").iterdir():
        if not folder.name.isdecimal():
            continue
        with contextlib.suppress(OSError, IndexError):
            # The name may hold spaces and brackets: fields begin after the last bracket.
            fields = (folder / "stat").read_text().rpartition(")")[2].split()
            if fields[0] not in "ZX":
                yield int(folder.name), fields[0], int(fields[1])


def _part(words: list[str]) -> str | None:
    if words and Path(words[0]).name == "envoy":
        return "envoy"
    for at, word in enumerate(words):
        if word in ("worker", "admin", "mock"):
            return f"worker-{words[at + 1]}" if word == "worker" else word
    return None
