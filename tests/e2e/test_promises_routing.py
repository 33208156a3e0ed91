"""What is promised of routing: names, shares, arms, talks that stay, and who is dead is left alone.

Beside these: B4 live, L8 in `test_reload`; C2 by latency, C6 in `test_breaker`; C3, C10, C16 in
`test_explain`; C4 in `test_promises_failover`; C5 in `test_faults_between`; C7 in `test_faults_time`;
C8 in `test_promises_windows`; A12, A13, B6 in `matrix`.
"""

from __future__ import annotations

import json
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from itertools import pairwise
from typing import Any

import pytest

from extproc.mock import MockProvider
from tests.e2e import raw
from tests.e2e.asking import CHAT, Client, talk
from tests.e2e.harness import ADMIN_KEY, ALICE_KEY, KEYS, Gateway, running
from tests.e2e.lengths import length
from tests.e2e.processes import eventually
from tests.e2e.relay import Relay

Make = Callable[..., Gateway]
SHARES = {"a": 60, "b": 30, "c": 10}
CALLS = 2000
POINTS = 2.0
AT_ONCE = 8
DEAD_WITHIN = 10.0
"""seconds"""


def by(answer: raw.Answer) -> str:
    """Who gave this answer, which is a good one."""
    assert answer.status == 200, answer
    return answer.headers["x-sluice-provider"]


