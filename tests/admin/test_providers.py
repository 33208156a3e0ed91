"""What is said of a provider, member by member."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from extproc.admin.providers import health, is_local, listed
from extproc.admin.standing import Standing, Status
from extproc.config.schema import ApiKey, AwsAuth, Probing, ProviderTls, Secret, SecurityLevel
from extproc.model.call import Capabilities, Price
from tests.kit import provider, settings, snapshot

UP = Standing(Status.AVAILABLE, 1.5)
DOWN = Standing(Status.UNAVAILABLE, 2.5, "connection refused", 1.0)
TARGETS = [{"model": "gpt-4o", "state": "open"}]


@pytest.mark.parametrize(
    ("endpoint", "local"),
    [
        ("http://127.0.0.1:11434", True),
        ("http://[::1]:11434", True),
        ("https://10.1.2.3/v1", True),
        ("http://ollama-consistency:11434", True),
        ("http://localhost:8000/v1", True),
        ("https://llm.corp.internal/v1", True),
        ("https://8.8.8.8/v1", False),
        ("https://api.openai.com/v1", False),
    ],
)
def test_local_or_cloud(endpoint: str, local: bool):
    assert is_local(endpoint) is local
    told = listed(provider(endpoint=endpoint), UP, detail=False)
    assert told["type"] == ("local" if local else "cloud")


@pytest.mark.parametrize(
    ("changes", "model"),
    [
        ({"model": "m", "models": ("a", "m")}, "m"),
        ({"models": ("gpt-*", "gpt-4o")}, "gpt-4o"),
        ({"models": ("text-embedding-3-small", "b")}, "b"),
        ({"models": ("gpt-*",)}, None),
    ],
)
def test_the_model_it_answers_with(changes: dict[str, Any], model: str | None):
    one = provider(**changes)
    told = listed(one, UP, detail=True)
    backend = snapshot(settings(providers={"acme": one}, models={})).atlas.backends["acme"]
    assert told["model"] == model == backend.default_model(embeds=False)
    assert (told["capabilities"] is None) is (model is None)


@pytest.mark.parametrize(
    ("standing", "short"),
    [
        (UP, {"available": True, "status": "healthy", "last_checked": 1.5}),
        (DOWN, {"available": False, "status": "unavailable", "last_checked": 2.5}),
        (Standing(), {"available": True, "status": "unknown", "last_checked": None}),
    ],
)
def test_health(standing: Standing, short: dict[str, object]):
    assert health(standing, detail=False) == short
    more = {"reason": standing.reason, "since": standing.since, "targets": TARGETS}
    assert health(standing, detail=True, targets=TARGETS) == {**short, **more}


def test_everything_that_is_told():
    one = provider(
        also=("openai_responses",),
        endpoint="https://acme.example/v1",
        headers={"x-team": Secret("hunter2")},
        capabilities={"gpt-4o": Capabilities(max_output=77)},
        prices={"gpt-4o": Price(2.5, 10, 1.25)},
        tls=ProviderTls(ca=Path("/ca"), cert=Path("/cert"), key=Path("/key")),
        proxy="proxy.example:3128",
        security_level=SecurityLevel.HIGH,
        unavailable="api_key: ACME_KEY is not set",
    )
    told = listed(one, DOWN, detail=True, targets=TARGETS)
    capabilities = told.pop("capabilities")
    assert isinstance(capabilities, dict)
    assert capabilities["max_output"] == 77
    assert capabilities["streaming"] is True
    assert capabilities["vision"] is True
    price = told.pop("price")
    assert isinstance(price, dict)
    assert (price["input"], price["output"], price["cache_read"]) == (2.5, 10, 1.25)
    assert told == {
        "name": "acme",
        "type": "cloud",
        "model": "gpt-4o",
        "security_level": "high",
        "cost_per_token": None,
        "status": "unavailable",
        "languages": ["openai_chat", "openai_responses"],
        "models": ["gpt-4o", "gpt-4o-mini"],
        "transport": {
            "endpoint": "https://acme.example/v1",
            "variant": None,
            "api_version": None,
            "project": None,
            "region": None,
            "auth": "api_key",
            "headers": ["x-team"],
            "timeout": 60.0,
            "proxy": "proxy.example:3128",
            "probe": False,
            "tls": {"roots": "own", "client_certificate": True, "sni": None},
        },
        "last_checked": 2.5,
        "reason": "connection refused",
        "since": 1.0,
        "lacks": "api_key: ACME_KEY is not set",
        "targets": TARGETS,
    }


@pytest.mark.parametrize(
    ("changes", "auth"),
    [
        ({}, "api_key"),
        ({"api_key": None}, "none"),
        ({"api_key": None, "api_keys": (ApiKey(name="a", key=Secret("hunter2")),)}, "api_key"),
        ({"auth": AwsAuth(external_id=Secret("hunter2"))}, "aws"),
    ],
)
def test_how_it_is_signed_and_no_secret(changes: dict[str, Any], auth: str):
    told = json.dumps(listed(provider(**changes), UP, detail=True))
    assert json.loads(told)["transport"]["auth"] == auth
    assert json.loads(told)["transport"]["tls"] is None
    assert "hunter2" not in told
    assert "provider-secret-key" not in told


def test_what_probes_found_is_there_where_they_are_made():
    found = [{"result": "ok", "at": 1.5, "failed_in_a_row": 0}]
    told = listed(provider(probing=Probing()), UP, detail=True, probes=found)
    assert told["probes"] == found
    assert health(UP, detail=True, probes=found)["probes"] == found
    assert "probes" not in listed(provider(), UP, detail=True)
    assert "probes" not in health(UP, detail=False, probes=found)
    through = provider(endpoint="https://acme.example", proxy="p:1", probing=Probing())
    assert json.loads(json.dumps(listed(through, UP, detail=True)))["transport"]["probe"] is True
