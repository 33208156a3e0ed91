"""The simple query language, as its README shows it, with curl: exactly its fields."""

from __future__ import annotations

import json
import subprocess
from typing import Any

import pytest

from tests.e2e.harness import Gateway

FIELDS = {
    "response",
    "provider",
    "tokens_used",
    "processing_time",
    "cost",
    "cached",
    "correlation_id",
}


def curl(gateway: Gateway, path: str, *arguments: str) -> str:
    done = subprocess.run(
        ["curl", "-sS", "-N", "--noproxy", "*", "--max-time", "10", *arguments, gateway.url + path],
        capture_output=True,
        text=True,
        timeout=15,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def query(gateway: Gateway, fields: dict[str, Any]) -> dict[str, Any]:
    text = curl(
        gateway,
        "/query",
        *("-X", "POST", "-H", "Content-Type: application/json"),
        *("-d", json.dumps(fields)),
    )
    return json.loads(text)


def stream(gateway: Gateway, fields: dict[str, Any]) -> list[Any]:
    text = curl(
        gateway,
        "/stream",
        *("-X", "POST", "-H", "Content-Type: application/json"),
        *("-d", json.dumps(fields)),
    )
    blocks = [block for block in text.split("\n\n") if block]
    assert all(block.startswith("data: ") and "\n" not in block for block in blocks)
    return [b[6:] if b == "data: [DONE]" else json.loads(b[6:]) for b in blocks]


def test_quick_start(keyless: Gateway) -> None:
    """S1-96, S1-177"""
    answer = query(keyless, {"prompt": "Hello, world!"})
    assert set(answer) == FIELDS
    assert answer["response"].startswith("You said: Hello, world!")
    assert answer["provider"] == "acme"
    assert answer["tokens_used"] > 0
    assert answer["cached"] is False
    assert answer["cost"] == pytest.approx(answer["tokens_used"] * 0.001)
    assert 0 < answer["processing_time"] < 10
    assert keyless.wait_exchange(answer["correlation_id"])["dialect"] == "simple_query"


def test_quick_start_without_a_content_type(keyless: Gateway) -> None:
    """`curl -d` alone, which calls its body a form."""
    text = curl(keyless, "/query", "-X", "POST", "-d", '{"prompt": "Hello, world!"}')
    assert set(json.loads(text)) == FIELDS


def test_basic_query(keyless: Gateway) -> None:
    """S1-96, S1-177"""
    fields = {
        "prompt": "Explain quantum computing in simple terms",
        "temperature": 0.7,
        "max_tokens": 5,
    }
    answer = query(keyless, fields)
    assert len(answer["response"].split()) == 5
    (seen,) = keyless.mock.requests
    sent = json.loads(seen.body)
    assert sent["model"] == "gpt-4o"
    assert sent["temperature"] == 0.7
    assert sent["max_tokens"] == 5 or sent["max_completion_tokens"] == 5
    assert [m["role"] for m in sent["messages"]] == ["user"]


def test_every_field(keyless: Gateway) -> None:
    fields = {
        "prompt": "Summarize the following content:",
        "context": "Additional context information",
        "provider": "acme",
        "model": "gpt-4o-mini",
        "temperature": 0.0,
        "max_tokens": 1024,
        "user_id": "user123",
        "force_refresh": False,
    }
    answer = query(keyless, fields)
    assert set(answer) == FIELDS
    (seen,) = keyless.mock.requests
    sent = json.loads(seen.body)
    assert sent["model"] == "gpt-4o-mini"
    assert "Additional context information" in seen.text
    assert "force_refresh" not in sent
    assert "context" not in sent
    assert "prompt" not in sent


def test_provider_auto(keyless: Gateway) -> None:
    assert query(keyless, {"prompt": "hi", "provider": "auto"})["provider"] == "acme"


def test_stream(keyless: Gateway) -> None:
    """S1-98"""
    events = stream(keyless, {"prompt": "Write a short story about AI"})
    assert events[-1] == "[DONE]"
    assert all(set(event) == {"chunk", "finished"} for event in events[:-1])
    assert [event["finished"] for event in events[:-1]] == [False] * (len(events) - 2) + [True]
    text = "".join(event["chunk"] for event in events[:-1])
    assert text.startswith("You said: Write a short story about AI")
    assert len(events) > 5


def test_a_stream_is_a_stream(keyless: Gateway) -> None:
    body = json.dumps({"prompt": "[[mock stall=forever@3 words=20]] hi"})
    with keyless.http() as client, client.stream("POST", "/stream", content=body) as reply:
        assert reply.headers["content-type"].startswith("text/event-stream")
        assert reply.headers["x-sluice-call-id"].startswith("gw-")
        lines = reply.iter_lines()
        assert "chunk" in next(lines)
        assert keyless.mock.requests[-1].ended == "open"


@pytest.mark.parametrize("path", ["/query", "/stream"])
def test_an_error(keyless: Gateway, path: str) -> None:
    done = json.loads(curl(keyless, path, "-X", "POST", "-d", "{}"))
    assert "prompt" in json.dumps(done["error"])
    assert "gw-" in json.dumps(done)


def test_health_as_the_compose_file_checks_it(keyless: Gateway) -> None:
    """S4-44"""
    assert "healthy" in curl(keyless, "/health", "-f")


def test_metrics_as_the_readme_shows_them(keyless: Gateway) -> None:
    """S1-101"""
    query(keyless, {"prompt": "hi"})
    assert json.loads(curl(keyless, "/metrics"))["total_requests"] > 0
