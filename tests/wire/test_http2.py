"""The HTTP/2 core as a dialogue: bytes in, events and frames out. Its limits: `test_http2_limits.py`."""

from __future__ import annotations

import struct
from collections.abc import Sequence
from itertools import pairwise

import h2.config
import h2.connection
import h2.events
import pytest
from hypothesis import given
from hypothesis import settings as tuned
from hypothesis import strategies as st

from extproc.wire import frames
from extproc.wire.frames import (
    END_HEADERS,
    PADDED,
    PRIORITY,
    BadSize,
    BadWindow,
    Code,
    Kind,
    Limits,
)
from extproc.wire.hpack import encode
from extproc.wire.http2 import Connection, Data, Event, Failed, Request, Reset, Sendable
from tests.kit import FakeClock
from tests.wire.h2peer import (
    HELLO,
    NO_TABLE,
    REQUEST,
    Frame,
    data,
    headers,
    ping,
    read,
    request,
    reset,
    settings,
    window,
)
from tests.wire.h2served import REPLY, SMALL, TRAILERS, Server


def kinds(found: Sequence[Frame]) -> list[tuple[Kind, int]]:
    return [(one.kind, one.stream) for one in found]


# --- the ordinary ---


def test_what_we_say_first() -> None:
    connection = Connection(Limits(), FakeClock().monotonic)
    first, second = read(connection.take())[0]
    assert (first.kind, first.flags) == (Kind.SETTINGS, 0)
    assert dict(struct.iter_unpack(">HL", first.payload)) == {
        1: 0,
        3: 8192,
        4: 256 << 10,
        6: 64 << 10,
    }
    assert (second.kind, second.stream) == (Kind.WINDOW_UPDATE, 0)


def test_an_exchange() -> None:
    server = Server()
    server.wrote()
    assert server.tell(request(3), data(3, b"abc")) == [
        Request(3, dict(REQUEST), False),
        Data(3, b"abc", False),
    ]
    server.connection.begin(3, REPLY)
    assert server.connection.send(3, b"answer")
    assert server.tell(data(3, b"", end=True)) == [Data(3, b"", True)]
    server.connection.finish(3, TRAILERS)
    assert [(f.kind, f.payload, f.ended) for f in server.wrote()] == [
        (Kind.HEADERS, REPLY, False),
        (Kind.DATA, b"answer", False),
        (Kind.HEADERS, TRAILERS, True),
    ]
    assert server.connection.streams == 0


def test_a_client_that_has_not_ended_is_told_that_nobody_reads_on() -> None:
    server = Server(SMALL, request(3))
    server.wrote()
    server.connection.finish(3, REPLY)
    assert [(f.kind, f.flags) for f in server.wrote()] == [
        (Kind.HEADERS, 5),
        (Kind.RST_STREAM, 0),
    ]
    assert server.tell(data(3, b"late")) == []


def test_trailers_of_the_client_end_its_half() -> None:
    server = Server(SMALL, request(3))
    assert server.tell(headers(3, encode([("a", "b")]), end=True)) == [Data(3, b"", True)]


def test_padding_and_priority_are_taken_off() -> None:
    server = Server()
    block = encode(REQUEST)
    padded = headers(
        3,
        b"\x03" + b"\0\0\0\0\x10" + block + b"\0\0\0",
        flags=END_HEADERS | PADDED | PRIORITY,
    )
    assert server.tell(padded) == [Request(3, dict(REQUEST), False)]
    assert server.tell(data(3, b"\x04abc\0\0\0\0", flags=PADDED)) == [Data(3, b"abc", False)]


def test_a_header_block_in_pieces() -> None:
    server = Server()
    block = encode(REQUEST)
    pieces = [
        headers(3, block[:10], flags=0),
        frames.frame(Kind.CONTINUATION, 0, 3, block[10:20]),
        frames.frame(Kind.CONTINUATION, END_HEADERS, 3, block[20:]),
    ]
    assert server.tell(*pieces) == [Request(3, dict(REQUEST), False)]


def test_ping_and_settings_are_acknowledged() -> None:
    server = Server()
    server.wrote()
    server.tell(ping(b"abcdefgh"), settings(s3=1), ping(ack=True))
    assert [(f.kind, f.flags, f.payload) for f in server.wrote()] == [
        (Kind.PING, 1, b"abcdefgh"),
        (Kind.SETTINGS, 1, b""),
    ]


