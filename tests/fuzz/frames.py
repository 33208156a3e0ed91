"""`python -m tests.fuzz.frames`: hostile peers, each from a seed, against our HTTP/2 and our gRPC.

Whatever a peer says:
- nothing is raised: it gets a named error, and its connection ends with that;
- what is held stays in proportion to `Limits`, weighed as it is, with all that belongs to it;
- what is written back, and what is done, stays in proportion to what came;
- events make sense: no word of a stream before its beginning or after its end;
- once the connection is gone, every exchange has settled, once, and nothing is held for it.

`--count`, `--start` and `--processes` say how many; `--seed` plays one again.
"""

from __future__ import annotations

import argparse
import asyncio
import gc
import re
import sys
import time
import traceback
from collections import Counter
from collections.abc import Iterable, Mapping
from concurrent.futures import ProcessPoolExecutor
from os import cpu_count
from random import Random
from types import BuiltinFunctionType, FunctionType, MethodType, ModuleType
from typing import Any

from extproc.wire.calls import Calls
from extproc.wire.eager import Eager
from extproc.wire.frames import HEAD_SIZE, MAX_FRAME, Kind, Limits, PeerError
from extproc.wire.hpack import DEFAULT_TABLE, encode
from extproc.wire.http2 import Connection, Data, Event, Failed, Request, Reset, Sendable
from extproc.wire.native_server import _Link  # pyright: ignore[reportPrivateUsage]
from extproc.wire.processor import Conversation, MessageLimit
from tests.fuzz.hostile import AGREED, Hostile, octets
from tests.kit import FakeClock
from tests.wire.h2peer import HELLO, read
from tests.wire.talk import Talk, conversation

LIMITS = Limits(
    streams=4,
    header_list=2000,
    stream_window=30_000,
    connection_window=70_000,
    idle_frames=50,
    held=20_000,
    vain_streams=10,
)
MESSAGE = MessageLimit(4000)
REPLY = encode([(":status", "200")])
TRAILERS = encode([("grpc-status", "0")])

FIELD = 8
"""bytes in memory for a byte of a header list as RFC 7541 counts it, at the most"""
MOST_HELD = (
    2 * (HEAD_SIZE + MAX_FRAME)
    + FIELD * (DEFAULT_TABLE + 3 * LIMITS.header_list)
    + LIMITS.streams * 2000
    + 20_000
)
"""bytes of one connection, without what waits to be sent"""
MOST_CALLS = 30
"""of functions, for each byte that came, beyond some"""
MOST_SECONDS = 2.0
LONG_ROUNDS = 500


def sequence(seed: int, kind: type[Connection] = Connection) -> None:
    """One sequence. Raises AssertionError, or what the code under test must not raise."""
    dice = Random(seed)
    begun = time.process_time()
    match seed % 200:
        case 0:
            _long(_Served(dice, kind), dice)
        case 1 | 11 | 21 | 31 | 41:
            _counted(_Served(dice, kind), dice)
        case n if n % 5 == 2:
            asyncio.run(_whole(dice))
        case _:
            _core(_Served(dice, kind), dice)
    assert time.process_time() - begun < MOST_SECONDS, "it took too long"


# --- the core, without gRPC


