"""Exchanges with a provider that misbehaves as it is told, and what every error must have."""

from __future__ import annotations

import json
from collections.abc import Mapping
from http.client import HTTPConnection
from typing import Any

from tests.e2e import raw
from tests.e2e.harness import Gateway

CHAT = "/v1/chat/completions"


class Client:
    """A connection that is kept, for one exchange after another."""

    def __init__(self, gateway: Gateway) -> None:
        self._auth = gateway.auth
        self._line = HTTPConnection("127.0.0.1", gateway.port, timeout=10)

    def ask(self, body: Mapping[str, object], path: str = CHAT, **headers: str) -> raw.Answer:
        """A header's name has `_` for `-`. Raises http.client's IncompleteRead for a cut reply."""
        named = {name.replace("_", "-"): said for name, said in headers.items()}
        head = {"content-type": "application/json", **self._auth, **named}
        self._line.request("POST", path, json.dumps(body), head)
        reply = self._line.getresponse()
        got = {name.lower(): said for name, said in reply.getheaders()}
        return raw.Answer(reply.status, got, reply.read())

    def say(self, model: str, **headers: str) -> raw.Answer:
        return self.ask(talk(model, "hi"), **headers)


def talk(model: str, *texts: str) -> dict[str, object]:
    """The body of a talk, in turns, the user's first and last."""
    roles = ("user", "assistant")
    messages = [{"role": roles[at % 2], "content": text} for at, text in enumerate(texts)]
    return {"model": model, "messages": messages}


def asked(gateway: Gateway, faults: str, *, stream: bool = False, model: str = "gpt-4o") -> bytes:
    """The bytes of a chat request whose answer meets these faults."""
    fields: dict[str, Any] = {
        "model": model,
        "messages": [{"role": "user", "content": f"[[mock {faults}]] hi"}],
    }
    if stream:
        fields["stream"] = True
    return raw.request("POST", CHAT, json.dumps(fields).encode(), gateway.auth)


def chat(
    gateway: Gateway, faults: str, *, stream: bool = False, model: str = "gpt-4o"
) -> raw.Answer:
    """One exchange with faults, over a connection of its own. Raises raw.Cut."""
    return raw.exchange(gateway.port, asked(gateway, faults, stream=stream, model=model))


def works(gateway: Gateway) -> bool:
    """Whether an exchange succeeds now."""
    try:
        return chat(gateway, "words=3").status == 200
    except (OSError, raw.Cut):
        return False


def query(gateway: Gateway, faults: str, path: str = "/query") -> raw.Answer:
    body = json.dumps({"prompt": f"[[mock {faults}]] hi"}).encode()
    return raw.exchange(gateway.port, raw.request("POST", path, body, gateway.auth))


def direct(gateway: Gateway, faults: str) -> raw.Answer:
    """The same, asked of the provider itself."""
    fields = {
        "model": "gpt-4o",
        "messages": [{"role": "user", "content": f"[[mock {faults}]] hi"}],
    }
    port = int(gateway.mock.url.rpartition(":")[2])
    return raw.exchange(port, raw.request("POST", CHAT, json.dumps(fields).encode()))


def refused(answer: raw.Answer, status: int, origin: str) -> dict[str, Any]:
    assert answer.status == status, answer
    assert answer.headers["x-sluice-error-origin"] == origin
    assert answer.headers["x-sluice-call-id"].startswith("gw-")
    error = answer.json["error"]
    assert error.keys() >= {"message", "type", "param", "code"}
    return error


def ended(gateway: Gateway, answer: raw.Answer, outcome: str) -> None:
    assert gateway.wait_exchange(answer.headers["x-sluice-call-id"])["outcome"] == outcome


def events(body: bytes) -> list[Any]:
    lines = [line[6:] for line in body.decode().splitlines() if line.startswith("data: ")]
    return [line if line == "[DONE]" else json.loads(line) for line in lines]


def text_of(answer: raw.Answer) -> str:
    """What a stream of the chat language says."""
    return "".join(
        event["choices"][0]["delta"].get("content") or ""
        for event in events(answer.body)
        if event != "[DONE]" and event["choices"]
    )
