"""Numbers that outlive the process that counted them.

One set of memory-mapped files for each part of the gateway (`worker-1`,
`admin`), in the format that prometheus-client's collector reads. The part's
name, not a pid, is in the file's name: a restarted worker goes on where the
killed one stopped, and files do not pile up. A write is a store into the page
cache, so `kill -9` loses nothing that was counted.

The files are reserved whole when they are made: a write to a mapped page for
which a full disk has no room would kill the process with SIGBUS. They never
grow: a new series for which there is no room is refused, and its caller counts
it under another name, for which a spare corner is kept.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from mmap import mmap
from pathlib import Path
from sys import byteorder
from typing import Protocol

from prometheus_client.mmap_dict import MmapedDict, mmap_key

ROOM: Mapping[str, int] = {"counter": 1 << 20, "histogram": 4 << 20, "gauge_livesum": 1 << 16}
"""bytes of one file, by kind of metric"""
SPARE = 1 << 15
"""bytes at the end of a file that only a series of last resort may use"""
_ENTRY_OVERHEAD = 4 + 8 + 16
"""bytes of an entry beside its key: length, padding, value and timestamp"""
_DOUBLE = 8
_VALUE_AND_TIME = 2
"""doubles that end an entry"""
_EMPTY = (8).to_bytes(8, "little")
"""the head of a file without entries: the number of bytes in use"""


class Cell(Protocol):
    value: float

    def add(self, amount: float) -> None: ...

    def set(self, value: float) -> None: ...


class MemoryCell:
    """A number that lives with its process."""

    __slots__ = ("value",)

    def __init__(self) -> None:
        self.value = 0.0

    def add(self, amount: float) -> None:
        self.value += amount

    def set(self, value: float) -> None:
        self.value = value


class MappedCell:
    """A number with a copy in a mapped file, at `place` among its doubles."""

    __slots__ = ("_doubles", "_place", "value")

    def __init__(self, doubles: memoryview[float], place: int) -> None:
        self._doubles = doubles
        self._place = place
        self.value: float = doubles[place]

    def add(self, amount: float) -> None:
        self.value = self._doubles[self._place] = self.value + amount

    def set(self, value: float) -> None:
        self.value = self._doubles[self._place] = value


class _File:
    """Entries are the library's; the numbers in them are written here, since it is done so often."""

    def __init__(self, path: Path, room: int) -> None:
        _reserve(path, room)
        self._room = room
        self._dict = MmapedDict(str(path))
        with path.open("r+b") as file:
            self._map = mmap(file.fileno(), room)
        self._doubles = memoryview(self._map).cast("d")
        self._places = {
            key: at // _DOUBLE for key, _, _, at in MmapedDict.read_all_values_from_file(str(path))
        }

    def cell(self, key: str, last_resort: bool) -> MappedCell | None:
        place = self._places.get(key)
        if place is None:
            room = self._room - 8 if last_resort else self._room - 8 - SPARE
            if self._used() + _size(key) > room:
                return None
            self._dict.read_value(key)
            place = self._places[key] = self._used() // _DOUBLE - _VALUE_AND_TIME
        return MappedCell(self._doubles, place)

    def zero(self) -> None:
        for place in self._places.values():
            self._doubles[place] = 0.0

    def _used(self) -> int:
        return int.from_bytes(self._map[:4], byteorder)


class Store:
    """The files of one part. `directory` None keeps the numbers in memory.

    `problem` says why the files could not be used, if they could not: a full
    disk must not keep a gateway from serving.
    """

    def __init__(self, directory: Path | None, part: str) -> None:
        self.problem: str | None = None
        self._files: dict[str, _File] = {}
        if directory is None:
            return
        try:
            directory.mkdir(mode=0o700, parents=True, exist_ok=True)
            for kind, room in ROOM.items():
                self._files[kind] = _File(directory / f"{kind}_{part}.db", room)
        except (OSError, RuntimeError, ValueError) as error:
            self.problem = f"metrics are kept in memory only: {error}"
            self._files.clear()
        else:
            # What the part's former life had in flight died with it.
            self._files["gauge_livesum"].zero()

    def cell(
        self,
        kind: str,
        metric: str,
        sample: str,
        labels: Mapping[str, str],
        text: str,
        last_resort: bool = False,
    ) -> Cell | None:
        """The cell of one time series, with what it counted before; None when there is no room."""
        file = self._files.get(kind)
        if file is None:
            return MemoryCell()
        key = mmap_key(metric, sample, list(labels), list(labels.values()), text)
        return file.cell(key, last_resort)


def reset(directory: Path) -> None:
    """Forget all numbers. For the supervisor, before it starts any part."""
    for path in directory.glob("*.db*"):
        path.unlink(missing_ok=True)


def worker_gone(directory: Path, part: str) -> None:
    """A part died: its gauges go, its counts stay. For the supervisor, before it starts the part again."""
    (directory / f"gauge_livesum_{part}.db").unlink(missing_ok=True)


def _reserve(path: Path, room: int) -> None:
    """Make the file with all its blocks, under a name that readers do not look at until it is whole."""
    if path.exists():
        return
    unfinished = path.with_name(path.name + ".new")
    fd = os.open(unfinished, os.O_CREAT | os.O_RDWR | os.O_TRUNC | os.O_CLOEXEC, 0o600)
    try:
        os.posix_fallocate(fd, 0, room)
        os.pwrite(fd, _EMPTY, 0)
    finally:
        os.close(fd)
    unfinished.rename(path)


def _size(key: str) -> int:
    return len(key.encode()) + _ENTRY_OVERHEAD


__all__ = ["ROOM", "Cell", "Store", "reset", "worker_gone"]
