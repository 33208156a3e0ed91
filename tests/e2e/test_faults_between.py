"""What may happen between two attempts: a pause, a client that goes, a worker that dies, an empty
budget, a target that rests; and attempts over HTTP/2, and with bodies at the limit."""

from __future__ import annotations

import json
import os
import signal
import socket
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from threading import Thread
from typing import Any

import pytest

from extproc.mock import MockProvider
from tests.e2e import raw
from tests.e2e.faulty import (
    CALM,
    answered,
    ask,
    asked_of,
    asking,
    elsewhere,
    model,
    provider,
    said,
    tried,
)
from tests.e2e.harness import Gateway, Line
from tests.e2e.http2_provider import CA, Http2Provider, over_http2
from tests.e2e.processes import eventually
from tests.e2e.threads import in_a_thread

PAUSE = {"retry": {"attempts": 3, "same": 1, "base": "600ms"}}
LIMIT = 64 << 10
SHORT = "[[mock say=ok]] "
"""else the mock says again what it was told"""
of_streams = pytest.mark.parametrize("stream", [False, True], ids=["whole", "streamed"])
ASKED = {"pauses": 1, "thinks": 2, "held": 2}
"""how many, when the worker dies"""
DEATHS = [(name, stream) for name in ASKED for stream in (False, True)]
DEATHS.remove(("held", False))  # a whole reply is not held


def blocks(mock: MockProvider) -> dict[str, Any]:
    window = {"seconds": "5s"}
    return {
        "providers": {
            "a": provider(mock, "a"),
            "b": provider(mock, "b"),
            "a-529": provider(mock, "a", "status=529"),
            "b-slow": provider(mock, "b", "delay=5s"),
            "b-silent": provider(mock, "b", "stall=5s@1"),
            "a-flaps": provider(mock, "a", "status=503;every=2"),
        },
        "models": {
            "pauses": model("a-529", "b", **PAUSE),
            "thinks": model("a-529", "b-slow"),
            "held": model("a-529", "b-silent", window=window),
            "flaps": model("a-flaps", "b"),
            "falls": model("a-529", "b"),
        },
        "routing": CALM,
        "limits": {"body": LIMIT},
        "memory": {"bytes": "1MiB"},
    }


@pytest.fixture(scope="module")
def between(
    shared_mock: MockProvider, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Gateway]:
    folder = tmp_path_factory.mktemp("between")
    gateway = Gateway(folder, shared_mock, workers=1, **blocks(shared_mock))
    try:
        gateway.wait_until_ready()
        yield gateway
    finally:
        gateway.destroy()


@pytest.fixture
def gateway(between: Gateway, mock: MockProvider) -> Gateway:
    """With one worker."""
    del mock
    return between


def line_of(gateway: Gateway, model: str, since: int) -> Line:
    def found() -> Line | None:
        lines = gateway.log_lines()[since:]
        return next((one for one in lines if one.get("asked") == model), None)

    return eventually(found, 5.0, "the exchange's end")


@of_streams
def test_a_client_goes_in_a_pause(gateway: Gateway, mock: MockProvider, stream: bool) -> None:
    """Nobody is asked for a client that is gone, though the pause is over some time."""

    def goes(number: int) -> Line:
        since, text = len(gateway.log_lines()), f"who goes {number}"
        with socket.create_connection(("127.0.0.1", gateway.port)) as line:
            line.sendall(asking(gateway, "pauses", stream=stream, text=text))
            eventually(lambda: asked_of(mock, text), 5.0, "the first attempt")
        left = line_of(gateway, "pauses", since)
        assert left["outcome"] == "aborted"
        assert len(asked_of(mock, text)) == 1
        return left

    # Some go before the worker has heard the first one's no.
    found = (tried(goes(number)) for number in range(10))
    assert next(one for one in found if one != [("a-529", "left")]) == [("a-529", "overloaded")]
    # Who stays has the same pause, which begins later.
    answered(gateway, ask(gateway, "pauses", stream=stream, text="who stays"), "b", 3)
    assert len(asked_of(mock, "who stays")) == 3


