"""What a peer of the HTTP/2 core may not do, or not so often: every limit with its attacker."""

from __future__ import annotations

from collections.abc import Callable

import pytest

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
from extproc.wire.http2 import Connection, Data, Event, Failed, Reset
from tests.kit import FakeClock
from tests.wire.h2peer import (
    HELLO,
    NO_TABLE,
    REQUEST,
    data,
    headers,
    ping,
    request,
    reset,
    settings,
    window,
)
from tests.wire.h2served import REPLY, SMALL, Server

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
