"""How much a worker does for an exchange, counted instead of timed: the same on every machine.

Plays exchanges to a real `NativeServer`, message by message over its socket, and
counts the bytecodes that run in `extproc`, and the calls into C that it makes.
What runs inside of C is not seen: `instructions.py` counts that, where it can.
"""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from types import FrameType

import extproc
from extproc.wire.frames import Kind
from extproc.wire.hpack import encode
from extproc.wire.native_server import NativeServer
from extproc.wire.processor import MessageLimit
from tests.bench.played import dialogue, worker
from tests.bench.traffic import Case
from tests.wire.h2peer import REQUEST, Peer, data, grpc, headers, window

LIMIT = MessageLimit(64 << 20)
WARM, COUNTED = 30, 20
"""exchanges before the counting, and in it"""
_FRAME = 16 << 10
_NO_TABLE = b"\x20"
"""begins the first header block of a peer that agreed to a table of size 0 (RFC 7541, 6.3)"""
_WINDOW = 1 << 30
_HEAD = encode(REQUEST)
_OURS = str(Path(extproc.__file__).parent)


@dataclass(frozen=True, slots=True)
class Work:
    """Of one exchange: bytecodes of ours, and calls of C functions from them."""

    steps: float
    calls: float


class _Counter:
    """Sees every bytecode and call of this thread, and counts those of `extproc`."""

    def __init__(self) -> None:
        self.steps = self.calls = 0
        self._mine: dict[str, bool] = {}

    def trace(self, frame: FrameType, event: str, argument: object) -> object:
        if event == "opcode":
            self.steps += 1
            return self.trace
        if not self._is_ours(frame):
            return None
        frame.f_trace_opcodes, frame.f_trace_lines = True, False
        return self.trace

    def profile(self, frame: FrameType, event: str, argument: object) -> None:
        if event == "c_call" and self._is_ours(frame):
            self.calls += 1

    def _is_ours(self, frame: FrameType) -> bool:
        file = frame.f_code.co_filename
        ours = self._mine.get(file)
        if ours is None:
            ours = self._mine[file] = file.startswith(_OURS)
        return ours


def work(case: Case) -> Work:
    """What a worker with the whole default pipeline does for one such exchange, transport included."""
    return asyncio.run(_work(case))


async def _work(case: Case) -> Work:
    with worker(case) as one, TemporaryDirectory() as folder:
        server = NativeServer(Path(folder) / "s", LIMIT, one.converse)
        await server.start()
        peer = await Peer.connect(Path(folder) / "s")
        peer.send(window(0, _WINDOW))
        messages = [grpc(message) for message in dialogue(case)]
        await _play(peer, messages, range(WARM))
        with _counting() as counter:
            await _play(peer, messages, range(WARM, WARM + COUNTED))
        peer.close()
        await server.stop(1.0)
    return Work(counter.steps / COUNTED, counter.calls / COUNTED)


async def _play(peer: Peer, messages: list[bytes], exchanges: range) -> None:
    for number in exchanges:
        stream = 2 * number + 1
        peer.send(headers(stream, _HEAD if number else _NO_TABLE + _HEAD))
        for message in messages:
            peer.send(*(data(stream, piece) for piece in _frames(message)))
            await peer.until(Kind.DATA, stream)
        peer.send(data(stream, b"", end=True))
        await peer.trailers(stream)


def _frames(message: bytes) -> Iterator[bytes]:
    return (message[at : at + _FRAME] for at in range(0, len(message), _FRAME))


@contextmanager
def _counting() -> Iterator[_Counter]:
    counter = _Counter()
    before = sys.gettrace(), sys.getprofile()
    sys.settrace(counter.trace)  # type: ignore[arg-type]
    sys.setprofile(counter.profile)
    try:
        yield counter
    finally:
        sys.settrace(before[0])
        sys.setprofile(before[1])
