"""The other end of an HTTP/2 connection, by hand: a client's frames, and a reading of the server's."""

from __future__ import annotations

import asyncio
import struct
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path

from extproc.wire.frames import (
    ACK,
    END_HEADERS,
    END_STREAM,
    HEAD,
    HEAD_SIZE,
    PREFACE,
    Kind,
    frame,
)
from extproc.wire.hpack import Decoder, encode

PROCESS = "/envoy.service.ext_proc.v3.ExternalProcessor/Process"
CHECK = "/grpc.health.v1.Health/Check"
REQUEST = (
    (":method", "POST"),
    (":scheme", "http"),
    (":path", PROCESS),
    (":authority", "extproc"),
    ("te", "trailers"),
    ("content-type", "application/grpc"),
    ("x-sluice-call", "gw-1"),
    ("x-sluice-peer", "127.0.0.1"),
)
HELLO = PREFACE + frame(Kind.SETTINGS, 0, 0)
NO_TABLE = frame(Kind.SETTINGS, ACK, 0)


def request(
    stream: int = 1, *changes: tuple[str, str], end: bool = False, without: Iterable[str] = ()
) -> bytes:
    fields = {**dict(REQUEST), **dict(changes)}
    block = encode([(n, v) for n, v in fields.items() if n not in without])
    return headers(stream, block, end=end)


def first(stream: int, *changes: tuple[str, str], end: bool = False) -> bytes:
    """The first request after we agreed to no table begins by saying so."""
    octets = request(stream, *changes, end=end)
    length = int.from_bytes(octets[:3], "big") + 1
    return length.to_bytes(3, "big") + octets[3:9] + b"\x20" + octets[9:]


def headers(stream: int, block: bytes, *, end: bool = False, flags: int = END_HEADERS) -> bytes:
    return frame(Kind.HEADERS, flags | (END_STREAM if end else 0), stream, block)


def data(stream: int, payload: bytes, *, end: bool = False, flags: int = 0) -> bytes:
    return frame(Kind.DATA, flags | (END_STREAM if end else 0), stream, payload)


def reset(stream: int, code: int = 8) -> bytes:
    return frame(Kind.RST_STREAM, 0, stream, code.to_bytes(4, "big"))


def window(stream: int, size: int) -> bytes:
    return frame(Kind.WINDOW_UPDATE, 0, stream, size.to_bytes(4, "big"))


def settings(**values: int) -> bytes:
    """INITIAL_WINDOW_SIZE=0 and so on, by number: `s4=0`."""
    pairs = [struct.pack(">HL", int(key[1:]), value) for key, value in values.items()]
    return frame(Kind.SETTINGS, 0, 0, b"".join(pairs))


def ping(payload: bytes = b"12345678", *, ack: bool = False) -> bytes:
    return frame(Kind.PING, ACK if ack else 0, 0, payload)


def grpc(message: bytes, *, compressed: bool = False) -> bytes:
    return bytes([compressed]) + len(message).to_bytes(4, "big") + message


@dataclass(frozen=True)
class Frame:
    kind: Kind
    flags: int
    stream: int
    payload: bytes

    @property
    def code(self) -> int:
        """Of RST_STREAM and GOAWAY."""
        return int.from_bytes(
            self.payload[4:8] if self.kind is Kind.GOAWAY else self.payload, "big"
        )

    @property
    def ended(self) -> bool:
        return self.kind in (Kind.DATA, Kind.HEADERS) and bool(self.flags & END_STREAM)


def read(octets: bytes) -> tuple[list[Frame], bytes]:
    """Whole frames, and what is left."""
    found: list[Frame] = []
    at = 0
    while len(octets) - at >= HEAD_SIZE:
        high, low, kind, flags, stream = HEAD.unpack_from(octets, at)
        end = at + HEAD_SIZE + (high << 8 | low)
        if end > len(octets):
            break
        found.append(Frame(Kind(kind), flags, stream, octets[at + HEAD_SIZE : end]))
        at = end
    return found, octets[at:]


@dataclass
class Peer:
    """A raw connection to a server's socket. Every wait has a deadline."""

    reader: asyncio.StreamReader
    writer: asyncio.StreamWriter
    frames: list[Frame] = field(default_factory=list[Frame])
    rest: bytes = b""
    decoder: Decoder = field(default_factory=lambda: Decoder(1 << 16))

    @classmethod
    async def connect(cls, path: Path, hello: bytes = HELLO + NO_TABLE) -> Peer:
        reader, writer = await asyncio.open_unix_connection(str(path))
        writer.write(hello)
        return cls(reader, writer)

    def send(self, *octets: bytes) -> None:
        self.writer.write(b"".join(octets))

    async def until(self, kind: Kind, stream: int = 0, *, end: bool = False) -> Frame:
        """The next frame of this kind on this stream; what comes before it is dropped."""
        async with asyncio.timeout(10):
            while True:
                while self.frames:
                    one = self.frames.pop(0)
                    if one.kind is kind and one.stream == stream and (one.ended or not end):
                        return one
                await self._more()

    async def trailers(self, stream: int) -> dict[str, str]:
        """The last header block of a stream, as a dict; blocks before it are decoded, too."""
        found = await self.until(Kind.HEADERS, stream, end=True)
        return dict(self.decoder.decode(found.payload) or [])

    async def closed(self) -> list[Frame]:
        """Everything up to the end of the connection."""
        async with asyncio.timeout(10):
            while not self.reader.at_eof():
                await self._more()
        return self.frames

    async def _more(self) -> None:
        octets = await self.reader.read(1 << 16)
        if not octets and self.reader.at_eof():
            if self.frames:
                return
            raise EOFError("the server has closed the connection")
        found, self.rest = read(self.rest + octets)
        self.frames += found

    def close(self) -> None:
        self.writer.close()
