"""How targets stand, in one LMDB file below the data folder that all workers share.

`StandingFile` is the file, `seat` gives a worker's `model.ports.SharedStanding` on it. It holds
what may be lost: nothing is flushed to the disk, and a file that is damaged, full or of another
kind is made anew. It never waits for another worker: who changes something holds the gate, a
second file that the kernel unlocks when its holder dies, and whoever finds the gate closed comes
again later. A change takes some ten microseconds.

The file has all its SIZE bytes from the beginning, so that a disk that fills up, or a file that was
cut off, cannot end a process that has it in its memory. The gate's first byte says that somebody
is opening the file: who finds it there, with the gate open, knows that the file killed a worker.
"""

from __future__ import annotations

import fcntl
import os
import time
from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import contextmanager, suppress
from hashlib import blake2b
from pathlib import Path
from typing import TypeVar

import lmdb
from msgspec import DecodeError, msgpack

from extproc.model.ports import CALM, Clock, Seen, SharedStanding, Tally, Trouble

SIZE = 16 << 20
MOST_TROUBLES = 1024
"""targets in trouble that are kept"""
PATIENCE = 2.0
"""seconds for which a closed gate is nothing strange"""
AGAIN = 10.0
"""seconds until a file that failed is tried again"""
_OPENING = 2.0
"""seconds in which workers that start at once all get the file open"""
_PAUSE = 0.005
_TROUBLE, _TALLY = b"t", b"s"
_DOUBTED, _TRUSTED = b"?", b"."
_DAMAGES = (
    lmdb.BadRslotError,
    lmdb.CorruptedError,
    lmdb.IncompatibleError,
    lmdb.InvalidError,
    lmdb.MapFullError,
    lmdb.PageFullError,
    lmdb.PageNotFoundError,
    lmdb.PanicError,
    lmdb.VersionMismatchError,
)
_ERRORS = (lmdb.Error, OSError)

T = TypeVar("T")


class _Closed(Exception):
    """Another worker is changing something now."""