@pytest.mark.parametrize(("name", "stream"), DEATHS)
def test_a_worker_dies_between_attempts(
    gateway: Gateway, mock: MockProvider, name: str, stream: bool
) -> None:
    """A clean error in the client's language, and nobody is asked twice."""
    asked = ASKED[name]
    found: list[raw.Answer] = []
    since = len(gateway.log_lines())
    client = Thread(
        target=lambda: found.append(ask(gateway, name, stream=stream, text="one of many"))
    )
    client.start()
    eventually(lambda: len(asked_of(mock, "one of many")) == asked, 5.0, "the attempts")
    if name == "held":
        eventually(lambda: mock.requests[-1].events == 1, 5.0, "its first event")
    os.kill(gateway.pids()["worker-1"], signal.SIGKILL)
    client.join(10)
    (answer,) = found
    assert answer.status == 503, answer
    assert answer.json["error"].keys() >= {"message", "type", "param", "code"}
    assert answer.headers["x-sluice-call-id"].startswith("gw-")
    assert answer.headers["x-sluice-error-origin"] == "gateway"
    eventually(lambda: ask(gateway, "pauses").status == 200, 15.0, "a new worker")
    assert len(asked_of(mock, "one of many")) == asked
    assert not [one for one in gateway.log_lines()[since:] if one.get("asked") == name != "pauses"]


def test_one_that_flaps(gateway: Gateway, mock: MockProvider) -> None:
    """Each failure of it is somebody's second attempt, and nobody's error."""

    def one(number: int) -> int:
        answer = ask(gateway, "flaps", stream=number % 2 == 0, text=f"flap {number}.")
        assert said(answer, stream=number % 2 == 0)
        attempts = int(answer.headers["x-sluice-attempts"])
        answered(gateway, answer, "a-flaps" if attempts == 1 else "b", attempts)
        return attempts

    with ThreadPoolExecutor(8) as pool:
        found = Counter(pool.map(one, range(40)))
    assert found == {1: 20, 2: 20}
    assert len(mock.requests) == 60


def test_a_body_at_the_limit_is_sent_anew(gateway: Gateway, mock: MockProvider) -> None:
    empty = len(json.dumps({"model": "falls", "messages": [{"role": "user", "content": SHORT}]}))
    answered(gateway, ask(gateway, "falls", text=SHORT + "x" * (LIMIT - empty)), "b", 2)
    first, second = mock.requests
    assert len(first.body) > LIMIT - 100
    assert second.headers["content-length"] == str(len(second.body))
    answer = ask(gateway, "falls", text=SHORT + "x" * (LIMIT - empty + 1))
    assert answer.status == 413
    assert len(mock.requests) == 2


