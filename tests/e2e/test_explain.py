"""What is told of a request beforehand, or after, is what becomes of it: through the real Envoy."""

from __future__ import annotations

import base64
import json
import random
import subprocess
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest

from extproc.mock import MockProvider
from tests.e2e import raw
from tests.e2e.asking import CHAT
from tests.e2e.harness import ADMIN_KEY, ALICE_KEY, BOB_KEY, PROVIDER_KEY, SLUICE, Gateway
from tests.e2e.processes import eventually

EXPLAIN = "/v1/route/explain"
MESSAGES = "/v1/messages"
PATHS = {"a": "/v1", "b": "", "c": "/v1beta"}
DIALECTS = {"a": "openai_chat", "b": "anthropic_messages", "c": "gemini_generate"}
KEYS: list[dict[str, Any]] = [
    {"name": "root", "key": "${ADMIN_KEY}", "role": "admin"},
    {"name": "alice", "key": "${ALICE_KEY}", "team": "red", "tags": ["beta"]},
    {"name": "bob", "key": "${BOB_KEY}"},
]
PIXEL = base64.b64encode(
    b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR\0\0\0\1\0\0\0\1\x08\x06\0\0\0\x1f\x15\xc4\x89"
).decode()
HI: list[dict[str, Any]] = [{"role": "user", "content": "hi"}]
LONG = [{"role": "user", "content": "word " * 600}]
TALK = [*HI, {"role": "assistant", "content": "yes?"}, {"role": "user", "content": "well"}]
SEEN = [
    {
        "role": "user",
        "content": [
            {"type": "text", "text": "what is it?"},
            {"type": "image_url", "image_url": {"url": f"data:image/png;base64,{PIXEL}"}},
        ],
    }
]
TOOL = {"type": "function", "function": {"name": "look", "parameters": {"type": "object"}}}
SCHEMA = {"type": "object", "properties": {"a": {"type": "string"}}, "required": ["a"]}
FORM = {"type": "json_schema", "json_schema": {"name": "f", "schema": SCHEMA}}
PLAIN: Mapping[str, Any] = {"messages": HI}

CONDITIONS: Mapping[str, tuple[str, Mapping[str, Any], Mapping[str, Any]]] = {
    "key": ('caller.name == "alice"', {}, {"key": BOB_KEY}),
    "team": ('caller.team == "red"', {}, {"key": BOB_KEY}),
    "tag": ('"beta" in caller.tags', {}, {"key": BOB_KEY}),
    "header": ('headers["x-tier"] == "gold"', {"headers": {"X-Tier": "gold"}}, {}),
    "bytes": ("request.bytes > 2000", {"messages": LONG}, {}),
    "tokens": ("request.tokens > 500", {"messages": LONG}, {}),
    "tools": ("request.tools", {"tools": [TOOL]}, {}),
    "images": ("request.images", {"messages": SEEN}, {}),
    "schema": ("request.json_schema", {"response_format": FORM}, {}),
    "stream": ("request.stream", {"stream": True}, {}),
    "output": ("request.max_output > 100", {"max_tokens": 101}, {"max_tokens": 100}),
    "dialect": (
        'request.dialect == "anthropic_messages" && request.turns > 1',
        {"path": MESSAGES, "messages": TALK, "max_tokens": 9},
        {"path": MESSAGES, "max_tokens": 9},
    ),
}


def target(provider: str, **more: Any) -> dict[str, Any]:
    return {"provider": provider, "model": "m", **more}


