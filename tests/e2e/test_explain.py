"""What is told of a request beforehand, or after, is what becomes of it: through the real Envoy."""

from __future__ import annotations

import base64
import json
import random
import subprocess
from collections import Counter
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest

from extproc.mock import MockProvider
from tests.e2e import raw
from tests.e2e.asking import CHAT
from tests.e2e.harness import (
    ADMIN_KEY,
    ALICE_KEY,
    BOB_KEY,
    PROVIDER_KEY,
    SLUICE,
    Gateway,
    running,
)
from tests.e2e.lengths import length
from tests.e2e.processes import eventually

CALLS = length(200, 1000)
EXPLAIN = "/v1/route/explain"
MESSAGES = "/v1/messages"
PATHS = {"a": "/v1", "b": "", "c": "/v1beta"}
DIALECTS = {"a": "openai_chat", "b": "anthropic_messages", "c": "gemini_generate"}
CARL_KEY = "carl-key-1122334455"
KEYS: list[dict[str, Any]] = [
    {"name": "root", "key": "${ADMIN_KEY}", "role": "admin"},
    {"name": "alice", "key": "${ALICE_KEY}", "team": "red", "tags": ["beta"]},
    {"name": "bob", "key": "${BOB_KEY}"},
    {"name": "carl", "key": CARL_KEY, "models": ["cheap"]},
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
    return {"provider": provider, "model": "m"} | more


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
                "dull": {"tools": False},
                "blind": {"vision": False},
                "formless": {"json_schema": False},
                "curt": {"max_output": 50},
                "short": {"context": 300},
                "long": {"context": 3000},
            },
        }
    providers["gone"] = {**providers["a"], "api_key": "${NOT_THERE}"}
    providers["ill"] = {**providers["a"], "endpoint": mock.fault_url("status=500")}
    limited = mock.fault_url("status=429;retry-after=60")
    providers["limited"] = {**providers["a"], "endpoint": limited}
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
                    target("a", model="dull", weight=5),
                    target("b", model="blind", weight=5),
                    target("a", model="formless", weight=5),
                    target("b", model="curt", weight=5),
                    target("b", model="short", weight=5),
                    target("c", when='headers["x-tier"] == "gold"', weight=5),
                    target("gone", weight=5),
                    target("ill", weight=0),
                ],
                [target("b")],
                [target("a")],
                [target("c", model="late")],
            ],
            "retry": 2,
        },
        "sizes": {
            "groups": [[target("a", model="short")], [target("b", model="long")]],
        },
        "falling": {"groups": [[target("ill")], [target("b")]]},
        "cooling": {"groups": [[target("limited")], [target("b")]]},
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
    with running(folder, shared_mock, key=ALICE_KEY, **blocks(shared_mock)) as gateway:
        yield gateway


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
    """C3, S3-20, S3-23: twelve of them."""
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


@pytest.mark.soak
def test_calls_went_where_explain_says(gateway: Gateway, mock: MockProvider) -> None:
    """C10, S0-14: all of them, by every strategy, and whatever strikes targets."""
    dice = random.Random(5)
    went: Counter[tuple[str, str]] = Counter()
    for number in range(CALLS):
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
        predicted(asked)
        went[model, asked.said["x-sluice-provider"]] += 1
    assert len(mock.requests) == went.total() == CALLS, "to explain is to ask nobody"
    for model in ("split", "talks", "turns", "strikes"):
        assert {provider for found, provider in went if found == model} == {"a", "b", "c"}
    assert {provider for found, provider in went if found == "cheap"} == {"a"}


def test_each_refusal_names_its_rule(gateway: Gateway, mock: MockProvider) -> None:
    """C10: each of those that a request can meet."""
    picture = SEEN[0]["content"][1]
    content = [{"type": "text", "text": LONG[0]["content"]}, picture]
    said: dict[str, Any] = {
        "messages": [{"role": "user", "content": content}],
        "tools": [TOOL],
        "response_format": FORM,
        "max_tokens": 100,
        "logit_bias": {"1": 1},
    }
    explained = predicted(Asked(gateway, "strikes", said))
    assert len(mock.requests) == 1
    assert {(one["provider"], one["model"]): one["rule"] for one in explained["candidates"]} == {
        ("a", "dull"): "struck:tools",
        ("b", "blind"): "struck:vision",
        ("a", "formless"): "struck:json_schema",
        ("b", "curt"): "struck:max_output",
        ("b", "short"): "struck:context",
        ("c", "m"): "struck:condition",
        ("gone", "m"): "struck:provider",
        ("ill", "m"): "struck:weight",
        ("b", "m"): "struck:unsupported",
        ("a", "m"): None,
        ("c", "late"): "struck:attempts",
    }
    assert all(one["means"] for one in explained["candidates"] if not one["kept"])


def test_who_may_not_use_it_and_who_cannot_speak_it(gateway: Gateway, mock: MockProvider) -> None:
    """C10: beside the rules above."""
    body = {"model": "talks", "messages": HI}
    explained = told(gateway, json.dumps({"as": "carl", "body": body}), ADMIN_KEY)
    assert {one["rule"] for one in explained["candidates"]} == {"struck:caller"}
    assert explained["error"]["status"] == 403
    denied = Asked(gateway, "talks", {"key": CARL_KEY}).answer
    assert denied.json["error"]["message"] == explained["error"]["message"]
    assert not mock.requests
    # what is not translated
    moderated = Asked(gateway, "talks", {"path": "/v1/moderations", "input": "x"})
    assert moderated.said["x-sluice-provider"] == "a"
    found = {one["provider"]: one["rule"] for one in moderated.explained()["candidates"]}
    assert found == {"a": None, "b": "struck:language", "c": "struck:language"}


@pytest.mark.parametrize(
    ("model", "rule"), [("falling", "struck:breaker"), ("cooling", "struck:cooldown")]
)
def test_who_is_left_alone_is_told(gateway: Gateway, model: str, rule: str) -> None:
    """C10: by the reply, and by what is told of the next."""
    body = json.dumps({"model": model, "messages": HI})

    def struck() -> bool:
        asked = Asked(gateway, model, {})
        assert asked.said["x-sluice-provider"] == "b"
        return rule in asked.said["x-sluice-why"]

    eventually(struck, 5.0, "it is left alone")
    eventually(lambda: told(gateway, body)["candidates"][0]["rule"] == rule, 5.0, "it is told")


# --- lengths


@pytest.mark.parametrize("stream", [False, True])
def test_a_prompt_goes_where_it_fits(gateway: Gateway, mock: MockProvider, stream: bool) -> None:
    """C16, S3-23: or it is refused, with the sizes, before anything is spent."""
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
    assert explained["error"]["kind"] == "context_too_long"
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
