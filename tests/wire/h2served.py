"""A connection of ours that has been greeted, for what a peer may tell it."""

from __future__ import annotations

from extproc.wire.frames import (
    Kind,
    Limits,
    PeerError,
)
from extproc.wire.hpack import encode
from extproc.wire.http2 import Connection, Event, Failed
from tests.kit import FakeClock
from tests.wire.h2peer import (
    HELLO,
    NO_TABLE,
    REQUEST,
    Frame,
    headers,
    ping,
    read,
    reset,
)

REPLY = encode([(":status", "200")])
TRAILERS = encode([("grpc-status", "0")])
SMALL = Limits(
    streams=4,
    header_list=2000,
    stream_window=1000,
    connection_window=70_000,
    idle_frames=50,
    vain_streams=10,
)


class Server:
    """A connection that has been greeted."""

    def __init__(self, limits: Limits = SMALL, *octets: bytes) -> None:
        self.clock = FakeClock()
        self.connection = Connection(limits, self.clock.monotonic)
        self.tell(HELLO, NO_TABLE, request_block_without_table())
        self.tell(*octets)

    def tell(self, *octets: bytes) -> list[Event]:
        return self.connection.receive(b"".join(octets))

    def wrote(self) -> list[Frame]:
        found, rest = read(self.connection.take())
        assert rest == b""
        return found

    def failure(self, *octets: bytes) -> PeerError:
        """The error that these bytes end the connection with, said to the peer, too."""
        events = self.tell(*octets)
        assert isinstance(events[-1], Failed)
        error = events[-1].error
        last = self.wrote()[-1]
        assert (last.kind, last.code) == (Kind.GOAWAY, error.code)
        assert self.tell(ping()) == []
        assert self.connection.take() == b""
        return error


def request_block_without_table() -> bytes:
    """The peer keeps its word (RFC 9113, 4.3.1) in a block that is a request like any other."""
    return headers(1, b"\x20" + encode(REQUEST), end=True) + reset(1)
