"""All attempts of an exchange: their order, what each is sent, when there are no more, what is told."""

from __future__ import annotations

import json
from dataclasses import dataclass, field

import pytest

from extproc.config.names import FLOW_BUFFERS, FLOWS
from extproc.config.schema import Breaker, Limits, RetryBudget, Routing, Secret, Window
from extproc.flow.attempt import End, Word
from extproc.flow.exchange import OutOfTurn
from extproc.flow.messages import Continue, Reply
from extproc.model.call import Attempt, Call, Ending, Failure, Outcome
from extproc.model.errors import ContentBlocked, Timeout, Unsupported
from extproc.model.stage import Stage
from extproc.routing.breaker import State
from tests.flow.hops import (
    BODIES,
    BROKEN,
    LAST,
    PING,
    ROLE,
    VIA,
    WORD,
    Hop,
    again,
    ask,
    error_of,
    good,
    head,
    piece,
    stream_head,
    targets,
)
from tests.kit import CALL_ID, FakeClock, provider

LEAST, MIDDLE, _ = FLOW_BUFFERS


def continued(answer: object) -> Continue:
    assert isinstance(answer, Continue), answer
    return answer


def refused(answer: object, status: int) -> Reply:
    assert isinstance(answer, Reply), answer
    assert answer.status == status
    return answer


async def test_the_hop_gets_nothing_of_the_client() -> None:
    hop = Hop(targets("a", "b"))
    hop.machine.address = "/run/worker-1.sock"
    out = continued(
        await hop.out(headers={"authorization": "Bearer k", "cookie": "c", "x-sluice-tags": "t"})
    )
    assert dict(out.set) == {
        ":path": "/",
        ":method": "POST",
        "content-length": "0",
        "x-sluice-call": CALL_ID,
        "x-sluice-dest": "/run/worker-1.sock",
    }
    assert set(out.remove) == {"authorization", "cookie", "x-sluice-tags", "content-type"}
    assert out.body == b""
    assert out.route is not None
    assert out.route.clusters == ("attempt",)
    assert hop.machine.running == {CALL_ID: hop.exchange}
    await hop.exchange.close()
    assert hop.machine.running == {}


async def test_little_is_held_of_what_flows() -> None:
    """Outside for a request without a body, at the hop for what the attempt sends."""
    hop = Hop(targets("a", "b"))
    out = continued(await hop.out(ask(stream=True, prompt_cache_key="x" * LEAST)))
    assert out.route is not None
    assert dict(out.route.plan)[FLOWS] == str(LEAST)
    for size in (MIDDLE, LEAST):  # the second language has no such key
        attempt, sent = await hop.begin()
        assert sent.route is not None
        assert sent.route.plan == ((FLOWS, str(size)),)
        again(attempt.on_head(head(503))) if size == MIDDLE else attempt.on_head(stream_head())


