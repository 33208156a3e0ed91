"""Several keys of one provider: each balances and rests by itself, and none is ever shown.

The mock tells keys apart by how they end, as `key=END` in a fault's directive says.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from extproc.mock import MockProvider
from tests.e2e import raw
from tests.e2e.faulty import ask, said, tried
from tests.e2e.harness import ADMIN_KEY, ALICE_KEY, KEYS, Gateway, running

SECRETS = {"one": "upstream-secret-b0a1-aaaa", "two": "upstream-secret-c2d3-bbbb"}
ENV = {"KEY_ONE": SECRETS["one"], "KEY_TWO": SECRETS["two"]}
LIST = ["${KEY_ONE}", {"key": "${KEY_TWO}", "name": "two", "weight": 3}]
NAMED = [{"key": "${KEY_ONE}", "name": "one"}, {"key": "${KEY_TWO}", "name": "two"}]
COOLING = 30
"""seconds"""
FAULTS = {
    "fine": "",
    "limited": f"status=429;retry-after={COOLING};key=aaaa",
    "limited-streams": f"status=429;retry-after={COOLING};key=aaaa",
    "revoked": "status=401;key=aaaa",
    "forbidden": "status=403;key=aaaa",
    "spent": f"status=429;retry-after={COOLING}",
    "down": "status=500",
}
UNKNOWN = ("unknown", "unknown-streams")
"""in Gemini's language, for which that is a bad request"""
ENOUGH = 12
"""calls after which each of two keys was drawn, but once in four thousand times"""


@pytest.fixture(scope="module")
def shared(
    shared_mock: MockProvider, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Gateway]:
    common = {"dialect": "openai_chat", "models": ["m"], "api_keys": NAMED}
    providers: dict[str, Any] = {
        name: {
            **common,
            "endpoint": shared_mock.fault_url(fault) if fault else shared_mock.base_url,
        }
        for name, fault in FAULTS.items()
    }
    for name in UNKNOWN:
        fault = f"refuse=unknown_key;key=aaaa;tag={name}"
        endpoint = f"{shared_mock.url}/fault/{fault}/v1beta"
        providers[name] = {**common, "dialect": "gemini_generate", "endpoint": endpoint}
    providers["weighted"] = {**providers["fine"], "api_keys": LIST}
    providers["spare"] = {**providers["fine"], "models": ["s"]}
    models = {"safe": ["down/m", "spare/s"]}
    blocks = {"providers": providers, "models": models, "keys": KEYS, "workers": 1}
    folder = tmp_path_factory.mktemp("several")
    with running(folder, shared_mock, key=ALICE_KEY, env=ENV, **blocks) as gateway:
        yield gateway


@pytest.fixture
def gateway(shared: Gateway, mock: MockProvider) -> Gateway:
    return shared


def used(mock: MockProvider) -> Counter[str]:
    """With which key the mock was asked, and how often."""
    names = {secret: name for name, secret in SECRETS.items()}
    return Counter(
        names[one.headers.get("x-goog-api-key") or one.headers["authorization"][len("Bearer ") :]]
        for one in mock.requests
    )


def drawn(gateway: Gateway, model: str, *, stream: bool = False) -> raw.Answer:
    """The first reply for which key `one` was asked first: that attempt failed."""
    for _ in range(ENOUGH):
        answer = ask(gateway, model, stream=stream)
        assert answer.status == 200, answer
        assert answer.headers["x-sluice-attempts"] in "12"
        if answer.headers["x-sluice-attempts"] == "2":
            return answer
    raise AssertionError("it was never drawn")