def blocks(mock: MockProvider) -> dict[str, Any]:
    providers: dict[str, Any] = {}
    for place, (name, dialect) in enumerate(DIALECTS.items(), 1):
        providers[name] = {
            "dialect": dialect,
            "endpoint": mock.url + PATHS[name],
            "api_key": "${ACME_KEY}",
            "models": ["*"],
            "cost_per_token": place / 1000,
            "capabilities": {
                "dull": {"tools": False, "vision": False},
                "short": {"context": 300},
                "long": {"context": 3000},
            },
        }
    providers["gone"] = {**providers["a"], "api_key": "${NOT_THERE}"}
    providers["ill"] = {**providers["a"], "endpoint": f"{mock.url}/fault/status=500/v1"}
    models: dict[str, Any] = {
        f"when-{name}": {"groups": [[target("a", when=when)], [target("b")]]}
        for name, (when, _, _) in CONDITIONS.items()
    }
    arms = [target(name, weight=w, label=label) for name, w, label in ARMS]
    models |= {
        "split": {"groups": [arms], "strategy": "weighted"},
        "once": {"groups": [arms], "strategy": "weighted", "retry": 1},
        "talks": {"groups": [[target("a"), target("b"), target("c")]], "strategy": "sticky"},
        "turns": {"targets": [target("a"), target("b"), target("c")], "strategy": "round_robin"},
        "cheap": {"targets": [target("c"), target("a"), target("b")], "strategy": "least_cost"},
        "strikes": {
            "groups": [
                [
                    {"provider": "a", "model": "dull", "weight": 5},
                    {"provider": "b", "model": "short", "weight": 5},
                    target("c", when='headers["x-tier"] == "gold"', weight=5),
                    target("gone", weight=5),
                    target("ill", weight=0),
                ],
                [target("b")],
            ]
        },
        "sizes": {
            "groups": [
                [{"provider": "a", "model": "short"}],
                [{"provider": "b", "model": "long"}],
            ]
        },
        "falling": {"groups": [[target("ill")], [target("b")]]},
    }
    return {
        "keys": KEYS,
        "providers": providers,
        "models": models,
        "routing": {"breaker": {"failures": 3, "open": "60s"}},
    }


ARMS = (("a", 6, "old"), ("b", 3, "new"), ("c", 1, "odd"))


@pytest.fixture(scope="module")
def explaining(
    shared_mock: MockProvider, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Gateway]:
    folder = tmp_path_factory.mktemp("explaining")
    gateway = Gateway(folder, shared_mock, key=ALICE_KEY, **blocks(shared_mock))
    try:
        gateway.wait_until_ready()
        yield gateway
        assert not [line for line in gateway.log_lines() if line["level"] == "error"]
    finally:
        gateway.destroy()


@pytest.fixture
def gateway(explaining: Gateway, mock: MockProvider) -> Gateway:
    return explaining


class Asked:
    """A request that was sent, and what came; `explained` is what is told of that very call."""

    def __init__(self, gateway: Gateway, model: str, said: Mapping[str, Any]) -> None:
        fields = {**PLAIN, **said, "model": model}
        self.gateway = gateway
        self.path = fields.pop("path", CHAT)
        self.key = fields.pop("key", ALICE_KEY)
        self.headers = fields.pop("headers", {})
        self.body = json.dumps(fields)
        auth = {"authorization": f"Bearer {self.key}"}
        request = raw.request("POST", self.path, self.body.encode(), {**auth, **self.headers})
        self.answer = raw.exchange(gateway.port, request)

    @property
    def said(self) -> Mapping[str, str]:
        return self.answer.headers

    def explained(self) -> dict[str, Any]:
        """The body is in the question as it was sent, byte for byte."""
        rest = json.dumps(
            {"path": self.path, "headers": self.headers, "call_id": self.said["x-sluice-call-id"]}
        )
        return told(self.gateway, f'{{"body": {self.body}, {rest[1:]}', self.key)


def told(gateway: Gateway, question: str, key: str = ALICE_KEY) -> dict[str, Any]:
    answer = posed(gateway, question, key)
    assert answer.status == 200, answer
    assert answer.headers["content-type"] == "application/json"
    return answer.json


def posed(gateway: Gateway, question: str, key: str = ALICE_KEY) -> raw.Answer:
    headers = {"authorization": f"Bearer {key}"} if key else {}
    return raw.exchange(gateway.port, raw.request("POST", EXPLAIN, question.encode(), headers))


def predicted(asked: Asked) -> dict[str, Any]:
    """What is told of the call, which is what became of it."""
    assert asked.answer.status == 200, asked.answer
    explained = asked.explained()
    first = explained["attempts"][0]
    found = (asked.said["x-sluice-provider"], asked.said["x-sluice-model"])
    assert found == (first["provider"], first["model"]), explained
    assert asked.said["x-sluice-attempts"] == "1"
    codes = [one["code"] for one in explained["why"]]
    assert asked.said["x-sluice-why"] == ",".join(codes)
    return explained


