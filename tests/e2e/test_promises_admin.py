"""What is promised of the providers' standing: who is there, who is not, since when, and why."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from typing import Any

import pytest

from extproc.mock import MockProvider
from tests.e2e.asking import chat
from tests.e2e.harness import ADMIN_KEY, ALICE_KEY, PROVIDER_KEY, Gateway
from tests.e2e.processes import eventually

Make = Callable[..., Gateway]

SHORT = {"name", "type", "model", "security_level", "cost_per_token", "status"}
HEALTH = {
    "service",
    "version",
    "uptime",
    "providers",
    "cache",
    "rate_limiter",
    "timestamp",
}
SOON = 10.0
"""seconds within which a provider's end is known"""


def get(gateway: Gateway, path: str, key: str | None = None) -> Any:
    with gateway.http(key) as client:
        answer = client.get(path)
    assert answer.status_code == 200, answer.text
    return answer.json()


def providers(gateway: Gateway, key: str | None = None) -> dict[str, Any]:
    listed = get(gateway, "/providers?detail=1", key)["providers"]
    return {one["name"]: one for one in listed}


def until(gateway: Gateway, name: str, status: str, key: str | None = None) -> dict[str, Any]:
    """What is told of a provider as soon as that is its status."""
    with gateway.http(key) as client:

        def told() -> dict[str, Any] | None:
            listed = client.get("/providers", params={"detail": 1}).json()["providers"]
            return next((o for o in listed if (o["name"], o["status"]) == (name, status)), None)

        return eventually(told, SOON, f"{name} {status}")


class Machine:
    """A provider's machine: `on` and `off`, always at the same address."""

    def __init__(self) -> None:
        self._life = ExitStack()
        self.url = self.on().url

    def on(self) -> MockProvider:
        port = int(self.url.rpartition(":")[2]) if hasattr(self, "url") else 0
        return self._life.enter_context(MockProvider.running(port=port))

    def off(self) -> None:
        self._life.close()


@pytest.fixture
def machine() -> Iterator[Machine]:
    machine = Machine()
    yield machine
    machine.off()


def test_providers_and_who_may_see_them(gateway: Gateway) -> None:
    """S1-50, S1-178, S3-3: these members and no others; a secret is not among them."""
    until(gateway, "acme", "available", ADMIN_KEY)
    absent = until(gateway, "absent", "unavailable", ADMIN_KEY)
    assert absent["reason"] == "connection refused"
    assert abs(absent["since"] - time.time()) < 3600
    listed = get(gateway, "/providers", ADMIN_KEY)["providers"]
    assert [one["name"] for one in listed] == ["acme", "quick", "absent"]
    assert all(one.keys() == SHORT for one in listed)
    assert listed[0] == {
        "name": "acme",
        "type": "local",
        "model": "gpt-4o",
        "security_level": "high",
        "cost_per_token": 0.001,
        "status": "available",
    }
    acme = providers(gateway, ADMIN_KEY)["acme"]
    assert acme["capabilities"]["max_output"] == 16_384
    assert acme["transport"]["endpoint"] == gateway.mock.base_url
    for path in ("/providers", "/providers?detail=1", "/health/detailed?detail=1"):
        with gateway.http() as client:
            assert client.get(path).status_code == 401
        with gateway.http(ALICE_KEY) as client:
            assert client.get(path).status_code == 403
        with gateway.http(ADMIN_KEY) as client:
            assert PROVIDER_KEY not in client.get(path).text


def test_health_in_detail(keyless: Gateway) -> None:
    """S1-54 to S1-57, S3-36: these members and no others, times as unix seconds, none stale."""
    until(keyless, "acme", "available")
    until(keyless, "absent", "unavailable")
    told = get(keyless, "/health/detailed")
    assert told.keys() == HEALTH
    assert told["service"] == "healthy"
    assert isinstance(told["uptime"], int)
    assert abs(told["timestamp"] - time.time()) < 60
    assert told["providers"].keys() == {"acme", "quick", "absent"}
    for one in told["providers"].values():
        assert one.keys() == {"available", "status", "last_checked"}
        assert 0 <= told["timestamp"] - one["last_checked"] < 60
    up, down = told["providers"]["acme"], told["providers"]["absent"]
    assert (up["available"], up["status"]) == (True, "healthy")
    assert (down["available"], down["status"]) == (False, "unavailable")
    assert told["cache"] == {"status": "disabled", "total_entries": 0, "total_size_mb": 0.0}
    assert isinstance(told["cache"]["total_size_mb"], float)
    assert told["rate_limiter"].keys() == {"active_users", "global_requests_last_minute"}


def test_a_provider_that_ends_and_comes_back(make_gateway: Make, machine: Machine) -> None:
    """S1-159, S3-38: seen within 10 s, with reason and since, and it recovers unaided."""
    own = {"dialect": "openai_chat", "endpoint": f"{machine.url}/v1", "models": ["gpt-4o"]}
    gateway = make_gateway(workers=1, providers={"own": own}, models={})
    until(gateway, "own", "available")
    stopped = time.time()
    machine.off()
    told = until(gateway, "own", "unavailable")
    assert told["reason"] == "connection refused"
    assert stopped - 1 <= told["since"] <= time.time()
    health = get(gateway, "/health/detailed")
    assert health["providers"]["own"]["available"] is False
    assert health["service"] == "healthy"
    assert chat(gateway, "words=3").status == 502
    machine.on()
    assert until(gateway, "own", "available")["since"] is None
    assert chat(gateway, "words=3").status == 200


def test_exchanges_tell_of_one_that_is_not_probed(make_gateway: Make, mock: MockProvider) -> None:
    """S1-55: without a probe, what exchanges met is what is known."""
    own = {
        "dialect": "openai_chat",
        "endpoint": mock.base_url,
        "models": ["gpt-4o"],
        "probe": False,
    }
    gateway = make_gateway(workers=1, providers={"own": own}, models={})

    assert providers(gateway)["own"]["status"] == "unknown"
    assert chat(gateway, "words=3").status == 200
    assert until(gateway, "own", "available")["last_checked"] is not None
    for _ in range(3):
        assert chat(gateway, "status=500").status == 500
    told = until(gateway, "own", "unavailable")
    assert told["reason"] == "none of its last 3 answers was a good one"
    assert chat(gateway, "words=3").status == 200
    until(gateway, "own", "available")


@pytest.mark.parametrize("key", ["", "key-of-claude"])
def test_a_provider_without_its_credential(
    make_gateway: Make, mock: MockProvider, key: str
) -> None:
    """S1-62: unset, it says so; set, the provider sees it."""
    config = {
        "anthropic": {
            "endpoint": mock.url,
            "api_key": "${ANTHROPIC_API_KEY}",
            "model": "claude-sonnet-4-5",
        },
        "acme": {"dialect": "openai_chat", "endpoint": mock.base_url, "models": ["gpt-4o"]},
    }
    env = {"ANTHROPIC_API_KEY": key} if key else {}
    gateway = make_gateway(workers=1, providers=config, models={}, env=env)
    if not key:
        told = until(gateway, "anthropic", "unavailable")
        assert told["reason"] == "no credential"
        assert told["lacks"] == "api_key: ANTHROPIC_API_KEY is not set"
        health = get(gateway, "/health/detailed")["providers"]["anthropic"]
        assert health["available"] is False
        assert time.time() - health["last_checked"] < 60
        return
    until(gateway, "anthropic", "available")
    assert chat(gateway, "words=3", model="claude-sonnet-4-5").status == 200
    assert mock.requests[-1].headers["x-api-key"] == key
