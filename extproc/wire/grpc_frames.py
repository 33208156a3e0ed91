"""gRPC over HTTP/2, the parts that are only bytes: messages, status, deadlines, header blocks.

Follows the project's PROTOCOL-HTTP2 document. Knows no streams and no messages' content.
"""

from __future__ import annotations

import re
import struct
from enum import IntEnum
from functools import lru_cache

from extproc.wire.hpack import encode

_PREFIX = struct.Struct(">BL")
"""compressed or not, length"""
_EMPTY = b""
_TIMEOUT = re.compile(r"(\d{1,8})([HMSmun])")
_UNITS = {"H": 3600.0, "M": 60.0, "S": 1.0, "m": 1e-3, "u": 1e-6, "n": 1e-9}
_DETAILS = 1024
"""characters of a status message that are sent: it must fit into one small frame"""


class Status(IntEnum):
    OK = 0
    DEADLINE_EXCEEDED = 4
    RESOURCE_EXHAUSTED = 8
    UNIMPLEMENTED = 12
    INTERNAL = 13
    UNAVAILABLE = 14


class BadMessage(Exception):
    """A message that is not taken. `status` says why to the client."""

    def __init__(self, status: Status, why: str) -> None:
        super().__init__(why)
        self.status = status


class Messages:
    """Bytes of a stream in, however they are cut; its messages out, one by one."""

    __slots__ = ("_at", "_data", "_limit", "held")

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._data: bytes | bytearray = _EMPTY
        self._at = 0
        self.held = 0
        """bytes that are not given out yet"""

    def feed(self, data: bytes) -> None:
        self.held += len(data)
        if not self._data:
            self._data = data
            return
        if self._at or isinstance(self._data, bytes):
            self._data = bytearray(memoryview(self._data)[self._at :])
            self._at = 0
        self._data += data

    def next(self) -> bytes | None:
        """The next message, when it is complete. Raises BadMessage, before its bytes are there."""
        if self.held < _PREFIX.size:
            return None
        data, at = self._data, self._at
        compressed, length = _PREFIX.unpack_from(data, at)
        if compressed:
            raise BadMessage(Status.UNIMPLEMENTED, "compressed messages are not supported")
        if length > self._limit:
            raise BadMessage(
                Status.RESOURCE_EXHAUSTED,
                f"a message of {length} bytes; the limit is {self._limit}",
            )
        left = self.held - _PREFIX.size - length
        if left < 0:
            return None
        self.held = left
        start = at + _PREFIX.size
        end = start + length
        if left:
            self._at = end
        else:
            self._data, self._at = _EMPTY, 0
        return (
            bytes(memoryview(data)[start:end]) if isinstance(data, bytearray) else data[start:end]
        )


def message(data: bytes) -> bytes:
    """One message, uncompressed, with its prefix."""
    return _PREFIX.pack(0, len(data)) + data


def seconds(timeout: str) -> float | None:
    """The value of `grpc-timeout`; None when there is none that can be read."""
    found = _TIMEOUT.fullmatch(timeout)
    return None if found is None else int(found[1]) * _UNITS[found[2]]


REPLY = encode([(":status", "200"), ("content-type", "application/grpc")])
"""the header block of every reply that has a message"""
ENDED_OK = encode([("grpc-status", "0")])
NOT_GRPC = encode([(":status", "415")])


@lru_cache(maxsize=64)
def trailers(status: Status, details: str) -> bytes:
    """The last header block of a reply that has begun."""
    return encode([("grpc-status", str(status.value)), ("grpc-message", _escaped(details))])


def trailers_only(status: Status, details: str) -> bytes:
    """The only header block of a reply without messages."""
    return REPLY + trailers(status, details)


def ending(status: Status, details: str, *, begun: bool) -> bytes:
    """The last header block of a reply, or the only one where it has not `begun`."""
    if status is not Status.OK:
        return trailers(status, details) if begun else trailers_only(status, details)
    return ENDED_OK if begun else REPLY + ENDED_OK


def _escaped(details: str) -> str:
    """Percent-encoded as `grpc-message` must be: printable ASCII stays, but for `%`."""
    raw = details[:_DETAILS].encode("utf-8", "replace")
    return "".join(chr(b) if 0x20 <= b <= 0x7E and b != 0x25 else f"%{b:02X}" for b in raw)
