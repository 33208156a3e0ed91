"""The HTTP/2 core as a dialogue: bytes in, events and frames out; and every limit with its attacker."""

from __future__ import annotations

import struct
from collections.abc import Callable, Sequence
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
    PREFACE,
    PRIORITY,
    BadFrame,
    BadHeaders,
    BadSize,
    BadWindow,
    Code,
    Kind,
    Limits,
    PeerError,
    TooMuch,
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


# --- what a peer may not do ---

BAD: list[tuple[str, bytes, type[PeerError]]] = [
    ("even stream", request(2), BadFrame),
    ("stream 0", request(0), BadFrame),
    ("data on an idle stream", data(9, b"x"), BadFrame),
    ("data on stream 0", data(0, b"x"), BadFrame),
    ("reset of an idle stream", reset(9), BadFrame),
    ("window of an idle stream", window(9, 1), BadFrame),
    ("push", frames.frame(Kind.PUSH_PROMISE, 4, 3), BadFrame),
    ("settings on a stream", frames.frame(Kind.SETTINGS, 0, 3), BadFrame),
    ("settings of 5 bytes", frames.frame(Kind.SETTINGS, 0, 0, b"12345"), BadSize),
    ("acknowledgement with settings", frames.frame(Kind.SETTINGS, 1, 0, b"\0" * 6), BadSize),
    ("push setting", settings(s2=2), BadFrame),
    ("initial window", settings(s4=1 << 31), BadWindow),
    ("small frame size", settings(s5=16_383), BadFrame),
    ("large frame size", settings(s5=1 << 24), BadFrame),
    ("ping on a stream", frames.frame(Kind.PING, 0, 3, b"12345678"), BadFrame),
    ("short ping", ping(b"1"), BadSize),
    ("short reset", frames.frame(Kind.RST_STREAM, 0, 3, b"1"), BadSize),
    ("short window update", frames.frame(Kind.WINDOW_UPDATE, 0, 0, b"1"), BadSize),
    ("window by nothing", window(0, 0), BadFrame),
    ("window too large", window(0, 2**31 - 1), BadWindow),
    ("continuation of nothing", frames.frame(Kind.CONTINUATION, 4, 3), BadFrame),
    ("frame inside a block", headers(3, b"\x82", flags=0) + ping(), BadFrame),
    (
        "continuation of another",
        headers(3, b"\x82", flags=0) + frames.frame(Kind.CONTINUATION, 4, 5),
        BadFrame,
    ),
    ("bad block", headers(3, b"\x80"), BadHeaders),
    ("dynamic table", headers(3, b"\x3f\xe1\x1f"), BadHeaders),
    ("frame too large", frames.HEAD.pack(0x40, 1, 0, 0, 3), BadSize),
    ("all padding", request(3) + data(3, b"\x05abc", flags=PADDED), BadFrame),
    ("no padding length", request(3) + data(3, b"", flags=PADDED), BadSize),
    ("no room for priority", headers(3, b"\0", flags=END_HEADERS | PRIORITY), BadSize),
]


@pytest.mark.parametrize(("octets", "error"), [b[1:] for b in BAD], ids=[b[0] for b in BAD])
def test_a_broken_protocol_ends_the_connection(octets: bytes, error: type[PeerError]) -> None:
    assert type(Server().failure(octets)) is error


@pytest.mark.parametrize("first", [b"GET / HTTP/1.1\r\n\r\n", PREFACE[:5] + b"x", PREFACE + ping()])
def test_what_is_not_http2(first: bytes) -> None:
    connection = Connection(SMALL, FakeClock().monotonic)
    (event,) = connection.receive(first)
    assert isinstance(event, Failed)


def test_a_table_that_was_given_up() -> None:
    connection = Connection(SMALL, FakeClock().monotonic)
    events = connection.receive(HELLO + NO_TABLE + request(1))
    assert isinstance(events[-1], Failed)
    assert isinstance(events[-1].error, BadHeaders)


MALFORMED = [
    request(3, (":unknown", "x")),
    request(3, without=[":path"]),
    request(3, without=[":method"]),
    request(3, without=[":scheme"]),
    request(3, (":path", "")),
    request(3, ("Upper", "x")),
    request(3, ("connection", "close")),
    request(3, ("te", "gzip")),
    request(3, ("a", "b\nc")),
    request(3, ("", "x")),
    headers(3, encode([("a", "b"), *REQUEST])),
    headers(3, encode([*REQUEST[:4], *REQUEST[:4]])),
]


@pytest.mark.parametrize("octets", MALFORMED)
def test_malformed_requests_end_their_stream_only(octets: bytes) -> None:
    server = Server()
    server.wrote()
    assert server.tell(octets) == []
    (told,) = server.wrote()
    assert (told.kind, told.stream, told.code) == (Kind.RST_STREAM, 3, Code.PROTOCOL_ERROR)
    assert server.tell(request(5)) != []


