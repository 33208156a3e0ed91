"""Several regions of one provider: each has its own host and secret, balances and rests by itself.

`eu` and `us` are two mocks at addresses of their own.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any, NamedTuple

import pytest

from extproc.mock import MockProvider
from tests.e2e import raw
from tests.e2e.faulty import ask, said
from tests.e2e.harness import ADMIN_KEY, ALICE_KEY, BOB_KEY, KEYS, Gateway, closed_port, running
from tests.e2e.processes import eventually

SECRETS = {"eu": "upstream-secret-eu-aaaa", "us": "upstream-secret-us-bbbb"}
ENV = {"KEY_EU": SECRETS["eu"], "KEY_US": SECRETS["us"]}
FAILURES = 3
"""until a breaker opens"""
CALLS = 80
ENOUGH = 16
"""calls after which each of two equal regions was drawn, but once in thirty thousand times"""


class Place(NamedTuple):
    gateway: Gateway
    eu: MockProvider
    us: MockProvider

    def drawn(self, model: str, *, stream: bool = False) -> raw.Answer:
        """The first reply that took a second attempt."""
        for _ in range(ENOUGH):
            answer = ask(self.gateway, model, stream=stream)
            assert answer.status == 200, answer
            if answer.headers["x-sluice-attempts"] == "2":
                return answer
        raise AssertionError("the first region was never drawn")

    def target(self, provider: str, region: str) -> Mapping[str, Any]:
        found = told(self.gateway, provider)["targets"]
        return next(one for one in found if one["region"] == region)

    def until(self, provider: str, region: str, state: str) -> None:
        def seen() -> bool:
            return self.target(provider, region)["state"] == state

        assert eventually(seen, 5.0, f"{provider}@{region} {state}")


def told(gateway: Gateway, provider: str) -> Mapping[str, Any]:
    with gateway.http(ADMIN_KEY) as admin:
        listed = admin.get("/providers", params={"detail": 1}).json()["providers"]
    return next(one for one in listed if one["name"] == provider)


def regions(eu: str, us: str, weight: float = 1) -> Sequence[Mapping[str, object]]:
    """`weight` is the first one's."""
    return [
        {"name": "eu", "endpoint": eu, "api_key": "${KEY_EU}", "weight": weight},
        {"name": "us", "endpoint": us, "api_key": "${KEY_US}"},
    ]


@pytest.fixture(scope="module")
def other() -> Iterator[MockProvider]:
    with MockProvider.running() as mock:
        yield mock


@pytest.fixture(scope="module")
def shared(
    shared_mock: MockProvider, other: MockProvider, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Gateway]:
    mock, us = shared_mock, other.base_url
    common = {"dialect": "openai_chat", "models": ["m"]}
    dark = f"http://127.0.0.1:{closed_port()}/v1"
    providers = {
        "acme": {**common, "regions": regions(mock.base_url, us, weight=3)},
        "half": {**common, "regions": regions(mock.fault_url("status=500"), us)},
        "limited": {
            **common,
            "regions": regions(mock.fault_url("status=429;retry-after=60"), us),
        },
        "dark": {**common, "regions": regions(dark, us)},
    }
    models = {"near": ["acme@us/m"], "either": ["acme@eu/m", "acme@us/m"]}
    keys = [one for one in KEYS if one["name"] != "bob"]
    keys = [*keys, {"name": "bob", "key": "${BOB_KEY}", "models": ["acme/*"]}]
    blocks = {
        "providers": providers,
        "models": models,
        "keys": keys,
        "workers": 1,
        "routing": {"breaker": {"failures": FAILURES, "open": "300s"}},
    }
    folder = tmp_path_factory.mktemp("regions")
    with running(folder, mock, key=ALICE_KEY, env=ENV, **blocks) as gateway:
        yield gateway


@pytest.fixture
def place(shared: Gateway, mock: MockProvider, other: MockProvider) -> Place:
    other.clear()
    return Place(shared, mock, other)