async def test_each_attempt_is_rendered_afresh() -> None:
    config = targets("a", "b", "c")
    for name in "abc":
        config.providers[name] = provider(
            name,
            dialect=config.providers[name].dialect,
            endpoint=f"http://127.0.0.1:9001/{name}",
            models=("m",),
            api_key=Secret(f"key-of-{name}"),
            headers={f"x-of-{name}": Secret("1")},
        )
    hop = Hop(config)
    await hop.out(ask(seed=7, user="u"), {"traceparent": "00-1-2-01", "openai-beta": "x"})
    seen: list[dict[str, str]] = []
    for name in "abc":
        attempt, sent = await hop.begin()
        changes = dict(sent.set)
        seen.append(changes)
        assert changes[":path"].startswith(f"/{name}/")
        assert sent.body is not None
        assert changes["content-length"] == str(len(sent.body))
        assert sent.route is not None
        assert (sent.route.clusters, sent.route.plan) == ((f"provider-{name}",), (("whole", "1"),))
        assert changes["traceparent"] == "00-1-2-01"
        assert ("openai-beta" in changes) is (name == "a")
        assert {"x-sluice-call", "x-sluice-dest", "x-sluice-hold"} <= set(sent.remove)
        others = [f"key-of-{other}" for other in "abc" if other != name]
        assert not [v for v in changes.values() for other in others if other in v]
        assert f"x-of-{name}" in changes
        assert not {f"x-of-{other}" for other in "abc" if other != name} & set(changes)
        if name != "c":
            again(attempt.on_head(head(503)))
            assert attempt.stage.value == "over"
        else:
            assert attempt.on_head(head()) is Word.PASS
    assert seen[1]["x-api-key"] == "key-of-b"
    assert "authorization" not in seen[1]
    answer = await hop.reply_head()
    assert continued(answer).route is not None
    last = continued(await hop.reply_body(good("c")))
    said = dict(last.set)
    assert said["x-sluice-provider"] == "c"
    assert said["x-sluice-attempts"] == "3"
    assert said["x-sluice-why"] == "alias,order,fallback:overloaded,fallback:overloaded"
    assert "seed" not in said.get("x-sluice-dropped", ""), "what the last one lost, no other"
    assert "user" in said["x-sluice-dropped"]
    record = await hop.exchange.close()
    assert [t.failure for t in record.tried] == [Failure.OVERLOADED, Failure.OVERLOADED, None]
    assert record.outcome is Outcome.OK
    assert record.tried[2].usage == record.usage


async def test_the_same_target_again_waits_and_is_rendered_again() -> None:
    hop = Hop(targets("a", "b", same=1, base=0.5))
    await hop.out()
    first, sent = await hop.begin()
    assert first.pause == 0
    again(first.on_head(head(503)))
    second = hop.exchange.attempt()
    assert 0.25 <= second.pause <= 0.5
    answer = continued(await second.begin({}))
    assert answer.body == sent.body
    assert answer.body is not sent.body
    again(second.on_head(head(503)))
    third = hop.exchange.attempt()
    assert third.pause == 0


# What the log and the client are told.


async def test_the_access_log_learns_who_answered() -> None:
    hop = Hop(targets("a", "b"))
    await hop.out()
    attempt, _ = await hop.begin()
    again(attempt.on_head(head(500)))
    attempt, _ = await hop.begin()
    assert attempt.on_head(head()) is Word.PASS
    route = continued(await hop.reply_head()).route
    assert route is not None
    assert route.clusters == ()
    told = dict(route.plan)
    assert (told["provider"], told["cluster"], told["model"]) == ("b", "provider-b", "chat")


async def test_the_last_error_goes_to_the_client_as_it_came() -> None:
    hop = Hop(targets("b", "a"))
    await hop.out()
    attempt, _ = await hop.begin()
    again(attempt.on_head(head(529)))
    attempt, _ = await hop.begin()
    assert attempt.on_head(head(429, retry_after="7")) is Word.PASS
    await hop.reply_head(429, headers={"retry-after": "7"})
    body = error_of("a", 429, "slow down")
    last = continued(await hop.reply_body(body))
    assert last.body is None, "the very bytes of the last provider"
    assert ("x-sluice-provider", "a") in last.set
    record = await hop.exchange.close()
    assert record.status == 429
    assert [t.failure for t in record.tried] == [Failure.OVERLOADED, Failure.RATE_LIMIT]


async def test_envoy_s_reply_for_the_last_is_read_by_what_the_hop_knows() -> None:
    hop = Hop(targets("a", "b"))
    await hop.out()
    attempt, _ = await hop.begin()
    again(attempt.on_head(head(503, details="no_healthy_upstream")))
    attempt, _ = await hop.begin()
    reset = "upstream_reset_before_response_started{connection_termination}"
    assert attempt.on_head(head(503, details=reset, x_sluice_again="UC")) is Word.CLEAN
    await hop.reply_head(503, details=VIA)
    last = continued(await hop.reply_body(b"whatever Envoy says"))
    assert (":status", "502") in last.set
    assert json.loads(last.body or b"")["error"]["code"] == "connection_lost"
    record = await hop.exchange.close()
    assert [t.failure for t in record.tried] == [Failure.DNS, Failure.RESET]


