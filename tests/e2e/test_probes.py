"""Probes by exchanges of our own, through the real Envoy and with two workers: a provider that does not
answer is out on both without a client's word, comes back, and nobody but the probes is counted for it.

`a` and `b` are providers of their own, `a` behind a relay that fails as a test says, and probed;
`b` and `quiet`, the mock of all tests, are not.
"""

from __future__ import annotations

import json
import signal
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest

from extproc.mock import MockProvider
from tests.e2e import raw
from tests.e2e.asking import CHAT
from tests.e2e.harness import ADMIN_KEY, ALICE_KEY, KEYS, PROVIDER_KEY, Gateway, Line, running
from tests.e2e.processes import eventually
from tests.e2e.relay import Relay

OUT_WITHIN = 10.0
"""seconds, with what a configuration says that asks for nothing but the exchange"""
BACK_WITHIN = 30.0
PROBES = "sluice_probes_total"
COUNTED = ("sluice_requests_total", "sluice_attempts_total", "sluice_tokens_total")


class Place:
    def __init__(self, gateway: Gateway, relay: Relay, own: MockProvider) -> None:
        self.gateway = gateway
        self.relay = relay
        self.own = own

    def ask(self) -> raw.Answer:
        body = json.dumps({"model": "chat", "messages": [{"role": "user", "content": "hi"}]})
        head = {"content-type": "application/json", **self.gateway.auth}
        answer = raw.exchange(self.gateway.port, raw.request("POST", CHAT, body.encode(), head))
        assert answer.status == 200, answer
        return answer

    def provider(self, name: str = "a") -> Mapping[str, Any]:
        with self.gateway.http(ADMIN_KEY) as client:
            listed = client.get("/providers", params={"detail": 1}).json()["providers"]
        return next(one for one in listed if one["name"] == name)

    def state(self) -> str:
        (target,) = self.provider()["targets"]
        return target["state"]

    def probed(self, result: str = "ok") -> float:
        return self.gateway.metric(PROBES, provider="a", result=result)

    def exchanges(self) -> list[Line]:
        return [line for line in self.gateway.log_lines() if line["event"] == "exchange"]

    def counted(self) -> dict[str, float]:
        return {name: self.gateway.metric(name) for name in COUNTED}

    def well(self) -> None:
        self.relay.status, self.relay.delay, self.relay.down = 0, 0.0, False
        eventually(lambda: self.provider()["status"] == "available", BACK_WITHIN, "a to be back")
        eventually(lambda: self.state() in ("closed", "unknown"), BACK_WITHIN, "a's breaker")


def blocks(mock: MockProvider, relay: Relay, probe: object) -> dict[str, Any]:
    common = {"dialect": "openai_chat", "models": ["m"], "api_key": "${ACME_KEY}"}
    return {
        "providers": {
            "a": {**common, "endpoint": f"{relay.url}/v1", "probe": probe, "timeout": "2s"},
            "b": {**common, "endpoint": mock.base_url},
            "quiet": {**common, "endpoint": mock.base_url, "probe": {"exchange": False}},
        },
        "models": {"chat": ["a/m", "b/m"]},
    }


@pytest.fixture(scope="module")
def probed(shared_mock: MockProvider, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Place]:
    folder = tmp_path_factory.mktemp("probed")
    with MockProvider.running() as own, Relay.running(own.url) as relay:
        told = blocks(shared_mock, relay, {"exchange": True})
        with running(folder, shared_mock, key=ALICE_KEY, keys=KEYS, **told) as gateway:
            yield Place(gateway, relay, own)


@pytest.fixture
def place(probed: Place, mock: MockProvider) -> Iterator[Place]:
    probed.well()
    probed.own.clear()
    yield probed
    probed.well()


@pytest.mark.parametrize(
    ("trouble", "result"),
    [
        ({"status": 500}, "server_error"),
        ({"status": 401}, "credential"),
        ({"delay": 300.0}, "timeout"),
        ({"down": True}, "reset"),
    ],
    ids=str,
)
def test_one_that_does_not_answer_is_out_on_all_workers_without_a_client(
    place: Place, trouble: Mapping[str, Any], result: str
) -> None:
    """C18: a dead backend is out in 10 s, for no token."""
    before, lines = place.counted(), len(place.exchanges())
    for name, said in trouble.items():
        setattr(place.relay, name, said)
    began = time.monotonic()
    eventually(lambda: place.state() == "open", OUT_WITHIN, "a to be out")
    assert time.monotonic() - began < OUT_WITHIN
    told = place.provider()
    assert (told["status"], told["probes"][0]["result"]) == ("unavailable", result)
    assert told["probes"][0]["failed_in_a_row"] >= 2
    assert f"probes failed: {result}" in told["reason"]
    assert place.probed(result) >= 2
    assert (place.counted(), len(place.exchanges())) == (before, lines), "nobody asked"
    assert {one.method for one in place.own.requests} <= {"GET"}, "no call, no token"

    # what one process found is soon known to each worker
    workers: set[str] = set()

    def struck() -> bool:
        answer = place.ask()
        assert answer.headers["x-sluice-provider"] == "b"
        line = place.gateway.wait_exchange(answer.headers["x-sluice-call-id"])
        if "struck:breaker" in line["why"]:
            workers.add(line["part"])
        return workers == {"worker-1", "worker-2"}

    eventually(struck, 20.0, "both workers to know")

    # it stays out for as long as it fails, and no client's call is spent on it
    seen = place.probed(result)
    eventually(lambda: place.probed(result) > seen, OUT_WITHIN, "another probe")
    assert place.state() == "open"

    place.well()
    eventually(
        lambda: place.ask().headers["x-sluice-provider"] == "a", 20.0, "a to answer clients again"
    )