def test_a_body_that_grew_above_the_hops_limit(gateway: Gateway, mock: MockProvider) -> None:
    """A talk that is remembered makes the provider's body larger than the client's. What the hop
    cannot take is our failure, and no reason to ask the next one."""
    talk = {"x-sluice-conversation": "long"}
    text = SHORT + "x" * (LIMIT * 3 // 4)
    for _ in range(2):
        answered(gateway, ask(gateway, "falls", text=text, headers=talk), "b", 2)
    mock.clear()
    answer = ask(gateway, "falls", text=text, headers=talk)
    assert answer.status == 413, answer
    assert answer.headers["x-sluice-error-origin"] == "gateway"
    line = gateway.wait_exchange(answer.headers["x-sluice-call-id"])
    assert tried(line) == [("a-529", "ours")], line
    assert mock.requests == ()


Made = Callable[..., Gateway]


def test_the_retry_budget(make_gateway: Made, mock: MockProvider) -> None:
    """It is for asking the same target again. Where it is spent, the next one is asked at once."""
    again = {"retry": {"attempts": 3, "same": 1, "base": "1ms"}}
    gateway = make_gateway(
        workers=1,
        providers={"a": provider(mock, "a", "status=500"), "b": provider(mock, "b")},
        models={"spends": model("a", "b", **again), "alone": model("a", **again)},
        routing={**CALM, "budget": {"percent": 0, "minimum": 1}},
    )
    answered(gateway, ask(gateway, "spends"), "b", 3)
    for stream in (False, True):
        answer = ask(gateway, "spends", stream=stream)
        answered(gateway, answer, "b", 2)
        assert "struck:retry_budget" in answer.headers["x-sluice-why"]
    answer = ask(gateway, "alone")
    assert (answer.status, answer.headers["x-sluice-attempts"]) == (500, "1")
    line = gateway.wait_exchange(answer.headers["x-sluice-call-id"])
    assert tried(line) == [("a", "server_error")]
    assert len(mock.requests) == 8


AT, UNTIL = "Wed,%2021%20Oct%202026%2007:28:00%20GMT", "Wed,%2021%20Oct%202026%2007:29:00%20GMT"
RESTS = {
    "no-word": ("status=429", True),
    "seconds": ("status=429;retry-after=60", True),
    "milliseconds": ("status=429;header=retry-after-ms:60000", True),
    "date": (f"status=429;retry-after={UNTIL};header=date:{AT}", True),
    "past": (f"status=429;retry-after={AT};header=date:{UNTIL}", False),
    "nonsense": ("status=429;retry-after=soon", True),
    "now": ("status=429;retry-after=0", False),
    "overloaded": ("status=503;retry-after=60", True),
    "too-busy": ("status=503", False),
    "soon": ("status=429;retry-after=1;times=1", True),
}
"""whether the next call leaves it alone: a rate limit without a word counts for a second"""


def test_who_says_when_to_come_back_is_left_alone_until_then(
    make_gateway: Made, mock: MockProvider
) -> None:
    """Row C5: whatever form it is said in."""
    faulty = {f"a-{name}": provider(mock, "a", fault) for name, (fault, _) in RESTS.items()}
    gateway = make_gateway(
        workers=1,
        providers={"b": provider(mock, "b"), **faulty},
        models={name: model(f"a-{name}", "b") for name in RESTS},
        routing={**CALM, "longest_cooldown": "300s"},
    )
    for name, (_, rests) in RESTS.items():
        answered(gateway, ask(gateway, name), "b", 2)
        again = ask(gateway, name)
        answered(gateway, again, "b", 1 if rests else 2)
        assert ("struck:cooldown" in again.headers["x-sluice-why"]) is rests, name
    last = eventually(lambda: came_back(gateway), 5.0, "the end of its rest")
    answered(gateway, last, "a-soon", 1)


def came_back(gateway: Gateway) -> raw.Answer | None:
    answer = ask(gateway, "soon")
    return answer if answer.headers["x-sluice-provider"] == "a-soon" else None


@pytest.fixture(scope="module")
def http2(shared_mock: MockProvider) -> Iterator[Http2Provider]:
    with in_a_thread(lambda: over_http2(shared_mock.url)) as made:
        yield made


def test_over_http2(make_gateway: Made, mock: MockProvider, http2: Http2Provider) -> None:
    """Streams that are reset and connections that are closed are failures like others, and a
    second attempt over HTTP/2 is like a first."""
    tls: Any = {"tls": {"ca": str(CA)}}
    kinds = {"rst": "", "goaway": "", "rst-late": "@1"}
    providers = {"b": provider(mock, "b"), "b-h2": elsewhere("b", http2.url, **tls)}
    models: dict[str, Any] = {"good": model("b-h2", "b")}
    for kind, when in kinds.items():
        word = kind.removesuffix("-late") + when
        providers[f"a-{kind}"] = elsewhere("a", f"{http2.url}/h2/{word}", **tls)
        models[f"{kind}-first"] = model(f"a-{kind}", "b-h2", window={"seconds": "2s"})
    providers["a-529"] = elsewhere("a", f"{http2.url}/fault/status=529", **tls)
    models["529-first"] = model("a-529", "b-h2")
    gateway = make_gateway(workers=1, providers=providers, models=models, routing=CALM)
    answered(gateway, ask(gateway, "good"), "b-h2", 1)
    for kind, failure in {**dict.fromkeys(kinds, "reset"), "529": "overloaded"}.items():
        for stream in (False, True):
            if kind == "rst-late" and not stream:
                continue  # a whole reply without a window is not held
            answer = ask(gateway, f"{kind}-first", stream=stream)
            line = answered(gateway, answer, "b-h2", 2)
            assert said(answer, stream=stream)
            assert tried(line)[0][1] == failure, line
    text = SHORT + "x" * (1 << 20)
    answered(gateway, ask(gateway, "529-first", text=text), "b-h2", 2)
    first, second = (one for one in mock.requests if text.encode() in one.body)
    assert len(first.body) > 1 << 20 < len(second.body)
    assert all(head[":scheme"] == "https" for head in http2.heads)
    assert not [n for head in http2.heads for n in head if n.startswith(("x-sluice", "x-envoy"))]