@pytest.mark.parametrize("more", [data(3, b"x"), request(3), request(3, end=True)])
def test_nothing_after_the_end_of_a_half(more: bytes) -> None:
    server = Server(SMALL, request(3, end=True))
    server.wrote()
    assert server.tell(more) == [Reset(3)]
    assert [(f.stream, f.code) for f in server.wrote()] == [(3, Code.STREAM_CLOSED)]


def test_a_second_request_on_a_stream() -> None:
    server = Server(SMALL, request(3))
    assert server.tell(request(3)) == [Reset(3)]


def test_late_frames_of_a_closed_stream_are_dropped() -> None:
    server = Server(SMALL, request(3), reset(3))
    server.wrote()
    late = [data(3, b"x"), window(3, 5), reset(3), headers(3, encode(REQUEST), end=True)]
    assert server.tell(*late) == []
    assert server.wrote() == []


# --- what a peer may do, but not so often ---


def too_many(one: Callable[[int], bytes], count: int, *before: bytes) -> PeerError:
    server = Server(SMALL, *before)
    for i in range(count):
        events = server.tell(one(i))
        if events and isinstance(events[-1], Failed):
            assert i > 1
            return events[-1].error
    raise AssertionError(f"{count} were taken")


FLOODS: list[tuple[str, Callable[[int], bytes]]] = [
    ("ping", lambda _: ping()),
    ("settings", lambda _: settings(s4=100)),
    ("settings acknowledged", lambda _: NO_TABLE),
    ("empty data", lambda _: data(3, b"")),
    ("padding only", lambda _: data(3, b"\0", flags=PADDED)),
    ("tiny windows", lambda _: window(0, 1)),
    ("tiny windows of a stream", lambda _: window(3, 1)),
    ("priority", lambda _: frames.frame(Kind.PRIORITY, 0, 3, bytes(5))),
    ("unknown", lambda _: frames.HEAD.pack(0, 0, 0x55, 0, 0)),
    ("goaway", lambda _: frames.goaway(0, Code.NO_ERROR)),
    ("late resets", lambda _: reset(1)),
    ("late data", lambda _: data(1, b"x")),
    ("rapid reset", lambda i: request(2 * i + 5) + reset(2 * i + 5)),
    ("streams over the limit", lambda i: request(2 * i + 5)),
    ("malformed requests", lambda i: request(2 * i + 5, ("te", "x"))),
    ("window games", lambda i: request(2 * i + 5) + window(2 * i + 5, 0)),
]


@pytest.mark.parametrize("one", [f[1] for f in FLOODS], ids=[f[0] for f in FLOODS])
def test_floods_end_the_connection(one: Callable[[int], bytes]) -> None:
    error = too_many(one, 60, request(3))
    assert isinstance(error, TooMuch)
    assert error.code is Code.ENHANCE_YOUR_CALM


def test_a_flood_of_continuations() -> None:
    server = Server(SMALL, headers(3, b"", flags=0))
    events: list[Event] = []
    for _ in range(60):
        events += server.tell(frames.frame(Kind.CONTINUATION, 0, 3))
    assert isinstance(events[-1], Failed)
    server = Server(SMALL, headers(3, b"", flags=0))
    assert isinstance(server.failure(frames.frame(Kind.CONTINUATION, 0, 3, bytes(2001))), TooMuch)


def test_a_flood_that_is_spread_over_time_is_none() -> None:
    server = Server()
    for _ in range(500):
        server.clock.advance(0.5)
        assert server.tell(ping()) == []


def test_resets_of_streams_that_were_answered_are_the_usual_end() -> None:
    """Envoy ends every exchange like this."""
    server = Server()
    for i in range(100):
        stream = 2 * i + 3
        assert len(server.tell(request(stream))) == 1
        server.connection.begin(stream, REPLY)
        assert server.tell(reset(stream)) == [Reset(stream)]


def test_a_header_bomb_ends_its_stream() -> None:
    server = Server()
    server.wrote()
    big = request(3, ("a", "x" * 1000), ("b", "y" * 1000))
    assert server.tell(big) == []
    assert [(f.stream, f.code) for f in server.wrote()] == [(3, Code.ENHANCE_YOUR_CALM)]
    assert server.tell(request(5)) != []


def test_streams_over_the_limit_are_refused_and_others_live() -> None:
    server = Server(SMALL, *(request(s) for s in (3, 5, 7, 9)))
    server.wrote()
    assert server.tell(request(11)) == []
    assert [(f.stream, f.code) for f in server.wrote()] == [(11, Code.REFUSED_STREAM)]
    assert server.tell(data(3, b"x")) == [Data(3, b"x", False)]
    server.connection.finish(3, REPLY)
    assert len(server.tell(request(13))) == 1


def test_settings_cost_more_when_they_move_many_windows() -> None:
    limits = Limits(idle_frames=100)
    server = Server(limits, *(request(s) for s in range(3, 1283, 2)))
    taken = 0
    while not server.tell(settings(s4=taken)):
        taken += 1
    assert 5 < taken < 12


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