async def test_a_provider_s_forged_header_asks_for_nothing() -> None:
    hop = Hop(targets("a", "b"))
    await hop.out()
    attempt, _ = await hop.begin()
    assert attempt.on_head(head(200, x_sluice_again="1", x_sluice_end="1")) is Word.CLEAN
    await hop.passes(good("a"))
    assert (await hop.exchange.close()).outcome is Outcome.OK


@pytest.mark.parametrize("last", [400, 503, 0])
async def test_when_nobody_can_the_original_error_is_told(last: int) -> None:
    hop = Hop(targets("a", "b", on=(*BODIES, Failure.OVERLOADED)))
    await hop.out()
    attempt, _ = await hop.begin()
    assert attempt.on_head(head(400)) is Word.HOLD
    again(attempt.on_piece(piece(error_of("a", 400, "context"), end=True)))
    attempt, _ = await hop.begin()
    if not last:
        attempt.lost()
        _, end = await hop.tried_to_begin()
        assert isinstance(end, End)
        answer = await hop.tell(head(502, x_sluice_end="x"))
    else:
        found = attempt.on_head(head(last))
        if found is Word.HOLD:
            found = attempt.on_piece(piece(error_of("b", 400, "else"), end=True))
        assert found is Word.PASS
        answer = await hop.tell(head(last))
    reply = refused(answer, 400)
    assert json.loads(reply.body)["error"]["code"] == "context_length_exceeded"
    assert reply.headers["x-sluice-provider"] == "a"
    record = await hop.exchange.close()
    assert [t.target.provider for t in record.tried] == ["a", "b"]
    assert record.tried[0].failure is Failure.CONTEXT_LENGTH


async def test_a_good_reply_after_the_original_error() -> None:
    hop = Hop(targets("a", "b", on=BODIES))
    await hop.out()
    attempt, _ = await hop.begin()
    attempt.on_head(head(400))
    again(attempt.on_piece(piece(error_of("a", 400, "context"), end=True)))
    attempt, _ = await hop.begin()
    assert attempt.on_head(head()) is Word.HOLD
    assert attempt.on_piece(piece(good("b"), end=True)) is Word.PASS
    assert b"hello" in await hop.passes(good("b"))
    assert (await hop.exchange.close()).outcome is Outcome.OK


# Deadlines.


async def test_the_deadline_bounds_each_attempt() -> None:
    hop = Hop(targets("a", "b", deadline=10.0))
    await hop.out()
    hop.clock.advance(4.0)
    attempt, sent = await hop.begin()
    assert dict(sent.set)["x-envoy-upstream-rq-per-try-timeout-ms"] == "6000"
    hop.clock.advance(5.99)
    timeout = head(504, details="upstream_per_try_timeout")
    assert attempt.on_head(timeout) is Word.PASS, "no time for another"
    await hop.reply_head(504)
    last = continued(await hop.reply_body(b""))
    assert (":status", "504") in last.set
    record = await hop.exchange.close()
    assert [t.failure for t in record.tried] == [Failure.TIMEOUT]
    assert "struck:deadline" in record.why


@pytest.mark.parametrize(("wish", "ms"), [("2.5", "2500"), ("99", "10000")])
async def test_the_client_s_own_deadline(wish: str, ms: str) -> None:
    hop = Hop(targets("a", "b", deadline=10.0))
    await hop.out(headers={"x-sluice-timeout": wish})
    _, sent = await hop.begin()
    assert dict(sent.set)["x-envoy-upstream-rq-per-try-timeout-ms"] == ms