def many(gateway: Gateway, model: str, sessions: Sequence[str]) -> Sequence[str]:
    """Who answered each of these sessions; an empty one is none."""

    def play(part: Sequence[str]) -> list[str]:
        client = Client(gateway)
        named = [{"x_sluice_session": name} if name else {} for name in part]
        return [by(client.say(model, **headers)) for headers in named]

    parts = [sessions[at::AT_ONCE] for at in range(AT_ONCE)]
    with ThreadPoolExecutor(AT_ONCE) as pool:
        played = [*pool.map(play, parts)]
    return [played[at % AT_ONCE][at // AT_ONCE] for at in range(len(sessions))]


def config(mock: MockProvider, **more: object) -> dict[str, Any]:
    """Three backends that serve what they are asked for; `more` are further models."""
    split = [{"provider": n, "model": f"real-{n}", "weight": w} for n, w in SHARES.items()]
    both = [{"provider": n, "model": f"real-{n}", "label": f"arm-{n}"} for n in ("a", "b")]
    blind = {"capabilities": {"*": {"tools": False}}, "cost_per_token": 0.001}
    return {
        "providers": {
            "a": {**plain(mock), **blind},
            "b": {**plain(mock), "cost_per_token": 0.003},
            "c": {**plain(mock), "cost_per_token": 0.002},
            "ill": {**plain(mock), "endpoint": mock.fault_url("status=503")},
            "claude": {**plain(mock), "dialect": "anthropic_messages", "endpoint": mock.url},
        },
        "models": {
            "shared": {"strategy": "weighted", "targets": split},
            "drawn": {"strategy": "weighted", "by": "session", "targets": split},
            "trial": {"strategy": "weighted", "by": "caller", "targets": both},
            "cheap": {"strategy": "least_cost", "targets": [f"{n}/m" for n in SHARES]},
            "sticky": {"strategy": "sticky", "targets": [f"{n}/m" for n in SHARES]},
            "my-name": "b/real-b",
            "my-other": ["ill/real-ill", "claude/real-claude"],
            "able": [{"provider": "a", "model": "unheard-of"}, "b/unheard-of"],
            **more,
        },
        "routing": {"breaker": {"failures": 1000, "minimum": 100_000}},
        "keys": KEYS,
    }


def plain(mock: MockProvider) -> dict[str, object]:
    return {"dialect": "openai_chat", "endpoint": mock.base_url, "models": ["*"]}


@pytest.fixture(scope="module")
def shared(
    shared_mock: MockProvider, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Gateway]:
    folder = tmp_path_factory.mktemp("routing")
    with running(folder, shared_mock, key=ALICE_KEY, **config(shared_mock)) as gateway:
        yield gateway


@pytest.fixture
def gateway(shared: Gateway, mock: MockProvider) -> Iterator[Gateway]:
    """With its first configuration, also afterwards."""
    file = shared.folder / "sluice.yaml"
    first = file.read_text()
    yield shared
    if file.read_text() != first:
        file.write_text(first)
        reload(shared)


def reload(gateway: Gateway, **models: object) -> None:
    """Other models, at once."""
    file = gateway.folder / "sluice.yaml"
    now = json.loads(file.read_text())
    file.write_text(json.dumps({**now, "models": {**now["models"], **models}}))
    with gateway.http(ADMIN_KEY) as admin:
        answer = admin.post("/admin/reload", timeout=30.0)
    assert answer.status_code == 200, answer.text


# --- names and capabilities


OPENAI, RESPONSES, ANTHROPIC, OLLAMA = CHAT, "/v1/responses", "/v1/messages", "/api/chat"
TOLD = [
    ("my-name", "real-b", RESPONSES),
    ("my-name", "real-b", ANTHROPIC),
    ("my-name", "real-b", OLLAMA),
    ("my-other", "real-claude", OPENAI),
    ("my-other", "real-claude", RESPONSES),
    ("my-other", "real-claude", OLLAMA),
]
"""pairs of languages that differ: where they are one, the provider's bytes pass as they are"""


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize(("model", "real", "path"), TOLD)
def test_the_real_name_is_in_headers_alone(
    gateway: Gateway, mock: MockProvider, model: str, real: str, path: str, stream: bool
) -> None:
    """B4, S1-31: whole and streamed, and after another target had failed."""
    body = {**talk(model, "hi"), "stream": stream}
    if path == RESPONSES:
        body = {"model": model, "input": "hi", "stream": stream}
    elif path == ANTHROPIC:
        body["max_tokens"] = 50
    answer = Client(gateway).ask(body, path)
    assert answer.status == 200, answer
    assert answer.headers["x-sluice-model"] == real
    assert f'"{model}"'.encode() in answer.body
    assert b"real-" not in answer.body
    assert json.loads(mock.requests[-1].body)["model"] == real


def test_what_a_model_can_do_is_said_by_the_file(gateway: Gateway) -> None:
    """B5, S3-3: an unknown model is asked for anything, unless the configuration says no."""
    tool = {"type": "function", "function": {"name": "f", "parameters": {"type": "object"}}}
    assert by(Client(gateway).say("able")) == "a"
    answer = Client(gateway).ask({**talk("able", "hi"), "tools": [tool]})
    assert by(answer) == "b"
    assert "struck:tools" in answer.headers["x-sluice-why"]


def test_the_cheapest_that_can_do_it_wins(gateway: Gateway) -> None:
    """C2, S1-9: and who costs less but cannot do it is left out."""
    tool = {"type": "function", "function": {"name": "f", "parameters": {"type": "object"}}}
    client = Client(gateway)
    for _ in range(20):
        assert by(client.say("cheap")) == "a"
        assert by(client.ask({**talk("cheap", "hi"), "tools": [tool]})) == "c"


# --- shares and arms


def test_two_thousand_calls_keep_to_their_weights(gateway: Gateway) -> None:
    """C1, S3-21: within two points; by sessions, whose names are the same in each run."""
    found = Counter(many(gateway, "drawn", [f"session-{n}" for n in range(CALLS)]))
    assert sum(found.values()) == CALLS
    for name, share in SHARES.items():
        assert abs(found[name] * 100 / CALLS - share) <= POINTS, found


@pytest.mark.soak
def test_calls_are_drawn_each_by_itself(gateway: Gateway) -> None:
    """C1: their ids are of chance, so the bound is five times the deviation that this has. The
    long form's is below two points."""
    count = length(1000, 20_000)
    found = Counter(many(gateway, "shared", [""] * count))
    for name, share in SHARES.items():
        deviation = (share * (100 - share) / count) ** 0.5
        assert abs(found[name] * 100 / count - share) <= 5 * deviation, found


def arm(gateway: Gateway, key: str) -> tuple[str, str]:
    """Who answers this caller, and the label that the log has."""
    answer = Client(gateway).say("trial", authorization=f"Bearer {key}")
    line = gateway.wait_exchange(answer.headers["x-sluice-call-id"])
    return by(answer), line["label"]


def test_an_arm_is_kept_through_reloads(gateway: Gateway, mock: MockProvider) -> None:
    """C12, S4-58: by caller and by session, also when its model changes; a canary that grows takes
    callers from the others and moves nobody else."""
    sessions = [f"talk-{n}" for n in range(100)]
    keys = (ADMIN_KEY, ALICE_KEY)

    def canary(share: float, model: str) -> dict[str, object]:
        targets = [
            {"provider": "a", "model": "real-a", "weight": 100 - share, "label": "stable"},
            {"provider": "b", "model": model, "weight": share, "label": "canary"},
        ]
        return {"strategy": "weighted", "by": "session", "targets": targets}

    reload(gateway, canary=canary(20, "one"))
    arms = {key: arm(gateway, key) for key in keys}
    before = many(gateway, "canary", sessions)
    assert 5 <= before.count("b") <= 40
    reload(gateway, canary=canary(20, "another"), unrelated="c/m")
    assert many(gateway, "canary", sessions) == before
    assert {json.loads(one.body)["model"] for one in mock.requests[-100:]} == {"real-a", "another"}
    assert {key: arm(gateway, key) for key in keys} == arms
    assert all(label == f"arm-{provider}" for provider, label in arms.values())
    reload(gateway, canary=canary(50, "another"))
    after = many(gateway, "canary", sessions)
    assert 30 <= after.count("b") <= 70
    assert {(old, new) for old, new in zip(before, after, strict=True) if old != new} == {
        ("a", "b")
    }


# --- talks


def test_talks_stay_where_their_prefix_is(gateway: Gateway) -> None:
    """C9, S1-20: of the turns, 90 % go to who answered the turn before, though the talks have no
    name, workers differ, and a fourth backend is added half-way."""
    talks, turns = 40, 10
    texts = {number: [f"question {number}"] for number in range(talks)}
    asked: dict[int, list[str]] = {number: [] for number in range(talks)}

    def play(rounds: range) -> None:
        def one(part: range) -> None:
            client = Client(gateway)
            for _ in rounds:
                for number in part:
                    answer = client.ask(talk("sticky", *texts[number]))
                    asked[number].append(by(answer))
                    reply = json.loads(answer.body)["choices"][0]["message"]["content"]
                    texts[number] += [reply, "and then?"]

        with ThreadPoolExecutor(AT_ONCE) as pool:
            list(pool.map(one, [range(at, talks, AT_ONCE) for at in range(AT_ONCE)]))

    play(range(turns // 2))
    names = [*SHARES, "ill"]
    assert all(len(set(providers)) == 1 for providers in asked.values())
    reload(
        gateway, sticky={"strategy": "sticky", "targets": [f"{n}/m" for n in ("claude", *names)]}
    )
    play(range(turns // 2, turns))
    pairs = [pair for providers in asked.values() for pair in pairwise(providers)]
    stayed = sum(before == after for before, after in pairs) / len(pairs)
    assert stayed >= 0.9, stayed
    assert len({providers[0] for providers in asked.values()}) == len(SHARES), "all have some"


# --- who is dead


def test_a_dead_backend_is_left_alone_and_costs_nothing(make_gateway: Make, mock: Any) -> None:
    """C18, S3-36, S3-38: out within ten seconds, seen without a request where nobody asks; while it
    is away it is asked by calls alone, few of them, which all get an answer."""
    common = {"dialect": "openai_chat", "models": ["m"]}
    with MockProvider.running() as own, Relay.running(own.url) as relay:
        gateway = make_gateway(
            providers={
                "a": {**common, "endpoint": f"{relay.url}/v1"},
                "b": {**common, "endpoint": mock.base_url},
                "gone": {**common, "endpoint": f"{own.url}/v1", "models": ["other"]},
            },
            models={"chat": ["a/m", "b/m"]},
            routing={"breaker": {"failures": 3, "open": "60s"}},
        )
        client = Client(gateway)
        assert by(client.say("chat")) == "a"
        relay.down = True
        began = time.monotonic()

        def left_alone() -> bool:
            answers = [client.say("chat") for _ in range(20)]
            assert all(by(one) == "b" for one in answers)
            return all("struck:breaker" in one.headers["x-sluice-why"] for one in answers)

        eventually(left_alone, DEAD_WITHIN, "a to be left alone")
        seen = len(own.requests)
        assert seen == 1, "what was lost never came there"
    assert status(gateway, "b") == "available"
    eventually(lambda: status(gateway, "gone") == "unavailable", DEAD_WITHIN, "gone to be seen")
    assert time.monotonic() - began < 2 * DEAD_WITHIN
    assert len(own.requests) == seen, "and no probe asks for tokens"


def status(gateway: Gateway, name: str) -> str:
    with gateway.http() as client:
        listed = client.get("/providers").json()["providers"]
    return next(one["status"] for one in listed if one["name"] == name)