def test_each_gets_its_share_with_its_own_secret(place: Place) -> None:
    with ThreadPoolExecutor(4) as pool:
        answers = [*pool.map(lambda _: ask(place.gateway, "acme/m"), range(CALLS))]
    assert {answer.status for answer in answers} == {200}
    assert {answer.headers["x-sluice-provider"] for answer in answers} == {"acme"}
    for region, mock in (("eu", place.eu), ("us", place.us)):
        sent = {one.headers["authorization"] for one in mock.requests}
        assert sent == {f"Bearer {SECRETS[region]}"}
    assert len(place.eu.requests) + len(place.us.requests) == CALLS
    assert CALLS / 2 < len(place.eu.requests) < CALLS * 0.93, "three of four"
    lines = [place.gateway.wait_exchange(one.headers["x-sluice-call-id"]) for one in answers]
    found = Counter(line["region"] for line in lines)
    assert found == {"eu": len(place.eu.requests), "us": len(place.us.requests)}
    assert {line["provider"] for line in lines} == {"acme"}


def test_one_is_named(place: Place) -> None:
    for model in ("acme@us/m", "near"):
        for _ in range(4):
            answer = ask(place.gateway, model)
            assert (answer.status, answer.headers["x-sluice-provider"]) == (200, "acme")
    assert (len(place.us.requests), len(place.eu.requests)) == (8, 0)
    assert ask(place.gateway, "either").status == 200
    assert len(place.eu.requests) == 1, "targets in order, one of each region"
    assert ask(place.gateway, "acme@asia/m").status == 404


@pytest.mark.parametrize("stream", [False, True])
def test_a_region_without_a_host_gives_way_to_the_other(place: Place, stream: bool) -> None:
    answer = place.drawn("dark/m", stream=stream)
    assert said(answer, stream=stream)
    assert answer.headers["x-sluice-why"] == "name,weighted,fallback:connect"
    line = place.gateway.wait_exchange(answer.headers["x-sluice-call-id"])
    assert [one.split()[:2] for one in line["tried"]] == [
        ["dark@eu/m", "connect"],
        ["dark@us/m", "ok"],
    ]
    assert not place.eu.requests


def test_a_provider_is_there_as_long_as_one_region_is(place: Place) -> None:
    def seen() -> bool:
        return told(place.gateway, "dark")["status"] == "available"

    assert eventually(seen, 15.0, "dark is available")


def test_a_region_that_fails_is_left_alone_and_the_other_is_not(place: Place) -> None:
    for _ in range(FAILURES):
        place.drawn("half/m")
    place.until("half", "eu", "open")
    assert place.target("half", "us")["state"] == "closed"
    assert place.target("acme", "eu")["state"] in ("closed", "unknown")
    place.eu.clear()
    answers = [ask(place.gateway, "half/m") for _ in range(ENOUGH)]
    assert {answer.status for answer in answers} == {200}
    assert {answer.headers["x-sluice-attempts"] for answer in answers} == {"1"}
    assert not place.eu.requests
    assert told(place.gateway, "half")["status"] == "available"


def test_a_region_cools_by_its_own_word(place: Place) -> None:
    answer = place.drawn("limited/m")
    assert answer.headers["x-sluice-why"] == "name,weighted,fallback:rate_limit"
    place.eu.clear()
    assert {ask(place.gateway, "limited/m").status for _ in range(ENOUGH)} == {200}
    assert not place.eu.requests
    place.until("limited", "eu", "cooling")
    assert ask(place.gateway, "limited@us/m").status == 200


def test_who_may_use_the_provider_may_use_its_regions(place: Place) -> None:
    as_bob = {"authorization": f"Bearer {BOB_KEY}"}
    assert ask(place.gateway, "acme/m", headers=as_bob).status == 200
    assert ask(place.gateway, "acme@us/m", headers=as_bob).status == 200
    for model in ("half/m", "half@us/m", "near"):
        assert ask(place.gateway, model, headers=as_bob).status == 403


def explained(gateway: Gateway, model: str, call_id: str) -> Any:
    body = {"model": model, "messages": [{"role": "user", "content": "hi"}]}
    question = json.dumps({"call_id": call_id, "body": body}).encode()
    asked = raw.request("POST", "/v1/route/explain", question, gateway.auth)
    return raw.exchange(gateway.port, asked).json