class _Served:
    """A connection whose server answers as the dice say, and checks what it is told."""

    def __init__(self, dice: Random, kind: type[Connection]) -> None:
        self._dice = dice
        self.clock = FakeClock()
        self.connection = kind(LIMITS, self.clock.monotonic)
        self._live: dict[int, bool] = {}
        """streams that may be answered, and whether the peer has ended its half"""
        self._blocked: set[int] = set()
        self._finishing: set[int] = set()
        self.over = False
        self._waiting: dict[int, int] = {}
        """bytes that were put in for a stream, and are not written yet"""
        self.put = self.wrote = self.heard = 0
        """bytes: put in to be sent, written, and received"""

    def hear(self, piece: bytes) -> None:
        self.heard += len(piece)
        for event in self.connection.receive(piece):
            assert not self.over, "it spoke after its end"
            self._on(event)
        assert self.connection.streams <= LIMITS.streams
        self._act()
        self._written(self.connection.take())
        allowed = 1000 + 4 * self.heard + 15 * self.put
        assert self.wrote <= allowed, "more was written than was asked for"

    def _written(self, out: bytes) -> None:
        found, rest = read(out)
        assert rest == b"", "not whole frames"
        self.wrote += len(out)
        for one in found:
            if one.kind is Kind.RST_STREAM or one.ended:
                self._waiting.pop(one.stream, None)
            elif one.stream in self._waiting:
                self._waiting[one.stream] -= len(one.payload)

    def _on(self, event: Event) -> None:
        match event:
            case Request(stream, _, ended):
                assert stream not in self._live
                self._live[stream] = ended
                if self._dice.random() < 0.7:
                    self._put(stream, REPLY)
                    self.connection.begin(stream, REPLY)
            case Data(stream) if stream in self._finishing:
                pass
            case Data(stream, data, ended):
                assert self._live[stream] is False
                self._live[stream] = ended
                self.connection.consumed(stream, self._dice.choice((0, len(data))))
                if stream not in self._blocked and self._dice.random() < 0.6:
                    answer = bytes(self._dice.choice((1, 50, 700, 20_000)))
                    self._put(stream, answer)
                    if not self.connection.send(stream, answer):
                        self._blocked.add(stream)
                if ended:
                    self._finish(stream)
            case Sendable(stream):
                assert stream in self._blocked or stream in self._finishing
                self._blocked.discard(stream)
            case Reset(stream):
                assert stream in self._live or stream in self._finishing
                self._live.pop(stream, None)
                self._waiting.pop(stream, None)
                self._blocked.discard(stream)
            case Failed(error):
                assert isinstance(error, PeerError)
                assert self.connection.failed is error
                assert self.connection.streams == 0
                self._waiting.clear()
                self.over = True

    def _act(self) -> None:
        """What a server does by itself: it ends a stream, it drains, it closes."""
        dice = self._dice
        if self._live and dice.random() < 0.02:
            self._finish(dice.choice(list(self._live)))
        if dice.random() < 0.003:
            self.connection.drain()
        if dice.random() < 0.001 and not self.over:
            self.connection.close()
            self.over = True

    def _finish(self, stream: int) -> None:
        self._put(stream, TRAILERS)
        self.connection.finish(stream, TRAILERS)
        del self._live[stream]
        self._blocked.discard(stream)
        self._finishing.add(stream)

    def _put(self, stream: int, octets: bytes) -> None:
        self.put += len(octets)
        self._waiting[stream] = self._waiting.get(stream, 0) + len(octets)

    def weigh(self) -> None:
        """All that it has in memory, without what waits for the peer's windows."""
        held = weight(self.connection) - sum(self._waiting.values())
        assert held <= MOST_HELD, f"it holds {held} bytes"


def _core(served: _Served, dice: Random) -> None:
    said, size = octets(dice)
    for at in range(0, len(said), size):
        if served.over and at % 7:
            break
        served.hear(said[at : at + size])
    served.weigh()


def _counted(served: _Served, dice: Random) -> None:
    """The calls of functions are counted: work must be in proportion to what came."""
    calls = 0

    def count(frame: object, event: str, arg: object) -> None:
        nonlocal calls
        calls += event in ("call", "c_call")

    sys.setprofile(count)
    try:
        _core(served, dice)
    finally:
        sys.setprofile(None)
    allowed = 3000 + MOST_CALLS * (served.heard + served.put)
    assert calls < allowed, f"{calls} calls for {served.heard} bytes"


def _long(served: _Served, dice: Random) -> None:
    """A peer that never breaks anything, and goes on: what is held does not grow."""
    agreed = dice.random() < 0.5
    served.hear(HELLO + (AGREED if agreed else b""))
    peer = Hostile(dice, agreed=agreed, gentle=True)
    for number in range(LONG_ROUNDS):
        served.clock.advance(10)
        served.hear(b"".join(peer.frame() for _ in range(10)))
        if number % 50 == 49:
            served.weigh()
        if served.over:
            assert str(served.connection.failed) == "closed by us"
            break


_IGNORED = (type, FunctionType, BuiltinFunctionType, MethodType, ModuleType, Limits, FakeClock)