async def test_a_deadline_before_a_pause_is_over_ends_it() -> None:
    hop = Hop(targets("a", "b", same=1, base=2.0, deadline=0.9))
    await hop.out()
    attempt, _ = await hop.begin()
    assert attempt.on_head(head(503)) is Word.PASS, "the pause is longer than the time left"


async def test_a_deadline_that_passes_in_a_pause() -> None:
    hop = Hop(targets("a", "b", deadline=1.0))
    await hop.out()
    attempt, _ = await hop.begin()
    again(attempt.on_head(head(503)))
    hop.clock.advance(0.99)
    _, end = await hop.tried_to_begin()
    assert isinstance(end, End)
    assert isinstance(end.error, Timeout)
    refused(await hop.tell(head(504)), 504)
    assert len(hop.exchange.record.tried) == 1


async def test_no_time_at_all() -> None:
    hop = Hop(targets("a", "b"))
    refused(await hop.out(headers={"x-sluice-timeout": "0.01"}), 504)
    assert (await hop.exchange.close()).tried == ()


@pytest.mark.parametrize(("wish", "ms"), [("2.5", "2500"), ("99", "30000"), (None, "30000")])
async def test_a_plain_call_has_it_too(wish: str | None, ms: str) -> None:
    hop = Hop(targets("a"))
    out = continued(await hop.out(headers={"x-sluice-timeout": wish} if wish else None))
    assert dict(out.set)["x-envoy-upstream-rq-per-try-timeout-ms"] == ms
    assert out.route is not None
    assert out.route.clusters == ("provider-a",)


async def test_a_plain_call_with_a_configured_one() -> None:
    hop = Hop(targets("a", deadline=3.0))
    out = continued(await hop.out())
    assert dict(out.set)["x-envoy-upstream-rq-per-try-timeout-ms"] == "3000"


# Who may be asked.


async def test_a_resting_target_is_not_asked() -> None:
    hop = Hop(targets("a", "b", "c", routing=Routing(breaker=Breaker(failures=1))))
    await hop.out()
    health = hop.machine.health
    attempt, _ = await hop.begin()
    other = Hop(hop.config, clock=hop.clock)
    other.machine.known = health
    await other.out()
    first, _ = await other.begin()
    again(first.on_head(head(503)))
    second, _ = await other.begin()
    again(second.on_head(head(503)))
    assert not health.admits("b/m")
    again(attempt.on_head(head(503)))
    _, sent = await hop.begin()
    assert dict(sent.set)[":path"].startswith("/c/")
    assert "struck:breaker" in hop.exchange.record.why
    assert [health.busy(f"{name}/m") for name in "abc"] == [0, 0, 2]
    await hop.exchange.close()
    await other.exchange.close()
    assert [health.busy(f"{name}/m") for name in "abc"] == [0, 0, 0]


async def test_the_budget_of_retries() -> None:
    """It is for asking the same target again: who is next is asked anyway."""
    budget = RetryBudget(percent=0, minimum=1)
    config = targets("a", "b", "c", same=1, base=0.001, attempts=6, routing=Routing(budget=budget))
    hop = Hop(config)
    await hop.out()
    for wanted in "aab":
        attempt, sent = await hop.begin()
        assert dict(sent.set)[":path"].startswith(f"/{wanted}/")
        again(attempt.on_head(head(503)))
    assert "struck:retry_budget" in hop.exchange.record.why
    _, sent = await hop.begin()
    assert dict(sent.set)[":path"].startswith("/c/")


async def test_a_target_that_cannot_carry_it_is_passed_over() -> None:
    hop = Hop(targets("b", "a"))
    tool = {"type": "web_search_preview"}
    await hop.out(ask(tools=[tool], n=3), headers={"x-sluice-strict": "1"})
    attempt, answer = await hop.tried_to_begin()
    sent = continued(answer)
    assert dict(sent.set)[":path"].startswith("/a/")
    assert attempt.notes is not None
    assert attempt.notes.number == 1
    assert "struck:unsupported" in hop.exchange.record.why
    assert hop.exchange.record.tried == ()
    assert hop.machine.health.busy("b/m") == 0


