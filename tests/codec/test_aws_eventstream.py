"""The event stream codec against botocore's own: same frames, at any cut, and the same refusals."""

from __future__ import annotations

import itertools
import struct
import time
import zlib
from collections.abc import Mapping
from uuid import UUID

import pytest
from botocore.eventstream import EventStreamBuffer, ParserError
from hypothesis import given
from hypothesis import strategies as st

from extproc.codec import aws_eventstream
from extproc.codec.aws_eventstream import (
    BadEventStream,
    EventStreamDecoder,
    Frame,
    HeaderValue,
    Timestamp,
    read_headers,
    write,
)

HEADERS = {
    ":event-type": "contentBlockDelta",
    ":content-type": "application/json",
    ":message-type": "event",
}
PAYLOAD = b'{"contentBlockIndex":0,"delta":{"text":"Hi"},"p":"abcd"}'
FRAME = write(HEADERS, PAYLOAD)


def decode(pieces: list[bytes], decoder: EventStreamDecoder | None = None) -> list[Frame]:
    decoder = decoder or EventStreamDecoder()
    frames = [frame for piece in pieces for frame in decoder.feed(piece)]
    decoder.close()
    return frames


def frame_of(block: bytes, payload: bytes = b"") -> bytes:
    """A frame of headers that our encoder would not write."""
    lengths = struct.pack(">II", len(block) + len(payload) + 16, len(block))
    head = lengths + struct.pack(">I", zlib.crc32(lengths)) + block + payload
    return head + struct.pack(">I", zlib.crc32(head))


def prelude(total: int, headers: int) -> bytes:
    lengths = struct.pack(">II", total, headers)
    return lengths + struct.pack(">I", zlib.crc32(lengths))


def as_botocore(value: HeaderValue) -> object:
    match value:
        case Timestamp():
            return value.ms
        case UUID():
            return value.bytes
        case _:
            return value


def botocore_reads(stream: bytes) -> list[tuple[dict[str, object], bytes]]:
    buffer = EventStreamBuffer()
    buffer.add_data(stream)
    return [(event.headers, event.payload) for event in buffer]


def test_the_frame_that_is_known_byte_for_byte() -> None:
    assert len(FRAME) == 159
    assert FRAME[:12].hex() == "0000009f00000057c37babff"
    assert FRAME[-4:].hex() == "f2ace5ff"
    assert decode([FRAME]) == [Frame(FRAME, HEADERS, PAYLOAD)]


def test_trap_13_every_cut() -> None:
    stream = FRAME + write({}, b"") + FRAME
    whole = decode([stream])
    assert len(whole) == 3
    assert b"".join(frame.raw for frame in whole) == stream
    for at in range(len(stream) + 1):
        assert decode([stream[:at], stream[at:]]) == whole
    assert decode([stream[i : i + 1] for i in range(len(stream))]) == whole


NAMES = st.text(min_size=1, max_size=40)
VALUES = (
    st.booleans()
    | st.integers(-(2**63), 2**63 - 1)
    | st.integers(-200, 200)
    | st.binary(max_size=300)
    | st.text(max_size=100)
    | st.builds(Timestamp, st.integers(-(2**63), 2**63 - 1))
    | st.uuids()
)
MESSAGES = st.tuples(st.dictionaries(NAMES, VALUES, max_size=8), st.binary(max_size=200))


@given(messages=st.lists(MESSAGES, max_size=4), data=st.data())
def test_trap_13_any_cut_gives_what_was_written_and_what_botocore_reads(
    messages: list[tuple[dict[str, HeaderValue], bytes]], data: st.DataObject
) -> None:
    stream = b"".join(write(headers, payload) for headers, payload in messages)
    points = sorted(data.draw(st.lists(st.integers(0, len(stream)), max_size=6)))
    edges = [0, *points, len(stream)]
    decoder = EventStreamDecoder()
    frames = decode([stream[a:b] for a, b in itertools.pairwise(edges)], decoder)
    assert decoder.error is None
    assert [(frame.headers, frame.payload) for frame in frames] == messages
    assert b"".join(frame.raw for frame in frames) == stream
    theirs = botocore_reads(stream)
    assert theirs == [
        ({name: as_botocore(value) for name, value in headers.items()}, payload)
        for headers, payload in messages
    ]


