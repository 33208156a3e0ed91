"""Every way in which an attempt fails, whole and streamed: what it is taken for, and who is asked next."""

from __future__ import annotations

from typing import Any

import pytest

from extproc.flow.attempt import Word
from extproc.flow.failures import wait_of
from extproc.flow.messages import ResponseHead
from extproc.model.call import Failure
from tests.flow.hops import BODIES, DEFAULT, Hop, again, ask, error_of, good, head, piece, targets

BEFORE = "upstream_reset_before_response_started"
DETAILS = [
    ("no_healthy_upstream", 503, Failure.DNS),
    (f"{BEFORE}{{remote_connection_failure|delayed_connect_error:_111}}", 503, Failure.CONNECT),
    (f"{BEFORE}{{remote_connection_failure|immediate_connect_error:_x}}", 503, Failure.CONNECT),
    (f"{BEFORE}{{connection_timeout}}", 503, Failure.CONNECT),
    (f"{BEFORE}{{remote_connection_failure|TLS_error:|268435581:SSL}}", 503, Failure.TLS),
    (f"{BEFORE}{{connection_termination}}", 503, Failure.RESET),
    (f"{BEFORE}{{remote_reset}}", 503, Failure.RESET),
    (f"{BEFORE}{{remote_refused_stream_reset}}", 503, Failure.RESET),
    (f"{BEFORE}{{protocol_error}}", 502, Failure.RESET),
    (f"{BEFORE}{{overflow}}", 503, Failure.OVERLOADED),
    ("upstream_per_try_timeout", 504, Failure.TIMEOUT),
    ("stream_idle_timeout", 504, Failure.TIMEOUT),
    ("cluster_not_found", 503, Failure.GONE),
]
STATUSES = [
    (401, Failure.CREDENTIAL),
    (402, Failure.CREDENTIAL),
    (403, Failure.CREDENTIAL),
    (408, Failure.TIMEOUT),
    (409, Failure.SERVER_ERROR),
    (424, Failure.SERVER_ERROR),
    (429, Failure.RATE_LIMIT),
    (500, Failure.SERVER_ERROR),
    (502, Failure.SERVER_ERROR),
    (503, Failure.OVERLOADED),
    (504, Failure.SERVER_ERROR),
    (529, Failure.OVERLOADED),
    (599, Failure.SERVER_ERROR),
]
HEADS: list[tuple[ResponseHead, Failure]] = [
    *((head(status, details=details), failure) for details, status, failure in DETAILS),
    *((head(status), failure) for status, failure in STATUSES),
    (head(200, end=True), Failure.EMPTY),
]


def named(one: object) -> str:
    return f"{one.headers[':status']} {one.details}" if isinstance(one, ResponseHead) else str(one)


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("first", ["a", "b", "c"])
@pytest.mark.parametrize(("reply", "failure"), HEADS, ids=named)
async def test_the_head_alone_says_it(
    reply: ResponseHead, failure: Failure, first: str, stream: bool
) -> None:
    others = [name for name in "abc" if name != first]
    hop = Hop(targets(first, *others))
    await hop.out(ask(stream=stream))
    attempt, _ = await hop.begin()
    assert again(attempt.on_head(reply)) is failure
    following, sent = await hop.begin()
    assert dict(sent.set)[":path"].startswith(f"/{others[0]}/")
    assert following.on_head(head()) is Word.PASS
    await hop.passes(good(others[0]))
    record = await hop.exchange.close()
    assert [(t.number, t.target.provider, t.failure) for t in record.tried] == [
        (1, first, failure),
        (2, others[0], None),
    ]
    assert f"fallback:{failure}" in record.why


