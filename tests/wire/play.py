"""One script for both servers: streams as HTTP/2 frames by hand, cut, joined and interleaved.

A `Line` says what one stream does; `play` plays several at once on one connection
and gives what each of them heard. Nothing in it depends on who is quicker: a line
that waits for an answer has it, or the stream's end, before it goes on.
"""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import struct
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path

import hpack

from extproc.wire.frames import END_HEADERS, END_STREAM, Kind, frame
from extproc.wire.hpack import encode
from extproc.wire.processor import HEALTH_METHOD, HEALTH_SERVICE
from tests.wire.h2peer import HELLO, NO_TABLE, PROCESS, REQUEST, Frame, grpc, read
from tests.wire.said import MESSAGES, STUCK

CHECK = f"/{HEALTH_SERVICE}/{HEALTH_METHOD}"
_PATIENCE = 6.0
_WINDOW = 1 << 30
"""the windows that the player gives: both servers may always send"""
_COMPARED = (":status", "content-type", "grpc-status", "grpc-message")


class End(StrEnum):
    """What a line does after its messages."""

    HALF = "half"
    """an empty last frame"""
    JOINED = "joined"
    """the last frame of the messages is the last one"""
    TRAILERS = "trailers"
    INSIDE = "inside"
    """half-closed within a message"""
    TOO_LARGE = "too large"
    """a message that says it is larger than any may be"""
    RESET = "reset"
    RESET_INSIDE = "reset inside"
    LEAVE = "leave"
    """the stream stays open, and the connection goes"""
    STAY = "stay"
    """it waits until the server ends it"""
    DEADLINE = "deadline"
    """it waits until its time is over"""


@dataclass(frozen=True)
class Line:
    """One stream. `says` are names of `MESSAGES`; `cuts` say where their bytes are cut into frames."""

    says: tuple[str, ...]
    end: End = End.HALF
    turns: bool = True
    """each message waits for the answer to the one before; else they follow at once, joined"""
    cuts: tuple[int, ...] = ()
    timeout: str = ""
    """of `grpc-timeout`"""
    path: str = PROCESS

    @property
    def answerable(self) -> int:
        """How many of its messages can have an answer: those before one that is stuck."""
        return self.says.index(STUCK) if STUCK in self.says else len(self.says)


@dataclass
class Heard:
    """What came of one stream, so far. `said` is the last word: header blocks and a reset."""

    data: bytes = b""
    said: dict[str, str] = field(default_factory=dict[str, str])
    ended: bool = False

    @property
    def replies(self) -> tuple[bytes, ...]:
        return tuple(_messages(self.data))

    def note(self, one: Frame, decoder: hpack.Decoder) -> None:
        match one.kind:
            case Kind.DATA:
                self.data += one.payload
            case Kind.HEADERS:
                block = one.payload[5:] if one.flags & 0x20 else one.payload
                fields = dict(decoder.decode(block))
                self.said |= {name: fields[name] for name in _COMPARED if name in fields}
            case Kind.RST_STREAM if not self.ended:
                self.said["reset"] = str(one.code)
            case _:
                return
        self.ended |= one.ended or one.kind is Kind.RST_STREAM


def _messages(data: bytes) -> Iterator[bytes]:
    """Whole ones. Raises AssertionError where the server compresses, which nobody asked for."""
    at = 0
    while len(data) - at >= 5:
        compressed, size = struct.unpack_from(">BL", data, at)
        assert not compressed
        if len(data) - at < 5 + size:
            return
        yield data[at + 5 : at + 5 + size]
        at += 5 + size


@dataclass(frozen=True)
class Wait:
    """Until so many answers have come, or the stream has ended."""

    answers: int


def steps(line: Line, stream: int, call_id: str) -> Iterator[bytes | Wait]:
    """What a line does, one thing after the other: bytes to send, and answers to wait for."""
    more = {"x-sluice-call": call_id, ":path": line.path}
    if line.timeout:
        more["grpc-timeout"] = line.timeout
    yield frame(Kind.HEADERS, END_HEADERS, stream, encode(list({**dict(REQUEST), **more}.items())))
    octets = [grpc(MESSAGES[name]) for name in line.says]
    if not line.turns:
        octets = [b"".join(octets)] if octets else []
    for number, one in enumerate(octets, 1):
        last = number == len(octets) and line.end is End.JOINED
        yield from _cut(one, line, stream, end=last)
        if line.turns and not last:
            yield Wait(min(number, line.answerable))
    match line.end:
        case End.HALF:
            yield frame(Kind.DATA, END_STREAM, stream)
        case End.JOINED:
            if not octets:
                yield frame(Kind.DATA, END_STREAM, stream)
        case End.TRAILERS:
            block = encode([("x-trailer", "1")])
            yield frame(Kind.HEADERS, END_HEADERS | END_STREAM, stream, block)
        case End.INSIDE:
            yield Wait(line.answerable)
            yield frame(Kind.DATA, END_STREAM, stream, grpc(b"half")[:-1])
        case End.TOO_LARGE:
            yield Wait(line.answerable)
            yield frame(Kind.DATA, 0, stream, b"\0" + (1 << 28).to_bytes(4, "big") + b"x")
        case End.RESET:
            yield Wait(line.answerable)
            yield frame(Kind.RST_STREAM, 0, stream, b"\0\0\0\x08")
        case End.RESET_INSIDE:
            yield Wait(line.answerable)
            yield frame(Kind.DATA, 0, stream, grpc(b"half")[:-1])
            yield frame(Kind.RST_STREAM, 0, stream, b"\0\0\0\x08")
        case End.LEAVE | End.STAY | End.DEADLINE:
            yield Wait(line.answerable)
    if line.end not in (End.RESET, End.RESET_INSIDE, End.LEAVE):
        yield Wait(1 << 30)