async def test_nobody_can_carry_it() -> None:
    hop = Hop(targets("b", "b2"))
    await hop.out(ask(n=3), headers={"x-sluice-strict": "1"})
    _, end = await hop.tried_to_begin()
    assert isinstance(end, End)
    assert isinstance(end.error, Unsupported)
    reply = refused(await hop.tell(head(400, x_sluice_end="unsupported")), 400)
    assert json.loads(reply.body)["error"]["param"] == "n"
    record = await hop.exchange.close()
    assert (record.tried, record.outcome) == ((), Outcome.REFUSED)


async def test_a_count_that_nobody_can_make_is_an_estimate() -> None:
    hop = Hop(targets("a", "a2", on=()))
    # A client of Anthropic's, whose targets have no such endpoint.
    await hop.head("/v1/messages/count_tokens", headers={"anthropic-version": "2023-06-01"})
    assert isinstance(await hop.body(ask()), Continue)
    _, end = await hop.tried_to_begin()
    assert isinstance(end, End)
    reply = refused(await hop.tell(head(400)), 200)
    assert reply.headers["x-sluice-count"] == "estimate"
    assert json.loads(reply.body)["input_tokens"] > 0


# Stages.


@dataclass
class Watcher(Stage):
    """Is told of every attempt, and says no to the one that it does not like."""

    seen: list[tuple[int, str]] = field(default_factory=list[tuple[int, str]])
    refuses: str = ""
    ending: Ending | None = None

    async def on_attempt(self, call: Call, attempt: Attempt) -> None:
        del call
        self.seen.append((attempt.number, attempt.target.provider))
        if attempt.target.provider == self.refuses:
            raise ContentBlocked("not there", code="policy")

    async def on_end(self, ending: Ending) -> None:
        self.ending = ending


async def test_stages_see_every_attempt() -> None:
    watcher = Watcher()
    hop = Hop(targets("a", "b"), (lambda: watcher,))
    await hop.out()
    attempt, _ = await hop.begin()
    again(attempt.on_head(head(503)))
    await hop.begin()
    assert watcher.seen == [(1, "a"), (2, "b")]
    await hop.exchange.close()
    assert watcher.ending is not None
    assert watcher.ending.attempt is not None
    assert watcher.ending.attempt.number == 2


async def test_a_stage_s_no_is_final() -> None:
    watcher = Watcher(refuses="b")
    hop = Hop(targets("a", "b", "c"), (lambda: watcher,))
    await hop.out()
    attempt, _ = await hop.begin()
    again(attempt.on_head(head(503)))
    _, end = await hop.tried_to_begin()
    assert isinstance(end, End)
    reply = refused(await hop.tell(head(400)), 400)
    assert json.loads(reply.body)["error"]["code"] == "policy"
    assert hop.machine.health.busy("b/m") == 0
    record = await hop.exchange.close()
    assert [t.failure for t in record.tried] == [Failure.OVERLOADED]


async def test_a_defect_in_an_attempt_is_ours() -> None:
    class Bad(Watcher):
        async def on_attempt(self, call: Call, attempt: Attempt) -> None:
            raise ValueError("a bug")

    hop = Hop(targets("a", "b"), (Bad,))
    await hop.out()
    _, end = await hop.tried_to_begin()
    assert isinstance(end, End)
    refused(await hop.tell(head(500)), 500)
    assert (await hop.exchange.close()).outcome is Outcome.FAILED


# Whoever comes late, twice, or never.


