"""A gateway without keys serves this machine alone, and no web page."""

from __future__ import annotations

import pytest

from tests.e2e import raw
from tests.e2e.harness import Gateway

BODY = b'{"model":"gpt-4o-mini","messages":[{"role":"user","content":"hi"}]}'


def post(gateway: Gateway, headers: dict[str, str]) -> raw.Answer:
    request = raw.request("POST", "/v1/chat/completions", BODY, headers)
    return raw.exchange(gateway.port, request)


def refused_for(answer: raw.Answer, code: str) -> None:
    assert answer.status == 403, answer
    assert answer.json["error"]["code"] == code
    assert answer.json["error"]["message"]


def test_keyless_serves_this_machine_whatever_it_sends(keyless: Gateway) -> None:
    for headers in ({}, {"authorization": "Bearer anything"}, {"x-api-key": "else"}):
        assert post(keyless, headers).status == 200
    with keyless.http() as client:
        assert client.get("/metrics").status_code == 200


def test_keyless_says_so_loudly(keyless: Gateway) -> None:
    warnings = [line for line in keyless.log_lines() if line["level"] == "warning"]
    assert any("no keys" in line["event"] for line in warnings)


@pytest.mark.parametrize("origin", ["http://localhost:5055", "https://evil.example", "null"])
@pytest.mark.parametrize("path", ["/v1/chat/completions", "/v1/models", "/metrics"])
def test_keyless_serves_no_web_page(keyless: Gateway, path: str, origin: str) -> None:
    method = "POST" if path.endswith("completions") else "GET"
    body = BODY if method == "POST" else b""
    answer = raw.exchange(keyless.port, raw.request(method, path, body, {"origin": origin}))
    refused_for(answer, "origin_not_allowed")
    assert keyless.mock.requests == ()


@pytest.mark.parametrize(
    "host", ["evil.example", "evil.example:5055", "127.0.0.1.evil.example", "10.0.0.1", "0.0.0.0"]
)
def test_keyless_serves_no_foreign_host(keyless: Gateway, host: str) -> None:
    for method, path in (("POST", "/v1/chat/completions"), ("GET", "/metrics")):
        body = BODY if method == "POST" else b""
        refused_for(
            raw.exchange(keyless.port, raw.request(method, path, body, host=host)),
            "host_not_allowed",
        )
    assert keyless.mock.requests == ()


@pytest.mark.parametrize(
    "host", ["localhost", "localhost:5055", "127.0.0.1", "[::1]:9", "LOCALHOST"]
)
def test_keyless_serves_loopback_hosts(keyless: Gateway, host: str) -> None:
    answer = raw.exchange(
        keyless.port, raw.request("POST", "/v1/chat/completions", BODY, host=host)
    )
    assert answer.status == 200


def test_no_header_of_the_clients_makes_it_a_neighbour(keyless: Gateway) -> None:
    """The peer's address is Envoy's word alone, in both directions."""
    claims = {
        "x-forwarded-for": "203.0.113.9",
        "x-real-ip": "203.0.113.9",
        "forwarded": "for=203.0.113.9",
        "x-sluice-peer": "203.0.113.9",
        "x-envoy-external-address": "203.0.113.9",
    }
    answer = post(keyless, claims)
    assert answer.status == 200
    assert keyless.wait_exchange(answer.headers["x-sluice-call-id"])["peer"] == "127.0.0.1"
    with keyless.http(headers=claims) as client:
        assert client.get("/metrics").status_code == 200