def header(name: bytes, kind: int, value: bytes) -> bytes:
    return bytes((len(name),)) + name + bytes((kind,)) + value


ALL_TYPES = {
    "true": (0, b"", True),
    "false": (1, b"", False),
    "i8": (2, b"\xff", -1),
    "i16": (3, b"\xff\xfe", -2),
    "i32": (4, struct.pack(">i", -70_000), -70_000),
    "i64": (5, struct.pack(">q", -(2**40)), -(2**40)),
    "bytes": (6, b"\0\3abc", b"abc"),
    "text": (7, b"\0\2\xc3\xa9", "é"),
    "time": (8, struct.pack(">q", 1_800_000_000_000), Timestamp(1_800_000_000_000)),
    "uuid": (9, bytes(range(16)), UUID(bytes=bytes(range(16)))),
}


def test_header_types_0_to_9() -> None:
    block = b"".join(header(name.encode(), k, raw) for name, (k, raw, _) in ALL_TYPES.items())
    found = read_headers(block)
    assert found == {name: value for name, (_, _, value) in ALL_TYPES.items()}
    assert [type(value) for value in found.values()] == [type(v) for _, _, v in ALL_TYPES.values()]
    ((theirs, _),) = botocore_reads(frame_of(block))
    assert theirs == {name: as_botocore(value) for name, value in found.items()}


LONG = header(b"n", 7, b"\xff\xffabc")
WRONG: Mapping[str, tuple[bytes, str]] = {
    "sum of lengths": (FRAME[:8] + b"\0\0\0\0" + FRAME[12:], "lengths"),
    "sum of all": (FRAME[:-1] + b"\0", "checksum of a frame"),
    "one bit of a payload": (FRAME[:120] + bytes((FRAME[120] ^ 1,)) + FRAME[121:], "checksum"),
    "headers too large": (prelude(200_000, 131_073), "131073 bytes of headers"),
    "payload too large": (prelude(24 * 1024 * 1024 + 17, 0), "bytes of payload"),
    "total of 4 GiB": (prelude(0xFFFF_FFFF, 0), "bytes of payload"),
    "total of nothing": (prelude(0, 0), "0 bytes says"),
    "total below a frame": (prelude(15, 0), "15 bytes says"),
    "more headers than frame": (prelude(100, 85), "85 are headers"),
    "unknown type": (frame_of(header(b"n", 10, b"")), "type 10"),
    "value longer than the block": (frame_of(LONG, b"x" * 70_000), "longer than the headers"),
    "number cut off": (frame_of(header(b"n", 5, b"\0\0"), b"x" * 20), "longer than the headers"),
    "name cut off": (frame_of(b"\x09abc", b"x" * 20), "longer than the headers"),
    "uuid cut off": (frame_of(header(b"n", 9, b"\0" * 15), b"x" * 20), "longer than the headers"),
    "no type": (frame_of(b"\x01n", b"\x07\0\0"), "longer than the headers"),
    "text that is none": (frame_of(header(b"n", 7, b"\0\1\xff")), "UTF-8"),
    "name that is none": (frame_of(header(b"\xff", 0, b"")), "UTF-8"),
    "a name twice": (frame_of(header(b"n", 0, b"") * 2), "twice"),
    "a web page": (b"<!doctype html><title>502 Bad Gateway</title>", "lengths"),
}


@pytest.mark.parametrize("name", WRONG)
def test_trap_13_what_is_wrong_has_one_error_at_every_cut(name: str) -> None:
    wrong, words = WRONG[name]
    stream = FRAME + wrong + FRAME
    near = [*range(min(len(stream), 340)), len(stream)]
    for at in near:
        decoder = EventStreamDecoder()
        frames = decode([stream[:at], stream[at:]], decoder)
        assert [frame.raw for frame in frames] == [FRAME]
        assert isinstance(decoder.error, BadEventStream)
        assert words in str(decoder.error)
        assert decoder.pending == 0


NOT_OF_BOTOCORE = {
    "total of nothing", "total below a frame", "more headers than frame",
    "value longer than the block", "uuid cut off",
}  # fmt: skip
"""what we refuse and botocore takes, or waits for"""


