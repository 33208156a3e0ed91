"""The window: a stream's beginning is held until its first content, and until then may fall over."""

from __future__ import annotations

import json

import pytest

from extproc.config.schema import Window
from extproc.flow.attempt import Attempt, End, Word
from extproc.flow.messages import Continue, Reply
from extproc.model.call import Failure, Outcome
from extproc.model.errors import Timeout
from tests.flow.hops import (
    A_BLOCK,
    A_ERROR,
    A_PING,
    A_THINKS,
    BEGUN,
    BROKEN,
    LAST,
    PING,
    ROLE,
    WORD,
    Hop,
    again,
    ask,
    chunk,
    head,
    piece,
    stream_head,
    targets,
)

WINDOW = Window(seconds=2.0, bytes=2000)


async def held(first: str = "a", second: str = "b", **more: object) -> tuple[Hop, Attempt]:
    hop = Hop(targets(first, second, **{"window": WINDOW, **more}))
    out = await hop.out(ask(stream=True))
    assert isinstance(out, Continue)
    assert ("x-sluice-hold", "1") in out.set
    attempt, _ = await hop.begin()
    assert attempt.on_head(stream_head()) is Word.HOLD
    return hop, attempt


@pytest.mark.parametrize(
    ("pieces", "failure"),
    [
        ([BROKEN], Failure.STREAM_ERROR),
        ([ROLE, BROKEN], Failure.STREAM_ERROR),
        ([ROLE + PING, PING + BROKEN], Failure.STREAM_ERROR),
        ([b"data: {bad\n\n"], Failure.STREAM_ERROR),
        ([ROLE, None], Failure.EMPTY),
        ([None], Failure.EMPTY),
        ([PING, None], Failure.EMPTY),
    ],
)
async def test_it_falls_over_before_content(pieces: list[bytes | None], failure: Failure) -> None:
    hop, attempt = await held()
    for data in pieces[:-1]:
        assert data is not None
        assert attempt.on_piece(piece(data)) is Word.HOLD
    last = pieces[-1]
    found = attempt.on_piece(piece(b"", end=True) if last is None else piece(last))
    assert again(found) is failure
    following, _ = await hop.begin()
    assert following.on_head(stream_head()) is Word.HOLD
    assert following.on_piece(piece(BEGUN + A_PING + A_BLOCK)) is Word.HOLD
    assert following.on_piece(piece(A_THINKS.replace(b'"index": 0', b'"index": 1'))) is Word.PASS
    record = await hop.exchange.close()
    assert [t.failure for t in record.tried] == [failure, Failure.LEFT]


@pytest.mark.parametrize(
    "pieces", [[BEGUN, A_PING, A_ERROR], [A_ERROR], [BEGUN + A_BLOCK + A_ERROR]]
)
async def test_so_it_does_in_another_language(pieces: list[bytes]) -> None:
    hop, attempt = await held("b", "a")
    *before, last = pieces
    for data in before:
        assert attempt.on_piece(piece(data)) is Word.HOLD
    assert again(attempt.on_piece(piece(last))) is Failure.STREAM_ERROR
    tried = hop.exchange.record.tried[0]
    if BEGUN in pieces:
        assert tried.usage is not None
        assert tried.usage.prompt == 9, "what it has cost is kept"


async def test_an_error_that_is_known_only_at_the_end() -> None:
    """Gemini's comes as a bare object amid the events."""
    _, attempt = await held("c", "a")
    error = b'{\n "error": {"code": 503, "message": "no", "status": "UNAVAILABLE"}\n}\r\n\r\n'
    assert attempt.on_piece(piece(error)) is Word.HOLD
    assert again(attempt.on_piece(piece(b"", end=True))) is Failure.STREAM_ERROR


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("a", ROLE + WORD),
        ("a", chunk({"reasoning_content": "Hm"})),
        (
            "a",
            chunk(
                {
                    "tool_calls": [
                        {
                            "index": 0,
                            "id": "t",
                            "type": "function",
                            "function": {"name": "f", "arguments": ""},
                        }
                    ]
                }
            ),
        ),
        ("a", chunk({"refusal": "no"})),
        ("b", BEGUN + A_THINKS),
    ],
)
async def test_the_first_content_lets_it_go(name: str, content: bytes) -> None:
    hop, attempt = await held(name, "c")
    assert attempt.on_piece(piece(content)) is Word.PASS
    assert attempt.wait() is None
    await hop.exchange.close()
    (tried,) = hop.exchange.record.tried
    assert tried.first_at == 1000.0


async def test_content_before_an_error_in_one_piece_goes_out() -> None:
    _, attempt = await held()
    assert attempt.on_piece(piece(ROLE + WORD + BROKEN)) is Word.PASS


async def test_a_character_at_a_time() -> None:
    _, attempt = await held()
    data = ROLE + WORD
    found = [attempt.on_piece(piece(data[i : i + 1])) for i in range(len(data))]
    assert set(found) == {Word.HOLD, Word.PASS}
    assert found[-1] is Word.PASS
    assert found.count(Word.PASS) <= 2


@pytest.mark.parametrize("pings", [0, 30])
async def test_silence_falls_over(pings: int) -> None:
    hop, attempt = await held(window=Window(seconds=2.0, bytes=2000))
    for _ in range(pings):
        assert attempt.on_piece(piece(PING)) is Word.HOLD
    assert attempt.wait() == 2.0
    hop.clock.advance(2.0)
    assert attempt.wait() == 0.0
    assert again(attempt.on_time()) is Failure.FIRST_EVENT
    assert attempt.wait() is None


