"""What every decoder does: chooses by head and first byte, keeps what may pass, fails once, stays small."""

from __future__ import annotations

from collections.abc import Sequence

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from extproc.codec.sse import Frame, SseSplitter
from extproc.dialects import _decoding as decoding
from extproc.model.dialect import Headers, ReplyDecoder, ReplyHead
from extproc.model.errors import GatewayError, Kind, Overloaded
from extproc.model.reply import Event, Failed, Finished, Started, TextDelta, Usage, Used

from .reading import cut, drain, failure

SSE = {"content-type": "text/event-stream"}
JSON = {"content-type": "application/json"}


class Letters:
    """A little language: each datum is a text; `end` ends, `hide` is withheld, `boom` is an error."""

    def __init__(self) -> None:
        self.out: list[Event] = []
        self.done = False

    def frame(self, frame: Frame) -> bool:
        match frame.data:
            case None:
                return True
            case b"hide":
                return False
            case b"boom":
                raise Overloaded("boom")
            case b"bad":
                raise decoding.Unreadable
            case b"much":
                raise decoding.TooMuch
            case b"end":
                self.done = True
                self.out.append(Finished())
                return True
            case text:
                self.out.append(TextDelta(text.decode()))
                return True

    def close(self) -> None:
        raise decoding.bad(decoding.ENDED_EARLY)

    def failing(self) -> Sequence[Event]:
        return (Used(Usage(fresh=1)),)


def error(status: int, headers: Headers, body: bytes) -> GatewayError:
    return Overloaded(body.decode(), status=status)


def whole(body: bytes) -> Sequence[Event]:
    value = decoding.read_object(body)
    if "much" in value:
        raise decoding.TooMuch
    if "boom" in value:
        raise Overloaded("boom")
    return (Started("i", "m"), Finished())


def new(status: int = 200, headers: dict[str, str] | None = None) -> ReplyDecoder:
    language = decoding.Language(
        error, whole, lambda: decoding.Framed(SseSplitter(), Letters()), decoding.sse_streams
    )
    return decoding.decoder(ReplyHead(status, headers or SSE), language)


def sse(*data: str) -> bytes:
    return "".join(f"data: {one}\n\n" for one in data).encode()


BODY = sse("a", "hide", "b") + b": note\n\n" + sse("c", "end")


@given(st.lists(st.integers(0, len(BODY)), max_size=8))
@settings(max_examples=100)
def test_trap_2_any_cut_gives_the_same(points: list[int]) -> None:
    events, passed = drain(new(), cut(BODY, points))
    assert events == [TextDelta("a"), TextDelta("b"), TextDelta("c"), Finished()]
    assert passed == BODY.replace(sse("hide"), b"")


def test_untouched_pieces_are_the_very_objects() -> None:
    decoder = new()
    for piece in (sse("a"), sse("b", "c"), sse("end"), b"after"):
        decoder.feed(piece)
        assert decoder.take() is piece


def test_trap_8_what_follows_the_terminal_passes_unread() -> None:
    body = BODY + b"data: boom\n\nhalf"
    events, passed = drain(new(), [body])
    assert events[-1] == Finished()
    assert passed.endswith(b"half")


@pytest.mark.parametrize("word", ["boom", "bad", "much"])
def test_a_failure_is_one_event_and_its_frame_does_not_pass(word: str) -> None:
    decoder = new()
    events, passed = drain(decoder, [sse("a", word, "b"), sse("c")])
    assert events[:2] == [TextDelta("a"), Used(Usage(fresh=1))]
    assert isinstance(events[2], Failed)
    assert len(events) == 3
    assert passed == sse("a")
    assert list(decoder.close()) == list(decoder.feed(sse("d"))) == []


@pytest.mark.parametrize("end", range(len(BODY) - len(sse("end"))))
def test_a_stream_without_its_terminal_is_failed(end: int) -> None:
    events, _ = drain(new(), [BODY[:end]])
    assert failure(events).kind is Kind.UPSTREAM_BAD


def test_an_event_without_end_is_not_held_for_ever() -> None:
    decoder = new()
    events: list[Event] = list(decoder.feed(b"data: "))
    for _ in range(20):
        events.extend(decoder.feed(b"x" * (1 << 20)))
    assert "too large" in failure(events).message
    assert decoder.take() == b""


def test_trap_15_the_first_byte_decides() -> None:
    mislabelled, _ = drain(new(headers=JSON), [b"\r\n\xef", b"\xbb\xbf", BODY])
    assert mislabelled[-1] == Finished()
    json, passed = drain(new(), [b" ", b'{"a":', b"1}"])
    assert json == [Started("i", "m"), Finished()]
    assert passed == b' {"a":1}'


@pytest.mark.parametrize(
    ("body", "message"),
    [
        (b"", "empty"),
        (b" \n ", "empty"),
        (b"<html></html>", "not the JSON"),
        (b"[]", "not the JSON"),
        (b'{"a":', "not the JSON"),
        (b'{"much":1}', "too many parts"),
        (b'{"boom":1}', "boom"),
    ],
)
def test_trap_14_whole_bodies_that_are_none(body: bytes, message: str) -> None:
    events, passed = drain(new(headers=JSON), [body])
    assert message in failure(events).message
    assert passed == b""


def test_an_errors_body_is_read_and_never_passes() -> None:
    events, passed = drain(new(429, JSON), [b"slow ", b"down"])
    found = failure(events)
    assert (found.message, found.status, passed) == ("slow down", 429, b"")
    events, _ = drain(new(500), [b"x" * (decoding.MAX_ERROR + 1), b"more"])
    assert failure(events).message == ""


@pytest.mark.parametrize(
    ("status", "headers"), [(302, SSE), (100, SSE), (200, {"content-encoding": "br", **SSE})]
)
def test_trap_10_heads_that_promise_nothing_readable(status: int, headers: dict[str, str]) -> None:
    events, passed = drain(new(status, headers), [BODY, BODY])
    assert len(events) == 1
    assert failure(events).kind is Kind.UPSTREAM_BAD
    assert passed == b""


def test_trap_17_half_a_surrogate_is_still_an_object() -> None:
    assert decoding.read_object(b'{"a":"\\ud800"}') == {"a": "\ud800"}
    for data in (b"[1]", b"{", b"", b'{"a":NaN}'):
        with pytest.raises(decoding.Unreadable):
            decoding.read_object(data)