def test_each_is_explained(place: Place) -> None:
    answer = ask(place.gateway, "acme/m")
    call_id = answer.headers["x-sluice-call-id"]
    region = place.gateway.wait_exchange(call_id)["region"]
    found = explained(place.gateway, "acme/m", call_id)
    rows = [(one["provider"], one["region"], one["kept"]) for one in found["candidates"]]
    assert rows == [("acme", "eu", True), ("acme", "us", True)]
    assert found["attempts"][0]["region"] == region
    found = explained(place.gateway, "near", call_id)
    assert [one["region"] for one in found["candidates"]] == ["us"]


def test_it_is_one_provider_of_two_hosts(place: Place) -> None:
    with place.gateway.http(ADMIN_KEY) as admin:
        short = admin.get("/providers").json()["providers"]
        metrics = admin.get("/metrics", params={"format": "prometheus"}).text
    assert [one["name"] for one in short] == ["acme", "half", "limited", "dark"]
    acme = told(place.gateway, "acme")
    assert [(one["name"], one["endpoint"], one["weight"]) for one in acme["regions"]] == [
        ("eu", place.eu.base_url, 3.0),
        ("us", place.us.base_url, 1.0),
    ]
    assert [(one["model"], one["region"]) for one in acme["targets"]] == [("m", "eu"), ("m", "us")]
    assert 'provider="acme"' in metrics
    assert "acme@" not in metrics
    hosts = "".join(path.read_text() for path in place.gateway.data.rglob("*.json"))
    assert "provider-acme@eu" in hosts
    assert "provider-acme@us" in hosts
    assert 'provider-acme"' not in hosts


def test_no_secret_is_ever_shown(place: Place) -> None:
    answer = ask(place.gateway, "acme/m")
    with place.gateway.http(ADMIN_KEY) as admin:
        config = admin.get("/admin/config").text
        shown = [config, admin.get("/providers", params={"detail": 1}).text]
    acme = json.loads(config)["settings"]["providers"]["acme"]
    assert [(one["name"], one["api_key"]) for one in acme["regions"]] == [
        ("eu", "***"),
        ("us", "***"),
    ]
    place.gateway.wait_exchange(answer.headers["x-sluice-call-id"])
    shown += [place.gateway.log_text(), str(answer.headers), answer.body.decode()]
    files = [path for path in place.gateway.data.rglob("*") if path.is_file()]
    for secret in SECRETS.values():
        assert not [text[:200] for text in shown if secret in text]
        assert not [path for path in files if secret.encode() in path.read_bytes()]


def test_a_reload_brings_a_region_and_moves_one(
    make_gateway: Callable[..., Gateway], mock: MockProvider, other: MockProvider
) -> None:
    acme = {"dialect": "openai_chat", "models": ["m"]}
    both = regions(mock.base_url, other.base_url)
    moved = regions(other.base_url, other.base_url + "/")
    gateway = make_gateway(
        key=ALICE_KEY,
        env=ENV,
        keys=KEYS,
        workers=1,
        providers={"acme": {**acme, "regions": both[:1]}},
    )

    def answered(wanted: Sequence[Mapping[str, object]] | None = None) -> tuple[int, int]:
        """How often each mock was asked."""
        if wanted is not None:
            file = gateway.folder / "sluice.yaml"
            providers = {"acme": {**acme, "regions": wanted}}
            file.write_text(json.dumps({**json.loads(file.read_text()), "providers": providers}))
            with gateway.http(ADMIN_KEY) as admin:
                done = admin.post("/admin/reload", timeout=30.0)
            assert done.status_code == 200, done.text
        mock.clear()
        other.clear()
        assert {ask(gateway, "acme/m").status for _ in range(ENOUGH)} == {200}
        return len(mock.requests), len(other.requests)

    assert answered() == (ENOUGH, 0)
    assert all(answered(both))
    assert answered(moved) == (0, ENOUGH)
    assert answered(both[:1]) == (ENOUGH, 0)
