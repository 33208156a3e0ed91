"""A probe, as a worker has it: what it asks of whom, what it says of the reply, and what it leaves alone."""

from __future__ import annotations

from typing import Any

import pytest

from extproc.app import line
from extproc.config.names import PROBE_HEADER, SHADOW_HEADER
from extproc.config.schema import ApiKey, Probing, Provider, Region, Secret
from extproc.flow.copying import Copying, Probe, Tokens
from extproc.flow.messages import Continue, Mode, Outgoing, Reply
from extproc.model.call import CallId
from extproc.model.ports import Copy
from tests.kit import ALICE, Dialogue, FakeClock, provider, settings

KEY = b"k" * 32


class Nowhere:
    def post(self, copy: Copy) -> None:
        raise AssertionError(copy)


def acme(**changes: Any) -> Provider:
    return provider(**{"probing": Probing(timeout=1.5), **changes})


class House:
    def __init__(self, *providers: Provider) -> None:
        self.clock = FakeClock()
        self.tokens = Tokens(KEY, self.clock)
        config = settings(providers={one.name: one for one in providers}, models={}, keys=(ALICE,))
        self.talk = Dialogue(config, clock=self.clock)
        self.talk.machine.copying = Copying(self.tokens, Nowhere())

    async def asks(self, place: str = "acme", name: str = "acme") -> Outgoing:
        token = self.tokens.issue(Probe(CallId("probe-1"), name, place))
        return await self.send(token)

    async def send(self, token: str) -> Outgoing:
        head = {SHADOW_HEADER: token, "accept": "*/*", "user-agent": "prober"}
        return await self.talk.head("/", "GET", end=True, headers=head)


@pytest.mark.parametrize(
    ("changes", "path", "more"),
    [
        ({}, "/v1/models", {"authorization": "Bearer provider-secret-key"}),
        (
            {"dialect": "anthropic_messages", "endpoint": "http://127.0.0.1:9001"},
            "/v1/models?limit=1",
            {"x-api-key": "provider-secret-key", "anthropic-version": "2023-06-01"},
        ),
        (
            {"dialect": "gemini_generate", "endpoint": "http://127.0.0.1:9001"},
            "/v1beta/models?pageSize=1",
            {"x-goog-api-key": "provider-secret-key"},
        ),
        (
            {"dialect": "cohere_chat", "endpoint": "http://127.0.0.1:9001"},
            "/v1/models?page_size=1",
            {"authorization": "Bearer provider-secret-key"},
        ),
        (
            {"dialect": "ollama_chat", "endpoint": "http://127.0.0.1:9001", "api_key": None},
            "/api/tags",
            {},
        ),
        (
            {
                "variant": "azure",
                "api_version": "2024-10-21",
                "endpoint": "http://127.0.0.1:9001/openai",
            },
            "/openai/models?api-version=2024-10-21",
            {"api-key": "provider-secret-key"},
        ),
        ({"probing": Probing(timeout=1.5, path="/up?a=1")}, "/v1/up?a=1", {}),
        (
            {
                "dialect": "bedrock_converse",
                "variant": "bedrock",
                "endpoint": "http://127.0.0.1:9001",
                "probing": Probing(timeout=1.5, path="/ping"),
            },
            "/ping",
            {},
        ),
    ],
    ids=str,
)
async def test_it_asks_its_provider_in_its_own_way(
    changes: dict[str, Any], path: str, more: dict[str, str]
) -> None:
    house = House(acme(**changes))
    answer = await house.asks()
    assert isinstance(answer, Continue)
    said = dict(answer.set)
    assert said[":path"] == path
    assert ":method" not in said, "it is a GET as it came"
    assert said["x-envoy-upstream-rq-per-try-timeout-ms"] == "1500"
    assert more.items() <= said.items()
    assert SHADOW_HEADER in answer.remove
    assert (answer.mode, answer.body) == (Mode.REQUEST, None)
    assert answer.route is not None
    assert answer.route.clusters == ("provider-acme",)
    plan = dict(answer.route.plan)
    assert (plan["probe"], plan["provider"], plan["caller"]) == ("yes", "acme", "probe")
    assert "worker" not in plan, "of one that is cut nobody needs to hear"


