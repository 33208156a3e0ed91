"""Shadow copies through the real Envoy: the target gets them, and no client can tell.

`a` answers clients in OpenAI's language, `b` gets copies in Anthropic's; `hangs` takes requests
and never answers.
"""

from __future__ import annotations

import json
import os
import signal
import socket
import stat
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from statistics import median
from typing import Any

import httpx
import pytest

from extproc.mock import MockProvider
from extproc.mock.record import Recorded
from tests.e2e import raw
from tests.e2e.asking import CHAT, events, text_of
from tests.e2e.harness import ADMIN_KEY, ALICE_KEY, KEYS, PROVIDER_KEY, Gateway, Line, running
from tests.e2e.processes import eventually

COPIES = "sluice_shadow_copies_total"
TURNS = {"targets": ["a/m", "a/m2"]}


def blocks(mock: MockProvider) -> dict[str, Any]:
    common = {"api_key": "${ACME_KEY}", "models": ["m", "m2"]}
    openai = {**common, "dialect": "openai_chat"}
    return {
        "providers": {
            "a": {**openai, "endpoint": mock.base_url},
            "b": {**common, "dialect": "anthropic_messages", "endpoint": mock.url},
            "hangs": {**openai, "endpoint": f"{mock.url}/fault/delay=300s/v1"},
        },
        "models": {
            "chat": {"targets": ["a/m"], "shadow": "b/copied"},
            "several": {**TURNS, "shadow": "b/copied"},
            "half": {
                "targets": ["a/m"],
                "shadow": {"provider": "b", "model": "halved", "percent": 50},
            },
            "alone": TURNS,
            "hung": {**TURNS, "shadow": "hangs/never"},
        },
        "memory": {},
    }


@pytest.fixture(scope="module")
def shadowed(
    shared_mock: MockProvider, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Gateway]:
    folder = tmp_path_factory.mktemp("shadowed")
    with running(folder, shared_mock, key=ALICE_KEY, keys=KEYS, **blocks(shared_mock)) as gateway:
        yield gateway


@pytest.fixture
def gateway(shadowed: Gateway, mock: MockProvider) -> Gateway:
    return shadowed


def ask(
    gateway: Gateway, model: str, *, stream: bool = False, text: str = "hi", **headers: str
) -> raw.Answer:
    fields: dict[str, Any] = {"model": model, "messages": [{"role": "user", "content": text}]}
    if stream:
        fields["stream"] = True
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    body = json.dumps(fields).encode()
    return raw.exchange(gateway.port, raw.request("POST", CHAT, body, {**gateway.auth, **named}))


def copied(gateway: Gateway, answer: raw.Answer) -> Line:
    """The log line of the copy of an exchange."""
    call = answer.headers["x-sluice-call-id"]
    return gateway.wait_log(lambda line: line.get("shadow") == call)


def sent_to(mock: MockProvider, path: str) -> list[Recorded]:
    return [request for request in mock.requests if request.path.startswith(path)]


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("model", ["chat", "several"])
def test_the_target_gets_a_copy_and_the_client_its_reply(
    gateway: Gateway, mock: MockProvider, model: str, stream: bool
) -> None:
    answer = ask(gateway, model, stream=stream, text="what is it", x_sluice_tags="t", cookie="c=1")
    assert answer.status == 200
    assert answer.headers["x-sluice-provider"] == "a"
    assert not [name for name in answer.headers if "shadow" in name]
    if stream:
        assert text_of(answer) and events(answer.body)[-1] == "[DONE]"
    line = copied(gateway, answer)
    assert (line["outcome"], line["provider"], line["model"]) == ("ok", "b", "copied")
    assert (line["caller"], line["asked"], line["stream"]) == ("alice", model, stream)
    assert line["call"] != line["shadow"]
    assert line["output_tokens"] > 0
    own = gateway.wait_exchange(answer.headers["x-sluice-call-id"])
    assert "shadow" not in own

    (copy,) = sent_to(mock, "/v1/messages")
    told = json.loads(copy.body)
    assert (told["model"], told.get("stream", False)) == ("copied", stream)
    assert "what is it" in copy.body.decode()
    assert copy.headers["x-api-key"] == PROVIDER_KEY
    assert not [name for name in copy.headers if "sluice" in name or name == "cookie"]
    assert len(mock.requests) == 2, "a copy is not copied"


