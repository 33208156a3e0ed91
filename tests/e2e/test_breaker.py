"""What becomes known of a target: on every worker, after a restart, and by how it is chosen next.

`a` is a provider of its own, `b` the one of all tests, each behind a relay, which fails and slows
down as a test says; `limited` says 429. All through the real Envoy, with two workers.
"""

from __future__ import annotations

import json
import signal
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from datetime import datetime
from os import kill
from pathlib import Path
from threading import Event
from typing import Any

import pytest

from extproc.mock import MockProvider
from tests.e2e import raw
from tests.e2e.asking import CHAT
from tests.e2e.harness import Gateway, Line
from tests.e2e.processes import eventually
from tests.e2e.relay import Relay

WORKERS = {"worker-1", "worker-2"}
FAILURES = 5
OPEN = 3.0
"""seconds"""
TO_ALL = 1.0
"""seconds until every worker knows that a breaker opened"""
COOLING = 60
"""seconds"""
LOAD = 8
"""clients at a time"""


class Place:
    """A gateway, the relays before `a` and `b`, and the mock that is `a`."""

    def __init__(self, gateway: Gateway, relay: Relay, other: Relay, own: MockProvider) -> None:
        self.gateway = gateway
        self.relay = relay
        self.other = other
        self.own = own

    def ask(self, model: str = "chat") -> raw.Answer:
        body = json.dumps({"model": model, "messages": [{"role": "user", "content": "hi"}]})
        answer = raw.exchange(self.gateway.port, raw.request("POST", CHAT, body.encode()))
        assert answer.status == 200, answer
        return answer

    def many(self, count: int, model: str = "chat", at_once: int = LOAD) -> Sequence[raw.Answer]:
        with ThreadPoolExecutor(at_once) as pool:
            return [*pool.map(lambda _: self.ask(model), range(count))]

    def answered(self, count: int, model: str = "chat", at_once: int = LOAD) -> Counter[str]:
        """How many of so many requests each provider answered."""
        answers = self.many(count, model, at_once)
        return Counter(one.headers["x-sluice-provider"] for one in answers)

    @contextmanager
    def load(self) -> Iterator[None]:
        """Clients that ask one after another, all the time."""
        over = Event()

        def client() -> None:
            while not over.is_set():
                self.ask()

        with ThreadPoolExecutor(LOAD) as pool:
            clients = [pool.submit(client) for _ in range(LOAD)]
            try:
                yield
            finally:
                over.set()
        for one in clients:
            one.result()

    def provider(self, name: str) -> Mapping[str, Any]:
        with self.gateway.http() as client:
            listed = client.get("/providers", params={"detail": 1}).json()["providers"]
        return next(one for one in listed if one["name"] == name)

    def target(self, name: str) -> Mapping[str, Any]:
        """What is told of a provider's only target."""
        (target,) = self.provider(name)["targets"]
        return target

    def until(self, name: str, state: str, timeout: float = 5.0) -> Mapping[str, Any]:
        def seen() -> Mapping[str, Any] | None:
            target = self.target(name)
            return target if target["state"] == state else None

        return eventually(seen, timeout, f"{name} {state}")

    def exchanges(self) -> list[Line]:
        return [line for line in self.gateway.log_lines() if line["event"] == "exchange"]


def blocks(mock: MockProvider, relay: Relay, other: Relay, **breaker: object) -> dict[str, Any]:
    common = {"dialect": "openai_chat", "models": ["m"], "probe": False}
    limited = mock.fault_url(f"status=429;retry-after={COOLING}")

    def pair(first: str, second: str, **more: object) -> dict[str, object]:
        refs = [{"provider": name, "model": "m"} for name in (first, second)]
        return {"groups": [refs] if more else [[ref] for ref in refs], **more}

    split = [{"provider": n, "model": "m", "label": f"arm-{n}"} for n in ("b", "c")]
    return {
        "providers": {
            "a": {**common, "endpoint": f"{relay.url}/v1"},
            "b": {**common, "endpoint": f"{other.url}/v1"},
            "c": {**common, "endpoint": mock.base_url},
            "limited": {**common, "endpoint": limited},
        },
        "models": {
            "chat": pair("a", "b"),
            "limited": pair("limited", "b"),
            "quick": pair("a", "b", strategy="least_latency"),
            "idle": pair("a", "b", strategy="least_busy"),
            "split": {"groups": [split], "strategy": "weighted"},
        },
        "routing": {
            "breaker": {"failures": FAILURES, "open": f"{OPEN:g}s", **breaker},
            "budget": {"minimum": 100_000},
        },
    }


@pytest.fixture
def place(make_gateway: Callable[..., Gateway], mock: MockProvider) -> Iterator[Place]:
    with (
        MockProvider.running() as own,
        Relay.running(own.url) as relay,
        Relay.running(mock.url) as other,
    ):
        yield Place(make_gateway(**blocks(mock, relay, other)), relay, other, own)


def moment(line: Line) -> float:
    """Unix seconds."""
    return datetime.fromisoformat(line["time"]).timestamp()


def asked(line: Line, target: str) -> bool:
    return any(one.startswith(target) for one in line.get("tried", ()))


