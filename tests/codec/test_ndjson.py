"""The line splitter: any cut of any stream gives the same lines, and its bytes are never lost."""

from __future__ import annotations

import itertools
import time

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from extproc.codec import ndjson
from extproc.codec.ndjson import Line, LineSplitter


def split_all(pieces: list[bytes], max_line: int = ndjson.MAX_LINE) -> list[Line]:
    splitter = LineSplitter(max_line)
    lines = [line for piece in pieces for line in splitter.feed(piece)]
    return lines + splitter.close()


def cuts(stream: bytes) -> list[list[bytes]]:
    """Every way to cut the stream in two, and the way byte by byte."""
    two = [[stream[:i], stream[i:]] for i in range(len(stream) + 1)]
    return [*two, [stream[i : i + 1] for i in range(len(stream))]]


FIXTURES = {
    "lf": b'{"a":"\xc3\xa9"}\n\n{"b":2}\n{"c":3}\n',
    "crlf": b'{"a":"\xc3\xa9"}\r\n\r\n{"b":2}\r\n{"c":3}\r\n',
    "blanks": b' {"a":"\xc3\xa9"}\t\n \t\n\r\n\n{"b":2} \n{"c":3}\n',
    "no last end": b'{"a":"\xc3\xa9"}\n{"b":2}\n{"c":3}',
    "byte order mark": b'\xef\xbb\xbf{"a":"\xc3\xa9"}\n{"b":2}\n{"c":3}\n',
}


@pytest.mark.parametrize("name", FIXTURES)
def test_trap_12_every_line_at_every_cut(name: str) -> None:
    stream = FIXTURES[name]
    whole = split_all([stream])
    assert [line.data for line in whole if line.data] == [
        b'{"a":"\xc3\xa9"}',
        b'{"b":2}',
        b'{"c":3}',
    ]
    for pieces in cuts(stream):
        assert split_all(pieces) == whole
    assert b"".join(line.raw for line in whole) == stream


def test_trap_12_two_objects_in_a_chunk_and_a_half_one() -> None:
    splitter = LineSplitter()
    assert [line.data for line in splitter.feed(b'{"a":1}\n{"b":2}\n{"c"')] == [
        b'{"a":1}',
        b'{"b":2}',
    ]
    assert splitter.pending == 4
    assert [line.data for line in splitter.feed(b":3}\n")] == [b'{"c":3}']
    assert splitter.close() == []


def test_trap_12_a_line_of_one_megabyte() -> None:
    line = orjson.dumps({"content": "x" * 1_000_000})
    stream = line + b"\n" + line
    pieces = [stream[i : i + 1400] for i in range(0, len(stream), 1400)]
    assert [found.data for found in split_all(pieces)] == [line, line]


def test_a_carriage_return_alone_ends_nothing() -> None:
    (line,) = split_all([b'{"a":\r1}\n'])
    assert line.data == b'{"a":\r1}'


def test_a_chunk_of_one_line_is_not_copied() -> None:
    splitter = LineSplitter()
    chunk = b'{"a":1}\n'
    assert splitter.feed(chunk)[0].raw is chunk


def test_lines_are_bounded_wherever_the_cut_is() -> None:
    stream = b"ok\n" + b"x" * 63 + b"\n" + b"y" * 64 + b"\nnever\n"
    for pieces in cuts(stream):
        splitter = LineSplitter(max_line=64)
        lines = [line for piece in pieces for line in splitter.feed(piece)]
        assert [line.data for line in lines] == [b"ok", b"x" * 63]
        assert splitter.too_long
        assert splitter.pending <= 64
        assert splitter.close() == []


def test_a_large_line_in_small_pieces_takes_linear_time() -> None:
    def seconds(size: int) -> float:
        splitter = LineSplitter()
        begin = time.perf_counter()
        for _ in range(size // 16):
            splitter.feed(b"x" * 16)
        return time.perf_counter() - begin

    seconds(10_000)
    assert seconds(1_600_000) < 100 * max(seconds(160_000), 0.02)


def test_many_lines_in_one_chunk_take_linear_time() -> None:
    def seconds(count: int) -> float:
        chunk = b"{}\n" * count
        begin = time.perf_counter()
        assert len(LineSplitter().feed(chunk)) == count
        return time.perf_counter() - begin

    seconds(1000)
    assert seconds(100_000) < 100 * max(seconds(10_000), 0.02)


TEXT = st.lists(
    st.sampled_from([b'{"a":1}', b"\n", b"\r\n", b"\r", b" ", b"\xef\xbb\xbf", b"\xc3\xa9"])
)


@given(pieces=TEXT, data=st.data())
def test_any_cut_gives_the_same_lines(pieces: list[bytes], data: st.DataObject) -> None:
    stream = b"".join(pieces)
    points = sorted(data.draw(st.lists(st.integers(0, len(stream)), max_size=6)))
    edges = [0, *points, len(stream)]
    lines = split_all([stream[a:b] for a, b in itertools.pairwise(edges)])
    assert lines == split_all([stream])
    assert b"".join(line.raw for line in lines) == stream


JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**53), 2**53) | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=8,
)


@given(st.lists(JSON, max_size=4), st.booleans())
def test_what_is_written_is_read_again(values: list[object], pretty: bool) -> None:
    option = orjson.OPT_INDENT_2 if pretty else 0
    stream = b"".join(ndjson.write(orjson.dumps(value, option=option)) for value in values)
    found = [line.data for line in split_all([stream])]
    assert [orjson.loads(data or b"") for data in found] == values
