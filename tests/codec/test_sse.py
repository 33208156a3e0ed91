"""The SSE splitter: any cut of any stream gives the same frames, and its bytes are never lost."""

from __future__ import annotations

import itertools
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from extproc.codec import sse
from extproc.codec.sse import Frame, SseSplitter


def split_all(pieces: list[bytes], max_event: int = sse.MAX_EVENT) -> list[Frame]:
    splitter = SseSplitter(max_event)
    frames = [frame for piece in pieces for frame in splitter.feed(piece)]
    return frames + splitter.close()


def data_of(stream: bytes) -> list[bytes]:
    return [frame.data for frame in split_all([stream]) if frame.data is not None]


def cuts(stream: bytes) -> list[list[bytes]]:
    """Every way to cut the stream in two, and the way byte by byte."""
    two = [[stream[:i], stream[i:]] for i in range(len(stream) + 1)]
    return [*two, [stream[i : i + 1] for i in range(len(stream))]]


FIXTURES = {
    "lf": b"data: one\n\nevent: x\ndata: two\ndata: lines\n\n: hello\n\ndata: three\n\n",
    "crlf": b"data: one\r\n\r\nevent: x\r\ndata: two\r\ndata: lines\r\n\r\n: hello\r\n\r\ndata: three\r\n\r\n",
    "cr": b"data: one\r\revent: x\rdata: two\rdata: lines\r\r: hello\r\rdata: three\r\r",
}


@pytest.mark.parametrize("name", FIXTURES)
def test_trap_2_every_line_end_at_every_cut(name: str) -> None:
    stream = FIXTURES[name]
    for pieces in cuts(stream):
        frames = split_all(pieces)
        found = [(frame.data, frame.event) for frame in frames if frame.data is not None]
        assert found == [(b"one", b""), (b"two\nlines", b"x"), (b"three", b"")]
        assert b"".join(frame.raw for frame in frames) == stream


@pytest.mark.parametrize("name", FIXTURES)
def test_raw_bytes_of_each_frame_do_not_depend_on_the_cut(name: str) -> None:
    whole = split_all([FIXTURES[name]])
    assert all(split_all(pieces) == whole for pieces in cuts(FIXTURES[name]))


def test_trap_1_data_without_a_space() -> None:
    assert data_of(b"data:x\n\ndata: y\n\ndata:  z\n\n") == [b"x", b"y", b" z"]
    assert sse.write(b"x") == b"data: x\n\n"


def test_trap_3_data_lines_are_joined_by_newlines() -> None:
    assert data_of(b'data: {\ndata:  "a": 1\ndata: }\n\n') == [b'{\n "a": 1\n}']


def test_trap_4_characters_cut_byte_by_byte() -> None:
    stream = "data: \U0001f600 é\n\n".encode()
    assert all([f.data for f in split_all(p)] == ["\U0001f600 é".encode()] for p in cuts(stream))


def test_trap_5_byte_order_mark() -> None:
    stream = b"\xef\xbb\xbfdata: a\n\ndata: b\n\n"
    for pieces in cuts(stream):
        frames = split_all(pieces)
        assert [frame.data for frame in frames] == [b"a", b"b"]
        assert b"".join(frame.raw for frame in frames) == stream


def test_trap_6_comments_ids_retries_and_empty_events() -> None:
    stream = b": hi\n\nid: 1\nretry: 5\n\ndata: a\nid: 2\n\n\n\n\ndata: b\nunknown\n\nevent: e\n\n"
    for pieces in cuts(stream):
        assert [f.data for f in split_all(pieces) if f.data is not None] == [b"a", b"b"]


def test_trap_7_last_event_without_its_blank_line() -> None:
    for tail in (b"data: b", b"data: b\n", b"data: b\r", b"data: b\r\n"):
        assert data_of(b"data: a\n\n" + tail) == [b"a", b"b"]


def test_an_empty_data_line_is_data() -> None:
    assert data_of(b"data: \n\ndata\n\ndata:\ndata:\n\n") == [b"", b"", b"\n"]


def test_a_chunk_of_one_frame_is_not_copied() -> None:
    splitter = SseSplitter()
    splitter.feed(b"data: first\n\n")
    chunk = b'data: {"a":1}\n\n'
    (frame,) = splitter.feed(chunk)
    assert frame.raw is chunk
    assert frame.data == b'{"a":1}'


def test_events_are_bounded_wherever_the_cut_is() -> None:
    stream = b"data: ok\n\ndata: " + b"x" * 100 + b"\n\ndata: never\n\n"
    for pieces in cuts(stream):
        splitter = SseSplitter(max_event=64)
        frames = [frame for piece in pieces for frame in splitter.feed(piece)]
        assert [frame.data for frame in frames] == [b"ok"]
        assert splitter.too_long
        assert splitter.pending <= 64
        assert splitter.close() == []


def test_a_large_event_in_small_pieces_takes_linear_time() -> None:
    def seconds(size: int) -> float:
        splitter = SseSplitter()
        begin = time.perf_counter()
        for _ in range(size // 16):
            splitter.feed(b"x" * 16)
        return time.perf_counter() - begin

    seconds(10_000)
    assert seconds(1_600_000) < 100 * max(seconds(160_000), 0.02)


LINES = st.lists(
    st.sampled_from(
        [b"data: ", b"data:x", b": c", b"event: e", b"id: 1", b"", b"junk", b"data: \xc3\xa9"]
    ),
    max_size=12,
)
ENDS = st.sampled_from([b"\n", b"\r\n", b"\r"])


@given(lines=LINES, ends=st.lists(ENDS, min_size=12, max_size=12), data=st.data())
def test_any_cut_gives_the_same_frames(
    lines: list[bytes], ends: list[bytes], data: st.DataObject
) -> None:
    stream = b"".join(itertools.chain.from_iterable(zip(lines, ends, strict=False)))
    points = sorted(data.draw(st.lists(st.integers(0, len(stream)), max_size=6)))
    edges = [0, *points, len(stream)]
    pieces = [stream[a:b] for a, b in itertools.pairwise(edges)]
    frames = split_all(pieces)
    assert frames == split_all([stream])
    assert b"".join(frame.raw for frame in frames) == stream


@given(st.binary(max_size=64), st.sampled_from([b"", b"note"]))
def test_what_is_written_is_read_again(payload: bytes, event: bytes) -> None:
    (frame,) = split_all([sse.write(payload, event)])
    assert frame.event == event
    assert frame.data == payload.replace(b"\r\n", b"\n").replace(b"\r", b"\n")


def test_a_comment_is_no_event() -> None:
    assert data_of(sse.comment() + sse.comment(b" working")) == []