def test_priority_and_unknown_frames_are_ignored() -> None:
    server = Server()
    server.wrote()
    unknown = frames.HEAD.pack(0, 3, 0x42, 0xFF, 7) + b"abc"
    assert server.tell(frames.frame(Kind.PRIORITY, 0, 9, b"\0" * 5), unknown) == []
    assert server.wrote() == []


def conversation() -> bytes:
    block = encode(REQUEST)
    return b"".join(
        [
            HELLO,
            NO_TABLE,
            headers(1, b"\x20" + block),
            data(1, b"x" * 300),
            headers(3, block[:7], flags=0),
            frames.frame(Kind.CONTINUATION, END_HEADERS, 3, block[7:]),
            ping(),
            data(3, b"\x02yy\0\0", flags=PADDED),
            reset(1),
            window(3, 10),
            data(3, b"z", end=True),
            frames.frame(Kind.PUSH_PROMISE, 0, 3),
        ]
    )


@tuned(max_examples=60)
@given(st.lists(st.integers(1, 900), max_size=12))
def test_any_split_gives_the_same_events(cuts: list[int]) -> None:
    octets = conversation()
    whole = Connection(SMALL, FakeClock().monotonic)
    cut = Connection(SMALL, FakeClock().monotonic)
    expected = whole.receive(octets)
    at = [0, *sorted(c for c in cuts if c < len(octets)), len(octets)]
    got = [e for a, b in pairwise(at) for e in cut.receive(octets[a:b])]
    assert got[:-1] == expected[:-1]
    assert isinstance(got[-1], Failed)
    assert cut.take() == whole.take()


def test_byte_by_byte() -> None:
    octets = conversation()
    whole, cut = (Connection(SMALL, FakeClock().monotonic) for _ in range(2))
    got = [e for i in range(len(octets)) for e in cut.receive(octets[i : i + 1])]
    assert got[:-1] == whole.receive(octets)[:-1]


# --- flow control, both ways ---


def test_our_data_keeps_to_the_streams_window() -> None:
    server = Server(SMALL, settings(s4=10), request(3))
    server.wrote()
    assert not server.connection.send(3, b"0123456789abcdef")
    assert [f.payload for f in server.wrote()] == [b"0123456789"]
    assert server.tell(window(3, 2)) == []
    assert [f.payload for f in server.wrote()] == [b"ab"]
    assert server.tell(window(3, 100)) == [Sendable(3)]
    assert [f.payload for f in server.wrote()] == [b"cdef"]


def test_trailers_wait_for_the_data_before_them() -> None:
    server = Server(SMALL, settings(s4=3), request(3, end=True))
    server.wrote()
    server.connection.send(3, b"abcdef")
    server.connection.finish(3, TRAILERS)
    assert kinds(server.wrote()) == [(Kind.DATA, 3)]
    assert server.tell(window(3, 3)) == []
    assert [(f.kind, f.ended) for f in server.wrote()] == [(Kind.DATA, False), (Kind.HEADERS, True)]
    assert server.connection.streams == 0


def test_our_data_keeps_to_the_connections_window_and_streams_take_turns() -> None:
    server = Server(SMALL, settings(s4=1 << 20), request(3), request(5))
    server.wrote()
    assert not server.connection.send(3, b"x" * 65_540)
    assert not server.connection.send(5, b"y" * 10)
    assert sum(len(f.payload) for f in server.wrote()) == 65_535
    assert server.tell(window(0, 7)) == [Sendable(3)]
    assert [(f.stream, len(f.payload)) for f in server.wrote()] == [(3, 5), (5, 2)]
    assert server.tell(window(0, 8)) == [Sendable(5)]


def test_a_window_may_fall_below_zero() -> None:
    """6.9.2."""
    server = Server(SMALL, settings(s4=10), request(3))
    assert server.connection.send(3, b"x" * 10)
    server.tell(settings(s4=0))
    assert not server.connection.send(3, b"abc")
    server.tell(window(3, 10))
    server.wrote()
    assert server.tell(settings(s4=3)) == [Sendable(3)]
    assert [f.payload for f in server.wrote() if f.kind is Kind.DATA] == [b"abc"]


def test_large_answers_leave_in_frames_that_everybody_accepts() -> None:
    server = Server(SMALL, settings(s4=1 << 20), window(0, 1 << 20), request(3))
    server.wrote()
    assert server.connection.send(3, bytes(100_000))
    assert [len(f.payload) for f in server.wrote()] == [16384] * 6 + [1696]