def test_clients_are_counted_without_copies(gateway: Gateway) -> None:
    def seen() -> dict[str, float]:
        found = {"sent": gateway.metric(COPIES, fate="sent")}
        for name in ("requests_total", "tokens_total", "request_duration_seconds_count"):
            for kind in ("sluice", "sluice_shadow"):
                for provider in ("a", "b"):
                    one = f"{kind}_{name}"
                    found[f"{one} {provider}"] = gateway.metric(one, provider=provider)
        return found

    before = seen()
    sent = before["sent"]
    copied(gateway, ask(gateway, "chat"))
    eventually(lambda: gateway.metric(COPIES, fate="sent") == sent + 1, 5.0, "the copy is sent")
    grown = {name for name, value in seen().items() if value > before[name]}
    assert grown == {
        "sent",
        *(f"sluice_{name} a" for name in ("requests_total", "tokens_total")),
        "sluice_request_duration_seconds_count a",
        *(f"sluice_shadow_{name} b" for name in ("requests_total", "tokens_total")),
        "sluice_shadow_request_duration_seconds_count b",
    }

    def marked() -> list[str | None]:
        lines = gateway.access_lines()
        return [line.get("shadow") for line in lines if line["cluster"] == "provider-b"]

    assert set(eventually(marked)) == {"yes"}


def test_a_share_is_copied(gateway: Gateway, mock: MockProvider) -> None:
    with ThreadPoolExecutor(8) as pool:
        answers = list(pool.map(lambda _: ask(gateway, "half"), range(200)))
    assert {answer.status for answer in answers} == {200}
    calls = {answer.headers["x-sluice-call-id"] for answer in answers}

    def ended() -> int:
        return len({line.get("shadow") for line in gateway.log_lines()} & calls)

    eventually(lambda: ended() >= len(sent_to(mock, "/v1/messages")) > 0, 5.0, "the copies' ends")
    # six standard deviations of 200 fair draws
    assert 58 <= ended() <= 142


@pytest.mark.parametrize("stream", [False, True])
def test_a_client_that_leaves_takes_no_copy_with_it(
    gateway: Gateway, mock: MockProvider, stream: bool
) -> None:
    text = f"[[mock delay=500ms]] leaves {stream}"
    fields = {"model": "chat", "messages": [{"role": "user", "content": text}], "stream": stream}
    with socket.create_connection(("127.0.0.1", gateway.port)) as line:
        line.sendall(raw.request("POST", CHAT, json.dumps(fields).encode(), gateway.auth))
        eventually(lambda: sent_to(mock, "/v1/messages"), 5.0, "the copy arrives")
    left = gateway.wait_log(
        lambda line: line.get("outcome") == "aborted" and line["stream"] is stream
    )
    copy = gateway.wait_log(lambda line: line.get("shadow") == left["call"])
    assert copy["outcome"] == "ok"


def test_a_conversation_keeps_one_turn(gateway: Gateway, mock: MockProvider) -> None:
    # so that the copy is there before its original is over
    late = "[[mock delay=500ms]] "
    for text in ("one", "two"):
        copied(gateway, ask(gateway, "chat", text=late + text, x_sluice_conversation="c-1"))
    first, second = (json.loads(sent.body) for sent in sent_to(mock, "/v1/messages"))
    assert [turn["role"] for turn in first["messages"]] == ["user"]
    assert [turn["role"] for turn in second["messages"]] == ["user", "assistant", "user"]
    copied(gateway, ask(gateway, "chat", text=late + "three", x_sluice_conversation="c-1"))
    last = json.loads(sent_to(mock, CHAT)[-1].body)
    said = [turn["content"] for turn in last["messages"] if turn["role"] == "user"]
    assert said == [late + "one", late + "two", late + "three"]


@pytest.mark.parametrize(
    "headers",
    [
        {"x-sluice-shadow": "a.b"},
        {"X-Sluice-Shadow": "WyIiXQ==.00"},
        {"x-sluice-shadow": ""},
        {"x-sluice-shadow-of": "gw-1"},
    ],
)
def test_a_client_cannot_say_that_it_is_one(gateway: Gateway, headers: dict[str, str]) -> None:
    body = json.dumps({"model": "alone", "messages": [{"role": "user", "content": "hi"}]}).encode()
    answer = raw.exchange(
        gateway.port, raw.request("POST", CHAT, body, {**gateway.auth, **headers})
    )
    assert answer.status == 200
    assert "shadow" not in gateway.wait_exchange(answer.headers["x-sluice-call-id"])
    nobody = raw.exchange(gateway.port, raw.request("POST", CHAT, body, headers))
    assert nobody.status == 401


