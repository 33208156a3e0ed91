"""AWS event stream (`application/vnd.amazon.eventstream`): bytes in any pieces to frames, and back.

Takes what a stream brings, cut anywhere; gives `Frame`s, whose `raw` bytes,
joined, are the stream again. A frame, big-endian, is

    u32 total, u32 length of headers, u32 crc32(first 8), headers, payload, u32 crc32(all before)

and a header is `u8 length, name, u8 type, value`. It checks both sums and all
lengths, and never looks into a payload or knows what a header means. Source:
"Event stream encoding" of the Amazon Transcribe guide; limits as botocore keeps them.
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Mapping
from types import MappingProxyType
from typing import NamedTuple
from uuid import UUID

MAX_HEADERS = 128 * 1024
"""bytes of all headers of one frame"""
MAX_PAYLOAD = 24 * 1024 * 1024
"""bytes"""

_PRELUDE = struct.Struct(">III")
_U16 = struct.Struct(">H")
_U32 = struct.Struct(">I")
_TAIL = 4
_FRAME = _PRELUDE.size + _TAIL
"""bytes of a frame that has neither headers nor payload"""

_INTEGERS = {2: struct.Struct(">b"), 3: struct.Struct(">h"), 4: struct.Struct(">i")}
_I64 = struct.Struct(">q")

_REMEMBERED = 32
_SHORT = 512
"""A stream has a handful of different header blocks: that many are kept parsed, if no longer."""


class Timestamp(NamedTuple):
    """Milliseconds of Unix time: the wire holds values that no date can."""

    ms: int


HeaderValue = bool | int | bytes | str | Timestamp | UUID


class Frame(NamedTuple):
    """One message with its sums. `headers` are shared between frames, so they cannot be changed."""

    raw: bytes
    headers: Mapping[str, HeaderValue]
    payload: bytes


class BadEventStream(Exception):
    """The bytes are no event stream: wrong sum, lengths that lie, too large, unknown type, cut off."""


class EventStreamDecoder:
    """Cuts a stream into frames; linear in its length.

    Never raises: `error` is set at the first wrong frame, and nothing comes after it.
    Holds less than one frame, whose announced length is checked before it is awaited.
    """

    __slots__ = ("_max_headers", "_max_payload", "_need", "_parsed", "_pending", "error")

    def __init__(self, max_payload: int = MAX_PAYLOAD, max_headers: int = MAX_HEADERS) -> None:
        self._max_payload = max_payload
        self._max_headers = max_headers
        self._pending = bytearray()
        self._need = _PRELUDE.size
        self._parsed: dict[bytes, Mapping[str, HeaderValue]] = {}
        self.error: BadEventStream | None = None

    @property
    def pending(self) -> int:
        """How many bytes of an unfinished frame are held."""
        return len(self._pending)

    def feed(self, chunk: bytes) -> list[Frame]:
        """The frames that `chunk` completes. `chunk` itself is the `raw` of a frame that fills it."""
        if self.error is not None:
            return []
        if self._pending or len(chunk) < self._need:
            self._pending += chunk
            if len(self._pending) < self._need:
                return []
            chunk = bytes(self._pending)
            self._pending.clear()
        frames: list[Frame] = []
        try:
            start = self._frames(chunk, frames)
        except BadEventStream as error:
            self.error = error
            return frames
        self._pending += chunk[start:] if start else chunk
        return frames

    def close(self) -> None:
        """Says that the stream is over: a part of a frame left behind is an error."""
        if self._pending and self.error is None:
            self.error = BadEventStream(f"the stream ends {len(self._pending)} bytes into a frame")
        self._pending.clear()

    def _frames(self, data: bytes, frames: list[Frame]) -> int:
        """Adds every whole frame of `data`; gives where the unfinished one begins."""
        start = 0
        while len(data) - start >= _PRELUDE.size:
            total, headers = self._prelude(data, start)
            end = start + total
            if end > len(data):
                self._need = total
                return start
            raw = data[start:end]
            if zlib.crc32(memoryview(raw)[:-_TAIL]) != _U32.unpack_from(raw, total - _TAIL)[0]:
                raise BadEventStream("wrong checksum of a frame")
            split = _PRELUDE.size + headers
            block = raw[_PRELUDE.size : split]
            frames.append(Frame(raw, self._headers(block), raw[split:-_TAIL]))
            start = end
        self._need = _PRELUDE.size
        return start

    def _prelude(self, data: bytes, start: int) -> tuple[int, int]:
        """How long the frame is that begins at `start`, and how long its headers are."""
        total, headers, crc = _PRELUDE.unpack_from(data, start)
        if zlib.crc32(data[start : start + 8]) != crc:
            raise BadEventStream("wrong checksum of a frame's lengths")
        if headers > self._max_headers:
            raise BadEventStream(
                f"a frame has {headers} bytes of headers: {self._max_headers} are allowed"
            )
        payload = total - headers - _FRAME
        if payload < 0:
            raise BadEventStream(f"a frame of {total} bytes says that {headers} are headers")
        if payload > self._max_payload:
            raise BadEventStream(
                f"a frame has {payload} bytes of payload: {self._max_payload} are allowed"
            )
        return total, headers

    def _headers(self, block: bytes) -> Mapping[str, HeaderValue]:
        known = self._parsed.get(block)
        if known is None:
            known = MappingProxyType(read_headers(block))
            if len(block) <= _SHORT and len(self._parsed) < _REMEMBERED:
                self._parsed[block] = known
        return known


def read_headers(block: bytes) -> dict[str, HeaderValue]:
    """The headers of one frame. Raises `BadEventStream`."""
    headers: dict[str, HeaderValue] = {}
    at = 0
    try:
        while at < len(block):
            name_end = at + 1 + block[at]
            name = block[at + 1 : name_end].decode()
            if name in headers:
                raise BadEventStream("a header comes twice")
            headers[name], at = _value(block, block[name_end], name_end + 1)
    except (IndexError, struct.error):
        raise BadEventStream("a header is longer than the headers") from None
    except UnicodeDecodeError:
        raise BadEventStream("a header is not UTF-8") from None
    return headers


def _value(block: bytes, kind: int, at: int) -> tuple[HeaderValue, int]:
    """The value that begins at `at`, and where the next header begins."""
    match kind:
        case 0 | 1:
            return kind == 0, at
        case 2 | 3 | 4:
            form = _INTEGERS[kind]
            return form.unpack_from(block, at)[0], at + form.size
        case 5:
            return _I64.unpack_from(block, at)[0], at + 8
        case 6 | 7:
            start = at + 2
            end = start + _U16.unpack_from(block, at)[0]
            value = _piece(block, start, end)
            return (value if kind == 6 else value.decode()), end
        case 8:
            return Timestamp(_I64.unpack_from(block, at)[0]), at + 8
        case 9:
            return UUID(bytes=_piece(block, at, at + 16)), at + 16
        case _:
            raise BadEventStream(f"a header has the unknown type {kind}")


def _piece(block: bytes, start: int, end: int) -> bytes:
    if end > len(block):
        raise IndexError
    return block[start:end]


def write(headers: Mapping[str, HeaderValue], payload: bytes) -> bytes:
    """One frame. Numbers take the smallest type that holds them.

    Raises `BadEventStream` for a name over 255 bytes, a value over 65,535, a
    number over 64 bits, text that UTF-8 cannot hold, and what exceeds the limits of a frame.
    """
    try:
        block = b"".join([_header(name, value) for name, value in headers.items()])
    except (struct.error, UnicodeEncodeError):
        raise BadEventStream("a header is too long, its number too large, or not text") from None
    if len(block) > MAX_HEADERS or len(payload) > MAX_PAYLOAD:
        raise BadEventStream(f"too large: {len(block)} bytes of headers, {len(payload)} of payload")
    lengths = struct.pack(">II", len(block) + len(payload) + _FRAME, len(block))
    head = lengths + _U32.pack(zlib.crc32(lengths)) + block
    return b"".join((head, payload, _U32.pack(zlib.crc32(payload, zlib.crc32(head)))))


def _header(name: str, value: HeaderValue) -> bytes:
    coded = name.encode()
    return struct.pack(">B", len(coded)) + coded + _coded(value)


def _coded(value: HeaderValue) -> bytes:
    """Type and value."""
    match value:
        case bool():
            return b"\x00" if value else b"\x01"
        case str():
            text = value.encode()
            return b"\x07" + _U16.pack(len(text)) + text
        case bytes():
            return b"\x06" + _U16.pack(len(value)) + value
        case Timestamp():
            return b"\x08" + _I64.pack(value.ms)
        case UUID():
            return b"\x09" + value.bytes
        case int():
            for kind, form in _INTEGERS.items():
                if value.bit_length() < 8 * form.size:
                    return bytes((kind,)) + form.pack(value)
            return b"\x05" + _I64.pack(value)
