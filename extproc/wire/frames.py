"""The vocabulary of HTTP/2 (RFC 9113, sections 4, 6 and 7): frames, codes, errors, limits.

Writes frames; reads nothing and remembers nothing but what a `Meter` counts.
"""

from __future__ import annotations

import struct
from collections.abc import Callable
from dataclasses import dataclass
from enum import IntEnum

PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
HEAD = struct.Struct(">HBBBL")
"""length (high 16 bits, low 8), type, flags, stream"""
HEAD_SIZE = 9
MAX_FRAME = 16384
"""bytes of a frame's payload: the least that every peer accepts, and the most that we do"""
MAX_WINDOW = 2**31 - 1
DEFAULT_WINDOW = 65535
LAST_STREAM = 2**31 - 1


class Kind(IntEnum):
    DATA = 0
    HEADERS = 1
    PRIORITY = 2
    RST_STREAM = 3
    SETTINGS = 4
    PUSH_PROMISE = 5
    PING = 6
    GOAWAY = 7
    WINDOW_UPDATE = 8
    CONTINUATION = 9


END_STREAM = ACK = 0x1
END_HEADERS = 0x4
PADDED = 0x8
PRIORITY = 0x20


class Setting(IntEnum):
    HEADER_TABLE_SIZE = 1
    ENABLE_PUSH = 2
    MAX_CONCURRENT_STREAMS = 3
    INITIAL_WINDOW_SIZE = 4
    MAX_FRAME_SIZE = 5
    MAX_HEADER_LIST_SIZE = 6


class Code(IntEnum):
    NO_ERROR = 0
    PROTOCOL_ERROR = 1
    INTERNAL_ERROR = 2
    FLOW_CONTROL_ERROR = 3
    STREAM_CLOSED = 5
    FRAME_SIZE_ERROR = 6
    REFUSED_STREAM = 7
    CANCEL = 8
    COMPRESSION_ERROR = 9
    ENHANCE_YOUR_CALM = 11


class PeerError(Exception):
    """The peer broke the protocol, and its connection ends.

    PeerError
    +-- BadFrame          a frame where or as it may not be
    +-- BadSize           a frame of a wrong size
    +-- BadWindow         more data than a window allows, or a window beyond 2^31-1
    +-- BadHeaders        a header block that cannot be decoded
    +-- TooMuch           within the protocol, but past our patience
    """

    code = Code.PROTOCOL_ERROR


class BadFrame(PeerError):
    pass


class BadSize(PeerError):
    code = Code.FRAME_SIZE_ERROR


class BadWindow(PeerError):
    code = Code.FLOW_CONTROL_ERROR


class BadHeaders(PeerError):
    code = Code.COMPRESSION_ERROR


class TooMuch(PeerError):
    code = Code.ENHANCE_YOUR_CALM


@dataclass(frozen=True, slots=True)
class Limits:
    """What one peer may cost us. Sizes in bytes; the counts hold for `METER_SECONDS`."""

    streams: int = 8192
    header_list: int = 64 << 10
    """of a decoded header list; a block in its encoded form has the same limit"""
    stream_window: int = 256 << 10
    connection_window: int = 16 << 20
    idle_frames: int = 50_000
    """frames that bring nothing: PING, SETTINGS, WINDOW_UPDATE, empty DATA, late and unknown ones"""
    held: int = 256 << 20
    """of messages that are not complete or not answered yet, in all connections of a server"""
    vain_streams: int = 10_000
    """streams that came to nothing: reset before any answer, malformed, over the limit"""


METER_SECONDS = 10.0


class Meter:
    """So many in a period, then TooMuch. Looks at the clock only when the count is used up."""

    __slots__ = ("_clock", "_left", "_limit", "_since", "_what")

    def __init__(self, limit: int, what: str, clock: Callable[[], float]) -> None:
        self._limit = self._left = limit
        self._what = what
        self._clock = clock
        self._since = clock()

    def spend(self, cost: int = 1) -> None:
        """Raises TooMuch."""
        self._left -= cost
        if self._left >= 0:
            return
        now = self._clock()
        if now - self._since < METER_SECONDS:
            raise TooMuch(f"more than {self._limit} {self._what} in {METER_SECONDS:g} seconds")
        self._since, self._left = now, self._limit - cost


def frame(kind: Kind, flags: int, stream: int, payload: bytes = b"") -> bytes:
    size = len(payload)
    return HEAD.pack(size >> 8, size & 0xFF, kind, flags, stream) + payload


def settings(limits: Limits) -> bytes:
    """Ours. A table of 0: the peer's header blocks are literals once it knows (RFC 7541, 4.2)."""
    values = {
        Setting.HEADER_TABLE_SIZE: 0,
        Setting.MAX_CONCURRENT_STREAMS: limits.streams,
        Setting.INITIAL_WINDOW_SIZE: limits.stream_window,
        Setting.MAX_HEADER_LIST_SIZE: limits.header_list,
    }
    payload = b"".join(struct.pack(">HL", key, value) for key, value in values.items())
    return frame(Kind.SETTINGS, 0, 0, payload)


def window_update(stream: int, size: int) -> bytes:
    return frame(Kind.WINDOW_UPDATE, 0, stream, size.to_bytes(4, "big"))


def rst_stream(stream: int, code: Code) -> bytes:
    return frame(Kind.RST_STREAM, 0, stream, code.to_bytes(4, "big"))


def goaway(last: int, code: Code, why: str = "") -> bytes:
    payload = struct.pack(">LL", last, code) + why.encode("utf-8", "replace")
    return frame(Kind.GOAWAY, 0, 0, payload)


def headers(stream: int, block: bytes, *, end: bool) -> bytes:
    """`block` is at most MAX_FRAME bytes: ours are short."""
    return frame(Kind.HEADERS, END_HEADERS | (END_STREAM if end else 0), stream, block)


def unpadded(payload: bytes) -> bytes:
    """6.1: the first byte says how much at the end is padding."""
    if not payload:
        raise BadSize("a padded frame without its padding's length")
    padding = payload[0]
    if padding >= len(payload):
        raise BadFrame("more padding than frame")
    return payload[1 : len(payload) - padding]