async def test_silence_of_the_last_one_is_passed_on() -> None:
    hop, attempt = await held()
    again(attempt.on_piece(piece(BROKEN)))
    last, _ = await hop.begin()
    assert last.on_head(stream_head()) is Word.HOLD
    hop.clock.advance(2.0)
    assert last.on_time() is Word.PASS
    await hop.reply_head(200, "text/event-stream")
    await hop.reply_body(BEGUN, end=False)
    record = await hop.exchange.close()
    assert [t.failure for t in record.tried] == [Failure.STREAM_ERROR, Failure.LEFT]


async def test_too_many_bytes_without_content() -> None:
    _, attempt = await held()
    for _ in range(2000 // len(PING) - 1):
        assert attempt.on_piece(piece(PING)) is Word.HOLD
    assert attempt.on_piece(piece(PING * 3)) is Word.PASS


async def test_more_is_never_held_than_envoy_can() -> None:
    _, attempt = await held(window=Window(seconds=2.0, bytes=1 << 30))
    assert attempt.on_piece(piece(PING * 8000)) is Word.HOLD
    assert attempt.on_piece(piece(PING * 4000)) is Word.PASS


async def test_a_reply_without_content_is_a_reply() -> None:
    _, attempt = await held()
    assert attempt.on_piece(piece(ROLE + LAST)) is Word.PASS


async def test_a_filter_before_content_where_asked() -> None:
    _, attempt = await held(on=(Failure.CONTENT_FILTER,))
    data = ROLE + LAST.replace(b'"stop"', b'"content_filter"')
    assert again(attempt.on_piece(piece(data))) is Failure.CONTENT_FILTER


@pytest.mark.parametrize("status", [200, 404])
async def test_what_does_not_stream_has_no_window(status: int) -> None:
    hop = Hop(targets("a", "b", window=WINDOW))
    await hop.out(ask(stream=True))
    attempt, _ = await hop.begin()
    assert attempt.on_head(head(status)) is Word.PASS


async def test_whole_replies_need_no_window() -> None:
    hop = Hop(targets("a", "b", window=WINDOW))
    out = await hop.out(ask())
    assert isinstance(out, Continue)
    assert "x-sluice-hold" not in dict(out.set)


async def test_a_reset_inside_goes_on_with_the_next() -> None:
    hop, attempt = await held()
    assert attempt.on_piece(piece(ROLE)) is Word.HOLD
    attempt.lost()
    assert attempt.wait() is None
    following, sent = await hop.begin()
    assert dict(sent.set)[":path"].startswith("/b/")
    assert following.on_head(stream_head()) is Word.HOLD
    record = await hop.exchange.close()
    assert [t.failure for t in record.tried] == [Failure.RESET, Failure.LEFT]


async def test_a_reset_inside_the_last_one() -> None:
    hop, attempt = await held()
    attempt.lost()
    last, _ = await hop.begin()
    assert last.on_head(stream_head()) is Word.HOLD
    last.lost()
    _, end = await hop.tried_to_begin()
    assert isinstance(end, End)
    answer = await hop.tell(head(503, x_sluice_end="upstream_bad"))
    assert isinstance(answer, Reply)
    assert answer.status == 502
    assert json.loads(answer.body)["error"]["code"] == "connection_lost"
    assert answer.headers["x-sluice-error-origin"] == "network"
    assert answer.headers["x-sluice-provider"] == "b"
    assert answer.headers["x-sluice-attempts"] == "2"
    record = await hop.exchange.close()
    assert [t.failure for t in record.tried] == [Failure.RESET, Failure.RESET]
    assert record.outcome is Outcome.BROKEN


async def test_the_deadline_inside() -> None:
    hop, attempt = await held(deadline=1.0)
    assert attempt.wait() == 1.0
    hop.clock.advance(1.0)
    end = attempt.on_time()
    assert isinstance(end, End)
    assert isinstance(end.error, Timeout)
    answer = await hop.tell(head(504, x_sluice_end="timeout"))
    assert isinstance(answer, Reply)
    assert answer.status == 504
    record = await hop.exchange.close()
    assert [t.failure for t in record.tried] == [Failure.TIMEOUT]
    assert record.tried[0].target.provider == "a"


async def test_one_target_with_a_window_breaks_cleanly() -> None:
    """Nobody else can be asked, but before its first content a broken stream is still an error."""
    hop = Hop(targets("a", window=WINDOW))
    await hop.out(ask(stream=True))
    attempt, _ = await hop.begin()
    assert attempt.on_head(stream_head()) is Word.HOLD
    attempt.lost()
    _, end = await hop.tried_to_begin()
    assert isinstance(end, End)
    answer = await hop.tell(head(503))
    assert isinstance(answer, Reply)
    assert answer.status == 502


async def test_one_target_with_a_window_and_no_stream_takes_the_plain_way() -> None:
    hop = Hop(targets("a", window=WINDOW))
    out = await hop.out(ask())
    assert isinstance(out, Continue)
    assert out.route is not None
    assert out.route.clusters == ("provider-a",)


async def test_the_reply_is_decoded_anew_outside() -> None:
    hop, attempt = await held()
    again(attempt.on_piece(piece(BROKEN)))
    following, _ = await hop.begin()
    assert following.on_head(stream_head()) is Word.HOLD
    assert following.on_piece(piece(BEGUN + A_THINKS)) is Word.PASS
    await hop.reply_head(200, "text/event-stream")
    answer = await hop.reply_body(BEGUN + A_THINKS, end=False)
    assert isinstance(answer, Continue)
    assert b"Hm" in (answer.body or b"")