@pytest.mark.parametrize(("reply", "failure"), HEADS, ids=named)
async def test_what_is_no_trigger_passes(reply: ResponseHead, failure: Failure) -> None:
    hop = Hop(targets("a", "b", on=tuple(f for f in DEFAULT if f is not failure)))
    await hop.out()
    attempt, _ = await hop.begin()
    assert attempt.on_head(reply) is Word.PASS
    outside = head(int(reply.headers[":status"]), end=reply.end)
    await hop.tell(outside)
    if not hop.exchange.over:
        await hop.reply_body(error_of("a", 500))
    record = await hop.exchange.close()
    (tried,) = record.tried
    assert tried.failure is failure


@pytest.mark.parametrize("status", [400, 404, 413, 422])
async def test_the_client_s_own_mistake_is_nobody_s_failure(status: int) -> None:
    hop = Hop(targets("a", "b"))
    await hop.out()
    attempt, _ = await hop.begin()
    assert attempt.on_head(head(status)) is Word.PASS
    await hop.reply_head(status)
    await hop.reply_body(error_of("a", status))
    (tried,) = (await hop.exchange.close()).tried
    assert (tried.failure, tried.status) == (None, status)


@pytest.mark.parametrize(
    "details", ["request_payload_too_large", "ext_proc_error_gRPC_error_14", "never heard of"]
)
async def test_what_is_ours_never_asks_the_next(details: str) -> None:
    hop = Hop(targets("a", "b", on=tuple(Failure)))
    await hop.out()
    attempt, _ = await hop.begin()
    assert attempt.on_head(head(413, details=details)) is Word.PASS
    await hop.reply_head(413)
    await hop.reply_body(b"")
    (tried,) = (await hop.exchange.close()).tried
    assert tried.failure is Failure.OURS


# What only the body says.


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize(
    ("message", "failure"),
    [("context", Failure.CONTEXT_LENGTH), ("filter", Failure.CONTENT_FILTER)],
)
async def test_an_error_s_body_is_read_where_a_trigger_asks(
    message: str, failure: Failure, stream: bool
) -> None:
    hop = Hop(targets("a", "b", on=BODIES))
    await hop.out(ask(stream=stream))
    attempt, _ = await hop.begin()
    assert attempt.on_head(head(400)) is Word.HOLD
    body = error_of("a", 400, message)
    assert attempt.on_piece(piece(body[:20])) is Word.HOLD
    assert again(attempt.on_piece(piece(body[20:], end=True))) is failure


async def test_an_error_in_another_language() -> None:
    hop = Hop(targets("b", "a", on=BODIES))
    await hop.out()
    attempt, _ = await hop.begin()
    assert attempt.on_head(head(400)) is Word.HOLD
    found = attempt.on_piece(piece(error_of("b", 400, "context"), end=True))
    assert again(found) is Failure.CONTEXT_LENGTH


async def test_another_mistake_is_passed_on_when_it_was_read() -> None:
    hop = Hop(targets("a", "b", on=BODIES))
    await hop.out()
    attempt, _ = await hop.begin()
    assert attempt.on_head(head(400)) is Word.HOLD
    assert attempt.on_piece(piece(error_of("a", 400, "bad"), end=True)) is Word.PASS
    await hop.reply_head(400)
    await hop.reply_body(error_of("a", 400, "bad"))
    record = await hop.exchange.close()
    assert record.status == 400
    assert [tried.failure for tried in record.tried] == [None]


async def test_bodies_are_not_read_where_no_trigger_asks() -> None:
    hop = Hop(targets("a", "b"))
    out = await hop.out()
    assert "x-sluice-hold" not in dict(getattr(out, "set", ()))
    attempt, _ = await hop.begin()
    assert attempt.on_head(head(400)) is Word.PASS


async def test_a_filtered_reply() -> None:
    hop = Hop(targets("a", "b", on=BODIES))
    await hop.out()
    attempt, _ = await hop.begin()
    assert attempt.on_head(head()) is Word.HOLD
    body = good("a", "").replace(b'"stop"', b'"content_filter"')
    assert again(attempt.on_piece(piece(body, end=True))) is Failure.CONTENT_FILTER


