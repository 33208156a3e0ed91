"""Notices when a file is another one: by a look each second, which also sees symlinks that are swapped.

Takes paths, says when something changed and has come to rest. Reads no content.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterable, Mapping
from pathlib import Path
from typing import TypeAlias

EVERY = 1.0
"""seconds between two looks"""
SETTLES = 0.2
"""seconds without another change, after which a file is thought to be written to its end"""

Look: TypeAlias = Mapping[Path, tuple[int, int, int] | None]
"""by path: inode, time of change in ns, size; None where there is nothing to see"""


def look(paths: Iterable[Path]) -> Look:
    """Follows links, so that another target is another file."""
    return {path: _seen(path) for path in paths}


def _seen(path: Path) -> tuple[int, int, int] | None:
    try:
        found = path.stat()
    except (OSError, ValueError):
        return None
    return found.st_ino, found.st_mtime_ns, found.st_size


async def watch(
    last: Callable[[], Look],
    changed: Callable[[], Awaitable[object]],
    every: float = EVERY,
    settles: float = SETTLES,
) -> None:
    """Calls `changed` when what can be seen is not what `last` says; that has to follow then.

    Runs until it is cancelled.
    """
    while True:
        await asyncio.sleep(every)
        known = last()
        now = look(known)
        if now == known:
            continue
        while True:
            await asyncio.sleep(settles)
            before, now = now, look(known)
            if now == before:
                break
        await changed()