async def test_two_begins_never_ask_two_providers_at_once() -> None:
    hop = Hop(targets("a", "b", "c"))
    await hop.out()
    first, _ = await hop.begin()
    second, sent = await hop.begin()
    assert dict(sent.set)[":path"].startswith("/b/")
    assert first.on_head(head()) is Word.PASS, "its stream may end; nothing depends on it"
    first.lost()
    assert second.on_head(head()) is Word.PASS
    await hop.reply_head()
    last = continued(await hop.reply_body(good("b")))
    assert ("x-sluice-provider", "b") in last.set
    record = await hop.exchange.close()
    assert [(t.target.provider, t.failure) for t in record.tried] == [
        ("a", Failure.RESET),
        ("b", None),
    ]


async def test_a_reset_that_is_no_trigger_ends_it() -> None:
    hop = Hop(targets("a", "b", on=(Failure.OVERLOADED,)))
    await hop.out()
    await hop.begin()
    _, end = await hop.tried_to_begin()
    assert isinstance(end, End)


async def test_a_reply_that_passed_and_broke_while_it_was_held_gives_way() -> None:
    hop = Hop(targets("a", "b"))
    await hop.out()
    attempt, _ = await hop.begin()
    assert attempt.on_head(head()) is Word.PASS
    attempt, sent = await hop.begin()
    assert sent.route is not None
    assert sent.route.clusters == ("provider-b",)
    assert attempt.on_head(head()) is Word.PASS
    await hop.tell(head())
    record = await hop.exchange.close()
    assert [t.failure for t in record.tried] == [Failure.RESET, Failure.LEFT]


async def test_a_reply_that_passed_and_was_silent_for_too_long_was_a_timeout() -> None:
    hop = Hop(targets("a", "b", on=(Failure.RESET,)))
    await hop.out()
    attempt, _ = await hop.begin()
    assert attempt.on_head(head()) is Word.PASS
    hop.clock.advance(Limits().idle_timeout)
    _, end = await hop.tried_to_begin()
    assert isinstance(end, End)
    refused(await hop.tell(head(504, x_sluice_end="x")), 504)
    record = await hop.exchange.close()
    assert [t.failure for t in record.tried] == [Failure.TIMEOUT]


async def test_a_reply_that_is_more_than_the_hop_holds_is_refused() -> None:
    hop = Hop(targets("a", "b"))
    await hop.out()
    await hop.begin()
    error = refused(await hop.tell(head(500, x_sluice_end="response_payload_too_large")), 502)
    assert b"longer" in error.body
    record = await hop.exchange.close()
    assert [t.failure for t in record.tried] == [Failure.STREAM_ERROR]


async def test_nothing_begins_after_the_head_is_out_or_the_end() -> None:
    hop = Hop(targets("a", "b"))
    await hop.out()
    attempt, _ = await hop.begin()
    attempt.on_head(head())
    await hop.reply_head()
    late = hop.exchange.attempt()
    assert isinstance(await late.begin({}), End)
    await hop.exchange.close()
    assert isinstance(await hop.exchange.attempt().begin({}), End)
    assert len(hop.exchange.record.tried) == 1


async def test_pieces_after_the_pass_change_nothing() -> None:
    hop = Hop(targets("a", "b", window=Window()))
    await hop.out(ask(stream=True))
    attempt, _ = await hop.begin()
    assert attempt.on_piece(piece(BROKEN)) is Word.HOLD, "before its head"
    attempt.on_head(stream_head())
    again(attempt.on_piece(piece(BROKEN)))
    assert attempt.on_piece(piece(BROKEN, end=True)) is Word.PASS
    assert attempt.on_head(head(500)) is Word.PASS
    assert attempt.on_time() is Word.PASS
    attempt.lost()
    await hop.exchange.close()
    assert [t.failure for t in hop.exchange.record.tried] == [Failure.STREAM_ERROR]


async def test_the_hop_itself_fails() -> None:
    hop = Hop(targets("a", "b"))
    await hop.out()
    answer = await hop.reply_head(503, details="upstream_reset_before_response_started{overflow}")
    assert continued(answer).mode is not None
    last = continued(await hop.reply_body(b"Envoy's own"))
    assert (":status", "503") in last.set
    assert json.loads(last.body or b"")["error"]["code"] == "gateway_busy"
    assert (await hop.exchange.close()).tried == ()