@pytest.mark.parametrize("name", CONDITIONS)
def test_conditions_hold_as_explained(gateway: Gateway, name: str) -> None:
    when, meets, misses = CONDITIONS[name]
    for said, provider in ((meets, "a"), (misses, "b")):
        asked = Asked(gateway, f"when-{name}", said)
        explained = predicted(asked)
        assert asked.said["x-sluice-provider"] == provider
        first = explained["candidates"][0]
        if provider == "b":
            assert (first["rule"], first["detail"]) == ("struck:condition", when)
        else:
            assert first["kept"]


def test_200_calls_went_where_explain_says(gateway: Gateway, mock: MockProvider) -> None:
    dice = random.Random(5)
    went: Counter[tuple[str, str]] = Counter()
    sent = 0
    for number in range(200):
        model = ("split", "once", "talks", "turns", "cheap", "strikes")[number % 6]
        said: dict[str, Any] = {"key": dice.choice((ALICE_KEY, BOB_KEY)), "headers": {}}
        if dice.random() < 0.5:
            said["headers"]["x-sluice-conversation"] = f"talk-{number}"
        if dice.random() < 0.5:
            said["headers"]["x-tier"] = "gold"
        if dice.random() < 0.3:
            said["tools"] = [TOOL]
        if dice.random() < 0.3:
            said["messages"] = LONG
        if dice.random() < 0.3:
            said["stream"] = True
        if dice.random() < 0.2:
            said |= {"path": MESSAGES, "max_tokens": 20, "tools": []}
        asked = Asked(gateway, model, said)
        sent += 1
        predicted(asked)
        went[model, asked.said["x-sluice-provider"]] += 1
    assert len(mock.requests) == sent, "to explain is to ask nobody"
    for model in ("split", "talks", "turns", "strikes"):
        assert {provider for found, provider in went if found == model} == {"a", "b", "c"}
    assert {provider for found, provider in went if found == "cheap"} == {"a"}


def test_each_refusal_names_its_rule(gateway: Gateway, mock: MockProvider) -> None:
    rules = {
        "dull": "struck:tools",
        "short": "struck:context",
        "c": "struck:condition",
        "gone": "struck:provider",
        "ill": "struck:weight",
        "b": None,
    }
    body = {"model": "strikes", "messages": LONG, "tools": [TOOL]}
    explained = told(gateway, json.dumps(body))
    found = {
        one["model"] if one["model"] != "m" else one["provider"]: one["rule"]
        for one in explained["candidates"]
    }
    assert found == rules
    assert all(one["means"] for one in explained["candidates"] if not one["kept"])
    assert not mock.requests


def test_an_open_breaker_is_told(gateway: Gateway) -> None:
    for _ in range(8):
        assert Asked(gateway, "falling", {}).said["x-sluice-provider"] == "b"

    def struck() -> Asked | None:
        asked = Asked(gateway, "falling", {})
        return asked if "struck:breaker" in asked.said["x-sluice-why"] else None

    eventually(struck, 5.0, "the breaker opens")

    def told_of() -> bool:
        explained = told(gateway, json.dumps({"model": "falling", "messages": HI}))
        return explained["candidates"][0]["rule"] == "struck:breaker"

    eventually(told_of, 5.0, "it is told")


# --- A/B


def test_who_got_an_arm_keeps_it_through_a_reload(
    make_gateway: Callable[..., Gateway], mock: MockProvider
) -> None:
    config = blocks(mock)
    config["models"] = {"ab": {"groups": [arms("m", "m")], "by": "session"}}
    gateway = make_gateway(key=ALICE_KEY, **config)
    before = {number: arm(gateway, number) for number in range(40)}
    assert set(before.values()) == {"old", "new"}
    file = gateway.folder / "sluice.yaml"
    written = json.loads(file.read_text())
    written["models"] = {
        "ab": {"groups": [arms("m", "other")], "by": "session"},
        "more": {"targets": [target("a")]},
    }
    file.write_text(json.dumps(written))
    with gateway.http(ADMIN_KEY) as admin:
        reloaded = admin.post("/admin/reload", timeout=30.0)
    assert reloaded.status_code == 200, reloaded.text
    assert {number: arm(gateway, number) for number in range(40)} == before
    assert {request.body for request in mock.requests if b'"other"' in request.body}


def arms(old: str, new: str) -> list[dict[str, Any]]:
    return [
        {"provider": "a", "model": old, "label": "old", "weight": 2},
        {"provider": "a", "model": new, "label": "new", "weight": 1},
    ]


