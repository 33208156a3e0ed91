"""Providers that fail as they are told, in three languages, and what an exchange with them must show.

`a` speaks OpenAI Chat, `b` Anthropic's, `c` Gemini's; each is the mock, with a fault in its
path or at an address that leads nowhere. `answered` and `tried` read reply and log line.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from extproc.mock import MockProvider
from tests.e2e import raw
from tests.e2e.asking import CHAT, events, text_of
from tests.e2e.harness import Gateway, Line

DIALECTS = {"a": "openai_chat", "b": "anthropic_messages", "c": "gemini_generate"}
PATHS = {"a": "/v1", "b": "", "c": "/v1beta"}
TURNS = ("abc", "bca", "cab")
"""each language in each place"""
INNER = ("x-sluice-again", "x-sluice-end", "x-sluice-dest", "x-sluice-hold", "x-sluice-call")
NO_HEADERS: Mapping[str, str] = {}
CALM: Mapping[str, object] = {
    "breaker": {"failures": 1000, "minimum": 10000},
    "budget": {"minimum": 10000},
    "longest_cooldown": "1ms",
}
"""`routing` where one exchange is looked at: nothing remembers what the last one met"""


def provider(mock: MockProvider, letter: str, fault: str = "", **more: object) -> dict[str, Any]:
    """A provider's block. `{last}` in `fault` is the number of events before a stream's content."""
    told = fault.format(last=before_content(letter))
    path = (f"/fault/{told}" if told else "") + PATHS[letter]
    return {
        "dialect": DIALECTS[letter],
        "api_key": "${ACME_KEY}",
        "models": ["m"],
        "endpoint": mock.url + path,
        **more,
    }


def elsewhere(letter: str, base: str, **more: object) -> dict[str, Any]:
    """A provider that is not the mock, at this base URL."""
    return {
        "dialect": DIALECTS[letter],
        "api_key": "${ACME_KEY}",
        "models": ["m"],
        "endpoint": base + PATHS[letter],
        "probe": False,
        **more,
    }


def before_content(letter: str) -> int:
    """Gemini begins with content, the others with who speaks."""
    return 0 if letter == "c" else 1


def model(*names: str, **more: object) -> dict[str, Any]:
    """A model whose targets are these providers, one after the other."""
    return {"groups": [[{"provider": name, "model": "m"}] for name in names], **more}


def asking(
    gateway: Gateway,
    model: str,
    *,
    stream: bool = False,
    text: str = "hi",
    headers: Mapping[str, str] = NO_HEADERS,
    **fields: object,
) -> bytes:
    """The bytes of a chat request."""
    body = {"model": model, "messages": [{"role": "user", "content": text}], **fields}
    if stream:
        body["stream"] = True
    named = {**gateway.auth, **headers}
    return raw.request("POST", CHAT, json.dumps(body).encode(), named)


def ask(gateway: Gateway, model: str, **more: Any) -> raw.Answer:
    """One exchange, `asking` for this, on a connection of its own. Raises raw.Cut."""
    return raw.exchange(gateway.port, asking(gateway, model, **more))


def answered(gateway: Gateway, answer: raw.Answer, provider: str, attempts: int) -> Line:
    """A good reply of this provider, at this attempt, and nothing of the hop's in it."""
    assert answer.status == 200, answer
    assert answer.headers["x-sluice-provider"] == provider
    assert answer.headers["x-sluice-attempts"] == str(attempts)
    assert not answer.headers.keys() & set(INNER)
    line = gateway.wait_exchange(answer.headers["x-sluice-call-id"])
    assert (line["outcome"], line["attempts"], line["provider"]) == ("ok", attempts, provider)
    assert len(line["tried"]) == attempts
    return line


def said(answer: raw.Answer, *, stream: bool) -> str:
    """The text of a good reply, which is complete."""
    if stream:
        assert events(answer.body)[-1] == "[DONE]"
        return text_of(answer)
    return answer.json["choices"][0]["message"]["content"]


def tried(line: Line) -> list[tuple[str, str]]:
    """Each attempt's provider and what became of it, in order."""
    return [(one.partition("/")[0], one.split()[1]) for one in line.get("tried", ())]


def seconds(line: Line) -> list[float]:
    """How long each attempt took."""
    return [float(one.split()[3].removesuffix("ms")) / 1000 for one in line["tried"]]


def asked_of(mock: MockProvider, text: str) -> list[str]:
    """The paths of all requests that the mock got with this text, in order."""
    return [one.path for one in mock.requests if text.encode() in one.body]