async def test_the_worker_was_too_slow_for_the_hop() -> None:
    """Whoever answers in place of an attempt that never had a verdict, it is no reply of its provider."""
    hop = Hop(targets("a", "b"))
    await hop.out()
    await hop.begin()
    refused(await hop.tell(head(504)), 504)
    record = await hop.exchange.close()
    assert [t.failure for t in record.tried] == [Failure.OURS]
    assert hop.machine.health.busy("a/m") == 0


@pytest.mark.parametrize("when", ["out", "asked", "held", "again", "lost", "passed", "begun"])
async def test_the_client_goes(when: str) -> None:
    hop = Hop(targets("a", "b", window=Window()))
    await hop.out(ask(stream=True))
    if when != "out":
        attempt, _ = await hop.begin()
        if when in ("held", "passed", "lost", "begun"):
            attempt.on_head(stream_head())
        if when == "again":
            again(attempt.on_head(head(503)))
        if when == "lost":
            attempt.lost()
        if when in ("passed", "begun"):
            attempt.on_piece(piece(b'data: {"choices":[{"index":0,"delta":{"content":"x"}}]}\n\n'))
        if when == "begun":
            await hop.reply_head(200, "text/event-stream")
            used = (
                b'data: {"id":"c","object":"chat.completion.chunk","created":1,"model":"m",'
                b'"choices":[],"usage":{"prompt_tokens":3,"completion_tokens":1,"total_tokens":4}}\n\n'
            )
            await hop.reply_body(used, end=False)
    record = await hop.exchange.close()
    assert record.outcome is Outcome.ABORTED
    expected = {"out": [], "again": [Failure.OVERLOADED]}.get(when, [Failure.LEFT])
    assert [t.failure for t in record.tried] == expected
    assert [hop.machine.health.busy(f"{name}/m") for name in "ab"] == [0, 0]
    if when == "begun":
        assert record.tried[0].usage is not None, "partial usage is kept"
    assert hop.machine.running == {}
    assert hop.live.held == 0


async def test_the_reply_is_out_of_turn_without_a_request() -> None:
    hop = Hop(targets("a", "b"))
    await hop.head()
    with pytest.raises(OutOfTurn):
        await hop.reply_body(b"")


async def test_a_stream_that_breaks_after_the_pass_is_counted_once() -> None:
    hop = Hop(targets("a", "b"))
    await hop.out(ask(stream=True))
    attempt, _ = await hop.begin()
    assert attempt.on_head(stream_head()) is Word.PASS
    await hop.reply_head(200, "text/event-stream")
    await hop.reply_body(BROKEN, end=False)
    await hop.reply_body(b"")
    record = await hop.exchange.close()
    assert [t.failure for t in record.tried] == [Failure.STREAM_ERROR]


# One attempt of a plan with several targets, and the plain way of one that was chosen.


async def test_a_chosen_target_alone_is_watched_too() -> None:
    hop = Hop(targets("a", "b", attempts=1), clock=FakeClock())
    out = continued(await hop.out())
    assert out.route is not None
    assert out.route.clusters == ("provider-a",)
    health = hop.machine.health
    assert health.busy("a/m") == 1
    await hop.reply_head(500)
    await hop.reply_body(b"x")
    record = await hop.exchange.close()
    assert [t.failure for t in record.tried] == [Failure.SERVER_ERROR]
    assert health.busy("a/m") == 0


async def test_the_only_target_of_all_is_not() -> None:
    hop = Hop(targets("a"))
    await hop.out()
    await hop.passes(good("a"))
    record = await hop.exchange.close()
    assert (record.tried, hop.machine.known) == ((), None)