def test_credit_comes_when_data_is_consumed() -> None:
    server = Server(SMALL, request(3), data(3, b"x" * 600))
    server.wrote()
    server.connection.consumed(3, 400)
    assert server.wrote() == []
    server.connection.consumed(3, 200)
    (update,) = server.wrote()
    assert (update.kind, update.stream, update.code) == (Kind.WINDOW_UPDATE, 3, 600)
    assert server.tell(data(3, b"x" * 1000)) != []


def test_the_connections_credit_does_not_wait_for_a_slow_stream() -> None:
    server = Server(Limits(stream_window=1 << 20, connection_window=70_000), request(3))
    server.wrote()
    for _ in range(20):
        server.tell(data(3, bytes(16_000)))
    given = sum(f.code for f in server.wrote() if f.kind is Kind.WINDOW_UPDATE and not f.stream)
    assert given >= 20 * 16_000 - 70_000


def test_more_data_than_a_window_allows() -> None:
    assert isinstance(Server(SMALL, request(3)).failure(data(3, bytes(1001))), BadWindow)
    limits = Limits(connection_window=65_536, stream_window=1 << 20)
    server = Server(limits, request(3))
    half = [data(3, bytes(16_384))] * 2
    assert isinstance(server.failure(*half, data(3, bytes(16_385))), BadSize)


@pytest.mark.parametrize("size", [0, 2**31 - 1])
def test_window_games_on_a_stream_end_the_stream(size: int) -> None:
    server = Server(SMALL, request(3))
    server.wrote()
    assert server.tell(window(3, size)) == [Reset(3)]
    assert kinds(server.wrote()) == [(Kind.RST_STREAM, 3)]


# --- leaving ---


def test_drain_serves_what_is_on_its_way_and_nothing_after() -> None:
    server = Server(SMALL, request(3))
    server.wrote()
    server.connection.drain()
    first, asked = server.wrote()
    assert (first.kind, int.from_bytes(first.payload[:4], "big")) == (Kind.GOAWAY, 2**31 - 1)
    assert len(server.tell(request(5))) == 1
    server.tell(ping(asked.payload, ack=True))
    (second,) = server.wrote()
    assert (second.kind, int.from_bytes(second.payload[:4], "big")) == (Kind.GOAWAY, 5)
    assert server.tell(request(7), data(7, b"x"), reset(7)) == []
    assert server.tell(data(3, b"x")) == [Data(3, b"x", False)]
    server.connection.close()
    (last,) = server.wrote()
    assert (last.code, int.from_bytes(last.payload[:4], "big")) == (Code.NO_ERROR, 5)


def test_a_stream_that_is_gone_takes_answers_in_silence() -> None:
    server = Server(SMALL, request(3), reset(3))
    server.wrote()
    server.connection.begin(3, REPLY)
    assert server.connection.send(3, b"x")
    server.connection.consumed(3, 5)
    server.connection.finish(3, TRAILERS)
    assert server.wrote() == []


# --- another implementation ---


def test_h2_talks_to_it() -> None:
    client = h2.connection.H2Connection(h2.config.H2Configuration(header_encoding="utf-8"))
    client.initiate_connection()
    server = Connection(Limits(), FakeClock().monotonic)
    got: list[Event] = []
    heard: list[h2.events.Event] = []

    def exchange() -> None:
        while octets := client.data_to_send():
            got.extend(server.receive(octets))
            for event in client.receive_data(server.take()):
                heard.append(event)
                if isinstance(event, h2.events.DataReceived):
                    size = event.flow_controlled_length
                    client.acknowledge_received_data(size, event.stream_id)

    client.send_headers(1, REQUEST)  # before it knows that there is no table
    exchange()
    for stream in (3, 5):
        client.send_headers(stream, REQUEST)
        client.send_data(stream, b"x" * 16_000)
        exchange()
        server.begin(stream, REPLY)
        server.send(stream, b"y" * 100_000)
        server.finish(stream, TRAILERS)
        client.ping(bytes(8))
        exchange()
    assert [e.stream for e in got if isinstance(e, Request)] == [1, 3, 5]
    size = sum(len(e.data) for e in heard if isinstance(e, h2.events.DataReceived))
    assert size == 200_000
    ended = [e.stream_id for e in heard if isinstance(e, h2.events.StreamEnded)]
    assert ended == [3, 5]
    assert server.failed is None