class StandingFile:
    """One for each process, which `close`s it in the end. `on_problem` is told once why nothing
    can be shared, and again only after it could."""

    def __init__(self, folder: Path, clock: Clock, on_problem: Callable[[str], None]) -> None:
        self._path = folder / "standing.mdb"
        self._clock = clock
        self._on_problem = on_problem
        self._env: lmdb.Environment | None = None
        self._inode = 0
        self._gate = -1
        self._again = 0.0
        self._told = False
        self._shut: float | None = None
        self.epoch = 0

    def seat(self, name: str) -> SharedStanding:
        """The shared standing, as the worker of that name sees it: no other has or will have it."""
        return _Seat(self, name)

    @property
    def alone(self) -> bool:
        """Also when the gate is closed for long: whoever holds it is frozen."""
        shut = self._shut
        return self._env is None or (shut is not None and self._clock.monotonic() - shut > PATIENCE)

    def open(self) -> None:
        """Makes ready what can be made ready before the first request. Raises nothing."""
        until = time.monotonic() + _OPENING
        while self.reading(_nothing) is None and not self._told and time.monotonic() < until:
            time.sleep(_PAUSE)

    def close(self) -> None:
        if self._env is not None:
            self._env.close()
            self._env = None
        if self._gate >= 0:
            os.close(self._gate)
            self._gate = -1

    def reading(self, do: Callable[[lmdb.Transaction], T]) -> T | None:
        """None: not now."""
        try:
            with self._ready().begin() as txn:
                return do(txn)
        except _Closed:
            return None
        except _ERRORS as error:
            self._fail(error)
            return None

    def changing(self, do: Callable[[lmdb.Transaction], T]) -> T | None:
        """None: not now, and nothing was changed."""
        try:
            env = self._ready()
            with self._held_gate(), env.begin(write=True) as txn:
                done = do(txn)
        except _Closed:
            if self._shut is None:
                self._shut = self._clock.monotonic()
            return None
        except _ERRORS as error:
            self._fail(error)
            return None
        self._told, self._shut = False, None
        return done

    def _ready(self) -> lmdb.Environment:
        if self._env is not None:
            if self._path.stat().st_ino == self._inode:
                return self._env
            # Another worker found it damaged and made a new one.
            self.close()
        if self._clock.monotonic() < self._again:
            raise _Closed
        self.close()
        self._path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        gate = self._path.with_name("standing.gate")
        self._gate = os.open(gate, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        with self._held_gate():
            if os.pread(self._gate, 1, 0) == _DOUBTED:
                self._remove()
            os.pwrite(self._gate, _DOUBTED, 0)
            try:
                self._env = self._opened()
            except _DAMAGES:
                self._remove()
                self._env = self._opened()
            os.pwrite(self._gate, _TRUSTED, 0)
        self._inode = self._path.stat().st_ino
        self.epoch += 1
        return self._env

    def _opened(self) -> lmdb.Environment:
        env = lmdb.open(
            os.fspath(self._path),
            map_size=SIZE,
            subdir=False,
            mode=0o600,
            sync=False,
            metasync=False,
            readahead=False,
        )
        try:
            with self._path.open("r+b") as file:
                os.posix_fallocate(file.fileno(), 0, SIZE)
            env.reader_check()
            with env.begin() as txn:
                for _ in txn.cursor():
                    pass
        except BaseException:
            env.close()
            raise
        return env

    def _remove(self) -> None:
        for path in (self._path, self._path.with_name(f"{self._path.name}-lock")):
            with suppress(FileNotFoundError):
                path.unlink()

    @contextmanager
    def _held_gate(self) -> Iterator[None]:
        try:
            fcntl.flock(self._gate, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise _Closed from None
        try:
            yield
        finally:
            fcntl.flock(self._gate, fcntl.LOCK_UN)

    def _fail(self, error: Exception) -> None:
        if isinstance(error, _DAMAGES) and self._gate >= 0:
            with suppress(OSError):
                os.pwrite(self._gate, _DOUBTED, 0)
        self.close()
        self._again = self._clock.monotonic() + AGAIN
        if not self._told:
            self._told = True
            self._on_problem(str(error))


def _nothing(_: lmdb.Transaction) -> bool:
    return True


def _all(txn: lmdb.Transaction) -> list[tuple[bytes, bytes]]:
    return [(bytes(name), bytes(body)) for name, body in txn.cursor()]


class _Seat:
    """Rows are `t` and a digest of the target: its key and its trouble; `s` and a seat: its tally.

    What does not read as that is of another version, and is as if it were not there.
    """

    def __init__(self, file: StandingFile, seat: str) -> None:
        self.seat = seat
        self._file = file
        self._known: dict[bytes, tuple[bytes, tuple[str, Trouble] | Tally | None]] = {}
        self._trouble = msgpack.Decoder(tuple[str, Trouble])
        self._tally = msgpack.Decoder(Tally)
        self._encode = msgpack.Encoder().encode

    @property
    def alone(self) -> bool:
        return self._file.alone

    def read(self) -> Seen | None:
        rows = self._file.reading(_all)
        if rows is None:
            return None
        troubles: dict[str, Trouble] = {}
        tallies: dict[str, Tally] = {}
        known: dict[bytes, tuple[bytes, tuple[str, Trouble] | Tally | None]] = {}
        for name, body in rows:
            row = self._known.get(name)
            if row is None or row[0] != body:
                row = (body, self._decoded(name, body))
            known[name] = row
            match row[1]:
                case Tally() as tally:
                    tallies[name[1:].decode(errors="replace")] = tally
                case (target, trouble):
                    troubles[target] = trouble
                case None:
                    pass
        self._known = known
        return Seen(self._file.epoch, troubles, tallies)

    def change(
        self,
        targets: Collection[str],
        by: Callable[[str, Trouble], Trouble],
        tally: Tally | None = None,
        gone: Collection[str] = (),
    ) -> Mapping[str, Trouble] | None:
        def do(txn: lmdb.Transaction) -> dict[str, Trouble]:
            held: dict[str, Trouble] = {}
            for target in targets:
                row = self._put(txn, target, by)
                if row is not None:
                    held[target] = row
            for seat in gone:
                txn.delete(_TALLY + seat.encode())
            if tally is not None:
                txn.put(_TALLY + self.seat.encode(), self._encode(tally))
            return held

        return self._file.changing(do)

    def _put(
        self, txn: lmdb.Transaction, target: str, by: Callable[[str, Trouble], Trouble]
    ) -> Trouble | None:
        name = _TROUBLE + blake2b(target.encode(), digest_size=16).digest()
        body = txn.get(name)
        found = self._decoded(name, bytes(body)) if body is not None else None
        before = found[1] if isinstance(found, tuple) else CALM
        row = by(target, before)
        if row == CALM:
            txn.delete(name)
        elif body is None and txn.stat()["entries"] >= MOST_TROUBLES:
            return None
        elif row != before:
            txn.put(name, self._encode((target, row)))
        return row

    def _decoded(self, name: bytes, body: bytes) -> tuple[str, Trouble] | Tally | None:
        try:
            return (self._trouble if name[:1] == _TROUBLE else self._tally).decode(body)
        except DecodeError:
            return None
