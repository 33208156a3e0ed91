"""What is recorded of an exchange that was cut in the midst of its reply, by what Envoy says of it."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

import pytest

from extproc.app import line
from extproc.config.schema import Breaker, Routing
from extproc.flow.cuts import UNREAD, Cut
from extproc.flow.messages import Mode
from extproc.model.call import Ending, Failure, Outcome
from extproc.model.errors import Origin
from extproc.model.stage import Stage
from extproc.routing.breaker import State
from tests.flow.hops import ROLE, WORD, Hop, ask, good, head, stream_head, targets
from tests.kit import Dialogue, FakeClock

STREAM = "text/event-stream"


def said(flag: str, status: int = 0, details: str = "x") -> Cut:
    return Cut(status, frozenset({flag}), details)


LEFT = said("DC", details="downstream_remote_disconnect")
BROKE = said("UC", 502, "upstream_reset_after_response_started{connection_termination}")
SILENT = said("SI", 504, "stream_idle_timeout")
BROKE_LATER, SILENT_LATER = said("UPE", 200), said("SI", 200)
"""of a stream whose head has gone out: the client has its 200"""


async def held(size: int = 100) -> Dialogue:
    """A whole reply whose head came."""
    dialogue = Dialogue()
    await dialogue.head()
    await dialogue.body(ask().replace(b"chat", b"gpt-4o"))
    answer = await dialogue.reply_head(headers={"content-length": str(size)})
    assert answer.mode is Mode.WHOLE  # type: ignore[union-attr]
    return dialogue


async def flowing(*pieces: bytes) -> Dialogue:
    dialogue = Dialogue()
    await dialogue.head()
    await dialogue.body(ask(stream=True).replace(b"chat", b"gpt-4o"))
    await dialogue.reply_head(content_type=STREAM)
    for piece in pieces:
        await dialogue.reply_body(piece, end=False)
    return dialogue


async def test_a_whole_reply_that_broke_off() -> None:
    dialogue = await held()
    assert dialogue.exchange.cut_off()
    record = await dialogue.exchange.close(BROKE)
    assert (record.outcome, record.status) == (Outcome.BROKEN, 502)
    assert (record.error_code, record.error_origin) == ("connection_lost", Origin.NETWORK)
    fields = line(record)
    assert (fields["status"], fields["error"]) == (502, "connection_lost")
    assert "acme" in str(fields["message"])


async def test_a_whole_reply_that_stalled() -> None:
    dialogue = await held()
    assert dialogue.exchange.cut_off()
    record = await dialogue.exchange.close(SILENT)
    assert (record.outcome, record.status) == (Outcome.BROKEN, 504)
    assert (record.error_code, record.error_origin) == ("timeout", Origin.NETWORK)


@pytest.mark.parametrize("cut", [LEFT, said("DR"), said("DPE"), None])
async def test_a_client_that_left_a_whole_reply(cut: Cut | None) -> None:
    dialogue = await held()
    assert dialogue.exchange.cut_off()
    record = await dialogue.exchange.close(cut)
    assert (record.outcome, record.status, record.error) == (Outcome.ABORTED, 200, None)


@pytest.mark.parametrize(
    ("cut", "outcome", "code"),
    [
        (LEFT, Outcome.ABORTED, None),
        (BROKE_LATER, Outcome.BROKEN, "connection_lost"),
        (SILENT_LATER, Outcome.BROKEN, "timeout"),
    ],
)
async def test_a_stream(cut: Cut, outcome: Outcome, code: str | None) -> None:
    dialogue = await flowing(ROLE, WORD)
    assert dialogue.exchange.cut_off()
    record = await dialogue.exchange.close(cut)
    assert (record.outcome, record.status, record.error_code) == (outcome, 200, code)


async def test_a_stream_that_broke_before_envoy_had_sent_its_head() -> None:
    """The worker had let it go; the client got Envoy's own reply all the same."""
    dialogue = await flowing()
    assert dialogue.exchange.cut_off()
    record = await dialogue.exchange.close(BROKE)
    assert (record.outcome, record.status) == (Outcome.BROKEN, 502)