@pytest.mark.parametrize(
    ("name", "failure", "stream"),
    [
        ("limited", "rate_limit", False),
        ("limited-streams", "rate_limit", True),
        ("revoked", "credential", False),
        ("forbidden", "credential", True),
        ("unknown", "credential", False),
        ("unknown-streams", "credential", True),
    ],
)
def test_a_key_that_fails_is_passed_over_at_once_and_from_then_on(
    gateway: Gateway, mock: MockProvider, name: str, failure: str, stream: bool
) -> None:
    answer = drawn(gateway, f"{name}/m", stream=stream)
    assert said(answer, stream=stream)
    assert answer.headers["x-sluice-provider"] == name
    assert answer.headers["x-sluice-why"] == f"name,weighted,fallback:{failure}"
    line = gateway.wait_exchange(answer.headers["x-sluice-call-id"])
    assert (line["provider"], line["key_name"], line["attempts"]) == (name, "two", 2)
    assert tried(line) == [(f"{name}#one", failure), (f"{name}#two", "ok")]
    mock.clear()
    for _ in range(ENOUGH):
        later = ask(gateway, f"{name}/m", stream=stream)
        assert (later.status, later.headers["x-sluice-attempts"]) == (200, "1")
    assert used(mock) == {"two": ENOUGH}
    cools = [one for one in gateway.log_lines() if one["event"] == "target cools"]
    assert [one["target"] for one in cools if name in one["target"]] == [f"{name}#one/m"]


def test_keys_share_the_calls_by_weight(gateway: Gateway, mock: MockProvider) -> None:
    for _ in range(100):
        answer = ask(gateway, "weighted/m")
        assert (answer.status, answer.headers["x-sluice-provider"]) == (200, "weighted")
    assert 60 <= used(mock)["two"] <= 90


def test_when_all_rest_the_client_is_told_until_when(gateway: Gateway, mock: MockProvider) -> None:
    first = ask(gateway, "spent/m")
    assert (first.status, first.headers["retry-after"]) == (429, str(COOLING))
    assert used(mock) == {"one": 1, "two": 1}
    second = ask(gateway, "spent/m")
    assert second.status == 503
    assert COOLING - 5 <= int(second.headers["retry-after"]) <= COOLING
    assert len(mock.requests) == 2, "nobody was asked"


def test_both_keys_come_before_the_next_group(gateway: Gateway, mock: MockProvider) -> None:
    answer = ask(gateway, "safe")
    assert answer.headers["x-sluice-provider"] == "spare"
    line = gateway.wait_exchange(answer.headers["x-sluice-call-id"])
    found = tried(line)
    assert {name for name, _ in found[:2]} == {"down#one", "down#two"}
    assert [why for _, why in found] == ["server_error", "server_error", "ok"]
    assert len(mock.requests) == 3


def test_explain_shows_each_key(gateway: Gateway, mock: MockProvider) -> None:
    answer = ask(gateway, "fine/m")
    call_id = answer.headers["x-sluice-call-id"]
    name = gateway.wait_exchange(call_id)["key_name"]
    mock.clear()
    body = {"model": "fine/m", "messages": [{"role": "user", "content": "hi"}]}
    question = json.dumps({"call_id": call_id, "body": body}).encode()
    asked = raw.request("POST", "/v1/route/explain", question, gateway.auth)
    told = raw.exchange(gateway.port, asked).json
    rows = [(one["provider"], one["key_name"], one["kept"]) for one in told["candidates"]]
    assert rows == [("fine", "one", True), ("fine", "two", True)]
    assert told["attempts"][0]["key_name"] == name
    assert told["by"] == "call"
    assert not mock.requests