@pytest.mark.parametrize(
    ("status", "details", "word"),
    [
        (200, "via_upstream", "ok"),
        (404, "via_upstream", "ok"),
        (401, "via_upstream", "credential"),
        (429, "via_upstream", "rate_limit"),
        (500, "via_upstream", "server_error"),
        (503, "upstream_reset_before_response_started{connection_failure}", "connect"),
        (504, "upstream_per_try_timeout", "timeout"),
        (503, "cluster_not_found", "gone"),
        (500, "something_of_ours", "ours"),
    ],
)
async def test_it_says_in_a_word_what_came(status: int, details: str, word: str) -> None:
    house = House(acme())
    await house.asks()
    answer = await house.talk.reply_head(status, details=details, headers={PROBE_HEADER: "ok"})
    assert answer == Continue(set=((PROBE_HEADER, word),))
    exchange = house.talk.exchange
    assert exchange.over
    assert not exchange.cut_off()
    record = await exchange.close()
    assert record.probe
    assert not record.shadow
    assert line(record)["status"] == status
    assert house.talk.machine.health.view() == {}, "it judges nobody"


@pytest.mark.parametrize(("dialect", "word"), [("gemini_generate", "credential"), (None, "ok")])
async def test_a_status_by_which_a_key_is_refused(dialect: str | None, word: str) -> None:
    """What is asked is right, so what is wrong is the key."""
    house = House(acme(dialect=dialect or "openai_chat"))
    await house.asks()
    answer = await house.talk.reply_head(400)
    assert answer == Continue(set=((PROBE_HEADER, word),))


async def test_each_key_is_asked_by_itself() -> None:
    several = (ApiKey(name="a", key=Secret("one")), ApiKey(name="b", key=Secret("two")))
    for name, key in (("a", "one"), ("b", "two")):
        house = House(acme(api_key=None, api_keys=several))
        answer = await house.asks(f"acme#{name}")
        assert isinstance(answer, Continue)
        assert dict(answer.set)["authorization"] == f"Bearer {key}"


async def test_each_region_is_asked_by_itself() -> None:
    regions = tuple(
        Region(name=name, endpoint=f"http://127.0.0.1:{port}/v1", api_key=Secret(name))
        for name, port in (("east", 9001), ("west", 9002))
    )
    for name, port in (("east", 9001), ("west", 9002)):
        house = House(acme(api_key=None, regions=regions))
        answer = await house.asks(f"acme@{name}")
        assert isinstance(answer, Continue)
        said = dict(answer.set)
        assert (said[":authority"], said["authorization"]) == (
            f"127.0.0.1:{port}",
            f"Bearer {name}",
        )


@pytest.mark.parametrize(
    ("place", "name"), [("acme#x", "acme"), ("other", "other"), ("zeta", "zeta")]
)
async def test_only_who_is_to_be_probed_is(place: str, name: str) -> None:
    house = House(acme(), provider("zeta"))
    answer = await house.asks(place, name)
    assert isinstance(answer, Reply)
    assert answer.status == 404
    assert PROBE_HEADER not in answer.headers, "so it says nothing of the provider"


async def test_a_token_is_good_once_and_for_seconds() -> None:
    house = House(acme())
    token = house.tokens.issue(Probe(CallId("probe-1"), "acme", "acme"))
    assert isinstance(await house.send(token), Continue)
    again = House(acme())
    again.tokens = house.tokens
    again.talk.machine.copying = house.talk.machine.copying
    refused = await again.send(token)
    assert isinstance(refused, Reply)
    assert refused.status == 401
    late = House(acme())
    late.clock.advance(60.0)
    refused = await late.send(token)
    assert isinstance(refused, Reply)
    assert refused.status == 401