SCHEMA = {
    "type": "json_schema",
    "json_schema": {
        "name": "n",
        "schema": {"type": "object", "properties": {"x": {}}, "required": ["x"]},
    },
}


@pytest.mark.parametrize(
    ("form", "text", "fails"),
    [
        (SCHEMA, '{"x": 1}', False),
        (SCHEMA, '{"y": 1}', True),
        (SCHEMA, "[]", True),
        (SCHEMA, "sorry", True),
        ({"type": "json_object"}, "[1]", False),
        ({"type": "json_object"}, "no", True),
        (None, "no", False),
    ],
)
async def test_the_wrong_shape(form: dict[str, Any] | None, text: str, fails: bool) -> None:
    hop = Hop(targets("a", "b", on=BODIES))
    await hop.out(ask() if form is None else ask(response_format=form))
    attempt, _ = await hop.begin()
    assert attempt.on_head(head()) is Word.HOLD
    found = attempt.on_piece(piece(good("a", text), end=True))
    if fails:
        assert again(found) is Failure.BAD_OUTPUT
    else:
        assert found is Word.PASS


async def test_a_reply_that_is_none_is_the_wrong_shape() -> None:
    hop = Hop(targets("a", "b", on=BODIES))
    await hop.out()
    attempt, _ = await hop.begin()
    assert attempt.on_head(head()) is Word.HOLD
    assert again(attempt.on_piece(piece(b"<html>", end=True))) is Failure.BAD_OUTPUT


async def test_a_large_reply_is_not_held_for_long() -> None:
    hop = Hop(targets("a", "b", on=BODIES))
    await hop.out()
    attempt, _ = await hop.begin()
    assert attempt.on_head(head()) is Word.HOLD
    assert attempt.on_piece(piece(b" " * 40_000)) is Word.HOLD
    assert attempt.on_piece(piece(b" " * 40_000)) is Word.PASS


async def test_a_body_that_does_not_come_is_not_waited_for() -> None:
    hop = Hop(targets("a", "b", on=BODIES))
    await hop.out()
    attempt, _ = await hop.begin()
    assert attempt.on_head(head(400)) is Word.HOLD
    wait = attempt.wait()
    assert wait is not None
    hop.clock.advance(wait)
    assert attempt.on_time() is Word.PASS


# How long to leave a provider alone.

NOW = 1_800_000_000.0
DATE = "Fri, 15 Jan 2027 08:00:30 GMT"


@pytest.mark.parametrize(
    ("headers", "seconds"),
    [
        ({}, None),
        ({"retry-after": "7"}, 7.0),
        ({"retry-after": "0.5"}, 0.5),
        ({"retry-after": DATE}, 30.0),
        ({"retry-after": DATE, "date": "Fri, 15 Jan 2027 08:00:20 GMT"}, 10.0),
        ({"retry-after": DATE, "date": "garbage"}, 30.0),
        ({"retry-after": "Fri, 15 Jan 2027 07:00:00 GMT"}, 0.0),
        ({"retry-after-ms": "1500", "retry-after": "7"}, 1.5),
        ({"retry-after-ms": "x", "retry-after": "7"}, 7.0),
        ({"retry-after": "-3"}, None),
        ({"retry-after": "nan"}, None),
        ({"retry-after": "inf"}, None),
        ({"retry-after": "soon"}, None),
        ({"retry-after": "Fri, 15 Jan 99999999 08:00:30 GMT"}, None),
    ],
)
def test_retry_after(headers: dict[str, str], seconds: float | None) -> None:
    assert wait_of(headers, NOW) == seconds


async def test_retry_after_is_kept_of_the_attempt() -> None:
    hop = Hop(targets("a", "b"))
    await hop.out()
    attempt, _ = await hop.begin()
    again(attempt.on_head(head(429, retry_after=DATE)))
    await hop.exchange.close()
    (tried,) = hop.exchange.record.tried
    assert (tried.retry_after, tried.status, tried.head_at) == (30.0, 429, 1000.0)