def _cut(octets: bytes, line: Line, stream: int, *, end: bool) -> Iterator[bytes]:
    inner = {cut % len(octets) for cut in line.cuts}
    edges = sorted({0, *inner, *range(0, len(octets), 16_000), len(octets)})
    for a, b in itertools.pairwise(edges):
        flags = END_STREAM if end and b == len(octets) else 0
        yield frame(Kind.DATA, flags, stream, octets[a:b])


class _Player:
    """A connection, and what its streams have heard."""

    def __init__(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, pieces: Sequence[int]
    ) -> None:
        self._reader, self._writer = reader, writer
        self._pieces = itertools.cycle(pieces or (1 << 20,))
        self._rest = b""
        self._decoder = hpack.Decoder()
        self._unsent = bytearray()
        self.heard: dict[int, Heard] = {}

    def send(self, octets: bytes) -> None:
        self._unsent += octets

    async def flush(self) -> None:
        """Writes what there is, in pieces that follow no frame."""
        while self._unsent:
            size = next(self._pieces)
            self._writer.write(self._unsent[:size])
            del self._unsent[:size]
            await asyncio.sleep(0)

    async def wait(self, stream: int, answers: int) -> None:
        await self.flush()
        heard = self.heard[stream]
        while not heard.ended and len(heard.replies) < answers:
            octets = await self._reader.read(1 << 16)
            if not octets:
                raise EOFError("the server has closed the connection")
            found, self._rest = read(self._rest + octets)
            for one in found:
                self._note(one)

    def _note(self, one: Frame) -> None:
        assert one.kind is not Kind.GOAWAY or one.code == 0, one
        if one.kind is Kind.PING and not one.flags:
            self._writer.write(frame(Kind.PING, 1, 0, one.payload))
        elif one.stream in self.heard:
            self.heard[one.stream].note(one, self._decoder)


async def play(
    socket: Path, lines: Sequence[Line], order: Sequence[int], pieces: Sequence[int], name: str
) -> list[Heard]:
    """All lines on one new connection. `order` says whose turn it is; then all go round.

    The call ids are `name/0`, `name/1` ...
    """
    reader, writer = await asyncio.open_unix_connection(str(socket))
    player = _Player(reader, writer, pieces)
    window = struct.pack(">HL", 4, _WINDOW)
    player.send(HELLO + frame(Kind.SETTINGS, 0, 0, window) + NO_TABLE)
    player.send(frame(Kind.WINDOW_UPDATE, 0, 0, _WINDOW.to_bytes(4, "big")))
    running: list[tuple[int, Iterator[bytes | Wait]]] = []
    for i, line in enumerate(lines):
        stream = 2 * i + 1
        player.heard[stream] = Heard()
        running.append((stream, steps(line, stream, f"{name}/{i}")))
    # Streams begin in the order of their ids; the first says that there is no table any more.
    for stream, todo in running:
        opening = next(todo)
        assert isinstance(opening, bytes)
        player.send(_without_table(opening) if stream == 1 else opening)
    try:
        async with asyncio.timeout(_PATIENCE):
            turns = itertools.chain(order, itertools.cycle([0, 1, 2, 3, 4, 5, 6, 7]))
            while running:
                at = next(turns) % len(running)
                stream, todo = running[at]
                step = next(todo, None)
                if isinstance(step, Wait):
                    await player.wait(stream, step.answers)
                    continue
                if step is None or player.heard[stream].ended:
                    del running[at]
                else:
                    player.send(step)
            await player.flush()
    finally:
        writer.close()
        with contextlib.suppress(OSError):
            await writer.wait_closed()
    return list(player.heard.values())


def _without_table(headers: bytes) -> bytes:
    length = int.from_bytes(headers[:3], "big") + 1
    return length.to_bytes(3, "big") + headers[3:9] + b"\x20" + headers[9:]