def test_the_private_door_is_for_us_alone(gateway: Gateway) -> None:
    door = (gateway.data / "run" / "copies.sock").resolve()
    assert stat.S_IMODE(door.stat().st_mode) == 0o600
    assert door.stat().st_uid == os.getuid()
    assert stat.S_IMODE(door.parent.stat().st_mode) == 0o700
    body = {"model": "alone", "messages": [{"role": "user", "content": "hi"}]}
    transport = httpx.HTTPTransport(uds=str(door))
    with httpx.Client(transport=transport, base_url="http://localhost") as http:
        for headers in ({}, {"x-sluice-shadow": "a.b"}, {"x-sluice-shadow": "a.b", **gateway.auth}):
            answer = http.post(CHAT, json=body, headers=headers)
            assert answer.status_code == 401, headers
        # there is no way from here to what manages the gateway
        admin = {"authorization": f"Bearer {ADMIN_KEY}"}
        assert http.get("/admin/config", headers=admin).status_code == 404
        assert http.get("/metrics", headers=admin).status_code == 404


@pytest.fixture
def lonely(mock: MockProvider, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Gateway]:
    """A gateway that a test may do things to."""
    folder = tmp_path_factory.mktemp("lonely")
    gateway = Gateway(folder, mock, key=ALICE_KEY, keys=KEYS, **blocks(mock))
    try:
        gateway.wait_until_ready()
        yield gateway
    finally:
        gateway.destroy()


def test_a_provider_that_hangs_costs_copies_and_nothing_else(
    lonely: Gateway, mock: MockProvider
) -> None:
    def took(model: str) -> float:
        begun = time.monotonic()
        answer = ask(lonely, model)
        assert (answer.status, answer.headers["x-sluice-provider"]) == (200, "a")
        return time.monotonic() - begun

    for _ in range(20):
        took("alone")
    text = "x" * (1 << 20)
    with ThreadPoolExecutor(4) as pool:
        answers = list(pool.map(lambda _: ask(lonely, "hung", text=text), range(40)))
    assert {answer.status for answer in answers} == {200}
    # what waits or is under way is bounded by its bytes: 8 MiB of a worker for one provider
    eventually(lambda: lonely.metric(COPIES, fate="dropped") >= 20, 5.0, "copies are dropped")
    assert len([one for one in mock.requests if b'"never"' in one.body]) <= 16

    alone, hung = [], []
    for _ in range(40):
        alone.append(took("alone"))
        hung.append(took("hung"))
    assert median(hung) < median(alone) + 0.02
    # and those for another provider go on
    assert copied(lonely, ask(lonely, "chat"))["outcome"] == "ok"


def test_after_a_reload_and_a_roll_copies_go_on(lonely: Gateway, mock: MockProvider) -> None:
    assert copied(lonely, ask(lonely, "chat"))["provider"] == "b"
    file = lonely.folder / "sluice.yaml"
    config = json.loads(file.read_text())
    config["models"]["chat"]["shadow"] = "a/other"
    # the private listener changes with it
    config["limits"] = {"body": 1 << 20}
    file.write_text(json.dumps(config))
    with lonely.http(ADMIN_KEY) as admin:
        assert admin.post("/admin/reload", timeout=30.0).status_code == 200
    line = copied(lonely, ask(lonely, "chat"))
    assert (line["provider"], line["model"], line["outcome"]) == ("a", "other", "ok")

    # those that are under way when their workers go home come to their ends
    mock.clear()
    with ThreadPoolExecutor(6) as pool:
        text = "[[mock delay=2s]] slow"
        slow = [pool.submit(ask, lonely, "chat", text=text) for _ in range(6)]
        eventually(lambda: len(mock.requests) == 12, 5.0, "all are asked")
        lonely.signal(signal.SIGUSR2)
        for one in slow:
            assert copied(lonely, one.result())["outcome"] == "ok"
    lonely.wait_log(lambda line: line["event"] == "rolled", 20.0)
    line = copied(lonely, ask(lonely, "chat"))
    assert (line["model"], line["outcome"]) == ("other", "ok")
    assert lonely.metric(COPIES, fate="failed") == 0