def test_nobody_is_counted_for_probes_and_they_are_told_apart(
    place: Place, mock: MockProvider
) -> None:
    before, lines = place.counted(), len(place.exchanges())
    seen = place.probed()
    eventually(lambda: place.probed() >= seen + 2, 15.0, "two more probes")
    assert (place.counted(), len(place.exchanges())) == (before, lines)

    # what the provider sees: a list of models, with its own credential, and nothing of ours
    (asked, *others) = place.own.requests
    assert {one.path for one in (asked, *others)} == {"/v1/models"}
    assert (asked.method, asked.body) == ("GET", b"")
    assert asked.headers["authorization"] == f"Bearer {PROVIDER_KEY}"
    assert not [name for name in asked.headers if "sluice" in name or "envoy" in name]
    assert not mock.requests, "off by default: who is not to be probed is sent nothing"

    def marks() -> list[tuple[object, object, str]]:
        lines = place.gateway.access_lines()
        return [
            (one.get("probe"), one.get("shadow"), one["path"])
            for one in lines
            if one["cluster"] == "provider-a" and one["path"] == "/v1/models"
        ]

    assert set(eventually(marks)) == {("yes", None, "/v1/models")}
    told = place.provider()
    (probe,) = told["probes"]
    assert (probe["result"], probe["failed_in_a_row"]) == ("ok", 0)
    assert time.time() - probe["at"] < 15
    assert told["transport"]["probe"] is True
    assert "probes" not in place.provider("b")
    with place.gateway.http(ADMIN_KEY) as client:
        health = client.get("/health/detailed", params={"detail": 1}).json()["providers"]
        short = client.get("/health/detailed").json()["providers"]
    assert health["a"]["probes"][0]["result"] == "ok"
    assert short["a"].keys() == {"available", "status", "last_checked"}
    everything = place.gateway.log_text() + json.dumps([told, health])
    assert PROVIDER_KEY not in everything + json.dumps(place.gateway.access_lines())


def test_a_client_cannot_have_a_probe_made(place: Place) -> None:
    for headers in ({"x-sluice-shadow": "W10=.00"}, {"x-sluice-probe": "ok"}):
        head = raw.request("GET", "/v1/models", b"", {**place.gateway.auth, **headers})
        answer = raw.exchange(place.gateway.port, head)
        assert answer.status == 200, "the gateway's own list"
        assert answer.json["data"][0]["id"]
        assert "x-sluice-probe" not in answer.headers


def test_after_a_roll_and_a_reload_probes_go_on_or_end(mock: MockProvider, tmp_path: Path) -> None:
    quick = {"exchange": True, "interval": "200ms"}
    with MockProvider.running() as own, Relay.running(own.url) as relay:
        told = blocks(mock, relay, quick)
        with running(tmp_path, mock, key=ALICE_KEY, keys=KEYS, **told) as gateway:
            place = Place(gateway, relay, own)
            eventually(lambda: place.probed() >= 2, 10.0, "probes")
            gateway.signal(signal.SIGUSR2)
            gateway.wait_log(lambda line: line["event"] == "rolled", 20.0)
            seen = place.probed()
            eventually(lambda: place.probed() >= seen + 2, 10.0, "probes after the roll")
            relay.status = 500
            eventually(lambda: place.state() == "open", OUT_WITHIN, "a to be out")

            # a way that is right again is found at once
            relay.status = 0
            reload(gateway, {**quick, "path": "/models/m"})
            eventually(lambda: own.requests[-1].path == "/v1/models/m", 5.0, "the path")
            eventually(lambda: place.state() == "closed", BACK_WITHIN, "a to be back")

            reload(gateway, True)
            own.clear()
            assert "probes" not in place.provider()
            seen = place.probed()
            eventually(lambda: place.provider()["status"] == "available", 10.0, "a connection")
            assert (place.probed(), len(own.requests)) == (seen, 0)
            wrong = [line for line in gateway.log_lines() if line["event"] == "defect"]
            assert not wrong


def reload(gateway: Gateway, probe: object) -> None:
    file = gateway.folder / "sluice.yaml"
    config = json.loads(file.read_text())
    config["providers"]["a"]["probe"] = probe
    file.write_text(json.dumps(config))
    with gateway.http(ADMIN_KEY) as admin:
        assert admin.post("/admin/reload", timeout=30.0).status_code == 200