async def test_of_a_long_silent_stream_nobody_knows_who_it_was() -> None:
    """A client that does not read makes Envoy wait for it: its provider is not to blame."""
    dialogue = await flowing(ROLE, *([WORD] * (UNREAD // len(WORD) + 1)))
    assert dialogue.exchange.record.bytes_out > UNREAD
    assert dialogue.exchange.cut_off()
    record = await dialogue.exchange.close(SILENT)
    assert (record.outcome, record.error_code) == (Outcome.ABORTED, "idle_timeout")


async def test_what_ended_properly_is_not_cut() -> None:
    whole = await held()
    await whole.reply_body(good("a"))
    assert not whole.exchange.cut_off()
    assert (await whole.exchange.close()).outcome is Outcome.OK
    stream = await flowing(ROLE, WORD, b'data: {"choices":[{"index":0,"delta":{},"finish_reason":')
    await stream.reply_body(b'"stop"}]}\n\ndata: [DONE]\n\n', end=False)
    assert not stream.exchange.over
    assert not stream.exchange.cut_off(), "all was said, and the client is free to go"


@pytest.mark.parametrize("messages", range(3))
async def test_before_the_reply_begins_it_is_the_client_who_left(messages: int) -> None:
    dialogue = Dialogue()
    if messages > 0:
        await dialogue.head()
    if messages > 1:
        await dialogue.body(ask().replace(b"chat", b"gpt-4o"))
    assert not dialogue.exchange.cut_off()
    assert (await dialogue.exchange.close()).outcome is Outcome.ABORTED


async def test_the_time_that_it_waits_for_the_word_is_not_its_own() -> None:
    dialogue = await held()
    dialogue.clock.advance(2.0)
    assert dialogue.exchange.cut_off()
    dialogue.clock.advance(1.0)
    assert (await dialogue.exchange.close(BROKE)).duration == pytest.approx(2.0)


class Ends(Stage):
    seen: list[Ending]

    async def on_end(self, ending: Ending) -> None:
        self.seen.append(ending)


async def test_the_stages_hear_the_truth_once() -> None:
    Ends.seen = []
    dialogue = Dialogue(stages=(Ends,))
    await dialogue.head()
    await dialogue.body(ask().replace(b"chat", b"gpt-4o"))
    await dialogue.reply_head()
    assert dialogue.exchange.cut_off()
    assert Ends.seen == []
    await dialogue.exchange.close(BROKE)
    await dialogue.exchange.close(LEFT)
    assert [(one.outcome, one.status) for one in Ends.seen] == [(Outcome.BROKEN, 502)]


# --- what health hears ---


async def watched() -> Hop:
    """The only attempt of a model with several targets: it needs no hop."""
    calm = Routing(breaker=Breaker(failures=1, open=5.0))
    hop = Hop(targets("a", "b", attempts=1, routing=calm), clock=FakeClock())
    await hop.out()
    await hop.reply_head()
    return hop


async def through_the_hop() -> Hop:
    calm = Routing(breaker=Breaker(failures=1, open=5.0))
    hop = Hop(targets("a", "b", routing=calm), clock=FakeClock())
    await hop.out()
    attempt, _ = await hop.begin()
    attempt.on_head(head())
    await hop.reply_head()
    return hop


@pytest.mark.parametrize("begin", [watched, through_the_hop])
@pytest.mark.parametrize(
    ("cut", "failure", "state"),
    [
        (BROKE, Failure.RESET, State.OPEN),
        (SILENT, Failure.TIMEOUT, State.OPEN),
        (LEFT, Failure.LEFT, State.CLOSED),
        (None, Failure.LEFT, State.CLOSED),
    ],
)
async def test_the_breaker_hears_it(
    begin: Callable[[], Awaitable[Hop]], cut: Cut | None, failure: Failure, state: State
) -> None:
    hop = await begin()
    hop.clock.advance(1.0)
    assert hop.exchange.cut_off()
    assert hop.machine.running == {}, "nothing begins for it any more"
    hop.clock.advance(1.0)
    record = await hop.exchange.close(cut)
    (tried,) = record.tried
    assert (tried.failure, tried.target.provider) == (failure, "a")
    assert tried.ended - tried.began == pytest.approx(1.0)
    health = hop.machine.health
    assert (health.standing("a/m").state, health.busy("a/m")) == (state, 0)
    assert health.standing("b/m").state is State.CLOSED


async def test_a_stream_that_broke_after_the_pass() -> None:
    hop = Hop(targets("a", "b"))
    await hop.out(ask(stream=True))
    attempt, _ = await hop.begin()
    attempt.on_head(stream_head())
    await hop.reply_head(200, STREAM)
    await hop.reply_body(ROLE, end=False)
    assert hop.exchange.cut_off()
    record = await hop.exchange.close(BROKE_LATER)
    assert [one.failure for one in record.tried] == [Failure.RESET]
    assert (record.outcome, record.status) == (Outcome.BROKEN, 200)