async def test_all_are_resting() -> None:
    hop = Hop(targets("a", "b", routing=Routing(breaker=Breaker(failures=1, open=5.0))))
    other = Hop(hop.config, clock=hop.clock)
    other.machine.known = hop.machine.health
    await other.out()
    attempt, _ = await other.begin()
    again(attempt.on_head(head(503)))
    attempt, _ = await other.begin()
    assert attempt.on_head(head(503)) is Word.PASS
    await other.reply_head(503)
    await other.reply_body(b"")
    await other.exchange.close()
    reply = refused(await hop.out(), 503)
    assert reply.headers["retry-after"] == "5"


async def test_a_place_that_is_taken_meanwhile() -> None:
    """A half open target was free when the plan was made, and is not when it is to be asked."""
    config = targets("a", "b", routing=Routing(breaker=Breaker(failures=1, open=5.0)))
    hop = Hop(config)
    await hop.out()
    attempt, _ = await hop.begin()
    again(attempt.on_head(head(503)))
    hop.clock.advance(6.0)
    second = Hop(config, clock=hop.clock)
    second.machine.known = health = hop.machine.health
    assert health.admits("a/m"), "the one trial"
    await second.out()
    _, sent = await second.begin()
    assert dict(sent.set)[":path"].startswith("/b/")
    assert second.exchange.record.why[-1] == "struck:breaker"


# What is told to those who keep count of targets.


@pytest.mark.parametrize("watched", ["alone", "passed", "held"])
async def test_the_first_content_of_a_stream_is_noted(watched: str) -> None:
    """A role, a ping and the head are none."""
    window = Window(seconds=9.0) if watched == "held" else None
    hop = Hop(targets("a", "b", attempts=1 if watched == "alone" else 8, window=window))
    await hop.out(ask(stream=True))
    began = hop.clock.now
    attempt = None
    if watched != "alone" or window:
        attempt, _ = await hop.begin()
        attempt.on_head(stream_head())
    if attempt is not None and watched == "held":
        for content in (ROLE, PING, WORD):
            hop.clock.advance(1.0)
            attempt.on_piece(piece(content))
    await hop.reply_head(200, "text/event-stream")
    for content in (ROLE, PING, WORD, WORD + LAST):
        hop.clock.advance(1.0)
        await hop.reply_body(content, end=content.endswith(LAST))
    record = await hop.exchange.close()
    assert [(t.failure, t.first_at) for t in record.tried] == [(None, began + 3.0)]
    assert hop.machine.health.latency("a/m") == pytest.approx(3.0)


async def test_of_a_whole_reply_it_is_when_it_came() -> None:
    hop = Hop(targets("a", "b"))
    await hop.out()
    attempt, _ = await hop.begin()
    attempt.on_head(head())
    hop.clock.advance(1.0)
    await hop.passes(good("a"))
    (tried,) = (await hop.exchange.close()).tried
    assert tried.first_at == tried.began + 1.0


@pytest.mark.parametrize("waits", [True, False])
async def test_who_came_before_it_opened_gives_back_no_trial_s_place(waits: bool) -> None:
    """One that waits behind a pause, or for an answer, is given up: the trial that runs still runs."""
    terms = Routing(breaker=Breaker(failures=1, open=1.0))
    hop = Hop(targets("a", "b", same=1, base=4.0, routing=terms))
    await hop.out()
    attempt, _ = await hop.begin()
    if waits:
        again(attempt.on_head(head(429, retry_after="0")))
    health, clock = hop.machine.health, hop.clock
    other = Hop(hop.config, clock=clock)
    other.machine.known = health
    clock.advance(0.1)
    await other.out()
    failing, _ = await other.begin()
    failing.on_head(head(503))
    await other.exchange.close()
    assert health.standing("a/m").state is State.OPEN
    clock.advance(1.0)
    assert health.admits("a/m"), "the one trial"
    health.begun("a/m")
    await hop.exchange.close()
    assert not health.admits("a/m"), "its place is still taken"