def test_it_is_one_provider_and_one_cluster(gateway: Gateway) -> None:
    with gateway.http(ADMIN_KEY) as admin:
        short = admin.get("/providers").json()["providers"]
        full = admin.get("/providers", params={"detail": 1}).json()["providers"]
        health = admin.get("/health/detailed").json()["providers"]
    names = [*FAULTS, *UNKNOWN, "weighted", "spare"]
    assert [one["name"] for one in short] == names == [*health]
    assert {"name", "type", "model", "security_level", "cost_per_token", "status"} == {*short[0]}
    fine = next(one for one in full if one["name"] == "fine")
    assert [(one["model"], one["key_name"]) for one in fine["targets"]] == [
        ("m", "one"),
        ("m", "two"),
    ]
    assert fine["transport"]["auth"] == "api_key"
    files = [
        path.read_text() for path in gateway.data.rglob("*") if path.suffix in (".json", ".yaml")
    ]
    clusters = [
        text
        for text in files
        if '"name": "provider-fine' in text or '"name":"provider-fine' in text
    ]
    assert len(clusters) == 1
    assert clusters[0].count('provider-fine"') == 2, "the cluster, and its hosts"


def test_no_key_is_ever_shown(gateway: Gateway) -> None:
    answer = ask(gateway, "fine/m")
    question = json.dumps({"model": "fine/m", "messages": []}).encode()
    explain = raw.exchange(
        gateway.port, raw.request("POST", "/v1/route/explain", question, gateway.auth)
    )
    with gateway.http(ADMIN_KEY) as admin:
        config = admin.get("/admin/config").text
        shown = [
            config,
            admin.get("/metrics", params={"format": "prometheus"}).text,
            admin.get("/providers", params={"detail": 1}).text,
            admin.get("/health/detailed", params={"detail": 1}).text,
        ]
    assert json.loads(config)["settings"]["providers"]["fine"]["api_keys"] == [
        {"name": "one", "key": "***", "weight": 1.0},
        {"name": "two", "key": "***", "weight": 1.0},
    ]
    shown += [explain.body.decode(), answer.body.decode(), str(answer.headers)]
    gateway.wait_exchange(answer.headers["x-sluice-call-id"])
    shown += [gateway.log_text()]
    files = [path for path in gateway.data.rglob("*") if path.is_file()]
    for secret in SECRETS.values():
        assert not [text[:200] for text in shown if secret in text]
        assert not [path for path in files if secret.encode() in path.read_bytes()]


def test_a_reload_brings_a_key_and_takes_one_away(
    make_gateway: Callable[..., Gateway], mock: MockProvider
) -> None:
    """All along it is one cluster, and what is known of a key stays."""
    fault = mock.fault_url(FAULTS["revoked"])
    acme = {"dialect": "openai_chat", "models": ["m"], "endpoint": fault}
    alone = {**acme, "api_keys": NAMED[1:]}
    gateway = make_gateway(key=ALICE_KEY, env=ENV, keys=KEYS, workers=1, providers={"acme": alone})

    def reloaded(keys: list[Any]) -> None:
        file = gateway.folder / "sluice.yaml"
        providers = {"acme": {**acme, "api_keys": keys}}
        file.write_text(json.dumps({**json.loads(file.read_text()), "providers": providers}))
        with gateway.http(ADMIN_KEY) as admin:
            done = admin.post("/admin/reload", timeout=30.0)
        assert done.status_code == 200, done.text
        assert not [secret for secret in SECRETS.values() if secret in done.text]

    first = ask(gateway, "acme/m")
    assert first.status == 200
    assert "x-sluice-attempts" not in first.headers, "with one key nothing is chosen"
    reloaded(NAMED)
    drawn(gateway, "acme/m")
    reloaded([*NAMED, {"key": "${ACME_KEY}", "name": "three"}])
    mock.clear()
    answers = [ask(gateway, "acme/m") for _ in range(ENOUGH)]
    assert {answer.headers["x-sluice-attempts"] for answer in answers} == {"1"}
    lines = [gateway.wait_exchange(one.headers["x-sluice-call-id"]) for one in answers]
    assert {line["key_name"] for line in lines} == {"two", "three"}, "the first still cools"
    reloaded(NAMED[1:])
    assert "x-sluice-attempts" not in ask(gateway, "acme/m").headers
    clusters = {line["cluster"] for line in gateway.access_lines() if line.get("cluster")}
    assert clusters <= {"provider-acme", "attempt", "admin"}, clusters