def test_a_breaker_opens_everywhere_lets_one_through_and_closes(place: Place) -> None:
    gateway, relay = place.gateway, place.relay
    assert place.target("a")["state"] == "unknown"
    assert place.answered(20)["a"] == 20

    relay.down = True
    with place.load():
        opened = moment(gateway.wait_log(lambda line: line["event"] == "breaker open"))

        def late() -> list[Line]:
            lines = place.exchanges()
            return [one for one in lines if moment(one) - one["ms"] / 1e3 > opened + TO_ALL]

        eventually(lambda: {one["part"] for one in late()} == WORKERS, OPEN, "both workers' word")
        target = place.target("a")
        assert (target["state"], target["trials"]) == ("open", 0)
        assert target["failed"] >= FAILURES
        assert opened < target["until"] <= time.time() + OPEN
        assert place.provider("a")["status"] == "unavailable"
        for state, number in (("open", 1), ("closed", 0)):
            assert gateway.metric("sluice_targets", provider="a", state=state) == number
    known = [one for one in late() if moment(one) < opened + OPEN]
    assert not [one for one in known if asked(one, "a/m")]
    assert all("struck:breaker" in one["why"] for one in known)
    assert gateway.metric("sluice_target_turns_total", provider="a", state="open") >= 1
    failed = gateway.metric("sluice_attempts_total", provider="a", model="chat", result="reset")
    assert failed == gateway.metric("sluice_fallbacks_total", model="chat", failure="reset")
    assert failed >= FAILURES

    relay.down, relay.delay = False, 0.6
    place.until("a", "half_open")
    place.own.clear()
    assert place.answered(16, at_once=16) == {"a": 1, "b": 15}
    assert len(place.own.requests) == 1
    relay.delay = 0.0
    closed = gateway.wait_log(lambda line: line["event"] == "breaker closed")
    assert (closed["target"], closed["reason"]) == ("a/m", "trials went well")
    place.until("a", "closed")
    eventually(lambda: place.answered(10)["a"] == 10, TO_ALL * 2, "all workers ask it again")


def test_too_many_cools_a_target_for_everyone_and_after_a_restart(
    place: Place, mock: MockProvider
) -> None:
    gateway = place.gateway

    def struck(answer: raw.Answer) -> bool:
        return "struck:cooldown" in answer.headers["x-sluice-why"]

    def met() -> int:
        return sum(one.path.startswith("/fault/") for one in mock.requests)

    place.ask("limited")
    target = place.until("limited", "cooling")
    assert abs(target["until"] - time.time() - COOLING) < 5
    assert abs(target["since"] - time.time()) < 5
    eventually(lambda: all(map(struck, place.many(20, "limited", 1))), TO_ALL * 2, "all know")
    before = met()
    assert before <= 2, "one for each worker that had not heard of it"

    old = {part: gateway.pids()[part] for part in WORKERS}
    for pid in old.values():
        kill(pid, signal.SIGKILL)
    eventually(
        lambda: (
            all(gateway.pids().get(part, pid) != pid for part, pid in old.items())
            and gateway.is_ready()
        ),
        10.0,
        "other workers",
    )
    lines = len(place.exchanges())

    def both() -> bool:
        assert all(map(struck, place.many(20, "limited")))
        return {one["part"] for one in place.exchanges()[lines:]} == WORKERS

    eventually(both, 10.0, "both workers' word")
    assert met() == before
    assert gateway.metric("sluice_target_turns_total", provider="limited", state="cooling") >= 1


def test_a_target_that_became_slow_loses_half_of_its_share(place: Place) -> None:
    """C2: its share halves within 60 s; here much sooner, since both were asked often. And so it
    stays, by more calls than chance would explain."""
    place.relay.delay = place.other.delay = 0.05
    before = place.answered(400, "quick")["a"] / 400
    assert 0.2 < before < 0.8, "two that are alike share the calls"
    place.relay.delay = 0.2
    eventually(
        lambda: place.answered(40, "quick")["a"] / 40 <= before / 2, 20.0, "half of its share"
    )
    assert place.answered(200, "quick")["a"] / 200 <= before / 2


def test_who_is_busy_is_asked_less(place: Place) -> None:
    place.relay.delay = 0.3
    found = place.answered(150, "idle")
    assert 0 < found["a"] < found["b"] / 2


def test_labels_are_counted_and_in_the_log(place: Place) -> None:
    ids = [one.headers["x-sluice-call-id"] for one in place.many(20, "split")]
    lines = [place.gateway.wait_exchange(one) for one in ids]
    assert all(one["label"] == f"arm-{one['provider']}" for one in lines)
    labels = Counter(one["label"] for one in lines)
    for label, number in labels.items():
        metric = place.gateway.metric("sluice_labels_total", model="split", label=label)
        assert metric == number
    assert "label" not in place.gateway.wait_exchange(place.ask().headers["x-sluice-call-id"])


def test_workers_go_on_alone_where_nothing_can_be_shared(
    tmp_path: Path, mock: MockProvider
) -> None:
    (tmp_path / "data").mkdir(mode=0o700)
    (tmp_path / "data" / "standing").write_text("in its place")
    with Relay.running(mock.url) as relay, Relay.running(mock.url) as other:
        gateway = Gateway(tmp_path, mock, **blocks(mock, relay, other, open="60s"))
        try:
            gateway.wait_until_ready()
            place = Place(gateway, relay, other, mock)
            relay.down = True

            def events(name: str) -> Counter[str]:
                lines = gateway.log_lines()
                return Counter(line["part"] for line in lines if line["event"] == name)

            eventually(lambda: place.many(LOAD) and events("breaker open").keys() == WORKERS)
            assert place.answered(20) == {"b": 20}
            told = events("how targets stand is not shared")
            assert told == dict.fromkeys([*WORKERS, "admin"], 1)
        finally:
            gateway.destroy()
