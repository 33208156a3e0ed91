"""Attempts with a provider's several keys: which one signs, which is asked next, what is told."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

import pytest

from extproc.app import line
from extproc.config.schema import ApiKey, RetryBudget, Routing, Secret, Settings
from extproc.flow.attempt import Word
from extproc.flow.exchange import Exchange
from extproc.flow.messages import Continue, Reply
from extproc.model.call import Failure, Outcome
from tests.flow.hops import (
    DEFAULT,
    DIALECTS,
    Hop,
    again,
    ask,
    error_of,
    good,
    head,
    piece,
    targets,
)
from tests.kit import provider

SECRETS = ("secret-one", "secret-two")


def keyed(*others: str, first: str = "a", **more: Any) -> Settings:
    """Model `chat`: `first` with two keys, then the others."""
    config = targets(first, *others, **more)
    keys = tuple(
        ApiKey(name=name, key=Secret(secret)) for name, secret in zip("xy", SECRETS, strict=True)
    )
    config.providers[first] = provider(
        first,
        dialect=DIALECTS[first],
        endpoint=f"http://127.0.0.1:9001/{first}",
        models=("m",),
        api_key=None,
        api_keys=keys,
    )
    return config


def signed(sent: Continue) -> str:
    headers = dict(sent.set)
    return headers.get("x-goog-api-key") or headers["authorization"].removeprefix("Bearer ")


def names(secrets: Sequence[str]) -> list[str]:
    return ["xy"[SECRETS.index(secret)] for secret in secrets]


async def told(hop: Hop) -> dict[str, Any]:
    """The log line, in which no key stands."""
    record = await hop.exchange.close()
    told = json.loads(json.dumps(line(record)))
    assert not [secret for secret in SECRETS if secret in json.dumps(told)]
    return told


@pytest.mark.parametrize(
    ("status", "failure"),
    [(429, Failure.RATE_LIMIT), (401, Failure.CREDENTIAL), (403, Failure.CREDENTIAL)],
)
async def test_the_next_key_is_asked(status: int, failure: Failure) -> None:
    hop = Hop(keyed("b"))
    await hop.out()
    first, sent = await hop.begin()
    assert sent.route is not None
    assert again(first.on_head(head(status, retry_after="30"))) is failure
    second, next_ = await hop.begin()
    assert {signed(sent), signed(next_)} == set(SECRETS)
    assert next_.route is not None
    assert sent.route.clusters == next_.route.clusters == ("provider-a",)
    assert second.on_head(head()) is Word.PASS
    await hop.reply_head()
    last = await hop.reply_body(good("a"))
    assert isinstance(last, Continue)
    said = dict(last.set)
    assert (said["x-sluice-provider"], said["x-sluice-attempts"]) == ("a", "2")
    one, other = names([signed(sent), signed(next_)])
    standing = hop.machine.health.standing
    assert standing(f"a#{one}/m").until == pytest.approx(30.0)
    assert standing(f"a#{other}/m").until == 0.0
    line = await told(hop)
    assert (line["provider"], line["key_name"], line["outcome"]) == ("a", other, "ok")
    assert [each.split()[0] for each in line["tried"]] == [f"a#{one}/m", f"a#{other}/m"]


async def test_the_direct_way_is_signed_with_the_key_that_was_drawn() -> None:
    """With one attempt there is no hop: the provider is asked directly, and watched."""
    hop = Hop(keyed(attempts=1))
    sent = await hop.out(ask(stream=True))
    assert isinstance(sent, Continue)
    assert sent.route is not None
    assert sent.route.clusters == ("provider-a",)
    (name,) = names([signed(sent)])
    await hop.reply_head(429, headers={"retry-after": "9"})
    await hop.reply_body(error_of("a", 429, "slow down"))
    line = await told(hop)
    assert line["key_name"] == name
    assert hop.machine.health.standing(f"a#{name}/m").until == pytest.approx(9.0)


@pytest.mark.parametrize("stream", [False, True])
async def test_the_next_key_is_asked_where_a_400_means_the_key(stream: bool) -> None:
    """Gemini's word for a key that it does not know."""
    hop = Hop(keyed(first="c"))
    out = await hop.out(ask(stream=stream))
    assert dict(getattr(out, "set", ()))["x-sluice-hold"] == "1"
    first, sent = await hop.begin()
    assert first.on_head(head(400)) is Word.HOLD
    body = error_of("c", 400, "key")
    assert first.on_piece(piece(body[:30])) is Word.HOLD
    assert again(first.on_piece(piece(body[30:], end=True))) is Failure.CREDENTIAL
    second, next_ = await hop.begin()
    assert {signed(sent), signed(next_)} == set(SECRETS)
    assert second.on_head(head()) is Word.PASS
    one, _ = names([signed(sent), signed(next_)])
    assert hop.machine.health.standing(f"c#{one}/m").until == pytest.approx(60.0)
    assert "fallback:credential" in (await told(hop))["why"]