def weight(root: object) -> int:
    """Bytes of all that belongs to an object, as Python counts them; code and what is shared apart."""
    total, seen, todo = 0, {id(root)}, [root]
    while todo:
        one = todo.pop()
        total += sys.getsizeof(one)
        for other in gc.get_referents(one):
            if id(other) not in seen and not isinstance(other, _IGNORED):
                seen.add(id(other))
                todo.append(other)
    return total


# --- the whole transport, without a socket


class _Wire(asyncio.Transport):
    """What a link writes into; it can be slow, and it can be cut."""

    def __init__(self) -> None:
        super().__init__()
        self.wrote = 0
        self.reading = True
        self._closing = False

    def write(self, data: bytes | bytearray | memoryview[Any]) -> None:
        self.wrote += len(data)

    def is_closing(self) -> bool:
        return self._closing

    def close(self) -> None:
        self._closing = True

    def abort(self) -> None:
        self._closing = True

    def pause_reading(self) -> None:
        self.reading = False

    def resume_reading(self) -> None:
        self.reading = True

    def set_write_buffer_limits(self, high: int | None = None, low: int | None = None) -> None:
        pass


async def _whole(dice: Random) -> None:
    """Calls, messages and their conversations as well: each of these settles once."""
    gate = asyncio.Event()
    talks: list[Talk] = []
    problems: list[Mapping[str, object]] = []

    def converse(call_id: str, peer: str) -> Conversation:
        talks.append(Talk(call_id, peer, gate))
        return conversation(talks[-1])

    asyncio.get_running_loop().set_exception_handler(lambda _, context: problems.append(context))
    calls = Calls(Eager(), converse, MESSAGE, LIMITS)
    buffer = memoryview(bytearray(1 << 18))
    wire = _Wire()
    link = _Link(calls, LIMITS, buffer, set())
    link.connection_made(wire)
    said, size = octets(dice)
    for at in range(0, len(said), size):
        if wire.is_closing():
            break
        piece = said[at : at + size]
        for start in range(0, len(piece), len(buffer)):
            part = piece[start : start + len(buffer)]
            link.get_buffer(-1)[: len(part)] = part
            link.buffer_updated(len(part))
        if dice.random() < 0.1:
            await asyncio.sleep(0)
        if dice.random() < 0.05:
            link.pause_writing()
            link.resume_writing()
        if calls.held > calls.most_held:
            # Who waits is told, and goes when the loop comes round.
            await asyncio.sleep(0.001)
            assert calls.held <= calls.most_held, "it holds more than it may"
    if dice.random() < 0.3:
        link.give_up("a test said so")
    link.connection_lost(None)
    gate.set()
    assert await calls.empty(MOST_SECONDS), "an exchange does not end"
    assert [talk.closed for talk in talks] == [1] * len(talks), "an exchange settles once"
    assert calls.held == 0
    assert not problems, problems
    await calls.eager.close()


# --- many of them


def play(seeds: Iterable[int]) -> list[tuple[int, str]]:
    """What failed: seeds, and in which way."""
    failed: list[tuple[int, str]] = []
    for seed in seeds:
        try:
            sequence(seed)
        except Exception as error:
            where = traceback.extract_tb(error.__traceback__)[-1]
            words = re.sub(r"\d+", "N", str(error))[:80]
            failed.append((seed, f"{type(error).__name__} at {where.name}: {words}"))
    return failed


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--count", type=int, default=1_000_000)
    parser.add_argument("--start", type=int, default=0, help="the first seed (default 0)")
    parser.add_argument("--processes", type=int, default=cpu_count() or 1)
    parser.add_argument("--seed", type=int, help="play this sequence only")
    args = parser.parse_args()
    if args.seed is not None:
        sequence(args.seed)
        return 0
    print(f"{args.count} sequences of frames, seeds from {args.start}", flush=True)
    begun = time.monotonic()
    block = 2000
    last = args.start + args.count
    blocks = [range(at, min(at + block, last)) for at in range(args.start, last, block)]
    found: Counter[str] = Counter()
    with ProcessPoolExecutor(args.processes) as pool:
        for failed in pool.map(play, blocks):
            for seed, kind in failed:
                found[kind] += 1
                if found[kind] == 1:
                    print(f"--- seed {seed}: {kind}", flush=True)
    rate = args.count / (time.monotonic() - begun)
    print(f"{args.count} sequences, {rate:.0f} a second, {found.total()} failures")
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