def arm(gateway: Gateway, number: int) -> str:
    """The label that a session gets, by the reply, by the log, and by what is told of it."""
    asked = Asked(gateway, "ab", {"headers": {"x-sluice-conversation": f"s-{number}"}})
    label = predicted(asked)["label"]
    assert f"weighted:{label}" in asked.said["x-sluice-why"].split(",")
    return label


# --- lengths


@pytest.mark.parametrize("stream", [False, True])
def test_a_prompt_goes_where_it_fits(gateway: Gateway, mock: MockProvider, stream: bool) -> None:
    more = {"stream": True} if stream else {}
    short = Asked(gateway, "sizes", more)
    assert predicted(short)["attempts"][0]["model"] == "short"
    longer = Asked(gateway, "sizes", {"messages": LONG, **more})
    explained = predicted(longer)
    assert explained["attempts"][0]["model"] == "long"
    assert explained["candidates"][0]["rule"] == "struck:context"
    sent = len(mock.requests)
    text = [{"role": "user", "content": "word " * 4000}]
    too_long = Asked(gateway, "sizes", {"messages": text, **more})
    assert too_long.answer.status == 400, too_long.answer
    error = too_long.answer.json["error"]
    assert error["code"] == "context_length_exceeded"
    assert "about 5004 tokens" in error["message"]
    assert "3000 is the longest" in error["message"]
    assert len(mock.requests) == sent, "it is refused before anything is spent"
    explained = too_long.explained()
    assert explained["error"]["message"] == error["message"]
    assert [one["rule"] for one in explained["candidates"]] == ["struck:context"] * 2


# --- the endpoint itself


def test_it_needs_a_key_and_a_question(gateway: Gateway, mock: MockProvider) -> None:
    body = json.dumps({"model": "split", "messages": HI})
    assert posed(gateway, body, key="").status == 401
    assert posed(gateway, body, key="wrong-key-000000").status == 401
    for bad in ("", "{", "[]", '{"body": {}, "more": 1}', '{"path": "/no", "body": {}}'):
        answer = posed(gateway, bad)
        assert answer.status == 400, answer
        assert answer.json["error"]["type"] == "invalid_request_error"
        assert answer.headers["x-sluice-error-origin"] == "gateway"
    got = raw.exchange(gateway.port, raw.request("GET", EXPLAIN, b"", gateway.auth))
    assert (got.status, got.headers["allow"]) == (405, "POST")
    assert not mock.requests


def test_an_admin_asks_for_somebody_else(gateway: Gateway) -> None:
    body = {"model": "when-key", "messages": HI}
    wrapped = json.dumps({"as": "alice", "body": body})
    assert told(gateway, wrapped, ADMIN_KEY)["candidates"][0]["kept"]
    assert not told(gateway, json.dumps(body), ADMIN_KEY)["candidates"][0]["kept"]
    assert posed(gateway, wrapped, BOB_KEY).status == 403


def test_a_plain_call_tells_its_codes_when_asked(gateway: Gateway) -> None:
    quiet = Asked(gateway, "a/m", {})
    assert "x-sluice-why" not in quiet.said
    for said in ({"headers": {"x-sluice-why": "verbose"}}, {"sluice": {"why": "verbose"}}):
        asked = Asked(gateway, "a/m", said)
        assert (asked.said["x-sluice-attempts"], asked.said["x-sluice-why"]) == ("1", "name")


def test_the_command_asks_a_gateway(gateway: Gateway, tmp_path: Path) -> None:
    (tmp_path / "key").write_text(f"{ADMIN_KEY}\n")
    (tmp_path / "r.json").write_text(json.dumps({"model": "when-key", "messages": HI}))
    command = [str(SLUICE), "explain", "r.json", "--url", gateway.url]
    command += ["--key-file", "key", "--caller", "alice"]

    def run(*more: str) -> str:
        done = subprocess.run(
            [*command, *more], capture_output=True, text=True, timeout=30, check=False, cwd=tmp_path
        )
        assert (done.returncode, done.stderr) == (0, "")
        assert PROVIDER_KEY not in done.stdout
        return done.stdout

    explained = json.loads(run("--json", "--call-id", "gw-x"))
    assert (explained["caller"], explained["call_id"]) == ("alice", "gw-x")
    assert explained["attempts"][0]["provider"] == "a"
    page = run()
    assert "attempt 1: a/m" in page
    assert "No gateway was asked" not in page