@pytest.mark.parametrize("name", sorted(WRONG.keys() - NOT_OF_BOTOCORE))
def test_botocore_refuses_it_too(name: str) -> None:
    with pytest.raises((ParserError, UnicodeDecodeError, struct.error, KeyError, IndexError)):
        botocore_reads(WRONG[name][0])


def test_a_part_of_a_frame_at_the_end_is_an_error() -> None:
    for at in range(1, len(FRAME)):
        decoder = EventStreamDecoder()
        assert len(decode([FRAME + FRAME[:at]], decoder)) == 1
        assert "into a frame" in str(decoder.error)
        assert decoder.pending == 0


def test_nothing_comes_after_an_error() -> None:
    decoder = EventStreamDecoder()
    decoder.feed(WRONG["sum of all"][0])
    first = decoder.error
    assert decoder.feed(FRAME) == []
    decoder.close()
    assert decoder.error is first


def test_trap_13_a_length_that_lies_is_not_awaited() -> None:
    decoder = EventStreamDecoder(max_payload=1000)
    decoder.feed(prelude(1017, 0))
    assert decoder.error is not None
    decoder = EventStreamDecoder(max_payload=1000)
    decoder.feed(prelude(1016, 0))
    for _ in range(100):
        decoder.feed(b"x" * 100)
        assert decoder.pending < 1016
    assert decoder.error is not None


def test_the_largest_payload_passes() -> None:
    frame = write(HEADERS, b"x" * aws_eventstream.MAX_PAYLOAD)
    assert decode([frame])[0].raw is frame


def test_headers_cannot_be_changed_by_who_reads_them() -> None:
    first, second = decode([FRAME + FRAME])
    assert first.headers is second.headers
    with pytest.raises(TypeError):
        first.headers[":event-type"] = "x"  # type: ignore[index]


def test_many_different_headers_do_not_stay_in_memory() -> None:
    decoder = EventStreamDecoder()
    for number in range(1000):
        (frame,) = decoder.feed(write({"n": str(number)}, b""))
        assert frame.headers == {"n": str(number)}
    assert len(decoder._parsed) <= 32  # type: ignore[reportPrivateUsage]


@pytest.mark.parametrize(
    "headers",
    [
        {"n" * 256: ""},
        {"n": "x" * 65_536},
        {"n": b"x" * 65_536},
        {"n": 2**63},
        {"n": "\ud800"},
        {str(number): "x" * 65_000 for number in range(3)},
    ],
)
def test_what_no_frame_can_hold_is_refused(headers: dict[str, HeaderValue]) -> None:
    with pytest.raises(BadEventStream):
        write(headers, b"")


@given(st.binary(max_size=200), st.integers(0, 158), st.binary(min_size=1, max_size=4))
def test_noise_raises_nothing(noise: bytes, at: int, change: bytes) -> None:
    for stream in (noise, FRAME[:at] + change + FRAME[at + len(change) :], frame_of(noise)):
        decoder = EventStreamDecoder()
        frames = decode([stream], decoder)
        assert decoder.error is not None or b"".join(f.raw for f in frames) == stream


def test_a_large_frame_in_small_pieces_takes_linear_time() -> None:
    def seconds(size: int) -> float:
        stream = write(HEADERS, b"x" * size)
        pieces = [stream[i : i + 16] for i in range(0, len(stream), 16)]
        begin = time.perf_counter()
        assert len(decode(pieces)) == 1
        return time.perf_counter() - begin

    seconds(10_000)
    assert seconds(1_600_000) < 100 * max(seconds(160_000), 0.02)


def test_many_frames_in_odd_pieces_take_linear_time() -> None:
    def seconds(count: int, size: int) -> float:
        stream = FRAME * count
        pieces = [stream[i : i + size] for i in range(0, len(stream), size)]
        begin = time.perf_counter()
        assert len(decode(pieces)) == count
        return time.perf_counter() - begin

    seconds(100, 160)
    for size in (100, 1_000, 10_000_000):
        assert seconds(20_000, size) < 100 * max(seconds(2_000, size), 0.02)
