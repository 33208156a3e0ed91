"""Replies that cannot be passed on, and headers that must not be."""

from __future__ import annotations

import pytest

from tests.e2e import raw
from tests.e2e.asking import chat, events, refused, text_of
from tests.e2e.harness import PROVIDER_KEY, Gateway


@pytest.mark.parametrize("faults", ["gzip", "gzip framing=chunked"])
@pytest.mark.parametrize("stream", [False, True])
def test_compressed_reply(gateway: Gateway, faults: str, stream: bool) -> None:
    """trap 10"""
    answer = chat(gateway, faults, stream=stream)
    refused(answer, 502, "provider")
    assert "content-encoding" not in answer.headers


def test_the_provider_is_asked_for_plain_bytes(gateway: Gateway) -> None:
    """trap 10"""
    chat(gateway, "words=3")
    assert gateway.mock.requests[-1].headers["accept-encoding"] == "identity"


@pytest.mark.parametrize("framing", ["length", "chunked"])
def test_giant_reply(tight: Gateway, framing: str) -> None:
    answer = chat(tight, f"giant=200k framing={framing}")
    refused(answer, 502, "provider")


def test_a_large_reply_passes(gateway: Gateway) -> None:
    for framing in ("length", "chunked"):
        answer = chat(gateway, f"giant=3m framing={framing}")
        assert answer.status == 200
        assert len(answer.json["choices"][0]["message"]["content"]) == 3 << 20


def test_giant_event(tight: Gateway) -> None:
    """An event that never ends is not kept; whatever the client gets, it is no clean end."""
    try:
        answer = chat(tight, "giant=2m", stream=True)
    except raw.Cut:
        return
    assert b"[DONE]" not in answer.body
    assert b'"error"' in answer.body


@pytest.mark.parametrize("faults", ["content-type=text/html", "malformed=1", "end=1", "status=204"])
def test_a_reply_that_is_none(gateway: Gateway, faults: str) -> None:
    answer = chat(gateway, faults)
    if faults == "content-type=text/html":
        # The body is a good one, whatever its label says.
        assert answer.status in (200, 502)
        return
    refused(answer, 502, "provider")


@pytest.mark.parametrize("status", [302, 304, 307])
@pytest.mark.parametrize("stream", [False, True])
def test_a_redirect(gateway: Gateway, status: int, stream: bool) -> None:
    """Nobody follows it, the client least of all: its prompt would go with it."""
    faults = f"status={status} header=location:http://evil.example/"
    answer = chat(gateway, faults, stream=stream)
    refused(answer, 502, "provider")
    assert "location" not in answer.headers
    assert len(gateway.mock.requests) == 1


def test_a_length_that_is_a_lie(gateway: Gateway) -> None:
    refused(chat(gateway, "header=content-length:5"), 502, "provider")
    assert chat(gateway, "words=3").status == 200


@pytest.mark.parametrize("stream", [False, True])
def test_a_web_page(gateway: Gateway, stream: bool) -> None:
    """trap 14: what a captive portal or a wrong endpoint answers: 200, and HTML."""
    answer = chat(gateway, "content-type=text/html malformed=1 events=1", stream=stream)
    refused(answer, 502, "provider")
    assert answer.headers["x-sluice-provider"] == "acme"
    assert answer.headers["content-type"] == "application/json"


@pytest.mark.parametrize("kind", ["rst@0", "fin@0"])
@pytest.mark.parametrize("framing", ["length", "chunked"])
def test_a_whole_reply_that_breaks_off(gateway: Gateway, kind: str, framing: str) -> None:
    """Never half a body as a whole one: Envoy answers an error."""
    answer = chat(gateway, f"cut={kind} framing={framing}")
    refused(answer, 502, "network")


def test_json_where_a_stream_was_asked(gateway: Gateway) -> None:
    """trap 15: whatever the label says, the client gets the stream that it asked for."""
    answer = chat(gateway, "content-type=application/json words=6", stream=True)
    assert answer.status == 200
    assert answer.headers["content-type"].startswith("text/event-stream")
    assert text_of(answer) == text_of(chat(gateway, "words=6", stream=True))
    assert events(answer.body)[-1] == "[DONE]"


def test_a_stream_where_json_was_asked(gateway: Gateway) -> None:
    """trap 15"""
    answer = chat(gateway, "content-type=text/event-stream words=6")
    assert answer.status == 200
    assert answer.headers["content-type"] == "application/json"
    assert answer.json["choices"][0]["message"]["content"].startswith("You said: hi")


def test_headers_of_the_providers_own_stay_behind(gateway: Gateway) -> None:
    """trap 62"""
    ours = ("x-sluice-call-id", "x-sluice-provider", "x-sluice-model")
    forged = " ".join(f"header={name}:forged" for name in ours)
    plain = (
        "header=set-cookie:a=b header=x-powered-by:x header=www-authenticate:Basic "
        "header=x-envoy-upstream-service-time:1 header=alt-svc:h3 header=x-sluice-cost:9 "
        f"header=x-api-key:{PROVIDER_KEY} header=authorization:{PROVIDER_KEY} "
        "header=openai-organization:org-secret header=access-control-allow-origin:*"
    )
    for stream in (False, True):
        answer = chat(gateway, f"{forged} {plain}", stream=stream)
        assert answer.status == 200
        assert "forged" not in str(answer.headers)
        assert PROVIDER_KEY not in str(answer.headers)
        kept = {n for n in answer.headers if n in plain or n.startswith("x-envoy")}
        assert kept <= {"openai-organization"}, kept
        assert answer.headers.get("x-sluice-cost") != "9"