async def test_another_400_of_it_is_the_client_s() -> None:
    hop = Hop(keyed(first="c"))
    await hop.out()
    attempt, _ = await hop.begin()
    assert attempt.on_head(head(400)) is Word.HOLD
    assert attempt.on_piece(piece(error_of("c", 400), end=True)) is Word.PASS
    await hop.reply_head(400)
    await hop.reply_body(error_of("c", 400))
    (tried,) = (await hop.exchange.close()).tried
    assert (tried.failure, tried.status) == (None, 400)


@pytest.mark.parametrize(
    ("config", "status"),
    [
        (keyed(first="c", on=tuple(set(DEFAULT) - {Failure.CREDENTIAL})), 400),
        (keyed("c"), 400),
        (keyed(first="c"), 200),
        (keyed(first="c"), 404),
    ],
    ids=["no trigger", "not its language", "a good reply", "another status"],
)
async def test_a_body_is_not_read_for_the_key_where_it_says_nothing_of_it(
    config: Settings, status: int
) -> None:
    hop = Hop(config)
    await hop.out()
    attempt, _ = await hop.begin()
    assert attempt.on_head(head(status)) is Word.PASS


@pytest.mark.parametrize("attempts", [1, 2])
async def test_a_key_rests_that_a_400_refused_and_the_client_is_told_whose_fault_it_is(
    attempts: int,
) -> None:
    hop = Hop(keyed(first="c", attempts=attempts))
    sent = await hop.out()
    for at in range(2 if attempts > 1 else 0):
        attempt, sent = await hop.begin()
        assert attempt.on_head(head(400)) is Word.HOLD
        found = attempt.on_piece(piece(error_of("c", 400, "key"), end=True))
        assert (found is Word.PASS) == (at > 0)
    assert isinstance(sent, Continue)
    (name,) = names([signed(sent)])
    await hop.reply_head(400)
    answer = await hop.reply_body(error_of("c", 400, "key"))
    assert isinstance(answer, Continue)
    said = dict(answer.set)
    assert (said[":status"], said["x-sluice-error-origin"]) == ("502", "provider")
    assert b"provider_credential_refused" in (answer.body or b"")
    (*_, last) = (await hop.exchange.close()).tried
    assert last.failure is Failure.CREDENTIAL
    assert hop.machine.health.standing(f"c#{name}/m").until == pytest.approx(60.0)


async def test_all_keys_at_rest_are_a_503() -> None:
    hop = Hop(keyed())
    await hop.out()
    for seconds in ("30", "40"):
        attempt, _ = await hop.begin()
        attempt.on_head(head(429, retry_after=seconds))
    await hop.reply_head(429)
    await hop.reply_body(error_of("a", 429, "slow down"))
    assert (await told(hop))["outcome"] == Outcome.PROVIDER_ERROR
    later = Exchange(hop.machine)
    hop.exchange = later
    answer = await hop.out()
    assert isinstance(answer, Reply)
    assert answer.status == 503
    assert answer.headers["retry-after"] == "30"
    assert (await later.close()).attempts == 0


async def test_another_key_after_a_host_s_failure_is_counted_as_asking_again() -> None:
    config = keyed("b", routing=Routing(budget=RetryBudget(percent=0.0, minimum=0)))
    hop = Hop(config)
    await hop.out()
    attempt, _ = await hop.begin()
    again(attempt.on_head(head(503)))
    attempt, sent = await hop.begin()
    assert sent.route is not None
    assert sent.route.clusters == ("provider-b",), "nobody of `a` may be asked again"
    assert attempt.on_head(head()) is Word.PASS
    await hop.reply_head()
    await hop.reply_body(good("b"))
    assert "struck:retry_budget" in (await told(hop))["why"]


async def test_the_budget_is_not_for_keys_that_are_at_fault() -> None:
    hop = Hop(keyed("b", routing=Routing(budget=RetryBudget(percent=0.0, minimum=0))))
    await hop.out()
    attempt, _ = await hop.begin()
    again(attempt.on_head(head(429)))
    attempt, sent = await hop.begin()
    assert sent.route is not None
    assert sent.route.clusters == ("provider-a",)
    attempt.on_head(head())
    await hop.exchange.close()
